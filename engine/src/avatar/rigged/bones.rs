//! Which joint of a foreign rig is which bone of the skeleton, by its name and its place in the tree.
//!
//! Knows names only; positions are the business of `retarget`.

use crate::skeleton::{BONE_COUNT, Bone};

/// A joint of a foreign rig: name and parent (an index that may come later in the list).
#[derive(Clone, Debug)]
pub struct RigName {
    pub name: String,
    pub parent: Option<usize>,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Side {
    Left,
    Right,
    Middle,
}

/// Lower case letters and digits without the side, and the side.
fn split(name: &str) -> (String, Side) {
    let lower = name.to_lowercase();
    let lower = lower.strip_suffix("_armature").unwrap_or(&lower);
    let lower = lower.strip_prefix("mixamorig:").unwrap_or(lower);
    let (body, side) = if let Some(b) = lower.strip_prefix("left") {
        (b, Side::Left)
    } else if let Some(b) = lower.strip_prefix("right") {
        (b, Side::Right)
    } else if let Some(b) = [".l", "_l"].iter().find_map(|s| lower.strip_suffix(s)) {
        (b, Side::Left)
    } else if let Some(b) = [".r", "_r"].iter().find_map(|s| lower.strip_suffix(s)) {
        (b, Side::Right)
    } else {
        (lower, Side::Middle)
    };
    (body.chars().filter(char::is_ascii_alphanumeric).collect(), side)
}

/// Limb bones by the names that rigs in the wild use; the first alternative found in a rig wins.
const LIMBS: [(&str, &[&str]); 8] = [
    ("Shoulder", &["shoulder", "clavicle"]),
    ("UpperArm", &["upperarm", "arm"]),
    ("LowerArm", &["lowerarm", "forearm", "elbow"]),
    ("Hand", &["wrist", "hand", "palm"]),
    ("UpperLeg", &["upperleg", "thigh", "upleg", "leg"]),
    ("LowerLeg", &["lowerleg", "calf", "shin", "knee", "leg"]),
    ("Foot", &["foot", "ankle"]),
    ("Toes", &["toes", "toe", "ball", "toebase"]),
];

const FINGERS: [(&str, &[&str]); 5] = [
    ("Thumb", &["thumb"]),
    ("Index", &["index", "finger", "fingers"]),
    ("Middle", &["middle", "f2"]),
    ("Ring", &["ring", "f3"]),
    ("Little", &["pinky", "little"]),
];

/// For every joint the bone it stands for, if any.
pub fn map(rig: &[RigName]) -> Vec<Option<Bone>> {
    let names: Vec<(String, Side)> = rig.iter().map(|j| split(&j.name)).collect();
    let mut out: Vec<Option<Bone>> = vec![None; rig.len()];
    let mut taken = [false; BONE_COUNT];
    let mut give = |out: &mut Vec<Option<Bone>>, joint: usize, name: &str| {
        if let Some(bone) = Bone::named(name)
            && out[joint].is_none()
            && !taken[bone.index()]
        {
            taken[bone.index()] = true;
            out[joint] = Some(bone);
        }
    };
    let find = |side: Side, wanted: &str| names.iter().position(|(n, s)| *s == side && n == wanted);
    let hips = find(Side::Middle, "hips").or_else(|| find(Side::Middle, "pelvis"));
    let head = find(Side::Middle, "head");
    if let Some(h) = hips {
        give(&mut out, h, "hips");
    }
    if let Some(h) = head {
        give(&mut out, h, "head");
        // Up from the head to the hips: neck, then the spine from above.
        let mut chain = Vec::new();
        let mut at = rig[h].parent;
        while let Some(j) = at {
            if Some(j) == hips {
                break;
            }
            if names[j].0.starts_with("neck") {
                give(&mut out, j, "neck");
            } else {
                chain.push(j);
            }
            at = rig[j].parent;
        }
        chain.reverse();
        let spine: &[&str] = match chain.len() {
            1 => &["chest"],
            2 => &["spine", "upperChest"],
            _ => &["spine", "chest", "upperChest"],
        };
        for (&joint, name) in chain.iter().zip(spine) {
            give(&mut out, joint, name);
        }
    }
    for (side, prefix) in [(Side::Left, "left"), (Side::Right, "right")] {
        for (bone, alternatives) in LIMBS {
            if let Some(joint) = alternatives.iter().find_map(|a| {
                names.iter().enumerate().position(|(i, (n, s))| *s == side && n == a && out[i].is_none())
            }) {
                give(&mut out, joint, &format!("{prefix}{bone}"));
            }
        }
        for (finger, alternatives) in FINGERS {
            let segments: [&str; 3] = if finger == "Thumb" {
                ["Metacarpal", "Proximal", "Distal"]
            } else {
                ["Proximal", "Intermediate", "Distal"]
            };
            let is_finger = |j: usize| {
                let (n, s) = &names[j];
                *s == side && alternatives.iter().any(|a| n.starts_with(a)) && !n.contains("leaf") && !n.ends_with("end")
            };
            let root = (0..rig.len()).find(|&j| is_finger(j) && !rig[j].parent.is_some_and(is_finger));
            let mut at = root;
            for segment in segments {
                let Some(j) = at else { break };
                give(&mut out, j, &format!("{prefix}{finger}{segment}"));
                at = (0..rig.len()).find(|&c| rig[c].parent == Some(j) && is_finger(c));
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rig(list: &[(&str, i32)]) -> Vec<RigName> {
        list.iter()
            .map(|(n, p)| RigName { name: (*n).into(), parent: usize::try_from(*p).ok() })
            .collect()
    }

    #[test]
    fn names_of_several_makers_are_understood() {
        let a = rig(&[("Hips", -1), ("Abdomen", 0), ("Torso", 1), ("Chest", 2), ("Neck", 3), ("Head", 4), ("Shoulder.L", 3), ("UpperArm.L", 6), ("Index1.L", 7), ("Index2.L", 8)]);
        let names = |m: Vec<Option<Bone>>| -> Vec<String> {
            m.into_iter()
                .map(|b| b.map_or(String::new(), |b| crate::skeleton::SKELETON.bones[b.index()].name.clone()))
                .collect()
        };
        assert_eq!(
            names(map(&a)),
            ["hips", "spine", "chest", "upperChest", "neck", "head", "leftShoulder", "leftUpperArm", "leftIndexProximal", "leftIndexIntermediate"]
        );
        let b = rig(&[("pelvis", -1), ("spine_01", 0), ("head", 1), ("thigh_r", 0), ("calf_r", 3), ("foot_r", 4), ("ball_r", 5)]);
        assert_eq!(names(map(&b)), ["hips", "chest", "head", "rightUpperLeg", "rightLowerLeg", "rightFoot", "rightToes"]);
        let c = rig(&[("Hips", -1), ("Left leg", 0), ("Left knee", 1), ("Left ankle", 2), ("Left shoulder", 0), ("Left arm", 4)]);
        assert_eq!(names(map(&c)), ["hips", "leftUpperLeg", "leftLowerLeg", "leftFoot", "leftShoulder", "leftUpperArm"]);
    }
}
