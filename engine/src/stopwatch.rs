//! What each stage of a frame cost, and when it began. Costs are reported, never acted on here.

use std::time::{Duration, Instant};

/// The stages that are timed, in the order of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    Features,
    Beat,
    Motion,
    Puppet,
    Denoise,
    Compose,
}

impl Stage {
    pub const ALL: [Stage; 6] = [Stage::Features, Stage::Beat, Stage::Motion, Stage::Puppet, Stage::Denoise, Stage::Compose];

    pub fn name(self) -> &'static str {
        match self {
            Stage::Features => "features",
            Stage::Beat => "beat",
            Stage::Motion => "motion",
            Stage::Puppet => "puppet",
            Stage::Denoise => "denoise",
            Stage::Compose => "compose",
        }
    }
}

/// What each stage cost for one frame, in the order of [`Stage::ALL`].
pub type Timings = [Duration; Stage::ALL.len()];

/// When each stage that ran for one frame last began, in the order of [`Stage::ALL`].
pub type Beginnings = [Option<Instant>; Stage::ALL.len()];

/// Times the stages of one frame.
#[derive(Default)]
pub(crate) struct Stopwatch {
    pub costs: Timings,
    pub began: Beginnings,
}

/// A stage under way.
pub(crate) struct Running {
    stage: Stage,
    start: Instant,
    _span: tracing::span::EnteredSpan,
}

impl Running {
    pub fn start(stage: Stage) -> Self {
        Running { stage, start: Instant::now(), _span: tracing::trace_span!("stage", name = stage.name()).entered() }
    }
}

impl Stopwatch {
    pub fn stop(&mut self, running: Running) {
        self.costs[running.stage as usize] += running.start.elapsed();
        self.began[running.stage as usize] = Some(running.start);
    }
}
