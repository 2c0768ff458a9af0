//! The same sound gives the same dance, however it is cut; another seed gives another one.

mod common;

use odori_engine::pipeline::{Models, Pipeline, Settings};
use odori_engine::pose::Pose;
use odori_kernels::{Backend, cpu};

/// Ten seconds of the built-in song, 24 kHz mono.
fn sound() -> Vec<f32> {
    common::song(8..18)
}

fn dance(backend: &Backend, models: &Models, seed: u32, blocks: impl Iterator<Item = Vec<f32>>) -> Vec<Pose> {
    let mut settings = Settings::default();
    settings.sampling.seed = seed;
    let mut pipeline = Pipeline::poses_only(backend, models, settings).unwrap();
    let mut poses = Vec::new();
    for block in blocks {
        let mut rest = &block[..];
        loop {
            let taken = pipeline.push_audio(rest);
            rest = &rest[taken..];
            match pipeline.skip_frame().unwrap() {
                Some(frame) => poses.push(frame.pose.clone()),
                None if rest.is_empty() => break,
                None => {}
            }
        }
    }
    poses
}

/// Cuts of 1 to 5000 samples from a small generator.
fn ragged(sound: &[f32], mut state: u32) -> Vec<Vec<f32>> {
    let mut out = Vec::new();
    let mut rest = sound;
    while !rest.is_empty() {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let (block, after) = rest.split_at((1 + (state >> 16) as usize % 5000).min(rest.len()));
        out.push(block.to_vec());
        rest = after;
    }
    out
}

#[test]
fn any_chunking_gives_the_same_dance_and_a_seed_chooses_it() {
    let backend = Backend::Cpu(cpu::Pool::new(2));
    let models = common::models(&backend);
    let sound = sound();
    let whole = dance(&backend, &models, 1, std::iter::once(sound.clone()));
    assert_eq!(whole.len(), 300);
    assert!(whole.windows(2).any(|w| w[0] != w[1]), "the dancer moves");
    for state in [1, 77] {
        assert_eq!(dance(&backend, &models, 1, ragged(&sound, state).into_iter()), whole, "cut with {state}");
    }
    let ticks = sound.chunks(240).map(<[f32]>::to_vec);
    assert_eq!(dance(&backend, &models, 1, ticks), whole, "cut into 10 ms");
    assert_ne!(dance(&backend, &models, 2, std::iter::once(sound.clone())), whole, "another seed");
}

#[test]
fn silence_brings_the_dancer_to_rest() {
    let backend = Backend::Cpu(cpu::Pool::new(2));
    let models = common::models(&backend);
    let mut sound = sound()[..24_000 * 6].to_vec();
    sound.resize(24_000 * 9, 0.0);
    let poses = dance(&backend, &models, 1, std::iter::once(sound));
    let speed = |from: usize| -> f32 {
        let wrist = odori_engine::skeleton::Bone::named("leftHand").unwrap().index();
        poses[from..from + 30]
            .windows(2)
            .map(|w| w[0].joints().positions[wrist].distance(w[1].joints().positions[wrist]))
            .sum()
    };
    let (dancing, resting) = (speed(130), speed(235));
    assert!(resting < 0.35 * dancing && resting < 0.25, "the hand moved {dancing} m dancing, {resting} m at rest");
}
