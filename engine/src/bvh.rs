//! Writes poses as BVH (Biovision hierarchy): the skeleton in centimetres, then a line a frame.
//!
//! Knows no model. Rotations are intrinsic Z, Y, X in degrees, as the channels say.

use std::fmt::Write;

use glam::EulerRot;

use crate::pose::Pose;
use crate::skeleton::{BONE_COUNT, SKELETON};

const CM: f32 = 100.0;

/// Children of every bone, in table order.
fn children(parent: usize) -> impl Iterator<Item = usize> {
    (0..BONE_COUNT).filter(move |&i| SKELETON.bones[i].parent.is_some_and(|p| p.index() == parent))
}

/// Bones depth first: the order in which BVH lists joints, and so the order of its channels.
fn depth_first(bone: usize, out: &mut Vec<usize>) {
    out.push(bone);
    for child in children(bone) {
        depth_first(child, out);
    }
}

fn joint(out: &mut String, bone: usize, depth: usize) {
    let pad = "\t".repeat(depth);
    let info = &SKELETON.bones[bone];
    let o = if bone == 0 { glam::Vec3::ZERO } else { info.offset * CM };
    let (kind, channels) = if bone == 0 {
        ("ROOT", "6 Xposition Yposition Zposition Zrotation Yrotation Xrotation")
    } else {
        ("JOINT", "3 Zrotation Yrotation Xrotation")
    };
    let _ = writeln!(out, "{pad}{kind} {}\n{pad}{{", info.name);
    let _ = writeln!(out, "{pad}\tOFFSET {:.4} {:.4} {:.4}\n{pad}\tCHANNELS {channels}", o.x, o.y, o.z);
    let mut leaf = true;
    for child in children(bone) {
        leaf = false;
        joint(out, child, depth + 1);
    }
    if leaf {
        let o = info.offset.normalize_or_zero() * 0.02 * CM;
        let _ = writeln!(out, "{pad}\tEnd Site\n{pad}\t{{\n{pad}\t\tOFFSET {:.4} {:.4} {:.4}\n{pad}\t}}", o.x, o.y, o.z);
    }
    let _ = writeln!(out, "{pad}}}");
}

/// A whole BVH file.
pub fn write(poses: &[Pose], fps: f32) -> String {
    let mut out = String::from("HIERARCHY\n");
    joint(&mut out, 0, 0);
    let mut order = Vec::with_capacity(BONE_COUNT);
    depth_first(0, &mut order);
    let _ = writeln!(out, "MOTION\nFrames: {}\nFrame Time: {:.6}", poses.len(), 1.0 / fps);
    for pose in poses {
        let r = pose.root * CM;
        let _ = write!(out, "{:.4} {:.4} {:.4}", r.x, r.y, r.z);
        for &bone in &order {
            let (z, y, x) = pose.rotations[bone].to_euler(EulerRot::ZYX);
            let _ = write!(out, " {:.4} {:.4} {:.4}", z.to_degrees(), y.to_degrees(), x.to_degrees());
        }
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_frame_has_a_number_for_every_channel() {
        let text = write(&[Pose::default(), Pose::default()], 30.0);
        let channels: usize = text
            .lines()
            .filter_map(|l| l.trim().strip_prefix("CHANNELS "))
            .map(|l| l.split(' ').next().unwrap().parse::<usize>().unwrap())
            .sum();
        assert_eq!(channels, 6 + 3 * (BONE_COUNT - 1));
        let frames: Vec<_> = text.lines().skip_while(|l| !l.starts_with("Frame Time")).skip(1).collect();
        assert_eq!(frames.len(), 2);
        for frame in frames {
            assert_eq!(frame.split(' ').count(), channels);
        }
        assert_eq!(text.matches('{').count(), text.matches('}').count());
    }
}
