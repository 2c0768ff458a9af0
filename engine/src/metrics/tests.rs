//! The measures tell what they are named after: dances made to be right or wrong in one way.

use super::*;
use crate::skeleton::SKELETON;

/// Arms that swing with a period, 30 Hz: stillest twice a period, at multiples of half of it.
fn swinging(seconds: f32, period: f32, late: f32) -> Vec<Pose> {
    let arm = ["leftUpperArm", "rightUpperArm"].map(|n| Bone::named(n).unwrap().index());
    (0..(seconds * POSE_HZ) as usize)
        .map(|i| {
            let t = i as f32 / POSE_HZ - late;
            let mut pose = Pose::default();
            for a in arm {
                pose.rotations[a] = glam::Quat::from_rotation_z(0.8 * (std::f32::consts::TAU * t / period).cos());
            }
            pose
        })
        .collect()
}

fn bodies(poses: &[Pose]) -> Vec<Body> {
    poses.iter().map(body).collect()
}

fn beats(seconds: f32, step: f32) -> Vec<f32> {
    (0..(seconds / step) as usize).map(|i| i as f32 * step).collect()
}

#[test]
fn a_dance_on_the_beat_scores_and_its_control_does_not() {
    let s = beats::judge(&bodies(&swinging(20.0, 1.0, 0.0)), &beats(20.0, 0.5)).unwrap();
    assert_eq!(s.level, beats::Level::Beat);
    assert!(s.f > 0.98 && s.bas > 0.9 && s.lag_ms.abs() < 5.0, "{s:?}");
    assert!(s.control_f < 0.4 && s.control_bas < 0.5, "{s:?}");
}

#[test]
fn a_late_dance_says_by_how_much() {
    let s = beats::judge(&bodies(&swinging(20.0, 1.0, 0.04)), &beats(20.0, 0.5)).unwrap();
    assert!((s.lag_ms - 40.0).abs() < 6.0, "{s:?}");
}

#[test]
fn half_and_double_time_are_known_by_their_pace() {
    let level = |period| beats::judge(&bodies(&swinging(24.0, period, 0.0)), &beats(24.0, 0.6)).unwrap();
    assert_eq!(level(2.4).level, beats::Level::Half);
    assert_eq!(level(0.6).level, beats::Level::Double);
    assert!(level(2.4).f > 0.95 && level(0.6).f > 0.95);
}

#[test]
fn the_same_dances_are_no_distance_apart_and_others_are() {
    let rows = |period| {
        let frames = at_60_fps(&bodies(&swinging(30.0, period, 0.0)));
        features::windows(&frames, 150, 20).map(features::kinetic).collect::<Vec<_>>()
    };
    let (slow, fast) = (rows(2.3), rows(0.9));
    let normal = spread::Normal::of(&slow);
    let (a, b) = (normal.apply(&slow), normal.apply(&fast));
    assert!(spread::frechet(&a, &a) < 1e-6 * spread::frechet(&a, &b));
    assert!(spread::diversity(&a) > 0.0);
}

#[test]
fn geometric_features_are_shares_and_see_a_raised_hand() {
    let still = bodies(&vec![Pose::default(); 30]);
    let mut up = Pose::default();
    up.rotations[Bone::named("rightUpperArm").unwrap().index()] = glam::Quat::from_rotation_z(-1.4);
    let raised = bodies(&vec![up; 30]);
    let (a, b) = (features::geometric(&still), features::geometric(&raised));
    assert!(b.iter().all(|x| (0.0..=1.0).contains(x)));
    assert_eq!((a[2], b[2]), (0.0, 1.0), "the right wrist over the neck");
}

#[test]
fn gliding_feet_skate_and_standing_feet_do_not() {
    let glide: Vec<Pose> = (0..60).map(|i| Pose { root: SKELETON.rest_joints[0] + Vec3::X * (i as f32 * 0.02), ..Pose::default() }).collect();
    let stand = vec![Pose::default(); 60];
    let (g, s) = (body::feet(&glide, &bodies(&glide)), body::feet(&stand, &bodies(&stand)));
    assert!((g.slide - 0.6).abs() < 0.01 && g.skating > 0.99, "{g:?}");
    assert!(s.slide < 1e-4 && s.skating == 0.0, "{s:?}");
}

#[test]
fn a_knee_that_bends_forwards_is_beyond_its_limit() {
    let mut pose = Pose::default();
    assert_eq!(body::limits(&[pose.clone()]).joints, 0.0);
    pose.rotations[Bone::named("leftLowerLeg").unwrap().index()] = glam::Quat::from_rotation_x(-0.5);
    assert_eq!(body::limits(&[pose.clone()]).joints, 1.0);
    assert!(body::limits(&[pose]).limb_m < 1e-5);
}

#[test]
fn a_dancer_who_stops_is_seen() {
    let mut poses = swinging(10.0, 1.0, 0.0);
    poses.extend(vec![Pose::default(); 90]);
    let live = body::liveliness(&bodies(&poses));
    assert!((live.longest_still_s - 3.0).abs() < 0.3, "{live:?}");
    assert!((live.still - 3.0 / 13.0).abs() < 0.09, "{live:?}");
}

#[test]
fn a_classifier_tells_what_it_has_learnt() {
    let row = |class: usize, i: usize| vec![class as f32 + 0.1 * (i as f32 * 1.7).sin(), (i as f32 * 0.9).cos(), 3.0 - 2.0 * class as f32 + 0.1 * (i as f32).cos()];
    let (rows, class): (Vec<_>, Vec<_>) = (0..40).map(|i| (row(i % 2, i), i % 2)).unzip();
    let learnt = classify::Classifier::learn(&rows, &class, 2).unwrap();
    assert!((50..80).all(|i| learnt.tell(&row(i % 2, i)) == i % 2));
    assert!(classify::Classifier::learn(&rows, &class, 3).is_none(), "a class without rows");
}
