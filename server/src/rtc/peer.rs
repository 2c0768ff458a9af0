//! What both kinds of peer have in common: building a connection, answering, watching its state.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use ::rtc::interceptor::Registry;
use ::rtc::peer_connection::configuration::RTCConfigurationBuilder;
use ::rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MediaEngine};
use ::rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use ::rtc::peer_connection::transport::{RTCDtlsRole, RTCIceServer};
use ::rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodecParameters};
use tokio::sync::{mpsc, watch};
use webrtc::media_stream::track_remote::TrackRemote;
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceCandidateInit, RTCIceGatheringState, RTCPeerConnectionState,
    RTCSessionDescription,
};

use super::ports::Port;
use super::{PeerEvent, RtcError, RtcNet, offer};

/// Gathering host candidates takes milliseconds; a STUN server may never answer.
const GATHER_LIMIT: Duration = Duration::from_secs(2);

/// A peer is interrupted after this silence, and gone after this much more.
const SILENT: Duration = Duration::from_secs(4);
const GONE: Duration = Duration::from_secs(10);
const KEEP_ALIVE: Duration = Duration::from_secs(1);

pub(super) type Connection = Arc<dyn PeerConnection>;

pub(super) fn opus_codec() -> RTCRtpCodecParameters {
    RTCRtpCodecParameters {
        rtp_codec: RTCRtpCodec {
            mime_type: MIME_TYPE_OPUS.to_owned(),
            clock_rate: 48_000,
            channels: 2,
            sdp_fmtp_line: "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1".to_owned(),
            rtcp_feedback: vec![],
        },
        payload_type: 111,
    }
}

/// Passes the connection's news on; holds no connection itself.
pub(super) struct Watcher {
    gathered: watch::Sender<bool>,
    events: mpsc::Sender<PeerEvent>,
    tracks: mpsc::Sender<Arc<dyn TrackRemote>>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Watcher {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.send_replace(true);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        let event = match state {
            RTCPeerConnectionState::Connected => PeerEvent::Connected,
            RTCPeerConnectionState::Disconnected => PeerEvent::Interrupted,
            RTCPeerConnectionState::Failed | RTCPeerConnectionState::Closed => PeerEvent::Closed,
            _ => return,
        };
        let _ = self.events.try_send(event);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let _ = self.tracks.try_send(track);
    }
}

/// A connection, its port and its news.
pub(super) struct Built {
    pub connection: Connection,
    pub port: Port,
    pub events: mpsc::Receiver<PeerEvent>,
    pub events_in: mpsc::Sender<PeerEvent>,
    pub tracks: mpsc::Receiver<Arc<dyn TrackRemote>>,
    gathered: watch::Receiver<bool>,
}

/// Opens sockets and makes a connection that will answer.
pub(super) async fn build(net: &RtcNet, media: MediaEngine, registry: Registry, peer_is_passive: bool) -> Result<Built, RtcError> {
    let role = if peer_is_passive { RTCDtlsRole::Client } else { RTCDtlsRole::Server };
    let settings = SettingEngineBuilder::new()
        .with_answering_dtls_role(role)
        .with_multicast_dns_mode(::rtc::ice::mdns::MulticastDnsMode::Disabled)
        .with_include_loopback_candidate(true)
        .with_ice_timeouts(Some(SILENT), Some(GONE), Some(KEEP_ALIVE))
        .build();
    let servers = net.ice_servers.iter().map(|url| RTCIceServer { urls: vec![url.clone()], ..Default::default() }).collect();
    let configuration = RTCConfigurationBuilder::new().with_ice_servers(servers).build();
    let (gathered_in, gathered) = watch::channel(false);
    let (events_in, events) = mpsc::channel(16);
    let (tracks_in, tracks) = mpsc::channel(4);
    let watcher = Watcher { gathered: gathered_in, events: events_in.clone(), tracks: tracks_in };
    let port = net.ports.take(net.ip).ok_or_else(|| RtcError::NoPort(net.ports.range().clone()))?;
    let at = |ip: IpAddr| std::net::SocketAddr::new(ip, port.number()).to_string();
    let mut addresses = vec![at(net.ip)];
    if net.ip.is_unspecified() {
        // A wildcard stands for every interface but loopback, which a browser on this machine needs.
        addresses.push(at(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }
    let mut builder = PeerConnectionBuilder::new()
        .with_configuration(configuration)
        .with_media_engine(media)
        .with_setting_engine(settings)
        .with_interceptor_registry(registry)
        .with_handler(Arc::new(watcher))
        .with_udp_addrs(addresses.clone());
    if net.ice_tcp {
        builder = builder.with_tcp_addrs(addresses);
    }
    let connection: Connection = Arc::new(builder.build().await.map_err(RtcError::engine)?);
    Ok(Built { connection, port, events, events_in, tracks, gathered })
}

/// Takes the offer in. Tracks are added after this: before it, header extensions would freeze.
pub(super) async fn accept(connection: &Connection, sdp: String) -> Result<(), RtcError> {
    let offer = RTCSessionDescription::offer(sdp).map_err(|e| RtcError::BadOffer(e.to_string().chars().take(160).collect()))?;
    connection.set_remote_description(offer).await.map_err(RtcError::engine)
}

/// Makes the answer, complete with our candidates.
pub(super) async fn answer(connection: &Connection, gathered: &mut watch::Receiver<bool>) -> Result<String, RtcError> {
    let answer = connection.create_answer(None).await.map_err(RtcError::engine)?;
    connection.set_local_description(answer).await.map_err(RtcError::engine)?;
    let _ = tokio::time::timeout(GATHER_LIMIT, gathered.wait_for(|done| *done)).await;
    let description = connection.local_description().await.ok_or_else(|| RtcError::Engine("no local description".into()))?;
    Ok(description.sdp)
}

impl Built {
    pub(super) async fn answer(&mut self) -> Result<String, RtcError> {
        answer(&self.connection, &mut self.gathered).await
    }
}

/// Adds the candidates of a trickle fragment; says how many there were.
pub(super) async fn trickle(connection: &Connection, fragment: &str) -> Result<usize, RtcError> {
    let candidates = offer::trickled(fragment);
    for (mid, candidate) in &candidates {
        let init = RTCIceCandidateInit { candidate: candidate.clone(), sdp_mid: mid.clone(), ..Default::default() };
        // A candidate that we cannot reach (a .local name, another address family) is no reason to refuse the rest.
        if let Err(error) = connection.add_ice_candidate(init).await {
            tracing::debug!(error = %RtcError::engine(error), "a trickled candidate was not usable");
        }
    }
    Ok(candidates.len())
}
