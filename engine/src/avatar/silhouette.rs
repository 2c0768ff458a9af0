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
    let widest_head = (o.row(0.03)..o.row(0.22)).map(width_at).fold(0.0, f32::max);
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
    // No narrowing (long hair, no neck): a head is about as high as it is wide.
    let neck_y = neck_row.map_or(o.top + (0.95 * widest_head).clamp(0.16 * tall, 0.4 * tall), |y| y as f32);
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
    let shoulder_half = (body_half * 0.9).min(0.2 * tall);
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

    let trunk_shape = Trunk {
        middle,
        half: body_half,
        neck: Vec2::new(head_middle, neck_y),
        crotch,
        head_half: 0.5 * widest_head.min(0.5 * tall),
    };
    let shoulder_at = |side: f32| Vec2::new(middle + side * shoulder_half, shoulder_y);
    let arms = [1.0, -1.0].map(|side| arm(&o, shoulder_at(side), side, &trunk_shape));
    let even = (arms[0].length / arms[1].length.max(1.0)).clamp(0.01, 100.0).ln().abs();
    let even = (1.6 - even * 1.6).clamp(0.0, 1.0);
    let arms_seen = (arms[0].clear + arms[1].clear) * even;
    let mut legs_found = 0.0;
    for ((s, side), arm) in [("left", 1.0f32), ("right", -1.0f32)].into_iter().zip(&arms) {
        set(&format!("{s}_shoulder"), shoulder_at(side));
        set(&format!("{s}_elbow"), arm.elbow);
        set(&format!("{s}_wrist"), arm.wrist);
        set(&format!("{s}_hand"), arm.hand);

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
    if confidence < 0.6 || arms.iter().any(|a| a.clear < 0.25) || even < 0.3 {
        return refuse(if arms_seen < 1.2 { "the arms cannot be told from the body" } else { "neck and legs are not clear" });
    }
    Ok(Found { points, confidence })
}

/// What the search for an arm knows about the trunk.
struct Trunk {
    middle: f32,
    half: f32,
    neck: Vec2,
    crotch: f32,
    head_half: f32,
}

struct Arm {
    elbow: Vec2,
    wrist: Vec2,
    hand: Vec2,
    length: f32,
    /// How clearly it stands off the trunk, 0 to 1.
    clear: f32,
}

/// Walks inside the figure from the chest: the place reached last on a side is the hand, and the way there is the
/// arm. Head and legs are no way.
fn arm(o: &Outline, shoulder: Vec2, side: f32, t: &Trunk) -> Arm {
    let tall = o.height();
    let (w, h) = (o.image.width as usize, o.image.height as usize);
    let lowest = (t.crotch + 0.12 * tall).min(o.bottom - 0.1 * tall);
    let open = |x: usize, y: usize| {
        let p = Vec2::new(x as f32, y as f32);
        let across = (p.x - t.middle) * side;
        let head = p.y < t.neck.y && (p.x - t.neck.x).abs() < 1.15 * t.head_half;
        let leg = p.y > t.crotch - 0.02 * tall && across < t.half + 0.02 * tall;
        o.inside(p) && p.y < lowest && across > -0.3 * t.half && !head && !leg
    };
    // Per row, how far out the trunk's own run ends, where something else lies beyond it.
    let gap_to_trunk: Vec<Option<f32>> = (0..h)
        .map(|y| {
            let all = runs(o.image, y);
            let own = all.iter().find(|r| r.0 <= t.middle && r.1 >= t.middle);
            let end = own.map_or(0.0, |r| if side > 0.0 { r.1 - t.middle } else { t.middle - r.0 });
            all.iter().any(|r| ((r.0 + r.1) * 0.5 - t.middle) * side > end).then_some(end)
        })
        .collect();
    let mut far = vec![f32::MAX; w * h];
    let mut back = vec![u32::MAX; w * h];
    let start = (shoulder.y as usize).min(h - 1) * w + (t.middle.max(0.0) as usize).min(w - 1);
    let mut queue = std::collections::BinaryHeap::new();
    far[start] = 0.0;
    queue.push((std::cmp::Reverse(0u32), start));
    let mut tip = (0.0, start);
    // The way down counts half: the corner of a skirt may lie farther than a hand that is held out.
    let reached = |i: usize, far: f32| far - 0.5 * ((i / w) as f32 - shoulder.y).max(0.0);
    while let Some((std::cmp::Reverse(d), i)) = queue.pop() {
        if d as f32 > far[i] * 16.0 + 1.0 {
            continue;
        }
        let (x, y) = ((i % w) as i64, (i / w) as i64);
        let stands_off = (x as f32 - t.middle) * side > t.half + 0.02 * tall;
        // Below the shoulders a hand has a gap between it and the trunk; a hem has none.
        let free = stands_off && (y as f32) < shoulder.y + 0.1 * tall || gap_to_trunk[y as usize].is_some_and(|g| (x as f32 - t.middle) * side > g);
        if stands_off && free && reached(i, far[i]) > tip.0 {
            tip = (reached(i, far[i]), i);
        }
        for (dx, dy) in [(-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (1, -1), (-1, 1), (1, 1)] {
            let (u, v) = (x + dx, y + dy);
            if u < 0 || v < 0 || u >= w as i64 || v >= h as i64 || !open(u as usize, v as usize) {
                continue;
            }
            let j = v as usize * w + u as usize;
            let step = far[i] + if dx != 0 && dy != 0 { 1.414 } else { 1.0 };
            if step < far[j] {
                far[j] = step;
                back[j] = i as u32;
                queue.push((std::cmp::Reverse((step * 16.0) as u32), j));
            }
        }
    }
    // From the tip back to where the way is level with the shoulder.
    let mut way = vec![];
    let mut i = tip.1;
    while i != start {
        let p = Vec2::new((i % w) as f32 + 0.5, (i / w) as f32 + 0.5);
        if (p.x - t.middle) * side < (shoulder.x - t.middle) * side {
            break;
        }
        way.push(p);
        i = back[i] as usize;
    }
    way.reverse();
    let length = way.windows(2).map(|p| p[0].distance(p[1])).sum::<f32>();
    if length < 0.14 * tall {
        // Held to the body: hang it straight down along the outline.
        let hand = Vec2::new(shoulder.x + side * 0.02 * tall, (t.crotch + 0.02 * tall).min(shoulder.y + 0.42 * tall));
        return Arm { elbow: shoulder.lerp(hand, 0.45), wrist: shoulder.lerp(hand, 0.85), hand, length: shoulder.distance(hand), clear: 0.0 };
    }
    let place = |share: f32| {
        let k = ((way.len() - 1) as f32 * share) as usize;
        let reach = (way.len() / 8).max(2);
        let d = way[(k + reach).min(way.len() - 1)] - way[k.saturating_sub(reach)];
        walk_to_middle(o, way[k], d.perp().normalize_or_zero(), tall)
    };
    let outside = way.iter().filter(|p| (p.x - t.middle) * side > t.half || p.y < t.neck.y).count();
    // Arms are slim: the way's own neighbourhood must be.
    let slim = [0.45, 0.65, 0.85].iter().filter(|&&k| is_slim(o, &way, k, tall)).count() as f32 / 3.0;
    let clear = (outside as f32 / way.len() as f32 * 1.4 - 0.3).clamp(0.0, 1.0) * slim;
    Arm { elbow: place(0.46), wrist: place(0.8), hand: place(0.93), length, clear }
}

fn is_slim(o: &Outline, way: &[Vec2], share: f32, tall: f32) -> bool {
    let k = ((way.len() - 1) as f32 * share) as usize;
    let reach = (way.len() / 8).max(2);
    let d = way[(k + reach).min(way.len() - 1)] - way[k.saturating_sub(reach)];
    let across = d.perp().normalize_or_zero();
    let most = (0.13 * tall) as i32;
    let side = |sign: f32| (1..=most).take_while(|&d| o.inside(way[k] + across * (sign * d as f32))).count() as f32;
    side(1.0) + side(-1.0) < 0.17 * tall
}

fn walk_to_middle(o: &Outline, p: Vec2, across: Vec2, tall: f32) -> Vec2 {
    let most = (0.06 * tall) as i32;
    let reach = |sign: f32| (1..=most).take_while(|&d| o.inside(p + across * (sign * d as f32))).count() as f32;
    let (a, b) = (reach(1.0), reach(-1.0));
    // Into the trunk both ways: no edge to centre on.
    if a as i32 >= most && b as i32 >= most { p } else { p + across * ((a - b) * 0.5) }
}
