//! Whole-system tests, named after behaviour. Those of the engine are here in `tests/`; those that need a browser or
//! another WebRTC stack are in `system/` and `peers/`, started by `run`. This is what the engine's share: the trained models
//! and the built-in song.

use odori_engine::audio::{Limits, Song};
use odori_engine::pipeline::Models;
use odori_kernels::{Backend, Weights};

/// The trained models.
///
/// # Panics
/// If they do not fit the engine.
#[must_use]
pub fn models(backend: &Backend) -> Models {
    let read = |bytes: &[u8]| Weights::from_safetensors(bytes).expect("weights of this project");
    Models::new(
        backend,
        read(include_bytes!("../../models/beat.safetensors")),
        read(include_bytes!("../../models/tokenizer.safetensors")),
        read(include_bytes!("../../models/motion.safetensors")),
        read(include_bytes!("../../models/denoiser.safetensors")),
        &read(include_bytes!("../../models/idle.safetensors")),
    )
    .expect("models that fit the engine")
}

/// The built-in song from its groove on, 24 kHz mono.
///
/// # Panics
/// If it cannot be decoded.
#[must_use]
pub fn groove(seconds: usize) -> Vec<f32> {
    let file = include_bytes!("../../assets/song/odori-groove.ogg").to_vec();
    let song = Song::load(Box::new(std::io::Cursor::new(file)), "odori-groove.ogg", Limits::default()).expect("the built-in song");
    song.model[24_000 * 8..24_000 * (8 + seconds)].to_vec()
}
