//! A viewer: answers a WHEP offer, then takes encoded pictures and sound stamped with media time.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use rand::Rng;
use ::rtc::interceptor::{
    CongestionControlBuilder, NackGeneratorBuilder, NackResponderBuilder, ReceiverReportBuilder, Registry, Slot, TwccSenderBuilder,
};
use ::rtc::media_stream::MediaStreamTrack;
use ::rtc::peer_connection::configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_VP8, MediaEngine};
use ::rtc::rtp::codec::{h264::H264Payloader, vp8::Vp8Payloader};
use ::rtc::rtp::extension::HeaderExtension;
use ::rtc::rtp::extension::playout_delay_extension::PlayoutDelayExtension;
use ::rtc::rtp::packetizer::Payloader;
use ::rtc::rtp_transceiver::rtp_sender::{
    RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpHeaderExtensionCapability,
    RtpCodecKind,
};
use tokio::sync::{Mutex, mpsc};
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_local::{TrackLocal, TrackLocalEvent};

use super::interceptors::{ClockReports, KeyframeRequests, PathReport, ReportedStream, SharedEstimate, SharedPath};
use super::offer::Offer;
use super::peer::{self, Connection, opus_codec};
use super::ports::Port;
use super::{PeerEvent, RtcError, RtcNet};
use crate::clock::{MediaClock, media_sample, rtp_timestamp};
use crate::media::video::VideoCodec;

/// Payload bytes of a packet: fits every path with room for SRTP and extensions.
const PAYLOAD_BYTES: usize = 1170;
/// The estimate goes no lower: from less it would take minutes to find back.
const MIN_ESTIMATE_BPS: u32 = 100_000;
const VIDEO_RATE_HZ: u32 = 90_000;
const AUDIO_RATE_HZ: u32 = 48_000;
const TRANSPORT_CC: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const PLAYOUT_DELAY: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";

/// What a viewer asks for.
#[derive(Clone, Debug)]
pub struct ViewerRequest {
    pub sdp: String,
    pub codec: Option<VideoCodec>,
    pub initial_bps: u32,
    pub max_bps: u32,
}

/// One outgoing RTP stream; owns its numbering.
struct Stream {
    track: Arc<TrackLocalStaticRTP>,
    stream: ReportedStream,
    payload_type: u8,
    state: Mutex<StreamState>,
}

struct StreamState {
    payloader: Option<Box<dyn Payloader>>,
    sequence: u16,
}

/// A connected (or connecting) viewer.
pub struct ViewerPeer {
    connection: Connection,
    codec: VideoCodec,
    video: Option<Stream>,
    audio: Option<Stream>,
    estimate_bps: Arc<AtomicU32>,
    path: Arc<SharedPath>,
    _port: Port,
}

fn feedback(kind: &str, parameter: &str) -> RTCPFeedback {
    RTCPFeedback { typ: kind.to_owned(), parameter: parameter.to_owned() }
}

fn video_codec(codec: VideoCodec, parameters: String) -> RTCRtpCodecParameters {
    let (mime_type, payload_type) = match codec {
        VideoCodec::H264 => (MIME_TYPE_H264, 102),
        VideoCodec::Vp8 => (MIME_TYPE_VP8, 96),
    };
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: mime_type.to_owned(),
            clock_rate: VIDEO_RATE_HZ,
            channels: 0,
            sdp_fmtp_line: parameters,
            rtcp_feedback: vec![feedback("nack", ""), feedback("nack", "pli"), feedback("ccm", "fir"), feedback("transport-cc", "")],
        },
        payload_type,
    }
}

fn local_track(kind: RtpCodecKind, codec: &RTCRtpCodec, ssrc: u32) -> Arc<TrackLocalStaticRTP> {
    let name = if kind == RtpCodecKind::Video { "video" } else { "audio" };
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(ssrc), ..Default::default() },
        codec: codec.clone(),
        ..Default::default()
    };
    // One stream id for both tracks: the browser then keeps them in sync.
    Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new("odori".into(), name.into(), name.into(), kind, vec![encoding])))
}

impl ViewerPeer {
    /// Answers an offer. Gives the peer, the answer and the peer's news.
    ///
    /// # Errors
    /// If the offer cannot be answered; see [`RtcError`].
    pub async fn answer(net: &RtcNet, clock: &Arc<MediaClock>, request: ViewerRequest) -> Result<(Self, String, mpsc::Receiver<PeerEvent>), RtcError> {
        let offer = Offer::parse(&request.sdp)?;
        if offer.video_sections == 0 {
            return Err(RtcError::BadOffer("it does not ask for video".into()));
        }
        let (codec, parameters) = offer.choose_video(request.codec)?;
        let video_parameters = video_codec(codec, parameters);
        let audio_parameters = opus_codec();
        let wants_audio = offer.audio_sections > 0 && offer.opus;

        let mut media = MediaEngine::default();
        media.register_codec(video_parameters.clone(), RtpCodecKind::Video).map_err(RtcError::engine)?;
        media.register_codec(audio_parameters.clone(), RtpCodecKind::Audio).map_err(RtcError::engine)?;
        for (uri, kind) in [
            (TRANSPORT_CC, RtpCodecKind::Video),
            (TRANSPORT_CC, RtpCodecKind::Audio),
            (MID, RtpCodecKind::Video),
            (MID, RtpCodecKind::Audio),
            (PLAYOUT_DELAY, RtpCodecKind::Video),
        ] {
            media.register_header_extension(RTCRtpHeaderExtensionCapability { uri: uri.into() }, kind, None).map_err(RtcError::engine)?;
        }

        let (ids, offsets): ([u32; 2], [u32; 2]) = {
            let mut random = rand::rng();
            ([random.random(), random.random()], [random.random(), random.random()])
        };
        let video_stream = ReportedStream { ssrc: ids[0], rate_hz: VIDEO_RATE_HZ, offset: offsets[0] };
        let audio_stream = ReportedStream { ssrc: ids[1], rate_hz: AUDIO_RATE_HZ, offset: offsets[1] };
        let (estimator, estimate_bps) = SharedEstimate::new(request.initial_bps, MIN_ESTIMATE_BPS, request.max_bps);
        let reports = ClockReports::new(clock.clone(), vec![video_stream, audio_stream]);
        let path = reports.path();
        let registry = Registry::new()
            .with(Slot::CongestionControl, CongestionControlBuilder::new(estimator).build())
            .with(Slot::TwccSender, TwccSenderBuilder::new().build())
            .with(Slot::NackResponder, NackResponderBuilder::new().build())
            .with(Slot::NackGenerator, NackGeneratorBuilder::new().build())
            .with(Slot::ReceiverReport, ReceiverReportBuilder::new().build())
            .with(Slot::SenderReport, reports)
            .with(Slot::from(60_000), KeyframeRequests::default());

        let mut built = peer::build(net, media, registry, offer.passive).await?;
        let result = async {
            peer::accept(&built.connection, request.sdp).await?;
            let video_track = local_track(RtpCodecKind::Video, &video_parameters.rtp_codec, video_stream.ssrc);
            let video_sender = built.connection.add_track(video_track.clone() as Arc<dyn TrackLocal>).await.map_err(RtcError::engine)?;
            let mut audio = None;
            if wants_audio {
                let track = local_track(RtpCodecKind::Audio, &audio_parameters.rtp_codec, audio_stream.ssrc);
                let sender = built.connection.add_track(track.clone() as Arc<dyn TrackLocal>).await.map_err(RtcError::engine)?;
                audio = Some((track, sender));
            }
            let answer = built.answer().await?;
            let video = Stream::new(video_track, video_sender, video_stream, Some(payloader(codec)?)).await?;
            let audio = match audio {
                Some((track, sender)) => Some(Stream::new(track, sender, audio_stream, None).await?),
                None => None,
            };
            Ok::<_, RtcError>((answer, video, audio))
        }
        .await;
        let (answer, video, audio) = match result {
            Ok(parts) => parts,
            Err(error) => {
                let _ = built.connection.close().await;
                return Err(error);
            }
        };

        // Keyframe requests, until the track is unbound.
        let (track, events) = (video.track.clone(), built.events_in.clone());
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                if let TrackLocalEvent::OnRtcpPacket(_) = event {
                    let _ = events.try_send(PeerEvent::KeyframeWanted);
                }
            }
        });
        let peer = Self { connection: built.connection, codec, video: Some(video), audio, estimate_bps, path, _port: built.port };
        Ok((peer, answer, built.events))
    }

    pub fn codec(&self) -> VideoCodec {
        self.codec
    }

    /// What the network to this viewer is thought to carry, in bits a second.
    pub fn estimate_bps(&self) -> u32 {
        self.estimate_bps.load(Ordering::Relaxed)
    }

    /// What the peer last reported of the way to it, once.
    pub fn path_report(&self) -> Option<PathReport> {
        self.path.take()
    }

    /// The media time of a video frame that the viewer names by its RTP timestamp, near media time `near`.
    pub fn sample_of(&self, rtp_timestamp: u32, near: u64) -> Option<u64> {
        let stream = self.video.as_ref()?.stream;
        media_sample(rtp_timestamp, stream.rate_hz, stream.offset, near)
    }

    /// Sends one encoded picture of media time `sample`.
    ///
    /// # Errors
    /// Once the peer is gone.
    pub async fn send_video(&self, data: &Bytes, sample: u64) -> Result<(), RtcError> {
        match &self.video {
            Some(stream) => stream.send(data, sample, &[HeaderExtension::PlayoutDelay(PlayoutDelayExtension::new(0, 0))]).await,
            None => Ok(()),
        }
    }

    /// Sends one Opus packet whose first sample is media time `sample`.
    ///
    /// # Errors
    /// Once the peer is gone.
    pub async fn send_audio(&self, data: &Bytes, sample: u64) -> Result<(), RtcError> {
        match &self.audio {
            Some(stream) => stream.send(data, sample, &[]).await,
            None => Ok(()),
        }
    }

    /// Adds trickled candidates.
    ///
    /// # Errors
    /// Once the peer is gone.
    pub async fn trickle(&self, fragment: &str) -> Result<usize, RtcError> {
        peer::trickle(&self.connection, fragment).await
    }

    pub async fn close(&self) {
        let _ = self.connection.close().await;
    }
}

fn payloader(codec: VideoCodec) -> Result<Box<dyn Payloader>, RtcError> {
    Ok(match codec {
        VideoCodec::H264 => Box::new(H264Payloader::default()),
        VideoCodec::Vp8 => {
            let mut payloader = Vp8Payloader::default();
            payloader.enable_picture_id = true;
            Box::new(payloader)
        }
    })
}

impl Stream {
    async fn new(
        track: Arc<TrackLocalStaticRTP>,
        sender: Arc<dyn webrtc::rtp_transceiver::RtpSender>,
        stream: ReportedStream,
        payloader: Option<Box<dyn Payloader>>,
    ) -> Result<Self, RtcError> {
        let parameters = sender.get_parameters().await.map_err(RtcError::engine)?;
        let Some(codec) = parameters.rtp_parameters.codecs.first() else {
            return Err(RtcError::engine("RTPSender created with no codecs"));
        };
        let state = Mutex::new(StreamState { payloader, sequence: rand::rng().random() });
        Ok(Self { track, stream, payload_type: codec.payload_type, state })
    }

    async fn send(&self, data: &Bytes, sample: u64, extensions: &[HeaderExtension]) -> Result<(), RtcError> {
        let timestamp = rtp_timestamp(sample as f64, self.stream.rate_hz, self.stream.offset);
        let mut state = self.state.lock().await;
        let is_video = state.payloader.is_some();
        let payloads = match &mut state.payloader {
            Some(payloader) => payloader.payload(PAYLOAD_BYTES, data).map_err(RtcError::engine)?,
            None => vec![data.clone()],
        };
        let last = payloads.len().saturating_sub(1);
        for (i, payload) in payloads.into_iter().enumerate() {
            let header = ::rtc::rtp::header::Header {
                version: 2,
                marker: is_video && i == last,
                payload_type: self.payload_type,
                sequence_number: state.sequence,
                timestamp,
                ssrc: self.stream.ssrc,
                ..Default::default()
            };
            state.sequence = state.sequence.wrapping_add(1);
            let packet = ::rtc::rtp::Packet { header, payload };
            self.track.write_rtp_with_extensions(packet, extensions).await.map_err(RtcError::engine)?;
        }
        Ok(())
    }
}
