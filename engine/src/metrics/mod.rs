//! How a dance is judged, by the definitions of the field.
//!
//! | What | After | Constants |
//! |---|---|---|
//! | kinematic beats, beat alignment score | Bailando, `utils/metrics_new.py`, `utils/features` | 60 fps, Gaussian 5 frames, sigma 3 frames |
//! | kinetic and geometric features | AIST++ (`aist_plusplus/features/{kinetic,manual}.py`; Onuma et al. 2008, Müller et al. 2005) | 24 SMPL joints, window 2 frames, 72 and 32 numbers |
//! | FID, DIV over them | Bailando, `utils/metrics_new.py` | both normalised by the real dance's mean and deviation |
//! | PFC | EDGE, `eval/eval_pfc.py` | 30 fps, times 10,000 |
//!
//! The code is our own. It sees poses and times of beats, no sound, no files and no model.

pub mod beats;
pub mod body;
pub mod classify;
pub mod features;
pub mod spread;

use std::sync::LazyLock;

use glam::Vec3;

use crate::pose::Pose;
use crate::skeleton::Bone;

/// Poses a second.
pub const POSE_HZ: f32 = 30.0;
/// Frames a second of the published definitions.
pub const JUDGE_HZ: f32 = 60.0;
/// Joints of the published definitions.
pub const JOINTS: usize = 24;

/// World positions in SMPL's order, metres.
pub type Body = [Vec3; JOINTS];

/// Our bones in SMPL's order; its hand is our middle finger's root.
static BONES: LazyLock<[Bone; JOINTS]> = LazyLock::new(|| {
    [
        "hips", "leftUpperLeg", "rightUpperLeg", "spine", "leftLowerLeg", "rightLowerLeg", "chest", "leftFoot", "rightFoot", "upperChest", "leftToes", "rightToes",
        "neck", "leftShoulder", "rightShoulder", "head", "leftUpperArm", "rightUpperArm", "leftLowerArm", "rightLowerArm", "leftHand", "rightHand",
        "leftMiddleProximal", "rightMiddleProximal",
    ]
    .map(|name| Bone::named(name).expect("a bone of the skeleton"))
});

pub fn body(pose: &Pose) -> Body {
    let joints = pose.joints();
    BONES.map(|b| joints.positions[b.index()])
}

/// 30 Hz to 60 fps: a Catmull-Rom point between each two; `2 n - 1` frames.
pub fn at_60_fps(bodies: &[Body]) -> Vec<Body> {
    let last = bodies.len().saturating_sub(1);
    let mut out = Vec::with_capacity(bodies.len() * 2);
    for i in 0..bodies.len() {
        out.push(bodies[i]);
        if i < last {
            let (a, b, c, d) = (&bodies[i.saturating_sub(1)], &bodies[i], &bodies[i + 1], &bodies[(i + 2).min(last)]);
            out.push(std::array::from_fn(|j| (b[j] + c[j]) * 0.5625 - (a[j] + d[j]) * 0.0625));
        }
    }
    out
}

/// Mean speed of the joints between each two frames, m/s; `n - 1` numbers.
pub fn speeds(bodies: &[Body], hz: f32) -> Vec<f32> {
    bodies.windows(2).map(|w| speed(&w[0], &w[1], hz)).collect()
}

/// Mean speed of the joints from one frame to the next, m/s.
pub fn speed(from: &Body, to: &Body, hz: f32) -> f32 {
    from.iter().zip(to).map(|(a, b)| a.distance(*b)).sum::<f32>() / JOINTS as f32 * hz
}

/// Gaussian of this many samples, cut at four of them, edges held.
pub fn smooth(x: &[f32], sigma: f32) -> Vec<f32> {
    let radius = (4.0 * sigma).round() as isize;
    let kernel: Vec<f32> = (-radius..=radius).map(|k| (-0.5 * (k as f32 / sigma).powi(2)).exp()).collect();
    let total: f32 = kernel.iter().sum();
    let last = x.len() as isize - 1;
    (0..x.len() as isize)
        .map(|i| kernel.iter().zip(-radius..).map(|(w, k)| w * x[(i + k).clamp(0, last) as usize]).sum::<f32>() / total)
        .collect()
}

pub fn mean(x: &[f32]) -> f32 {
    if x.is_empty() { 0.0 } else { (x.iter().map(|v| f64::from(*v)).sum::<f64>() / x.len() as f64) as f32 }
}

/// The value below which this share of `x` lies; 0 for nothing.
pub fn quantile(x: &[f32], share: f32) -> f32 {
    let mut sorted = x.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    sorted.get(((sorted.len().max(1) - 1) as f32 * share).round() as usize).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests;
