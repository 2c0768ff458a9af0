//! Raw PCM, as a pipe delivers it: a format given in words, bytes in pieces of any size, f32 out.
//!
//! It must not read standard input itself; the binary does, and hands the bytes over.

use std::fmt;
use std::str::FromStr;

use super::AudioError;
use super::decode::clean;
use super::downmix::MAX_CHANNELS;

/// The sample encodings that tools write to pipes, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PcmSample {
    S16Le,
    S24Le,
    S32Le,
    F32Le,
}

impl PcmSample {
    /// Bytes of one sample.
    pub fn bytes(self) -> usize {
        match self {
            PcmSample::S16Le => 2,
            PcmSample::S24Le => 3,
            PcmSample::S32Le | PcmSample::F32Le => 4,
        }
    }
}

/// Encoding, rate and channel count of a raw stream. Written `s16le:48000:2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcmFormat {
    pub sample: PcmSample,
    pub rate_hz: u32,
    pub channels: usize,
}

impl FromStr for PcmFormat {
    type Err = AudioError;

    /// `FORMAT[:RATE[:CHANNELS]]`; rate 48000 and two channels unless given.
    fn from_str(text: &str) -> Result<Self, AudioError> {
        let wrong = || AudioError::PcmFormat(text.chars().take(64).collect());
        let mut words = text.split(':');
        let sample = match words.next().unwrap_or_default().to_ascii_lowercase().as_str() {
            "s16le" | "s16" => PcmSample::S16Le,
            "s24le" | "s24" => PcmSample::S24Le,
            "s32le" | "s32" => PcmSample::S32Le,
            "f32le" | "f32" => PcmSample::F32Le,
            _ => return Err(wrong()),
        };
        let rate_hz: u32 = words.next().unwrap_or("48000").parse().map_err(|_| wrong())?;
        let channels: usize = words.next().unwrap_or("2").parse().map_err(|_| wrong())?;
        if words.next().is_some() {
            return Err(wrong());
        }
        if !(8_000..=192_000).contains(&rate_hz) {
            return Err(AudioError::Rate(rate_hz));
        }
        if channels == 0 || channels > MAX_CHANNELS {
            return Err(AudioError::Channels(channels));
        }
        Ok(Self { sample, rate_hz, channels })
    }
}

impl fmt::Display for PcmFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sample = match self.sample {
            PcmSample::S16Le => "s16le",
            PcmSample::S24Le => "s24le",
            PcmSample::S32Le => "s32le",
            PcmSample::F32Le => "f32le",
        };
        write!(f, "{sample}:{}:{}", self.rate_hz, self.channels)
    }
}

/// Turns bytes into whole interleaved frames; what is left of a split frame waits for the next call.
#[derive(Debug)]
pub struct PcmParser {
    format: PcmFormat,
    rest: Vec<u8>,
}

impl PcmParser {
    pub fn new(format: PcmFormat) -> Self {
        Self { format, rest: Vec::with_capacity(64) }
    }

    /// The format given at the start.
    pub fn format(&self) -> PcmFormat {
        self.format
    }

    /// Appends interleaved samples in -1..1 (non-finite floats become 0) to `out`.
    pub fn push(&mut self, mut bytes: &[u8], out: &mut Vec<f32>) {
        let frame_bytes = self.format.sample.bytes() * self.format.channels;
        if !self.rest.is_empty() {
            let take = (frame_bytes - self.rest.len()).min(bytes.len());
            self.rest.extend_from_slice(&bytes[..take]);
            bytes = &bytes[take..];
            if self.rest.len() < frame_bytes {
                return;
            }
            convert(self.format.sample, &self.rest, out);
            self.rest.clear();
        }
        let whole = bytes.len() / frame_bytes * frame_bytes;
        convert(self.format.sample, &bytes[..whole], out);
        self.rest.extend_from_slice(&bytes[whole..]);
    }

    /// To be called at the end of the stream: a frame cut in half means that the format was told wrong.
    pub fn finish(&self) -> Result<(), AudioError> {
        if self.rest.is_empty() { Ok(()) } else { Err(AudioError::PcmTail(self.rest.len())) }
    }
}

fn convert(sample: PcmSample, bytes: &[u8], out: &mut Vec<f32>) {
    match sample {
        PcmSample::S16Le => {
            out.extend(bytes.as_chunks().0.iter().map(|b| f32::from(i16::from_le_bytes(*b)) / 32_768.0));
        }
        PcmSample::S24Le => out.extend(
            bytes.as_chunks().0.iter().map(|&[a, b, c]| i32::from_le_bytes([0, a, b, c]) as f32 / 2_147_483_648.0),
        ),
        PcmSample::S32Le => {
            out.extend(bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b) as f32 / 2_147_483_648.0));
        }
        PcmSample::F32Le => {
            let start = out.len();
            out.extend(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)));
            clean(&mut out[start..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_parse_with_defaults_and_refuse_nonsense() {
        let f: PcmFormat = "s16le:44100:1".parse().unwrap();
        assert_eq!(f, PcmFormat { sample: PcmSample::S16Le, rate_hz: 44_100, channels: 1 });
        assert_eq!("f32le".parse::<PcmFormat>().unwrap().to_string(), "f32le:48000:2");
        for bad in ["", "mp3", "s16le:abc", "s16le:48000:2:9"] {
            assert!(matches!(bad.parse::<PcmFormat>(), Err(AudioError::PcmFormat(_))), "{bad}");
        }
        assert!(matches!("s16le:10".parse::<PcmFormat>(), Err(AudioError::Rate(10))));
        assert!(matches!("s16le:48000:0".parse::<PcmFormat>(), Err(AudioError::Channels(0))));
    }

    #[test]
    fn any_split_of_the_bytes_gives_the_same_samples() {
        for (name, width) in [("s16le", 2), ("s24le", 3), ("s32le", 4), ("f32le", 4)] {
            let format: PcmFormat = format!("{name}:48000:3").parse().unwrap();
            let bytes: Vec<u8> = (0..width * 3 * 50).map(|i| ((i * 37 + 11) % 61) as u8).collect();
            let mut whole = Vec::new();
            PcmParser::new(format).push(&bytes, &mut whole);
            assert_eq!(whole.len(), 150);
            for piece in [1, 2, 5, 7, 13, 100] {
                let (mut parser, mut out) = (PcmParser::new(format), Vec::new());
                bytes.chunks(piece).for_each(|b| parser.push(b, &mut out));
                assert_eq!(out, whole, "{name} in pieces of {piece}");
                parser.finish().unwrap();
            }
        }
    }

    #[test]
    fn scales_and_cleans() {
        let mut out = Vec::new();
        PcmParser::new("s16le:48000:1".parse().unwrap()).push(&[0, 0x80, 0, 0x40], &mut out);
        assert_eq!(out, [-1.0, 0.5]);
        out.clear();
        PcmParser::new("s24le:48000:1".parse().unwrap()).push(&[0, 0, 0x80, 0, 0, 0x40], &mut out);
        assert_eq!(out, [-1.0, 0.5]);
        out.clear();
        let mut parser = PcmParser::new("f32le:48000:1".parse().unwrap());
        parser.push(&f32::NAN.to_le_bytes(), &mut out);
        parser.push(&[1], &mut out);
        assert_eq!(out, [0.0]);
        assert!(matches!(parser.finish(), Err(AudioError::PcmTail(1))));
    }
}
