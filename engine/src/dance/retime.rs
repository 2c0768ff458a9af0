//! Plays the model's poses so that they are slowest on the beat: the poses are the model's own, the moment at which each is
//! shown is bent by the beat clock's phase.
//!
//! A model that is told the beat slows down near it. So time runs slower around the beat and faster between two: at phase `p` of
//! a beat of `T` frames the pose shown is the one `-EASE * T / 2pi * sin(2pi p)` frames away, which makes time run at
//! `1 - EASE * cos(2pi p)`. A dance that swings past the beat and rests after it would still be slowest too late: so time also runs faster
//! over poses that are slower than they have been of late and slower over fast ones, as far as [`EVEN`] says, and what that moves
//! poses away from their time by is let go of again. The rest is a dance that is early or late as a whole: it watches how far
//! from the beat what is shown has been slowest of late, and takes all poses that much earlier. Speed is that of the picture: depth does
//! not count. Poses ahead of the frame's own time are there because the model dances [`LEAD_FRAMES`] ahead, and they are taken as a
//! body would dance them ([`super::calm`]): calmed after this, fast moves would be caught up with on the beat. Where there is no beat to follow, time
//! runs straight. It reads no clock and adds no pose of its own, but where a dance begins anew.

use std::collections::VecDeque;
use std::f32::consts::TAU;

use glam::{Quat, Vec3};

use super::calm;
use crate::beat::{BeatState, LEAST_CONFIDENCE, RATE};
use crate::metrics::{self, Body, POSE_HZ};
use crate::motion::FRAMES_PER_STEP;
use crate::pose::Pose;
use crate::skeleton::BONE_COUNT;

/// Frames by which the model's poses are ahead of those shown: three motion steps, so that there are poses to take early. The model is told
/// the beat of that time, and dances no worse for it; what else the music does it answers so much later.
pub const LEAD_FRAMES: usize = 3 * FRAMES_PER_STEP;
/// The beat that the model is told of is this much later than the one when its first pose is seen, frames: as much as it slows down
/// too late, and as [`super::calm`] delays.
const TOLD_FRAMES: f64 = 1.4;
/// From the end of the sound that a step hears to the beat that it is told of, samples.
pub const TOLD_SAMPLES: u64 = ((LEAD_FRAMES as f64 + TOLD_FRAMES) * RATE / POSE_HZ as f64) as u64;
/// How much slower time runs on the beat, and how much faster half-way to the next.
const EASE: f32 = 0.9;
/// Frames before the beat at which time is slowest: smoothing, over frames, makes it as much later.
const EASE_EARLIER: f32 = 0.15;
/// How far time evens out the model's own speed: 0 not at all, 1 wholly.
const EVEN: f32 = 0.8;
/// Least and most that time is made to run at for that, and the share of what it has moved poses by that is let go of in a frame.
const EVENING: (f32, f32) = (0.5, 1.8);
const LET_GO: f32 = 0.15;
/// The speed that the model has been at of late is the mean over so many frames.
const OF_LATE_FRAMES: f32 = 20.0;
/// How far it moves poses at the most, frames.
const MOST_EVENED: f32 = 3.0;
/// A dancer who stands has no speed to even out, m/s.
const STANDS_M_S: f32 = 0.02;
/// Slow beats are eased less: by no more than this is a pose shown early or late, frames. With [`MOST_EARLIER`] short of the poses there are.
const MOST_FRAMES: f32 = 3.5;
/// Part of a kinematic beat's way from the beat by which poses are then taken earlier. Around the beat time runs at a third, so a
/// part goes a long way.
const LEARN: f32 = 0.08;
/// How much earlier or later at the most, frames, and how near to a beat a kinematic beat is one that meant it.
const MOST_EARLIER: f32 = 2.0;
const NEAR_FRAMES: f32 = 5.0;
/// Gaussian over the shown speed, as dances are judged: 83 ms; frames.
const SMOOTH_FRAMES: f32 = 2.5;
/// Shown speeds that are kept: a moment of least speed is seen in their middle.
const WATCHED: usize = 17;
/// Frames in which the easing comes and goes with the confidence: poses must not jump.
const CHANGE_FRAMES: f32 = 10.0;
/// Poses kept: the lead, the two of a step, and as far back.
const KEPT: usize = 2 * LEAD_FRAMES + FRAMES_PER_STEP + 1;
/// Frames in which a dance that begins anew leaves the old one.
const JOIN_FRAMES: f32 = 14.0;
/// Frames in which it comes over to the new one's place on the stage: nobody is carried there.
const CROSS_FRAMES: f32 = 90.0;

/// The model's newest poses, and how time runs over them.
#[derive(Clone, Debug)]
pub struct Retimer {
    /// Newest first.
    poses: VecDeque<Pose>,
    /// How fast the dance is at each of them, in the picture, m/s.
    paces: VecDeque<f32>,
    newest: Option<Body>,
    /// Mean of the pace of what is shown.
    pace: f32,
    /// How much later than their time poses are taken to even out their speed, frames.
    evened: f32,
    /// How far the beat is followed, 0 to 1, faded.
    follows: f32,
    /// Poses are taken this much earlier, frames.
    earlier: f32,
    /// The same of what was shown, newest first.
    speeds: [f32; WATCHED],
    last: Option<Body>,
    join: Option<Join>,
}

/// How far the old dance was from the new one where that began: a part of it that fades is laid on the new one's poses, so
/// that nothing jumps and the new dance is never slowed down.
#[derive(Clone, Debug)]
struct Join {
    rotations: [Quat; BONE_COUNT],
    root: Vec3,
    frame: f32,
}

impl Join {
    fn of(old: &Pose, new: &Pose) -> Self {
        Join { rotations: std::array::from_fn(|i| new.rotations[i].inverse() * old.rotations[i]), root: old.root - new.root, frame: 0.0 }
    }

    /// Takes the next pose towards the old dance.
    fn apply(&mut self, pose: &mut Pose) {
        self.frame += 1.0;
        let left = |frames: f32| {
            let u = (self.frame / frames).min(1.0);
            1.0 - u * u * (3.0 - 2.0 * u)
        };
        let across = left(CROSS_FRAMES);
        let left = left(JOIN_FRAMES);
        for (q, away) in pose.rotations.iter_mut().zip(&self.rotations).filter(|_| left > 0.0) {
            *q = (*q * Quat::IDENTITY.slerp(*away, left)).normalize();
        }
        pose.root += self.root * Vec3::new(across, left, across);
    }
}

impl Retimer {
    pub fn new(rest: &Pose) -> Self {
        Retimer {
            poses: std::iter::repeat_n(rest.clone(), KEPT).collect(),
            paces: std::iter::repeat_n(0.0, KEPT).collect(),
            newest: None,
            pace: 0.0,
            evened: 0.0,
            follows: 0.0,
            earlier: 0.0,
            speeds: [0.0; WATCHED],
            last: None,
            join: None,
        }
    }

    /// The two poses of a step, for the frames [`LEAD_FRAMES`] after the next two; `anew` if they do not go on from the last ones.
    pub fn push(&mut self, poses: &[Pose; FRAMES_PER_STEP], anew: bool) {
        if anew {
            self.join = Some(Join::of(&self.poses[0], &poses[0]));
        }
        self.join.take_if(|join| join.frame >= CROSS_FRAMES);
        for pose in poses {
            let mut pose = pose.clone();
            if let Some(join) = &mut self.join {
                join.apply(&mut pose);
            }
            pose = calm::follow(&self.poses[0], &pose);
            self.paces.pop_back();
            self.paces.push_front(pace(&mut self.newest, &pose));
            self.poses.pop_back();
            self.poses.push_front(pose);
        }
    }

    /// The pose of frame `tick`, where `beat` is the beat when it is seen. Frames are asked for one after the other, a step's
    /// poses pushed before its first frame.
    pub fn at(&mut self, tick: u64, beat: &BeatState) -> Pose {
        let followed = if beat.confidence < LEAST_CONFIDENCE { 0.0 } else { 1.0 };
        self.follows += (followed - self.follows) / CHANGE_FRAMES;
        let period = POSE_HZ * 60.0 / beat.bpm.max(1.0); // frames
        let most = (EASE * period / TAU).min(MOST_FRAMES);
        let phase = TAU * (beat.beat_phase + EASE_EARLIER / period);
        let away = self.follows * (self.earlier - most * phase.sin()) + self.evened;
        // The newest pose is the second of its step, which the first frame of the step is a frame further away from.
        let newest = (LEAD_FRAMES + FRAMES_PER_STEP - 1) as f32 - (tick % FRAMES_PER_STEP as u64) as f32;
        let back = newest - away.clamp(-(LEAD_FRAMES as f32), LEAD_FRAMES as f32);
        let (whole, part) = (back as usize, back.fract());
        self.even_out(whole, part, 1.0 - self.follows * most * TAU / period * phase.cos());
        self.poses[whole].lerp(&self.poses[(whole + 1).min(KEPT - 1)], part)
    }

    /// Moves the next frame's pose by how fast the dance is at this one's, where time runs at `rate`.
    fn even_out(&mut self, whole: usize, part: f32, rate: f32) {
        let next = (whole + 1).min(KEPT - 1);
        let here = self.paces[whole] + (self.paces[next] - self.paces[whole]) * part;
        let here = 0.25 * self.paces[whole.saturating_sub(1)] + 0.5 * here + 0.25 * self.paces[next];
        self.pace += (here - self.pace) / OF_LATE_FRAMES;
        let faster = (self.pace.max(STANDS_M_S) / here.max(STANDS_M_S)).powf(EVEN * self.follows);
        self.evened += rate * (faster.clamp(EVENING.0, EVENING.1) - 1.0);
        self.evened = ((1.0 - LET_GO) * self.evened).clamp(-MOST_EVENED, MOST_EVENED);
    }

    /// Watches what is shown, every frame, where `beat` is the beat when it is seen.
    pub fn watch(&mut self, shown: &Pose, beat: &BeatState) {
        self.speeds.copy_within(..WATCHED - 1, 1);
        self.speeds[0] = pace(&mut self.last, shown);
        if beat.confidence < LEAST_CONFIDENCE {
            return;
        }
        let middle = WATCHED / 2;
        let [after, here, before] = [middle - 1, middle, middle + 1].map(|at| smooth_at(&self.speeds, at));
        if here > before || here >= after {
            return;
        }
        // The vertex of the parabola; the speed between two frames belongs to the middle of them.
        let back = middle as f32 + 0.5 - 0.5 * (before - after) / (before - 2.0 * here + after).max(1e-9);
        let period = POSE_HZ * 60.0 / beat.bpm.max(1.0);
        let phase = beat.beat_phase - back / period;
        let late = (phase - phase.round()) * period;
        if late.abs() < NEAR_FRAMES.min(period / 3.0) {
            self.earlier = (self.earlier + LEARN * late).clamp(-MOST_EARLIER, MOST_EARLIER);
        }
    }
}

/// Mean speed of the joints in the picture from the last pose to this, m/s.
fn pace(last: &mut Option<Body>, pose: &Pose) -> f32 {
    let now = metrics::body(pose).map(|joint| Vec3 { z: 0.0, ..joint });
    last.replace(now).map_or(0.0, |last| metrics::speed(&last, &now, POSE_HZ))
}

/// Gaussian of [`SMOOTH_FRAMES`] about one of the speeds.
fn smooth_at(speeds: &[f32], at: usize) -> f32 {
    let weighed = speeds.iter().enumerate().map(|(i, s)| {
        let w = (-0.5 * ((i as f32 - at as f32) / SMOOTH_FRAMES).powi(2)).exp();
        (w * s, w)
    });
    let (sum, total) = weighed.fold((0.0, 0.0), |a, b| (a.0 + b.0, a.1 + b.1));
    sum / total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::beats::kinematic_beats;
    use crate::skeleton::Bone;

    const SECONDS: f32 = 30.0;

    fn beat_at(t: f32, bpm: f32, confidence: f32) -> BeatState {
        let beats = (t * bpm / 60.0).max(0.0);
        BeatState { bpm, beat_phase: beats.fract(), bar_phase: (beats / 4.0).fract(), confidence, ..BeatState::default() }
    }

    /// A body part by part: no two slow down together, as dancers do, all of them some time around the beat or `late` seconds after.
    fn loose(t: f32, bpm: f32, late: f32) -> Pose {
        let t = t - late;
        let mut pose = Pose::default();
        let parts = ["leftUpperArm", "rightUpperArm", "leftLowerArm", "rightLowerArm", "spine", "neck", "leftUpperLeg", "rightUpperLeg"];
        for (k, name) in parts.iter().enumerate() {
            // Late by -0.15 to 0.2 s, each part by its own.
            let late = 0.05 * k as f32 - 0.15;
            let swing = (std::f32::consts::PI * (t - late) * bpm / 60.0).cos();
            pose.rotations[Bone::named(name).unwrap().index()] = Quat::from_rotation_z(0.5 * swing) * Quat::from_rotation_x(0.1 * (1.7 * t + k as f32).sin());
        }
        pose
    }

    /// The dance of `of` (by seconds) as it is and as it is shown.
    fn played(of: impl Fn(f32) -> Pose, bpm: f32, confidence: f32) -> (Vec<Pose>, Vec<Pose>) {
        let mut retimer = Retimer::new(&of(0.0));
        let frames = (SECONDS * POSE_HZ) as u64;
        let shown = (0..frames)
            .map(|tick| {
                if tick.is_multiple_of(FRAMES_PER_STEP as u64) {
                    retimer.push(&std::array::from_fn(|k| of((tick as usize + LEAD_FRAMES + k) as f32 / POSE_HZ)), false);
                }
                let beat = beat_at(tick as f32 / POSE_HZ, bpm, confidence);
                let pose = retimer.at(tick, &beat);
                retimer.watch(&pose, &beat);
                pose
            })
            .collect();
        ((0..frames).map(|tick| of(tick as f32 / POSE_HZ)).collect(), shown)
    }

    fn bodies(poses: &[Pose]) -> Vec<Body> {
        poses.iter().map(metrics::body).collect()
    }

    /// A quantile of the distances from each beat to the nearest moment of least speed, seconds.
    fn off_the_beat(poses: &[Pose], bpm: f32, share: f32) -> f32 {
        let found = kinematic_beats(&bodies(poses));
        let step = 60.0 / bpm;
        let beats = (4..).map(|k| k as f32 * step).take_while(|b| *b < SECONDS - 1.0);
        let off: Vec<f32> = beats.map(|b| found.iter().map(|f| (f - b).abs()).fold(f32::INFINITY, f32::min)).collect();
        metrics::quantile(&off, share)
    }

    #[test]
    fn the_least_speed_comes_nearer_to_a_steady_beat() {
        for (bpm, late) in [(84.0, 0.03), (100.0, 0.05), (120.0, -0.05), (140.0, 0.03)] {
            let (model, shown) = played(|t| loose(t, bpm, late), bpm, 0.9);
            let (before, after) = (off_the_beat(&model, bpm, 0.5), off_the_beat(&shown, bpm, 0.5));
            assert!(after < 0.6 * before && after < 0.04, "{bpm} BPM, {late} s late: {before} s off the beat, then {after} s");
        }
    }

    /// An arm that turns this way and that, slowest now a quarter of a beat late and now on the beat: no one shift mends both.
    fn uneven(t: f32, bpm: f32) -> Pose {
        let beats = t * bpm / 60.0;
        let (whole, part) = (beats.floor(), beats.fract());
        let late = if (whole as i32).rem_euclid(3) == 0 { TAU / 4.0 } else { 0.0 };
        let way = part - 0.95 * ((TAU * part - late).sin() + late.sin()) / TAU;
        let mut pose = Pose::default();
        let angle = if whole as i32 % 2 == 0 { way } else { 1.0 - way };
        pose.rotations[Bone::named("leftUpperArm").unwrap().index()] = Quat::from_rotation_z(angle - 0.5);
        pose
    }

    #[test]
    fn beats_that_the_dance_swings_past_come_nearer_too() {
        for bpm in [84.0, 100.0, 128.0] {
            let (model, shown) = played(|t| uneven(t, bpm), bpm, 0.9);
            let worst = |poses: &[Pose]| off_the_beat(poses, bpm, 0.85);
            let (before, after) = (worst(&model), worst(&shown));
            assert!(before > 0.06 && after < 0.5 * before, "{bpm} BPM: {before} s off the beat, then {after} s");
        }
    }

    #[test]
    fn a_slow_stretch_is_passed_sooner_and_then_time_is_as_it_was() {
        // An arm that turns on and on, at a third of its speed from the third second on for half of one.
        let slow = |t: f32| t - 0.667 * (t - 3.0).clamp(0.0, 0.5);
        let of = |t: f32| {
            let mut pose = Pose::default();
            pose.rotations[Bone::named("leftUpperArm").unwrap().index()] = Quat::from_rotation_z(slow(t));
            pose
        };
        let mut retimer = Retimer::new(&of(0.0));
        let evened: Vec<f32> = (0..180u64)
            .map(|tick| {
                if tick.is_multiple_of(FRAMES_PER_STEP as u64) {
                    retimer.push(&std::array::from_fn(|k| of((tick as usize + LEAD_FRAMES + k) as f32 / POSE_HZ)), false);
                }
                retimer.at(tick, &beat_at(tick as f32 / POSE_HZ, 120.0, 0.9));
                retimer.evened
            })
            .collect();
        let most = |of: &[f32]| of.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        assert!(most(&evened[90..110]) > 0.8, "{evened:?}");
        assert!(most(&evened[70..85]) < 0.3 && most(&evened[165..]) < 0.3, "{evened:?}");
    }

    #[test]
    fn time_never_runs_backwards_or_stops() {
        for bpm in [50.0, 90.0, 128.0, 200.0] {
            let walk = |t: f32| Pose { root: Vec3::new(t, 0.9, 0.0), ..Pose::default() };
            let (_, shown) = played(walk, bpm, 0.9);
            for w in shown[30..].windows(2) {
                let frames = (w[1].root.x - w[0].root.x) * POSE_HZ;
                assert!((0.1..2.0).contains(&frames), "{bpm} BPM: a frame shows {frames} frames");
            }
        }
    }

    #[test]
    fn without_a_beat_the_model_is_shown_as_it_is() {
        let (model, shown) = played(|t| loose(t, 120.0, 0.0), 120.0, 0.0);
        let mut calmed = model[0].clone();
        for (frame, (m, s)) in model.iter().zip(&shown).enumerate() {
            calmed = calm::follow(&calmed, m);
            let near = |(a, b): (&Vec3, Vec3)| a.distance(b) < 1e-3;
            // What was before the first poses is forgotten by then.
            assert!(frame < 40 || calmed.joints().positions.iter().zip(s.joints().positions).all(near));
        }
    }

    #[test]
    fn a_dance_that_begins_anew_takes_over_without_a_jump() {
        let turned = |angle: f32| Pose { root: Vec3::new(angle * 0.3, 0.9, 0.0), ..{ let mut p = Pose::default(); p.rotations[20] = Quat::from_rotation_z(angle); p } };
        let mut retimer = Retimer::new(&turned(0.0));
        let mut shown = Vec::new();
        for tick in 0..60 {
            if tick % 2 == 0 {
                retimer.push(&[turned(1.0), turned(1.0)], tick == 20);
            }
            shown.push(retimer.at(tick, &beat_at(0.0, 120.0, 0.0)));
        }
        // Before it began anew, poses that differ are a dance like any other.
        let steps = shown[20..].windows(2).map(|w| w[0].rotations[20].angle_between(w[1].rotations[20]));
        assert!(steps.fold(0.0, f32::max) < 0.15);
        assert!(shown[59].rotations[20].angle_between(turned(1.0).rotations[20]) < 1e-3);
    }
}
