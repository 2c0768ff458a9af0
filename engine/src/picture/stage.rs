//! The engine's own stage: soft light from above in a haze, a floor that mirrors a little, and all of it breathing with the
//! music: lights pulse on the beat clock, their colours turn with the phrases, the haze follows how loud it is.
//!
//! It works out the light on a coarse grid; painting it is the drawer's. The same sound gives the same light.

use glam::{Vec2, Vec3};

use crate::beat::{BeatState, LEAST_CONFIDENCE};
use crate::features::{HOP_FLOATS, HOPS_PER_SECOND, MEL_BANDS};
use crate::pipeline::FRAME_RATE;
use crate::render::Light;
use crate::render::ground::LIGHT;

/// Colours of the left, the right and the middle light, a set a phrase: linear, 1 is full.
const PALETTES: [[Vec3; 3]; 4] = [
    [Vec3::new(1.0, 0.30, 0.48), Vec3::new(0.20, 0.55, 1.0), Vec3::new(0.75, 0.62, 1.0)],
    [Vec3::new(1.0, 0.58, 0.24), Vec3::new(0.50, 0.30, 1.0), Vec3::new(1.0, 0.78, 0.62)],
    [Vec3::new(0.20, 0.85, 0.66), Vec3::new(0.25, 0.36, 1.0), Vec3::new(0.62, 0.82, 1.0)],
    [Vec3::new(0.95, 0.34, 0.86), Vec3::new(0.16, 0.72, 0.95), Vec3::new(0.92, 0.74, 1.0)],
];
/// Bars that a palette lasts, and frames in which it turns into the next.
const PALETTE_BARS: u32 = 8;
const TURN_FRAMES: f32 = 90.0;
/// Hops of the average that the haze follows, and of the memory of the loudest.
const LOUD_HOPS: f32 = 0.35 * HOPS_PER_SECOND as f32;
const MEMORY_HOPS: f32 = 12.0 * HOPS_PER_SECOND as f32;
/// Side of the noise that the haze is made of; it repeats.
const NOISE: usize = 32;

pub(super) struct Stage {
    pub light: Light,
    noise: Vec<f32>,
    loud: f32,
    loudest: f32,
    bars: u32,
    bar_phase: f32,
    palette: usize,
    /// 0 the palette before to 1 this one.
    turned: f32,
    time_s: f32,
    /// How strongly the beat is seen: it comes and goes with the clock's certainty.
    sure: f32,
}

/// A light in the rig above: where it hangs, where it points, both in shares of the whole picture.
struct Lamp {
    at: Vec2,
    to: Vec2,
    width: f32,
    colour: Vec3,
}

impl Default for Stage {
    fn default() -> Self {
        // A small generator: any even noise will do.
        let mut state = 0x9e37_79b9u32;
        let noise = (0..NOISE * NOISE).map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 8) as f32 / (1 << 24) as f32
        });
        Stage {
            noise: noise.collect(),
            light: Light::default(),
            loud: 0.0,
            loudest: 0.0,
            bars: 0,
            bar_phase: 0.0,
            palette: 0,
            turned: 1.0,
            time_s: 0.0,
            sure: 0.0,
        }
    }
}

fn smooth(low: f32, high: f32, x: f32) -> f32 {
    let t = ((x - low) / (high - low)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

impl Stage {
    /// A hop of the sound's features.
    pub fn hear(&mut self, hop: &[f32; HOP_FLOATS]) {
        let level = hop[..MEL_BANDS].iter().sum::<f32>() / MEL_BANDS as f32;
        self.loud += (level - self.loud) / LOUD_HOPS;
        self.loudest = (self.loudest * (1.0 - 1.0 / MEMORY_HOPS)).max(self.loud);
    }

    /// Noise between its points, repeating.
    fn noise(&self, x: f32, y: f32) -> f32 {
        let (fx, fy) = (x.floor(), y.floor());
        let (kx, ky) = (x - fx, y - fy);
        let (kx, ky) = (kx * kx * (3.0 - 2.0 * kx), ky * ky * (3.0 - 2.0 * ky));
        let wrap = |v: f32| (v as i32).rem_euclid(NOISE as i32) as usize;
        let (x0, y0) = (wrap(fx), wrap(fy));
        let (x1, y1) = ((x0 + 1) % NOISE, (y0 + 1) % NOISE);
        let at = |x: usize, y: usize| self.noise[y * NOISE + x];
        let top = at(x0, y0) + (at(x1, y0) - at(x0, y0)) * kx;
        let bottom = at(x0, y1) + (at(x1, y1) - at(x0, y1)) * kx;
        top + (bottom - top) * ky
    }

    /// A frame on: keeps time, and where it is to be seen works out the light. `floor` is the row on which those in front
    /// stand and `scale` how large they are, in shares of the whole picture.
    pub fn step(&mut self, beat: &BeatState, floor: f32, scale: f32, seen: bool) {
        let sure = beat.confidence >= LEAST_CONFIDENCE;
        self.sure += (if sure { 1.0 } else { 0.0 } - self.sure) / 20.0;
        if sure && beat.bar_phase < self.bar_phase - 0.5 {
            self.bars += 1;
            if self.bars.is_multiple_of(PALETTE_BARS) {
                (self.palette, self.turned) = ((self.palette + 1) % PALETTES.len(), 0.0);
            }
        }
        self.bar_phase = beat.bar_phase;
        self.turned = (self.turned + 1.0 / TURN_FRAMES).min(1.0);
        self.time_s += 1.0 / FRAME_RATE as f32;
        if seen {
            self.shine(beat, floor, scale);
        }
    }

    fn lamps(&self, beat: &BeatState, floor: f32) -> [Lamp; 3] {
        let before = PALETTES[(self.palette + PALETTES.len() - 1) % PALETTES.len()];
        let turned = smooth(0.0, 1.0, self.turned);
        let colour = |i: usize| before[i].lerp(PALETTES[self.palette][i], turned);
        // Up quickly with the beat, down slowly; left and right take turns, the middle marks the bar.
        let pulse = |phase: f32| self.sure * smooth(0.0, 0.05, phase) * (-3.6 * phase).exp();
        let kick = pulse(beat.beat_phase);
        let odd = (beat.bar_phase * beat.beats_per_bar as f32) as u32 % 2 == 1;
        let (left, right) = if odd { (0.25 * kick, kick) } else { (kick, 0.25 * kick) };
        let bar = pulse(beat.bar_phase);
        let sway = (std::f32::consts::TAU * (self.time_s / 11.0)).sin();
        let lean = (std::f32::consts::TAU * (self.time_s / 17.0)).cos();
        [
            Lamp { at: Vec2::new(0.06, -0.10), to: Vec2::new(0.60 + 0.09 * sway, floor), width: 0.075, colour: colour(0) * (0.55 + 0.95 * left) },
            Lamp { at: Vec2::new(0.94, -0.10), to: Vec2::new(0.40 + 0.09 * lean, floor), width: 0.075, colour: colour(1) * (0.55 + 0.95 * right) },
            Lamp { at: Vec2::new(0.5, -0.25), to: Vec2::new(0.5, floor), width: 0.13, colour: colour(2) * (0.30 + 0.42 * bar) },
        ]
    }

    fn shine(&mut self, beat: &BeatState, floor: f32, scale: f32) {
        let lamps = self.lamps(beat, floor);
        let loud = if self.loudest > 1e-3 { (self.loud / self.loudest).clamp(0.0, 1.0) } else { 0.0 };
        let haze = 0.62 + 0.38 * loud;
        // Where the back wall meets the floor.
        let wall = floor - 0.20 * scale;
        let drift = Vec2::new(self.time_s * 0.22, self.time_s * 0.05);
        let mut cells = std::mem::take(&mut self.light.cells);
        for (y, row) in cells.chunks_exact_mut(LIGHT).enumerate() {
            let v = (y as f32 + 0.5) / LIGHT as f32;
            let ground = smooth(wall - 0.015, wall + 0.03, v);
            // Down the floor, from the wall to the front.
            let depth = ((v - wall) / (1.0 - wall).max(0.05)).clamp(0.0, 1.0);
            for (x, cell) in row.iter_mut().enumerate() {
                let u = (x as f32 + 0.5) / LIGHT as f32;
                let p = Vec2::new(u, v);
                let smoke = 0.55 * self.noise(u * 4.0 + drift.x, v * 5.0 - drift.y) + 0.45 * self.noise(u * 9.0 - 0.6 * drift.x, v * 10.0 + drift.y + 7.0);
                let smoke = 0.60 + 0.80 * smoke;
                let side = (2.0 * u - 1.0).abs();
                // The wall fades upwards and to the sides; a glow hangs behind the dancers.
                let glow = (-3.2 * ((p - Vec2::new(0.5, 0.62 * floor)) * Vec2::new(1.15, 1.0)).length_squared() / 0.16).exp();
                let mut air = Vec3::new(0.030, 0.024, 0.058) * (0.55 + 0.75 * v) * (1.0 - 0.35 * side);
                let mut lit = Vec3::new(0.020, 0.017, 0.038) * (1.0 - 0.5 * depth);
                for lamp in &lamps {
                    let way = lamp.to - lamp.at;
                    let length = way.length();
                    let along = (p - lamp.at).dot(way) / length;
                    let off = (p - lamp.at).perp_dot(way) / length;
                    let width = lamp.width * (0.35 + along.max(0.0) / length);
                    let beam = (-(off * off) / (width * width)).exp() * smooth(0.0, 0.1, along) * (1.0 - 0.62 * (along / length).clamp(0.0, 1.0));
                    air += lamp.colour * (0.26 * haze * smoke * beam);
                    // A pool of light on the floor, flat as the floor is seen, and its sheen towards the viewer.
                    let pool = (p - lamp.to) / Vec2::new(0.26, 0.26 * 0.30);
                    let sheen = (-((u - lamp.to.x) * (u - lamp.to.x)) / 0.02).exp() * (1.0 - depth);
                    lit += lamp.colour * (0.30 * (-pool.length_squared()).exp() + 0.035 * sheen + 0.030 * (1.0 - side * side));
                }
                air += (lamps[0].colour + lamps[1].colour) * (0.060 * haze * smoke * glow);
                let light = air.lerp(lit * (0.9 + 0.1 * smoke), ground);
                // To code values: a soft shoulder, then about sRGB's curve.
                *cell = [light.x, light.y, light.z, 0.0].map(|c| 254.0 * (c / (1.0 + 0.6 * c)).max(0.0).powf(0.4545).min(1.0));
            }
        }
        self.light.cells = cells;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mean(stage: &Stage) -> f32 {
        stage.light.cells.iter().map(|c| c[0] + c[1] + c[2]).sum::<f32>() / (3 * LIGHT * LIGHT) as f32
    }

    #[test]
    fn lights_pulse_on_the_beat_and_stay_dark_enough_to_see_the_dancer() {
        let mut stage = Stage::default();
        let mut seen = Vec::new();
        for frame in 0..300 {
            let beat = BeatState { bpm: 120.0, beat_phase: (frame % 15) as f32 / 15.0, bar_phase: (frame % 60) as f32 / 60.0, confidence: 1.0, ..BeatState::default() };
            stage.step(&beat, 0.96, 1.0, true);
            seen.push(mean(&stage));
        }
        let (on, off) = (seen[241], seen[254]);
        assert!(on > 1.04 * off, "{on} on the beat, {off} before the next");
        assert!(seen.iter().all(|m| (15.0..110.0).contains(m)), "{seen:?}");
        assert!(stage.light.cells.iter().flatten().all(|c| (0.0..=254.5).contains(c)));
    }

    #[test]
    fn without_a_beat_nothing_pulses() {
        let mut stage = Stage::default();
        let light: Vec<f32> = (0..60)
            .map(|frame| {
                stage.step(&BeatState { beat_phase: (frame % 15) as f32 / 15.0, ..BeatState::default() }, 0.96, 1.0, true);
                mean(&stage)
            })
            .collect();
        assert!(light.windows(2).all(|w| (w[1] - w[0]).abs() < 0.5), "{light:?}");
    }
}
