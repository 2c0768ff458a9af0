//! From part pictures to one atlas and a skinned grid of triangles.
//!
//! Weights follow a limb's own length, so a bend is shared smoothly by the two bones that meet at a joint.

use glam::Vec2;

use super::rig::{FOOT_SWING, Rig, bone};
use super::segment::{self, PartPicture, Segmentation};
use super::lids::{self, Lid};
use super::expression::jaw_reach;
use super::face::Spot;
use super::{Face, Image, LAYER_COUNT, Layer, Vertex};

/// Triangles aimed at, all layers together.
const TRIANGLES: f32 = 1700.0;
const ATLAS_PADDING: usize = 4;

pub(crate) struct Mesh {
    pub atlas: Image,
    pub vertices: Vec<Vertex>,
    pub indices: Vec<u32>,
    pub layers: [Layer; LAYER_COUNT],
    /// What of the face moves.
    pub face: Face,
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

/// How far the head's surface is before its middle, pixels.
pub(super) fn head_bulge(rig: &Rig, p: Vec2) -> f32 {
    let r = 0.55 * rig.head_top.distance(rig.skull).max(4.0);
    0.42 * r * (1.0 - p.distance_squared(rig.skull.lerp(rig.head_top, 0.5)) / (r * r)).max(0.0)
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
    // Only the neck itself bends; what lies beside it (jaw, hair) goes with the skull.
    let across = (p - rig.skull).perp_dot(axis).abs();
    let lift = smooth((across - 0.8 * seg.neck_radius) / (0.8 * seg.neck_radius).max(2.0));
    let u = (p - rig.spine).dot((rig.neck - rig.spine).normalize_or(Vec2::NEG_Y));
    let u = u + lift * (chain.joint(2) + chain.reach[2] - u).max(0.0);
    let (mut weights, pivot) = chain.weights(u);
    let bulge = head_bulge(rig, p);
    let (hang, side) = hang(rig, seg, p);
    let mut pivot = pivot;
    if hang > 0.0 {
        weights.iter_mut().for_each(|w| w.1 *= 1.0 - hang);
        weights.push((bone::hair(side), hang));
        pivot = rig.hair[side];
    }
    Skin { weights, pivot, bulge, lower: false }
}

/// How much a place of the head swings as hair does, and from which side it hangs.
pub(super) fn hang(rig: &Rig, seg: &Segmentation, p: Vec2) -> (f32, usize) {
    let axis = (rig.head_top - rig.skull).normalize_or(Vec2::NEG_Y);
    let size = rig.head_top.distance(rig.skull).max(4.0);
    let middle = rig.skull.lerp(rig.head_top, 0.5);
    // Hair: what hangs beside or below the skull, away from the face.
    let across = (p - rig.skull).perp_dot(axis).abs();
    let below = (p - rig.hair[0].lerp(rig.hair[1], 0.5)).dot(-axis);
    let outside = smooth((across - 0.34 * size) / (0.2 * size));
    let mut hang = if seg.still { 0.0 } else { smooth(below / (0.55 * size)) * outside };
    let mut side = (p.x < middle.x) as usize;
    if let Some(loose) = seg.loose.iter().find(|l| l.contains(p)) {
        hang = smooth(loose.freedom(p));
        side = (loose.anchor.x < middle.x) as usize;
    }
    let (head, hair) = seg.painted_head(p);
    // Above the ears it only nods, and in the middle, where left and right part, it is still: it would be torn.
    let hangs = 0.12 + 0.88 * smooth(below / (0.3 * size) + 0.5);
    let apart = smooth((p - middle).perp_dot(axis).abs() / (0.25 * size));
    let free = smooth(p.distance(rig.hair[side]) / (0.5 * size)) * hangs * apart;
    (hang * (1.0 - head - hair).max(0.0) + free.max(hang) * hair, side)
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

/// `face` says where eyes and mouth of `figure` are; those that cannot be moved are left out.
pub(crate) fn build(seg: &Segmentation, rig: &Rig, figure: &Image, face: Face) -> Mesh {
    let area: usize = seg.pictures.iter().map(|p| p.rgba.chunks_exact(4).filter(|c| c[3] > 0).count()).sum();
    let cell = (area as f32 * 1.45 * 2.0 / TRIANGLES).sqrt().clamp(6.0, 64.0);
    let moving = Moving::new(seg, figure, face);
    let face = moving.face();
    let lids = moving.eyes.iter().flatten().map(|(_, lid)| &lid.picture);
    let pictures: Vec<&PartPicture> = seg.pictures.iter().chain(lids).collect();
    let (atlas, places) = pack(&pictures);
    let mut mesh =
        Mesh { atlas, vertices: Vec::new(), indices: Vec::new(), layers: [Layer::default(); LAYER_COUNT], face };
    for (part, picture) in seg.pictures.iter().enumerate() {
        // Limbs bend, trunk and head hardly: triangles go where the bends are.
        let size = if part >= segment::arm(0) { 0.78 } else { 1.35 };
        let (mut upper, lower) = grid(&mut mesh.vertices, seg, rig, part, picture, places[part], cell * size);
        if part == segment::HEAD {
            let hung = Hung { seg, rig, head: picture, place: places[part], lids: &places[seg.pictures.len()..], travel: face.lid_travel() };
            hung.hang(&moving, &mut mesh.vertices, &mut upper);
        }
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

/// The parts of a face that can be moved: eyes with their lids, left and right, and the mouth.
struct Moving {
    eyes: [Option<(Spot, Lid)>; 2],
    mouth: Option<Spot>,
}

impl Moving {
    fn new(seg: &Segmentation, figure: &Image, face: Face) -> Moving {
        let head = &seg.pictures[segment::HEAD];
        let (low, high) = (Vec2::new(head.x0 as f32, head.y0 as f32), Vec2::new((head.x0 + head.width) as f32, (head.y0 + head.height) as f32));
        let whole = Vec2::new(figure.width as f32, figure.height as f32);
        let movable = |s: &Spot| s.low().cmpge(low).all() && s.high().cmple(high).all() && s.check(whole).is_ok();
        let eye = |spot: Option<Spot>| spot.filter(movable).and_then(|s| Some((s, lids::close(figure, &s)?)));
        Moving { eyes: [face.left_eye, face.right_eye].map(eye), mouth: face.mouth.filter(movable) }
    }

    fn face(&self) -> Face {
        let [left_eye, right_eye] = [0, 1].map(|s: usize| self.eyes[s].as_ref().map(|e| e.0));
        Face { left_eye, right_eye, mouth: self.mouth }
    }
}

/// The face as a mesh over the head's: at rest it shows what the head shows.
struct Hung<'a> {
    seg: &'a Segmentation,
    rig: &'a Rig,
    /// The head's picture and its place in the atlas.
    head: &'a PartPicture,
    place: (usize, usize),
    /// Places of the lids' pictures in the atlas.
    lids: &'a [(usize, usize)],
    /// Pixels that a lid moves by where its bone has all the weight.
    travel: f32,
}

/// Cells of an eye's own grid, and of a mouth's, a side.
const EYE_CELLS: usize = 6;
const MOUTH_CELLS: usize = 8;

impl Hung<'_> {
    fn hang(&self, moving: &Moving, vertices: &mut Vec<Vertex>, indices: &mut Vec<u32>) {
        if let Some(mouth) = &moving.mouth {
            self.mouth(mouth, vertices, indices);
        }
        for ((spot, lid), place) in moving.eyes.iter().flatten().zip(self.lids) {
            self.eye(spot, vertices, indices);
            self.lid(lid, *place, vertices, indices);
        }
    }

    /// A corner that moves with the head but for the shares of its weight that face bones have.
    fn corner(&self, rest: Vec2, uv: Vec2, shares: &[(usize, f32)]) -> Vertex {
        let s = head_skin(self.rig, self.seg, rest);
        let mut weights = s.weights;
        let head = weights.iter().filter(|w| w.0 == bone::HEAD).map(|w| w.1).sum::<f32>();
        let taken: f32 = shares.iter().map(|s| s.1.clamp(0.0, 1.0)).sum::<f32>().min(1.0);
        weights.iter_mut().filter(|w| w.0 == bone::HEAD).for_each(|w| w.1 *= 1.0 - taken);
        weights.extend(shares.iter().map(|(b, k)| (*b, head * k.clamp(0.0, 1.0))));
        let (bones, weights) = top_four(weights);
        Vertex { rest: rest.into(), uv: uv.into(), pivot: s.pivot.into(), bulge: s.bulge, validity: 1.0, bones, weights }
    }

    /// A grid over part of the head's own picture, in which `share` of every place follows `bone`.
    fn over(&self, spot: &Spot, cells: usize, bone: usize, share: impl Fn(Vec2) -> f32, vertices: &mut Vec<Vertex>, indices: &mut Vec<u32>) {
        let origin = Vec2::new(self.head.x0 as f32, self.head.y0 as f32);
        let most = origin + Vec2::new(self.head.width as f32, self.head.height as f32);
        let (low, high) = (spot.low().max(origin), spot.high().min(most));
        let to_atlas = Vec2::new(self.place.0 as f32, self.place.1 as f32) - origin;
        let first = vertices.len() as u32;
        for i in 0..(cells + 1) * (cells + 1) {
            let k = Vec2::new((i % (cells + 1)) as f32, (i / (cells + 1)) as f32) / cells as f32;
            let rest = low + (high - low) * k;
            vertices.push(self.corner(rest, rest + to_atlas, &[(bone, share(rest))]));
        }
        strip(first, cells, cells, indices);
    }

    /// What is within an eye's rim goes with the gaze, less and less towards the rim.
    fn eye(&self, spot: &Spot, vertices: &mut Vec<Vertex>, indices: &mut Vec<u32>) {
        let share = |p: Vec2| {
            let d = ((p - spot.centre) / (0.5 * spot.size)).length_squared();
            (1.0 - d).max(0.0).powi(2)
        };
        self.over(spot, EYE_CELLS, bone::GAZE, share, vertices, indices);
    }

    /// The lower lip goes with the jaw; corners and upper lip stay.
    fn mouth(&self, spot: &Spot, vertices: &mut Vec<Vertex>, indices: &mut Vec<u32>) {
        let below = 1.5 * jaw_reach(spot.size);
        let (top, bottom) = (spot.low().y, spot.high().y);
        let share = |p: Vec2| {
            let t = (p.x - spot.centre.x) / (0.56 * spot.size.x);
            let down = if p.y < bottom { (p.y - top) / (bottom - top) } else { 1.0 - smooth((p.y - bottom) / below) };
            (1.0 - t * t).max(0.0) * down.clamp(0.0, 1.0)
        };
        let centre = Vec2::new(spot.centre.x, 0.5 * (top + bottom + below));
        let around = Spot { centre, size: Vec2::new(1.16 * spot.size.x, spot.size.y + below) };
        self.over(&around, MOUTH_CELLS, bone::JAW, share, vertices, indices);
    }

    /// Sheets that hang, rolled up, from the upper rim of the eye and stand at its lower one.
    fn lid(&self, lid: &Lid, place: (usize, usize), vertices: &mut Vec<Vertex>, indices: &mut Vec<u32>) {
        let to_atlas = Vec2::new(place.0 as f32 - lid.picture.x0 as f32, place.1 as f32 - lid.picture.y0 as f32);
        let columns = lid.columns.len() - 1;
        let uv = |x: f32, y: f32| Vec2::new(x, y) + to_atlas;
        let first = vertices.len() as u32;
        for c in &lid.columns {
            let low = c.closed + c.half - 0.75;
            let up = [(bone::LOWER_LID, (c.bottom - low) / self.travel)];
            let rest = Vec2::new(c.x, c.bottom);
            vertices.push(self.corner(rest, uv(c.x, low), &up));
        }
        for c in &lid.columns {
            vertices.push(self.corner(Vec2::new(c.x, c.bottom), uv(c.x, c.bottom), &[]));
        }
        strip(first, columns, 1, indices);
        let first = vertices.len() as u32;
        for row in 0..3 {
            for c in &lid.columns {
                let rest = Vec2::new(c.x, c.top);
                let down = (bone::LID, (c.closed - c.half - c.top) / self.travel);
                vertices.push(match row {
                    0 => self.corner(rest, uv(c.x, c.top), &[]),
                    1 => self.corner(rest, uv(c.x, c.closed - c.half), &[down]),
                    _ => self.corner(rest, uv(c.x, c.closed + c.half), &[down, (bone::LASH, 2.0 * c.half / self.travel)]),
                });
            }
        }
        strip(first, columns, 2, indices);
    }
}

/// Two triangles for each of `columns` x `rows` cells, whose corners follow each other row by row from `first` on.
fn strip(first: u32, columns: usize, rows: usize, indices: &mut Vec<u32>) {
    let wide = columns as u32 + 1;
    for y in 0..rows as u32 {
        for x in 0..columns as u32 {
            let a = first + y * wide + x;
            indices.extend([a, a + wide, a + 1, a + 1, a + wide, a + wide + 1]);
        }
    }
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
fn pack(pictures: &[&PartPicture]) -> (Image, Vec<(usize, usize)>) {
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
