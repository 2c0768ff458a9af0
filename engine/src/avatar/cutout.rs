//! Each part's own picture: what was seen of it, its under-lap, and what goes on behind arms, hair and skirts that hide it.
//!
//! Works on the labels of [`segment`](super::segment); triangles are made in `mesh`.

use glam::Vec2;

use super::segment::{HEAD, NONE, PartPicture, STEPS, Segmentation, TORSO, arm, leg};
use super::{Image, parts, rig::Rig};

/// Full in the middle of a disc, fading near its rim.
fn disc(p: Vec2, centre: Vec2, radius: f32) -> f32 {
    let t = ((radius - p.distance(centre)) / (0.14 * radius).max(2.0)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// How far a part reaches under or over its neighbours at this place: 0 not at all, 1 fully.
fn lap(rig: &Rig, seg: &Segmentation, part: usize, p: Vec2) -> f32 {
    let wide = if part == TORSO { 0.8 } else { 1.3 };
    let shoulder = |s: usize| disc(p, rig.shoulders[s], wide * seg.arm_radius[s]);
    let hip = |s: usize| disc(p, rig.hips[s], if part == TORSO { 1.1 } else { 1.3 } * seg.leg_radius[s]);
    match part {
        TORSO => {
            // Up the neck, never onto the chin: a turned head would show it twice.
            let below_chin = (p - rig.skull).dot(rig.skull - rig.neck) < 0.0;
            let neck = if below_chin { disc(p, rig.neck, 1.6 * seg.neck_radius) } else { 0.0 };
            shoulder(0).max(shoulder(1)).max(hip(0)).max(hip(1)).max(neck)
        }
        HEAD => disc(p, rig.neck.lerp(rig.skull, 0.3), 1.1 * seg.neck_radius),
        2 | 3 => {
            // Not up the neck: collar and hair there are no part of a sleeve.
            let s = part - 2;
            let to_neck = rig.neck - rig.shoulders[s];
            let inward = (p - rig.shoulders[s]).dot(to_neck) / to_neck.length_squared().max(1.0);
            if inward > 0.35 { 0.0 } else { shoulder(s) }
        }
        _ => hip(part - 4),
    }
}

/// The picture of one part, with its under-lap and what goes on behind what hides it.
pub(super) fn cut(figure: &Image, rig: &Rig, seg: &Segmentation, part: usize) -> PartPicture {
    let (w, h) = (figure.width as usize, figure.height as usize);
    let mut cover = vec![0u8; w * h];
    let mut fill = vec![false; w * h];
    let own = |i: usize| seg.label[i] == part as u8;
    for y in 0..h {
        for x in 0..w {
            let i = y * w + x;
            if own(i) {
                cover[i] = 255;
            } else if seg.label[i] != NONE {
                let mut near = 0u8;
                for v in y.saturating_sub(2)..=(y + 2).min(h - 1) {
                    for u in x.saturating_sub(2)..=(x + 2).min(w - 1) {
                        if own(v * w + u) {
                            let d2 = (u as i32 - x as i32).pow(2) + (v as i32 - y as i32).pow(2);
                            near = near.max(if d2 <= 1 { 200 } else if d2 <= 4 { 110 } else { 50 });
                        }
                    }
                }
                // Hair over a shoulder stays with the head; limbs and torso lap over each other only.
                let meets = part == TORSO || part == HEAD || seg.label[i] == TORSO as u8;
                let hair = seg.label[i] == HEAD as u8;
                let at = Vec2::new(x as f32 + 0.5, y as f32 + 0.5);
                let l = match (meets, hair) {
                    (true, false) => lap(rig, seg, part, at),
                    (true, true) if part == TORSO => lap(rig, seg, part, at).min(disc(at, rig.neck, 1.6 * seg.neck_radius)),
                    _ => 0.0,
                };
                cover[i] = near.max((l * 255.0) as u8);
            }
        }
    }
    if part == TORSO {
        under_arms(w, rig, seg, &mut cover, &mut fill);
    }
    if part == arm(0) || part == arm(1) {
        under_hair(w, h, rig, seg, part - arm(0), &mut cover, &mut fill);
    }
    if part >= leg(0) && seg.hem.is_some() {
        under_skirt(w, h, rig, seg, part - leg(0), &mut cover, &mut fill);
    }
    let colours = fill_colours(figure, seg, part, &fill);

    let (mut x0, mut y0, mut x1, mut y1) = (w, h, 0, 0);
    for i in (0..w * h).filter(|&i| cover[i] > 0) {
        let (x, y) = (i % w, i / w);
        (x0, y0, x1, y1) = (x0.min(x), y0.min(y), x1.max(x + 1), y1.max(y + 1));
    }
    if x1 <= x0 {
        return PartPicture { x0: 0, y0: 0, width: 0, height: 0, rgba: Vec::new(), own: Vec::new() };
    }
    let (width, height) = (x1 - x0, y1 - y0);
    let mut out = PartPicture { x0, y0, width, height, rgba: vec![0; width * height * 4], own: vec![0; width * height] };
    for y in 0..height {
        for x in 0..width {
            let i = (y + y0) * w + x + x0;
            let to = y * width + x;
            let k = cover[i] as u32;
            for c in 0..4 {
                let v = if fill[i] { colours[i][c] } else { figure.rgba[i * 4 + c] };
                out.rgba[to * 4 + c] = ((v as u32 * k + 127) / 255) as u8;
            }
            out.own[to] = if own(i) { 255 } else if fill[i] { 80 } else { 170 };
        }
    }
    out
}

/// An upper arm goes on behind hair that hangs before it.
fn under_hair(w: usize, h: usize, rig: &Rig, seg: &Segmentation, side: usize, cover: &mut [u8], fill: &mut [bool]) {
    let Some(found) = &seg.found else { return };
    let (a, b, radius) = (rig.shoulders[side], rig.elbows[side], seg.arm_radius[side]);
    let (low, high) = (a.min(b) - radius, a.max(b) + radius);
    for y in low.y.max(0.0) as usize..(high.y.max(0.0) as usize).min(h) {
        for x in low.x.max(0.0) as usize..(high.x.max(0.0) as usize).min(w) {
            let i = y * w + x;
            let p = Vec2::new(x as f32, y as f32) + 0.5;
            let along = ((p - a).dot(b - a) / a.distance_squared(b).max(1.0)).clamp(0.0, 1.0);
            if found.parts()[i] == parts::HAIR && seg.label[i] == HEAD as u8 && p.distance(a.lerp(b, along)) < radius {
                fill[i] = true;
                cover[i] = 255;
            }
        }
    }
}

/// The torso goes on behind an arm that covers it: every row is filled between its own outer pixels.
fn under_arms(w: usize, rig: &Rig, seg: &Segmentation, cover: &mut [u8], fill: &mut [bool]) {
    let top = rig.shoulders[0].y.min(rig.shoulders[1].y) as usize;
    let bottom = rig.pelvis.y as usize;
    let joints = rig.shoulders.iter().chain(&rig.hips).map(|p| p.x);
    let (left, right) = joints.fold((f32::MAX, f32::MIN), |(l, r), x| (l.min(x), r.max(x)));
    for y in top..bottom.min(seg.label.len() / w) {
        let row = y * w..(y + 1) * w;
        // What is painted beside the trunk has nothing of it between.
        let beside = |i: usize| seg.paint.as_ref().is_some_and(|p| p.parts()[i] > 0) && !(left..=right).contains(&((i % w) as f32));
        let is = |i: &usize| seg.label[*i] == TORSO as u8 && !beside(*i);
        let (Some(first), Some(last)) = (row.clone().find(is), row.rev().find(is)) else { continue };
        for i in first..=last {
            // Hair that was seen hanging there lifts as well.
            let hair = || seg.label[i] == HEAD as u8 && seg.found.as_ref().is_some_and(|f| f.parts()[i] == parts::HAIR);
            if seg.label[i] == arm(0) as u8 || seg.label[i] == arm(1) as u8 || hair() {
                fill[i] = true;
                cover[i] = 255;
            }
        }
    }
}

/// A leg goes on up under a skirt, to its hip if that is short, as wide as it is below the hem.
fn under_skirt(w: usize, h: usize, rig: &Rig, seg: &Segmentation, side: usize, cover: &mut [u8], fill: &mut [bool]) {
    let (a, b) = (rig.hips[side], rig.ankles[side]);
    let hem = seg.hem.unwrap_or(b.y);
    let rows: Vec<usize> = (hem as usize + 2..h.min(hem as usize + 8)).collect();
    let is = |i: &usize| seg.label[*i] == leg(side) as u8;
    let widths = rows.iter().map(|&y| (y * w..(y + 1) * w).filter(is).count());
    let half = (widths.max().unwrap_or(0) as f32 * 0.5).clamp(3.0, seg.leg_radius[side].max(3.0));
    let knee = rig.knees[side];
    // Of what a long skirt hides only shoes may be seen, whose colour a knee has not: nothing of it comes out above.
    let top = if hem > knee.y { hem.midpoint(knee.y) } else { a.y };
    for y in top.max(0.0) as usize..(hem as usize + 3).min(h) {
        let t = y as f32;
        let centre = if t < knee.y {
            a.lerp(knee, ((t - a.y) / (knee.y - a.y).max(1.0)).clamp(0.0, 1.0)).x
        } else {
            knee.lerp(b, ((t - knee.y) / (b.y - knee.y).max(1.0)).clamp(0.0, 1.0)).x
        };
        for x in (centre - half).max(0.0) as usize..=((centre + half) as usize).min(w - 1) {
            let i = y * w + x;
            if seg.label[i] != leg(side) as u8 {
                fill[i] = true;
                cover[i] = 255;
            }
        }
    }
}

/// Colours for filled pixels: the nearest pixel of the part, carried outwards, then blurred along.
fn fill_colours(figure: &Image, seg: &Segmentation, part: usize, fill: &[bool]) -> Vec<[u8; 4]> {
    let (w, h) = (figure.width as usize, figure.height as usize);
    if !fill.iter().any(|&f| f) {
        return Vec::new();
    }
    let solid = |i: usize| seg.label[i] == part as u8 && figure.rgba[i * 4 + 3] > 250;
    let mut out: Vec<[u8; 4]> = (0..w * h).map(|i| std::array::from_fn(|c| figure.rgba[i * 4 + c])).collect();
    let mut from = vec![u32::MAX; w * h];
    let mut wave: Vec<usize> = (0..w * h).filter(|&i| solid(i)).collect();
    for &i in &wave {
        from[i] = i as u32;
    }
    while !wave.is_empty() {
        let mut next = Vec::new();
        for i in wave {
            let (x, y) = (i % w, i / w);
            for (dx, dy, _) in &STEPS[..4] {
                let (u, v) = (x as i32 + dx, y as i32 + dy);
                if u < 0 || v < 0 || u >= w as i32 || v >= h as i32 {
                    continue;
                }
                let j = v as usize * w + u as usize;
                if from[j] == u32::MAX && (fill[j] || figure.rgba[j * 4 + 3] > 0) {
                    from[j] = from[i];
                    next.push(j);
                }
            }
        }
        wave = next;
    }
    for i in 0..w * h {
        if fill[i] && from[i] != u32::MAX {
            let j = from[i] as usize;
            out[i] = std::array::from_fn(|c| figure.rgba[j * 4 + c]);
        }
    }
    // Streaks soften: a few passes of a cross blur over the filled pixels.
    for _ in 0..6 {
        let before = out.clone();
        for i in (0..w * h).filter(|&i| fill[i]) {
            let (x, y) = (i % w, i / w);
            let near = [(x > 0).then(|| i - 1), (x + 1 < w).then_some(i + 1), (y > 0).then(|| i - w), (y + 1 < h).then_some(i + w)];
            let near: Vec<usize> = near.into_iter().flatten().filter(|&j| fill[j] || solid(j)).collect();
            for c in 0..4 {
                let sum: u32 = near.iter().map(|&j| before[j][c] as u32).sum::<u32>() + before[i][c] as u32;
                out[i][c] = (sum / (near.len() as u32 + 1)) as u8;
            }
        }
    }
    out
}
