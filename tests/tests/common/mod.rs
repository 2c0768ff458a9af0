//! What the engine's tests share: the shipped weights and the built-in song.

use odori_engine::audio::{Limits, Song};
use odori_engine::pipeline::Models;
use odori_kernels::{Backend, Weights};

pub fn models(backend: &Backend) -> Models {
    let read = |bytes: &[u8]| Weights::from_safetensors(bytes).unwrap();
    Models::new(
        backend,
        read(include_bytes!("../../../models/beat.safetensors")),
        read(include_bytes!("../../../models/tokenizer.safetensors")),
        read(include_bytes!("../../../models/motion.safetensors")),
        read(include_bytes!("../../../models/denoiser.safetensors")),
        &read(include_bytes!("../../../models/idle.safetensors")),
    )
    .unwrap()
}

/// Some seconds of the built-in song, 24 kHz mono.
pub fn song(seconds: std::ops::Range<usize>) -> Vec<f32> {
    let file = include_bytes!("../../../assets/song/odori-groove.ogg").to_vec();
    let song = Song::load(Box::new(std::io::Cursor::new(file)), "odori-groove.ogg", Limits::default()).unwrap();
    song.model[24_000 * seconds.start..24_000 * seconds.end].to_vec()
}
