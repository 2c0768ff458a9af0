//! From part pictures to one atlas and a skinned grid of triangles.
//!
//! Weights follow a limb's own length, so a bend is shared smoothly by the two bones that meet at a joint.

use glam::Vec2;

use super::rig::{FOOT_SWING, Rig, bone};
use super::segment::{self, PartPicture, Segmentation};
use super::{Image, LAYER_COUNT, Layer, Vertex};

/// Triangles aimed at, all layers together.
const TRIANGLES: f32 = 1700.0;
const ATLAS_PADDING: usize = 4;

pub(crate) struct Mesh {
    pub atlas: Image,
    pub vertices: Vec<Vertex>,
    pub indices: Vec<u32>,
    pub layers: [Layer; LAYER_COUNT],
}

/// Joints along a limb with the bone that begins at each and how far the blend reaches to either side.
struct Chain {
    points: Vec<Vec2>,
    bones: Vec<usize>,
    reach: Vec<f32>,
    /// The first joint blends this share of its reach later: what lies on the trunk's side stays with the trunk,
    /// so that the limb's root never shows.
    root: f32,
}

impl Chain {
    /// Arc length along the chain of the point nearest to `p`.
    fn along(&self, p: Vec2) -> f32 {
        let mut best = (f32::MAX, 0.0);
        let mut start = 0.0;
        for (i, pair) in self.points.windows(2).enumerate() {
            let (a, d) = (pair[0], pair[1] - pair[0]);
            let last = i + 2 == self.points.len();
            let raw = (p - a).dot(d) / d.length_squared().max(1e-6);
            let t = if last { raw.max(0.0) } else { raw.clamp(if i == 0 { -9.0 } else { 0.0 }, 1.0) };
            let dist = p.distance_squared(a + d * t.min(if last { 1.0 } else { t }));
            if dist < best.0 {
                best = (dist, start + t * d.length());
            }
            start += d.length();
        }
        best.1
    }

    fn joint(&self, j: usize) -> f32 {
        self.points.windows(2).take(j).map(|p| p[0].distance(p[1])).sum()
    }

    /// Weights of each bone at arc length `u`, and the nearest joint as pivot.
    fn weights(&self, u: f32) -> (Vec<(usize, f32)>, Vec2) {
        let mut out = Vec::new();
        let mut rest = 1.0;
        let mut pivot = (f32::MAX, self.points[1.min(self.points.len() - 1)]);
        for j in (1..self.bones.len()).rev() {
            let shift = if j == 1 { self.root * self.reach[1] } else { 0.0 };
            let d = (u - self.joint(j) - shift) / self.reach[j].max(1.0);
            let t = (d * 0.5 + 0.5).clamp(0.0, 1.0);
            let s = t * t * (3.0 - 2.0 * t);
            if s > 0.0 {
                out.push((self.bones[j], rest * s));
                rest *= 1.0 - s;
            }
            if d.abs() < pivot.0 {
                pivot = (d.abs(), self.points[j]);
            }
        }
        out.push((self.bones[0], rest));
        (out, pivot.1)
    }
}

fn arm_chain(rig: &Rig, seg: &Segmentation, s: usize) -> Chain {
    let (sh, e, wr, ha) = (rig.shoulders[s], rig.elbows[s], rig.wrists[s], rig.hands[s]);
    let r = seg.arm_radius[s];
    let back = sh + (sh - e).normalize_or_zero() * (2.0 * r);
    Chain {
        points: vec![back, sh, e, wr, ha],
        bones: vec![bone::shoulder(s), bone::upper_arm(s), bone::lower_arm(s), bone::hand(s)],
        reach: vec![0.0, 1.1 * r, 1.2 * r, (0.9 * r).min(0.6 * wr.distance(ha))],
        root: 0.5,
    }
}

fn leg_chain(rig: &Rig, seg: &Segmentation, s: usize) -> Chain {
    let (hi, k, an, to) = (rig.hips[s], rig.knees[s], rig.ankles[s], rig.toes[s]);
    let r = seg.leg_radius[s];
    let back = hi + (hi - k).normalize_or_zero() * (2.0 * r);
    Chain {
        points: vec![back, hi, k, an, to],
        bones: vec![bone::hip(s), bone::upper_leg(s), bone::lower_leg(s), bone::foot(s)],
        reach: vec![0.0, 1.1 * r, 1.1 * r, (0.6 * r).min(0.5 * an.distance(to)).max(3.0)],
        root: 0.3,
    }
}

fn smooth(t: f32) -> f32 {
    let t = t.clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

struct Skin {
    weights: Vec<(usize, f32)>,
    pivot: Vec2,
    bulge: f32,
    /// Second layer of the part (below the elbow or knee).
    lower: bool,
}

fn skin(rig: &Rig, seg: &Segmentation, part: usize, p: Vec2) -> Skin {
    match part {
        segment::TORSO => torso_skin(rig, seg, p),
        segment::HEAD => head_skin(rig, seg, p),
        2 | 3 => limb_skin(&arm_chain(rig, seg, part - 2), p, 0.0),
        _ => limb_skin(&leg_chain(rig, seg, part - 4), p, FOOT_SWING * rig.foot_depth(part - 4)),
    }
}

/// `depth` is how far the limb's end points at the viewer, pixels: a foot seen from the front.
fn limb_skin(chain: &Chain, p: Vec2, depth: f32) -> Skin {
    let u = chain.along(p);
    let (weights, pivot) = chain.weights(u);
    let end = chain.joint(4) - chain.joint(3);
    let bulge = depth * ((u - chain.joint(3)) / end.max(1.0)).clamp(0.0, 1.2);
    Skin { weights, pivot, bulge, lower: u > chain.joint(2) }
}

fn torso_skin(rig: &Rig, seg: &Segmentation, p: Vec2) -> Skin {
    let up = rig.neck - rig.pelvis;
    let t = (p - rig.pelvis).dot(up) / up.length_squared().max(1.0);
    let chest = smooth((t - 0.15) / 0.6);
    let mut weights = vec![(bone::PELVIS, 1.0 - chest), (bone::CHEST, chest)];
    let mut take = |b: usize, k: f32| {
        if k > 0.0 {
            weights.iter_mut().for_each(|w| w.1 *= 1.0 - k);
            weights.push((b, k));
        }
    };
    let mut pivot = rig.spine;
    for s in 0..2 {
        let reach = 2.6 * seg.arm_radius[s];
        take(bone::collar(s), 0.8 * smooth(1.0 - p.distance(rig.shoulders[s]) / reach));
    }
    if let Some(hem) = rig.hem {
            // A skirt swings with the thighs, more so towards the hem.
            let hip = (rig.hips[0].y + rig.hips[1].y) * 0.5;
            let fall = smooth((p.y - hip) / (hem - hip).max(1.0));
            let width = (rig.hips[0].x - rig.hips[1].x).max(4.0);
            let left = smooth((p.x - rig.pelvis.x) / (1.6 * width) + 0.5);
            if fall > 0.0 {
                take(bone::skirt(0), 0.9 * fall * left);
                let rest = 1.0 - 0.9 * fall * left;
                take(bone::skirt(1), (0.9 * fall * (1.0 - left) / rest.max(0.1)).min(1.0));
                pivot = rig.pelvis;
            }
        }
    let half = 0.5 * rig.shoulders[0].distance(rig.shoulders[1]).max(4.0);
    let across = (p.x - (rig.pelvis.lerp(rig.neck, t.clamp(0.0, 1.0))).x) / half;
    Skin { weights, pivot, bulge: 0.3 * half * (1.0 - across * across).max(0.0), lower: false }
}

fn head_skin(rig: &Rig, seg: &Segmentation, p: Vec2) -> Skin {
    let chain = Chain {
        points: vec![rig.spine, rig.neck, rig.skull, rig.head_top],
        bones: vec![bone::CHEST, bone::NECK, bone::HEAD],
        reach: vec![
            0.0,
            0.9 * seg.neck_radius,
            (0.6 * rig.neck.distance(rig.skull)).max(0.5 * seg.neck_radius),
        ],
        root: 0.0,
    };
    let axis = (rig.head_top - rig.skull).normalize_or(Vec2::NEG_Y);
    let size = rig.head_top.distance(rig.skull).max(4.0);
    // Only the neck itself bends; what lies beside it (jaw, hair) goes with the skull.
    let across = (p - rig.skull).perp_dot(axis).abs();
    let lift = smooth((across - 0.8 * seg.neck_radius) / (0.8 * seg.neck_radius).max(2.0));
    let u = (p - rig.spine).dot((rig.neck - rig.spine).normalize_or(Vec2::NEG_Y));
    let u = u + lift * (chain.joint(2) + chain.reach[2] - u).max(0.0);
    let (mut weights, pivot) = chain.weights(u);
    let middle = rig.skull.lerp(rig.head_top, 0.5);
    let r = 0.55 * size;
    let bulge = 0.42 * r * (1.0 - p.distance_squared(middle) / (r * r)).max(0.0);
    // Hair: what hangs beside or below the skull, away from the face.
    let below = (p - rig.hair[0].lerp(rig.hair[1], 0.5)).dot(-axis);
    let outside = smooth((across - 0.34 * size) / (0.2 * size));
    let mut hang = smooth(below / (0.55 * size)) * outside;
    let mut side = (p.x < middle.x) as usize;
    if let Some(loose) = seg.loose.iter().find(|l| l.contains(p)) {
        hang = smooth(loose.freedom(p));
        side = (loose.anchor.x < middle.x) as usize;
    }
    let mut pivot = pivot;
    if hang > 0.0 {
        weights.iter_mut().for_each(|w| w.1 *= 1.0 - hang);
        weights.push((bone::hair(side), hang));
        pivot = rig.hair[side];
    }
    Skin { weights, pivot, bulge, lower: false }
}

/// The four heaviest, summing to 1.
fn top_four(mut w: Vec<(usize, f32)>) -> ([u32; 4], [f32; 4]) {
    w.sort_by(|a, b| b.1.total_cmp(&a.1));
    w.truncate(4);
    let sum: f32 = w.iter().map(|x| x.1).sum::<f32>().max(1e-6);
    let mut bones = [w[0].0 as u32; 4];
    let mut weights = [0.0; 4];
    for (i, (b, k)) in w.into_iter().enumerate() {
        bones[i] = b as u32;
        weights[i] = k / sum;
    }
    (bones, weights)
}

pub(crate) fn build(seg: &Segmentation, rig: &Rig) -> Mesh {
    let area: usize = seg.pictures.iter().map(|p| p.rgba.chunks_exact(4).filter(|c| c[3] > 0).count()).sum();
    let cell = (area as f32 * 1.45 * 2.0 / TRIANGLES).sqrt().clamp(6.0, 64.0);
    let (atlas, places) = pack(&seg.pictures);
    let mut mesh =
        Mesh { atlas, vertices: Vec::new(), indices: Vec::new(), layers: [Layer::default(); LAYER_COUNT] };
    for (part, picture) in seg.pictures.iter().enumerate() {
        // Limbs bend, trunk and head hardly: triangles go where the bends are.
        let size = if part >= segment::arm(0) { 0.78 } else { 1.35 };
        let (upper, lower) = grid(&mut mesh.vertices, seg, rig, part, picture, places[part], cell * size);
        let layers: &[(usize, Vec<u32>)] = &match part {
            segment::TORSO | segment::HEAD => vec![(part, upper)],
            _ => vec![(2 + (part - 2) * 2, upper), (3 + (part - 2) * 2, lower)],
        };
        for (layer, list) in layers {
            mesh.layers[*layer] = Layer { start: mesh.indices.len() as u32, count: list.len() as u32 };
            mesh.indices.extend_from_slice(list);
        }
    }
    mesh
}

/// Triangles of one part over every cell that shows anything; upper and lower layer.
fn grid(
    vertices: &mut Vec<Vertex>,
    seg: &Segmentation,
    rig: &Rig,
    part: usize,
    picture: &PartPicture,
    place: (usize, usize),
    cell: f32,
) -> (Vec<u32>, Vec<u32>) {
    let (mut upper, mut lower) = (Vec::new(), Vec::new());
    if picture.width == 0 {
        return (upper, lower);
    }
    // One pixel of clear rim is drawn too, so that bilinear edges are whole.
    let (w, h) = (picture.width as f32 + 2.0, picture.height as f32 + 2.0);
    let (nx, ny) = ((w / cell).ceil().max(1.0) as usize, (h / cell).ceil().max(1.0) as usize);
    let (sx, sy) = (w / nx as f32, h / ny as f32);
    let mut ids = vec![u32::MAX; (nx + 1) * (ny + 1)];
    let mut low = vec![false; (nx + 1) * (ny + 1)];
    let shown = |x: usize, y: usize| -> bool {
        let range = |i: usize, s: f32, n: usize| {
            let a = (i as f32 * s - 2.0).floor().max(0.0) as usize;
            let b = (((i + 1) as f32 * s).ceil() as usize).min(n);
            a..b
        };
        range(y, sy, picture.height)
            .any(|v| range(x, sx, picture.width).any(|u| picture.rgba[(v * picture.width + u) * 4 + 3] > 0))
    };
    let mut corner = |x: usize, y: usize, low: &mut [bool]| -> u32 {
        let k = y * (nx + 1) + x;
        if ids[k] != u32::MAX {
            return ids[k];
        }
        let local = Vec2::new(x as f32 * sx - 1.0, y as f32 * sy - 1.0);
        let rest = local + Vec2::new(picture.x0 as f32, picture.y0 as f32);
        let s = skin(rig, seg, part, rest);
        let (bones, weights) = top_four(s.weights);
        let (u, v) = (
            (local.x.max(0.0) as usize).min(picture.width - 1),
            (local.y.max(0.0) as usize).min(picture.height - 1),
        );
        let uv = local + Vec2::new(place.0 as f32, place.1 as f32);
        vertices.push(Vertex {
            rest: rest.into(),
            uv: uv.into(),
            pivot: s.pivot.into(),
            bulge: s.bulge,
            validity: nearest_own(picture, u, v, cell as usize),
            bones,
            weights,
        });
        ids[k] = vertices.len() as u32 - 1;
        low[k] = s.lower;
        ids[k]
    };
    for y in 0..ny {
        for x in 0..nx {
            if !shown(x, y) {
                continue;
            }
            let c = [
                corner(x, y, &mut low),
                corner(x + 1, y, &mut low),
                corner(x, y + 1, &mut low),
                corner(x + 1, y + 1, &mut low),
            ];
            let k = y * (nx + 1) + x;
            let l = [low[k], low[k + 1], low[k + nx + 1], low[k + nx + 2]];
            for t in [[0, 2, 1], [1, 2, 3]] {
                let count = t.iter().filter(|&&i| l[i]).count();
                let list = if count >= 2 { &mut lower } else { &mut upper };
                list.extend(t.map(|i| c[i]));
            }
        }
    }
    (upper, lower)
}

/// Validity of the shown pixel nearest to a corner: corners often lie just outside the alpha.
fn nearest_own(p: &PartPicture, x: usize, y: usize, reach: usize) -> f32 {
    for r in 0..=reach {
        let (xa, xb) = (x.saturating_sub(r), (x + r).min(p.width - 1));
        let (ya, yb) = (y.saturating_sub(r), (y + r).min(p.height - 1));
        let mut best = None;
        for v in ya..=yb {
            for u in xa..=xb {
                let edge = u == xa || u == xb || v == ya || v == yb;
                if edge && p.rgba[(v * p.width + u) * 4 + 3] > 0 {
                    best = best.max(Some(p.own[v * p.width + u]));
                }
            }
        }
        if let Some(b) = best {
            return b as f32 / 255.0;
        }
    }
    1.0
}

/// Shelves, tallest first, in a picture about as wide as it is high.
fn pack(pictures: &[PartPicture]) -> (Image, Vec<(usize, usize)>) {
    let pad = ATLAS_PADDING;
    let area: usize = pictures.iter().map(|p| (p.width + pad) * (p.height + pad)).sum();
    let widest = pictures.iter().map(|p| p.width + 2 * pad).max().unwrap_or(8);
    let width = ((area as f32 * 1.15).sqrt() as usize).max(widest);
    let mut order: Vec<usize> = (0..pictures.len()).collect();
    order.sort_by_key(|&i| std::cmp::Reverse(pictures[i].height));
    let mut places = vec![(0, 0); pictures.len()];
    let (mut x, mut y, mut shelf) = (pad, pad, 0);
    for i in order {
        let p = &pictures[i];
        if x + p.width + pad > width {
            (x, y, shelf) = (pad, y + shelf + pad, 0);
        }
        places[i] = (x, y);
        x += p.width + pad;
        shelf = shelf.max(p.height);
    }
    // Multiples of four halve cleanly twice.
    let up = |v: usize| v.div_ceil(4) * 4;
    let mut atlas = Image::new(up(width) as u32, up(y + shelf + pad) as u32);
    for (p, &(px, py)) in pictures.iter().zip(&places) {
        for row in 0..p.height {
            let to = ((py + row) * atlas.width as usize + px) * 4;
            let from = row * p.width * 4;
            atlas.rgba[to..to + p.width * 4].copy_from_slice(&p.rgba[from..from + p.width * 4]);
        }
    }
    (atlas, places)
}
