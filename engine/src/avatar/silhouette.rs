//! Guesses joints from the outline alone, for a figure that stands upright and faces us.
//!
//! Head from the narrowing at the neck, legs from where the figure forks, arms as what reaches farthest from
//! the trunk. Says how human the result looks, and refuses with a reason rather than guess wildly.

use glam::Vec2;

use super::rig::keypoint;
use super::{AvatarError, Image};
use crate::skeleton::KEYPOINT_COUNT;

pub(crate) struct Found {
    pub points: [Vec2; KEYPOINT_COUNT],
    /// 0 to 1.
    pub confidence: f32,
}

/// Runs of figure pixels in a row: begin and end columns.
fn runs(image: &Image, y: usize) -> Vec<(f32, f32)> {
    let w = image.width as usize;
    let row = &image.rgba[y * w * 4..(y + 1) * w * 4];
    let mut out: Vec<(f32, f32)> = Vec::new();
    let mut begin = None;
    for x in 0..=w {
        let inside = x < w && row[x * 4 + 3] > 100;
        match (inside, begin) {
            (true, None) => begin = Some(x),
            (false, Some(b)) => {
                if x - b > 2 {
                    out.push((b as f32, x as f32));
                }
                begin = None;
            }
            _ => {}
        }
    }
    out
}

fn refuse<T>(why: &str) -> Result<T, AvatarError> {
    Err(AvatarError::Silhouette(why.into()))
}

struct Outline<'a> {
    image: &'a Image,
    top: f32,
    bottom: f32,
}

impl Outline<'_> {
    fn height(&self) -> f32 {
        self.bottom - self.top
    }
    fn row(&self, share: f32) -> usize {
        ((self.top + share * self.height()) as usize).min(self.image.height as usize - 1)
    }
    /// The run that contains column `x`, or the nearest one.
    fn run_at(&self, y: usize, x: f32) -> Option<(f32, f32)> {
        let gap = |r: &(f32, f32)| (r.0 - x).max(x - r.1).max(0.0);
        runs(self.image, y).into_iter().min_by(|a, b| gap(a).total_cmp(&gap(b)))
    }
    fn inside(&self, p: Vec2) -> bool {
        let (x, y) = (p.x as i64, p.y as i64);
        let (w, h) = (self.image.width as i64, self.image.height as i64);
        x >= 0 && y >= 0 && x < w && y < h && self.image.rgba[((y * w + x) * 4 + 3) as usize] > 100
    }
}

pub(crate) fn find(image: &Image) -> Result<Found, AvatarError> {
    let h = image.height as usize;
    let filled: Vec<usize> = (0..h).filter(|&y| !runs(image, y).is_empty()).collect();
    let (Some(&first), Some(&last)) = (filled.first(), filled.last()) else {
        return refuse("nothing is drawn");
    };
    let o = Outline { image, top: first as f32, bottom: last as f32 + 1.0 };
    let tall = o.height();
    if tall < 48.0 {
        return refuse("the figure is smaller than 48 pixels");
    }

    // Middle line: the head's run at the top, then the trunk's.
    let head_middle = {
        let mut xs: Vec<f32> = (2..9).filter_map(|i| o.run_at(o.row(i as f32 * 0.012), image.width as f32 * 0.5)).map(|r| (r.0 + r.1) * 0.5).collect();
        xs.sort_by(f32::total_cmp);
        match xs.get(xs.len() / 2) {
            Some(&x) => x,
            None => return refuse("no head is seen at the top"),
        }
    };

    // Fork: the lowest row from which two legs go down to the feet.
    let mut fork = None;
    let mut legs_rows = 0;
    for y in (o.row(0.45)..o.row(0.97)).rev() {
        let legs: Vec<_> = runs(image, y).into_iter().filter(|r| r.1 - r.0 > 0.012 * tall).collect();
        let around = legs.iter().any(|r| r.1 <= head_middle + 0.12 * tall) && legs.iter().any(|r| r.0 >= head_middle - 0.12 * tall);
        if legs.len() >= 2 && around {
            fork = Some(y as f32);
            legs_rows += 1;
        } else if legs_rows > 8 {
            break;
        }
    }
    let legs_seen = legs_rows as f32 > 0.06 * tall;
    let hidden = fork.is_none_or(|f| f > o.top + 0.78 * tall);
    if !legs_seen && fork.is_none() {
        return refuse("two legs are not seen");
    }

    // Neck: the narrowest row of the head's column between crown and chest.
    let width_at = |y: usize| o.run_at(y, head_middle).map_or(0.0, |r| r.1 - r.0);
    let (from, to) = (o.row(0.09), o.row(0.46));
    let widest_head = (o.row(0.03)..o.row(0.3)).map(width_at).fold(0.0, f32::max);
    let mut neck_row = None;
    let mut seen = 0.0f32;
    for y in from..to {
        let here = width_at(y);
        seen = seen.max(here);
        let below = (y..(y + (0.1 * tall) as usize).min(h)).map(width_at).fold(0.0, f32::max);
        if here < 0.82 * seen && here < 0.72 * below && neck_row.is_none_or(|n| here <= width_at(n)) {
            neck_row = Some(y);
        }
        if neck_row.is_some_and(|n| y as f32 > n as f32 + 0.1 * tall) {
            break;
        }
    }
    let neck_seen = neck_row.is_some();
    let neck_y = neck_row.map_or(o.top + 0.2 * tall, |y| y as f32);
    let head = neck_y - o.top;

    // Crotch from the fork; under a skirt from proportions.
    let crotch = match fork {
        Some(f) if !hidden => f,
        _ => neck_y + 0.42 * (o.bottom - neck_y),
    };
    let trunk = crotch - neck_y;
    if trunk < 0.08 * tall {
        return refuse("head and legs leave no room for a body");
    }
    let waist_row = (neck_y + 0.62 * trunk) as usize;
    let Some(waist) = o.run_at(waist_row, head_middle) else {
        return refuse("the body has a hole in the middle");
    };
    let hip_y = crotch - 0.1 * trunk;
    let middle = (waist.0 + waist.1) * 0.5;

    // Legs: middle of each leg's run, low down and at the knee.
    let leg = |side: f32, y: f32| -> Option<f32> {
        let all = runs(image, (y as usize).min(h - 1));
        let mine = all.into_iter().filter(|r| r.1 - r.0 > 0.012 * tall && ((r.0 + r.1) * 0.5 - middle) * side > -0.01 * tall);
        mine.map(|r| (r.0 + r.1) * 0.5).min_by(|a, b| (a - middle).abs().total_cmp(&(b - middle).abs()))
    };
    let ankle_y = o.bottom - 0.055 * (o.bottom - crotch).max(0.3 * tall);
    let mut body_half = 0.5 * (waist.1 - waist.0);
    // Arms pressed to the body would make the waist too wide.
    body_half = body_half.min(0.16 * tall).max(0.04 * tall);
    let shoulder_half = (body_half * 1.05).max(0.55 * widest_head.min(0.3 * tall) * 0.75).min(0.2 * tall);
    let hip_half = (body_half * 0.55).max(0.03 * tall);

    let mut points: [Vec2; KEYPOINT_COUNT] = [Vec2::ZERO; KEYPOINT_COUNT];
    let mut set = |name: &str, p: Vec2| points[keypoint(name)] = p;
    let shoulder_y = neck_y + (0.16 * trunk).min(0.07 * tall);
    set("pelvis", Vec2::new(middle, hip_y - 0.04 * trunk));
    set("neck", Vec2::new(head_middle, neck_y + 0.25 * (shoulder_y - neck_y)));
    set("head_top", Vec2::new(head_middle, o.top + 0.02 * head));
    set("nose", Vec2::new(head_middle, o.top + 0.66 * head));
    for (s, side) in [("left", 1.0), ("right", -1.0)] {
        set(&format!("{s}_eye"), Vec2::new(head_middle + side * 0.16 * head, o.top + 0.56 * head));
        set(&format!("{s}_ear"), Vec2::new(head_middle + side * 0.36 * head, o.top + 0.6 * head));
    }

    let mut arms_seen = 0.0;
    let mut legs_found = 0.0;
    for (s, side) in [("left", 1.0f32), ("right", -1.0f32)] {
        let shoulder = Vec2::new(middle + side * shoulder_half, shoulder_y);
        let (elbow, wrist, hand, clear) = arm(&o, shoulder, side, neck_y, crotch, body_half, middle);
        arms_seen += clear;
        set(&format!("{s}_shoulder"), shoulder);
        set(&format!("{s}_elbow"), elbow);
        set(&format!("{s}_wrist"), wrist);
        set(&format!("{s}_hand"), hand);

        let fallback = middle + side * hip_half;
        let low = leg(side, ankle_y);
        legs_found += low.is_some() as u32 as f32;
        let ankle = Vec2::new(low.unwrap_or(fallback), ankle_y);
        let hip = Vec2::new(fallback, hip_y);
        let knee_y = hip_y + 0.5 * (ankle_y - hip_y);
        let straight = hip.lerp(ankle, 0.5).x;
        let knee_x = if knee_y > crotch + 2.0 { leg(side, knee_y).unwrap_or(straight) } else { straight };
        let knee_x = knee_x.clamp(straight - 0.08 * tall, straight + 0.08 * tall);
        set(&format!("{s}_hip"), hip);
        set(&format!("{s}_knee"), Vec2::new(knee_x, knee_y));
        set(&format!("{s}_ankle"), ankle);
        set(&format!("{s}_toe"), Vec2::new(ankle.x + side * 0.015 * tall, o.bottom - 0.008 * tall));
    }

    let legs_score = legs_found * 0.5 * if hidden { 0.6 } else { 1.0 };
    let confidence = (0.3 * neck_seen as u32 as f32 + 0.4 * arms_seen * 0.5 + 0.3 * legs_score).clamp(0.0, 1.0);
    let aspect = image.width as f32 / tall;
    if !(0.12..2.2).contains(&aspect) {
        return refuse("the outline is not that of a standing figure");
    }
    if legs_found < 2.0 {
        return refuse("two legs are not seen");
    }
    if confidence < 0.45 {
        return refuse(if arms_seen < 0.8 { "the arms cannot be told from the body" } else { "neck and legs are not clear" });
    }
    Ok(Found { points, confidence })
}

/// Elbow, wrist, hand, and how clearly the arm stands off (0 to 1). The hand is the figure's point farthest from
/// the shoulder on that side, outside the trunk and above the knees.
fn arm(o: &Outline, shoulder: Vec2, side: f32, neck_y: f32, crotch: f32, body_half: f32, middle: f32) -> (Vec2, Vec2, Vec2, f32) {
    let tall = o.height();
    let lowest = (crotch + 0.16 * tall).min(o.bottom - 0.1 * tall);
    let mut best = (0.0, shoulder);
    for y in (o.top as usize)..(lowest as usize) {
        for r in runs(o.image, y) {
            let x = if side > 0.0 { r.1 - 1.0 } else { r.0 };
            let out = (x - middle) * side - body_half;
            // Above the neck only what stands well off the head counts: a raised arm, not hair.
            let needed = if (y as f32) < neck_y { 0.1 * tall } else { 0.02 * tall };
            let p = Vec2::new(x, y as f32);
            let reach = p.distance(shoulder);
            if out > needed && reach > best.0 && reach < 0.62 * tall {
                best = (reach, p);
            }
        }
    }
    let (reach, tip) = best;
    let shortest = 0.16 * tall;
    if reach < shortest {
        // Held to the body: hang it straight down along the outline.
        let hand = Vec2::new(shoulder.x + side * 0.02 * tall, (crotch + 0.02 * tall).min(shoulder.y + 0.42 * tall));
        return (shoulder.lerp(hand, 0.45), shoulder.lerp(hand, 0.85), hand, 0.0);
    }
    // Follow the middle of the limb: at 45 % and 85 % of the way, centred across the line.
    let across = (tip - shoulder).perp().normalize_or_zero();
    let centre = |t: f32| {
        let p = shoulder.lerp(tip, t);
        if !o.inside(p) {
            // A bent arm: look for the figure to either side of the straight line.
            let found = (1..(0.14 * tall) as i32).flat_map(|d| [d as f32, -d as f32]).map(|d| p + across * d).find(|&q| o.inside(q));
            return found.map_or(p, |q| walk_to_middle(o, q, across, tall));
        }
        walk_to_middle(o, p, across, tall)
    };
    let hand = centre(0.95);
    let (elbow, wrist) = (centre(0.46), centre(0.82));
    let stands_off = ((tip.x - middle) * side - body_half) / (0.1 * tall);
    (elbow, wrist, hand, stands_off.clamp(0.0, 1.0))
}

fn walk_to_middle(o: &Outline, p: Vec2, across: Vec2, tall: f32) -> Vec2 {
    let most = (0.06 * tall) as i32;
    let reach = |sign: f32| (1..=most).take_while(|&d| o.inside(p + across * (sign * d as f32))).count() as f32;
    let (a, b) = (reach(1.0), reach(-1.0));
    // Into the trunk both ways: no edge to centre on.
    if a as i32 >= most && b as i32 >= most { p } else { p + across * ((a - b) * 0.5) }
}
