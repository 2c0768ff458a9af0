//! A viewer: picture and sound out, on one clock.
//!
//! Both RTP timelines are the audio sample counter at their own rates, so what belongs together carries the same
//! time. Packets come through bounded broadcast queues: a viewer that cannot keep up loses the oldest frames, is
//! counted, and gets a keyframe; nobody waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use rtc::media_stream::MediaStreamTrack;
use rtc::rtp;
use rtc::rtp::extension::HeaderExtension;
use rtc::rtp::extension::playout_delay_extension::PlayoutDelayExtension;
use rtc::rtp::packetizer::Payloader;
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind};
use tokio::sync::broadcast::{self, error::RecvError};
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_local::{TrackLocal, TrackLocalEvent};
use webrtc::rtp_transceiver::RtpSender;

use super::{Connection, Link, Peer, RtcError, RtcSettings, choose_codec, offer, opus, shortened, video};
use crate::media::video::VideoCodec;

const MTU: usize = 1200;
/// RTP ticks to a sample of the 24 kHz master clock.
const VIDEO_TICKS: f64 = 90_000.0 / 24_000.0;
const AUDIO_TICKS: u64 = 2;

/// An encoded picture with its place on the master clock.
#[derive(Clone, Debug)]
pub struct VideoPacket {
    /// An H.264 access unit in Annex B, or a VP8 frame.
    pub data: Bytes,
    pub keyframe: bool,
    /// 24 kHz samples.
    pub media_samples: u64,
    /// When the sound that drives it came in.
    pub heard_at: Instant,
}

/// An Opus packet with its place on the master clock.
#[derive(Clone, Debug)]
pub struct AudioPacket {
    pub data: Bytes,
    pub media_samples: u64,
}

/// What a session offers a viewer, once the codec is known.
pub struct Feed {
    pub video: broadcast::Receiver<VideoPacket>,
    pub audio: broadcast::Receiver<AudioPacket>,
    /// Set to ask for a keyframe.
    pub keyframe: Arc<AtomicBool>,
    /// Frames lost because this or another viewer was slow.
    pub dropped: Arc<AtomicU64>,
    /// Called with each frame's whole time from sound in to packet out, in milliseconds.
    pub sent: Arc<dyn Fn(f64, f64) + Send + Sync>,
    /// Lives as long as the viewer does.
    pub alive: Box<dyn Send>,
}

/// One RTP stream with its own sequence numbers.
struct Stream {
    track: Arc<TrackLocalStaticRTP>,
    payloader: Box<dyn Payloader>,
    payload_type: u8,
    ssrc: u32,
    sequence: u16,
    base: u32,
    extensions: Vec<HeaderExtension>,
}

impl Stream {
    fn track(kind: RtpCodecKind, codec: RTCRtpCodec, ssrc: u32) -> Arc<TrackLocalStaticRTP> {
        let label = if kind == RtpCodecKind::Video { "video" } else { "audio" };
        Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new(
            // One stream for both: browsers keep its tracks in sync.
            "odori".to_owned(),
            format!("odori-{label}"),
            label.to_owned(),
            kind,
            vec![RTCRtpEncodingParameters {
                rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
                codec,
                ..Default::default()
            }],
        )))
    }

    async fn new(track: Arc<TrackLocalStaticRTP>, sender: &Arc<dyn RtpSender>, codec: &RTCRtpCodec, ssrc: u32) -> Result<Self, RtcError> {
        let parameters = sender.get_parameters().await?;
        let payload_type = parameters
            .rtp_parameters
            .codecs
            .iter()
            .find(|c| c.rtp_codec.mime_type.eq_ignore_ascii_case(&codec.mime_type))
            .map(|c| c.payload_type)
            .ok_or_else(|| RtcError::Offer(format!("the offer does not take {}", codec.mime_type)))?;
        let extensions = if codec.clock_rate == 90_000 { vec![HeaderExtension::PlayoutDelay(PlayoutDelayExtension::new(0, 0))] } else { vec![] };
        Ok(Stream { track, payloader: codec.payloader()?, payload_type, ssrc, sequence: rand::random(), base: rand::random(), extensions })
    }

    async fn send(&mut self, data: &Bytes, ticks: u64) -> Result<(), RtcError> {
        let payloads = self.payloader.payload(MTU - 12, data)?;
        let last = payloads.len().saturating_sub(1);
        for (i, payload) in payloads.into_iter().enumerate() {
            let header = rtp::Header {
                version: 2,
                marker: i == last,
                payload_type: self.payload_type,
                sequence_number: self.sequence,
                timestamp: self.base.wrapping_add(ticks as u32),
                ssrc: self.ssrc,
                ..Default::default()
            };
            self.sequence = self.sequence.wrapping_add(1);
            self.track.write_rtp_with_extensions(rtp::Packet { header, payload }, &self.extensions).await?;
        }
        Ok(())
    }
}

/// Answers a viewer's offer. `feed` is asked for once the codec is chosen.
///
/// # Errors
/// If the offer cannot be answered; `RtcError::Offer` is the peer's own fault.
pub async fn watch(settings: &RtcSettings, sdp: String, feed: impl FnOnce(VideoCodec) -> Result<Feed, RtcError>) -> Result<(String, Peer), RtcError> {
    let codec = choose_codec(&sdp)
        .ok_or_else(|| RtcError::Offer("the offer has no video codec in common with us: H.264 (packetization-mode=1) or VP8".into()))?;
    let mut connection = Connection::open(settings, Some(codec), None).await?;
    connection.pc.set_remote_description(offer(sdp)?).await?;
    // Only now: tracks added before the offer is known freeze their extension ids.
    let (video_codec, audio_codec) = (video(codec).rtp_codec, opus().rtp_codec);
    let (video_ssrc, audio_ssrc) = (rand::random(), rand::random());
    let video_track = Stream::track(RtpCodecKind::Video, video_codec.clone(), video_ssrc);
    let audio_track = Stream::track(RtpCodecKind::Audio, audio_codec.clone(), audio_ssrc);
    let video_sender = connection.pc.add_track(Arc::clone(&video_track) as Arc<dyn TrackLocal>).await?;
    let audio_sender = connection.pc.add_track(Arc::clone(&audio_track) as Arc<dyn TrackLocal>).await?;
    let answer = connection.answer().await?;
    let video = Stream::new(video_track, &video_sender, &video_codec, video_ssrc).await?;
    let audio = Stream::new(audio_track, &audio_sender, &audio_codec, audio_ssrc).await?;
    let feed = feed(codec)?;
    let peer = connection.into_peer();
    let mut link = peer.link();
    let requests = Arc::clone(&video.track);
    let keyframe = Arc::clone(&feed.keyframe);
    tokio::spawn(async move {
        if !matches!(link.wait_for(|l| *l != Link::Connecting).await.as_deref(), Ok(Link::Connected)) {
            return;
        }
        let answered = async {
            while let Some(event) = requests.poll().await {
                if let TrackLocalEvent::OnRtcpPacket(_) = event {
                    keyframe.store(true, Ordering::Relaxed);
                }
            }
            std::future::pending::<()>().await;
        };
        let mut ended = link.clone();
        tokio::select! {
            () = answered => {}
            result = pump(video, audio, feed) => if let Err(e) = result {
                tracing::debug!(error = %shortened(&e), "a viewer's stream ended");
            },
            _ = ended.wait_for(|l| *l == Link::Ended) => {}
        }
    });
    Ok((answer, peer))
}

/// Sends until the session ends or the connection breaks.
async fn pump(mut video: Stream, mut audio: Stream, mut feed: Feed) -> Result<(), RtcError> {
    // Whatever was queued while connecting is old.
    feed.video = feed.video.resubscribe();
    feed.audio = feed.audio.resubscribe();
    feed.keyframe.store(true, Ordering::Relaxed);
    let mut waiting = true;
    loop {
        tokio::select! {
            biased;
            packet = feed.audio.recv() => match packet {
                Ok(p) => audio.send(&p.data, p.media_samples * AUDIO_TICKS).await?,
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ok(()),
            },
            packet = feed.video.recv() => match packet {
                Ok(p) => {
                    if waiting && !p.keyframe {
                        continue;
                    }
                    waiting = false;
                    let start = Instant::now();
                    video.send(&p.data, (p.media_samples as f64 * VIDEO_TICKS) as u64).await?;
                    let sent = Instant::now();
                    (feed.sent)((sent - start).as_secs_f64() * 1e3, (sent - p.heard_at).as_secs_f64() * 1e3);
                }
                Err(RecvError::Lagged(n)) => {
                    feed.dropped.fetch_add(n, Ordering::Relaxed);
                    feed.keyframe.store(true, Ordering::Relaxed);
                    waiting = true;
                }
                Err(RecvError::Closed) => return Ok(()),
            },
        }
    }
}
