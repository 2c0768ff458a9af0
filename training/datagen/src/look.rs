//! One drawn look of a character (proportions, palette, style), its reference picture and its avatar.
//!
//! Also renders samples: the true frames and the engine's puppet of the same poses.

use std::sync::Arc;

use anyhow::{Context, Result};
use glam::{Quat, Vec2, Vec3};
use odori_engine::avatar::rigged::straight;
use odori_engine::avatar::{self, Avatar, FigureFinder, HEAD_LAYER, Side, Sidecar};
use odori_engine::pose::{Camera, Pose};
use odori_engine::render::compose::{WORK_CHANNELS, downsample};
use odori_engine::render::cpu::{CpuPuppet, layer_cover};
use odori_engine::render::Size;
use odori_engine::skeleton::{Bone, KEYPOINT_COUNT, SKELETON};
use odori_kernels::{Backend, Weights, cpu};

use odori_engine::avatar::rigged::character::{Character, reference_pose};
use crate::clips::Window;
use crate::flow::Surface;
use crate::colour::{hsv, to_hsv};
use odori_engine::avatar::rigged::raster::{Raster, Shading, Style, Texture};
use crate::rng::Rng;
use crate::visibility;
use odori_engine::avatar::rigged::shown::Shown;
use odori_engine::avatar::rigged::stage::Actor;

/// Side of the picture that avatars are made from, pixels.
pub const REFERENCE_PX: usize = 512;
/// Side of the live picture, pixels.
const PUPPET_PX: usize = 512;
const FRAME_S: f32 = 1.0 / 30.0;

pub struct Look {
    pub character: Character,
    side: Side,
    pub style: Style,
    avatar: Avatar,
    surface: Surface,
    /// Premultiplied, size * size * 4.
    pub reference: Vec<u8>,
    /// size * size: which part of the body `reference` shows, as its bones tell it; then as the engine's rules do.
    pub parts: Vec<u8>,
    pub ruled_parts: Vec<u8>,
    pub reference_keypoints: [Vec2; KEYPOINT_COUNT],
}

/// Cells a side that the head's cover is told of: the denoiser's patches at its working size of 128.
pub const HEAD_GRID: usize = 32;

/// Frames of one clip; pictures are concatenated.
#[derive(Default)]
pub struct Sample {
    pub truth: Vec<u8>,
    pub puppet: Vec<u8>,
    pub validity: Vec<u8>,
    /// frames * 24 * (x, y, confidence)
    pub keypoints: Vec<f32>,
    /// frames * 24 * (x, y)
    pub true_keypoints: Vec<f32>,
    /// frames * 24, metres
    pub depths: Vec<f32>,
    /// frames * 18
    pub facing: Vec<f32>,
    pub error_px: Vec<f32>,
    /// frames * 32 * 32
    pub head: Vec<u8>,
    /// frames * 64 * 64 * (x, y)
    pub flow: Vec<i16>,
}

/// The drawing buffers of one thread.
pub struct Studio {
    frame: Raster,
    reference: Raster,
    size: usize,
    /// Side that the puppet is drawn at before it is box filtered, as the live engine does.
    puppet_px: usize,
    working: Vec<f32>,
    cover: Vec<f32>,
    finder: Option<FigureFinder>,
}

impl Studio {
    /// With a figure finder's weights avatars are cut as it sees them.
    pub fn new(size: usize, figure: Option<&Weights>) -> Result<Self> {
        // As many samples a pixel as the live picture has when it is brought down to the working size.
        let samples = if size > 160 { 3 } else { 4 };
        let puppet_px = size * (PUPPET_PX / size).max(1);
        let working = vec![0.0; size * size * WORK_CHANNELS];
        let finder = figure.map(|w| FigureFinder::new(&Backend::Cpu(cpu::Pool::new(1)), w)).transpose()?;
        Ok(Studio { frame: Raster::new(size, samples), reference: Raster::new(REFERENCE_PX, 2), size, puppet_px, working, cover: vec![0.0; HEAD_GRID * HEAD_GRID], finder })
    }
}

impl Look {
    /// Varies a rig from a file; a made character has its variety already. Of a back all is told as the engine calls it: as a front's whose
    /// left and right are exchanged.
    pub fn new(mut character: Character, vary: bool, side: Side, rng: &mut Rng, studio: &mut Studio) -> Result<Look> {
        if vary {
            reproportion(&mut character, &mut rng.fork(1));
            recolour(&mut character, &mut rng.fork(2));
        }
        let style = random_style(&mut rng.fork(3));
        let rng = &mut rng.fork(4);
        let mut pose = reference_pose(rng.range(33.0f32, 47.0).to_radians(), rng.range(2.0f32, 7.0).to_radians());
        if side == Side::Back {
            pose.rotations[Bone::HIPS.index()] = Quat::from_rotation_y(std::f32::consts::PI);
        }
        let mut actor = Actor::new(&character, &style);
        let (low, high) = actor.extent(&pose);
        let px = REFERENCE_PX as f32;
        let span = high - low;
        let camera =
            Camera { centre: (low + high) * 0.5, scale: 0.9 * px / span.x.max(span.y), width: px, height: px };
        let drawn = actor.draw(&pose, &camera, &mut studio.reference);
        let sidecar = Sidecar {
            // Training shows faces as they are.
            face: Some(avatar::Face::default()),
            width: REFERENCE_PX as u32,
            height: REFERENCE_PX as u32,
            keypoints: SKELETON
                .keypoints
                .iter()
                .zip(&drawn.keypoints)
                .map(|(k, p)| (k.name.clone(), [p.x, p.y]))
                .collect(),
            loose: Vec::new(),
            skirt: None,
            name: Some(character.name.clone()),
        };
        let straight = straight(&drawn.rgba);
        let (avatar, _) = Avatar::import(REFERENCE_PX as u32, REFERENCE_PX as u32, straight, Some(&sidecar), studio.finder.as_mut())
            .with_context(|| format!("{}: the engine cannot import it", character.name))?;
        let surface = Surface::new(&avatar, &drawn, &studio.reference, REFERENCE_PX);
        let (reference, scale, origin) = avatar.fitted(studio.size);
        let shown = Shown::new(&character, &drawn, &studio.reference, REFERENCE_PX).parts();
        let (into, corner) = surface.to_avatar();
        // The middle of each pixel: in the avatar's picture, then in what was drawn.
        let look_up = |i: usize| {
            let p = Vec2::new((i % studio.size) as f32, (i / studio.size) as f32) + 0.5;
            let own = (p - origin) / scale;
            (own, (own - corner) / into)
        };
        let picked = |p: Vec2, map: &[u8], width: usize| {
            let (x, y) = (p.x.floor(), p.y.floor());
            let inside = x >= 0.0 && y >= 0.0 && (x as usize) < width && (y as usize) < map.len() / width;
            if inside { map[y as usize * width + x as usize] } else { 0 }
        };
        let rules = avatar.found_parts();
        let (mut parts, mut ruled_parts) = (Vec::new(), Vec::new());
        for i in 0..studio.size * studio.size {
            let (own, there) = look_up(i);
            let part = picked(there, &shown, REFERENCE_PX);
            parts.push(if side == Side::Back { other_limb(part) } else { part });
            ruled_parts.push(picked(own, rules.parts(), rules.size().0 as usize));
        }
        let reference_keypoints = avatar.keypoints.map(|k| k * scale + origin);
        Ok(Look { side, style, avatar, surface, reference, parts, ruled_parts, reference_keypoints, character })
    }

    /// Renders the window's shown frames, true and warped, in one camera.
    pub fn sample(&self, window: &Window, rng: &mut Rng, studio: &mut Studio) -> Sample {
        let size = studio.size;
        let px = size as f32;
        let full = Camera::full_body(px, px);
        let camera = Camera {
            centre: full.centre + Vec2::new(rng.range(-0.06, 0.06), rng.range(-0.06, 0.04)),
            scale: full.scale * rng.range(0.88, 1.14),
            ..full
        };
        let mut actor = Actor::new(&self.character, &self.style);
        let mut puppet = CpuPuppet::new(&self.avatar);
        let mut springs = avatar::Springs::new();
        let mut out = Sample::default();
        for (i, pose) in window.poses.iter().enumerate() {
            let mut frame = avatar::drive_side(&self.avatar, self.side, pose, &camera);
            springs.step(&self.avatar, &mut frame, FRAME_S);
            if i < window.lead {
                actor.advance(pose);
                continue;
            }
            let drawn = actor.draw(pose, &camera, &mut studio.frame);
            let picture = puppet.draw(&frame, studio.puppet_px, studio.puppet_px);
            downsample(picture, Size::square(size), None, &mut studio.working);
            out.truth.extend(&drawn.rgba);
            for pixel in studio.working.chunks_exact(WORK_CHANNELS) {
                let [r, g, b, a, valid] = [0, 1, 2, 3, 4].map(|c| (pixel[c] * 255.0 + 0.5) as u8);
                out.puppet.extend([r, g, b, a]);
                out.validity.push(valid);
            }
            layer_cover(&self.avatar, &frame, HEAD_LAYER, HEAD_GRID, &mut studio.cover);
            out.head.extend(studio.cover.iter().map(|c| (c * 255.0 + 0.5) as u8));
            out.flow.extend(self.surface.flow(&self.character, &drawn.vertices, &studio.frame, &self.avatar, &frame, picture));
            let mut error = 0.0;
            for (i, k) in frame.keypoints.iter().enumerate() {
                let p = drawn.keypoints[if self.side == Side::Back { avatar::other_side(i) } else { i }];
                out.keypoints.extend([k.position.x, k.position.y, k.confidence]);
                out.true_keypoints.extend([p.x, p.y]);
                error += k.position.distance(p) / KEYPOINT_COUNT as f32;
            }
            out.error_px.push(error);
            out.depths.extend(frame.depths);
            out.facing.extend(frame.facing);
        }
        out
    }

    /// The true frame and the puppet in the reference pose itself: they should be the same picture.
    #[cfg(test)]
    pub fn rest(&self, studio: &mut Studio) -> Sample {
        let mut poses = vec![reference_pose(0.7, 0.07)];
        if self.side == Side::Back {
            turn(&mut poses);
        }
        self.sample(&Window { row: 0, poses, lead: 0 }, &mut Rng::new(0), studio)
    }
}

/// The part on the other side, as `parts` has them.
fn other_limb(part: u8) -> u8 {
    match part {
        3 | 5 => part + 1,
        4 | 6 => part - 1,
        _ => part,
    }
}

/// A drawing style like those that people draw in.
pub fn random_style(rng: &mut Rng) -> Style {
    let shading = match rng.below(10) {
        0..=2 => Shading::Flat,
        3..=6 => Shading::Toon(2),
        7 => Shading::Toon(3),
        _ => Shading::Soft,
    };
    let outline = if rng.chance(0.75) { rng.range(0.18, 0.7) } else { 0.0 };
    Style {
        shading,
        outline,
        line_colour: rng.chance(0.6).then(|| hsv(rng.unit(), rng.range(0.0, 0.4), rng.range(0.05, 0.2))),
        light: Vec3::new(rng.range(-0.7, 0.7), rng.range(0.3, 1.0), rng.range(0.5, 1.0)).normalize(),
        shade: rng.range(0.15, 0.4),
        shade_hue: rng.range(-0.04, 0.04),
    }
}

/// Other bodies from the same rig: longer, thicker, with bigger heads.
fn reproportion(c: &mut Character, rng: &mut Rng) {
    if rng.chance(0.25) {
        return;
    }
    let young = if rng.chance(0.3) { rng.range(0.2, 1.0) } else { 0.0 };
    let lerp = |a: f32, b: f32| a + (b - a) * young;
    let mut j = |spread: f32| rng.range(1.0 - spread, 1.0 + spread);
    let head = lerp(1.0, 1.7) * j(0.12);
    let leg = lerp(1.0, 0.66) * j(0.12);
    let arm = lerp(1.0, 0.8) * j(0.1);
    let trunk = lerp(1.0, 0.82) * j(0.08);
    let (leg_wide, arm_wide, trunk_wide) = (j(0.15), j(0.18), j(0.12));
    let (hand, foot) = (j(0.15), j(0.12));
    c.reproportion(|b| {
        let name = SKELETON.bones[b].name.trim_start_matches("left").trim_start_matches("right");
        match name {
            "head" => Vec2::splat(head),
            "UpperLeg" | "LowerLeg" => Vec2::new(leg, leg_wide * lerp(1.0, 0.9)),
            "Foot" | "Toes" => Vec2::splat(foot),
            "UpperArm" | "LowerArm" => Vec2::new(arm, arm_wide),
            "hips" | "spine" | "chest" | "upperChest" | "neck" => Vec2::new(trunk, trunk_wide),
            "Shoulder" => Vec2::new(trunk_wide, 1.0),
            _ => Vec2::splat(hand),
        }
    });
}

fn recolour(c: &mut Character, rng: &mut Rng) {
    if rng.chance(0.35) {
        return;
    }
    let turn = rng.unit();
    let (s_gain, v_gain) = (rng.range(0.8, 1.25), rng.range(0.85, 1.2));
    let shift = |rgb: [f32; 3], turn: f32| {
        let [h, s, v] = to_hsv(rgb);
        hsv(h + turn, (s * s_gain).min(1.0), (v * v_gain).min(1.0))
    };
    // A texture mixes skin and cloth: only the colours that are not skin turn.
    let skin_like = |rgb: [f32; 3]| {
        let [h, s, v] = to_hsv(rgb);
        !(0.12..=0.97).contains(&h) && (0.15..0.75).contains(&s) && v > 0.3
    };
    for m in &mut c.materials {
        match &m.texture {
            Some(texture) => {
                let rgba = texture
                    .rgba
                    .iter()
                    .map(|p| {
                        let rgb = [0, 1, 2].map(|i| f32::from(p[i]) / 255.0);
                        let to = shift(rgb, if skin_like(rgb) { 0.0 } else { turn });
                        let [r, g, b] = to.map(|v| (v * 255.0 + 0.5) as u8);
                        [r, g, b, p[3]]
                    })
                    .collect();
                m.texture = Some(Arc::new(Texture { width: texture.width, height: texture.height, rgba }));
            }
            None => {
                let own = if skin_like(m.colour) { 0.0 } else { turn + rng.range(-0.15, 0.15) };
                m.colour = shift(m.colour, own);
            }
        }
    }
}

/// Half round, on the spot.
pub fn turn(poses: &mut [Pose]) {
    let half = Quat::from_rotation_y(std::f32::consts::PI);
    for p in poses {
        p.rotations[Bone::HIPS.index()] = half * p.rotations[Bone::HIPS.index()];
        p.confidences = visibility::confidences(&p.joints().positions);
    }
}

/// Poses before the first shown frame, so that loose parts are in motion when it comes.
pub const LEAD_FRAMES: usize = 12;


#[cfg(test)]
mod tests {
    use super::*;
    use crate::procedural;

    /// The rule that makes the data worth learning from: where a warp is easy, warp and truth agree.
    #[test]
    fn in_the_reference_pose_the_puppet_lies_on_the_truth() {
        let mut studio = Studio::new(128, None).unwrap();
        for (seed, side) in (0..6).flat_map(|s| [(s, Side::Front), (s, Side::Back)]) {
            let look = Look::new(procedural::character(seed), false, side, &mut Rng::new(seed), &mut studio).unwrap();
            let sample = look.rest(&mut studio);
            assert!(sample.error_px[0] < 2.0, "{seed}: {} px", sample.error_px[0]);
            // The left arm is at the right of a front, and called left there of a back too.
            let mean = |part: u8| {
                let at: Vec<usize> = (0..look.parts.len()).filter(|i| look.parts[*i] == part).map(|i| i % 128).collect();
                at.iter().sum::<usize>() as f32 / at.len() as f32
            };
            assert!(mean(3) > mean(4) + 10.0 && mean(5) > mean(6), "{seed}, {side:?}");
            let (mut both, mut any) = (0, 0);
            for (t, p) in sample.truth.chunks_exact(4).zip(sample.puppet.chunks_exact(4)) {
                both += usize::from(t[3] > 127 && p[3] > 127);
                any += usize::from(t[3] > 127 || p[3] > 127);
            }
            assert!(both as f32 / any as f32 > 0.85, "{seed}: overlap {both}/{any}");
        }
    }

    fn wrist_y(pose: &Pose) -> f32 {
        let character = procedural::character(5);
        let style = random_style(&mut Rng::new(1));
        let mut actor = Actor::new(&character, &style);
        let camera = Camera::full_body(128.0, 128.0);
        let drawn = actor.draw(pose, &camera, &mut Raster::new(128, 1));
        drawn.keypoints[SKELETON.keypoint_named("left_wrist").unwrap()].y
    }

    #[test]
    fn a_raised_arm_is_raised_and_a_lowered_one_low() {
        let arm = Bone::named("leftUpperArm").unwrap().index();
        let mut up = Pose::default();
        up.rotations[arm] = Quat::from_rotation_z(1.2);
        assert!(wrist_y(&up) < wrist_y(&Pose::default()) - 10.0);
        assert!(wrist_y(&reference_pose(0.7, 0.06)) > wrist_y(&Pose::default()) + 10.0);
    }

    #[test]
    fn feet_stand_on_the_floor_of_the_camera() {
        let camera = Camera::full_body(256.0, 256.0);
        for seed in 0..5 {
            let character = procedural::character(seed);
            let style = Style { outline: 0.0, ..random_style(&mut Rng::new(seed)) };
            let drawn = Actor::new(&character, &style).draw(&Pose::default(), &camera, &mut Raster::new(256, 2));
            let lowest = (0..256).rev().find(|y| (0..256).any(|x| drawn.rgba[(y * 256 + x) * 4 + 3] > 127)).unwrap();
            let floor = camera.project(Vec3::ZERO).y;
            assert!((lowest as f32 - floor).abs() < 3.0, "{seed}: {lowest} {floor}");
        }
    }
}
