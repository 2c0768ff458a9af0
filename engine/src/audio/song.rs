//! From a stream of any rate and layout to the engine's two timelines: stereo at 48 kHz for the listener, mono
//! at 24 kHz for the model. Both start at the same instant; listening frame `2k` and model sample `k` coincide.
//!
//! It must not pace: whoever pulls from it decides when.

use symphonia::core::io::MediaSource;

use super::decode::{Decoder, Limits};
use super::downmix::Downmix;
use super::resample::StreamResampler;
use super::{AudioError, LISTEN_RATE, MODEL_RATE};

/// Downmix and resampling of one live stream: blocks of any size in, both timelines out.
pub struct Intake {
    downmix: Downmix,
    to_listen: StreamResampler,
    to_model: StreamResampler,
    stereo: Vec<f32>,
    mono: Vec<f32>,
}

impl Intake {
    /// For interleaved input at `rate_hz` in the layout that `downmix` folds.
    pub fn new(rate_hz: u32, downmix: Downmix) -> Result<Self, AudioError> {
        Ok(Self {
            downmix,
            to_listen: StreamResampler::new(rate_hz, LISTEN_RATE, 2)?,
            to_model: StreamResampler::new(rate_hz, MODEL_RATE, 1)?,
            stereo: Vec::new(),
            mono: Vec::new(),
        })
    }

    /// Whole interleaved frames in; appends interleaved stereo at 48 kHz and mono at 24 kHz.
    /// Allocates only until its and the callers' buffers have reached their size.
    pub fn push(&mut self, interleaved: &[f32], listen: &mut Vec<f32>, model: &mut Vec<f32>) {
        self.stereo.clear();
        self.mono.clear();
        self.downmix.to_stereo(interleaved, &mut self.stereo);
        self.mono.extend(self.stereo.as_chunks().0.iter().map(|[l, r]| 0.5 * (l + r)));
        self.to_listen.process_into(&self.stereo, listen);
        self.to_model.process_into(&self.mono, model);
    }

    /// Ends the stream and appends what the filters still hold.
    pub fn finish(&mut self, listen: &mut Vec<f32>, model: &mut Vec<f32>) {
        self.to_listen.finish_into(listen);
        self.to_model.finish_into(model);
    }

    /// Look-ahead of the model's side in seconds: the delay that resampling adds to a live source.
    pub fn lookahead_s(&self) -> f64 {
        self.to_model.lookahead_s()
    }
}

/// A song decoded as it is needed; memory does not grow with its length.
pub struct SongReader {
    decoder: Decoder,
    intake: Intake,
    finished: bool,
}

impl SongReader {
    /// See [`Decoder::new`].
    pub fn new(source: Box<dyn MediaSource>, name: &str, limits: Limits) -> Result<Self, AudioError> {
        let decoder = Decoder::new(source, name, limits)?;
        let intake = Intake::new(decoder.rate(), decoder.downmix().clone())?;
        Ok(Self { decoder, intake, finished: false })
    }

    /// The decoder, for what it knows (codec, length, damage).
    pub fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Appends the next piece of both timelines. `false` when there is no more.
    pub fn next_into(&mut self, listen: &mut Vec<f32>, model: &mut Vec<f32>) -> Result<bool, AudioError> {
        if self.finished {
            return Ok(false);
        }
        match self.decoder.next_block()? {
            Some(block) => self.intake.push(block, listen, model),
            None => {
                self.intake.finish(listen, model);
                self.finished = true;
            }
        }
        Ok(true)
    }
}

/// A whole song on both timelines.
#[derive(Clone, Debug)]
pub struct Song {
    /// Interleaved stereo at [`LISTEN_RATE`].
    pub listen: Vec<f32>,
    /// Mono at [`MODEL_RATE`].
    pub model: Vec<f32>,
    /// The file ended early; this is what was there.
    pub truncated: bool,
}

impl Song {
    /// Reads everything. Memory: 480 kB per second of song.
    pub fn load(source: Box<dyn MediaSource>, name: &str, limits: Limits) -> Result<Self, AudioError> {
        let mut reader = SongReader::new(source, name, limits)?;
        let (mut listen, mut model) = (Vec::new(), Vec::new());
        while reader.next_into(&mut listen, &mut model)? {
            if (listen.len() + model.len()) as u64 * 4 > limits.decoded_bytes {
                return Err(AudioError::TooMuchMemory { limit_bytes: limits.decoded_bytes });
            }
        }
        Ok(Self { listen, model, truncated: reader.decoder.truncated() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_timelines_show_a_click_at_the_same_instant() {
        for rate in [16_000, 44_100, 48_000, 96_000] {
            let mut input = vec![0.0; rate as usize];
            let at = rate as usize / 2;
            input[at] = 1.0;
            let mut intake = Intake::new(rate, Downmix::from_count(1).unwrap()).unwrap();
            let (mut listen, mut model) = (Vec::new(), Vec::new());
            input.chunks(441).for_each(|block| intake.push(block, &mut listen, &mut model));
            intake.finish(&mut listen, &mut model);
            assert_eq!((listen.len(), model.len()), (96_000, 24_000), "{rate}");
            let peak = |x: &[f32], step: usize| {
                let best = (0..x.len() / step).max_by(|a, b| x[a * step].abs().total_cmp(&x[b * step].abs()));
                best.unwrap()
            };
            assert!(peak(&listen, 2).abs_diff(24_000) <= 1, "{rate}");
            assert!(peak(&model, 1).abs_diff(12_000) <= 1, "{rate}");
            assert!(intake.lookahead_s() < 0.012, "{rate}: {}", intake.lookahead_s());
        }
    }
}
