//! Cuts a figure into parts: which bone each pixel belongs to, and each part's own picture with its under-lap.
//!
//! Distances are geodesic (inside the alpha), so an arm that nearly touches the torso does not stick to it.
//! Works on pixels; triangles are made in `mesh`.

use glam::Vec2;

use super::seen::{self, SeenParts};
use super::{Image, PartMap, parts, rig::Rig};

/// Parts with a picture of their own; arms and legs hold two layers each.
pub(crate) const PARTS: usize = 6;
pub(crate) const TORSO: usize = 0;
pub(crate) const HEAD: usize = 1;
pub(crate) const fn arm(side: usize) -> usize {
    2 + side
}
pub(crate) const fn leg(side: usize) -> usize {
    4 + side
}

pub(super) const NONE: u8 = 255;

/// One part's picture in figure coordinates.
pub(crate) struct PartPicture {
    pub x0: usize,
    pub y0: usize,
    pub width: usize,
    pub height: usize,
    /// Premultiplied.
    pub rgba: Vec<u8>,
    /// 255 where the part itself was seen; less in the under-lap.
    pub own: Vec<u8>,
}

pub(crate) struct Segmentation {
    /// Part of every pixel of the figure, row by row; 255 outside.
    pub label: Vec<u8>,
    /// Half-widths in pixels: upper arms, thighs.
    pub arm_radius: [f32; 2],
    pub leg_radius: [f32; 2],
    pub neck_radius: f32,
    pub pictures: Vec<PartPicture>,
    /// Row where a skirt ends.
    pub hem: Option<f32>,
    pub loose: Vec<Loose>,
    /// Over `label`, which it has changed already: what is left of it to say is where hair hangs.
    pub paint: Option<PartMap>,
    /// Under the paint: what the network or a rig found, likewise.
    pub found: Option<PartMap>,
}

/// What is known beyond joints, in figure coordinates.
#[derive(Default)]
pub(crate) struct Hints {
    /// What the network saw of this figure: weighed against the rules.
    pub seen: Option<SeenParts>,
    /// Of the figure's size, in place of the rules: found before, or known from a rig.
    pub found: Option<PartMap>,
    pub skirt: Option<bool>,
    pub loose: Vec<Loose>,
    /// Of the figure's size: overrules what is seen.
    pub paint: Option<PartMap>,
}

/// A region that hangs from the head by its anchor.
pub(crate) struct Loose {
    pub anchor: Vec2,
    pub polygon: Vec<Vec2>,
}

impl Loose {
    pub fn contains(&self, p: Vec2) -> bool {
        let mut inside = false;
        for (i, &a) in self.polygon.iter().enumerate() {
            let b = self.polygon[(i + 1) % self.polygon.len()];
            if (a.y > p.y) != (b.y > p.y) && p.x < a.x + (p.y - a.y) / (b.y - a.y) * (b.x - a.x) {
                inside = !inside;
            }
        }
        inside
    }

    /// How freely a place in it swings: 0 at the anchor, 1 at the far end.
    pub fn freedom(&self, p: Vec2) -> f32 {
        let length = self.polygon.iter().map(|q| q.distance(self.anchor)).fold(1.0, f32::max);
        (1.6 * p.distance(self.anchor) / length).min(1.0)
    }
}

impl Segmentation {
    /// Shares of the pixels near a place that are painted as head, and painted or found as hair.
    pub fn painted_head(&self, p: Vec2) -> (f32, f32) {
        const NEAR: f32 = 6.0;
        let Some((w, h)) = self.paint.as_ref().or(self.found.as_ref()).map(PartMap::size) else { return (0.0, 0.0) };
        let (w, h) = (w as usize, h as usize);
        let of = |map: &Option<PartMap>, i: usize| map.as_ref().map_or(0, |m| m.parts()[i]);
        let range = |v: f32, most: usize| (v - NEAR).max(0.0) as usize..((v + NEAR).max(0.0) as usize).min(most);
        let (mut all, mut head, mut hair) = (0.0f32, 0.0, 0.0);
        for y in range(p.y, h) {
            for x in range(p.x, w) {
                if self.label[y * w + x] == HEAD as u8 {
                    all += 1.0;
                    // That nobody found it to swing does not hold it fast: only who paints it as head says so.
                    match (of(&self.paint, y * w + x), of(&self.found, y * w + x)) {
                        (parts::HEAD, _) => head += 1.0,
                        (parts::HAIR, _) | (0, parts::HAIR) => hair += 1.0,
                        _ => {}
                    }
                }
            }
        }
        (head / all.max(1.0), hair / all.max(1.0))
    }
}

pub(super) struct Grid {
    pub w: usize,
    pub h: usize,
    pub inside: Vec<bool>,
}

impl Grid {
    fn at(&self, p: Vec2) -> Option<usize> {
        let (x, y) = (p.x.floor(), p.y.floor());
        (x >= 0.0 && y >= 0.0 && x < self.w as f32 && y < self.h as f32).then(|| y as usize * self.w + x as usize)
    }

    /// Labels spread from `sources` (pixel, label, start distance in fifths of a pixel); `extra(i, j)` is what a
    /// step costs beyond its length (under 120), `None` where there is no way.
    fn spread(&self, sources: &[(usize, u8, u32)], extra: impl Fn(usize, usize) -> Option<u32>) -> Vec<u8> {
        let mut dist = vec![u32::MAX; self.w * self.h];
        let mut label = vec![NONE; self.w * self.h];
        let mut buckets: Vec<Vec<u32>> = vec![Vec::new(); 128];
        let mut waiting = 0usize;
        let mut late: Vec<(usize, u8, u32)> = sources.to_vec();
        late.sort_by_key(|s| std::cmp::Reverse(s.2));
        let mut now = 0u32;
        loop {
            while late.last().is_some_and(|s| s.2 <= now) {
                let (i, l, d) = late.pop().expect("just seen");
                if d < dist[i] {
                    dist[i] = d;
                    label[i] = l;
                    buckets[(now % 128) as usize].push(i as u32);
                    waiting += 1;
                }
            }
            if waiting == 0 {
                match late.last() {
                    Some(s) => now = s.2,
                    None => break,
                }
                continue;
            }
            let mut list = std::mem::take(&mut buckets[(now % 128) as usize]);
            waiting -= list.len();
            for i in list.drain(..) {
                let i = i as usize;
                if dist[i] > now || dist[i] == u32::MAX {
                    continue;
                }
                let (x, y) = (i % self.w, i / self.w);
                for (dx, dy, cost) in STEPS {
                    let (u, v) = (x as i32 + dx, y as i32 + dy);
                    if u < 0 || v < 0 || u >= self.w as i32 || v >= self.h as i32 {
                        continue;
                    }
                    let j = v as usize * self.w + u as usize;
                    let Some(more) = extra(i, j) else { continue };
                    let d = dist[i] + cost + more;
                    if d < dist[j] {
                        dist[j] = d;
                        label[j] = label[i];
                        buckets[(d % 128) as usize].push(j as u32);
                        waiting += 1;
                    }
                }
            }
            buckets[(now % 128) as usize] = list;
            now += 1;
        }
        label
    }
}

const STEPS: [(i32, i32, u32); 8] =
    [(-1, 0, 5), (1, 0, 5), (0, -1, 5), (0, 1, 5), (-1, -1, 7), (1, -1, 7), (-1, 1, 7), (1, 1, 7)];

/// Chamfer distance to the nearest outside pixel, pixels.
fn depth_inside(g: &Grid) -> Vec<f32> {
    let (w, h) = (g.w, g.h);
    let mut d: Vec<f32> = g.inside.iter().map(|&i| if i { 1e6 } else { 0.0 }).collect();
    let relax = |d: &mut Vec<f32>, x: usize, y: usize, steps: &[(i32, i32, f32)]| {
        let mut best = d[y * w + x];
        for &(dx, dy, c) in steps {
            let (u, v) = (x as i32 + dx, y as i32 + dy);
            let n = if u < 0 || v < 0 || u >= w as i32 || v >= h as i32 { 0.0 } else { d[v as usize * w + u as usize] };
            best = best.min(n + c);
        }
        d[y * w + x] = best;
    };
    for y in 0..h {
        for x in 0..w {
            relax(&mut d, x, y, &[(-1, 0, 1.0), (0, -1, 1.0), (-1, -1, 1.4), (1, -1, 1.4)]);
        }
    }
    for y in (0..h).rev() {
        for x in (0..w).rev() {
            relax(&mut d, x, y, &[(1, 0, 1.0), (0, 1, 1.0), (1, 1, 1.4), (-1, 1, 1.4)]);
        }
    }
    d
}

fn line(g: &Grid, a: Vec2, b: Vec2, label: u8, out: &mut Vec<(usize, u8, u32)>) {
    let n = a.distance(b).ceil().max(1.0) as usize;
    out.extend((0..=n).filter_map(|i| Some((g.at(a.lerp(b, i as f32 / n as f32))?, label, 0))));
}

/// Labels and pictures.
pub(crate) fn segment(figure: &Image, rig: &Rig, hints: Hints) -> Segmentation {
    let mut seg = label(figure, rig, hints);
    seg.pictures = (0..PARTS).map(|part| picture(figure, rig, &seg, part)).collect();
    seg
}

/// Everything but the pictures.
pub(crate) fn label(figure: &Image, rig: &Rig, hints: Hints) -> Segmentation {
    let (w, h) = (figure.width as usize, figure.height as usize);
    let alpha = |i: usize| figure.rgba[i * 4 + 3];
    let g = Grid { w, h, inside: (0..w * h).map(|i| alpha(i) > 8).collect() };
    let depth = depth_inside(&g);
    let radius = |a: Vec2, b: Vec2, t: f32, most: f32| {
        let r = g.at(a.lerp(b, t)).map_or(0.0, |i| depth[i]);
        r.clamp(0.08 * a.distance(b), most)
    };
    let arm_radius = std::array::from_fn(|s| {
        let (a, b) = (rig.shoulders[s], rig.elbows[s]);
        radius(a, b, 0.6, 0.45 * a.distance(b))
    });
    let hip_width = rig.hips[0].distance(rig.hips[1]).max(4.0);
    let leg_radius = std::array::from_fn(|s| {
        let (a, b) = (rig.hips[s], rig.knees[s]);
        radius(a, b, 0.7, (0.55 * hip_width).min(0.45 * a.distance(b)))
    });
    let neck_radius = radius(rig.neck, rig.skull, 0.5, 0.2 * rig.shoulders[0].distance(rig.shoulders[1]).max(8.0));

    // Where each part surely is.
    let mut sources = Vec::new();
    // The trunk's flanks: from inside the shoulders down to the hips, at least four fifths as wide.
    let flank = |s: usize, t: f32| {
        let top = rig.shoulders[s].lerp(rig.neck, 0.26);
        let chest = 0.82 * (rig.shoulders[s].x - rig.neck.x);
        let hip = 0.85 * (rig.hips[s].x - rig.pelvis.x);
        let out = if hip.abs() > chest.abs() { hip } else { chest };
        let low = Vec2::new(rig.pelvis.x + out, rig.hips[s].y.min(rig.pelvis.y));
        top.lerp(low, t)
    };
    for i in 0..=48 {
        let t = i as f32 / 48.0;
        let side = |s: usize| flank(s, t);
        line(&g, side(0), side(1), TORSO as u8, &mut sources);
    }
    let head_middle = rig.skull.lerp(rig.head_top, 0.5);
    let head_reach = rig.skull.distance(rig.head_top) * 0.36;
    for i in 0..36 {
        let a = i as f32 / 36.0 * std::f32::consts::TAU;
        line(&g, head_middle, head_middle + Vec2::from_angle(a) * head_reach, HEAD as u8, &mut sources);
    }
    line(&g, rig.neck.lerp(rig.skull, 0.45), head_middle, HEAD as u8, &mut sources);
    // Hair beside the jaw: straight down from the ears to just above the shoulders.
    for s in 0..2 {
        let ear = rig.hair[s];
        let end = rig.neck.y.min(rig.shoulders[s].y) - 0.5 * arm_radius[s];
        let mut hair = Vec::new();
        line(&g, ear, Vec2::new(ear.x, end.max(ear.y)), HEAD as u8, &mut hair);
        sources.extend(hair.into_iter().filter(|h| g.inside[h.0]));
    }
    for s in 0..2 {
        line(&g, rig.shoulders[s].lerp(rig.elbows[s], 0.18), rig.elbows[s], arm(s) as u8, &mut sources);
        line(&g, rig.elbows[s], rig.wrists[s], arm(s) as u8, &mut sources);
        line(&g, rig.wrists[s], rig.hands[s], arm(s) as u8, &mut sources);
        line(&g, rig.hips[s].lerp(rig.knees[s], 0.22), rig.knees[s], leg(s) as u8, &mut sources);
        line(&g, rig.knees[s], rig.ankles[s], leg(s) as u8, &mut sources);
        line(&g, rig.ankles[s], rig.toes[s], leg(s) as u8, &mut sources);
    }
    for loose in &hints.loose {
        let (low, high) = loose.polygon.iter().fold((Vec2::MAX, Vec2::MIN), |(l, h), p| (l.min(*p), h.max(*p)));
        for y in low.y.max(0.0) as usize..(high.y.max(0.0) as usize).min(h) {
            for x in low.x.max(0.0) as usize..(high.x.max(0.0) as usize).min(w) {
                if g.inside[y * w + x] && loose.contains(Vec2::new(x as f32 + 0.5, y as f32 + 0.5)) {
                    sources.push((y * w + x, HEAD as u8, 0));
                }
            }
        }
    }
    let skirt = hints.skirt.or_else(|| hints.seen.as_ref().filter(|s| s.skirted(&g)).map(|_| true));
    let hem = if skirt == Some(false) { None } else { find_hem(&g, rig, skirt == Some(true)) };
    if let Some(hem) = hem {
        // Nothing above the hem is leg; the whole width between the hips and the hem is torso.
        for s in sources.iter_mut() {
            let legs = s.1 >= leg(0) as u8;
            if legs && ((s.0 / w) as f32) < hem {
                s.1 = TORSO as u8;
            }
        }
    }
    // Outlines and colour edges are where parts meet: crossing one costs as much as a walk around it.
    let edge = |i: usize, j: usize| {
        let (a, b) = (&figure.rgba[i * 4..i * 4 + 4], &figure.rgba[j * 4..j * 4 + 4]);
        a.iter().zip(b).map(|(x, y)| x.abs_diff(*y) as u32).max().unwrap_or(0) / 4
    };
    let across = |i: usize, j: usize| g.inside[j].then(|| edge(i, j));
    let mut label = g.spread(&sources, across);
    let mut found = hints.found;
    if let Some(seen) = &hints.seen {
        let classes = g.spread(&seen.sure(&g, &label, &sources), across);
        // Where nothing was reached the rules stand.
        for (label, &class) in label.iter_mut().zip(&classes).filter(|(_, c)| **c != NONE) {
            *label = seen::part(class);
        }
        let map = label.iter().zip(&classes).zip(&g.inside).map(|((&label, &class), inside)| match class {
            _ if !inside || label == NONE => 0,
            seen::HAIR => parts::HAIR,
            _ => label + 1,
        });
        found = Some(PartMap::new(figure.width, figure.height, map.collect()));
    } else if let Some(found) = &found {
        for (label, &part) in label.iter_mut().zip(found.parts()).filter(|(_, p)| **p > 0) {
            *label = if part == parts::HAIR { HEAD as u8 } else { part - 1 };
        }
    }
    if let Some(hem) = hem {
        let legs = [leg(0) as u8, leg(1) as u8];
        for i in 0..w * h {
            let y = (i / w) as f32;
            if label[i] == TORSO as u8 && y > hem {
                let near = |s: usize| (i % w) as f32 - rig.knees[s].lerp(rig.ankles[s], 0.3).x;
                label[i] = legs[(near(1).abs() < near(0).abs()) as usize];
            } else if legs.contains(&label[i]) && y < hem {
                label[i] = TORSO as u8;
            }
        }
    }
    // Loose pieces (a hat in the air) go with what is nearest across the gap.
    if (0..w * h).any(|i| g.inside[i] && label[i] == NONE) {
        let seeds: Vec<_> = (0..w * h).filter(|&i| label[i] != NONE).map(|i| (i, label[i], 0)).collect();
        let over = g.spread(&seeds, |_, _| Some(0));
        for i in 0..w * h {
            if g.inside[i] && label[i] == NONE {
                label[i] = over[i];
            }
        }
    }
    for i in 0..w * h {
        if !g.inside[i] {
            label[i] = NONE;
        }
    }
    if let Some(paint) = &hints.paint {
        for (label, &part) in label.iter_mut().zip(paint.parts()) {
            if *label != NONE && part > 0 {
                *label = if part == parts::HAIR { HEAD as u8 } else { part - 1 };
            }
        }
    }
    Segmentation { label, arm_radius, leg_radius, neck_radius, pictures: Vec::new(), hem, loose: hints.loose, paint: hints.paint, found }
}

/// A skirt or robe: between the hips and the ankles the legs' middle is covered, and the figure is wide there.
fn find_hem(g: &Grid, rig: &Rig, certain: bool) -> Option<f32> {
    let knee = (rig.knees[0].y + rig.knees[1].y) * 0.5;
    let hip = (rig.hips[0].y + rig.hips[1].y) * 0.5;
    let ankle = (rig.ankles[0].y + rig.ankles[1].y) * 0.5;
    let hip_width = (rig.hips[0].x - rig.hips[1].x).abs().max(4.0);
    // The run of figure pixels that crosses the middle between both legs in a row.
    let run = |y: f32| -> f32 {
        let t = ((y - hip) / (knee - hip).max(1.0)).clamp(0.0, 1.0);
        let mid = (rig.hips[0].lerp(rig.knees[0], t).x + rig.hips[1].lerp(rig.knees[1], t).x) * 0.5;
        let row = (y as usize).min(g.h - 1) * g.w;
        let x = (mid.max(0.0) as usize).min(g.w - 1);
        if !g.inside[row + x] {
            return 0.0;
        }
        let left = (0..x).rev().take_while(|&u| g.inside[row + u]).count();
        let right = (x + 1..g.w).take_while(|&u| g.inside[row + u]).count();
        (left + right + 1) as f32
    };
    let last = ankle - 0.1 * (ankle - knee);
    let mut y = hip + 2.0;
    let mut widest: f32 = 0.0;
    let mut end = hip;
    while y < last {
        let r = run(y);
        if r < 0.5 * hip_width || (widest > 0.0 && r < 0.62 * widest) {
            break;
        }
        widest = widest.max(r);
        end = y;
        y += 1.0;
    }
    let reach = (end - hip) / (knee - hip).max(1.0);
    let flares = widest > 1.18 * run(hip - 0.02 * (knee - hip)).max(hip_width * 1.2);
    ((certain && reach > 0.15) || (reach > 0.35 && flares)).then_some(end)
}

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

fn picture(figure: &Image, rig: &Rig, seg: &Segmentation, part: usize) -> PartPicture {
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
