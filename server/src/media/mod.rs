//! Encoders and the file writer: pixels and samples in, codec bytes out. No clocks, no network, no sessions.

pub mod h264;
pub mod mp4;
pub mod opus;
pub mod picture;
pub mod video;
pub mod vp8;

/// Everything that encoding, decoding or writing media can fail with.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    #[error("a picture of {width}x{height} cannot be encoded: sides must be even, from 16 to 2160, and {bytes} bytes were given")]
    Size { width: u32, height: u32, bytes: usize },
    #[error("the H.264 encoder failed: {0}")]
    H264(#[from] openh264::Error),
    #[error("the VP8 encoder failed: {0}")]
    Vp8(String),
    #[error("Opus failed: {0}")]
    Opus(#[from] ::opus::Error),
    #[error("colour conversion failed: {0}")]
    Colour(String),
    #[error("the MP4 file could not be written: {0}")]
    Mp4(String),
    #[error("the MP4 file could not be written: {0}")]
    Io(#[from] std::io::Error),
}
