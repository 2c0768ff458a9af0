//! The live dance engine: audio to features, beats, tokens, pose and frame.
//!
//! Read [`pipeline`] first: the whole data path is there. The engine knows no sockets, no async runtime and
//! no session; it takes samples and gives frames, and time is always an argument.

pub mod audio;
pub mod avatar;
pub mod beat;
pub mod bvh;
pub mod dance;
pub mod denoiser;
pub mod features;
pub mod ladder;
pub mod metrics;
pub mod motion;
pub mod picture;
pub mod pipeline;
pub mod pose;
pub mod prompt;
pub mod render;
pub mod skeleton;
mod stopwatch;
mod unet;
