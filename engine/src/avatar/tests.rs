//! Pictures become avatars or clear errors; files survive a round trip and refuse what is broken.

use glam::{Quat, Vec2};
use odori_kernels::{Backend, Weights, cpu};
use proptest::prelude::*;

use super::*;
use crate::pose::{Camera, Pose};
use crate::skeleton::Bone;

/// A figure of capsules with a face, drawn here so that no file is needed.
pub(crate) fn figure() -> (Avatar, ImportReport) {
    let (w, h, rgba, sidecar) = picture();
    Avatar::import(w, h, rgba, Some(&sidecar), None).expect("the figure is found")
}

pub(crate) fn picture() -> (u32, u32, Vec<u8>, Sidecar) {
    let (w, h) = (300u32, 500u32);
    let text = r#"{"width":300,"height":500,"keypoints":{
        "nose":[150,95],"left_shoulder":[182,150],"right_shoulder":[118,150],"left_elbow":[225,193],"right_elbow":[75,193],
        "left_wrist":[265,233],"right_wrist":[35,233],"left_hip":[169,270],"right_hip":[131,270],"left_knee":[175,355],
        "right_knee":[125,355],"left_ankle":[180,440],"right_ankle":[120,440],"left_toe":[190,468],"right_toe":[110,468],
        "neck":[150,140],"head_top":[150,30],"pelvis":[150,260],"left_hand":[280,248],"right_hand":[20,248]}}"#;
    let sidecar = Sidecar::parse(text.as_bytes()).expect("the sidecar is fine");
    let p = |n: &str| Vec2::from(sidecar.keypoints[n]);
    let mut capsules = vec![
        (p("neck"), p("pelvis"), 34.0, [220, 70, 90]),
        (p("neck"), p("nose"), 14.0, [250, 210, 180]),
        (p("nose"), p("nose") - Vec2::new(0.0, 15.0), 48.0, [250, 210, 180]),
    ];
    for s in ["left", "right"] {
        let q = |n: &str| p(&format!("{s}_{n}"));
        capsules.push((q("shoulder"), q("elbow"), 15.0, [220, 70, 90]));
        capsules.push((q("elbow"), q("hand"), 12.0, [250, 210, 180]));
        capsules.push((q("hip"), q("knee"), 17.0, [50, 70, 130]));
        capsules.push((q("knee"), q("ankle"), 14.0, [50, 70, 130]));
        capsules.push((q("ankle"), q("toe"), 13.0, [240, 240, 240]));
    }
    (w, h, painted(w, h, &capsules), sidecar)
}

pub(super) fn finder() -> FigureFinder {
    let weights = Weights::from_safetensors(include_bytes!("../../../models/figure.safetensors")).expect("weights");
    FigureFinder::new(&Backend::Cpu(cpu::Pool::new(1)), &weights).expect("weights that fit")
}

/// Capsules (from, to, radius, colour) on clear ground.
pub(crate) fn painted(w: u32, h: u32, capsules: &[(Vec2, Vec2, f32, [u8; 3])]) -> Vec<u8> {
    let mut rgba = vec![0u8; (w * h * 4) as usize];
    for (i, px) in rgba.chunks_exact_mut(4).enumerate() {
        let at = Vec2::new((i as u32 % w) as f32 + 0.5, (i as u32 / w) as f32 + 0.5);
        for &(a, b, r, c) in capsules {
            let t = ((at - a).dot(b - a) / (b - a).length_squared()).clamp(0.0, 1.0);
            let cover = (r - at.distance(a.lerp(b, t)) + 0.5).clamp(0.0, 1.0);
            if cover > 0.0 && (cover * 255.0) as u8 >= px[3] {
                px.copy_from_slice(&[c[0], c[1], c[2], (cover * 255.0) as u8]);
            }
        }
    }
    rgba
}

pub(crate) fn dancing() -> Pose {
    let mut pose = Pose::default();
    let mut turn = |n: &str, q: Quat| pose.rotations[Bone::named(n).expect("a bone").index()] = q;
    turn("leftUpperArm", Quat::from_rotation_z(0.9));
    turn("leftLowerArm", Quat::from_rotation_z(1.1));
    turn("rightUpperArm", Quat::from_rotation_z(0.8));
    turn("rightLowerArm", Quat::from_rotation_y(1.6));
    turn("leftUpperLeg", Quat::from_rotation_z(0.6));
    turn("spine", Quat::from_rotation_z(-0.2));
    turn("head", Quat::from_rotation_y(0.4));
    pose
}

fn import_error(width: u32, height: u32, rgba: Vec<u8>, sidecar: Option<&Sidecar>) -> String {
    Avatar::import(width, height, rgba, sidecar, Some(&mut finder())).map(|(_, report)| report).expect_err("this cannot be imported").to_string()
}

/// A drawing in a wide skirt once had the skirt's corners for hands.
#[test]
fn arms_held_out_are_found_above_a_wide_skirt() {
    let v = Vec2::new;
    let grey = [120, 120, 130];
    let mut capsules = vec![
        (v(150.0, 72.0), v(150.0, 80.0), 42.0, grey),
        (v(150.0, 110.0), v(150.0, 160.0), 10.0, grey),
        (v(150.0, 170.0), v(150.0, 240.0), 27.0, grey),
    ];
    for s in [-1.0, 1.0] {
        capsules.push((v(150.0, 158.0), v(150.0 + s * 124.0, 164.0), 9.0, grey));
        capsules.push((v(150.0 + s * 20.0, 320.0), v(150.0 + s * 22.0, 450.0), 10.0, grey));
        capsules.push((v(150.0 + s * 80.0, 318.0), v(150.0 + s * 96.0, 346.0), 6.0, grey));
        capsules.extend((0..11).map(|i| (v(150.0, 236.0), v(150.0 + s * 8.0 * i as f32, 326.0), 6.0, grey)));
    }
    let (avatar, report) = Avatar::import(300, 500, painted(300, 500, &capsules), None, Some(&mut finder())).expect("the figure is found");
    assert_eq!(report.keypoints_from, "network");
    let at = |n: &str| avatar.keypoints[rig::keypoint(n)];
    let shoulders = 0.5 * (at("left_shoulder").y + at("right_shoulder").y);
    for s in ["left", "right"] {
        let (elbow, wrist) = (at(&format!("{s}_elbow")), at(&format!("{s}_wrist")));
        assert!((elbow.y - shoulders).abs() < 40.0 && (wrist.y - shoulders).abs() < 40.0, "{s}: {elbow} {wrist}");
    }
}

#[test]
fn every_pose_gives_finite_transforms_and_standing_feet() {
    let (avatar, _) = figure();
    let camera = Camera::full_body(512.0, 512.0);
    let frame = drive(&avatar, &Pose::default(), &camera);
    let floor = camera.project(glam::Vec3::ZERO).y;
    let ankle = |f: &PuppetFrame, n| f.keypoints[rig::keypoint(n)].position;
    let sole = (avatar.rig.ground - avatar.rig.ankles[0].y) * frame.scale;
    assert!((ankle(&frame, "left_ankle").y + sole - floor).abs() < 2.0, "the figure stands on the floor");
    assert!(ankle(&frame, "left_wrist").x > ankle(&frame, "right_wrist").x);
    assert_eq!(frame, drive(&avatar, &Pose::default(), &camera), "nothing is remembered");
    for i in 0..200 {
        let mut pose = Pose::default();
        for (b, q) in pose.rotations.iter_mut().enumerate() {
            let k = (i * 53 + b * 17) as f32;
            *q = Quat::from_euler(glam::EulerRot::XYZ, k * 0.7, k * 0.31, k * 1.3);
        }
        let frame = drive(&avatar, &pose, &camera);
        for b in &frame.bones {
            let n: &[f32] = bytemuck::cast_slice(std::slice::from_ref(b));
            assert!(n.iter().all(|v| v.is_finite() && v.abs() < 1e5), "{b:?}");
        }
        let mut seen = frame.order;
        seen.sort_unstable();
        assert_eq!(seen, std::array::from_fn(|i| i as u8), "every layer is drawn once");
    }
}

#[test]
fn joints_stay_joined_in_a_bend() {
    let (avatar, _) = figure();
    let frame = drive(&avatar, &dancing(), &Camera::full_body(512.0, 512.0));
    for s in 0..2 {
        let r = &avatar.rig;
        for (a, b, p) in [
            (bone::upper_arm(s), bone::lower_arm(s), r.elbows[s]),
            (bone::lower_arm(s), bone::hand(s), r.wrists[s]),
            (bone::upper_leg(s), bone::lower_leg(s), r.knees[s]),
            (bone::lower_leg(s), bone::foot(s), r.ankles[s]),
        ] {
            let gap = frame.bones[a].apply(p).distance(frame.bones[b].apply(p));
            assert!(gap < 0.5, "bones {a} and {b} are {gap} px apart");
        }
    }
}

#[test]
fn springs_settle_and_repeat() {
    let (avatar, _) = figure();
    let camera = Camera::full_body(512.0, 512.0);
    let run = || {
        let mut springs = Springs::new();
        let mut last = drive(&avatar, &Pose::default(), &camera);
        for i in 0..300 {
            let pose = if i < 30 && i % 8 < 4 { dancing() } else { Pose::default() };
            last = drive(&avatar, &pose, &camera);
            springs.step(&avatar, &mut last, 1.0 / 30.0);
        }
        last
    };
    let end = run();
    assert_eq!(end, run());
    let still = drive(&avatar, &Pose::default(), &camera);
    let lean = (end.bones[bone::hair(0)].angle - still.bones[bone::hair(0)].angle).abs();
    assert!(lean < 0.02, "hair hangs still after nine seconds: {lean}");
}

#[test]
fn a_picture_alone_gives_nearly_the_same_joints() {
    let (w, h, rgba, sidecar) = picture();
    let (given, _) = Avatar::import(w, h, rgba.clone(), Some(&sidecar), None).unwrap();
    let (found, report) = Avatar::import(w, h, rgba, None, Some(&mut finder())).unwrap();
    assert_eq!(report.keypoints_from, "network");
    assert!(report.confidence > 0.7, "{}", report.confidence);
    for n in ["left_wrist", "right_wrist", "left_ankle", "right_ankle", "left_elbow", "right_knee", "neck", "head_top"] {
        let d = given.keypoints[rig::keypoint(n)].distance(found.keypoints[rig::keypoint(n)]);
        assert!(d < 45.0, "{n} is {d} px off");
    }
}

#[test]
fn a_figure_is_cut_out_of_a_busy_ground() {
    let (w, h, rgba, sidecar) = picture();
    let (clear, _) = Avatar::import(w, h, rgba.clone(), Some(&sidecar), None).unwrap();
    let busy: Vec<u8> = rgba
        .chunks_exact(4)
        .enumerate()
        .flat_map(|(i, p)| {
            let (x, y, a) = (i as u32 % w, i as u32 / w, p[3] as u32);
            // Checks on a gradient.
            let check = if (x / 60 + y / 60) % 2 == 0 { 40 } else { 0 };
            let ground = [(60 + y / 4 + check) as u8, (150 - y / 6 + check) as u8, (70 + x / 3 + check) as u8];
            let over = |c: usize| ((p[c] as u32 * a + ground[c] as u32 * (255 - a)) / 255) as u8;
            [over(0), over(1), over(2), 255]
        })
        .collect();
    let (cut, report) = Avatar::import(w, h, busy, Some(&sidecar), Some(&mut finder())).unwrap();
    assert_eq!(report.ground, Ground::Busy);
    let area = |a: &Avatar| a.reference.rgba.chunks_exact(4).filter(|p| p[3] > 127).count() as f32;
    let ratio = area(&cut) / area(&clear);
    assert!((0.8..1.25).contains(&ratio), "{ratio}");
}

#[test]
fn the_finder_sees_what_it_saw_in_training() {
    let golden = Weights::from_safetensors(include_bytes!("../../../models/golden/figure.safetensors")).unwrap();
    let picture: Vec<f32> = (0..128 * 128)
        .flat_map(|i| {
            let (x, y) = ((i % 128) as f32, (i / 128) as f32);
            let inside = ((x - 64.0) / 30.0).powi(2) + ((y - 64.0) / 52.0).powi(2) < 1.0;
            if inside { [x / 128.0, y / 128.0, (x + y) / 256.0, 1.0] } else { [0.5, 0.5, 0.5, 0.0] }
        })
        .collect();
    let seen = finder().look(&picture);
    let (_, points) = golden.get("points").unwrap();
    let (_, sure) = golden.get("sure").unwrap();
    let (_, mask) = golden.get("mask").unwrap();
    for (k, p) in seen.points.iter().enumerate() {
        assert!((p.x - points[2 * k]).abs() < 0.02 && (p.y - points[2 * k + 1]).abs() < 0.02, "{k}: {p}");
        assert!((seen.sure[k] - sure[k]).abs() < 1e-3, "{k}");
    }
    for (i, m) in mask.iter().enumerate() {
        let at = (i / 16 * 8) * 128 + i % 16 * 8;
        assert!((seen.mask[at] - m).abs() < 1e-3, "{i}");
    }
    let (shape, parts) = golden.get("parts").unwrap();
    assert_eq!(shape, [8, 16, 16]);
    for (i, p) in parts.iter().enumerate() {
        let (class, cell) = (i / 256, i % 256);
        let at = ((cell / 16 * 8) * 128 + cell % 16 * 8) * 8 + class;
        assert!((seen.parts[at] - p).abs() < 2e-3, "{class} at {cell}: {} {p}", seen.parts[at]);
    }
}

#[test]
fn a_plain_ground_is_removed() {
    let (w, h, rgba, sidecar) = picture();
    let (clear, _) = Avatar::import(w, h, rgba.clone(), Some(&sidecar), None).unwrap();
    let on_white: Vec<u8> = rgba
        .chunks_exact(4)
        .flat_map(|p| {
            let a = p[3] as u32;
            let over = |c: u8, g: u32| ((c as u32 * a + g * (255 - a)) / 255) as u8;
            [over(p[0], 90), over(p[1], 200), over(p[2], 120), 255]
        })
        .collect();
    // As photographed: one corner lies in shadow.
    let mut shaded = on_white.clone();
    for (x, y) in (0..h as usize / 8).flat_map(|y| (0..w as usize / 8).map(move |x| (x, y))) {
        shaded[(y * w as usize + x) * 4..][..3].copy_from_slice(&[40, 150, 70]);
    }
    let area = |a: &Avatar| a.reference.rgba.chunks_exact(4).filter(|p| p[3] > 127).count() as f32;
    for ground in [on_white, shaded] {
        let (cut, report) = Avatar::import(w, h, ground, Some(&sidecar), None).unwrap();
        assert_eq!(report.ground, Ground::Plain);
        let ratio = area(&cut) / area(&clear);
        assert!((0.97..1.03).contains(&ratio), "{ratio}");
    }
}

#[test]
fn pictures_without_a_figure_say_why() {
    assert!(import_error(20_000, 20_000, Vec::new(), None).contains("8192"));
    assert!(import_error(64, 64, vec![0; 64 * 64 * 4], None).contains("no figure"));
    assert!(import_error(64, 64, vec![255; 64 * 64 * 4], None).contains("no figure"));
    assert!(import_error(64, 64, vec![0; 7], None).contains("bytes"));
    let noise: Vec<u8> = (0..128 * 128u32).flat_map(|i| { let v = i.wrapping_mul(2_654_435_761); [(v >> 8) as u8, (v >> 16) as u8, (v >> 24) as u8, 255] }).collect();
    assert!(import_error(128, 128, noise, None).contains("no plain ground"));
    let disc: Vec<u8> = (0..200 * 200i32).flat_map(|i| { let (x, y) = (i % 200 - 100, i / 200 - 100); [200, 60, 60, if x * x + y * y < 6400 { 255 } else { 0 }] }).collect();
    assert!(import_error(200, 200, disc, None).contains("joints cannot be found"));
    assert!(import_encoded(b"not a picture", None, None).unwrap_err().to_string().contains("PNG"));
    // The header alone refuses a giant; its pixels are never decoded.
    let mut png = Vec::new();
    png.extend(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR");
    png.extend(20_000u32.to_be_bytes());
    png.extend(20_000u32.to_be_bytes());
    png.extend([8, 6, 0, 0, 0, 0, 0, 0, 0]);
    png.extend(b"\0\0\0\0IDAT\0\0\0\0");
    let e = import_encoded(&png, None, None).unwrap_err().to_string();
    assert!(e.contains("8192") || e.contains("cannot be read"), "{e}");
}

#[test]
fn keypoints_out_of_bounds_or_unknown_are_refused() {
    let (w, h, rgba, sidecar) = picture();
    let with = |n: &str, p| {
        let mut s = sidecar.clone();
        s.keypoints.insert(n.into(), p);
        import_error(w, h, rgba.clone(), Some(&s))
    };
    assert!(with("left_wrist", [4000.0, 20.0]).contains("left_wrist"));
    assert!(with("left_wrist", [f32::NAN, 20.0]).contains("left_wrist"));
    assert!(with("tail", [40.0, 20.0]).contains("tail"));
    assert!(Sidecar::parse(b"{").is_err());
    let mut wrong = sidecar.clone();
    wrong.width = 900;
    assert!(import_error(w, h, rgba.clone(), Some(&wrong)).contains("900"));
    let mut few = sidecar.clone();
    few.keypoints.retain(|n, _| !n.contains("eye") && !n.contains("toe") && !n.contains("hand") && n != "neck" && n != "pelvis");
    let (_, report) = Avatar::import(w, h, rgba, Some(&few), None).unwrap();
    assert_eq!(report.inferred.len(), 10);
}

#[test]
fn a_file_gives_back_the_same_avatar() {
    let (avatar, _) = figure();
    let bytes = avatar.to_bytes().unwrap();
    assert_eq!(Avatar::from_bytes(&bytes).unwrap(), avatar);
    assert!(Avatar::from_bytes(&bytes[..bytes.len() / 2]).is_err());
    assert!(Avatar::from_bytes(b"").is_err());
    let mut other = avatar.clone();
    other.indices[5] = 1_000_000;
    assert!(Avatar::from_bytes(&other.to_bytes().unwrap()).unwrap_err().to_string().contains("triangle"));
    let mut other = avatar.clone();
    other.vertices[3].rest[0] = f32::NAN;
    assert!(Avatar::from_bytes(&other.to_bytes().unwrap()).is_err());
    let mut other = avatar.clone();
    other.vertices[3].bones[1] = 99;
    assert!(Avatar::from_bytes(&other.to_bytes().unwrap()).is_err());
    let mut other = avatar;
    other.layers[2].count += 3_000_000;
    assert!(Avatar::from_bytes(&other.to_bytes().unwrap()).is_err());
}

/// A leg once stood beside the long skirt that it was in.
#[test]
fn a_long_skirt_leans_as_far_as_its_leg_and_a_short_one_half() {
    let (mut avatar, _) = figure();
    let leans = |avatar: &Avatar, turn: Quat| {
        let mut pose = Pose::default();
        pose.rotations[Bone::named("leftUpperLeg").unwrap().index()] = turn;
        let frame = drive(avatar, &pose, &Camera::full_body(512.0, 512.0));
        (frame.bones[bone::skirt(0)].angle, frame.bones[bone::upper_leg(0)].angle)
    };
    let aside = Quat::from_rotation_z(0.6);
    let (knee, ankle) = (avatar.rig.knees[0].y, avatar.rig.ankles[0].y);
    avatar.rig.hem = Some(knee - 30.0);
    let (short, leg) = leans(&avatar, aside);
    assert!(leg.abs() > 0.3 && (0.4..0.7).contains(&(short / leg)), "{short} of {leg}");
    avatar.rig.hem = Some(knee.midpoint(ankle));
    let (long, leg) = leans(&avatar, aside);
    assert!((0.85..1.0).contains(&(long / leg)), "{long} of {leg}");
    // A leg raised towards the viewer does not take it aside.
    let (raised, _) = leans(&avatar, Quat::from_rotation_x(-1.5) * Quat::from_rotation_z(0.1));
    assert!(raised.abs() < 0.35, "{raised}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_damaged_file_never_panics(at in 0usize..40_000, with in any::<u8>()) {
        static BYTES: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| figure().0.to_bytes().unwrap());
        let mut bytes = BYTES.clone();
        let at = at % bytes.len();
        bytes[at] ^= with;
        let _ = Avatar::from_bytes(&bytes);
    }
}
