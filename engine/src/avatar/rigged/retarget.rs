//! Brings a foreign rig to the skeleton's T-pose, so that a pose's rotations apply to it as they are.
//!
//! Each mapped joint gets the turn that points its limb where the T-pose points it; vertices follow by linear
//! blend skinning. After that "global rotation relative to the T-pose" means the same on every character.

use glam::{Quat, Vec3};
use crate::skeleton::{BONE_COUNT, Bone, SKELETON};

/// A rig in its rest pose: world positions (Y up, any facing, any unit) and what each joint stands for.
pub struct Rest {
    pub parents: Vec<Option<usize>>,
    pub positions: Vec<Vec3>,
    pub bones: Vec<Option<Bone>>,
}

/// How to move every joint's surroundings into the T-pose: `p -> turn * (p - from) + to`.
pub struct Alignment {
    pub turn: Vec<Quat>,
    pub from: Vec<Vec3>,
    pub to: Vec<Vec3>,
    /// The bone whose motion each joint follows.
    pub bone: Vec<Bone>,
    /// T-pose positions of all 52 bones; missing ones are guessed from their neighbours.
    pub joints: [Vec3; BONE_COUNT],
}

/// The direction a limb points in the T-pose and the bone at its far end.
fn aim(name: &str) -> Option<(Vec3, String)> {
    let (side, x) = match name {
        n if n.starts_with("left") => ("left", Vec3::X),
        n if n.starts_with("right") => ("right", Vec3::NEG_X),
        _ => return None,
    };
    let part = &name[side.len()..];
    let (direction, to) = match part {
        "UpperArm" => (x, "LowerArm"),
        "LowerArm" => (x, "Hand"),
        "Hand" => (x, "MiddleProximal"),
        "UpperLeg" => (Vec3::NEG_Y, "LowerLeg"),
        "LowerLeg" => (Vec3::NEG_Y, "Foot"),
        p if p.ends_with("Proximal") && !p.starts_with("Thumb") => {
            return Some((x, format!("{side}{}", p.replace("Proximal", "Intermediate"))));
        }
        p if p.ends_with("Intermediate") => {
            return Some((x, format!("{side}{}", p.replace("Intermediate", "Distal"))));
        }
        _ => return None,
    };
    Some((direction, format!("{side}{to}")))
}

/// Fails, naming what is missing, when the rig has no hips, head, arms or legs.
pub fn align(rest: &Rest) -> Result<Alignment, String> {
    let n = rest.parents.len();
    let mut joint_of: [Option<usize>; BONE_COUNT] = [None; BONE_COUNT];
    for (j, bone) in rest.bones.iter().enumerate() {
        if let Some(b) = bone {
            joint_of[b.index()] = Some(j);
        }
    }
    let needed = ["hips", "head", "UpperArm", "LowerArm", "Hand", "UpperLeg", "LowerLeg", "Foot"];
    for (b, info) in SKELETON.bones.iter().enumerate() {
        let part = info.name.trim_start_matches("left").trim_start_matches("right");
        if needed.contains(&part) && joint_of[b].is_none() {
            return Err(format!("no joint for {}", info.name));
        }
    }
    // A foot that hangs from something other than its shin (an IK rig) cannot be posed by bones.
    let above = |j: usize| {
        let mut at = rest.parents[j];
        while let Some(p) = at {
            if let Some(b) = rest.bones[p] {
                return Some(b);
            }
            at = rest.parents[p];
        }
        None
    };
    for (b, info) in SKELETON.bones.iter().enumerate() {
        let limb = ["LowerArm", "Hand", "LowerLeg", "Foot"].iter().any(|l| info.name.ends_with(l));
        if limb && joint_of[b].and_then(above) != info.parent {
            return Err(format!("{} hangs from another joint than its parent", info.name));
        }
    }
    // Facing: the left hand belongs at +X.
    let at = |name: &str| joint_of[Bone::named(name).expect("known").index()].map(|j| rest.positions[j]);
    let (Some(left), Some(right)) = (at("leftUpperArm"), at("rightUpperArm")) else {
        return Err("no arms".into());
    };
    let across = left - right;
    let facing = Quat::from_rotation_y(across.z.atan2(across.x));
    let position: Vec<Vec3> = rest.positions.iter().map(|&p| facing * p).collect();

    // The nearest mapped joint at or above each joint; joints above the hips follow the hips.
    let hips = joint_of[0].expect("checked");
    let mapped = |mut j: usize| loop {
        if rest.bones[j].is_some() {
            return j;
        }
        match rest.parents[j] {
            Some(p) => j = p,
            None => return hips,
        }
    };
    // Turns and new places of the mapped joints, bones in tree order.
    let mut turn = vec![Quat::IDENTITY; n];
    let mut to = vec![Vec3::ZERO; n];
    for b in 0..BONE_COUNT {
        let Some(j) = joint_of[b] else { continue };
        let above = if b == 0 { None } else { rest.parents[j].map(mapped).filter(|&p| p != j) };
        let name = &SKELETON.bones[b].name;
        let inherited = match above {
            Some(p) if follows_parent(name) => turn[p],
            _ => Quat::IDENTITY,
        };
        turn[j] = match aim(name).and_then(|(d, end)| Some((d, joint_of[Bone::named(&end)?.index()]?))) {
            Some((direction, end)) => {
                let now = inherited * (position[end] - position[j]);
                Quat::from_rotation_arc(now.normalize_or(direction), direction) * inherited
            }
            None => inherited,
        };
        to[j] = match above {
            Some(p) => to[p] + turn[p] * (position[j] - position[p]),
            None => position[j],
        };
    }
    let mut out = Alignment {
        turn: Vec::with_capacity(n),
        from: Vec::with_capacity(n),
        to: Vec::with_capacity(n),
        bone: Vec::with_capacity(n),
        joints: [Vec3::ZERO; BONE_COUNT],
    };
    for j in 0..n {
        let m = mapped(j);
        out.turn.push(turn[m] * facing);
        out.from.push(rest.positions[m]);
        out.to.push(to[m]);
        out.bone.push(rest.bones[m].expect("mapped"));
    }
    out.joints = fill_missing(|b| joint_of[b].map(|j| to[j]));
    Ok(out)
}

/// Arms, hands and legs carry what hangs on them; feet and the trunk keep how they stand.
fn follows_parent(name: &str) -> bool {
    let trunk = ["hips", "spine", "chest", "upperChest", "neck", "head", "leftShoulder", "rightShoulder"];
    !trunk.contains(&name) && !name.ends_with("Foot") && !name.ends_with("Toes") && !name.ends_with("UpperLeg") && !name.ends_with("UpperArm")
}

fn fill_missing(known: impl Fn(usize) -> Option<Vec3>) -> [Vec3; BONE_COUNT] {
    let rest = &SKELETON.rest_joints;
    let place = |name: &str| Bone::named(name).expect("known").index();
    let (hips, head) = (known(0).expect("checked"), known(place("head")).expect("checked"));
    let ratio = (head.y - hips.y) / (rest[place("head")].y - rest[0].y);
    let mut out = [Vec3::ZERO; BONE_COUNT];
    for (b, info) in SKELETON.bones.iter().enumerate() {
        out[b] = known(b).unwrap_or_else(|| {
            let p = info.parent.map_or(0, Bone::index);
            match info.name.as_str() {
                // Along the straight line from hips to head.
                "spine" | "chest" | "upperChest" | "neck" => {
                    let t = (rest[b].y - rest[0].y) / (rest[place("head")].y - rest[0].y);
                    let guess = hips.lerp(head, t);
                    if guess.y > out[p].y { guess } else { out[p].lerp(head, 0.3) }
                }
                // Where the upper arm begins, a part of the way from the middle.
                "leftShoulder" | "rightShoulder" => {
                    let arm = known(place(&info.name.replace("Shoulder", "UpperArm"))).expect("checked");
                    Vec3::new(arm.x * 0.2, arm.y, arm.z)
                }
                _ => out[p] + info.offset * ratio,
            }
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skeleton_as_rig(bend: impl Fn(&str) -> Quat, facing: Quat) -> Rest {
        let mut pose = crate::pose::Pose::default();
        for (i, b) in SKELETON.bones.iter().enumerate() {
            pose.rotations[i] = bend(&b.name);
        }
        Rest {
            parents: SKELETON.bones.iter().map(|b| b.parent.map(Bone::index)).collect(),
            positions: pose.joints().positions.iter().map(|&p| facing * p * 3.0).collect(),
            bones: (0..BONE_COUNT).map(|i| Some(Bone(i as u8))).collect(),
        }
    }

    fn at(a: &Alignment, name: &str) -> Vec3 {
        a.joints[Bone::named(name).unwrap().index()] / 3.0
    }

    #[test]
    fn a_t_pose_stays_a_t_pose() {
        let a = align(&skeleton_as_rig(|_| Quat::IDENTITY, Quat::IDENTITY)).unwrap();
        for (b, rest) in SKELETON.rest_joints.iter().enumerate() {
            // The skeleton's fingers spread a little and its shins lean by 2 degrees: aims straighten them.
            assert!((a.joints[b] / 3.0).distance(*rest) < 0.03, "{}", SKELETON.bones[b].name);
        }
    }

    #[test]
    fn an_a_pose_that_faces_away_becomes_a_t_pose() {
        let bend = |name: &str| match name {
            "leftUpperArm" => Quat::from_rotation_z(-0.8),
            "rightUpperArm" => Quat::from_rotation_z(0.8),
            "leftUpperLeg" => Quat::from_rotation_z(0.2),
            _ => Quat::IDENTITY,
        };
        let a = align(&skeleton_as_rig(bend, Quat::from_rotation_y(std::f32::consts::PI))).unwrap();
        let rest = |name: &str| SKELETON.rest_joints[Bone::named(name).unwrap().index()];
        for name in ["leftHand", "rightHand", "leftFoot", "rightFoot", "head"] {
            assert!(at(&a, name).distance(rest(name)) < 0.03, "{name} {} {}", at(&a, name), rest(name));
        }
    }

    #[test]
    fn a_rig_without_legs_is_refused_by_name() {
        let mut rest = skeleton_as_rig(|_| Quat::IDENTITY, Quat::IDENTITY);
        let leg = Bone::named("leftUpperLeg").unwrap();
        rest.bones[leg.index()] = None;
        assert_eq!(align(&rest).err().unwrap(), "no joint for leftUpperLeg");
    }
}
