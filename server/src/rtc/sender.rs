//! A sender of sound: answers a WHIP offer and gives Opus packets in order, with what was lost between them.

use std::time::Duration;

use bytes::Bytes;
use ::rtc::interceptor::Registry;
use ::rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use ::rtc::peer_connection::configuration::media_engine::MediaEngine;
use ::rtc::rtp_transceiver::RTCRtpTransceiverDirection;
use ::rtc::rtp_transceiver::rtp_sender::RtpCodecKind;
use tokio::sync::mpsc;
use webrtc::media_stream::track_remote::TrackRemoteEvent;

use super::offer::Offer;
use super::peer::{self, Connection, opus_codec};
use super::ports::Port;
use super::{PeerEvent, RtcError, RtcNet};

/// One packet of 48 kHz Opus, or the news that `lost` before it never came.
#[derive(Clone, Debug)]
pub struct OpusPacket {
    pub data: Bytes,
    pub lost: u16,
}

/// Gaps longer than this are a pause, not loss.
const MAX_LOST: u16 = 5;

pub struct SenderPeer {
    connection: Connection,
    _port: Port,
}

impl SenderPeer {
    /// Answers an offer that sends sound. Gives the peer, the answer, its news and its packets; a full queue of
    /// packets drops the newest, since whoever reads it has stopped.
    ///
    /// # Errors
    /// If the offer cannot be answered; see [`RtcError`].
    pub async fn answer(net: &RtcNet, sdp: String) -> Result<(Self, String, mpsc::Receiver<PeerEvent>, mpsc::Receiver<OpusPacket>), RtcError> {
        let offer = Offer::parse(&sdp)?;
        if !offer.opus {
            let offered = if offer.audio_sections == 0 { "no audio" } else { "another audio codec" };
            return Err(RtcError::NoCommonCodec { kind: "audio", ours: "Opus".into(), offered: offered.into() });
        }
        let mut media = MediaEngine::default();
        if offer.video_sections > 0 {
            // Known only so that the picture can be declined in the answer.
            media.register_default_codecs().map_err(RtcError::engine)?;
        } else {
            media.register_codec(opus_codec(), RtpCodecKind::Audio).map_err(RtcError::engine)?;
        }
        let registry = register_default_interceptors(Registry::new(), &mut media).map_err(RtcError::engine)?;
        let mut built = peer::build(net, media, registry, offer.passive).await?;
        let result = async {
            peer::accept(&built.connection, sdp).await?;
            for transceiver in built.connection.get_transceivers().await {
                let is_video = match transceiver.receiver().await {
                    Ok(Some(receiver)) => receiver.get_parameters().await.is_ok_and(|p| {
                        p.rtp_parameters.codecs.iter().any(|c| c.rtp_codec.mime_type.to_ascii_lowercase().starts_with("video/"))
                    }),
                    _ => false,
                };
                if is_video {
                    transceiver.set_direction(RTCRtpTransceiverDirection::Inactive).await.map_err(RtcError::engine)?;
                }
            }
            built.answer().await
        }
        .await;
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                let _ = built.connection.close().await;
                return Err(error);
            }
        };
        let (packets_in, packets) = mpsc::channel(64);
        let mut tracks = built.tracks;
        tokio::spawn(async move {
            while let Some(track) = tracks.recv().await {
                if track.kind().await != RtpCodecKind::Audio {
                    continue;
                }
                let mut last: Option<u16> = None;
                while let Some(event) = track.poll().await {
                    match event {
                        TrackRemoteEvent::OnRtpPacket(packet) if !packet.payload.is_empty() => {
                            let number = packet.header.sequence_number;
                            let step = last.map_or(1, |l| number.wrapping_sub(l));
                            // Late and doubled packets are over: their time was filled already.
                            if step == 0 || step > u16::MAX / 2 {
                                continue;
                            }
                            last = Some(number);
                            let lost = if step - 1 <= MAX_LOST { step - 1 } else { 0 };
                            if let Err(mpsc::error::TrySendError::Closed(_)) = packets_in.try_send(OpusPacket { data: packet.payload, lost }) {
                                return;
                            }
                        }
                        TrackRemoteEvent::OnEnded | TrackRemoteEvent::OnError => break,
                        _ => {}
                    }
                }
            }
        });
        Ok((Self { connection: built.connection, _port: built.port }, answer, built.events, packets))
    }

    /// Adds trickled candidates.
    ///
    /// # Errors
    /// Once the peer is gone.
    pub async fn trickle(&self, fragment: &str) -> Result<usize, RtcError> {
        peer::trickle(&self.connection, fragment).await
    }

    pub async fn close(&self) {
        let _ = tokio::time::timeout(Duration::from_secs(2), self.connection.close()).await;
    }
}
