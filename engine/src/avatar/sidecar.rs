//! The keypoints file beside a picture: read, checked, and missing joints inferred.
//!
//! It knows names and positions, no pixels.

use std::collections::BTreeMap;

use glam::Vec2;

use super::rig::{keypoint, other_side};
use super::{AvatarError, Face};
use crate::skeleton::{KEYPOINT_COUNT, SKELETON};

/// `{"width", "height", "keypoints": {"nose": [x, y], ...}}` in pixels of the picture; the character's left is
/// normally at the picture's right. `loose` may name regions that swing, `skirt` and `face` may overrule what is seen.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sidecar {
    pub width: u32,
    pub height: u32,
    pub keypoints: BTreeMap<String, [f32; 2]>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loose: Vec<LoosePart>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skirt: Option<bool>,
    /// Eyes and mouth; those that are not named do not move. Without it they are looked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub face: Option<Face>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// A region that hangs from the head and swings, such as a ponytail.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoosePart {
    pub name: String,
    /// Where it hangs from.
    pub anchor: [f32; 2],
    /// Corners of the region, at most 64.
    pub polygon: Vec<[f32; 2]>,
}

impl LoosePart {
    /// # Errors
    /// If they are too many, or have too many corners, or lie nowhere.
    pub(crate) fn check(all: &[LoosePart]) -> Result<(), String> {
        if all.len() > 16 || all.iter().any(|l| l.polygon.len() > 64 || l.polygon.len() < 3) {
            return Err("at most 16 loose parts of 3 to 64 corners".into());
        }
        if all.iter().any(|l| l.name.chars().count() > 200) {
            return Err("the name of a loose part is longer than 200 characters".into());
        }
        let mut corners = all.iter().flat_map(|l| l.polygon.iter().chain([&l.anchor])).flatten();
        if corners.any(|v| !v.is_finite() || v.abs() > 20_000.0) {
            return Err("a loose part lies outside the picture".into());
        }
        Ok(())
    }

    /// The same in another picture, to which `place` takes a point of this one.
    pub(crate) fn mapped(&self, place: impl Fn(Vec2) -> Vec2) -> LoosePart {
        let map = |p: [f32; 2]| place(Vec2::from(p)).into();
        LoosePart { name: self.name.clone(), anchor: map(self.anchor), polygon: self.polygon.iter().map(|&p| map(p)).collect() }
    }
}

impl Sidecar {
    /// Reads JSON text of at most 1 MiB.
    pub fn parse(text: &[u8]) -> Result<Sidecar, AvatarError> {
        if text.len() > 1 << 20 {
            return Err(AvatarError::Keypoints("the file is larger than 1 MiB".into()));
        }
        serde_json::from_slice(text).map_err(|e| AvatarError::Keypoints(e.to_string()))
    }

    /// All 24 points in pixels of a picture of this size, and the names of those that were inferred.
    pub(crate) fn resolve(&self, width: u32, height: u32) -> Result<Resolved, AvatarError> {
        let bad = |m: String| Err(AvatarError::Keypoints(m));
        if self.width == 0 || self.height == 0 {
            return bad("width and height must be those of the picture".into());
        }
        let ratio = self.width as f64 * height as f64 / (self.height as f64 * width as f64);
        if (ratio - 1.0).abs() > 0.02 {
            return bad(format!("made for {}x{}, but the picture is {width}x{height}", self.width, self.height));
        }
        let scale = Vec2::new(width as f32 / self.width as f32, height as f32 / self.height as f32);
        let mut points = [None; KEYPOINT_COUNT];
        for (name, p) in &self.keypoints {
            let Some(i) = SKELETON.keypoint_named(name) else {
                return bad(format!("no keypoint is called '{name}'"));
            };
            let inside = |v: f32, max: u32| v.is_finite() && v >= -0.02 * max as f32 && v <= 1.02 * max as f32;
            if !inside(p[0], self.width) || !inside(p[1], self.height) {
                return bad(format!("'{name}' at {:?} lies outside the {}x{} picture", p, self.width, self.height));
            }
            points[i] = Some(Vec2::from(*p) * scale);
        }
        LoosePart::check(&self.loose).map_err(AvatarError::Keypoints)?;
        if self.name.as_ref().is_some_and(|n| n.chars().count() > 200) {
            return bad("the name is longer than 200 characters".into());
        }
        if let Some(face) = &self.face {
            face.check(Vec2::new(self.width as f32, self.height as f32)).map_err(AvatarError::Keypoints)?;
        }
        let mut resolved = infer(points)?;
        let at = |n: &str| resolved.points[keypoint(n)];
        if at("left_shoulder").x < at("right_shoulder").x && at("left_hip").x < at("right_hip").x {
            swap_sides(&mut resolved.points);
            resolved.swapped = true;
        }
        check_plausible(&resolved.points)?;
        Ok(resolved)
    }
}

pub(crate) struct Resolved {
    pub points: [Vec2; KEYPOINT_COUNT],
    pub inferred: Vec<String>,
    /// Left and right were given as the viewer sees them.
    pub swapped: bool,
}

fn swap_sides(points: &mut [Vec2; KEYPOINT_COUNT]) {
    let named = *points;
    for (k, point) in points.iter_mut().enumerate() {
        *point = named[other_side(k)];
    }
}

/// Fills what can be guessed from neighbours; the large joints must be there.
fn infer(given: [Option<Vec2>; KEYPOINT_COUNT]) -> Result<Resolved, AvatarError> {
    let mut p = given;
    let k = keypoint;
    let set = |p: &mut [Option<Vec2>; KEYPOINT_COUNT], name: &str, v: Option<Vec2>| {
        let i = keypoint(name);
        p[i] = p[i].or(v);
    };
    let mid = |a: Option<Vec2>, b: Option<Vec2>| Some((a? + b?) * 0.5);
    let mid_shoulder = mid(p[k("left_shoulder")], p[k("right_shoulder")]);
    let neck = mid_shoulder;
    set(&mut p, "neck", neck);
    for side in ["left", "right"] {
        let (other, pelvis) = (if side == "left" { "right" } else { "left" }, p[k("pelvis")]);
        // A joint seen on one side only is mirrored about the middle.
        for joint in ["shoulder", "hip"] {
            let middle = if joint == "hip" { pelvis } else { p[k("neck")] };
            let mirrored = match (middle, p[k(&format!("{other}_{joint}"))]) {
                (Some(m), Some(o)) => Some(Vec2::new(2.0 * m.x - o.x, o.y)),
                _ => None,
            };
            set(&mut p, &format!("{side}_{joint}"), mirrored);
        }
    }
    let pelvis = mid(p[k("left_hip")], p[k("right_hip")]);
    set(&mut p, "pelvis", pelvis);
    for side in ["left", "right"] {
        let at = |p: &[Option<Vec2>; KEYPOINT_COUNT], n: &str| p[k(&format!("{side}_{n}"))];
        let elbow = mid(at(&p, "shoulder"), at(&p, "wrist"));
        set(&mut p, &format!("{side}_elbow"), elbow);
        let knee = mid(at(&p, "hip"), at(&p, "ankle"));
        set(&mut p, &format!("{side}_knee"), knee);
        let hand = (|| Some(at(&p, "wrist")? + (at(&p, "wrist")? - at(&p, "elbow")?) * 0.45))();
        set(&mut p, &format!("{side}_hand"), hand);
        let out = if side == "left" { 1.0 } else { -1.0 };
        let toe = (|| {
            let shin = at(&p, "knee")?.distance(at(&p, "ankle")?);
            Some(at(&p, "ankle")? + Vec2::new(out * 0.1, 0.18) * shin)
        })();
        set(&mut p, &format!("{side}_toe"), toe);
    }
    let head_top = (|| {
        let neck = p[k("neck")]?;
        match p[k("nose")] {
            Some(nose) => Some(neck + (nose - neck) * 1.9),
            None => Some(neck + (neck - p[k("pelvis")]?) * 0.55),
        }
    })();
    set(&mut p, "head_top", head_top);
    let face = |along: f32, across: f32| -> Option<Vec2> {
        let neck = p[k("neck")]?;
        let axis = p[k("head_top")]? - neck;
        Some(neck + axis * along + axis.perp() * across)
    };
    let faces = [
        ("nose", face(0.5, 0.0)),
        ("left_eye", face(0.6, 0.12)),
        ("right_eye", face(0.6, -0.12)),
        ("left_ear", face(0.56, 0.27)),
        ("right_ear", face(0.56, -0.27)),
    ];
    for (name, v) in faces {
        set(&mut p, name, v);
    }
    let inferred: Vec<String> = (0..KEYPOINT_COUNT)
        .filter(|&i| given[i].is_none() && p[i].is_some())
        .map(|i| SKELETON.keypoints[i].name.clone())
        .collect();
    let missing: Vec<&str> =
        (0..KEYPOINT_COUNT).filter(|&i| p[i].is_none()).map(|i| SKELETON.keypoints[i].name.as_str()).collect();
    if !missing.is_empty() {
        return Err(AvatarError::Keypoints(format!("these are needed and cannot be inferred: {}", missing.join(", "))));
    }
    Ok(Resolved { points: p.map(|v| v.expect("none is missing")), inferred, swapped: false })
}

fn check_plausible(p: &[Vec2; KEYPOINT_COUNT]) -> Result<(), AvatarError> {
    let at = |n: &str| p[keypoint(n)];
    let torso = at("neck").distance(at("pelvis"));
    let say = |m: &str| Err(AvatarError::Keypoints(m.into()));
    if torso < 4.0 {
        return say("neck and pelvis lie on one spot");
    }
    if at("neck").y >= at("pelvis").y || at("head_top").y >= at("neck").y {
        return say("the figure must stand upright: head above neck above pelvis");
    }
    for side in ["left", "right"] {
        for (a, b) in [("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")] {
            let d = at(&format!("{side}_{a}")).distance(at(&format!("{side}_{b}")));
            if d < 0.04 * torso || d > 6.0 * torso {
                return Err(AvatarError::Keypoints(format!("{side} {a} to {b} is implausible beside the torso")));
            }
        }
    }
    Ok(())
}
