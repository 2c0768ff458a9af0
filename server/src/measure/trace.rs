//! The last frames of a session, span by span, and their trace in the Trace Event Format, which <https://ui.perfetto.dev> and
//! `chrome://tracing` open.
//!
//! A ring of slots of atomics: every stage writes its own two numbers into the frame's slot, from its own thread, without
//! waiting. A reader may catch a frame half written; it then shows the stages that are there.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use odori_engine::ladder::Rung;
use serde_json::{Value, json};

use super::{Span, Stage};

/// Frames kept: 17 s.
const SLOTS: usize = 512;
/// The longest stretch that can be asked for: what is older may be overwritten while it is read.
pub const LONGEST: Duration = Duration::from_secs(15);

#[derive(Debug, Default)]
struct Cell {
    /// Frame id plus one; 0 is empty.
    frame: AtomicU64,
    rung: AtomicU8,
    /// Microseconds since the epoch, plus one; 0 is absent.
    began: [AtomicU64; Stage::COUNT],
    cost: [AtomicU32; Stage::COUNT],
}

/// One frame as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    pub frame: u64,
    pub rung: Rung,
    /// Beginning since the epoch, and cost, in microseconds.
    pub spans: [Option<(u64, u32)>; Stage::COUNT],
}

/// See the module.
#[derive(Debug)]
pub struct Trace {
    epoch: Instant,
    cells: Box<[Cell]>,
}

impl Trace {
    pub fn new(epoch: Instant) -> Self {
        Self { epoch, cells: (0..SLOTS).map(|_| Cell::default()).collect() }
    }

    fn cell(&self, frame: u64) -> &Cell {
        &self.cells[frame as usize % SLOTS]
    }

    /// A frame is made: its slot forgets the frame before it.
    pub fn begin(&self, frame: u64, rung: Rung) {
        let cell = self.cell(frame);
        cell.frame.store(0, Ordering::Release);
        for began in &cell.began {
            began.store(0, Ordering::Relaxed);
        }
        cell.rung.store(rung as u8, Ordering::Relaxed);
        cell.frame.store(frame + 1, Ordering::Release);
    }

    /// A stage of the frame; of a frame that is gone or never begun, nothing.
    pub fn span(&self, frame: u64, span: Span) {
        let cell = self.cell(frame);
        if cell.frame.load(Ordering::Acquire) != frame + 1 {
            return;
        }
        let at = span.stage as usize;
        let began = span.began.saturating_duration_since(self.epoch).as_micros() as u64;
        cell.cost[at].store(span.cost.as_micros().min(u128::from(u32::MAX)) as u32, Ordering::Relaxed);
        cell.began[at].store(began + 1, Ordering::Release);
    }

    /// When the frame's stage ended, if it did.
    pub fn end_of(&self, frame: u64, stage: Stage) -> Option<Instant> {
        let (began, cost) = self.read(frame)?.spans[stage as usize]?;
        Some(self.epoch + Duration::from_micros(began + u64::from(cost)))
    }

    fn read(&self, frame: u64) -> Option<Slot> {
        Self::read_cell(self.cell(frame)).filter(|slot| slot.frame == frame)
    }

    fn read_cell(cell: &Cell) -> Option<Slot> {
        let frame = cell.frame.load(Ordering::Acquire).checked_sub(1)?;
        let rung = *Rung::ALL.get(usize::from(cell.rung.load(Ordering::Relaxed)))?;
        let spans = std::array::from_fn(|i| {
            let began = cell.began[i].load(Ordering::Acquire).checked_sub(1)?;
            Some((began, cell.cost[i].load(Ordering::Relaxed)))
        });
        (cell.frame.load(Ordering::Acquire) == frame + 1).then_some(Slot { frame, rung, spans })
    }

    /// The frames whose first stage began in the last `length` before `now`, oldest first.
    pub fn last(&self, now: Instant, length: Duration) -> Vec<Slot> {
        let since = now.saturating_duration_since(self.epoch).saturating_sub(length.min(LONGEST)).as_micros() as u64;
        let first = |slot: &Slot| slot.spans.iter().flatten().map(|s| s.0).min();
        let mut slots: Vec<Slot> = self.cells.iter().filter_map(Self::read_cell).filter(|s| first(s).is_some_and(|at| at >= since)).collect();
        slots.sort_by_key(|s| s.frame);
        slots
    }

    /// The trace document of the last `length`.
    pub fn document(&self, now: Instant, length: Duration) -> Value {
        let mut events: Vec<Value> = vec![json!({"ph": "M", "name": "process_name", "pid": 1, "args": {"name": "odori session"}})];
        for track in Track::ALL {
            events.push(json!({"ph": "M", "name": "thread_name", "pid": 1, "tid": track as u32, "args": {"name": track.name()}}));
            events.push(json!({"ph": "M", "name": "thread_sort_index", "pid": 1, "tid": track as u32, "args": {"sort_index": track as u32}}));
        }
        let slots = self.last(now, length);
        for (n, slot) in slots.iter().enumerate() {
            events.extend(frame_events(slot, slots.get(n + 1)));
        }
        json!({"displayTimeUnit": "ms", "traceEvents": events})
    }
}

/// Lanes of the trace. On a thread's lane stages follow one another; what waits or travels may overlap with the next
/// frame's, so each frame has its own row there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Track {
    Waiting = 1,
    Dancer = 2,
    Encoder = 3,
    Sending = 4,
}

impl Track {
    const ALL: [Track; 4] = [Track::Waiting, Track::Dancer, Track::Encoder, Track::Sending];

    fn name(self) -> &'static str {
        match self {
            Track::Waiting => "sound waits",
            Track::Dancer => "dancer",
            Track::Encoder => "encoder",
            Track::Sending => "to the viewer",
        }
    }

    fn of(stage: Stage) -> Self {
        match stage {
            Stage::Capture | Stage::Queue => Track::Waiting,
            Stage::Features | Stage::Beat | Stage::Motion | Stage::Puppet | Stage::Denoise | Stage::Compose => Track::Dancer,
            Stage::Encode => Track::Encoder,
            Stage::Send | Stage::Display => Track::Sending,
        }
    }
}

/// The events of a frame, and what of them the next frame's cut short.
fn frame_events(slot: &Slot, next: Option<&Slot>) -> Vec<Value> {
    let args = json!({"frame": slot.frame, "rung": slot.rung.name()});
    let mut events = Vec::new();
    let mut add = |ph: &str, name: &str, track: Track, at: u64, more: Value| {
        let mut event = json!({"ph": ph, "name": name, "cat": "frame", "pid": 1, "tid": track as u32, "ts": at, "args": args});
        if let (Some(event), Value::Object(more)) = (event.as_object_mut(), more) {
            event.extend(more);
        }
        events.push(event);
    };
    let of = |slot: &Slot| Stage::ALL.map(|stage| slot.spans[stage as usize].map(|span| (stage, span)));
    let present = || of(slot).into_iter().flatten();
    let following = || present().chain(next.into_iter().flat_map(|next| of(next).into_iter().flatten()));
    let Some(start) = present().map(|(_, s)| s.0).min() else { return events };
    let end = present().map(|(_, s)| s.0 + u64::from(s.1)).max().unwrap_or(start);
    let id = json!({"id": slot.frame});
    add("b", "frame", Track::Waiting, start, id.clone());
    for (stage, (began, cost)) in present() {
        let track = Track::of(stage);
        match track {
            Track::Dancer | Track::Encoder => {
                // A stage that ran more than once is drawn from its last beginning on, as long as in all, till another begins.
                let next = following().filter(|(s, span)| Track::of(*s) == track && span.0 > began).map(|(_, s)| s.0 - began).min();
                add("X", stage.name(), track, began, json!({"dur": next.map_or(u64::from(cost), |n| n.min(cost.into()))}));
            }
            Track::Waiting | Track::Sending => {
                add("b", stage.name(), track, began, id.clone());
                add("e", stage.name(), track, began + u64::from(cost), id.clone());
            }
        }
    }
    add("e", "frame", Track::Waiting, end, id);
    events
}

#[cfg(test)]
mod tests {
    use super::*;

    fn span(epoch: Instant, stage: Stage, at_ms: u64, ms: u64) -> Span {
        Span { stage, began: epoch + Duration::from_millis(at_ms), cost: Duration::from_millis(ms) }
    }

    #[test]
    fn a_frame_keeps_its_stages_until_its_slot_is_taken() {
        let epoch = Instant::now();
        let trace = Trace::new(epoch);
        trace.span(7, span(epoch, Stage::Encode, 1, 1));
        assert!(trace.last(epoch, LONGEST).is_empty(), "never begun");
        trace.begin(7, Rung::OneStep);
        trace.span(7, span(epoch, Stage::Motion, 40, 3));
        trace.span(7, span(epoch, Stage::Encode, 50, 2));
        assert_eq!(trace.end_of(7, Stage::Encode), Some(epoch + Duration::from_millis(52)));
        assert_eq!(trace.end_of(7, Stage::Send), None);
        trace.begin(7 + SLOTS as u64, Rung::Puppet);
        assert_eq!(trace.end_of(7, Stage::Encode), None);
        trace.span(7, span(epoch, Stage::Send, 60, 1));
        assert_eq!(trace.end_of(7 + SLOTS as u64, Stage::Send), None, "too late for its slot");
    }

    #[test]
    fn the_document_has_the_frames_asked_for_and_every_beginning_has_its_end() {
        let epoch = Instant::now();
        let trace = Trace::new(epoch);
        for frame in 0..90 {
            let at = frame * 33;
            trace.begin(frame, Rung::OneStep);
            for (stage, at, ms) in [(Stage::Capture, at, 9), (Stage::Queue, at + 8, 1), (Stage::Features, at + 9, 4), (Stage::Motion, at + 10, 3), (Stage::Compose, at + 13, 40), (Stage::Send, at + 14, 30)] {
                trace.span(frame, span(epoch, stage, at, ms));
            }
        }
        let document = trace.document(epoch + Duration::from_millis(90 * 33), Duration::from_secs(1));
        let events = document["traceEvents"].as_array().unwrap();
        let of = |ph: &str, name: &str| events.iter().filter(|e| e["ph"] == ph && e["name"] == name).count();
        assert_eq!((of("X", "motion"), of("b", "send"), of("e", "send")), (30, 30, 30));
        assert_eq!((of("b", "frame"), of("e", "frame")), (30, 30));
        let features = events.iter().find(|e| e["name"] == "features").unwrap();
        assert_eq!(features["dur"], json!(1000), "it ends where the next stage begins");
        let compose = events.iter().find(|e| e["name"] == "compose").unwrap();
        assert_eq!(compose["dur"], json!(29000), "or the next frame's first");
        let motion = events.iter().find(|e| e["name"] == "motion").unwrap();
        assert_eq!((&motion["dur"], &motion["args"]["rung"], &motion["args"]["frame"]), (&json!(3000), &json!("denoise-1"), &json!(60)));
    }
}
