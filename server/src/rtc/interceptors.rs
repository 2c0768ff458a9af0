//! Our own links in the RTP chain: keyframe requests come up to us, sender reports follow the media clock, the
//! bandwidth estimate becomes readable. No pacer: it was measured to add half a second under loss.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use ::rtc::interceptor::{Attribute, AttributedPacket, BandwidthEstimator, EstimatorStats, Gcc, Interceptor, Packet, PacketReport, StreamInfo, TaggedPacket};
use ::rtc::rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use ::rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use ::rtc::rtcp::receiver_report::ReceiverReport;
use ::rtc::rtcp::reception_report::ReceptionReport;
use ::rtc::rtcp::sender_report::SenderReport;
use ::rtc::sansio::Protocol;
use ::rtc::shared::TransportContext;
use ::rtc::shared::error::Error;
use ::rtc::shared::time::SystemInstant;

use crate::clock::{MediaClock, rtp_timestamp};

const REPORT_EVERY: Duration = Duration::from_secs(1);
/// The first report comes soon: until it does, a browser cannot put sound and picture together.
const FIRST_REPORT_AFTER: Duration = Duration::from_millis(60);

/// A local stream as sender reports see it.
#[derive(Clone, Copy, Debug)]
pub struct ReportedStream {
    pub ssrc: u32,
    pub rate_hz: u32,
    /// RTP timestamp of media sample 0.
    pub offset: u32,
}

#[derive(Default)]
struct Counted {
    packets: u32,
    octets: u32,
}

/// What a receiver reported of the way to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PathReport {
    /// Zero until it has answered a sender report.
    pub round_trip: Duration,
    pub jitter: Duration,
    /// Share of packets lost since the report before, 0 to 1.
    pub loss: f32,
}

/// The newest report of a receiver, for a reader outside the chain.
#[derive(Debug, Default)]
pub struct SharedPath {
    round_trip_us: AtomicU32,
    jitter_us: AtomicU32,
    loss_bits: AtomicU32,
    fresh: AtomicBool,
}

impl SharedPath {
    fn put(&self, report: PathReport) {
        self.round_trip_us.store(report.round_trip.as_micros() as u32, Ordering::Relaxed);
        self.jitter_us.store(report.jitter.as_micros() as u32, Ordering::Relaxed);
        self.loss_bits.store(report.loss.to_bits(), Ordering::Relaxed);
        self.fresh.store(true, Ordering::Release);
    }

    /// The newest report, once.
    pub fn take(&self) -> Option<PathReport> {
        let micros = |of: &AtomicU32| Duration::from_micros(u64::from(of.load(Ordering::Relaxed)));
        self.fresh.swap(false, Ordering::Acquire).then(|| PathReport {
            round_trip: micros(&self.round_trip_us),
            jitter: micros(&self.jitter_us),
            loss: f32::from_bits(self.loss_bits.load(Ordering::Relaxed)),
        })
    }
}

/// RFC 3550, section 6.4.1: what is left of the time since our report when the peer's own delay is taken off. `now` is
/// the middle 32 bits of NTP time. Zero if it answers no report, or one of another age.
fn round_trip(now: u32, report: &ReceptionReport) -> Duration {
    let passed = now.wrapping_sub(report.last_sender_report).wrapping_sub(report.delay);
    // A minute; a clock that was set, or a peer that makes things up, gives more.
    if report.last_sender_report == 0 || passed > 60 << 16 { Duration::ZERO } else { Duration::from_secs_f64(f64::from(passed) / 65536.0) }
}

/// Sends RTCP sender reports in which every stream of a session shows the same instant: wall clock and RTP time are
/// both taken from the media clock at the moment of the report, however late a picture was made.
pub struct ClockReports {
    clock: Arc<MediaClock>,
    streams: Vec<(ReportedStream, Counted)>,
    path: Arc<SharedPath>,
    wall: Option<SystemInstant>,
    next: Option<Instant>,
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

impl ClockReports {
    pub fn new(clock: Arc<MediaClock>, streams: Vec<ReportedStream>) -> Self {
        let streams = streams.into_iter().map(|s| (s, Counted::default())).collect();
        Self { clock, streams, path: Arc::default(), wall: None, next: None, read: VecDeque::new(), write: VecDeque::new() }
    }
}

impl ClockReports {
    /// What the receiver reports of its first stream.
    pub fn path(&self) -> Arc<SharedPath> {
        self.path.clone()
    }

    fn hear(&self, now: Instant, report: &ReceptionReport) {
        let Some((first, _)) = self.streams.first() else { return };
        if report.ssrc == first.ssrc {
            let now = self.wall.map_or(0, |wall| (wall.ntp(now) >> 16) as u32);
            self.path.put(PathReport {
                round_trip: round_trip(now, report),
                jitter: Duration::from_secs_f64(f64::from(report.jitter) / f64::from(first.rate_hz)),
                loss: f32::from(report.fraction_lost) / 256.0,
            });
        }
    }
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for ClockReports {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(reports) = &packet.message.packet {
            for report in reports.iter().filter_map(|r| r.as_any().downcast_ref::<ReceiverReport>()).flat_map(|r| &r.reports) {
                self.hear(packet.now, report);
            }
        }
        self.read.push_back(packet);
        Ok(())
    }

    fn poll_read(&mut self) -> Option<TaggedPacket> {
        self.read.pop_front()
    }

    fn handle_write(&mut self, packet: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtp(rtp) = &packet.message.packet
            && let Some((_, counted)) = self.streams.iter_mut().find(|(s, _)| s.ssrc == rtp.header.ssrc)
        {
            counted.packets = counted.packets.wrapping_add(1);
            counted.octets = counted.octets.wrapping_add(rtp.payload.len() as u32);
            self.next.get_or_insert(packet.now + FIRST_REPORT_AFTER);
        }
        self.write.push_back(packet);
        Ok(())
    }

    fn poll_write(&mut self) -> Option<TaggedPacket> {
        self.write.pop_front()
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        if self.next.is_none_or(|next| now < next) {
            return Ok(());
        }
        self.next = Some(now + REPORT_EVERY);
        let wall = *self.wall.get_or_insert_with(|| SystemInstant::now(now));
        let samples = self.clock.samples_at(now);
        for (stream, counted) in self.streams.iter().filter(|(_, c)| c.packets > 0) {
            let report = SenderReport {
                ssrc: stream.ssrc,
                ntp_time: wall.ntp(now),
                rtp_time: rtp_timestamp(samples, stream.rate_hz, stream.offset),
                packet_count: counted.packets,
                octet_count: counted.octets,
                ..SenderReport::default()
            };
            self.write.push_back(TaggedPacket {
                now,
                transport: TransportContext::default(),
                message: AttributedPacket::new(Packet::Rtcp(vec![Box::new(report)])),
            });
        }
        Ok(())
    }

    fn poll_timeout(&mut self) -> Option<Instant> {
        self.next
    }
}

impl Interceptor for ClockReports {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}

/// Marks PLI and FIR for the application; all other RTCP is for the interceptors before it.
#[derive(Default)]
pub struct KeyframeRequests {
    read: VecDeque<TaggedPacket>,
    write: VecDeque<TaggedPacket>,
}

impl Protocol<TaggedPacket, TaggedPacket, ()> for KeyframeRequests {
    type Rout = TaggedPacket;
    type Wout = TaggedPacket;
    type Eout = ();
    type Error = Error;
    type Time = Instant;

    fn handle_read(&mut self, mut packet: TaggedPacket) -> Result<(), Error> {
        if let Packet::Rtcp(reports) = &mut packet.message.packet {
            reports.retain(|r| r.as_any().is::<PictureLossIndication>() || r.as_any().is::<FullIntraRequest>());
            if reports.is_empty() {
                return Ok(());
            }
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

impl Interceptor for KeyframeRequests {
    fn bind_local_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_local_stream(&mut self, _info: &StreamInfo) {}
    fn bind_remote_stream(&mut self, _info: &StreamInfo) {}
    fn unbind_remote_stream(&mut self, _info: &StreamInfo) {}
}

/// Google congestion control whose estimate can be read from outside the chain.
pub struct SharedEstimate {
    inner: Gcc,
    bits_per_second: Arc<AtomicU32>,
}

impl SharedEstimate {
    pub fn new(initial_bps: u32, min_bps: u32, max_bps: u32) -> (Self, Arc<AtomicU32>) {
        let shared = Arc::new(AtomicU32::new(initial_bps));
        let inner = Gcc::new(f64::from(initial_bps), f64::from(min_bps), f64::from(max_bps));
        (Self { inner, bits_per_second: shared.clone() }, shared)
    }

    fn publish(&self) {
        self.bits_per_second.store(self.inner.target_bitrate() as u32, Ordering::Relaxed);
    }
}

impl BandwidthEstimator for SharedEstimate {
    fn on_reports(&mut self, now: Instant, reports: &[PacketReport]) {
        self.inner.on_reports(now, reports);
        self.publish();
    }

    fn target_bitrate(&self) -> f64 {
        self.inner.target_bitrate()
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.inner.handle_timeout(now);
        self.publish();
    }

    fn poll_timeout(&self) -> Option<Instant> {
        self.inner.poll_timeout()
    }

    fn stats(&self) -> EstimatorStats {
        self.inner.stats()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtp(now: Instant, ssrc: u32) -> TaggedPacket {
        let header = ::rtc::rtp::header::Header { ssrc, ..Default::default() };
        let packet = ::rtc::rtp::Packet { header, payload: bytes::Bytes::from_static(&[1, 2, 3]) };
        TaggedPacket { now, transport: TransportContext::default(), message: AttributedPacket::new(Packet::Rtp(packet)) }
    }

    #[test]
    fn reports_of_both_streams_show_one_instant_however_late_the_picture() {
        let start = Instant::now();
        let streams = vec![ReportedStream { ssrc: 1, rate_hz: 48_000, offset: 5 }, ReportedStream { ssrc: 2, rate_hz: 90_000, offset: 9 }];
        let mut reports = ClockReports::new(Arc::new(MediaClock::new(start)), streams);
        reports.handle_write(rtp(start, 1)).unwrap();
        reports.handle_write(rtp(start + Duration::from_millis(40), 2)).unwrap();
        let at = start + Duration::from_millis(500);
        reports.handle_timeout(at).unwrap();
        let sent: Vec<SenderReport> = std::iter::from_fn(|| reports.poll_write())
            .filter_map(|p| match p.message.packet {
                Packet::Rtcp(r) => r[0].as_any().downcast_ref::<SenderReport>().cloned(),
                _ => None,
            })
            .collect();
        assert_eq!(sent.len(), 2);
        assert_eq!(sent[0].ntp_time, sent[1].ntp_time);
        assert_eq!((sent[0].rtp_time - 5, sent[1].rtp_time - 9), (24_000, 45_000));
        assert_eq!(sent[0].octet_count, 3);
    }

    #[test]
    fn a_receivers_report_tells_round_trip_jitter_and_loss_once() {
        let start = Instant::now();
        let mut reports = ClockReports::new(Arc::new(MediaClock::new(start)), vec![ReportedStream { ssrc: 2, rate_hz: 90_000, offset: 9 }]);
        let path = reports.path();
        reports.handle_write(rtp(start, 2)).unwrap();
        let sent = start + Duration::from_millis(500);
        reports.handle_timeout(sent).unwrap();
        let wall = SystemInstant::now(sent);
        let heard = |ssrc, last_sender_report| {
            let report = ReceptionReport { ssrc, fraction_lost: 64, jitter: 900, last_sender_report, delay: 65536 / 4, ..Default::default() };
            let packet = Packet::Rtcp(vec![Box::new(ReceiverReport { reports: vec![report], ..Default::default() })]);
            TaggedPacket { now: sent + Duration::from_millis(290), transport: TransportContext::default(), message: AttributedPacket::new(packet) }
        };
        reports.handle_read(heard(77, 1)).unwrap();
        assert_eq!(path.take(), None, "another stream");
        reports.handle_read(heard(2, (wall.ntp(sent) >> 16) as u32)).unwrap();
        let report = path.take().unwrap();
        assert!(report.round_trip.abs_diff(Duration::from_millis(40)) < Duration::from_millis(2), "{report:?}");
        assert_eq!((report.jitter, report.loss), (Duration::from_millis(10), 0.25));
        assert_eq!(path.take(), None);
        reports.handle_read(heard(2, 0)).unwrap();
        assert_eq!(path.take().unwrap().round_trip, Duration::ZERO, "it has had no report of ours yet");
    }
}
