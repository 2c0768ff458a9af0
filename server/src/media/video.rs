//! One video variant: codec and ground chosen, RGBA in, packets out. Two cases, so an enum.

use super::MediaError;
use super::h264::H264Encoder;
use super::picture::{ColourMatrix, Converter, Ground};
use super::vp8::Vp8Encoder;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum VideoCodec {
    H264,
    Vp8,
}

impl VideoCodec {
    pub fn name(self) -> &'static str {
        match self {
            VideoCodec::H264 => "h264",
            VideoCodec::Vp8 => "vp8",
        }
    }
}

#[allow(clippy::large_enum_variant)] // One a viewer variant, never moved.
enum Codec {
    H264(H264Encoder),
    Vp8(Vp8Encoder),
}

/// Encodes one variant of a session's picture; follows size changes with a keyframe.
pub struct VideoEncoder {
    kind: VideoCodec,
    fps: u32,
    bitrate_bps: u32,
    converter: Converter,
    codec: Option<Codec>,
    size: (usize, usize),
}

impl VideoEncoder {
    pub fn new(kind: VideoCodec, bitrate_bps: u32, fps: u32) -> Self {
        Self { kind, fps, bitrate_bps, converter: Converter::default(), codec: None, size: (0, 0) }
    }

    /// Bits a second from the next frame on.
    pub fn set_bitrate(&mut self, bitrate_bps: u32) {
        self.bitrate_bps = bitrate_bps;
        match &mut self.codec {
            Some(Codec::H264(encoder)) => encoder.set_bitrate(bitrate_bps),
            Some(Codec::Vp8(encoder)) => encoder.set_bitrate(bitrate_bps),
            None => {}
        }
    }

    /// Appends the encoded picture to `out` (H.264: Annex B); says whether it is a keyframe.
    ///
    /// # Errors
    /// If the size does not suit the codec or the codec fails.
    pub fn encode(&mut self, rgba: &[u8], width: u32, height: u32, ground: Ground, keyframe: bool, out: &mut Vec<u8>) -> Result<bool, MediaError> {
        let matrix = match self.kind {
            VideoCodec::H264 => ColourMatrix::Bt709,
            VideoCodec::Vp8 => ColourMatrix::Bt601,
        };
        let picture = self.converter.convert(rgba, width, height, ground, matrix)?;
        if self.size != (picture.width, picture.height) {
            self.codec = None;
            self.size = (picture.width, picture.height);
        }
        let codec = match &mut self.codec {
            Some(codec) => codec,
            None => self.codec.insert(match self.kind {
                VideoCodec::H264 => Codec::H264(H264Encoder::new(self.bitrate_bps, self.fps as f32)?),
                VideoCodec::Vp8 => Codec::Vp8(Vp8Encoder::new(picture.width as u32, picture.height as u32, self.bitrate_bps, self.fps)?),
            }),
        };
        match codec {
            Codec::H264(encoder) => encoder.encode(picture, keyframe, out),
            Codec::Vp8(encoder) => encoder.encode(picture, keyframe, out),
        }
    }
}

/// A moving disc with soft edges on a clear ground over a faint gradient; premultiplied.
#[cfg(test)]
pub(super) fn test_pattern(width: usize, height: usize, n: u32) -> Vec<u8> {
    let angle = n as f32 * 0.2;
    let (cx, cy) = (width as f32 * (0.5 + 0.25 * angle.cos()), height as f32 * (0.5 + 0.25 * angle.sin()));
    let radius = height as f32 * 0.2;
    let mut rgba = Vec::with_capacity(width * height * 4);
    for y in 0..height {
        for x in 0..width {
            let d = ((x as f32 - cx).powi(2) + (y as f32 - cy).powi(2)).sqrt();
            let a = (radius - d + 0.5).clamp(0.0, 1.0);
            let stripe = if ((x as f32 - cx) * 0.2).sin() > 0.0 { 1.0 } else { 0.6 };
            rgba.extend([(230.0 * a * stripe) as u8, (120.0 * a) as u8, (60.0 * a * stripe) as u8, (255.0 * a) as u8]);
        }
    }
    rgba
}
