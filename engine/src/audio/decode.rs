//! Encoded audio to interleaved f32, through `symphonia`, block by block and within stated limits.
//!
//! Damaged packets become silence of the same length, so that the timeline holds; a file that ends early gives
//! what is there and says so ([`Decoder::truncated`]); one in which most packets are damaged is refused.
//! It must not resample or fold channels, and no bytes may make it panic.

use std::io::{Cursor, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};

use symphonia::core::audio::{ChannelLabel, Channels, Position};
use symphonia::core::codecs::audio::{AudioCodecId, AudioCodecParameters, AudioDecoder, AudioDecoderOptions, well_known};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, MediaSourceStreamOptions};
use symphonia::core::meta::MetadataOptions;

use super::AudioError;
use super::downmix::{Downmix, MAX_CHANNELS, Speaker};

/// What is accepted. The defaults suit a song chosen by a person.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest audio, in seconds.
    pub duration_s: f64,
    /// Largest encoded file, in bytes.
    pub file_bytes: u64,
    /// Most memory that [`decode`] may fill with samples (streaming does not count).
    pub decoded_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { duration_s: 7_200.0, file_bytes: 2 << 30, decoded_bytes: 1 << 30 }
    }
}

/// A whole song in memory.
#[derive(Clone, Debug)]
pub struct DecodedAudio {
    /// Frames per second.
    pub rate: u32,
    pub channels: usize,
    /// Interleaved, finite, full scale = 1.
    pub samples: Vec<f32>,
    pub downmix: Downmix,
    /// The file ended before its own header said it would.
    pub truncated: bool,
    /// Packets that could not be decoded and were replaced by silence.
    pub damaged_packets: usize,
    /// Samples that were not finite, or beyond any sense, and were put right.
    pub cleaned_samples: usize,
}

impl DecodedAudio {
    /// Length in seconds.
    pub fn duration_s(&self) -> f64 {
        self.samples.len() as f64 / self.channels as f64 / f64::from(self.rate)
    }
}

/// Streaming decoder of the first playable audio track.
pub struct Decoder {
    format: Box<dyn FormatReader>,
    codec: Box<dyn AudioDecoder>,
    codec_name: &'static str,
    track_id: u32,
    rate: u32,
    channels: usize,
    downmix: Downmix,
    limits: Limits,
    expected_frames: Option<u64>,
    frames: u64,
    last_block_frames: usize,
    packets: usize,
    damaged_packets: usize,
    cleaned_samples: usize,
    truncated: bool,
    ended: bool,
    block: Vec<f32>,
    /// The first block, decoded on opening because only it knows rate and layout for sure.
    first: bool,
}

/// Zeroes what is not finite, bounds what is absurd; returns how many samples that were.
pub fn clean(samples: &mut [f32]) -> usize {
    const ABSURD: f32 = 16.0;
    let mut cleaned = 0;
    for x in samples {
        if !x.is_finite() {
            *x = 0.0;
            cleaned += 1;
        } else if x.abs() > ABSURD {
            *x = x.clamp(-ABSURD, ABSURD);
            cleaned += 1;
        }
    }
    cleaned
}

/// Decodes everything into memory. `name` is a file name or extension that helps to recognise the format.
pub fn decode(source: Box<dyn MediaSource>, name: &str, limits: Limits) -> Result<DecodedAudio, AudioError> {
    let mut decoder = Decoder::new(source, name, limits)?;
    let mut samples = Vec::new();
    while let Some(block) = decoder.next_block()? {
        if (samples.len() + block.len()) as u64 * 4 > limits.decoded_bytes {
            return Err(AudioError::TooMuchMemory { limit_bytes: limits.decoded_bytes });
        }
        samples.extend_from_slice(block);
    }
    Ok(DecodedAudio {
        rate: decoder.rate,
        channels: decoder.channels,
        samples,
        downmix: decoder.downmix,
        truncated: decoder.truncated,
        damaged_packets: decoder.damaged_packets,
        cleaned_samples: decoder.cleaned_samples,
    })
}

/// [`decode`] for bytes already in memory.
pub fn decode_bytes(bytes: Vec<u8>, name: &str, limits: Limits) -> Result<DecodedAudio, AudioError> {
    decode(Box::new(Cursor::new(bytes)), name, limits)
}

impl Decoder {
    /// Recognises the format, opens the codec and decodes the first block.
    pub fn new(source: Box<dyn MediaSource>, name: &str, limits: Limits) -> Result<Self, AudioError> {
        match source.byte_len() {
            Some(0) => return Err(AudioError::Empty),
            Some(bytes) if bytes > limits.file_bytes => {
                return Err(AudioError::TooLarge { bytes, limit_bytes: limits.file_bytes });
            }
            _ => {}
        }
        guarded(|| Self::open(source, name, limits))?
    }

    fn open(source: Box<dyn MediaSource>, name: &str, limits: Limits) -> Result<Self, AudioError> {
        let mut hint = Hint::new();
        if let Some(extension) = name.rsplit('.').next().filter(|e| !e.is_empty() && e.len() <= 5) {
            hint.with_extension(extension);
        }
        let stream = MediaSourceStream::new(source, MediaSourceStreamOptions::default());
        let format = symphonia::default::get_probe()
            .probe(&hint, stream, FormatOptions::default(), MetadataOptions::default())
            .map_err(|e| AudioError::UnknownFormat(e.to_string()))?;
        let track = format.default_track(TrackType::Audio).or_else(|| format.first_track(TrackType::Audio));
        let track = track.ok_or(AudioError::NoAudioTrack)?;
        let params = track.codec_params.as_ref().and_then(|p| p.audio()).ok_or(AudioError::NoAudioTrack)?.clone();
        let (track_id, expected_frames) = (track.id, track.num_frames);
        if let (Some(frames), Some(rate)) = (expected_frames, params.sample_rate)
            && frames as f64 > limits.duration_s * f64::from(rate)
        {
            return Err(AudioError::TooLong { limit_s: limits.duration_s });
        }
        let codec = make_codec(&params)?;
        let mut decoder = Self {
            format,
            codec_name: codec.codec_info().long_name,
            codec,
            track_id,
            rate: 0,
            channels: 0,
            downmix: Downmix::from_count(2)?,
            limits,
            expected_frames,
            frames: 0,
            last_block_frames: 0,
            packets: 0,
            damaged_packets: 0,
            cleaned_samples: 0,
            truncated: false,
            ended: false,
            block: Vec::new(),
            first: false,
        };
        decoder.decode_block()?;
        if decoder.block.is_empty() {
            return Err(decoder.nothing_decoded());
        }
        decoder.first = true;
        Ok(decoder)
    }

    /// Frames per second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The fold that suits this stream's speaker layout.
    pub fn downmix(&self) -> &Downmix {
        &self.downmix
    }

    /// The codec's name, for people.
    pub fn codec_name(&self) -> &'static str {
        self.codec_name
    }

    /// Length in seconds as the header states it, when it does.
    pub fn stated_duration_s(&self) -> Option<f64> {
        self.expected_frames.map(|n| n as f64 / f64::from(self.rate))
    }

    /// True once the stream has ended before its header said it would.
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Packets replaced by silence so far.
    pub fn damaged_packets(&self) -> usize {
        self.damaged_packets
    }

    /// Samples that were not finite, or absurdly large, so far.
    pub fn cleaned_samples(&self) -> usize {
        self.cleaned_samples
    }

    /// The next interleaved samples, or `None` at the end. Blocks have the codec's own size.
    pub fn next_block(&mut self) -> Result<Option<&[f32]>, AudioError> {
        if self.first {
            self.first = false;
        } else {
            guarded(|| self.decode_block())??;
        }
        Ok(if self.block.is_empty() { None } else { Some(&self.block) })
    }

    /// Fills `block`; leaves it empty at the end.
    fn decode_block(&mut self) -> Result<(), AudioError> {
        self.block.clear();
        while self.block.is_empty() && !self.ended {
            let packet = match self.format.next_packet() {
                Ok(Some(packet)) if packet.track_id == self.track_id => packet,
                Ok(Some(_)) => continue,
                Ok(None) => {
                    self.end();
                    break;
                }
                Err(SymphoniaError::ResetRequired) => {
                    self.restart()?;
                    continue;
                }
                Err(SymphoniaError::IoError(e)) if e.kind() != ErrorKind::UnexpectedEof => return Err(e.into()),
                Err(SymphoniaError::LimitError(what)) => return Err(AudioError::Corrupt(what.to_owned())),
                // A demuxer that lost its way cannot be asked again: keep what there was.
                Err(_) => {
                    self.truncated = true;
                    self.end();
                    break;
                }
            };
            self.packets += 1;
            match self.codec.decode(&packet) {
                Ok(buffer) => {
                    let (rate, layout) = (buffer.spec().rate(), buffer.spec().channels().clone());
                    let frames = buffer.frames();
                    if frames == 0 {
                        continue;
                    }
                    if self.rate == 0 {
                        if !(8_000..=192_000).contains(&rate) {
                            return Err(AudioError::Rate(rate));
                        }
                        self.downmix = downmix_for(&layout)?;
                        self.rate = rate;
                        self.channels = layout.count();
                    } else if rate != self.rate || layout.count() != self.channels {
                        return Err(AudioError::Corrupt("its rate or channel count changes midway".to_owned()));
                    }
                    self.block.resize(buffer.samples_interleaved(), 0.0);
                    buffer.copy_to_slice_interleaved(&mut self.block[..]);
                    self.cleaned_samples += clean(&mut self.block);
                    self.last_block_frames = frames;
                }
                Err(SymphoniaError::DecodeError(_) | SymphoniaError::IoError(_)) => {
                    self.damaged_packets += 1;
                    if self.damaged_packets > 32 && self.damaged_packets * 2 > self.packets {
                        return Err(AudioError::Corrupt("most of its packets cannot be decoded".to_owned()));
                    }
                    self.block.resize(self.last_block_frames * self.channels, 0.0);
                }
                Err(SymphoniaError::Unsupported(what)) => {
                    return Err(AudioError::UnsupportedCodec(format!("{} ({what})", self.codec_name)));
                }
                Err(SymphoniaError::ResetRequired) => self.codec.reset(),
                Err(e) => return Err(AudioError::Corrupt(e.to_string())),
            }
        }
        if let Some(frames) = self.block.len().checked_div(self.channels) {
            self.frames += frames as u64;
            if self.frames as f64 > self.limits.duration_s * f64::from(self.rate) {
                return Err(AudioError::TooLong { limit_s: self.limits.duration_s });
            }
        }
        Ok(())
    }

    /// A chained stream begins anew: take its first audio track.
    fn restart(&mut self) -> Result<(), AudioError> {
        let track = self.format.default_track(TrackType::Audio).ok_or(AudioError::NoAudioTrack)?;
        let params = track.codec_params.as_ref().and_then(|p| p.audio()).ok_or(AudioError::NoAudioTrack)?;
        self.codec = make_codec(params)?;
        self.track_id = track.id;
        self.expected_frames = None;
        Ok(())
    }

    fn end(&mut self) {
        self.ended = true;
        // Headers may count priming that the codec leaves out; half a percent and 0.1 s are forgiven.
        if let Some(expected) = self.expected_frames {
            let slack = expected / 200 + u64::from(self.rate) / 10;
            self.truncated |= self.frames + slack < expected;
        }
    }

    fn nothing_decoded(&self) -> AudioError {
        if self.damaged_packets > 0 || self.expected_frames.is_some_and(|n| n > 0) {
            AudioError::Corrupt("nothing in it can be decoded".to_owned())
        } else {
            AudioError::Empty
        }
    }
}

/// A third-party codec that panics on hostile bytes ends this stream, not the program.
fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, AudioError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| AudioError::Corrupt("its data breaks the decoder".to_owned()))
}

fn make_codec(params: &AudioCodecParameters) -> Result<Box<dyn AudioDecoder>, AudioError> {
    symphonia::default::get_codecs().make_audio_decoder(params, &AudioDecoderOptions::default()).map_err(|e| match e {
        SymphoniaError::Unsupported(_) => AudioError::UnsupportedCodec(codec_name(params.codec)),
        e => AudioError::Corrupt(e.to_string()),
    })
}

fn codec_name(id: AudioCodecId) -> String {
    use well_known::*;
    let known = [
        (CODEC_ID_OPUS, "Opus"),
        (CODEC_ID_SPEEX, "Speex"),
        (CODEC_ID_MUSEPACK, "Musepack"),
        (CODEC_ID_AAC, "AAC (only AAC-LC)"),
        (CODEC_ID_AC3, "AC-3"),
        (CODEC_ID_EAC3, "E-AC-3"),
        (CODEC_ID_AC4, "AC-4"),
        (CODEC_ID_DCA, "DTS"),
        (CODEC_ID_WMA, "WMA"),
        (CODEC_ID_WAVPACK, "WavPack"),
        (CODEC_ID_MONKEYS_AUDIO, "Monkey's Audio"),
        (CODEC_ID_TTA, "TTA"),
        (CODEC_ID_TRUEHD, "TrueHD"),
    ];
    known.iter().find(|(k, _)| *k == id).map_or_else(|| format!("number {id}"), |(_, name)| (*name).to_owned())
}

fn downmix_for(layout: &Channels) -> Result<Downmix, AudioError> {
    let count = layout.count();
    if count == 0 || count > MAX_CHANNELS {
        return Err(AudioError::Channels(count));
    }
    match layout {
        Channels::Positioned(set) if count > 2 => {
            Downmix::new(&set.iter().map(speaker).collect::<Vec<_>>())
        }
        Channels::Custom(labels) if count > 2 => Downmix::new(
            &labels
                .iter()
                .map(|l| if let ChannelLabel::Positioned(p) = l { speaker(*p) } else { Speaker::Other })
                .collect::<Vec<_>>(),
        ),
        _ => Downmix::from_count(count),
    }
}

fn speaker(position: Position) -> Speaker {
    let table = [
        (Position::FRONT_LEFT, Speaker::Left),
        (Position::FRONT_RIGHT, Speaker::Right),
        (Position::FRONT_CENTER, Speaker::Centre),
        (Position::LFE1, Speaker::Lfe),
        (Position::REAR_LEFT, Speaker::SurroundLeft),
        (Position::REAR_RIGHT, Speaker::SurroundRight),
        (Position::SIDE_LEFT, Speaker::SurroundLeft),
        (Position::SIDE_RIGHT, Speaker::SurroundRight),
        (Position::REAR_CENTER, Speaker::SurroundCentre),
        (Position::FRONT_LEFT_CENTER, Speaker::Left),
        (Position::FRONT_RIGHT_CENTER, Speaker::Right),
    ];
    table.iter().find(|(p, _)| *p == position).map_or(Speaker::Other, |(_, s)| *s)
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
