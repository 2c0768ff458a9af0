//! Sound in: decoding, downmixing, resampling and raw PCM, all ending at the two rates the engine knows.
//!
//! * [`decode`] turns an encoded song into blocks of interleaved f32 (no network, no paths: it takes bytes
//!   or anything that reads and seeks).
//! * [`downmix`] folds 1 to 8 channels to stereo (for the listener) and mono (for the model).
//! * [`resample`] goes from any rate to [`MODEL_RATE`] or [`LISTEN_RATE`], the same for any chunking.
//! * [`pcm`] parses what `ffmpeg -f s16le -` and its like write to a pipe.
//! * [`song`] joins them: one call, both timelines.
//!
//! It must not pace anything and must not read a clock: samples are the clock.

pub mod decode;
pub mod downmix;
pub mod error;
pub mod pcm;
pub mod resample;
pub mod song;

pub use decode::{DecodedAudio, Decoder, Limits, decode, decode_bytes};
pub use downmix::Downmix;
pub use error::AudioError;
pub use pcm::{PcmFormat, PcmParser, PcmSample};
pub use resample::StreamResampler;
pub use song::{Intake, Song, SongReader};

/// Samples per second of the mono stream that features, beat clock and model see; also the master clock.
pub const MODEL_RATE: u32 = 24_000;
/// Samples per second (per channel) of the stereo stream that a listener hears.
pub const LISTEN_RATE: u32 = 48_000;
