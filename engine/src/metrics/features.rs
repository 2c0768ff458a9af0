//! What a stretch of dance is like, in numbers: AIST++'s kinetic and geometric features of a window at 60 fps.

use glam::Vec3;

use super::{Body, JOINTS, JUDGE_HZ};

/// Three numbers a joint: horizontal and vertical kinetic energy, and energy expenditure.
pub const KINETIC: usize = 3 * JOINTS;
pub const GEOMETRIC: usize = 32;
/// Frames at 60 fps to each side over which velocities are averaged.
const WINDOW: isize = 2;
/// The geometric features' speeds are told as if frames came at this rate.
const GEOMETRIC_HZ: f32 = 120.0;
/// Lengths of the SMPL rest body that scale the thresholds, metres: humerus, shoulder width, hip width.
const HUMERUS: f32 = 0.2568;
const SHOULDERS: f32 = 0.3909;
const HIPS: f32 = 0.1193;

/// Mean of what `of` gives for the frames around `i` that exist.
fn around(i: usize, first: usize, last: usize, of: impl Fn(usize) -> Vec3) -> Vec3 {
    let range = (i as isize - WINDOW).max(first as isize)..=(i as isize + WINDOW).min(last as isize);
    let count = range.clone().count().max(1) as f32;
    range.map(|k| of(k as usize)).sum::<Vec3>() / count
}

/// After Onuma et al., "FMDistance" (2008).
pub fn kinetic(frames: &[Body]) -> [f32; KINETIC] {
    let n = frames.len();
    let mut out = [0.0; KINETIC];
    if n < 3 {
        return out;
    }
    for joint in 0..JOINTS {
        let (mut flat, mut up, mut spent) = (0.0f64, 0.0f64, 0.0f64);
        for i in 1..n {
            let v = around(i, 1, n - 1, |k| frames[k][joint] - frames[k - 1][joint]) * JUDGE_HZ;
            let a = around(i, 1, n - 2, |k| frames[k + 1][joint] - 2.0 * frames[k][joint] + frames[k - 1][joint]) * JUDGE_HZ * JUDGE_HZ;
            flat += f64::from(v.x * v.x + v.z * v.z);
            up += f64::from(v.y * v.y);
            spent += f64::from(a.length());
        }
        for (k, sum) in [flat, up, spent].into_iter().enumerate() {
            out[joint * 3 + k] = (sum / (n - 1) as f64) as f32;
        }
    }
    out
}

const ROOT: usize = 0;
const LHIP: usize = 1;
const RHIP: usize = 2;
const BELLY: usize = 3;
const LKNEE: usize = 4;
const RKNEE: usize = 5;
const LANKLE: usize = 7;
const RANKLE: usize = 8;
const CHEST: usize = 9;
const LTOES: usize = 10;
const RTOES: usize = 11;
const NECK: usize = 12;
const LSHOULDER: usize = 16;
const RSHOULDER: usize = 17;
const LELBOW: usize = 18;
const RELBOW: usize = 19;
const LWRIST: usize = 20;
const RWRIST: usize = 21;

/// One frame and the one before it.
struct Pair<'a> {
    now: &'a Body,
    before: &'a Body,
    lowest: f32,
}

impl Pair<'_> {
    /// Speed of `p` as seen from `origin`, along `way`, m/s.
    fn along(&self, p: usize, origin: usize, way: Vec3) -> f32 {
        let relative = (self.now[p] - self.now[origin]) - (self.before[p] - self.before[origin]);
        relative.dot(way.normalize_or_zero()) * GEOMETRIC_HZ
    }

    fn moves_towards(&self, origin: usize, to: usize, p: usize, limit: f32) -> bool {
        self.along(p, origin, self.now[to] - self.now[origin]) > limit
    }

    /// Along the normal of the triangle.
    fn moves_out_of(&self, [a, b, c]: [usize; 3], p: usize, limit: f32) -> bool {
        let x = self.now;
        self.along(p, a, (x[c] - x[a]).cross(x[b] - x[a])) > limit
    }

    fn before_plane(&self, [a, b, c]: [usize; 3], p: usize, limit: f32) -> bool {
        let x = self.now;
        (x[c] - x[a]).cross(x[b] - x[a]).normalize_or_zero().dot(x[p] - x[a]) > limit
    }

    fn beyond(&self, normal: Vec3, from: Vec3, p: usize, limit: f32) -> bool {
        normal.normalize_or_zero().dot(self.now[p] - from) > limit
    }

    fn bent(&self, from: usize, to: usize, from2: usize, to2: usize, degrees: std::ops::Range<f32>) -> bool {
        let x = self.now;
        angle(x[to] - x[from], x[to2] - x[from2]).is_some_and(|a| a > degrees.start && a < degrees.end)
    }

    fn fast(&self, p: usize, limit: f32) -> bool {
        self.now[p].distance(self.before[p]) * GEOMETRIC_HZ > limit
    }
}

fn angle(a: Vec3, b: Vec3) -> Option<f32> {
    let length = a.length() * b.length();
    (length > 0.0).then(|| (a.dot(b) / length).clamp(-1.0, 1.0).acos().to_degrees())
}

/// Shares of the frames in which 32 relations hold, after Müller et al., "Efficient content-based retrieval of
/// motion capture data" (2005), in AIST++'s order.
pub fn geometric(frames: &[Body]) -> [f32; GEOMETRIC] {
    let mut out = [0.0f32; GEOMETRIC];
    let (hl, sw, hw) = (HUMERUS, SHOULDERS, HIPS);
    for pair in frames.windows(2) {
        let x = &pair[1];
        let f = Pair { now: x, before: &pair[0], lowest: x.iter().map(|p| p.y).fold(f32::INFINITY, f32::min) };
        let floor = Vec3::new(0.0, f.lowest, 0.0);
        let holds = [
            f.moves_out_of([NECK, RHIP, LHIP], RWRIST, 1.8 * hl),
            f.moves_out_of([NECK, LHIP, RHIP], LWRIST, 1.8 * hl),
            f.beyond(x[NECK] - x[CHEST], x[NECK], RWRIST, 0.2 * hl),
            f.beyond(x[NECK] - x[CHEST], x[NECK], LWRIST, 0.2 * hl),
            // As published: the wrist is not in it, only the chest as seen from the belly.
            f.moves_towards(BELLY, CHEST, CHEST, 1.8 * hl),
            f.moves_towards(BELLY, CHEST, CHEST, 1.8 * hl),
            f.bent(RELBOW, RSHOULDER, RELBOW, RWRIST, 0.0..110.0),
            f.bent(LELBOW, LSHOULDER, LELBOW, LWRIST, 0.0..110.0),
            f.beyond(x[RSHOULDER] - x[LSHOULDER], x[LWRIST], RWRIST, 2.5 * sw),
            f.moves_towards(LWRIST, RWRIST, RWRIST, 1.4 * hl),
            f.moves_towards(RWRIST, ROOT, LWRIST, 1.4 * hl),
            f.moves_towards(LWRIST, ROOT, RWRIST, 1.4 * hl),
            f.fast(RWRIST, 2.5 * hl),
            f.fast(LWRIST, 2.5 * hl),
            f.before_plane([ROOT, LHIP, LTOES], RANKLE, 0.38 * hl),
            f.before_plane([ROOT, RHIP, RTOES], LANKLE, 0.38 * hl),
            f.beyond(Vec3::Y, floor, RANKLE, 1.2 * hl),
            f.beyond(Vec3::Y, floor, LANKLE, 1.2 * hl),
            f.beyond(x[RHIP] - x[LHIP], x[LANKLE], RANKLE, 2.1 * hw),
            f.bent(RKNEE, RHIP, RKNEE, RANKLE, 0.0..110.0),
            f.bent(LKNEE, LHIP, LKNEE, LANKLE, 0.0..110.0),
            f.fast(RANKLE, 2.5 * hl),
            f.fast(LANKLE, 2.5 * hl),
            f.bent(NECK, ROOT, RSHOULDER, RELBOW, 25.0..180.0),
            f.bent(NECK, ROOT, LSHOULDER, LELBOW, 25.0..180.0),
            f.bent(NECK, ROOT, RHIP, RKNEE, 50.0..180.0),
            f.bent(NECK, ROOT, LHIP, LKNEE, 50.0..180.0),
            f.before_plane([RANKLE, NECK, LANKLE], ROOT, 0.5 * hl),
            angle(x[ROOT] - x[NECK], Vec3::Y).is_some_and(|a| a > 70.0 && a < 110.0),
            f.beyond(Vec3::NEG_Y, floor, RWRIST, -1.2 * hl),
            f.beyond(Vec3::NEG_Y, floor, LWRIST, -1.2 * hl),
            f.fast(ROOT, 2.3 * hl),
        ];
        for (sum, held) in out.iter_mut().zip(holds) {
            *sum += f32::from(held);
        }
    }
    let n = (frames.len().max(2) - 1) as f32;
    out.map(|x| x / n)
}

/// Windows of a dance at 60 fps, this many frames long, this many apart.
pub fn windows(frames: &[Body], length: usize, step: usize) -> impl Iterator<Item = &[Body]> {
    frames.windows(length.max(1)).step_by(step.max(1))
}

/// Where the joints are as seen from the hips, how far they stray from there, and how fast: for telling styles apart.
pub fn manner(frames: &[Body]) -> Vec<f32> {
    let n = frames.len().max(1) as f32;
    let hz = JUDGE_HZ;
    let mut out = Vec::with_capacity(7 * JOINTS);
    for joint in 0..JOINTS {
        let place = |f: &Body| f[joint] - Vec3::new(f[0].x, 0.0, f[0].z);
        let middle = frames.iter().map(place).sum::<Vec3>() / n;
        let stray = frames.iter().map(|f| (place(f) - middle).powf(2.0)).sum::<Vec3>() / n;
        let speed = frames.windows(2).map(|w| w[1][joint].distance(w[0][joint])).sum::<f32>() / n * hz;
        out.extend(middle.to_array());
        out.extend(stray.to_array().map(f32::sqrt));
        out.push((speed + 0.05).ln());
    }
    out
}
