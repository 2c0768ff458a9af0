//! A WebRTC viewer of our own, for the latency instrument: offers to receive, and gives whole access units and sound
//! packets with the moment at which they arrived. It never waits for smoothness: what is whole and in order is given.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ::rtc::interceptor::Registry;
use ::rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use ::rtc::peer_connection::configuration::media_engine::{MIME_TYPE_H264, MediaEngine};
use ::rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use ::rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use ::rtc::rtp::codec::h264::H264Packet;
use ::rtc::rtp::packetizer::Depacketizer;
use ::rtc::rtp_transceiver::rtp_sender::{RTCPFeedback, RTCRtpCodec, RTCRtpCodecParameters, RTCRtpHeaderExtensionCapability, RtpCodecKind};
use ::rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use tokio::sync::{mpsc, watch};
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionState, RTCSessionDescription};

use super::RtcError;
use super::peer::opus_codec;

/// Something whole that came.
#[derive(Clone, Debug)]
pub enum Received {
    /// An H.264 access unit in Annex B.
    Picture { data: Bytes, timestamp: u32, first_at: Instant, last_at: Instant },
    /// An Opus packet.
    Sound { data: Bytes, timestamp: u32, at: Instant },
    /// Pictures were given up: nothing decodes until the next keyframe, which was asked for.
    Gap,
    Connected,
}

/// A gap is waited for this long: retransmission takes a round trip and a little more.
const PATIENCE: Duration = Duration::from_millis(600);
/// Packets kept for reordering; a peer that sends more nonsense than this is not believed.
const ROOM: usize = 4096;

struct Part {
    payload: Bytes,
    timestamp: u32,
    marker: bool,
    at: Instant,
}

/// Packets into access units, in order; what is late is waited for, what is lost is given up.
#[derive(Default)]
struct Assembler {
    parts: BTreeMap<u64, Part>,
    next: Option<u64>,
    newest: u64,
    /// Since when the next packet is missing though later ones are here.
    waiting_since: Option<Instant>,
    /// Nothing decodes before a keyframe.
    needs_key: bool,
}

/// Whether a payload begins an H.264 keyframe: parameter sets, or the start of an IDR slice.
fn begins_key(payload: &[u8]) -> bool {
    match payload.first().map(|b| b & 31) {
        Some(5 | 7) => true,
        Some(24) => payload.get(3).is_some_and(|b| matches!(b & 31, 5 | 7)),
        Some(28) => payload.get(1).is_some_and(|b| b & 0x9f == 0x85),
        _ => false,
    }
}

impl Assembler {
    /// The sequence number without its wrapping.
    fn extend(&mut self, sequence: u16) -> u64 {
        if self.newest == 0 {
            self.newest = 1 << 20 | u64::from(sequence);
        }
        let step = i64::from(sequence.wrapping_sub(self.newest as u16) as i16);
        let number = self.newest.saturating_add_signed(step);
        self.newest = self.newest.max(number);
        number
    }

    /// Takes a packet in and gives what is whole by now. `true`: a keyframe is needed.
    fn push(&mut self, sequence: u16, part: Part, out: &mut Vec<Received>) -> bool {
        let now = part.at;
        let number = self.extend(sequence);
        if self.next.is_none_or(|next| number >= next) && self.parts.len() < ROOM {
            self.parts.insert(number, part);
        }
        let mut asked = false;
        loop {
            if self.next.is_none() || self.needs_key {
                // Begin, or begin again, at a keyframe; what is before it is of no use.
                let Some(start) = self.parts.iter().find(|(_, p)| begins_key(&p.payload)).map(|(n, _)| *n) else { return asked };
                self.parts = self.parts.split_off(&start);
                self.next = Some(start);
                self.needs_key = false;
                self.waiting_since = None;
            }
            let Some(next) = self.next else { return asked };
            let end = (next..).map_while(|n| self.parts.get(&n).map(|p| (n, p.marker))).find(|(_, marker)| *marker).map(|(n, _)| n);
            if let Some(end) = end {
                let after = self.parts.split_off(&(end + 1));
                let unit = std::mem::replace(&mut self.parts, after);
                self.next = Some(end + 1);
                self.waiting_since = None;
                out.extend(assemble(unit));
                continue;
            }
            // Not whole: because it is still coming, or because a packet before later ones is missing.
            let whole_until = (next..).find(|n| !self.parts.contains_key(n)).unwrap_or(next);
            if self.newest <= whole_until {
                self.waiting_since = None;
                return asked;
            }
            if now.saturating_duration_since(*self.waiting_since.get_or_insert(now)) < PATIENCE {
                return asked;
            }
            let keep = whole_until;
            self.parts = self.parts.split_off(&keep);
            self.needs_key = true;
            self.waiting_since = None;
            out.push(Received::Gap);
            asked = true;
        }
    }
}

fn assemble(unit: BTreeMap<u64, Part>) -> Option<Received> {
    let mut depacketizer = H264Packet::default();
    let mut data = Vec::new();
    let first = unit.values().next()?;
    let timestamp = first.timestamp;
    let first_at = unit.values().map(|p| p.at).min()?;
    let last_at = unit.values().map(|p| p.at).max()?;
    for part in unit.values() {
        data.extend_from_slice(&depacketizer.depacketize(&part.payload).ok()?);
    }
    Some(Received::Picture { data: data.into(), timestamp, first_at, last_at })
}

struct Watcher {
    gathered: watch::Sender<bool>,
    out: mpsc::UnboundedSender<Received>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Watcher {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        if state == RTCIceGatheringState::Complete {
            self.gathered.send_replace(true);
        }
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if state == RTCPeerConnectionState::Connected {
            let _ = self.out.send(Received::Connected);
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let is_video = track.kind().await == RtpCodecKind::Video;
        let out = self.out.clone();
        tokio::spawn(async move {
            let mut assembler = Assembler::default();
            let mut whole = Vec::new();
            while let Some(event) = track.poll().await {
                let TrackRemoteEvent::OnRtpPacket(packet) = event else { continue };
                let at = Instant::now();
                let ::rtc::rtp::Packet { header, payload } = packet;
                if payload.is_empty() {
                    continue;
                }
                if !is_video {
                    let _ = out.send(Received::Sound { data: payload, timestamp: header.timestamp, at });
                    continue;
                }
                let part = Part { payload, timestamp: header.timestamp, marker: header.marker, at };
                if assembler.push(header.sequence_number, part, &mut whole) {
                    let request = PictureLossIndication { sender_ssrc: 0, media_ssrc: header.ssrc };
                    let _ = track.write_rtcp(vec![Box::new(request)]).await;
                }
                for item in whole.drain(..) {
                    let _ = out.send(item);
                }
            }
        });
    }
}

/// A viewer that has offered and may take an answer.
pub struct Client {
    connection: Arc<dyn PeerConnection>,
    pub offer: String,
}

fn feedback(kind: &str, parameter: &str) -> RTCPFeedback {
    RTCPFeedback { typ: kind.into(), parameter: parameter.into() }
}

impl Client {
    /// Opens a socket on loopback and makes an offer to receive H.264 and Opus. What comes goes to the receiver, which
    /// must be read: it has no bound, so that the instrument never slows what it measures.
    ///
    /// # Errors
    /// If no socket can be had.
    pub async fn offer() -> Result<(Self, mpsc::UnboundedReceiver<Received>), RtcError> {
        let mut media = MediaEngine::default();
        let h264 = RTCRtpCodecParameters {
            rtp_codec: RTCRtpCodec {
                mime_type: MIME_TYPE_H264.to_owned(),
                clock_rate: 90_000,
                channels: 0,
                sdp_fmtp_line: "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f".into(),
                rtcp_feedback: vec![feedback("nack", ""), feedback("nack", "pli"), feedback("transport-cc", "")],
            },
            payload_type: 102,
        };
        media.register_codec(h264, RtpCodecKind::Video).map_err(RtcError::engine)?;
        media.register_codec(opus_codec(), RtpCodecKind::Audio).map_err(RtcError::engine)?;
        let extension = RTCRtpHeaderExtensionCapability { uri: "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay".into() };
        media.register_header_extension(extension, RtpCodecKind::Video, None).map_err(RtcError::engine)?;
        let registry = register_default_interceptors(Registry::new(), &mut media).map_err(RtcError::engine)?;
        let settings = SettingEngineBuilder::new()
            .with_multicast_dns_mode(::rtc::ice::mdns::MulticastDnsMode::Disabled)
            .with_include_loopback_candidate(true)
            .build();
        let (gathered_in, mut gathered) = watch::channel(false);
        let (out, received) = mpsc::unbounded_channel();
        let connection = PeerConnectionBuilder::new()
            .with_media_engine(media)
            .with_setting_engine(settings)
            .with_interceptor_registry(registry)
            .with_handler(Arc::new(Watcher { gathered: gathered_in, out }))
            .with_udp_addrs(vec![std::net::SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0).to_string()])
            .build()
            .await
            .map_err(RtcError::engine)?;
        let connection: Arc<dyn PeerConnection> = Arc::new(connection);
        for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
            let init = RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, streams: vec![], send_encodings: vec![] };
            connection.add_transceiver_from_kind(kind, Some(init)).await.map_err(RtcError::engine)?;
        }
        let offer = connection.create_offer(None).await.map_err(RtcError::engine)?;
        connection.set_local_description(offer).await.map_err(RtcError::engine)?;
        let _ = tokio::time::timeout(Duration::from_secs(3), gathered.wait_for(|done| *done)).await;
        let offer = connection.local_description().await.ok_or_else(|| RtcError::Engine("no local description".into()))?.sdp;
        Ok((Self { connection, offer }, received))
    }

    /// # Errors
    /// If it is no answer to this offer.
    pub async fn accept(&self, answer: String) -> Result<(), RtcError> {
        let answer = RTCSessionDescription::answer(answer).map_err(RtcError::engine)?;
        self.connection.set_remote_description(answer).await.map_err(RtcError::engine)
    }

    pub async fn close(&self) {
        let _ = tokio::time::timeout(Duration::from_secs(2), self.connection.close()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// Access units of three packets each; the first is a keyframe.
    fn stream(units: u16) -> VecDeque<(u16, Part)> {
        (0..units * 3)
            .map(|n| {
                let nal = if n < 3 { 0x65 } else { 0x41 };
                let payload = Bytes::from(vec![nal, n as u8, 1, 2]);
                (65_530u16.wrapping_add(n), Part { payload, timestamp: u32::from(n / 3) * 3000, marker: n % 3 == 2, at: Instant::now() })
            })
            .collect()
    }

    fn timestamps(out: &[Received]) -> Vec<u32> {
        out.iter().filter_map(|r| if let Received::Picture { timestamp, .. } = r { Some(*timestamp / 3000) } else { None }).collect()
    }

    #[test]
    fn units_come_whole_and_in_order_though_packets_do_not_and_numbers_wrap() {
        let mut assembler = Assembler::default();
        let mut out = Vec::new();
        let mut packets = stream(6);
        packets.make_contiguous()[4..].chunks_mut(2).for_each(|c| c.reverse());
        for (sequence, part) in packets {
            assert!(!assembler.push(sequence, part, &mut out));
        }
        assert_eq!(timestamps(&out), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_lost_packet_is_waited_for_then_given_up_and_a_keyframe_asked_for() {
        let start = Instant::now();
        let mut assembler = Assembler::default();
        let mut out = Vec::new();
        let mut asked = 0;
        for (n, (sequence, mut part)) in stream(60).into_iter().enumerate() {
            part.at = start + Duration::from_millis(n as u64 * 11);
            if n == 7 {
                continue;
            }
            if n == 150 {
                part.payload = Bytes::from_static(&[0x65, 1, 2, 3]);
            }
            asked += u32::from(assembler.push(sequence, part, &mut out));
        }
        assert_eq!(asked, 1);
        let seen = timestamps(&out);
        assert_eq!(seen[..2], [0, 1]);
        assert_eq!(seen[2..], (50..60).collect::<Vec<u32>>());
        assert_eq!(out.iter().filter(|r| matches!(r, Received::Gap)).count(), 1);
    }

    #[test]
    fn a_retransmission_in_time_fills_its_place() {
        let mut assembler = Assembler::default();
        let mut out = Vec::new();
        let mut packets = stream(5);
        let late = packets.remove(7).unwrap();
        packets.push_back(late);
        for (sequence, part) in packets {
            assert!(!assembler.push(sequence, part, &mut out));
        }
        assert_eq!(timestamps(&out), [0, 1, 2, 3, 4]);
    }
}
