//! The dance is on the beat that the engine itself has heard, and does not stop while music plays.

mod common;

use odori_engine::metrics::{self, Body, beats, body};
use odori_engine::pipeline::{Pipeline, Settings};
use odori_kernels::{Backend, cpu};

/// The built-in song's tempo; its first beat is at 0 s.
const BPM: f32 = 122.0;
const SECONDS: usize = 46;
/// Judged from here on: the clock has had time to find the beat.
const SETTLED_S: usize = 8;

#[test]
fn the_dance_meets_the_beats_of_a_song_that_it_hears_for_the_first_time() {
    let backend = Backend::Cpu(cpu::Pool::new(2));
    let models = common::models(&backend);
    let sound = common::song(0..SECONDS);
    let (mut f, mut control) = (0.0, 0.0);
    for seed in [1, 2] {
        let mut settings = Settings::default();
        settings.sampling.seed = seed;
        let mut pipeline = Pipeline::poses_only(&backend, &models, settings).unwrap();
        let mut bodies: Vec<Body> = Vec::new();
        for block in sound.chunks_exact(800) {
            pipeline.push_audio(block);
            if let Some(frame) = pipeline.skip_frame().unwrap() {
                bodies.push(metrics::body(frame.pose));
            }
        }
        // Frame n, counted from 0, is stamped with the end of its sound.
        let first = SETTLED_S * 30;
        let start = (first + 1) as f32 / 30.0;
        let beats: Vec<f32> = (0..).map(|k| k as f32 * 60.0 / BPM - start).skip_while(|b| *b < 0.0).take_while(|b| *b < (SECONDS - SETTLED_S) as f32).collect();
        let score = beats::judge(&bodies[first..], &beats).unwrap();
        println!("seed {seed}: {score:?}");
        assert!(score.lag_ms.abs() < 30.0, "{score:?}");
        let live = body::liveliness(&bodies[first..]);
        assert!(live.longest_still_s < 2.0, "{live:?}");
        f += score.f / 2.0;
        control += score.control_f / 2.0;
    }
    assert!(f > 0.85 && control < 0.35, "F {f}, control {control}");
}
