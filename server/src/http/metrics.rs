//! The server's figures for Prometheus, in OpenMetrics text. All sessions together: a label for each would be a series for
//! each that ever was, and would tell their names.

use std::fmt::Error;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use odori_engine::ladder::Rung;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::{App, Fault};
use crate::clock::SAMPLE_RATE;
use crate::measure::{Cause, Histogram, Stage};
use crate::media::video::VideoCodec;

/// One reading of everything.
struct Scrape(App);

impl std::fmt::Debug for Scrape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Scrape")
    }
}

/// Writes whole families, each with its help and unit.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn gauge(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: f64) -> Result<(), Error> {
        self.0.encode_descriptor(name, help, unit, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counter(&mut self, name: &str, help: &str, unit: Option<&Unit>, value: f64) -> Result<(), Error> {
        self.0.encode_descriptor(name, help, unit, MetricType::Counter)?.encode_counter::<NoLabelSet, f64, f64>(&value, None)
    }

    fn counters<const N: usize, L: IntoIterator<Item = ([(&'static str, &'static str); N], f64)>>(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        values: L,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, unit, MetricType::Counter)?;
        for (labels, value) in values {
            family.encode_family(&labels)?.encode_counter::<NoLabelSet, f64, f64>(&value, None)?;
        }
        Ok(())
    }

    fn histogram(&mut self, name: &str, help: &str, unit: &Unit, histogram: &Histogram) -> Result<(), Error> {
        let (sum, count, buckets) = histogram.read();
        self.0.encode_descriptor(name, help, Some(unit), MetricType::Histogram)?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder) -> Result<(), Error> {
        let sessions = self.0.sessions.list();
        let statuses: Vec<_> = sessions.iter().map(|s| s.status()).collect();
        let live = || statuses.iter().filter(|s| s.state == "live");
        let meters = &self.0.sessions.shared.meters;
        let seconds = &Unit::Seconds;
        let mut page = Page(encoder);
        page.gauge("odori_sessions", "Sessions that exist.", None, sessions.len() as f64)?;
        page.gauge("odori_sessions_live", "Sessions that dance.", None, live().count() as f64)?;
        page.gauge("odori_sessions_capacity", "Sessions that may dance at once.", None, self.0.sessions.max_live() as f64)?;
        page.counter("odori_sessions_refused", "Starts that were refused for want of capacity.", None, meters.refused.load(Ordering::Relaxed) as f64)?;
        page.gauge("odori_viewers", "Viewers of all sessions.", None, statuses.iter().map(|s| s.viewers as f64).sum())?;
        page.gauge("odori_frame_rate", "Pictures a second that all sessions send.", None, live().map(|s| f64::from(s.fps)).sum())?;
        let per_second = Unit::Other("bits_per_second".into());
        let target = live().map(|s| f64::from(s.bitrate_kbps) * 1000.0).sum();
        page.gauge("odori_encoder_target", "What the encoders of all sessions are asked to keep to.", Some(&per_second), target)?;
        let bytes = [VideoCodec::H264, VideoCodec::Vp8].map(|c| ([("codec", c.name())], meters.encoded_bytes(c) as f64));
        page.counters("odori_encoded", "Video that the encoders gave.", Some(&Unit::Bytes), bytes)?;

        {
            let mut family = page.0.encode_descriptor("odori_stage_duration", "What a stage of a frame took.", Some(seconds), MetricType::Histogram)?;
            for stage in Stage::ALL {
                let (sum, count, buckets) = meters.stages[stage as usize].read();
                family.encode_family(&[("stage", stage.name())])?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
            }
        }
        page.histogram("odori_frame_latency", "Sound in to the last packet of its frame out.", seconds, &meters.end_to_end)?;
        page.histogram("odori_seen_latency", "Sound in to the picture on a viewer's screen, as viewers report it.", seconds, &meters.seen)?;
        page.histogram("odori_av_skew", "How much later than the picture of the same media time the sound is heard, at the viewer.", seconds, &meters.skew)?;
        page.histogram("odori_beat_offset", "How much later a beat is seen than heard, as far as it is latency that the dance was not made ahead.", seconds, &meters.beat_offset)?;
        let frames = Rung::ALL.map(|r| ([("rung", r.name())], meters.frames(r) as f64));
        page.counters("odori_frames", "Pictures made, by rung of the ladder.", None, frames)?;
        page.counter("odori_deadline_misses", "Frames that went out later than their target, or not at all.", None, meters.deadline_misses.load(Ordering::Relaxed) as f64)?;
        let drops = Cause::ALL.map(|c| {
            let (what, cause) = c.names();
            ([("what", what), ("cause", cause)], meters.dropped(c) as f64)
        });
        page.counters("odori_dropped", "What was given up, and why.", None, drops)?;
        let samples = [("early", &meters.sound_early), ("undanced", &meters.sound_undanced)];
        let sound = samples.map(|(cause, n)| ([("cause", cause)], n.load(Ordering::Relaxed) as f64 / f64::from(SAMPLE_RATE)));
        page.counters("odori_dropped_sound", "Sound given up: it came too fast, or was not danced to in time.", Some(seconds), sound)?;

        page.histogram("odori_round_trip", "To a viewer and back, from receiver reports.", seconds, &meters.round_trip)?;
        page.histogram("odori_jitter", "Interarrival jitter of video at a viewer, from receiver reports.", seconds, &meters.jitter)?;
        page.histogram("odori_loss", "Share of video packets lost on the way to a viewer, from receiver reports.", &Unit::Ratios, &meters.loss)
    }
}

pub async fn metrics(State(app): State<App>) -> Result<Response, Fault> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape(app)));
    let mut page = String::new();
    text::encode(&mut page, &registry).map_err(super::api::internal)?;
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], page).into_response())
}
