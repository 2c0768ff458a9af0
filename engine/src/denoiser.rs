//! The few-step denoiser.
