//! Which human: age, sex, build and the many small ways in which bodies and faces differ, as weights of morph targets.

use anyhow::Result;
use glam::Vec3;

use super::files::{Base, Targets};
use crate::rng::Rng;

const ORIGINS: [&str; 3] = ["african", "asian", "caucasian"];

/// Small differences: a target for less and one for more, on both sides where the body has two.
const DETAILS: [(&str, &str, &str); 36] = [
    ("head/head-oval", "", ""),
    ("head/head-round", "", ""),
    ("head/head-rectangular", "", ""),
    ("head/head-square", "", ""),
    ("head/head-triangular", "", ""),
    ("head/head-invertedtriangular", "", ""),
    ("head/head-diamond", "", ""),
    ("head/head-scale-horiz", "-decr", "-incr"),
    ("head/head-scale-vert", "-decr", "-incr"),
    ("head/head-scale-depth", "-decr", "-incr"),
    ("head/head-fat", "-decr", "-incr"),
    ("neck/neck-scale-horiz", "-decr", "-incr"),
    ("neck/neck-scale-vert", "-decr", "-incr"),
    ("torso/torso-scale-horiz", "-decr", "-incr"),
    ("torso/torso-scale-vert", "-decr", "-incr"),
    ("torso/torso-scale-depth", "-decr", "-incr"),
    ("torso/torso-vshape", "-decr", "-incr"),
    ("hip/hip-scale-horiz", "-decr", "-incr"),
    ("hip/hip-scale-depth", "-decr", "-incr"),
    ("stomach/stomach-tone", "-decr", "-incr"),
    ("buttocks/buttocks-volume", "-decr", "-incr"),
    ("armslegs/?-upperarm-fat", "-decr", "-incr"),
    ("armslegs/?-lowerarm-fat", "-decr", "-incr"),
    ("armslegs/?-upperleg-fat", "-decr", "-incr"),
    ("armslegs/?-lowerleg-fat", "-decr", "-incr"),
    ("armslegs/?-upperarm-scale-horiz", "-decr", "-incr"),
    ("armslegs/?-upperleg-scale-horiz", "-decr", "-incr"),
    ("armslegs/?-hand-scale", "-decr", "-incr"),
    ("armslegs/?-foot-scale", "-decr", "-incr"),
    ("armslegs/upperlegs-height", "-decr", "-incr"),
    ("armslegs/lowerlegs-height", "-decr", "-incr"),
    ("nose/nose-scale-horiz", "-decr", "-incr"),
    ("nose/nose-scale-depth", "-decr", "-incr"),
    ("chin/chin-width", "-decr", "-incr"),
    ("ears/?-ear-scale", "-decr", "-incr"),
    ("eyes/?-eye-scale", "-decr", "-incr"),
];

/// A body, and whose suits fit it.
pub struct Human {
    pub positions: Vec<Vec3>,
    pub female: bool,
}

/// Two neighbours of a scale and how much of each: `at` 0 is the first, 1 the last.
fn between(names: &[&'static str], at: f32) -> [(&'static str, f32); 2] {
    let x = at.clamp(0.0, 1.0) * (names.len() - 1) as f32;
    let i = (x as usize).min(names.len() - 2);
    let f = x - i as f32;
    [(names[i], 1.0 - f), (names[i + 1], f)]
}

pub fn human(base: &Base, targets: &Targets, rng: &mut Rng) -> Result<Human> {
    let mut positions = base.positions.clone();
    let mut add = |name: &str, weight: f32| -> Result<()> {
        if weight.abs() > 0.01 && targets.has(name) {
            for &(v, by) in targets.get(name)?.iter() {
                positions[v] += by * weight;
            }
        }
        Ok(())
    };
    let female = rng.chance(0.55);
    let sex = if female { "female" } else { "male" };
    // Mostly young, some old, some not grown up.
    let age = if rng.chance(0.7) { rng.range(0.4, 0.62) } else { rng.range(0.1, 0.95) };
    // The middle of several draws: extremes are rare.
    let mut bell = |spread: f32| 0.5 + spread * (rng.unit() + rng.unit() - 1.0);
    let (muscle, weight, height, proportions) = (bell(0.5), bell(0.5), bell(0.5), bell(0.5) * 2.0 - 1.0);
    let mixture: [f32; 3] = std::array::from_fn(|_| rng.unit().powi(3) + 0.01);
    let total: f32 = mixture.iter().sum();
    for (age, a) in between(&["child", "young", "old"], age) {
        for (origin, m) in ORIGINS.iter().zip(mixture) {
            add(&format!("macrodetails/{origin}-{sex}-{age}"), a * m / total)?;
        }
        for (muscle, u) in between(&["minmuscle", "averagemuscle", "maxmuscle"], muscle) {
            for (weight, w) in between(&["minweight", "averageweight", "maxweight"], weight) {
                let (build, share) = (format!("{sex}-{age}-{muscle}-{weight}"), a * u * w);
                add(&format!("macrodetails/universal-{build}"), share)?;
                let tall = if height < 0.5 { "minheight" } else { "maxheight" };
                add(&format!("macrodetails/height/{build}-{tall}"), share * (height - 0.5).abs() * 2.0)?;
                let shape = if proportions < 0.0 { "uncommonproportions" } else { "idealproportions" };
                add(&format!("macrodetails/proportions/{build}-{shape}"), share * proportions.abs())?;
            }
        }
    }
    for (name, less, more) in DETAILS {
        if rng.chance(0.6) {
            continue;
        }
        let by = rng.range(-0.8, 0.8);
        let ending = if by < 0.0 { less } else { more };
        for side in ["l", "r"] {
            let name = name.replace('?', side);
            if side == "l" || name.contains("/r-") {
                add(&format!("{name}{ending}"), by.abs())?;
            }
        }
    }
    Ok(Human { positions, female })
}
