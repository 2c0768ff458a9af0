//! A publisher: sound in from a browser, OBS, GStreamer or FFmpeg (WHIP, RFC 9725).
//!
//! Packets are decoded as they come. A gap is concealed by the codec; a packet that comes too late is dropped.

use std::sync::Arc;

use rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};

use super::{Connection, Peer, RtcError, RtcSettings, offer};
use crate::media::opus::OpusDecoder;

/// A longer gap is taken as a new beginning instead of being concealed.
const MAX_CONCEALED_PACKETS: u16 = 10;

/// Takes decoded sound, 48 kHz interleaved stereo.
pub type SoundSink = Arc<dyn Fn(&[f32]) + Send + Sync>;

/// What to do with a publisher's tracks.
pub struct OnTrack {
    sink: SoundSink,
}

impl OnTrack {
    pub fn start(&self, track: Arc<dyn TrackRemote>) {
        let sink = Arc::clone(&self.sink);
        tokio::spawn(async move {
            if track.kind().await != RtpCodecKind::Audio {
                return;
            }
            let mut decoder = match OpusDecoder::new() {
                Ok(decoder) => decoder,
                Err(e) => return tracing::error!(error = %e, "a publisher's sound cannot be decoded"),
            };
            let mut next: Option<u16> = None;
            while let Some(event) = track.poll().await {
                match event {
                    TrackRemoteEvent::OnRtpPacket(packet) => {
                        let sequence = packet.header.sequence_number;
                        let gap = next.map_or(0, |n| sequence.wrapping_sub(n));
                        if gap > u16::MAX / 2 {
                            continue; // Older than what was already played.
                        }
                        if gap <= MAX_CONCEALED_PACKETS {
                            for _ in 0..gap {
                                if let Ok(samples) = decoder.conceal() {
                                    sink(samples);
                                }
                            }
                        }
                        next = Some(sequence.wrapping_add(1));
                        match decoder.decode(&packet.payload) {
                            Ok(samples) => sink(samples),
                            Err(e) => tracing::debug!(error = %e, "a packet that is not Opus"),
                        }
                    }
                    TrackRemoteEvent::OnEnded | TrackRemoteEvent::OnError => break,
                    _ => {}
                }
            }
        });
    }
}

/// Answers a publisher's offer; its sound goes to `sink`.
///
/// # Errors
/// If the offer cannot be answered; `RtcError::Offer` is the peer's own fault.
pub async fn publish(settings: &RtcSettings, sdp: String, sink: SoundSink) -> Result<(String, Peer), RtcError> {
    if !sdp.to_ascii_lowercase().contains("opus/48000") {
        return Err(RtcError::Offer("the offer has no Opus sound".into()));
    }
    // Video that comes along (OBS sends it) is answered with the codec it offers, and ignored.
    let codec = super::choose_codec(&sdp);
    let mut connection = Connection::open(settings, codec, Some(OnTrack { sink })).await?;
    connection.pc.set_remote_description(offer(sdp)?).await?;
    let answer = connection.answer().await?;
    Ok((answer, connection.into_peer()))
}
