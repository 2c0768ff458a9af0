//! What can be wrong with sound that comes in, in words that say what to do about it.

/// Every way that audio input can fail. Messages are meant for the person who chose the file.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    #[error("this is not an audio file that can be read ({0}); use WAV, FLAC, MP3, Ogg Vorbis, M4A or AIFF")]
    UnknownFormat(String),
    #[error("the file has no audio track; choose a file with sound in it")]
    NoAudioTrack,
    #[error("the audio codec {0} is not supported; convert the file to WAV, FLAC, MP3, Ogg Vorbis or M4A (AAC-LC)")]
    UnsupportedCodec(String),
    #[error("the audio file is corrupt: {0}; export or download it again")]
    Corrupt(String),
    #[error("the audio file holds no sound (zero seconds); choose another file")]
    Empty,
    #[error("the audio is longer than {limit_s:.0} s; cut it, or raise the limit")]
    TooLong { limit_s: f64 },
    #[error("the audio file is {bytes} bytes, more than the limit of {limit_bytes}")]
    TooLarge { bytes: u64, limit_bytes: u64 },
    #[error("the decoded audio needs more than {limit_bytes} bytes of memory; play it as a stream instead")]
    TooMuchMemory { limit_bytes: u64 },
    #[error("a sample rate of {0} Hz is outside 8000 to 192000 Hz; convert the file to 48000 Hz")]
    Rate(u32),
    #[error("{0} audio channels are not supported; use 1 (mono) to 8 (7.1)")]
    Channels(usize),
    #[error("\"{0}\" is not a PCM format; write it as FORMAT:RATE:CHANNELS, for example s16le:48000:2 or f32le:44100:1")]
    PcmFormat(String),
    #[error("the audio stopped in the middle of a PCM frame ({0} bytes left over); check the format and the channel count")]
    PcmTail(usize),
    #[error("reading the audio failed: {0}")]
    Io(#[from] std::io::Error),
}
