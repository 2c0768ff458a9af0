//! The ladder: how much work a frame may cost, so that there is always a frame.
//!
//! A small controller with hysteresis: it steps down as soon as frames come late, and back up only after a
//! calm stretch in which the dearer rung would have fitted. It knows costs and a budget, nothing else.

use std::time::Duration;

/// How a frame was made, dearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rung {
    FourSteps,
    TwoSteps,
    OneStep,
    /// The warped reference alone.
    Puppet,
}

impl Rung {
    pub const ALL: [Rung; 4] = [Rung::FourSteps, Rung::TwoSteps, Rung::OneStep, Rung::Puppet];

    pub fn name(self) -> &'static str {
        match self {
            Rung::FourSteps => "denoise-4",
            Rung::TwoSteps => "denoise-2",
            Rung::OneStep => "denoise-1",
            Rung::Puppet => "puppet",
        }
    }

    pub fn denoise_steps(self) -> u32 {
        match self {
            Rung::FourSteps => 4,
            Rung::TwoSteps => 2,
            Rung::OneStep => 1,
            Rung::Puppet => 0,
        }
    }

    fn index(self) -> usize {
        Self::ALL.iter().position(|&r| r == self).expect("every rung is listed")
    }
}

/// Frames that must fit before a dearer rung is tried.
const CALM_FRAMES: u32 = 90;
/// Of the budget: a frame dearer than this counts as late.
const LATE_SHARE: f32 = 0.95;
/// Late frames within [`LATE_WINDOW`] that make it step down.
const LATE_FRAMES: u32 = 3;
const LATE_WINDOW: u32 = 15;

/// Chooses the rung of the next frame from the cost of those before it.
#[derive(Clone, Debug)]
pub struct Ladder {
    best: Rung,
    rung: Rung,
    budget: Duration,
    /// Running mean cost of a frame at each rung, when one was measured.
    cost: [Option<f32>; 4],
    late: u32,
    window: u32,
    calm: u32,
    /// Grows each time a step up had to be taken back, so that it does not swing.
    patience: u32,
    since_step_up: u32,
}

impl Ladder {
    /// Starts at `best`, and never goes above it. `budget` is the time one frame may take.
    pub fn new(best: Rung, budget: Duration) -> Self {
        Ladder { best, rung: best, budget, cost: [None; 4], late: 0, window: 0, calm: 0, patience: 1, since_step_up: u32::MAX }
    }

    pub fn rung(&self) -> Rung {
        self.rung
    }

    /// Another best rung, from the next frame on.
    pub fn set_best(&mut self, best: Rung) {
        self.best = best;
        self.rung = best;
        self.late = 0;
        self.calm = 0;
    }

    /// Tells what the last frame cost.
    pub fn record(&mut self, cost: Duration) {
        let share = cost.as_secs_f32() / self.budget.as_secs_f32();
        let mean = &mut self.cost[self.rung.index()];
        *mean = Some(mean.map_or(share, |m| m + (share - m) * 0.1));
        self.since_step_up = self.since_step_up.saturating_add(1);
        self.window += 1;
        if share > LATE_SHARE {
            self.late += 1;
            self.calm = 0;
        } else {
            self.calm += 1;
        }
        if self.late >= LATE_FRAMES {
            self.step_down();
        } else if self.window >= LATE_WINDOW {
            self.late = 0;
            self.window = 0;
        }
        if self.rung > self.best && self.calm >= CALM_FRAMES * self.patience && self.dearer_fits() {
            self.rung = Rung::ALL[self.rung.index() - 1];
            self.calm = 0;
            self.since_step_up = 0;
        }
    }

    fn step_down(&mut self) {
        self.late = 0;
        self.window = 0;
        self.calm = 0;
        if self.rung == Rung::Puppet {
            return;
        }
        if self.since_step_up < CALM_FRAMES {
            self.patience = (self.patience * 2).min(16);
        } else {
            self.patience = 1;
        }
        self.rung = Rung::ALL[self.rung.index() + 1];
    }

    /// What the rung above would cost: one more denoise step, judged from what was measured of both, or from
    /// this rung alone. A mean from an overloaded stretch must not forbid it for ever, so it fades.
    fn dearer_fits(&mut self) -> bool {
        let here = self.cost[self.rung.index()].unwrap_or(0.0);
        let above = &mut self.cost[self.rung.index() - 1];
        let fits = above.is_none_or(|a| a < 0.85) && here < 0.7;
        if !fits {
            *above = above.map(|a| a * 0.98);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUDGET: Duration = Duration::from_millis(30);

    fn run(ladder: &mut Ladder, frames: u32, cost_ms: impl Fn(Rung) -> u64) -> Vec<Rung> {
        (0..frames)
            .map(|_| {
                let rung = ladder.rung();
                ladder.record(Duration::from_millis(cost_ms(rung)));
                rung
            })
            .collect()
    }

    #[test]
    fn steps_down_within_half_a_second_of_overload_and_comes_back() {
        let mut ladder = Ladder::new(Rung::TwoSteps, BUDGET);
        run(&mut ladder, 60, |_| 15);
        assert_eq!(ladder.rung(), Rung::TwoSteps);
        run(&mut ladder, 15, |_| 40);
        assert_eq!(ladder.rung(), Rung::Puppet);
        run(&mut ladder, 600, |_| 12);
        assert_eq!(ladder.rung(), Rung::TwoSteps);
    }

    #[test]
    fn does_not_swing_between_two_rungs() {
        let mut ladder = Ladder::new(Rung::TwoSteps, BUDGET);
        // Two steps never fit here, one always does.
        let rungs = run(&mut ladder, 3600, |r| if r == Rung::TwoSteps { 32 } else { 18 });
        let changes = rungs.windows(2).filter(|w| w[0] != w[1]).count();
        assert!(changes < 20, "{changes} changes in two minutes");
        let good = rungs.iter().filter(|&&r| r == Rung::OneStep).count();
        assert!(good > 3400, "{good} of 3600 frames at the rung that fits");
    }

    #[test]
    fn never_rises_above_the_best_rung_that_was_asked_for() {
        let mut ladder = Ladder::new(Rung::OneStep, BUDGET);
        assert!(run(&mut ladder, 900, |_| 1).iter().all(|&r| r == Rung::OneStep));
    }
}
