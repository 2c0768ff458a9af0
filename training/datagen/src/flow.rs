//! Where the warp shows what the truth shows: the flow that a denoiser should find.
//!
//! From a pixel of the truth to its place on the character, to where the reference picture shows that place, to where the puppet
//! has taken it. Unknown where any of them hides it.

use glam::{Vec2, Vec3};
use odori_engine::avatar::rigged::character::Character;
use odori_engine::avatar::rigged::raster::{Raster, Screen};
use odori_engine::avatar::rigged::stage::Drawn;
use odori_engine::avatar::{Avatar, PuppetFrame};
use odori_engine::render::cpu::{PuppetPicture, shown};

/// Cells of the flow a side.
pub const FLOW_GRID: usize = 64;
/// What is said where nothing is known.
pub const UNKNOWN: i16 = i16::MIN;
/// Parts of a pixel that the flow is told in.
pub const PARTS: f32 = 64.0;
/// How far behind the front of the reference a place may lie and be seen, metres.
const THICKNESS_M: f32 = 0.03;
/// A place counts as shown by the picture from this validity on.
const SHOWN: f32 = 0.9;

/// What of a look's flow never changes.
pub struct Surface {
    /// Where the drawn reference shows each vertex of the character, pixels, and how near.
    places: Vec<Vec3>,
    /// How near the front of the drawn reference is, by pixel; -infinity where no front is.
    front: Vec<f32>,
    side: usize,
    /// From the drawn reference's pixels to the avatar's.
    scale: f32,
    offset: Vec2,
    /// For every pixel of the avatar's reference the triangle of its mesh that shows it, and that triangle's layer.
    owners: Vec<Option<(u32, u8)>>,
    width: usize,
}

/// Barycentrics of `p`.
fn weights(p: Vec2, [a, b, c]: [Vec2; 3]) -> Option<[f32; 3]> {
    let area = (b - a).perp_dot(c - a);
    if area.abs() < 1e-9 {
        return None;
    }
    let (wb, wc) = ((p - a).perp_dot(c - a) / area, (b - a).perp_dot(p - a) / area);
    Some([1.0 - wb - wc, wb, wc])
}

impl Surface {
    /// `drawn` is the reference as `raster` has just drawn it, `side` pixels a side.
    pub fn new(avatar: &Avatar, drawn: &Drawn, raster: &Raster, side: usize) -> Surface {
        let front = (0..side * side)
            .map(|i| raster.front(Vec2::new((i % side) as f32 + 0.5, (i / side) as f32 + 0.5)).map_or(f32::NEG_INFINITY, |f| f.1))
            .collect();
        let extent = |k: &[Vec2]| k.iter().fold((Vec2::INFINITY, Vec2::NEG_INFINITY), |(a, b), p| (a.min(*p), b.max(*p)));
        let ((low, high), (own_low, own_high)) = (extent(&drawn.keypoints), extent(&avatar.keypoints));
        let scale = (own_high - own_low).length() / (high - low).length().max(1e-3);
        let (width, height) = (avatar.reference.width as usize, avatar.reference.height as usize);
        let mut owners = vec![None; width * height];
        for (layer, l) in avatar.layers.iter().enumerate() {
            for t in (l.start..l.start + l.count).step_by(3) {
                let corners = [0, 1, 2].map(|k| &avatar.vertices[avatar.indices[(t + k) as usize] as usize]);
                let rest = corners.map(|v| Vec2::from(v.rest));
                let (a, b) = extent(&rest);
                for y in a.y.max(0.0) as usize..(b.y.max(0.0).ceil() as usize).min(height) {
                    for x in a.x.max(0.0) as usize..(b.x.max(0.0).ceil() as usize).min(width) {
                        let Some(w) = weights(Vec2::new(x as f32 + 0.5, y as f32 + 0.5), rest) else { continue };
                        let validity: f32 = w.iter().zip(&corners).map(|(w, v)| w * v.validity).sum();
                        if w.iter().all(|w| *w >= -1e-4) && validity > SHOWN {
                            owners[y * width + x] = Some((t, layer as u8));
                        }
                    }
                }
            }
        }
        Surface { places: drawn.vertices.iter().map(|v| v.position).collect(), front, side, scale, offset: own_low - low * scale, owners, width }
    }

    /// A place in the drawn reference is in the avatar's at it times the first plus the second.
    pub fn to_avatar(&self) -> (f32, Vec2) {
        (self.scale, self.offset)
    }

    /// `FLOW_GRID`^2 times x and y, in `PARTS` of a pixel of the square frame: what the truth shows in the middle of a cell
    /// lies that much farther on in the warp. `truth` has just drawn `vertices`, `picture` is the warp.
    pub fn flow(&self, character: &Character, vertices: &[Screen], truth: &Raster, avatar: &Avatar, frame: &PuppetFrame, picture: &PuppetPicture) -> Vec<i16> {
        let moved = shown(avatar, frame);
        let cell = frame.width / FLOW_GRID as f32;
        let mut out = Vec::with_capacity(FLOW_GRID * FLOW_GRID * 2);
        for i in 0..FLOW_GRID * FLOW_GRID {
            let p = Vec2::new((i % FLOW_GRID) as f32 + 0.5, (i / FLOW_GRID) as f32 + 0.5) * cell;
            let there = self.place(p, character, vertices, truth).and_then(|at| self.warped(at, avatar, &moved, picture, frame.width));
            match there {
                Some(there) => out.extend(((there - p) * PARTS).to_array().map(|v| v.round().clamp(-32000.0, 32000.0) as i16)),
                None => out.extend([UNKNOWN; 2]),
            }
        }
        out
    }

    /// Where the avatar's reference shows what the truth shows at `p`.
    fn place(&self, p: Vec2, character: &Character, vertices: &[Screen], truth: &Raster) -> Option<Vec2> {
        let corners = character.triangles[truth.front(p)?.0].corners.map(|c| c as usize);
        let w = weights(p, corners.map(|c| vertices[c].position.truncate()))?;
        let at: Vec3 = corners.iter().zip(w).map(|(&c, w)| self.places[c] * w).sum();
        let (x, y) = (at.x.max(0.0) as usize, at.y.max(0.0) as usize);
        let front = *self.front.get(y * self.side + x.min(self.side - 1))?;
        // Where the reference shows a line there is no front; the line is as near as what it surrounds.
        (front == f32::NEG_INFINITY || at.z > front - THICKNESS_M).then(|| at.truncate() * self.scale + self.offset)
    }

    /// Where the warp shows what the reference shows at `at`.
    fn warped(&self, at: Vec2, avatar: &Avatar, moved: &[Vec2], picture: &PuppetPicture, size: f32) -> Option<Vec2> {
        let (x, y) = (at.x.max(0.0) as usize, at.y.max(0.0) as usize);
        let (t, layer) = (*self.owners.get(y * self.width + x.min(self.width - 1))?)?;
        let corners = [0, 1, 2].map(|k| avatar.indices[(t + k) as usize] as usize);
        let w = weights(at, corners.map(|c| Vec2::from(avatar.vertices[c].rest)))?;
        let there: Vec2 = corners.iter().zip(w).map(|(&c, w)| moved[c] * w).sum();
        let pixel = there * (picture.width as f32 / size);
        let inside = pixel.cmpge(Vec2::ZERO).all() && pixel.x < picture.width as f32 && pixel.y < picture.height as f32;
        (inside && picture.part[pixel.y as usize * picture.width + pixel.x as usize] == layer + 1).then_some(there)
    }
}

#[cfg(test)]
mod tests {
    use glam::Quat;
    use odori_engine::avatar::rigged::character::reference_pose;
    use odori_engine::skeleton::Bone;

    use odori_engine::avatar::Side;

    use super::*;
    use crate::clips::Window;
    use crate::look::{Look, Studio};
    use crate::procedural;
    use crate::rng::Rng;

    #[test]
    fn the_warp_shows_there_what_the_truth_shows_here() {
        let size = 128;
        let mut studio = Studio::new(size, None).unwrap();
        let mut pose = reference_pose(0.7, 0.07);
        for (bone, by) in [("spine", 0.25), ("chest", 0.2), ("head", 0.3)] {
            pose.rotations[Bone::named(bone).unwrap().index()] = Quat::from_rotation_y(by);
        }
        let (mut still, mut moved, mut known, mut figure) = (0.0, 0.0, 0, 0);
        for seed in 0..6 {
            let look = Look::new(procedural::character(seed), false, Side::Front, &mut Rng::new(seed), &mut studio).unwrap();
            let sample = look.sample(&Window { row: 0, poses: vec![pose.clone()], lead: 0 }, &mut Rng::new(0), &mut studio);
            // Between pixels, as cells' middles lie.
            let at = |picture: &[u8], p: Vec2| -> [f32; 4] {
                let p = (p - 0.5).clamp(Vec2::ZERO, Vec2::splat(126.0));
                let (x, y, k) = (p.x as usize, p.y as usize, p.fract());
                let pixel = |x: usize, y: usize, c: usize| f32::from(picture[(y * size + x) * 4 + c]);
                std::array::from_fn(|c| {
                    let row = |y: usize| pixel(x, y, c) * (1.0 - k.x) + pixel(x + 1, y, c) * k.x;
                    row(y) * (1.0 - k.y) + row(y + 1) * k.y
                })
            };
            let off = |a: [f32; 4], b: [f32; 4]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>();
            for (i, f) in sample.flow.chunks_exact(2).enumerate() {
                let p = (Vec2::new((i % FLOW_GRID) as f32, (i / FLOW_GRID) as f32) + 0.5) * 2.0;
                let shown = at(&sample.truth, p);
                figure += usize::from(shown[3] > 250.0);
                if f[0] != UNKNOWN {
                    let by = Vec2::new(f32::from(f[0]), f32::from(f[1])) / PARTS;
                    assert!(by.length() < 30.0, "{seed}: {by} px");
                    still += off(shown, at(&sample.puppet, p));
                    moved += off(shown, at(&sample.puppet, p + by));
                    known += 1;
                }
            }
        }
        assert!(known * 2 > figure, "known of {known} in {figure} cells");
        assert!(moved < 0.75 * still, "{moved} moved, {still} unmoved");
    }
}
