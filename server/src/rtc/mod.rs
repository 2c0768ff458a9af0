//! WebRTC, all of it: nothing outside this folder names the crate that speaks it.
//!
//! Two kinds of peer, each one offer and one answer: a viewer receives picture and sound (WHEP), a publisher sends
//! sound (WHIP, RFC 9725). Neither needs trickle: the answer carries our addresses.

mod keyframes;
mod publisher;
mod viewer;

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use rtc::interceptor::{Registry, Slot};
use rtc::peer_connection::configuration::RTCConfigurationBuilder;
use rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_H264, MIME_TYPE_OPUS, MIME_TYPE_RTX, MIME_TYPE_VP8, MediaEngine};
use rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use rtc::peer_connection::sdp::RTCSessionDescription;
use rtc::ice::mdns::MulticastDnsMode;
use rtc::peer_connection::transport::RTCDtlsRole;
use rtc::rtp_transceiver::rtp_sender::{RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpHeaderExtensionCapability, RtpCodecKind};
use tokio::sync::watch;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionState,
};

pub use publisher::{SoundSink, publish};
pub use viewer::{AudioPacket, Feed, VideoPacket, watch as watch_session};

use crate::media::video::VideoCodec;

/// An SDP longer than this is refused; a browser's is a few kilobytes.
pub const MAX_SDP_BYTES: usize = 64 * 1024;
const PLAYOUT_DELAY_URI: &str = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay";
/// How long a new peer may take to connect.
const CONNECT_TIME: Duration = Duration::from_secs(15);

#[derive(Debug, thiserror::Error)]
pub enum RtcError {
    /// The peer's offer cannot be used: its own fault, said in words.
    #[error("{0}")]
    Offer(String),
    #[error("no free UDP port in {0}-{1}: end another session, or widen --udp-ports")]
    Ports(u16, u16),
    #[error("WebRTC: {0}")]
    Stack(String),
}

impl From<webrtc::error::Error> for RtcError {
    fn from(e: webrtc::error::Error) -> Self {
        let text = shortened(&e);
        // The stack says this when the offer has no codec of ours.
        if text.contains("no codecs") || text.contains("codec is not supported") {
            return RtcError::Offer("the offer has no codec in common with us: H.264 (packetization-mode=1) or VP8, and Opus".into());
        }
        RtcError::Stack(text)
    }
}

/// An error's text without the packet bytes that some carry.
fn shortened(e: &impl std::fmt::Display) -> String {
    let text = e.to_string();
    match text.char_indices().nth(300) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

/// Where peers may reach us.
#[derive(Clone, Debug)]
pub struct RtcSettings {
    pub ip: IpAddr,
    pub udp_ports: RangeInclusive<u16>,
}

/// How a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Connecting,
    Connected,
    Ended,
}

/// A peer's connection; dropping it hangs up.
pub struct Peer {
    hang_up: watch::Sender<bool>,
    link: watch::Receiver<Link>,
}

impl Peer {
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.clone()
    }

    pub fn hang_up(&self) {
        let _ = self.hang_up.send(true);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.hang_up();
    }
}

struct Handler {
    link: watch::Sender<Link>,
    gathered: watch::Sender<bool>,
    on_track: Option<publisher::OnTrack>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Handler {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.send_replace(true);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        let link = match state {
            RTCPeerConnectionState::Connected => Link::Connected,
            RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed => Link::Ended,
            // "disconnected" often heals; the stack says "failed" if it does not.
            _ => return,
        };
        self.link.send_replace(link);
    }

    async fn on_track(&self, track: Arc<dyn webrtc::media_stream::track_remote::TrackRemote>) {
        if let Some(on_track) = &self.on_track {
            on_track.start(track);
        }
    }
}

/// A connection being set up.
struct Connection {
    pc: Arc<dyn PeerConnection>,
    link: watch::Receiver<Link>,
    gathered: watch::Receiver<bool>,
}

fn codec(mime: &str, clock_rate: u32, channels: u16, fmtp: &str, payload_type: u8, feedback: Vec<RTCPFeedback>) -> RTCRtpCodecParameters {
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec { mime_type: mime.to_owned(), clock_rate, channels, sdp_fmtp_line: fmtp.to_owned(), rtcp_feedback: feedback },
        payload_type,
    }
}

fn opus() -> RTCRtpCodecParameters {
    codec(MIME_TYPE_OPUS, 48_000, 2, "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1", 111, vec![])
}

fn video(kind: VideoCodec) -> RTCRtpCodecParameters {
    let feedback = ["goog-remb", "ccm fir", "nack", "nack pli"]
        .map(|f| {
            let (typ, parameter) = f.split_once(' ').unwrap_or((f, ""));
            RTCPFeedback { typ: typ.to_owned(), parameter: parameter.to_owned() }
        })
        .to_vec();
    match kind {
        VideoCodec::H264 => {
            codec(MIME_TYPE_H264, 90_000, 0, "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f", 102, feedback)
        }
        VideoCodec::Vp8 => codec(MIME_TYPE_VP8, 90_000, 0, "", 96, feedback),
    }
}

impl Connection {
    async fn open(settings: &RtcSettings, video_codec: Option<VideoCodec>, on_track: Option<publisher::OnTrack>) -> Result<Self, RtcError> {
        let mut engine = MediaEngine::default();
        engine.register_codec(opus(), RtpCodecKind::Audio)?;
        if let Some(kind) = video_codec {
            let parameters = video(kind);
            let apt = parameters.payload_type;
            engine.register_codec(parameters, RtpCodecKind::Video)?;
            engine.register_codec(codec(MIME_TYPE_RTX, 90_000, 0, &format!("apt={apt}"), apt + 1, vec![]), RtpCodecKind::Video)?;
            let capability = RTCRtpHeaderExtensionCapability { uri: PLAYOUT_DELAY_URI.to_owned() };
            engine.register_header_extension(capability, RtpCodecKind::Video, None)?;
        }
        let registry = register_default_interceptors(Registry::new(), &mut engine)?;
        // Nearest to the application, so that every interceptor has seen the RTCP before it is narrowed down.
        let registry = registry.with(Slot::from(14_000), keyframes::KeyframeRequests::default());
        let mut settings_engine = SettingEngineBuilder::new()
            .with_answering_dtls_role(RTCDtlsRole::Server)
            .with_multicast_dns_mode(MulticastDnsMode::Disabled);
        if settings.ip.is_loopback() {
            settings_engine = settings_engine.with_include_loopback_candidate(true);
        }
        let (link_tx, link) = watch::channel(Link::Connecting);
        let (gathered_tx, gathered) = watch::channel(false);
        let handler = Arc::new(Handler { link: link_tx, gathered: gathered_tx, on_track });
        let pc = PeerConnectionBuilder::new()
            .with_configuration(RTCConfigurationBuilder::new().build())
            .with_media_engine(engine)
            .with_setting_engine(settings_engine.build())
            .with_interceptor_registry(registry)
            .with_handler(handler)
            .with_udp_addrs(vec![free_port(settings)?.to_string()])
            .build()
            .await?;
        Ok(Connection { pc: Arc::new(pc), link, gathered })
    }

    /// The answer with our addresses in it. Call after tracks were added.
    async fn answer(&mut self) -> Result<String, RtcError> {
        let answer = self.pc.create_answer(None).await?;
        self.pc.set_local_description(answer).await?;
        let _ = tokio::time::timeout(Duration::from_secs(2), self.gathered.wait_for(|done| *done)).await;
        self.pc.local_description().await.map(|d| d.sdp).ok_or_else(|| RtcError::Stack("no local description".into()))
    }

    /// Hands the connection to its watcher: hung up when asked, when it fails, or when it never connects.
    fn into_peer(self) -> Peer {
        let (hang_up, mut asked) = watch::channel(false);
        let mut link = self.link.clone();
        let pc = self.pc;
        tokio::spawn(async move {
            let ended = async {
                let connected = tokio::time::timeout(CONNECT_TIME, link.wait_for(|l| *l != Link::Connecting)).await.is_ok();
                if connected {
                    let _ = link.wait_for(|l| *l == Link::Ended).await;
                }
            };
            tokio::select! {
                () = ended => {}
                () = async { drop(asked.wait_for(|hang_up| *hang_up).await) } => {}
            }
            if let Err(e) = pc.close().await {
                tracing::debug!(error = %shortened(&e), "closing a peer");
            }
        });
        Peer { hang_up, link: self.link }
    }
}

fn offer(sdp: String) -> Result<RTCSessionDescription, RtcError> {
    if sdp.len() > MAX_SDP_BYTES {
        return Err(RtcError::Offer(format!("the offer is {} bytes; at most {MAX_SDP_BYTES} are read", sdp.len())));
    }
    RTCSessionDescription::offer(sdp).map_err(|e| RtcError::Offer(format!("the offer is not an SDP that can be read: {}", shortened(&e))))
}

/// A port of the range that nothing holds. Another program may take it before the stack does; the peer is then
/// refused with the stack's reason and may ask again.
fn free_port(settings: &RtcSettings) -> Result<SocketAddr, RtcError> {
    let ports = &settings.udp_ports;
    // Start where the last search ended: a port just closed rests before it is used again.
    static NEXT: std::sync::atomic::AtomicU16 = std::sync::atomic::AtomicU16::new(0);
    let count = u32::from(*ports.end()) - u32::from(*ports.start()) + 1;
    for _ in 0..count {
        let offset = u32::from(NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) % count;
        let addr = SocketAddr::new(settings.ip, (u32::from(*ports.start()) + offset) as u16);
        if UdpSocket::bind(addr).is_ok() {
            return Ok(addr);
        }
    }
    Err(RtcError::Ports(*ports.start(), *ports.end()))
}

/// Which of our video codecs an offer takes: H.264 with packetization mode 1 first, then VP8.
fn choose_codec(sdp: &str) -> Option<VideoCodec> {
    let mut h264 = false;
    let mut vp8 = false;
    let mut h264_types = Vec::new();
    for line in sdp.lines() {
        if let Some((pt, name)) = line.strip_prefix("a=rtpmap:").and_then(|l| l.trim().split_once(' ')) {
            let name = name.to_ascii_uppercase();
            vp8 |= name.starts_with("VP8/");
            if name.starts_with("H264/") {
                h264_types.push(pt.to_owned());
            }
        }
    }
    for line in sdp.lines() {
        if let Some((pt, parameters)) = line.strip_prefix("a=fmtp:").and_then(|l| l.trim().split_once(' ')) {
            // Baseline in any constraint (42....): what we send is constrained baseline.
            h264 |= h264_types.iter().any(|t| t == pt)
                && parameters.contains("packetization-mode=1")
                && parameters.to_ascii_lowercase().contains("profile-level-id=42");
        }
    }
    if h264 {
        Some(VideoCodec::H264)
    } else if vp8 {
        Some(VideoCodec::Vp8)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const H264: &str = "a=rtpmap:102 H264/90000\r\na=fmtp:102 packetization-mode=1;profile-level-id=42e01f\r\n";
    const VP8: &str = "a=rtpmap:96 VP8/90000\r\n";

    #[test]
    fn h264_is_chosen_before_vp8_and_only_in_a_form_we_send() {
        assert_eq!(choose_codec(&format!("{VP8}{H264}")), Some(VideoCodec::H264));
        assert_eq!(choose_codec(VP8), Some(VideoCodec::Vp8));
        assert_eq!(choose_codec(&H264.replace("mode=1", "mode=0")), None);
        assert_eq!(choose_codec("a=rtpmap:98 AV1/90000\r\n"), None);
    }

    #[test]
    fn an_offer_that_is_no_sdp_is_the_peers_fault() {
        assert!(matches!(offer("hello".into()), Err(RtcError::Offer(_))));
        assert!(matches!(offer("v".repeat(MAX_SDP_BYTES + 1)), Err(RtcError::Offer(_))));
    }

    #[test]
    fn ports_come_from_the_range() {
        let settings = RtcSettings { ip: [127, 0, 0, 1].into(), udp_ports: 41000..=41019 };
        let port = free_port(&settings).unwrap().port();
        assert!((41000..=41019).contains(&port));
    }
}
