//! From a 3D pose to 2D bone transforms in the avatar's own proportions.
//!
//! The skeleton gives directions, depth and turn; the avatar gives lengths. Nothing is remembered between
//! frames: the same pose always gives the same frame (springs are a step of their own).

use std::sync::LazyLock;

use glam::{Mat2, Quat, Vec2, Vec3};

use super::rig::{BONES, FOOT_SWING, Rig, bone, keypoint};
use super::{Avatar, LAYER_COUNT};
use crate::pose::{Camera, Joints, Keypoint, Pose};
use crate::skeleton::{Bone, CONFIDENCE_COUNT, KEYPOINT_COUNT, SKELETON};

/// Where one bone goes: `p -> turn(angle) * (stretch * p) + offset`, and `+ bulge * depth` for rounded parts.
/// Same layout as the WGSL struct (checked by a test): 48 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct BoneTransform {
    /// Pixels of the output.
    pub offset: [f32; 2],
    /// Output pixels for a pixel of depth towards the viewer.
    pub bulge: [f32; 2],
    /// Symmetric: xx, xy, yy; output pixels to a pixel of the reference.
    pub stretch: [f32; 3],
    /// Radians, clockwise as seen; never wrapped between neighbours.
    pub angle: f32,
    /// How far the drawn part may be trusted, 0 to 1: foreshortened limbs less.
    pub trust: f32,
    pub pad: [f32; 3],
}

impl BoneTransform {
    pub fn linear(&self) -> Mat2 {
        let [xx, xy, yy] = self.stretch;
        Mat2::from_angle(self.angle) * Mat2::from_cols(Vec2::new(xx, xy), Vec2::new(xy, yy))
    }

    pub fn apply(&self, p: Vec2) -> Vec2 {
        self.linear() * p + Vec2::from(self.offset)
    }
}

/// Everything needed to draw the puppet once.
#[derive(Clone, Debug, PartialEq)]
pub struct PuppetFrame {
    pub bones: [BoneTransform; BONES],
    /// Layers from the farthest to the nearest.
    pub order: [u8; LAYER_COUNT],
    /// Picture that the transforms were made for, pixels.
    pub width: f32,
    pub height: f32,
    /// Output pixels to a pixel of the reference, before any foreshortening.
    pub scale: f32,
    /// Where the avatar's own joints are now, pixels of the output.
    pub keypoints: [Keypoint; KEYPOINT_COUNT],
    /// How much nearer to the viewer than the pelvis each keypoint is, metres of the skeleton.
    pub depths: [f32; KEYPOINT_COUNT],
    /// Which way hips, chest and head face: of each its X and its Z axis in the world.
    pub facing: [f32; FACING],
}

/// Numbers of [`PuppetFrame::facing`].
pub const FACING: usize = 18;
/// Where in them the chest's Z axis begins: forward of it.
pub const CHEST_FORWARD: usize = 9;

struct Names {
    chest: usize,
    upper_chest: usize,
    neck: usize,
    head: usize,
    shoulder: [usize; 2],
    elbow: [usize; 2],
    wrist: [usize; 2],
    knuckle: [usize; 2],
    hip: [usize; 2],
    knee: [usize; 2],
    ankle: [usize; 2],
    /// Rest height of the ankle above the ground, metres.
    ankle_height: f32,
    /// Hip to ankle, and soles to crown, metres.
    leg: f32,
    height: f32,
}

static NAMES: LazyLock<Names> = LazyLock::new(|| {
    let one = |n: &str| Bone::named(n).unwrap_or_else(|| panic!("the skeleton has {n}")).index();
    let pair = |n: &str| [one(&format!("left{n}")), one(&format!("right{n}"))];
    let (hip, knee, ankle) = (pair("UpperLeg"), pair("LowerLeg"), pair("Foot"));
    let rest = &SKELETON.rest_joints;
    let top = &SKELETON.keypoints[keypoint("head_top")];
    Names {
        chest: one("chest"),
        upper_chest: one("upperChest"),
        neck: one("neck"),
        head: one("head"),
        shoulder: pair("UpperArm"),
        elbow: pair("LowerArm"),
        wrist: pair("Hand"),
        knuckle: pair("MiddleProximal"),
        ankle_height: rest[ankle[0]].y,
        leg: rest[hip[0]].distance(rest[knee[0]]) + rest[knee[0]].distance(rest[ankle[0]]),
        height: rest[top.bone.index()].y + top.offset.y,
        hip,
        knee,
        ankle,
    }
});

fn flat(v: Vec3) -> Vec2 {
    Vec2::new(v.x, -v.y)
}

/// Into (-pi, pi] around `centre`.
fn wrap(a: f32, centre: f32) -> f32 {
    use std::f32::consts::{PI, TAU};
    (a - centre + PI).rem_euclid(TAU) - PI + centre
}

fn angle_of(v: Vec2) -> f32 {
    v.y.atan2(v.x)
}

/// `along` times the axis, `across` times its normal.
fn stretch(axis: Vec2, along: f32, across: f32) -> [f32; 3] {
    let (u, n) = (axis, axis.perp());
    [
        along * u.x * u.x + across * n.x * n.x,
        along * u.x * u.y + across * n.x * n.y,
        along * u.y * u.y + across * n.y * n.y,
    ]
}

fn pinned(rest: Vec2, to: Vec2, angle: f32, stretch: [f32; 3], trust: f32) -> BoneTransform {
    let mut t = BoneTransform { stretch, angle, trust, ..Default::default() };
    t.offset = (to - t.linear() * rest).into();
    t
}

/// A turning block of the trunk: how its flat picture leans, shortens, narrows and shows depth.
struct Block {
    angle: f32,
    along: f32,
    across: f32,
    depth: f32,
}

/// `up` is the block's own direction in the world (unit), `least` the narrowest it may get.
fn block(rotation: Quat, up: Vec3, least: f32, shortest: f32) -> Block {
    let u = flat(up);
    // Leaning straight at the viewer leaves no direction: fall back to upright little by little.
    let steady = Vec2::new(u.x, u.y - 0.35 * (1.0 - u.length()).max(0.0));
    let angle = steady.x.atan2(-steady.y);
    let back = Mat2::from_angle(-angle);
    let side = (back * flat(rotation * Vec3::X)).x;
    let depth = (back * flat(rotation * Vec3::Z)).x;
    // Seen from behind, the front is all there is: no mirror, no roundness.
    let front = (side * 2.5).clamp(0.0, 1.0);
    Block {
        angle,
        along: u.length().clamp(shortest, 1.0),
        across: side.abs().max(least),
        depth: depth.clamp(-0.6, 0.6) * front,
    }
}

impl Block {
    /// Held within `reach` radians of the block below it: a flat picture that folds further shows its inside out.
    fn within(mut self, below: f32, reach: f32) -> Block {
        self.angle = below + (wrap(self.angle, below) - below).clamp(-reach, reach);
        self
    }

    fn transform(&self, rest: Vec2, to: Vec2, axis: Vec2, scale: f32) -> BoneTransform {
        let rest_angle = axis.x.atan2(-axis.y);
        let angle = self.angle - rest_angle;
        let mut t = pinned(rest, to, angle, stretch(axis, self.along * scale, self.across * scale), 1.0);
        t.trust = (self.across * 1.6 - 0.6).clamp(0.2, 1.0);
        let across = Mat2::from_angle(self.angle) * Vec2::X;
        t.bulge = (across * self.depth * scale).into();
        t
    }
    fn direction(&self) -> Vec2 {
        Vec2::new(self.angle.sin(), -self.angle.cos())
    }
}

/// Shortest that a limb is drawn, of its own length: a limb that points at the viewer is still something.
const SHORTEST_LIMB: f32 = 0.22;

struct Limb<'a> {
    frame: &'a mut [BoneTransform; BONES],
    scale: f32,
}

impl Limb<'_> {
    /// Lays a limb bone from `start` in the world direction `d` (unit); gives where it ends.
    #[allow(clippy::too_many_arguments)]
    fn bone(&mut self, id: usize, rest: [Vec2; 2], length: f32, start: Vec2, d: Vec3, parent: f32, centre: f32, shortest: f32) -> (Vec2, f32) {
        let r = rest[1] - rest[0];
        let axis = r.normalize_or(Vec2::Y);
        let f2 = flat(d);
        let seen = f2.length();
        let direction = if seen > 1e-4 { f2 / seen } else { Mat2::from_angle(parent) * axis };
        let shown = seen.max(shortest);
        let angle = wrap(angle_of(direction) - angle_of(axis), parent + centre);
        let along = self.scale * shown * length / r.length().max(1.0);
        let trust = ((seen - 0.15) / 0.5).clamp(0.15, 1.0);
        self.frame[id] = pinned(rest[0], start, angle, stretch(axis, along, self.scale), trust);
        (start + direction * (shown * length * self.scale), angle)
    }
}

/// Which side of a character a picture shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    Front,
    /// Its left is at the picture's left; all else of an avatar is called as if it were a front.
    Back,
}

/// Drives the avatar: `pose` in metres on the stage, `camera` says which picture of how many pixels.
pub fn drive(avatar: &Avatar, pose: &Pose, camera: &Camera) -> PuppetFrame {
    drive_side(avatar, Side::Front, pose, camera)
}

/// The same with an avatar that is a character's back, which is driven as a front is whose left and right are exchanged.
pub fn drive_side(avatar: &Avatar, side: Side, pose: &Pose, camera: &Camera) -> PuppetFrame {
    let n = &*NAMES;
    let rig = &avatar.rig;
    let (joints, confidences) = match side {
        Side::Front => (pose.joints(), pose.confidences),
        Side::Back => (pose.joints().from_behind(), pose.mirrored_confidences()),
    };
    let scale = camera.scale * n.height / rig.height();
    let mut bones = [BoneTransform::default(); BONES];

    // Laid out with the hips at the origin first; the feet then say where the whole stands.
    let ends = body(rig, side, &joints, scale, &mut bones);
    let leg = Rig::length(&rig.hips, &rig.knees) + Rig::length(&rig.knees, &rig.ankles);
    // Pixels to a metre of leg: a short-legged character takes short steps and does not skate.
    let stride = scale * leg / n.leg;
    let floor = camera.project(Vec3::ZERO).y;
    let (mut sum, mut total) = (0.0, 0.0);
    for s in 0..2 {
        let lift = joints.positions[n.ankle[s]].y - n.ankle_height;
        let stand = floor - (rig.ground - rig.ankles[s].y) * scale - lift * stride;
        let w = (-(lift.clamp(-2.0, 2.0)) / 0.04).exp();
        sum += w * (stand - ends[s].y);
        total += w;
    }
    let x = camera.project(Vec3::ZERO).x + pose.root.x * stride;
    let offset = Vec2::new(x, sum / total);
    for b in &mut bones {
        b.offset = (Vec2::from(b.offset) + offset).into();
    }

    let keypoints = keypoints(avatar, &bones, &confidences);
    PuppetFrame {
        order: draw_order(rig, &joints),
        bones,
        width: camera.width,
        height: camera.height,
        scale,
        keypoints,
        depths: std::array::from_fn(|k| {
            let info = &SKELETON.keypoints[k];
            let b = info.bone.index();
            (joints.positions[b] + joints.rotations[b] * info.offset - joints.positions[0]).z
        }),
        facing: facing(&joints),
    }
}

fn facing(joints: &Joints) -> [f32; FACING] {
    let mut out = [0.0; FACING];
    for (axes, b) in out.chunks_exact_mut(6).zip([0, NAMES.upper_chest, NAMES.head]) {
        axes[..3].copy_from_slice(&(joints.rotations[b] * Vec3::X).to_array());
        axes[3..].copy_from_slice(&(joints.rotations[b] * Vec3::Z).to_array());
    }
    out
}

/// Fills every bone with the pelvis at the origin; gives both ankles.
fn body(rig: &Rig, side: Side, joints: &Joints, scale: f32, bones: &mut [BoneTransform; BONES]) -> [Vec2; 2] {
    let n = &*NAMES;
    let at = |i: usize| joints.positions[i];
    let unit = |a: usize, b: usize| (at(b) - at(a)).normalize_or(Vec3::Y);
    let hips = joints.rotations[0];
    let chest = joints.rotations[n.upper_chest];
    let head = joints.rotations[n.head];

    let axis = |a: Vec2, b: Vec2| (b - a).normalize_or(Vec2::NEG_Y);
    let low = block(hips, unit(0, n.chest), 0.6, 0.5).within(0.0, 1.0);
    let pelvis = low.transform(rig.pelvis, Vec2::ZERO, axis(rig.pelvis, rig.spine), scale);
    bones[bone::PELVIS] = pelvis;
    let spine = pelvis.apply(rig.spine);
    let high = block(chest, unit(n.chest, n.neck), 0.6, 0.5).within(low.angle, 0.7);
    let upper = high.transform(rig.spine, spine, axis(rig.spine, rig.neck), scale);
    bones[bone::CHEST] = upper;
    let neck = upper.apply(rig.neck);

    let up = block(joints.rotations[n.neck], unit(n.neck, n.head), 0.8, 0.7).within(high.angle, 0.4);
    bones[bone::NECK] = up.transform(rig.neck, neck, axis(rig.neck, rig.skull), scale);
    let skull = bones[bone::NECK].apply(rig.skull);
    let top = block(head, head * Vec3::Y, 0.82, 0.82).within(up.angle, 0.4);
    bones[bone::HEAD] = top.transform(rig.skull, skull, axis(rig.skull, rig.head_top), scale);
    // A nod shifts the face down or up over the skull.
    let nod = (head * Vec3::Z).y.clamp(-0.5, 0.5);
    let shift = top.direction() * (nod * 0.5 * scale);
    bones[bone::HEAD].bulge = (Vec2::from(bones[bone::HEAD].bulge) + shift).into();

    let mut ankles = [Vec2::ZERO; 2];
    let rest = &SKELETON.rest_joints;
    for s in 0..2 {
        let out = if s == 0 { 1.0 } else { -1.0 };
        // Shoulder: its own place on the chest, moved as far as the collar bone lifts it.
        let own = rig.shoulders[s] - rig.neck;
        let lifted = chest.inverse() * (at(n.shoulder[s]) - at(n.neck)) - (rest[n.shoulder[s]] - rest[n.neck]);
        let ratio = own.x.abs() / 0.15;
        let place = chest * (Vec3::new(own.x, -own.y, 0.0) + lifted * ratio);
        let shoulder = neck + flat(place) * scale;
        let mut socket = upper;
        socket.bulge = [0.0; 2];
        socket.offset = (shoulder - socket.linear() * rig.shoulders[s]).into();
        bones[bone::shoulder(s)] = socket;
        let collar = Vec2::from(upper.offset) + flat(chest * lifted) * (ratio * scale);
        bones[bone::collar(s)] = BoneTransform { offset: collar.into(), ..upper };

        let mut limb = Limb { frame: bones, scale };
        let lengths = [
            Rig::length(&rig.shoulders, &rig.elbows),
            Rig::length(&rig.elbows, &rig.wrists),
            Rig::length(&rig.wrists, &rig.hands),
        ];
        let d = unit(n.shoulder[s], n.elbow[s]);
        // Arms swing from overhead to across the body: the wrap lies behind the neck side.
        let (elbow, turn) =
            limb.bone(bone::upper_arm(s), [rig.shoulders[s], rig.elbows[s]], lengths[0], shoulder, d, socket.angle, 0.3 * out, SHORTEST_LIMB);
        let d = unit(n.elbow[s], n.wrist[s]);
        let (wrist, turn) =
            limb.bone(bone::lower_arm(s), [rig.elbows[s], rig.wrists[s]], lengths[1], elbow, d, turn, 0.0, SHORTEST_LIMB);
        let d = unit(n.wrist[s], n.knuckle[s]);
        limb.bone(bone::hand(s), [rig.wrists[s], rig.hands[s]], lengths[2], wrist, d, turn, 0.0, 0.55);

        let own = rig.hips[s] - rig.pelvis;
        let place = hips * Vec3::new(own.x, -own.y, 0.0);
        let hip = flat(place) * scale;
        let mut socket = pelvis;
        socket.bulge = [0.0; 2];
        socket.offset = (hip - socket.linear() * rig.hips[s]).into();
        limb.frame[bone::hip(s)] = socket;
        let lengths = [Rig::length(&rig.hips, &rig.knees), Rig::length(&rig.knees, &rig.ankles)];
        let d = unit(n.hip[s], n.knee[s]);
        let (knee, turn) =
            limb.bone(bone::upper_leg(s), [rig.hips[s], rig.knees[s]], lengths[0], hip, d, socket.angle, 0.0, SHORTEST_LIMB);
        let d = unit(n.knee[s], n.ankle[s]);
        let (ankle, shin) =
            limb.bone(bone::lower_leg(s), [rig.knees[s], rig.ankles[s]], lengths[1], knee, d, turn, 0.0, SHORTEST_LIMB);
        let lift = rig.ankles[s].distance(rig.toes[s]) / (FOOT_SWING * rig.foot_depth(s)).max(1.0);
        // What a back calls forward is where its heels point.
        let forward = if side == Side::Front { Vec3::Z } else { Vec3::NEG_Z };
        bones[bone::foot(s)] = foot(joints.rotations[n.ankle[s]], forward, rig.ankles[s], lift, ankle, shin, scale);
        ankles[s] = ankle;
    }
    for face in [bone::LID, bone::LASH, bone::LOWER_LID, bone::GAZE, bone::JAW] {
        bones[face] = bones[bone::HEAD];
    }
    for s in 0..2 {
        bones[bone::hair(s)] = BoneTransform { bulge: [0.0; 2], ..bones[bone::HEAD] };
        bones[bone::skirt(s)] = skirt(rig, bones, s);
    }
    ankles
}

/// The picture shows a foot from the front or from behind: it rolls and leans as a card, and its toes, which point at the
/// viewer or away and are `forward` at rest, swing out with the bulge. `lift` is the shown length for a pixel of hidden length.
fn foot(rotation: Quat, forward: Vec3, rest: Vec2, lift: f32, ankle: Vec2, shin: f32, scale: f32) -> BoneTransform {
    let up = flat(rotation * Vec3::Y);
    // Seen from above or below the card has no direction of its own: the shin's serves.
    let own = up.length().clamp(0.0, 1.0);
    let guide = Mat2::from_angle(shin) * Vec2::NEG_Y;
    let aim = up + guide * (0.6 * (1.0 - own));
    let angle = wrap(aim.x.atan2(-aim.y), shin);
    let along = (own * 0.4 + 0.6).clamp(0.7, 1.0);
    let side = flat(rotation * Vec3::X).length().clamp(0.75, 1.0);
    let mut t = pinned(rest, ankle, angle, [side * scale, 0.0, along * scale], 0.8);
    let mut toes = Mat2::from_angle(-angle) * flat(rotation * forward);
    // Raised toes shorten the shown foot, but never to nothing.
    toes.y = toes.y.clamp(-0.3 * lift, 0.8);
    t.bulge = (Mat2::from_angle(angle) * toes * scale).into();
    t
}

/// How much of its leg's lean a side of a short skirt takes part in, and one of a skirt that ends well below the knee: that has the shin in it.
const SHORT_SKIRT: f32 = 0.55;
const LONG_SKIRT: f32 = 0.95;
/// Most that it leans, radians.
const SKIRT_LEAN: f32 = 1.1;

/// A side of a skirt leans with what of its leg it covers.
fn skirt(rig: &Rig, bones: &[BoneTransform; BONES], s: usize) -> BoneTransform {
    let pelvis = &bones[bone::PELVIS];
    let (hip, knee, ankle) = (rig.hips[s], rig.knees[s], rig.ankles[s]);
    let below = ((rig.hem.unwrap_or(knee.y) - knee.y) / (ankle.y - knee.y).max(1.0)).clamp(0.0, 1.0);
    let to = bones[bone::hip(s)].apply(hip);
    let lean = |rest: Vec2, moved: Vec2| {
        // A leg that points at the viewer leans nowhere.
        let seen = (moved.length() / rest.length().max(1.0)).min(1.0);
        wrap(rest.angle_to(moved) - pelvis.angle, 0.0).clamp(-SKIRT_LEAN, SKIRT_LEAN) * seen
    };
    let (bent, foot) = (bones[bone::upper_leg(s)].apply(knee), bones[bone::lower_leg(s)].apply(ankle));
    // Where the leg bends, the knee or the shin is what stretches the cloth.
    let leans = [lean(knee - hip, bent - to), lean(knee.lerp(ankle, below) - hip, bent.lerp(foot, below) - to)];
    let most = if leans[0].abs() > leans[1].abs() { leans[0] } else { leans[1] };
    let angle = pelvis.angle + most * (SHORT_SKIRT + (LONG_SKIRT - SHORT_SKIRT) * (2.0 * below).min(1.0));
    let mut t = BoneTransform { bulge: [0.0; 2], angle, ..*pelvis };
    t.offset = (to - t.linear() * hip).into();
    t
}

/// Far to near by joint depth, with a lean towards the order in which a figure facing us is built.
fn draw_order(rig: &Rig, joints: &Joints) -> [u8; LAYER_COUNT] {
    let n = &*NAMES;
    let z = |i: usize| joints.positions[i].z;
    let mid = |a: usize, b: usize| 0.5 * (z(a) + z(b));
    let chest = mid(n.upper_chest, n.chest);
    let mut key = [0.0f32; LAYER_COUNT];
    key[0] = 0.0;
    key[1] = (z(n.head) - chest).max(-0.05) + 0.06;
    for s in 0..2 {
        key[2 + 2 * s] = mid(n.shoulder[s], n.elbow[s]) - chest + 0.03;
        key[3 + 2 * s] = mid(n.elbow[s], n.wrist[s]) - chest + 0.05;
        let (thigh, shin) = (mid(n.hip[s], n.knee[s]) - z(0), mid(n.knee[s], n.ankle[s]) - z(0));
        // A leg's root is drawn as the trunk shows it, so it lies over the trunk unless it goes well back.
        key[6 + 2 * s] = thigh + 0.12;
        key[7 + 2 * s] = shin + 0.1;
        if rig.hem.is_some() {
            // Legs stay under a skirt; a raised thigh lifts the cloth instead.
            key[6 + 2 * s] = key[6 + 2 * s].min(-0.02);
            key[7 + 2 * s] = key[7 + 2 * s].min(-0.01);
        }
    }
    let mut order: [u8; LAYER_COUNT] = std::array::from_fn(|i| i as u8);
    order.sort_by(|&a, &b| key[a as usize].total_cmp(&key[b as usize]).then(a.cmp(&b)));
    order
}

fn keypoints(avatar: &Avatar, bones: &[BoneTransform; BONES], confidences: &[f32; CONFIDENCE_COUNT]) -> [Keypoint; KEYPOINT_COUNT] {
    std::array::from_fn(|k| {
        let info = &SKELETON.keypoints[k];
        let side = info.name.starts_with("right_") as usize;
        let joint = info.name.trim_start_matches("left_").trim_start_matches("right_");
        let b = match joint {
            "shoulder" => bone::shoulder(side),
            "elbow" => bone::upper_arm(side),
            "wrist" => bone::lower_arm(side),
            "hand" => bone::hand(side),
            "hip" => bone::hip(side),
            "knee" => bone::upper_leg(side),
            "ankle" => bone::lower_leg(side),
            "toe" => bone::foot(side),
            "pelvis" => bone::PELVIS,
            "neck" => bone::CHEST,
            _ => bone::HEAD,
        };
        let mut position = bones[b].apply(avatar.keypoints[k]);
        if matches!(joint, "nose" | "eye") {
            let rig = &avatar.rig;
            let r = 0.55 * rig.head_top.distance(rig.skull);
            position += Vec2::from(bones[b].bulge) * (0.4 * r);
        }
        if joint == "toe" {
            position += Vec2::from(bones[b].bulge) * (FOOT_SWING * avatar.rig.foot_depth(side));
        }
        let confidence = info.confidence.map_or(1.0, |c| confidences[c].clamp(0.0, 1.0));
        Keypoint { position, confidence }
    })
}
