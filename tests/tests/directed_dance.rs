//! What a viewer asks for shows in the dance, feet stand, and a group keeps apart.

mod common;

use glam::{Quat, Vec3};
use odori_engine::metrics::{self, Body};
use odori_engine::motion::Sampling;
use odori_engine::pipeline::{Pipeline, Settings};
use odori_engine::pose::Pose;
use odori_engine::skeleton::Bone;
use odori_kernels::{Backend, cpu};

/// Poses of every dancer, frame by frame; `change` may alter the settings before a frame.
fn dance(settings: Settings, dancers: usize, seconds: usize, change: impl Fn(usize, &mut Settings)) -> Vec<Vec<Pose>> {
    let backend = Backend::Cpu(cpu::Pool::new(2));
    let mut pipeline = Pipeline::group(&backend, &common::models(&backend), settings, dancers).unwrap();
    // From its groove on.
    common::song(8..8 + seconds)
        .chunks_exact(800)
        .enumerate()
        .filter_map(|(n, block)| {
            change(n, &mut pipeline.settings);
            pipeline.push_audio(block);
            pipeline.skip_frame().unwrap().map(|f| f.dancers.to_vec())
        })
        .collect()
}

fn bodies(frames: &[Vec<Pose>], dancer: usize) -> Vec<Body> {
    frames.iter().map(|f| metrics::body(&f[dancer])).collect()
}

#[test]
fn feet_that_stand_stay_and_joints_stay_whole() {
    let frames = dance(Settings::default(), 1, 20, |_, _| ());
    let poses: Vec<Pose> = frames.iter().map(|f| f[0].clone()).collect();
    let feet = metrics::body::feet(&poses, &bodies(&frames, 0));
    // People who dance: 0.09 m/s.
    assert!(feet.slide < 0.05, "{feet:?}");
    assert!(metrics::body::limits(&poses).limb_m < 1e-4);
}

/// Captures that the model learnt from have some upside down, of salsa above all.
#[test]
fn heads_sit_on_their_necks() {
    let (head, neck) = (Bone::named("head").unwrap().index(), Bone::named("neck").unwrap().index());
    for (style, seed) in [(0, 1), (2, 1), (2, 6)] {
        let settings = Settings { style, sampling: Sampling { seed, ..Sampling::default() }, ..Settings::default() };
        for (n, frame) in dance(settings, 1, 50, |_, _| ()).iter().enumerate() {
            let pose = &frame[0];
            let up = (pose.rotations[head] * Vec3::Y).y;
            assert!(up > 0.3, "style {style}, seed {seed}, frame {n}: {up}");
            assert!(pose.rotations[neck].angle_between(Quat::IDENTITY) < 1.3, "style {style}, seed {seed}, frame {n}");
        }
    }
}

#[test]
fn energy_changed_in_mid_song_shows_within_a_bar_and_a_half() {
    // Styles are not equally lively: each is held against itself.
    let (mut before, mut after) = (0.0, 0.0);
    for style in [1, 2, 3, 5] {
        let frames = dance(Settings { energy: 0.15, style, ..Settings::default() }, 1, 16, |n, settings| {
            if n == 300 {
                settings.energy = 1.0;
            }
        });
        let speed = |from: usize, to: usize| metrics::mean(&metrics::speeds(&bodies(&frames[from..to], 0), metrics::POSE_HZ));
        // A bar of the song is 59 frames.
        println!("style {style}: {} m/s, then {} m/s", speed(150, 300), speed(330, 390));
        (before, after) = (before + speed(150, 300), after + speed(330, 390));
    }
    assert!(after > 1.4 * before, "{before} m/s, then {after} m/s");
}

#[test]
fn another_style_asked_for_in_mid_song_is_danced_a_bar_later() {
    // A bar of the song is 59 frames.
    let at = 300;
    // How the body is held, as seen from the hips: the mean over four bars of four dances, for single ones vary.
    let manner = |style: u32, then: u32| -> Body {
        let dances = (1..=4).flat_map(|seed| {
            let of = |style| Settings { style, sampling: Sampling { seed, ..Sampling::default() }, ..Settings::default() };
            let frames = dance(of(style), 1, 18, |n, settings| if n == at { *settings = of(then) });
            bodies(&frames[at + 59..], 0)
        });
        let bodies: Vec<Body> = dances.collect();
        std::array::from_fn(|j| bodies.iter().map(|b| b[j] - b[0]).reduce(|a, b| a + b).expect("frames") / bodies.len() as f32)
    };
    let apart = |a: &Body, b: &Body| a.iter().zip(b).map(|(a, b)| a.distance(*b)).sum::<f32>() / a.len() as f32;
    let (salsa, indian) = (2, 3);
    let changed = manner(salsa, indian);
    let (to_new, to_old) = (apart(&changed, &manner(indian, indian)), apart(&changed, &manner(salsa, salsa)));
    println!("{to_new} m from the new style, {to_old} m from the old one");
    assert!(to_new < 0.6 * to_old, "{to_new} m from the new style, {to_old} m from the old one");
}

#[test]
fn a_group_dances_related_moves_and_keeps_apart() {
    let frames = dance(Settings::default(), 3, 20, |_, _| ());
    for frame in &frames {
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            // Half a step between those who lunge towards each other.
            let apart = frame[a].root.distance(frame[b].root);
            assert!(apart > 0.4, "dancers {a} and {b} are {apart} m apart");
            assert_ne!(frame[a].rotations, frame[b].rotations);
        }
    }
}

#[test]
fn music_that_stops_and_begins_shows_within_a_tenth_of_a_second() {
    let (stops, begins) = (10 * 24_000, 13 * 24_000);
    let mut sound = common::song(8..28);
    sound[stops..begins].fill(0.0);
    let backend = Backend::Cpu(cpu::Pool::new(2));
    let mut pipeline = Pipeline::poses_only(&backend, &common::models(&backend), Settings::default()).unwrap();
    let mut bodies = Vec::new();
    for block in sound.chunks_exact(800) {
        pipeline.push_audio(block);
        bodies.push(metrics::body(pipeline.skip_frame().unwrap().expect("a frame for its sound").pose));
    }
    let speeds = metrics::speeds(&bodies, metrics::POSE_HZ);
    // Speed n is that of the way from frame n to the next.
    let (stop, begin) = (stops / 800, begins / 800);
    let dancing = metrics::mean(&speeds[stop - 60..stop]);
    let stopped = metrics::mean(&speeds[stop + 3..stop + 8]);
    assert!(stopped < 0.02 * dancing, "{dancing} m/s, and 0.1 s after the stop {stopped} m/s");
    let resting = metrics::mean(&speeds[begin - 30..begin]);
    let begun = metrics::mean(&speeds[begin..begin + 3]);
    assert!(begun > 3.0 * resting, "{resting} m/s at rest, {begun} m/s at once");
}
