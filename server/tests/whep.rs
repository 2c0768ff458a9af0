//! A WHEP viewer and a WHIP sender on loopback, as WebRTC peers of their own: what arrives, when, and in which order.

mod common;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ::rtc::interceptor::{Attribute, Interceptor, Packet, Registry, Slot, StreamInfo, TaggedPacket};
use ::rtc::media_stream::MediaStreamTrack;
use ::rtc::peer_connection::configuration::interceptor_registry::register_default_interceptors;
use ::rtc::peer_connection::configuration::media_engine::MediaEngine;
use ::rtc::peer_connection::configuration::setting_engine::SettingEngineBuilder;
use ::rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use ::rtc::rtcp::sender_report::SenderReport;
use ::rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RTCRtpHeaderExtensionCapability, RtpCodecKind};
use ::rtc::rtp_transceiver::{RTCRtpTransceiverDirection, RTCRtpTransceiverInit};
use ::rtc::sansio::Protocol;
use ::rtc::shared::error::Error;
use common::{Running, post, serve};
use odori_server::media::opus::{FRAME_SAMPLES, OpusDecoder, OpusEncoder};
use serde_json::{Value, json};
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_rtp::TrackLocalStaticRTP;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCIceGatheringState, RTCPeerConnectionState, RTCSessionDescription,
};

/// Lets every sender report through to the test.
#[derive(Default)]
struct Reports {
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for Reports {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;
    fn handle_read(&mut self, mut packet: TaggedPacket) -> Result<(), Error> {
        if matches!(packet.message.packet, Packet::Rtcp(_)) {
            packet.message.add(Attribute::DeliverToApplication);
        }
        self.read.push_back(packet);
        Ok(())
    }
    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }
    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        self.write.push_back(packet);
        Ok(())
    }
    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.write.pop_front()
    }
}

impl Interceptor for Reports {
    fn bind_local_stream(&mut self, _: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _: &StreamInfo) {}
}

#[derive(Clone, Debug)]
struct Arrived {
    at: Instant,
    timestamp: u32,
    marker: bool,
    payload: bytes::Bytes,
    extensions: usize,
}

#[derive(Default)]
struct Seen {
    video: Vec<Arrived>,
    audio: Vec<Arrived>,
    reports: Vec<SenderReport>,
    ssrcs: Vec<(RtpCodecKind, u32)>,
    state: Option<RTCPeerConnectionState>,
    gathered: bool,
    tracks: Vec<Arc<dyn TrackRemote>>,
}

#[derive(Clone, Default)]
struct Client {
    seen: Arc<Mutex<Seen>>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Client {
    async fn on_ice_gathering_state_change(&self, state: RTCIceGatheringState) {
        self.seen.lock().unwrap().gathered |= state == RTCIceGatheringState::Complete;
    }

    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        self.seen.lock().unwrap().state = Some(state);
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let kind = track.kind().await;
        self.seen.lock().unwrap().tracks.push(track.clone());
        let seen = self.seen.clone();
        tokio::spawn(async move {
            while let Some(event) = track.poll().await {
                let mut seen = seen.lock().unwrap();
                match event {
                    TrackRemoteEvent::OnRtpPacket(p) => {
                        let arrived = Arrived {
                            at: Instant::now(),
                            timestamp: p.header.timestamp,
                            marker: p.header.marker,
                            extensions: p.header.extensions.len(),
                            payload: p.payload,
                        };
                        if !seen.ssrcs.contains(&(kind, p.header.ssrc)) {
                            seen.ssrcs.push((kind, p.header.ssrc));
                        }
                        if kind == RtpCodecKind::Video { seen.video.push(arrived) } else { seen.audio.push(arrived) }
                    }
                    TrackRemoteEvent::OnRtcpPacket(packets) => {
                        for packet in packets {
                            if let Some(report) = packet.as_any().downcast_ref::<SenderReport>() {
                                seen.reports.push(report.clone());
                            }
                        }
                    }
                    _ => {}
                }
            }
        });
    }
}

async fn until(what: &str, limit: Duration, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < limit, "{what} did not happen in {limit:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn peer(client: &Client) -> Arc<dyn PeerConnection> {
    let mut media = MediaEngine::default();
    media.register_default_codecs().unwrap();
    media
        .register_header_extension(
            RTCRtpHeaderExtensionCapability { uri: "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay".into() },
            RtpCodecKind::Video,
            None,
        )
        .unwrap();
    let registry = register_default_interceptors(Registry::new(), &mut media).unwrap().with(Slot::from(60_000), Reports::default());
    let settings = SettingEngineBuilder::new()
        .with_multicast_dns_mode(::rtc::ice::mdns::MulticastDnsMode::Disabled)
        .with_include_loopback_candidate(true)
        .build();
    let built = PeerConnectionBuilder::new()
        .with_media_engine(media)
        .with_interceptor_registry(registry)
        .with_setting_engine(settings)
        .with_handler(Arc::new(client.clone()))
        .with_udp_addrs(vec!["127.0.0.1:0".to_owned()])
        .build()
        .await
        .unwrap();
    Arc::new(built)
}

/// Offers, posts, takes the answer; gives the Location.
async fn connect(client: &Client, pc: &Arc<dyn PeerConnection>, url: &str) -> String {
    let offer = pc.create_offer(None).await.unwrap();
    pc.set_local_description(offer).await.unwrap();
    until("gathering", Duration::from_secs(3), || client.seen.lock().unwrap().gathered).await;
    let sdp = pc.local_description().await.unwrap().sdp;
    let response = reqwest::Client::new().post(url).header("content-type", "application/sdp").body(sdp).send().await.unwrap();
    let status = response.status();
    let location = response.headers().get("location").map(|l| l.to_str().unwrap().to_owned());
    assert!(response.headers().contains_key("etag"));
    let answer = response.text().await.unwrap();
    assert_eq!(status, 201, "{answer}");
    assert!(answer.contains("a=setup:passive"), "{answer}");
    assert!(!answer.contains(".local"), "{answer}");
    assert!(answer.len() < 8192, "FFmpeg reads no more");
    pc.set_remote_description(RTCSessionDescription::answer(answer).unwrap()).await.unwrap();
    location.unwrap()
}

struct Watching {
    client: Client,
    pc: Arc<dyn PeerConnection>,
    location: String,
}

async fn watch(server: &Running, session: &Value, query: &str) -> Watching {
    let client = Client::default();
    let pc = peer(&client).await;
    for kind in [RtpCodecKind::Video, RtpCodecKind::Audio] {
        let init = RTCRtpTransceiverInit { direction: RTCRtpTransceiverDirection::Recvonly, streams: vec![], send_encodings: vec![] };
        pc.add_transceiver_from_kind(kind, Some(init)).await.unwrap();
    }
    let location = connect(&client, &pc, &format!("{}{}{query}", server.base, session["whep"].as_str().unwrap())).await;
    Watching { client, pc, location }
}

/// Whether a packet begins an H.264 keyframe: STAP-A with parameter sets, or an IDR slice.
fn begins_key(payload: &[u8]) -> bool {
    match payload[0] & 31 {
        24 => payload[3] & 31 == 7,
        5 => true,
        28 => payload[1] & 0x9f == 0x85,
        _ => false,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewer_gets_picture_and_sound_on_one_clock() {
    let server = serve(&[]).await;
    let session = post(&format!("{}/api/sessions", server.base), json!({}), 201).await;
    let url = format!("{}/api/sessions/{}", server.base, session["id"].as_str().unwrap());
    let viewer = watch(&server, &session, "").await;
    post(&format!("{url}/start"), json!({}), 200).await;
    let seen = viewer.client.seen.clone();
    until("the first picture", Duration::from_secs(5), || !seen.lock().unwrap().video.is_empty()).await;
    tokio::time::sleep(Duration::from_secs(3)).await;

    let (video, audio, reports, ssrcs) = {
        let seen = seen.lock().unwrap();
        (seen.video.clone(), seen.audio.clone(), seen.reports.clone(), seen.ssrcs.clone())
    };
    assert!(begins_key(&video[0].payload), "the first packet begins a keyframe");
    assert!(video[0].extensions > 0, "playout delay is stated");
    let frames: Vec<&Arrived> = video.iter().filter(|p| p.marker).collect();
    assert!((80..=105).contains(&frames.len()), "{} frames in 3 s", frames.len());
    assert!(frames.windows(2).all(|w| w[1].timestamp.wrapping_sub(w[0].timestamp).is_multiple_of(3000)), "30 Hz on the 90 kHz clock");
    assert!((130..=175).contains(&audio.len()), "{} packets of sound in 3 s", audio.len());
    assert!(audio.windows(2).all(|w| w[1].timestamp.wrapping_sub(w[0].timestamp) == 960), "20 ms on the 48 kHz clock");

    // What the sender reports say about the two streams is one clock: a frame and the packet of the same instant
    // of media are at the same wall time, within a packet.
    let report = |kind| {
        let ssrc = ssrcs.iter().find(|(k, _)| *k == kind).unwrap().1;
        reports.iter().rfind(|r| r.ssrc == ssrc).unwrap().clone()
    };
    let (of_video, of_audio) = (report(RtpCodecKind::Video), report(RtpCodecKind::Audio));
    let wall = |r: &SenderReport, timestamp: u32, rate: f64| {
        r.ntp_time as f64 / 2f64.powi(32) + f64::from(timestamp.wrapping_sub(r.rtp_time) as i32) / rate
    };
    // Both leave soon after their sound, a file's sound ahead of its picture by what a browser holds it longer: by the
    // reports' clock, media and arrival keep a steady small distance.
    let start = frames[0].at;
    let lag = |r: &SenderReport, p: &Arrived, rate: f64| (p.at - start).as_secs_f64() - wall(r, p.timestamp, rate);
    let median = |mut x: Vec<f64>| {
        x.sort_by(f64::total_cmp);
        x[x.len() / 2]
    };
    let skew = median(frames.iter().map(|p| lag(&of_video, p, 90_000.0)).collect())
        - median(audio.iter().filter(|p| p.at > start).map(|p| lag(&of_audio, p, 48_000.0)).collect());
    assert!((0.01..0.075).contains(&skew), "the picture leaves {skew} s after its sound");

    // The sound is the song's: a sine of 440 Hz.
    let mut decoder = OpusDecoder::new().unwrap();
    let mut left: Vec<f32> = Vec::new();
    for packet in &audio {
        left.extend(decoder.decode(&packet.payload).unwrap().iter().step_by(2));
    }
    let steady = &left[left.len() - 48_000..];
    let crossings = steady.windows(2).filter(|w| w[0] < 0.0 && w[1] >= 0.0).count();
    assert!(crossings.abs_diff(440) <= 2, "{crossings} Hz");
    viewer.pc.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keyframe_comes_when_asked_for_and_a_viewer_leaves_without_a_trace() {
    let server = serve(&[]).await;
    let session = post(&format!("{}/api/sessions", server.base), json!({}), 201).await;
    let url = format!("{}/api/sessions/{}", server.base, session["id"].as_str().unwrap());
    post(&format!("{url}/start"), json!({}), 200).await;
    let viewer = watch(&server, &session, "?alpha=packed").await;
    let seen = viewer.client.seen.clone();
    until("the first picture", Duration::from_secs(5), || !seen.lock().unwrap().video.is_empty()).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    let (before, track, ssrc) = {
        let seen = seen.lock().unwrap();
        let ssrc = seen.ssrcs.iter().find(|(k, _)| *k == RtpCodecKind::Video).unwrap().1;
        (seen.video.len(), seen.tracks.clone(), ssrc)
    };
    let mut keys: Vec<u32> = seen.lock().unwrap().video.iter().filter(|p| begins_key(&p.payload)).map(|p| p.timestamp).collect();
    keys.dedup();
    assert_eq!(keys.len(), 1, "one keyframe, at the start");
    for track in track {
        if track.kind().await == RtpCodecKind::Video {
            track.write_rtcp(vec![Box::new(PictureLossIndication { sender_ssrc: 0, media_ssrc: ssrc })]).await.unwrap();
        }
    }
    until("the keyframe asked for", Duration::from_secs(2), || {
        seen.lock().unwrap().video[before..].iter().any(|p| begins_key(&p.payload))
    })
    .await;

    let client = reqwest::Client::new();
    let fragment = "a=ice-ufrag:x\r\na=mid:0\r\na=candidate:1 1 udp 2130706431 127.0.0.1 9 typ host\r\n";
    let at = format!("{}{}", server.base, viewer.location);
    let trickled = client.patch(&at).header("content-type", "application/trickle-ice-sdpfrag").body(fragment).send().await.unwrap();
    assert_eq!(trickled.status(), 204);
    let report = |body: Value| client.post(format!("{at}/report")).json(&body).send();
    let timestamp = seen.lock().unwrap().video.last().unwrap().timestamp;
    assert_eq!(report(json!({"frames": [{"rtp": timestamp, "shown_after_ms": 12.0}], "av_skew_ms": null})).await.unwrap().status(), 204);
    for bad in [json!({}), json!({"frames": [{"rtp": -1, "shown_after_ms": 1}]}), json!({"frames": [{"rtp": 1, "shown_after_ms": 1e9}]})] {
        let refused = report(bad).await.unwrap();
        assert_eq!(refused.status(), 400);
        assert!(refused.json::<Value>().await.unwrap()["error"].is_string());
    }
    assert_eq!(client.delete(&at).send().await.unwrap().status(), 200);
    assert_eq!(client.delete(&at).send().await.unwrap().status(), 404);
    assert_eq!(report(json!({"frames": []})).await.unwrap().status(), 404);
    let view: Value = client.get(&url).send().await.unwrap().json().await.unwrap();
    assert_eq!((view["viewers"].as_u64(), view["state"].as_str()), (Some(0), Some("live")));
}

#[tokio::test(flavor = "multi_thread")]
async fn vp8_is_sent_when_asked_for_and_what_cannot_be_is_refused() {
    let server = serve(&[]).await;
    let session = post(&format!("{}/api/sessions", server.base), json!({}), 201).await;
    post(&format!("{}/api/sessions/{}/start", server.base, session["id"].as_str().unwrap()), json!({}), 200).await;
    let viewer = watch(&server, &session, "?codec=vp8").await;
    let seen = viewer.client.seen.clone();
    until("the first picture", Duration::from_secs(5), || !seen.lock().unwrap().video.is_empty()).await;
    let whep = format!("{}{}", server.base, session["whep"].as_str().unwrap());
    let client = reqwest::Client::new();
    let offer = |body: String, kind: &'static str| client.post(&whep).header("content-type", kind).body(body).send();
    assert_eq!(offer("hello".into(), "application/sdp").await.unwrap().status(), 400);
    assert_eq!(offer("v=0".into(), "text/plain").await.unwrap().status(), 415);
    assert_eq!(offer("x".repeat(70_000), "application/sdp").await.unwrap().status(), 413);
    let av1 = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=fingerprint:sha-256 00\r\n\
               m=video 9 UDP/TLS/RTP/SAVPF 45\r\na=rtpmap:45 AV1/90000\r\na=recvonly\r\n";
    let refused = offer(av1.into(), "application/sdp").await.unwrap();
    assert_eq!(refused.status(), 406);
    assert!(refused.text().await.unwrap().contains("AV1"));
    assert_eq!(client.post(format!("{}/whep/none", server.base)).header("content-type", "application/sdp").body("v=0").send().await.unwrap().status(), 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn sound_sent_by_whip_is_danced_to_and_heard() {
    let server = serve(&[]).await;
    let session = post(&format!("{}/api/sessions", server.base), json!({}), 201).await;
    let url = format!("{}/api/sessions/{}", server.base, session["id"].as_str().unwrap());
    let client = Client::default();
    let pc = peer(&client).await;
    let codec = RTCRtpCodec { mime_type: "audio/opus".into(), clock_rate: 48_000, channels: 2, sdp_fmtp_line: "minptime=10;useinbandfec=1".into(), rtcp_feedback: vec![] };
    let encoding = RTCRtpEncodingParameters {
        rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(77), ..Default::default() },
        codec,
        ..Default::default()
    };
    let track = Arc::new(TrackLocalStaticRTP::new(MediaStreamTrack::new("s".into(), "a".into(), "a".into(), RtpCodecKind::Audio, vec![encoding])));
    let sender = pc.add_track(track.clone() as Arc<dyn TrackLocal>).await.unwrap();
    let whip = format!("{}{}", server.base, session["whip"].as_str().unwrap());
    let location = connect(&client, &pc, &whip).await;
    until("the connection", Duration::from_secs(5), || client.seen.lock().unwrap().state == Some(RTCPeerConnectionState::Connected)).await;
    let payload_type = sender.get_parameters().await.unwrap().rtp_parameters.codecs[0].payload_type;
    let playing = tokio::spawn(async move {
        let mut encoder = OpusEncoder::new().unwrap();
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        for n in 0..u16::MAX {
            ticks.tick().await;
            let block: Vec<f32> = (0..FRAME_SAMPLES * 2)
                .map(|i| (0.4 * (std::f64::consts::TAU * 330.0 * (usize::from(n) * FRAME_SAMPLES + i / 2) as f64 / 48_000.0).sin()) as f32)
                .collect();
            let header = ::rtc::rtp::header::Header {
                version: 2,
                payload_type,
                sequence_number: n,
                timestamp: u32::from(n) * 960,
                ssrc: 77,
                ..Default::default()
            };
            let payload = encoder.encode(&block).unwrap().into();
            if track.write_rtp(::rtc::rtp::Packet { header, payload }).await.is_err() {
                return;
            }
        }
    });
    post(&format!("{url}/start"), json!({}), 200).await;
    let viewer = watch(&server, &session, "").await;
    let seen = viewer.client.seen.clone();
    until("two seconds of sound", Duration::from_secs(8), || seen.lock().unwrap().audio.len() > 120).await;
    let audio = seen.lock().unwrap().audio.clone();
    let mut decoder = OpusDecoder::new().unwrap();
    let mut left: Vec<f32> = Vec::new();
    for packet in &audio {
        left.extend(decoder.decode(&packet.payload).unwrap().iter().step_by(2));
    }
    // A loaded machine may leave gaps, so it is the tone's share of the power that counts.
    let steady = &left[left.len() - 48_000..];
    let power = steady.iter().map(|x| f64::from(x * x)).sum::<f64>();
    let tone: f64 = steady
        .chunks_exact(4800)
        .map(|block| {
            let (re, im) = block.iter().enumerate().fold((0.0, 0.0), |(re, im), (i, x)| {
                let angle = std::f64::consts::TAU * 330.0 * i as f64 / 48_000.0;
                (re + f64::from(*x) * angle.cos(), im + f64::from(*x) * angle.sin())
            });
            (re * re + im * im) * 2.0 / block.len() as f64
        })
        .sum();
    assert!(power > 500.0 && tone > 0.6 * power, "the tone is {} of a power of {power}", tone / power);
    let view: Value = reqwest::get(&url).await.unwrap().json().await.unwrap();
    assert_eq!(view["source"]["kind"], "live");
    let busy = reqwest::Client::new().post(&whip).header("content-type", "application/sdp").body("v=0").send().await.unwrap();
    assert_eq!(busy.status(), 409);
    assert_eq!(reqwest::Client::new().delete(format!("{}{location}", server.base)).send().await.unwrap().status(), 200);
    playing.abort();
}
