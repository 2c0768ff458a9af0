//! Keeps the dance as lively as was asked for.
//!
//! The model dances on from what it danced: after a still stretch the likeliest next move is to stand still, whatever the
//! energy it is told. So the energy it is told is steered by what it does, and a dancer who stands while music plays
//! is told to move ever more clearly, and draws from more moves.

use crate::metrics::{self, Body, body};
use crate::motion::{FRAMES_PER_STEP, StepInput};
use crate::pose::Pose;

/// What the model is told, and held to, of the energy that is asked for: the default is then as lively as people dance.
const OF_ASKED: f32 = 0.8;
/// Joint speed at energy 1 in the training data, m/s.
const FULL_SPEED: f32 = 1.1;
/// Steps over which speed is averaged: 1.2 s, two beats or so.
const AVERAGE_STEPS: f32 = 18.0;
/// To a unit of energy missed: added at once, and for good with every step. The answer comes a second late, so
/// more of either would swing.
const AT_ONCE: f32 = 0.5;
const GROWTH: f32 = 0.015;
const CORRECTION: std::ops::RangeInclusive<f32> = -0.3..=0.6;
/// Temperature added at the full correction.
const WARMTH: f32 = 0.35;
/// Joint speed under which the model stands, m/s, and steps of it after which it is stuck: 0.8 s.
const STANDING: f32 = 0.08;
const STUCK_STEPS: u32 = 12;
/// Energy up to which standing is what was asked for.
const LEAST_ENERGY: f32 = 0.2;

#[derive(Clone, Debug, Default)]
pub struct Drive {
    /// Averaged energy of the dance: speed / [`FULL_SPEED`]; `None` before the first step.
    danced: Option<f32>,
    /// The part of the correction that lasts.
    learnt: f32,
    last: Option<Body>,
    /// Steps that it has stood for.
    standing: u32,
}

impl Drive {
    pub fn steer<'a>(&mut self, input: &StepInput<'a>) -> StepInput<'a> {
        let mut correction = 0.0;
        let wanted = OF_ASKED * input.energy;
        if let Some(danced) = self.danced {
            let missed = wanted - danced;
            let bound = |x: f32| x.clamp(*CORRECTION.start(), *CORRECTION.end());
            self.learnt = bound(self.learnt + GROWTH * missed);
            correction = bound(self.learnt + AT_ONCE * missed);
        }
        let mut out = *input;
        out.energy = (wanted + correction).clamp(0.0, 1.0);
        // Beyond what energy can still ask for, chance helps out of the rut.
        let rut = (correction / CORRECTION.end()).clamp(0.0, 1.0);
        if input.sampling.temperature > 0.0 {
            out.sampling.temperature = (input.sampling.temperature + WARMTH * rut * rut).min(1.0_f32.max(input.sampling.temperature));
        }
        out
    }

    /// Whether it has stood for so long, though this energy was asked for, that it would stand on. Once told, it is given another
    /// such time to move.
    pub fn stuck(&mut self, energy: f32) -> bool {
        let stuck = self.standing >= STUCK_STEPS && energy > LEAST_ENERGY;
        if stuck {
            self.standing = 0;
        }
        stuck
    }

    /// Sees what was danced; at rest there is nothing to keep up.
    pub fn watch(&mut self, poses: &[Pose; FRAMES_PER_STEP], silent: bool) {
        let (mut sum, mut moves) = (0.0, 0);
        for pose in poses {
            let now = body(pose);
            if let Some(last) = self.last.replace(now) {
                sum += metrics::speed(&last, &now, metrics::POSE_HZ);
                moves += 1;
            }
        }
        let speed = sum / moves.max(1) as f32;
        self.standing = if speed < STANDING { self.standing + 1 } else { 0 };
        if silent {
            *self = Drive { last: self.last, ..Drive::default() };
            return;
        }
        let danced = self.danced.get_or_insert(speed / FULL_SPEED);
        *danced += (speed / FULL_SPEED - *danced) / AVERAGE_STEPS;
    }
}
