//! The ladder: how much work a frame may cost, so that there is always a frame.
//!
//! A small controller with hysteresis. It steps down as soon as frames come late, as far as it must; and up again after a
//! calm stretch, as far as what is known of the dearer rungs says will fit. What a rung costs on a free machine, and how
//! much slower everything runs now, are kept apart: so it knows what a rung that it is not on would cost. It knows costs
//! and a budget, and no clock.

use std::time::Duration;

/// How a frame was made, dearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rung {
    /// Denoise steps at the working size that was asked for.
    FourSteps,
    TwoSteps,
    OneStep,
    /// One step at a smaller working size.
    OneStep192,
    OneStep128,
    /// Of a group the first dancer alone, as on the rung above; the others as below.
    Lead,
    /// The warped reference alone.
    Puppet,
    /// The same at every second frame.
    HalfRate,
    /// The dancer comes to rest, and is drawn at every third frame.
    Idle,
}

impl Rung {
    pub const ALL: [Rung; 9] = [
        Rung::FourSteps,
        Rung::TwoSteps,
        Rung::OneStep,
        Rung::OneStep192,
        Rung::OneStep128,
        Rung::Lead,
        Rung::Puppet,
        Rung::HalfRate,
        Rung::Idle,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Rung::FourSteps => "denoise-4",
            Rung::TwoSteps => "denoise-2",
            Rung::OneStep => "denoise-1",
            Rung::OneStep192 => "denoise-1-192",
            Rung::OneStep128 => "denoise-1-128",
            Rung::Lead => "denoise-1-lead",
            Rung::Puppet => "puppet",
            Rung::HalfRate => "puppet-half",
            Rung::Idle => "idle-pose",
        }
    }

    pub fn denoise_steps(self) -> u32 {
        match self {
            Rung::FourSteps => 4,
            Rung::TwoSteps => 2,
            Rung::OneStep | Rung::OneStep192 | Rung::OneStep128 | Rung::Lead => 1,
            Rung::Puppet | Rung::HalfRate | Rung::Idle => 0,
        }
    }

    /// One of so many frames is drawn; poses are made for all.
    pub fn every(self) -> u32 {
        match self {
            Rung::HalfRate => 2,
            Rung::Idle => 3,
            _ => 1,
        }
    }

    /// Side of the denoiser's picture, where `asked` was asked for.
    pub fn working_size(self, asked: usize) -> usize {
        match self {
            Rung::OneStep192 => 192,
            Rung::OneStep128 | Rung::Lead => 128,
            _ => asked,
        }
    }

    /// Denoise steps for one of the dancers, the first being 0.
    pub fn steps_for(self, dancer: usize) -> u32 {
        if self == Rung::Lead && dancer > 0 { 0 } else { self.denoise_steps() }
    }

    /// The rungs from `best` down that differ where `working_size` was asked for, and for one dancer or a group.
    pub fn from(best: Rung, working_size: usize, group: bool) -> impl Iterator<Item = Rung> {
        Self::ALL.into_iter().filter(move |r| match r {
            _ if *r < best => false,
            Rung::OneStep192 | Rung::OneStep128 => r.working_size(working_size) < working_size,
            Rung::Lead => group,
            _ => true,
        })
    }
}

/// What a frame may take.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Budget {
    /// Time to make one.
    pub frame: Duration,
    /// Age at which it must be ready, counted from its sound.
    pub latency: Duration,
}

/// What a frame costs on each rung when nothing else runs, as far as it is known.
pub type Costs = [Option<Duration>; Rung::ALL.len()];

/// What a frame costs on each rung with one dancer, and what each more adds to it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Load {
    one: Costs,
    more: Costs,
}

impl Load {
    /// From what one dancer and what two were measured to cost.
    pub fn new(one: &Costs, two: &Costs) -> Self {
        let more = std::array::from_fn(|r| Some(two[r]?.saturating_sub(one[r].or(Self::lead(one, r))?)));
        Load { one: *one, more }
    }

    /// One dancer is the first of a group.
    fn lead(one: &Costs, rung: usize) -> Option<Duration> {
        (rung == Rung::Lead as usize).then(|| one[Rung::OneStep128 as usize].or(one[Rung::OneStep as usize]))?
    }

    pub fn of(&self, dancers: usize) -> Costs {
        let others = dancers.saturating_sub(1) as u32;
        std::array::from_fn(|r| {
            let one = self.one[r].or(Self::lead(&self.one, r))?;
            if others == 0 { Some(one) } else { Some(one + self.more[r]? * others) }
        })
    }
}

/// Frames that must fit before a dearer rung is tried: a second.
const CALM_FRAMES: u32 = 30;
/// Frames that a rung must hold for the step up to it to have been right: on the edge of what fits it would swing.
const HELD_FRAMES: u32 = 150;
/// Of the budget: what is dearer counts as late.
const LATE_SHARE: f32 = 0.95;
/// Late frames within [`LATE_WINDOW`] that make it step down.
const LATE_FRAMES: u32 = 3;
const LATE_WINDOW: u32 = 15;
/// Of the budget: what a rung may be expected to cost, to step down to it and to step up to it.
const DOWN_SHARE: f32 = 0.85;
const UP_SHARE: f32 = 0.75;
/// Of the budget: what this rung may cost when nothing is known of the one above.
const BLIND_SHARE: f32 = 0.6;
/// How quickly it sees that the machine became slower, and faster: three frames must do to see how far down to go.
const SLOWER_SHARE: f32 = 0.5;
const FASTER_SHARE: f32 = 0.2;
/// A step up that failed is tried again later and later, up to this many calm stretches; out of rest at every one.
const MOST_PATIENCE: u32 = 16;
/// Unless the machine is seen to be free again: over a calm stretch, frames take no longer than this against what was measured
/// beforehand, on the average and at most. The slowest tells it from a loaded one, which has quick frames too.
const FREE_MEAN: f32 = 1.25;
const FREE_SLOWEST: f32 = 1.6;
/// A frame's forgetting of a cost that forbids a rung: it may have been measured at a bad time. Half a minute and more.
const FORGET: f32 = 0.9995;

/// Chooses the rung of the next frame from the cost of those before it.
#[derive(Clone, Debug)]
pub struct Ladder {
    /// Dearest first.
    rungs: Vec<Rung>,
    best: Rung,
    working_size: usize,
    at: usize,
    budget: Budget,
    /// Seconds on a free machine, as measured beforehand.
    measured: [Option<f32>; Rung::ALL.len()],
    /// The same as now believed: a rung that failed is dearer than was measured, until the machine is free again.
    costs: [Option<f32>; Rung::ALL.len()],
    /// How many times longer everything takes now.
    slowdown: f32,
    /// The last frame's rung and seconds: a motion step falls on every second frame.
    last: Option<(Rung, f32)>,
    /// Age of the newest frame that is ready.
    age: Duration,
    late: u32,
    /// Frames that were not made since one counted as late.
    missed: u32,
    /// Late frames of `late` that were dear themselves, not only old.
    dear: u32,
    window: u32,
    calm: u32,
    stretch: Stretch,
    /// Stretches on end that showed a free machine, and how many it takes to believe it: more when that was wrong.
    free: u32,
    free_needed: u32,
    /// Whether that led to the last step up.
    believed_free: bool,
    patience: u32,
    since_step_up: u32,
    slowdown_at_step_up: f32,
}

/// Frames on end that were not late, by how many times longer they took than was measured.
#[derive(Clone, Copy, Debug, Default)]
struct Stretch {
    frames: u32,
    sum: f32,
    slowest: f32,
}

impl Ladder {
    /// Starts at `best`, and never goes above it.
    pub fn new(best: Rung, working_size: usize, budget: Budget) -> Self {
        Ladder {
            rungs: {
                let mut rungs = Vec::with_capacity(Rung::ALL.len());
                rungs.extend(Rung::from(best, working_size, false));
                rungs
            },
            best,
            working_size,
            at: 0,
            budget,
            measured: [None; Rung::ALL.len()],
            costs: [None; Rung::ALL.len()],
            slowdown: 1.0,
            last: None,
            age: Duration::ZERO,
            late: 0,
            missed: 0,
            dear: 0,
            window: 0,
            calm: 0,
            stretch: Stretch::default(),
            free: 0,
            free_needed: 1,
            believed_free: false,
            patience: 1,
            since_step_up: u32::MAX,
            slowdown_at_step_up: 1.0,
        }
    }

    pub fn rung(&self) -> Rung {
        self.rungs[self.at]
    }

    pub fn set_budget(&mut self, budget: Budget) {
        self.budget = budget;
    }

    /// What was measured of the rungs beforehand.
    pub fn set_costs(&mut self, costs: &Costs) {
        self.measured = costs.map(|c| c.map(|c| c.as_secs_f32()));
        self.costs = self.measured;
    }

    /// There are more or fewer dancers now, and rungs cost this much: it goes down at once as far as it must, and does not
    /// wait for frames to be late. It allocates nothing.
    pub fn regroup(&mut self, dancers: usize, costs: &Costs) {
        let rung = self.rung();
        self.rungs.clear();
        self.rungs.extend(Rung::from(self.best, self.working_size, dancers > 1));
        self.set_costs(costs);
        let same = self.rungs.iter().position(|r| *r >= rung).unwrap_or(self.rungs.len() - 1);
        let most = UP_SHARE * self.budget.frame.as_secs_f32();
        let fits = |r: &Rung| self.expected(*r).is_none_or(|c| c <= most);
        // Whatever is expected, nobody comes to rest for company.
        let lowest = self.rungs.iter().position(|r| *r == Rung::Puppet).unwrap_or(same).max(same);
        self.at = (same..=lowest).find(|j| fits(&self.rungs[*j])).unwrap_or(lowest);
        (self.late, self.dear, self.window, self.calm) = (0, 0, 0, 0);
        (self.stretch, self.free) = (Stretch::default(), 0);
        (self.patience, self.since_step_up) = (1, u32::MAX);
    }

    /// How old the newest frame was when it was ready, counted from its sound.
    pub fn ready(&mut self, age: Duration) {
        self.age = age;
    }

    /// A frame was not made, for want of time; a rung that draws one of several misses none with the others.
    pub fn missed(&mut self) {
        self.missed += 1;
        if self.missed >= self.rung().every() {
            self.missed = 0;
            self.since_step_up = self.since_step_up.saturating_add(1);
            self.count(true, true);
        }
    }

    /// Tells what the last frame cost, with those before it that were not drawn on its rung.
    pub fn record(&mut self, cost: Duration) {
        let cost_s = cost.as_secs_f32();
        let rung = self.rung();
        let before = self.last.replace((rung, cost_s)).filter(|(on, _)| *on == rung);
        let even_s = before.map_or(cost_s, |(_, before_s)| 0.5 * (before_s + cost_s));
        match &mut self.costs[rung as usize] {
            Some(free) => {
                let change = even_s / free.max(1e-6) - self.slowdown;
                self.slowdown += change * if change > 0.0 { SLOWER_SHARE } else { FASTER_SHARE };
            }
            unknown => *unknown = Some(even_s / self.slowdown.max(1e-3)),
        }
        self.since_step_up = self.since_step_up.saturating_add(1);
        let dear = cost_s > LATE_SHARE * self.time_for(rung);
        let old = std::mem::take(&mut self.age) > self.budget.latency;
        self.look_whether_free(dear || old, self.measured[rung as usize].map(|free| even_s / free.max(1e-6)));
        self.count(dear || old, dear);
        let blind = cost_s < BLIND_SHARE * self.budget.frame.as_secs_f32();
        if self.since_step_up == HELD_FRAMES {
            self.free_needed = 1;
        }
        if self.at > 0 && self.free >= self.free_needed {
            self.free = 0;
            self.patience = 1;
            self.believed_free = true;
            for (cost, measured) in self.costs.iter_mut().zip(self.measured) {
                *cost = measured.or(*cost);
            }
            self.step_up(blind);
        } else if self.at > 0 && self.calm >= CALM_FRAMES * if rung == Rung::Idle { 1 } else { self.patience } {
            self.believed_free = false;
            self.step_up(blind);
        }
    }

    /// With how many times longer the last frame took than was measured, if anything was.
    fn look_whether_free(&mut self, late: bool, slower: Option<f32>) {
        let Some(slower) = slower.filter(|_| !late) else {
            (self.stretch, self.free) = (Stretch::default(), 0);
            return;
        };
        let stretch = &mut self.stretch;
        *stretch = Stretch { frames: stretch.frames + 1, sum: stretch.sum + slower, slowest: stretch.slowest.max(slower) };
        if stretch.frames == CALM_FRAMES {
            let free = stretch.sum < FREE_MEAN * CALM_FRAMES as f32 && stretch.slowest < FREE_SLOWEST;
            self.free = if free { self.free + 1 } else { 0 };
            self.stretch = Stretch::default();
        }
    }

    fn count(&mut self, late: bool, dear: bool) {
        self.window += 1;
        if late {
            self.late += 1;
            self.dear += u32::from(dear);
            self.calm = 0;
        } else {
            self.calm += self.rung().every();
        }
        if self.late >= LATE_FRAMES {
            self.step_down();
        } else if self.window >= LATE_WINDOW {
            (self.late, self.dear, self.window) = (0, 0, 0);
        }
    }

    /// Seconds that a drawn frame may take on a rung.
    fn time_for(&self, rung: Rung) -> f32 {
        self.budget.frame.as_secs_f32() * rung.every() as f32
    }

    /// What a frame would take on a rung now.
    fn expected(&self, rung: Rung) -> Option<f32> {
        self.costs[rung as usize].map(|c| c * self.slowdown)
    }

    fn step_down(&mut self) {
        // Frames that are cheap, and late or old all the same, wait for something else than the picture: fewer won't help.
        let cheap = self.dear == 0 || self.expected(self.rung()).is_some_and(|c| c <= UP_SHARE * self.time_for(self.rung()));
        (self.late, self.dear, self.window, self.calm) = (0, 0, 0, 0);
        let below = &self.rungs[self.at + 1..];
        let steps = below.iter().position(|r| self.expected(*r).is_none_or(|c| c <= DOWN_SHARE * self.time_for(*r))).unwrap_or(below.len().saturating_sub(1));
        if below.get(steps).is_none_or(|rung| cheap && *rung > Rung::Puppet) {
            return;
        }
        if self.since_step_up < HELD_FRAMES {
            self.patience = (self.patience * 2).min(MOST_PATIENCE);
            if self.believed_free {
                self.free_needed = (self.free_needed * 2).min(2 * MOST_PATIENCE);
            }
            // So slow a machine does not carry this rung, whatever was measured of it: not until it is a fifth faster.
            let too_dear = 1.25 * UP_SHARE * self.time_for(self.rung()) / self.slowdown_at_step_up.max(1e-3);
            let cost = &mut self.costs[self.rung() as usize];
            *cost = Some(cost.map_or(too_dear, |c| c.max(too_dear)));
        }
        self.at += steps + 1;
        self.since_step_up = u32::MAX;
    }

    /// To the dearest rung that will fit; `blind` is whether one that nothing is known of may be tried.
    fn step_up(&mut self, blind: bool) {
        let fits = |j: usize| {
            let rung = self.rungs[j];
            self.expected(rung).map_or(blind && j + 1 == self.at, |c| c <= UP_SHARE * self.time_for(rung))
        };
        match (0..self.at).find(|j| fits(*j)) {
            Some(j) => {
                self.at = j;
                self.calm = 0;
                self.stretch = Stretch::default();
                self.slowdown_at_step_up = self.slowdown;
                self.since_step_up = 0;
            }
            None => {
                let above = self.rungs[self.at - 1];
                if let Some(cost) = &mut self.costs[above as usize] {
                    *cost *= FORGET;
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "ladder_tests.rs"]
mod tests;
