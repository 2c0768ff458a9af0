//! Opus at 48 kHz stereo: 20 ms packets for music out, any packet in, losses concealed.

use ::opus::{Application, Bitrate, Channels};

use super::MediaError;

/// Samples per channel of one packet: 20 ms.
pub const FRAME_SAMPLES: usize = 960;
pub const RATE_HZ: u32 = 48_000;
/// The longest packet the standard allows: 120 ms.
const LONGEST_SAMPLES: usize = 5760;
const BITRATE_BPS: i32 = 128_000;
/// Larger than any packet at our bitrate.
const PACKET_BYTES: usize = 1275;

pub struct OpusEncoder {
    encoder: ::opus::Encoder,
}

impl OpusEncoder {
    /// # Errors
    /// If libopus cannot make one.
    pub fn new() -> Result<Self, MediaError> {
        // LowDelay drops the speech modes, which music never wants, and 4 ms of look-ahead with them.
        let mut encoder = ::opus::Encoder::new(RATE_HZ, Channels::Stereo, Application::LowDelay)?;
        encoder.set_bitrate(Bitrate::Bits(BITRATE_BPS))?;
        encoder.set_complexity(6)?;
        Ok(Self { encoder })
    }

    /// `stereo`: interleaved, [`FRAME_SAMPLES`] per channel.
    ///
    /// # Errors
    /// If the block has another length.
    pub fn encode(&mut self, stereo: &[f32]) -> Result<Vec<u8>, MediaError> {
        Ok(self.encoder.encode_vec_float(stereo, PACKET_BYTES)?)
    }

    /// Samples per channel that decoders should drop at the start.
    pub fn pre_skip(&mut self) -> u16 {
        self.encoder.get_lookahead().unwrap_or(0) as u16
    }
}

pub struct OpusDecoder {
    decoder: ::opus::Decoder,
    out: Vec<f32>,
    last_samples: usize,
}

impl OpusDecoder {
    /// # Errors
    /// If libopus cannot make one.
    pub fn new() -> Result<Self, MediaError> {
        let decoder = ::opus::Decoder::new(RATE_HZ, Channels::Stereo)?;
        Ok(Self { decoder, out: vec![0.0; LONGEST_SAMPLES * 2], last_samples: FRAME_SAMPLES })
    }

    /// Interleaved stereo of one packet.
    ///
    /// # Errors
    /// If the packet is not Opus.
    pub fn decode(&mut self, packet: &[u8]) -> Result<&[f32], MediaError> {
        self.last_samples = self.decoder.decode_float(packet, &mut self.out, false)?;
        Ok(&self.out[..self.last_samples * 2])
    }

    /// What stands in for one lost packet.
    ///
    /// # Errors
    /// If libopus fails.
    pub fn conceal(&mut self) -> Result<&[f32], MediaError> {
        let wanted = self.last_samples * 2;
        let samples = self.decoder.decode_float(&[], &mut self.out[..wanted], false)?;
        Ok(&self.out[..samples * 2])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_comes_back_as_loud_and_in_tune() {
        let mut encoder = OpusEncoder::new().unwrap();
        let mut decoder = OpusDecoder::new().unwrap();
        let mut out = Vec::new();
        for n in 0..50 {
            let block: Vec<f32> = (0..FRAME_SAMPLES * 2)
                .map(|i| (0.3 * (std::f64::consts::TAU * 440.0 * (n * FRAME_SAMPLES + i / 2) as f64 / 48_000.0).sin()) as f32)
                .collect();
            let packet = encoder.encode(&block).unwrap();
            assert!(packet.len() < 1000);
            out.extend_from_slice(if n == 30 { decoder.conceal().unwrap() } else { decoder.decode(&packet).unwrap() });
        }
        assert_eq!(out.len(), 50 * FRAME_SAMPLES * 2);
        let left: Vec<f32> = out.iter().step_by(2).copied().collect();
        let steady = &left[9600..24_000];
        let rms = (steady.iter().map(|x| x * x).sum::<f32>() / steady.len() as f32).sqrt();
        assert!((rms - 0.2121).abs() < 0.01, "{rms}");
        let crossings = steady.windows(2).filter(|w| w[0] < 0.0 && w[1] >= 0.0).count();
        assert!(crossings.abs_diff(132) <= 1, "{crossings}");
    }

    #[test]
    fn noise_on_the_wire_is_an_error_and_not_a_panic() {
        let mut decoder = OpusDecoder::new().unwrap();
        assert!(decoder.decode(&[0xff; 3]).is_err());
    }
}
