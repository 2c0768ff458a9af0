//! What a viewer's page reports of the pictures it shows, and what the session makes of it: spans up to the screen, and how
//! far ahead the dance is to be made.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::horizon::Way;
use super::viewers::Viewer;
use super::{Session, SessionError, SourceChoice};
use crate::rtc::ViewerPeer;

/// Frames that one report may tell of: four seconds.
const MOST_FRAMES: usize = 128;
/// What a viewer says longer ago than this is not believed any more.
const STALE: Duration = Duration::from_secs(10);

/// One picture that was shown.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shown {
    /// The RTP timestamp that it came with.
    pub rtp: u32,
    /// From its last packet's arrival to the screen.
    pub shown_after_ms: f32,
}

/// A report.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Report {
    pub frames: Vec<Shown>,
    /// How far the picture lies before the sound that is heard with it, in media time.
    #[serde(default)]
    pub av_skew_ms: Option<f32>,
}

impl Report {
    fn check(&self) -> Result<(), SessionError> {
        let invalid = |text: &str| Err(SessionError::Invalid(text.to_owned()));
        if self.frames.len() > MOST_FRAMES {
            return invalid("frames: at most 128 in one report; report more often");
        }
        if !self.frames.iter().all(|f| (0.0..=5000.0).contains(&f.shown_after_ms)) {
            return invalid("shown_after_ms must be from 0 to 5000");
        }
        if self.av_skew_ms.is_some_and(|s| !(-5000.0..=5000.0).contains(&s)) {
            return invalid("av_skew_ms must be from -5000 to 5000");
        }
        Ok(())
    }
}

fn median(mut values: Vec<f32>) -> Option<f32> {
    values.sort_by(f32::total_cmp);
    values.get(values.len().saturating_sub(1) / 2).copied()
}

impl Session {
    /// Takes a viewer's report in; says whether there is such a viewer.
    ///
    /// # Errors
    /// If a value is out of range.
    pub fn report(&self, viewer: &str, report: &Report) -> Result<bool, SessionError> {
        report.check()?;
        let peer = self.inner().peers.iter().find(|(id, _)| id == viewer).map(|(_, p)| p.clone());
        let (Some(peer), Some(viewer)) = (peer, self.viewers.get(viewer)) else { return Ok(false) };
        let now = Instant::now();
        self.shown(&peer, &viewer, report, now);
        if let Some(skew_ms) = report.av_skew_ms {
            viewer.skew_ms.follow(skew_ms);
            // A picture before its sound is heard later than it is seen.
            self.stats.meters.skew.record((skew_ms * 1000.0) as i64);
        }
        viewer.reported(now);
        self.look_ahead(now);
        Ok(true)
    }

    /// The frames that a report tells of, as spans on our clock: sent, half a round trip, and what the viewer took.
    fn shown(&self, peer: &ViewerPeer, viewer: &Viewer, report: &Report, now: Instant) {
        let near = self.clock.samples_at(now) as u64;
        let underway = viewer.round_trip_ms.get().max(0.0) / 2.0;
        for frame in &report.frames {
            let Some(sample) = peer.sample_of(frame.rtp, near) else { continue };
            let after = Duration::from_secs_f32((underway + frame.shown_after_ms) / 1000.0);
            self.stats.displayed(sample, self.clock.instant_of(sample), after);
        }
        let shown: Vec<f32> = report.frames.iter().map(|f| f.shown_after_ms).collect();
        if let Some(shown) = median(shown) {
            viewer.shown_after_ms.follow(shown);
        }
    }

    /// Sets the horizon by what the viewers of the last seconds measure: the median of them, for there is one dance.
    pub(super) fn look_ahead(&self, now: Instant) {
        let viewers: Vec<_> = self.viewers.list().iter().filter(|v| v.since_report(now).is_some_and(|t| t < STALE)).cloned().collect();
        let way = if matches!(self.inner().choice, SourceChoice::Live {} | SourceChoice::Stdin {}) {
            let viewer_ms = median(viewers.iter().map(|v| v.round_trip_ms.get() / 2.0 + v.shown_after_ms.get()).collect());
            let engine_ms = self.stats.total().p50_ms;
            viewer_ms.filter(|_| engine_ms > 0.0).map(|viewer_ms| Way::Room { engine_ms, viewer_ms })
        } else {
            median(viewers.iter().filter(|v| v.skew_ms.known()).map(|v| v.skew_ms.get()).collect()).map(|skew_ms| Way::Together { skew_ms })
        };
        match way {
            Some(way) => {
                let offset_ms = self.horizon.follow(way);
                self.stats.meters.beat_offset.record((offset_ms * 1000.0) as i64);
            }
            None if viewers.is_empty() => self.horizon.forget(),
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_read_strictly() {
        let read = |text: &str| serde_json::from_str::<Report>(text).ok().filter(|r| r.check().is_ok());
        assert!(read(r#"{"frames":[{"rtp":4294967295,"shown_after_ms":12.5}],"av_skew_ms":-3}"#).is_some());
        assert!(read(r#"{"frames":[],"av_skew_ms":null}"#).is_some());
        for bad in [
            r#"{}"#,
            r#"{"frames":[{"rtp":-1,"shown_after_ms":1}]}"#,
            r#"{"frames":[{"rtp":1,"shown_after_ms":1e9}]}"#,
            r#"{"frames":[{"rtp":1,"shown_after_ms":-1}]}"#,
            r#"{"frames":[],"av_skew_ms":1e6}"#,
            r#"{"frames":[],"more":1}"#,
        ] {
            assert!(read(bad).is_none(), "{bad}");
        }
        let many = vec![r#"{"rtp":1,"shown_after_ms":1}"#; MOST_FRAMES + 1].join(",");
        assert!(read(&format!(r#"{{"frames":[{many}]}}"#)).is_none());
    }

    #[test]
    fn of_two_viewers_the_nearer_counts() {
        assert_eq!((median(vec![]), median(vec![80.0, 20.0]), median(vec![3.0, 1.0, 2.0])), (None, Some(20.0), Some(2.0)));
    }
}
