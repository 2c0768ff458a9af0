//! A session's viewers: who watches which variant, what waits for them, and what they ask for.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;

use super::queue::Lane;
use crate::measure::{Gauge, Meters, Smooth};
use crate::media::video::VideoCodec;
use crate::rtc::PathReport;

/// Encoded once for all who watch it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    pub codec: VideoCodec,
    pub packed: bool,
}

impl Variant {
    pub const ALL: [Variant; 4] = [
        Variant { codec: VideoCodec::H264, packed: false },
        Variant { codec: VideoCodec::Vp8, packed: false },
        Variant { codec: VideoCodec::H264, packed: true },
        Variant { codec: VideoCodec::Vp8, packed: true },
    ];
}

#[derive(Clone, Debug)]
pub struct EncodedPicture {
    pub data: Bytes,
    pub sample: u64,
    pub key: bool,
    pub encoded_at: Instant,
}

#[derive(Clone, Debug)]
pub struct EncodedSound {
    pub data: Bytes,
    pub sample: u64,
}

/// Pictures that may wait for one viewer.
const VIDEO_ROOM: usize = 2;
/// Sound packets that may wait: 200 ms.
const AUDIO_ROOM: usize = 10;

/// One viewer's place in the session.
#[derive(Debug)]
pub struct Viewer {
    pub id: String,
    pub variant: Variant,
    pub video: Lane<EncodedPicture>,
    pub audio: Lane<EncodedSound>,
    /// What its path is thought to carry.
    pub estimate_bps: Arc<AtomicU32>,
    connected: AtomicBool,
    /// It cannot decode anything but a keyframe.
    needs_key: AtomicBool,
    /// What RTCP and its page report of the way to its screen.
    pub round_trip_ms: Gauge,
    pub jitter_ms: Gauge,
    pub loss: Gauge,
    pub shown_after_ms: Smooth,
    pub skew_ms: Smooth,
    made: Instant,
    /// Milliseconds since it was made, plus one; 0 is never.
    reported_ms: AtomicU32,
}

impl Viewer {
    pub fn new(id: String, variant: Variant, estimate_bps: u32) -> Self {
        Self {
            id,
            variant,
            video: Lane::new(VIDEO_ROOM),
            audio: Lane::new(AUDIO_ROOM),
            estimate_bps: Arc::new(AtomicU32::new(estimate_bps)),
            connected: AtomicBool::new(false),
            needs_key: AtomicBool::new(true),
            round_trip_ms: Gauge::default(),
            jitter_ms: Gauge::default(),
            loss: Gauge::default(),
            shown_after_ms: Smooth::default(),
            skew_ms: Smooth::default(),
            made: Instant::now(),
            reported_ms: AtomicU32::new(0),
        }
    }

    /// Its receiver report came.
    pub fn heard_of_path(&self, path: &PathReport, meters: &Meters, now: Instant) {
        self.jitter_ms.set(path.jitter.as_secs_f32() * 1000.0);
        self.loss.set(path.loss);
        meters.jitter.record_duration(path.jitter);
        meters.loss.record((path.loss * 1e6) as i64);
        if !path.round_trip.is_zero() {
            self.round_trip_ms.set(path.round_trip.as_secs_f32() * 1000.0);
            meters.round_trip.record_duration(path.round_trip);
            self.reported(now);
        }
    }

    /// Its page, or RTCP, said something.
    pub fn reported(&self, now: Instant) {
        self.reported_ms.store(now.saturating_duration_since(self.made).as_millis() as u32 + 1, Ordering::Relaxed);
    }

    /// How long ago it last did.
    pub fn since_report(&self, now: Instant) -> Option<Duration> {
        let at = self.reported_ms.load(Ordering::Relaxed).checked_sub(1)?;
        Some(now.saturating_duration_since(self.made).saturating_sub(Duration::from_millis(u64::from(at))))
    }

    /// From now on it is sent to, beginning with a keyframe.
    pub fn connect(&self) {
        self.needs_key.store(true, Ordering::Release);
        self.connected.store(true, Ordering::Release);
    }

    /// Nothing is sent until it connects again.
    pub fn pause(&self) {
        self.connected.store(false, Ordering::Release);
        self.video.clear();
        self.audio.clear();
    }

    pub fn want_key(&self) {
        self.needs_key.store(true, Ordering::Release);
    }

    pub fn close(&self) {
        self.connected.store(false, Ordering::Release);
        self.video.close();
        self.audio.close();
    }

    fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }
}

/// Everyone who watches one session. The list is replaced when someone comes or goes, so that reading it, which the
/// session's threads do for every frame, takes no lock.
#[derive(Debug, Default)]
pub struct Viewers {
    all: ArcSwap<Vec<Arc<Viewer>>>,
}

/// What a variant's encoder must know before it encodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    pub keyframe: bool,
    /// The slowest path among its viewers.
    pub estimate_bps: u32,
}

impl Viewers {
    pub(super) fn list(&self) -> arc_swap::Guard<Arc<Vec<Arc<Viewer>>>> {
        self.all.load()
    }

    pub fn add(&self, viewer: Arc<Viewer>) {
        self.all.rcu(|all| all.iter().chain([&viewer]).cloned().collect::<Vec<_>>());
    }

    pub fn remove(&self, id: &str) -> Option<Arc<Viewer>> {
        let before = self.all.rcu(|all| all.iter().filter(|v| v.id != id).cloned().collect::<Vec<_>>());
        let viewer = before.iter().find(|v| v.id == id)?.clone();
        viewer.close();
        Some(viewer)
    }

    pub fn get(&self, id: &str) -> Option<Arc<Viewer>> {
        self.list().iter().find(|v| v.id == id).cloned()
    }

    pub fn count(&self) -> usize {
        self.list().len()
    }

    /// The worst of the ways to the viewers: round trip and jitter in milliseconds, and the share lost.
    pub fn worst_path(&self) -> [f32; 3] {
        self.list().iter().fold([0.0; 3], |[r, j, l], v| [v.round_trip_ms.get().max(r), v.jitter_ms.get().max(j), v.loss.get().max(l)])
    }

    /// The median of what viewers measure of picture against sound, if any does.
    pub fn skew_ms(&self) -> Option<f32> {
        let mut known: Vec<f32> = self.list().iter().filter(|v| v.skew_ms.known()).map(|v| v.skew_ms.get()).collect();
        known.sort_by(f32::total_cmp);
        known.get(known.len().saturating_sub(1) / 2).copied()
    }

    /// Whether anyone is connected.
    pub fn any(&self) -> bool {
        self.list().iter().any(|v| v.is_connected())
    }

    /// `None` when nobody watches the variant.
    pub fn demand(&self, variant: Variant) -> Option<Demand> {
        let list = self.list();
        let mut watching = list.iter().filter(|v| v.variant == variant && v.is_connected()).peekable();
        watching.peek()?;
        Some(watching.fold(Demand { keyframe: false, estimate_bps: u32::MAX }, |d, v| Demand {
            keyframe: d.keyframe || v.needs_key.load(Ordering::Acquire),
            estimate_bps: d.estimate_bps.min(v.estimate_bps.load(Ordering::Relaxed)),
        }))
    }

    /// Hands a picture to everyone on the variant; gives how many older ones were dropped. A viewer that lost one
    /// gets nothing until the next keyframe, which it thereby asks for.
    pub fn send_video(&self, variant: Variant, picture: &EncodedPicture) -> u64 {
        let list = self.list();
        let mut dropped = 0;
        for viewer in list.iter().filter(|v| v.variant == variant && v.is_connected()) {
            if picture.key {
                // What waits before a keyframe is of no more use.
                dropped += viewer.video.clear();
                viewer.needs_key.store(false, Ordering::Release);
            } else if viewer.needs_key.load(Ordering::Acquire) {
                continue;
            }
            let lost = viewer.video.push(picture.clone());
            if lost > 0 {
                dropped += lost + viewer.video.clear();
                viewer.needs_key.store(true, Ordering::Release);
            }
        }
        dropped as u64
    }

    /// Hands a sound packet to everyone; gives how many older ones were dropped.
    pub fn send_audio(&self, sound: &EncodedSound) -> u64 {
        self.list().iter().filter(|v| v.is_connected()).map(|v| v.audio.push(sound.clone()) as u64).sum()
    }

    pub fn close_all(&self) {
        for viewer in self.all.swap(Arc::default()).iter() {
            viewer.close();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(sample: u64, key: bool) -> EncodedPicture {
        EncodedPicture { data: Bytes::from_static(b"x"), sample, key, encoded_at: Instant::now() }
    }

    #[tokio::test]
    async fn a_viewer_begins_with_a_keyframe_and_after_a_drop_waits_for_one() {
        let variant = Variant::ALL[0];
        let viewers = Viewers::default();
        let viewer = Arc::new(Viewer::new("a".into(), variant, 1_000_000));
        viewers.add(viewer.clone());
        assert_eq!(viewers.demand(variant), None);
        viewer.connect();
        assert!(viewers.demand(variant).unwrap().keyframe);
        viewers.send_video(variant, &picture(0, false));
        viewers.send_video(variant, &picture(1, true));
        assert_eq!(viewer.video.next().await.unwrap().sample, 1);
        assert!(!viewers.demand(variant).unwrap().keyframe);
        let dropped: u64 = (2..5).map(|n| viewers.send_video(variant, &picture(n, false))).sum();
        assert_eq!(dropped, 3);
        assert!(viewers.demand(variant).unwrap().keyframe);
        viewers.send_video(variant, &picture(9, true));
        assert_eq!(viewer.video.next().await.unwrap().sample, 9);
        viewers.remove("a").unwrap();
        assert!(viewer.video.next().await.is_none());
        assert_eq!((viewers.count(), viewers.any()), (0, false));
    }
}
