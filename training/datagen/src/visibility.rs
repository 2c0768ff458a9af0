//! How visible each joint is to a camera in front, by the same rule as the motion clips' own confidences.
//!
//! Capsules stand for the body; a joint behind one, as seen from +Z, counts less. Draws nothing.

use std::sync::LazyLock;

use glam::Vec3;
use odori_engine::skeleton::{BONE_COUNT, Bone, CONFIDENCE_COUNT, SKELETON};

#[derive(Clone, Copy, PartialEq)]
enum Group {
    Torso,
    Head,
    /// Side 0 left, 1 right.
    Arm(usize),
    Leg(usize),
}

struct Tables {
    /// From, to, radius in metres.
    capsules: Vec<(usize, usize, f32, Group)>,
    /// Joint, the group it belongs to, and whether the torso may not hide it.
    joints: [(usize, Group, bool); CONFIDENCE_COUNT],
    /// Left and right joint, then their confidences.
    pairs: [[usize; 4]; 2],
}

static TABLES: LazyLock<Tables> = LazyLock::new(|| {
    let bone = |n: &str| Bone::named(n).unwrap_or_else(|| panic!("no bone {n}")).index();
    let mut capsules = vec![
        (bone("hips"), bone("upperChest"), 0.13, Group::Torso),
        (bone("upperChest"), bone("neck"), 0.15, Group::Torso),
        (bone("neck"), bone("head"), 0.1, Group::Head),
    ];
    for (s, side) in ["left", "right"].into_iter().enumerate() {
        let of = |n: &str| bone(&format!("{side}{n}"));
        capsules.extend([
            (of("UpperArm"), of("LowerArm"), 0.05, Group::Arm(s)),
            (of("LowerArm"), of("Hand"), 0.045, Group::Arm(s)),
            (of("UpperLeg"), of("LowerLeg"), 0.08, Group::Leg(s)),
            (of("LowerLeg"), of("Foot"), 0.06, Group::Leg(s)),
        ]);
    }
    let joints = std::array::from_fn(|c| {
        let name = SKELETON.confidences[c].as_str();
        let s = usize::from(name.starts_with("right"));
        let side = ["left", "right"][s];
        let (joint, group) = match name.split('_').nth(1) {
            Some("shoulder") => ("UpperArm", Group::Arm(s)),
            Some("elbow") => ("LowerArm", Group::Arm(s)),
            Some("wrist") => ("Hand", Group::Arm(s)),
            Some("hip") => ("UpperLeg", Group::Leg(s)),
            Some("knee") => ("LowerLeg", Group::Leg(s)),
            Some("ankle") => ("Foot", Group::Leg(s)),
            _ => return (bone("head"), Group::Head, false),
        };
        (bone(&format!("{side}{joint}")), group, matches!(joint, "UpperArm" | "UpperLeg"))
    });
    let place = |n: &str| SKELETON.confidences.iter().position(|c| c == n).unwrap_or_else(|| panic!("no {n}"));
    let pairs = [("UpperArm", "shoulder"), ("UpperLeg", "hip")].map(|(b, c)| {
        [bone(&format!("left{b}")), bone(&format!("right{b}")), place(&format!("left_{c}")), place(&format!("right_{c}"))]
    });
    Tables { capsules, joints, pairs }
});

/// World joint positions to confidences 0 to 1.
pub fn confidences(p: &[Vec3; BONE_COUNT]) -> [f32; CONFIDENCE_COUNT] {
    let t = &*TABLES;
    let sigmoid = |x: f32| 1.0 / (1.0 + (-x.clamp(-30.0, 30.0)).exp());
    let mut out = t.joints.map(|(joint, own, apart)| {
        let at = p[joint];
        let mut seen: f32 = 1.0;
        for &(a, b, radius, group) in &t.capsules {
            if group == own || (apart && group == Group::Torso) {
                continue;
            }
            let along = p[b] - p[a];
            let flat = along.truncate();
            let u = ((at - p[a]).truncate().dot(flat) / (flat.length_squared() + 1e-6)).clamp(0.0, 1.0);
            let near = p[a] + along * u;
            let gap = at.truncate().distance(near.truncate()) - radius;
            let behind = near.z - at.z;
            seen = seen.min(1.0 - 0.85 * sigmoid(-gap / 0.02) * sigmoid((behind - 0.04) / 0.03));
        }
        seen
    });
    // A shoulder or hip turned away is hidden by the body itself.
    for [left, right, cl, cr] in t.pairs {
        let turn = (p[left] - p[right]).normalize_or_zero().z;
        out[cr] *= 1.0 - 0.6 * ((turn - 0.6) / 0.4).clamp(0.0, 1.0);
        out[cl] *= 1.0 - 0.6 * ((-turn - 0.6) / 0.4).clamp(0.0, 1.0);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use glam::Quat;
    use odori_engine::pose::Pose;

    #[test]
    fn a_hand_behind_the_back_is_hidden_and_one_in_front_is_seen() {
        let wrist = SKELETON.confidences.iter().position(|c| c == "left_wrist").unwrap();
        let upper = Bone::named("leftUpperArm").unwrap().index();
        let lower = Bone::named("leftLowerArm").unwrap().index();
        let with = |sign: f32| {
            let mut pose = Pose::default();
            pose.rotations[upper] = Quat::from_rotation_z(-1.1) * Quat::from_rotation_y(sign * 0.9);
            pose.rotations[lower] = Quat::from_rotation_y(sign * 1.8);
            confidences(&pose.joints().positions)[wrist]
        };
        assert!(confidences(&Pose::default().joints().positions).iter().all(|&c| c > 0.7));
        // The left arm turns back about +Y and forward about -Y.
        assert!(with(1.0) < 0.4, "{}", with(1.0));
        assert!(with(-1.0) > 0.7, "{}", with(-1.0));
    }
}
