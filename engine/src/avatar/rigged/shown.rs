//! Which part of the body every pixel of a drawn character shows, as its bones say.

use glam::Vec2;

use super::super::finder;
use super::super::parts::{HAIR, PARTS};
use super::character::Character;
use super::raster::Raster;
use super::stage::Drawn;
use crate::skeleton::{BONE_COUNT, SKELETON};

/// Swings from the hips: a skirt, the tails of a coat. Beyond [`PARTS`]; a part map counts it to the torso.
pub const SKIRT: u8 = PARTS.len() as u8 + 1;

/// Pixels by which lines round a part are told to belong to it.
const LINES: usize = 12;

/// What has just been drawn of a character.
pub struct Shown<'a> {
    character: &'a Character,
    drawn: &'a Drawn,
    raster: &'a Raster,
    /// Pixels.
    side: usize,
    /// By joint: the index in [`PARTS`], or that of a skirt after them.
    of_joint: Vec<usize>,
}

impl<'a> Shown<'a> {
    /// `raster`, `side` pixels a side, has just drawn this.
    pub fn new(character: &'a Character, drawn: &'a Drawn, raster: &'a Raster, side: usize) -> Self {
        let of_joint = (0..character.joints.len()).map(|joint| class(character, joint)).collect();
        Shown { character, drawn, raster, side, of_joint }
    }

    /// How much of each part moves what is seen in the middle of pixel `i`; nothing on lines and beside the figure.
    fn shares(&self, i: usize) -> Option<[f32; finder::CLASSES]> {
        let p = Vec2::new((i % self.side) as f32, (i / self.side) as f32) + 0.5;
        let (triangle, _) = self.raster.front(p).filter(|_| self.drawn.rgba[i * 4 + 3] > 0)?;
        let corners = self.character.triangles[triangle].corners.map(|c| c as usize);
        let [a, b, c] = corners.map(|c| self.drawn.vertices[c].position.truncate());
        let area = (b - a).perp_dot(c - a);
        let (kb, kc) = if area.abs() > 1e-9 { ((p - a).perp_dot(c - a) / area, (b - a).perp_dot(p - a) / area) } else { (1.0 / 3.0, 1.0 / 3.0) };
        let mut shares = [0.0; finder::CLASSES];
        for (&corner, share) in corners.iter().zip([1.0 - kb - kc, kb, kc]) {
            let v = &self.character.vertices[corner];
            v.joints.iter().zip(v.weights).for_each(|(&joint, weight)| shares[self.of_joint[joint as usize]] += share * weight);
        }
        Some(shares)
    }

    /// side * side: 0 beside the figure, 1 + the index in [`PARTS`], or [`SKIRT`].
    pub fn parts(&self) -> Vec<u8> {
        let side = self.side;
        let most = |shares: [f32; finder::CLASSES]| (0..shares.len()).max_by(|a, b| shares[*a].total_cmp(&shares[*b])).unwrap_or(0) as u8 + 1;
        let mut shown: Vec<u8> = (0..side * side).map(|i| self.shares(i).map_or(0, most)).collect();
        for _ in 0..LINES {
            let before = shown.clone();
            for i in (0..side * side).filter(|&i| before[i] == 0 && self.drawn.rgba[i * 4 + 3] > 0) {
                let (x, y) = (i % side, i / side);
                let beside = [(x > 0, i.wrapping_sub(1)), (x + 1 < side, i + 1), (y > 0, i.wrapping_sub(side)), (y + 1 < side, i + side)];
                shown[i] = beside.iter().filter(|b| b.0).map(|b| before[b.1]).find(|&p| p > 0).unwrap_or(0);
            }
        }
        shown
    }

    /// What a figure finder that knew the rig would see, [`finder::Seen::parts`]: at joints it is of two minds. All zero beside the figure.
    pub fn belief(&self) -> Vec<f32> {
        let mut belief = vec![0.0; finder::SIZE * finder::SIZE * finder::CLASSES];
        for i in 0..self.side * self.side {
            let Some(shares) = self.shares(i) else { continue };
            let cell = i / self.side * finder::SIZE / self.side * finder::SIZE + i % self.side * finder::SIZE / self.side;
            belief[cell * finder::CLASSES..][..finder::CLASSES].iter_mut().zip(shares).for_each(|(b, s)| *b += s);
        }
        for cell in belief.chunks_exact_mut(finder::CLASSES) {
            let sum: f32 = cell.iter().sum();
            if sum > 0.0 {
                cell.iter_mut().for_each(|b| *b /= sum);
            }
        }
        belief
    }
}

/// The index in [`PARTS`] of what a joint moves, or that of a skirt after them.
fn class(character: &Character, joint: usize) -> usize {
    let mut bone = joint;
    while bone >= BONE_COUNT {
        bone = character.loose[bone - BONE_COUNT].parent;
    }
    let loose = joint >= BONE_COUNT;
    let name = SKELETON.bones[bone].name.as_str();
    let (side, rest) = match (name.strip_prefix("left"), name.strip_prefix("right")) {
        (Some(rest), _) => (0, rest),
        (_, Some(rest)) => (1, rest),
        _ => (0, name),
    };
    let named = |part: &str| PARTS.iter().position(|p| p.0 == part).unwrap_or(0);
    match rest {
        "head" | "neck" if loose => HAIR as usize - 1,
        "head" => named("head"),
        "hips" | "spine" | "UpperLeg" | "LowerLeg" if loose => SKIRT as usize - 1,
        "hips" | "spine" | "chest" | "upperChest" | "neck" | "Shoulder" => named("torso"),
        "UpperLeg" | "LowerLeg" | "Foot" | "Toes" => named(["left_leg", "right_leg"][side]),
        _ => named(["left_arm", "right_arm"][side]),
    }
}
