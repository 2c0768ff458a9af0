//! What the finder sees of a figure's parts, weighed against the rules: who is sure where, pixel by pixel.
//!
//! The network tells hair, skirts and limbs apart where rules guess; the rules put the cut at a joint where the puppet wants it.
//! Between those that are sure, [`segment`](super::segment) lets parts grow together along the picture's edges.

use glam::Vec2;

use super::finder::{CLASSES, SIZE};
use super::segment::{Grid, HEAD, NONE, PARTS, TORSO};

/// Classes are the parts of a puppet, then these.
pub(super) const HAIR: u8 = PARTS as u8;
pub(super) const SKIRT: u8 = HAIR + 1;

/// How much likelier a part is where the rules say so, too.
const RULES: f32 = 6.0;
/// Belief from which a pixel says what it is; the others follow their neighbours.
const SURE: f32 = 0.9;
/// Share of the figure that islands of a part must cover.
const LEAST: f32 = 0.002;
/// Share of the figure that a skirt covers at least.
const SKIRTED: f32 = 0.03;

/// The part of a puppet that shows a class.
pub(super) fn part(class: u8) -> u8 {
    match class {
        HAIR => HEAD as u8,
        SKIRT => TORSO as u8,
        part => part,
    }
}

/// The place of the other side's class where classes of many pixels lie one after the other.
pub(super) fn opposite(i: usize) -> usize {
    match i % CLASSES {
        2 | 4 => i + 1,
        3 | 5 => i - 1,
        _ => i,
    }
}

/// What the finder saw, in its own picture, and where the figure is in that.
pub(crate) struct SeenParts {
    /// (128, 128, [`CLASSES`]), each pixel's sum is 1, or nothing is known of it.
    pub parts: Vec<f32>,
    /// A place of the figure is at this times it plus `origin`.
    pub scale: f32,
    pub origin: Vec2,
}

impl SeenParts {
    /// Belief at a place of the figure, pixels, bilinear.
    fn at(&self, p: Vec2) -> [f32; CLASSES] {
        let p = (p * self.scale + self.origin - 0.5).clamp(Vec2::ZERO, Vec2::splat(SIZE as f32 - 1.001));
        let (x, y, k) = (p.x as usize, p.y as usize, p.fract());
        let of = |x: usize, y: usize, c: usize| self.parts[(y * SIZE + x) * CLASSES + c];
        std::array::from_fn(|c| {
            let row = |y: usize| of(x, y, c) * (1.0 - k.x) + of(x + 1, y, c) * k.x;
            row(y) * (1.0 - k.y) + row(y + 1) * k.y
        })
    }

    /// A good part of the figure is skirt.
    pub fn skirted(&self, g: &Grid) -> bool {
        let (mut skirt, mut all) = (0.0, 0.0);
        for (x, y) in (0..g.h).step_by(4).flat_map(|y| (0..g.w).step_by(4).map(move |x| (x, y))).filter(|(x, y)| g.inside[y * g.w + x]) {
            skirt += self.at(Vec2::new(x as f32, y as f32))[SKIRT as usize];
            all += 1.0;
        }
        skirt > SKIRTED * all
    }

    /// Where classes are sure, as `Grid::spread` takes it: pixel, class, no distance. `ruled` is the part of a puppet that rules see, and
    /// `bones` is from where they do: what nothing else is sure of is theirs.
    pub fn sure(&self, g: &Grid, ruled: &[u8], bones: &[(usize, u8, u32)]) -> Vec<(usize, u8, u32)> {
        let mut class = vec![NONE; g.w * g.h];
        for i in (0..g.w * g.h).filter(|&i| g.inside[i]) {
            let mut belief = self.at(Vec2::new((i % g.w) as f32, (i / g.w) as f32) + 0.5);
            belief.iter_mut().enumerate().filter(|(c, _)| part(*c as u8) == ruled[i]).for_each(|(_, b)| *b *= RULES);
            let sum: f32 = belief.iter().sum();
            // Hair and head, skirt and trunk are one to the puppet: which of them it is need not be sure.
            let (best, _) = belief.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap_or((0, &0.0));
            let share: f32 = belief.iter().enumerate().filter(|(c, _)| part(*c as u8) == part(best as u8)).map(|(_, b)| b).sum();
            if share > SURE * sum {
                class[i] = best as u8;
            }
        }
        let inside = g.inside.iter().filter(|i| **i).count();
        drop_islands(g, &mut class, (LEAST * inside as f32) as usize);
        let unsure = bones.iter().filter(|b| class[b.0] == NONE).copied();
        (0..g.w * g.h).filter(|&i| class[i] != NONE).map(|i| (i, class[i], 0)).chain(unsure).collect()
    }
}

/// Forgets what is sure in pieces of fewer than `least` pixels.
fn drop_islands(g: &Grid, class: &mut [u8], least: usize) {
    let mut visited = vec![false; class.len()];
    let mut piece = Vec::new();
    for start in 0..class.len() {
        if visited[start] || class[start] == NONE {
            continue;
        }
        piece.clear();
        piece.push(start);
        visited[start] = true;
        let mut next = 0;
        while let Some(&i) = piece.get(next) {
            next += 1;
            let (x, y) = (i % g.w, i / g.w);
            let beside = [(x > 0, i.wrapping_sub(1)), (x + 1 < g.w, i + 1), (y > 0, i.wrapping_sub(g.w)), (y + 1 < g.h, i + g.w)];
            for (_, j) in beside.into_iter().filter(|b| b.0) {
                if !visited[j] && class[j] == class[i] {
                    visited[j] = true;
                    piece.push(j);
                }
            }
        }
        if piece.len() < least {
            piece.iter().for_each(|&i| class[i] = NONE);
        }
    }
}
