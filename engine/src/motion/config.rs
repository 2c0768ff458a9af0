//! The shapes of the motion models, read from the weights' own metadata and checked before anything is built.

use odori_kernels::Weights;
use serde::Deserialize;

use super::MotionError;

/// Parts of the body, in the order in which the depth transformer predicts them.
pub const PARTS: usize = 5;
/// 30 Hz frames produced by one step.
pub const FRAMES_PER_STEP: usize = 2;

/// As exported by training; see `training/odori_training/motion_model.py`.
#[derive(Clone, Debug, Deserialize)]
pub struct MotionConfig {
    pub slots: usize,
    pub codes: usize,
    pub latent: usize,
    pub width: usize,
    pub heads: usize,
    pub layers: usize,
    pub cross_layers: Vec<usize>,
    pub window: usize,
    pub music_window: usize,
    pub music_dim: usize,
    pub styles: usize,
    pub beat_dim: usize,
    pub control_dim: usize,
    pub depth_width: usize,
    pub depth_heads: usize,
    pub depth_layers: usize,
}

#[derive(Clone, Debug, Deserialize)]
pub struct TokenizerConfig {
    pub latent: usize,
    pub codes: usize,
    pub residual: usize,
    pub decoder_hidden: usize,
    pub decoder_window: usize,
}

impl MotionConfig {
    /// # Errors
    /// If the metadata is missing, is not JSON, or names shapes outside what the engine accepts.
    pub fn from_weights(weights: &Weights) -> Result<Self, MotionError> {
        let c: MotionConfig = parse(weights, "motion")?;
        let ok = (1..=32).contains(&c.slots)
            && (2..=65_536).contains(&c.codes)
            && (1..=1024).contains(&c.latent)
            && (8..=4096).contains(&c.width)
            && c.heads > 0
            && c.width.is_multiple_of(c.heads)
            && (1..=64).contains(&c.layers)
            && (1..=4096).contains(&c.window)
            && (1..=4096).contains(&c.music_window)
            && c.music_dim == super::MUSIC_DIM
            && c.beat_dim == super::BEAT_DIM
            && c.control_dim == 1
            && (1..=256).contains(&c.styles)
            && (8..=4096).contains(&c.depth_width)
            && c.depth_heads > 0
            && c.depth_width.is_multiple_of(c.depth_heads)
            && (1..=64).contains(&c.depth_layers)
            && c.cross_layers.iter().all(|&l| l < c.layers);
        if ok { Ok(c) } else { Err(MotionError::Config { model: "motion", reason: format!("shapes out of range: {c:?}") }) }
    }
}

impl TokenizerConfig {
    /// # Errors
    /// As [`MotionConfig::from_weights`].
    pub fn from_weights(weights: &Weights) -> Result<Self, MotionError> {
        let c: TokenizerConfig = parse(weights, "tokenizer")?;
        let ok = (1..=1024).contains(&c.latent)
            && (2..=65_536).contains(&c.codes)
            && (1..=8).contains(&c.residual)
            && (1..=8192).contains(&c.decoder_hidden)
            && (1..=64).contains(&c.decoder_window);
        if ok {
            Ok(c)
        } else {
            Err(MotionError::Config { model: "tokenizer", reason: format!("shapes out of range: {c:?}") })
        }
    }
}

fn parse<T: for<'de> Deserialize<'de>>(weights: &Weights, model: &'static str) -> Result<T, MotionError> {
    let json = weights
        .config_json()
        .ok_or_else(|| MotionError::Config { model, reason: "the file has no \"config\" metadata".into() })?;
    serde_json::from_str(json).map_err(|e| MotionError::Config { model, reason: e.to_string() })
}
