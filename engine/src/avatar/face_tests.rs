//! Faces: what is an eye is found and closes, what is none stays; a face lives, the same way every time.

use glam::Vec2;

use super::tests::{dancing, figure, painted, picture};
use super::*;
use crate::beat::BeatState;
use crate::pose::{Camera, Pose};
use crate::render::View;
use crate::render::cpu::{CpuPuppet, PuppetPicture};

const DARK: [u8; 3] = [40, 30, 50];

/// Marks (centre, radius, half length across, colour) painted over the figure of the other tests.
fn marked(marks: &[([f32; 2], f32, f32, [u8; 3])]) -> (u32, u32, Vec<u8>, Sidecar) {
    let (w, h, mut rgba, sidecar) = picture();
    let capsule = |&([x, y], r, wide, colour): &([f32; 2], f32, f32, [u8; 3])| (Vec2::new(x - wide, y), Vec2::new(x + wide + 0.01, y), r, colour);
    let over = painted(w, h, &marks.iter().map(capsule).collect::<Vec<_>>());
    for (under, mark) in rgba.chunks_exact_mut(4).zip(over.chunks_exact(4)) {
        if mark[3] > 127 {
            under[..3].copy_from_slice(&mark[..3]);
        }
    }
    (w, h, rgba, sidecar)
}

fn imported((w, h, rgba, sidecar): (u32, u32, Vec<u8>, Sidecar)) -> (Avatar, ImportReport) {
    Avatar::import(w, h, rgba, Some(&sidecar), None).expect("the figure is found")
}

const EYES: [([f32; 2], f32, f32, [u8; 3]); 2] = [([130.0, 78.0], 8.0, 0.0, DARK), ([170.0, 78.0], 8.0, 0.0, DARK)];
const MOUTH: ([f32; 2], f32, f32, [u8; 3]) = ([150.0, 112.0], 5.0, 9.0, [150, 40, 50]);

pub(crate) fn with_a_face() -> Avatar {
    imported(marked(&[EYES[0], EYES[1], MOUTH])).0
}

/// Close up on the face: how many pixels are of the eyes' colour, and the picture.
fn shown(avatar: &Avatar, pose: &Pose, expression: &Expression) -> (usize, PuppetPicture) {
    let mut frame = drive(avatar, pose, &Camera::full_body(256.0, 256.0));
    expression.apply(avatar, &mut frame);
    let nose = frame.keypoints[rig::keypoint("nose")].position;
    let view = View { origin: Vec2::splat(128.0) - 4.0 * nose, scale: 4.0 };
    let mut out = PuppetPicture::default();
    CpuPuppet::new(avatar).draw_into(&frame, &view, 256, 256, None, &mut out);
    let dark = out.rgba.chunks_exact(4).filter(|p| p[3] > 250 && p[0] < 90 && p[1] < 90 && p[2] < 90).count();
    (dark, out)
}

#[test]
fn eyes_and_mouth_are_found_where_they_are() {
    let (avatar, report) = imported(marked(&[EYES[0], EYES[1], MOUTH]));
    assert_eq!(report.face_from, "picture");
    let (left, right, mouth) = (avatar.face.left_eye.unwrap(), avatar.face.right_eye.unwrap(), avatar.face.mouth.unwrap());
    let plain = imported(marked(&[])).0;
    assert_eq!(avatar.keypoints, plain.keypoints, "marks move nothing else");
    let nose = avatar.keypoints[rig::keypoint("nose")];
    for (spot, at, size) in [(left, [20.0, -17.0], [16.0, 16.0]), (right, [-20.0, -17.0], [16.0, 16.0]), (mouth, [0.0, 17.0], [28.0, 10.0])] {
        assert!((spot.centre - nose).distance(Vec2::from(at)) < 2.0, "{spot:?}");
        assert!((spot.size - Vec2::from(size)).length() < 4.0, "{spot:?}");
    }
}

#[test]
fn what_is_no_pair_of_eyes_does_not_blink() {
    let none = |marks: &[([f32; 2], f32, f32, [u8; 3])]| {
        let (avatar, report) = imported(marked(marks));
        assert!(avatar.face.is_empty() && report.face_from == "none", "{:?}", avatar.face);
        assert!(report.notes.iter().any(|n| n.contains("blink")), "{:?}", report.notes);
    };
    none(&[]);
    // One eye, eyes askew, brows, cheeks, and closed eyes.
    none(&[EYES[0]]);
    none(&[([130.0, 70.0], 8.0, 0.0, DARK), ([170.0, 88.0], 8.0, 0.0, DARK)]);
    none(&[([130.0, 62.0], 2.0, 12.0, DARK), ([170.0, 62.0], 2.0, 12.0, DARK)]);
    none(&[([125.0, 112.0], 8.0, 2.0, [240, 60, 70]), ([175.0, 112.0], 8.0, 2.0, [240, 60, 70])]);
}

#[test]
fn lids_cover_the_eyes_and_an_open_face_is_the_picture() {
    let avatar = with_a_face();
    let plain = Avatar { face: Face::default(), ..avatar.clone() };
    for pose in [Pose::default(), dancing()] {
        let dark = |lids: f32| shown(&avatar, &pose, &Expression { lids, ..Expression::default() }).0;
        let (open, half, closed) = (dark(0.0), dark(0.5), dark(1.0));
        assert!(open > 600 && half * 10 < open * 9 && closed * 2 < open, "{open} {half} {closed}");
        assert!(closed > 60, "a lash line stays: {closed}");
        let (_, picture) = shown(&avatar, &pose, &Expression::default());
        let (_, without) = shown(&plain, &pose, &Expression { lids: 1.0, gaze: Vec2::ONE, mouth: 1.0 });
        let far = picture.rgba.iter().zip(&without.rgba).filter(|(a, b)| a.abs_diff(**b) > 60).count();
        assert!(far < 200, "{far} values differ");
    }
}

#[test]
fn a_mouth_opens_and_shuts() {
    let avatar = with_a_face();
    let red = |mouth: f32| {
        let (_, picture) = shown(&avatar, &Pose::default(), &Expression { mouth, ..Expression::default() });
        // Between the corners of the mouth.
        let near = |i: usize| (118..138).contains(&(i % 256)) && (128..220).contains(&(i / 256));
        let red = |p: &[u8]| p[0] < 200 && p[0] > 110 && p[1] < 100;
        picture.rgba.chunks_exact(4).enumerate().filter(|(i, p)| near(*i) && red(p)).count()
    };
    let (shut, as_drawn, open) = (red(-1.0), red(0.0), red(1.0));
    assert!(shut * 10 < as_drawn * 8 && open * 10 > as_drawn * 12, "{shut} {as_drawn} {open}");
}

#[test]
fn a_face_given_is_taken_and_one_out_of_bounds_refused() {
    let (w, h, rgba, mut sidecar) = marked(&EYES);
    let spot = |x: f32, y: f32, size: f32| Some(Spot { centre: Vec2::new(x, y), size: Vec2::splat(size) });
    sidecar.face = Some(Face { left_eye: spot(170.0, 78.0, 16.0), ..Face::default() });
    let (avatar, report) = Avatar::import(w, h, rgba.clone(), Some(&sidecar), None).unwrap();
    assert_eq!((report.face_from, avatar.face.right_eye, avatar.face.mouth), ("sidecar", None, None));
    assert!(avatar.face.left_eye.is_some());
    for (face, words) in [(spot(299.0, 78.0, 16.0), "outside"), (spot(f32::NAN, 78.0, 16.0), "outside"), (spot(150.0, 250.0, 240.0), "too large"), (spot(150.0, 78.0, 0.0), "too small")] {
        sidecar.face = Some(Face { left_eye: face, ..Face::default() });
        let error = Avatar::import(w, h, rgba.clone(), Some(&sidecar), None).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("left eye") && error.contains(words), "{error}");
    }
    // Where nothing is there is nothing to close.
    sidecar.face = Some(Face { left_eye: spot(150.0, 60.0, 12.0), ..Face::default() });
    assert!(Avatar::import(w, h, rgba, Some(&sidecar), None).unwrap().0.face.is_empty());
}

#[test]
fn a_file_keeps_its_face_and_an_old_one_has_none() {
    let avatar = with_a_face();
    assert_eq!(Avatar::from_bytes(&avatar.to_bytes().unwrap()).unwrap(), avatar);
    let mut wild = avatar.clone();
    wild.face.mouth = Some(Spot { centre: Vec2::splat(-400.0), size: Vec2::splat(20.0) });
    assert!(Avatar::from_bytes(&wild.to_bytes().unwrap()).unwrap_err().to_string().contains("mouth"));
    // As the first version wrote it.
    let (faceless, _) = imported(marked(&[]));
    let mut bytes = faceless.to_bytes().unwrap();
    let version = br#""version":"2""#;
    let at = bytes.windows(version.len()).position(|w| w == version).unwrap();
    bytes[at + version.len() - 2] = b'1';
    let old = Avatar::from_bytes(&bytes).unwrap();
    assert_eq!(old, faceless);
    let blinking = shown(&old, &Pose::default(), &Expression { lids: 1.0, ..Expression::default() }).1;
    assert_eq!(blinking.rgba, shown(&old, &Pose::default(), &Expression::default()).1.rgba);
}

#[test]
fn corrected_points_make_the_same_figure_anew() {
    let avatar = with_a_face();
    let mut points = avatar.points();
    let (same, _) = avatar.corrected(&points).unwrap();
    assert_eq!((same.reference.clone(), same.keypoints, same.face), (avatar.reference.clone(), avatar.keypoints, avatar.face));
    points.keypoints.get_mut("left_elbow").unwrap()[1] += 20.0;
    points.face = Some(Face::default());
    let (corrected, _) = avatar.corrected(&points).unwrap();
    assert!((corrected.rig.elbows[0].y - avatar.rig.elbows[0].y - 20.0).abs() < 0.01);
    assert!(corrected.face.is_empty());
    points.keypoints.get_mut("left_elbow").unwrap()[0] = 5000.0;
    assert!(avatar.corrected(&points).map(|_| ()).unwrap_err().to_string().contains("left_elbow"));
}

/// Lids and mouths over some seconds.
fn lived(seed: u32, seconds: usize, cue: impl Fn(usize) -> (BeatState, f32, bool)) -> Vec<Expression> {
    let (avatar, _) = figure();
    let frame = drive(&avatar, &Pose::default(), &Camera::full_body(64.0, 64.0));
    let mut face = Liveliness::new(seed);
    let shown = (0..seconds * 30).map(|i| {
        let (beat, voice, silent) = cue(i);
        face.step(&frame, &Cue { beat: &beat, voice, silent }, None)
    });
    shown.collect()
}

#[test]
fn somebody_elses_face_comes_stays_and_goes_without_a_jump() {
    let (avatar, _) = figure();
    let frame = drive(&avatar, &Pose::default(), &Camera::full_body(64.0, 64.0));
    let (beat, mut face) = (BeatState::default(), Liveliness::new(3));
    let theirs = Expression { lids: 0.4, gaze: Vec2::new(0.9, -0.3), mouth: 0.8 };
    let mut shown = Vec::new();
    for i in 0..90 {
        let lent = (30..60).contains(&i).then_some(theirs);
        shown.push(face.step(&frame, &Cue { beat: &beat, voice: 0.0, silent: false }, lent));
    }
    let near = |a: &Expression, b: &Expression| (a.lids - b.lids).abs().max((a.mouth - b.mouth).abs()).max((a.gaze - b.gaze).length()) < 1e-5;
    assert!(shown[34..60].iter().all(|s| near(s, &theirs)));
    assert!(shown[66..].iter().all(|s| s.mouth < 0.0), "its own again");
    let steps: Vec<f32> = shown.windows(2).map(|w| (w[1].mouth - w[0].mouth).abs()).collect();
    assert!(steps[20..].iter().all(|s| *s < 0.4), "{steps:?}");
}

fn blinks(shown: &[Expression]) -> Vec<usize> {
    (1..shown.len()).filter(|i| shown[*i].lids > 0.9 && shown[i - 1].lids <= 0.9).collect()
}

#[test]
fn people_blink_every_few_seconds_and_no_two_alike() {
    let quiet = |_: usize| (BeatState::default(), 0.0, false);
    let shown = lived(7, 240, quiet);
    assert_eq!(shown, lived(7, 240, quiet));
    let at = blinks(&shown);
    assert!((40..140).contains(&at.len()), "{} blinks in four minutes", at.len());
    let pauses: Vec<usize> = at.windows(2).map(|w| w[1] - w[0]).collect();
    assert!(pauses.iter().all(|p| (8..=210).contains(p)), "{pauses:?}");
    assert!(pauses.iter().any(|p| *p < 20) && pauses.iter().any(|p| *p > 120), "{pauses:?}");
    assert_ne!(at, blinks(&lived(8, 240, quiet)));
    // Shut within three frames, and open again soon.
    for i in at {
        assert!(shown[i - 1].lids > 0.3 && shown[i - 2].lids < 0.2);
        assert!(shown[i + 6..].first().is_none_or(|e| e.lids < 0.2), "{i}");
    }
}

#[test]
fn the_end_of_a_phrase_is_often_a_blink() {
    // Two seconds a bar, so eight a phrase.
    let beat = |i: usize| BeatState { confidence: 1.0, bar_phase: (i % 60) as f32 / 60.0, ..BeatState::default() };
    let at = blinks(&lived(3, 480, |i| (beat(i), 0.0, false)));
    let (ends, near) = (60, at.iter().filter(|i| **i % 240 < 3).count());
    assert!(near * 3 > ends, "{near} of {ends}");
}

#[test]
fn a_mouth_follows_the_voice_and_is_shut_in_silence() {
    let sung = lived(1, 4, |i| (BeatState::default(), if i % 20 < 8 { 1.0 } else { 0.0 }, false));
    let most = sung[60..].iter().map(|e| e.mouth).fold(f32::MIN, f32::max);
    let least = sung[60..].iter().map(|e| e.mouth).fold(f32::MAX, f32::min);
    assert!(most > 0.7 && least < 0.0, "{least} to {most}");
    let silent = lived(1, 4, |_| (BeatState::default(), 0.0, true));
    assert!(silent[119].mouth < -0.95 && silent.iter().all(|e| e.gaze.abs().max_element() <= 1.0));
}
