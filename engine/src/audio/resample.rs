//! Streaming sample-rate conversion: any rate from 8 to 192 kHz, to one of the engine's two rates.
//!
//! Output sample `k` always stands for input time `k / out_rate`: the filter's delay is cut off at the start,
//! so the two timelines never part. What remains is look-ahead ([`StreamResampler::lookahead_s`]): a sample
//! comes out that much later than it went in. The same input gives the same output in whatever pieces it
//! arrives, because `rubato` only ever sees whole chunks of one size.
//!
//! It must not drop or invent time, and does not allocate once `out` has [`StreamResampler::room_for`].

use audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Async, FixedAsync, Indexing, Resampler, SincInterpolationParameters, WindowFunction};

use super::AudioError;

/// Filter length in samples of the slower side; 64 of them are its delay.
const SINC_LEN: usize = 128;
/// The input is handed to the filter in pieces of about this long.
const CHUNK_S: f64 = 0.0025;

/// One stream's converter. Samples are interleaved.
pub struct StreamResampler {
    rate_in: u32,
    rate_out: u32,
    channels: usize,
    /// `None` when the rates are equal: samples pass through.
    filter: Option<Filter>,
    frames_in: u64,
    frames_out: u64,
}

struct Filter {
    sinc: Async<f32>,
    chunk_frames: usize,
    pending: Vec<f32>,
    scratch: Vec<f32>,
    /// Output frames of filter delay still to be cut.
    trim_frames: usize,
    delay_frames: usize,
    whole: Indexing,
}

impl StreamResampler {
    /// `channels` interleaved samples per frame, 1 to 8.
    pub fn new(rate_in: u32, rate_out: u32, channels: usize) -> Result<Self, AudioError> {
        for rate in [rate_in, rate_out] {
            if !(8_000..=192_000).contains(&rate) {
                return Err(AudioError::Rate(rate));
            }
        }
        if channels == 0 || channels > super::downmix::MAX_CHANNELS {
            return Err(AudioError::Channels(channels));
        }
        let filter = if rate_in == rate_out { None } else { Some(Filter::new(rate_in, rate_out, channels)?) };
        Ok(Self { rate_in, rate_out, channels, filter, frames_in: 0, frames_out: 0 })
    }

    /// Converts what it can of `input` (interleaved, whole frames) and appends it to `out`.
    pub fn process_into(&mut self, input: &[f32], out: &mut Vec<f32>) {
        debug_assert!(input.len().is_multiple_of(self.channels), "whole frames");
        let before = out.len();
        self.frames_in += (input.len() / self.channels) as u64;
        match &mut self.filter {
            None => out.extend_from_slice(input),
            Some(filter) => filter.push(input, self.channels, out),
        }
        self.frames_out += ((out.len() - before) / self.channels) as u64;
    }

    /// Ends the stream: the rest comes out, so that `ceil(frames_in * rate_out / rate_in)` frames have come in all.
    /// The converter is then as new.
    pub fn finish_into(&mut self, out: &mut Vec<f32>) {
        let owed = (self.frames_in * u64::from(self.rate_out)).div_ceil(u64::from(self.rate_in));
        if let Some(filter) = &mut self.filter {
            while self.frames_out < owed {
                let before = out.len();
                filter.push_silence_to_chunk(self.channels, out);
                let got = (out.len() - before) / self.channels;
                let kept = got.min((owed - self.frames_out) as usize);
                out.truncate(before + kept * self.channels);
                self.frames_out += kept as u64;
            }
        }
        self.reset();
    }

    /// Forgets everything; the next sample is a new stream's first.
    pub fn reset(&mut self) {
        self.frames_in = 0;
        self.frames_out = 0;
        if let Some(filter) = &mut self.filter {
            filter.sinc.reset();
            filter.pending.clear();
            filter.trim_frames = filter.delay_frames;
        }
    }

    /// Longest time between a sample going in and its coming out, in seconds: filter delay plus one chunk.
    pub fn lookahead_s(&self) -> f64 {
        self.filter.as_ref().map_or(0.0, |f| {
            f.delay_frames as f64 / f64::from(self.rate_out) + f.chunk_frames as f64 / f64::from(self.rate_in)
        })
    }

    /// Samples (not frames) that one `process_into` of `frames` may append: reserve this much in `out`.
    pub fn room_for(&self, frames: usize) -> usize {
        let per_chunk = self.filter.as_ref().map_or(0, |f| f.sinc.output_frames_max());
        let scaled = (frames as u64 * u64::from(self.rate_out)).div_ceil(u64::from(self.rate_in)) as usize;
        (scaled + 2 * per_chunk) * self.channels
    }
}

impl Filter {
    fn new(rate_in: u32, rate_out: u32, channels: usize) -> Result<Self, AudioError> {
        let ratio = f64::from(rate_out) / f64::from(rate_in);
        // Going down, the filter must be as long in output samples as it is otherwise in input samples.
        let sinc_len = ((SINC_LEN as f64 / ratio.min(1.0)) as usize).next_multiple_of(8);
        let chunk_frames = (f64::from(rate_in) * CHUNK_S) as usize;
        let parameters = SincInterpolationParameters::new(sinc_len, WindowFunction::BlackmanHarris2);
        let sinc = Async::new_sinc(ratio, 1.0, &parameters, chunk_frames, channels, FixedAsync::Input)
            .map_err(|_| AudioError::Rate(rate_in))?;
        let delay_frames = sinc.output_delay();
        Ok(Self {
            pending: Vec::with_capacity(chunk_frames * channels),
            scratch: vec![0.0; sinc.output_frames_max() * channels],
            trim_frames: delay_frames,
            sinc,
            chunk_frames,
            delay_frames,
            whole: Indexing::new(),
        })
    }

    fn push(&mut self, mut input: &[f32], channels: usize, out: &mut Vec<f32>) {
        let chunk = self.chunk_frames * channels;
        while !input.is_empty() {
            let take = (chunk - self.pending.len()).min(input.len());
            self.pending.extend_from_slice(&input[..take]);
            input = &input[take..];
            if self.pending.len() == chunk {
                self.run(channels, out);
            }
        }
    }

    fn push_silence_to_chunk(&mut self, channels: usize, out: &mut Vec<f32>) {
        self.pending.resize(self.chunk_frames * channels, 0.0);
        self.run(channels, out);
    }

    fn run(&mut self, channels: usize, out: &mut Vec<f32>) {
        let room = self.scratch.len() / channels;
        let input = InterleavedSlice::new(&self.pending[..], channels, self.chunk_frames);
        let output = InterleavedSlice::new_mut(&mut self.scratch[..], channels, room);
        let (Ok(input), Ok(mut output)) = (input, output) else { unreachable!("both buffers were sized in new") };
        let (_, made) = self
            .sinc
            .process_into_buffer(&input, &mut output, Some(&self.whole))
            .expect("chunk and scratch have the sizes the resampler asked for");
        self.pending.clear();
        let cut = self.trim_frames.min(made);
        self.trim_frames -= cut;
        out.extend_from_slice(&self.scratch[cut * channels..made * channels]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sine(rate: u32, hz: f64, frames: usize, channels: usize) -> Vec<f32> {
        (0..frames)
            .flat_map(|i| {
                let x = (std::f64::consts::TAU * hz * i as f64 / f64::from(rate)).sin() as f32;
                (0..channels).map(move |c| x * (1.0 - 0.25 * c as f32))
            })
            .collect()
    }

    fn offline(rate_in: u32, rate_out: u32, channels: usize, input: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        let mut r = StreamResampler::new(rate_in, rate_out, channels).unwrap();
        r.process_into(input, &mut out);
        r.finish_into(&mut out);
        out
    }

    #[test]
    fn a_sine_keeps_its_time_and_level_at_every_rate() {
        for rate_in in [8_000, 11_025, 16_000, 22_050, 24_000, 44_100, 48_000, 88_200, 96_000, 192_000] {
            for (rate_out, channels) in [(24_000, 1), (48_000, 2)] {
                let out = offline(rate_in, rate_out, channels, &sine(rate_in, 440.0, rate_in as usize / 2, channels));
                let frames = (u64::from(rate_in / 2) * u64::from(rate_out)).div_ceil(u64::from(rate_in)) as usize;
                assert_eq!(out.len(), frames * channels, "{rate_in} to {rate_out}");
                let truth = sine(rate_out, 440.0, frames, channels);
                // The ends lean on silence; the middle must agree within the delay's rounding: 1.5 samples of the
                // slower side.
                let (a, b) = (out.len() / 10 / channels * channels, out.len() * 9 / 10);
                let worst = (a..b).map(|i| (out[i] - truth[i]).abs()).fold(0.0, f32::max);
                let slack = (1.5 * std::f64::consts::TAU * 440.0 / f64::from(rate_out.min(rate_in))) as f32;
                assert!(worst < slack, "{rate_in} to {rate_out}: {worst}");
            }
        }
    }

    #[test]
    fn what_lies_above_the_new_nyquist_is_gone() {
        let out = offline(48_000, 24_000, 1, &sine(48_000, 14_000.0, 48_000, 1));
        let loudest = out[2_000..22_000].iter().fold(0.0_f32, |m, x| m.max(x.abs()));
        assert!(loudest < 1e-3, "{loudest}");
    }

    #[test]
    fn rates_and_channels_out_of_range_are_refused() {
        assert!(matches!(StreamResampler::new(7_999, 24_000, 1), Err(AudioError::Rate(7_999))));
        assert!(matches!(StreamResampler::new(48_000, 24_000, 0), Err(AudioError::Channels(0))));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn streamed_equals_offline_for_any_chunking(
            rate_in in prop::sample::select(vec![8_000u32, 16_000, 22_050, 24_000, 44_100, 48_000, 96_000, 192_000, 47_999]),
            stereo in any::<bool>(),
            pieces in prop::collection::vec(0usize..900, 1..30),
        ) {
            let (rate_out, channels) = if stereo { (48_000, 2) } else { (24_000, 1) };
            let frames: usize = pieces.iter().sum();
            let input = sine(rate_in, 997.0, frames, channels);
            let whole = offline(rate_in, rate_out, channels, &input);
            let mut r = StreamResampler::new(rate_in, rate_out, channels).unwrap();
            let (mut out, mut at) = (Vec::new(), 0);
            for p in pieces {
                let room = r.room_for(p);
                let before = out.len();
                r.process_into(&input[at..at + p * channels], &mut out);
                prop_assert!(out.len() - before <= room);
                at += p * channels;
            }
            r.finish_into(&mut out);
            prop_assert_eq!(out, whole);
        }
    }
}
