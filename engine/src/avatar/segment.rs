//! Cuts a figure into parts: which bone each pixel belongs to.
//!
//! Distances are geodesic (inside the alpha), so an arm that nearly touches the torso does not stick to it.
//! Works on pixels; each part's own picture is cut in `cutout`, triangles are made in `mesh`.

use glam::Vec2;

use super::seen::{self, SeenParts};
use super::{Image, PartMap, cutout, parts, rig::Rig};

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
    /// A network looked and saw no hair that hangs: a helmet, a hood, a crop.
    pub still: bool,
}

/// What is known beyond joints, in figure coordinates.
#[derive(Default)]
pub(crate) struct Hints {
    /// What the network saw of this figure, or its rig knows: weighed against the rules.
    pub seen: Option<SeenParts>,
    /// Of the figure's size, in place of the rules: what was found before.
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

/// Share of a head that must be seen to be hair that swings for what is beside the face to hang.
const STILL: f32 = 0.03;

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

pub(super) const STEPS: [(i32, i32, u32); 8] =
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
    seg.pictures = (0..PARTS).map(|part| cutout::cut(figure, rig, &seg, part)).collect();
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
    let still = found.as_ref().is_some_and(|f| {
        let seen = |part: u8| label.iter().zip(f.parts()).filter(|(l, p)| **l == HEAD as u8 && **p == part).count();
        (seen(parts::HAIR) as f32) < STILL * seen(parts::HEAD) as f32
    });
    Segmentation { label, arm_radius, leg_radius, neck_radius, pictures: Vec::new(), hem, loose: hints.loose, paint: hints.paint, found, still }
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
