//! The closed eye, painted at import: skin from around it over the eye, and a lash line of the eye's own darkest colour. Hair
//! that hangs into the eye stays before it.
//!
//! It makes pictures and contours; how they are hung into the mesh is `mesh`'s.

use glam::{Vec2, Vec3};

use super::face::{Spot, commonest, solid};
use super::Image;
use super::segment::PartPicture;

/// Columns in which a lid moves.
const COLUMNS: usize = 11;
/// Pixels by which a lid reaches beyond the eye, softly; over skin it reaches further, by this share of the eye's size.
const SOFT: f32 = 2.0;
const FURTHER: f32 = 0.06;
/// What pixels next to each other differ by at most within one lock of hair, and how thick its outline is, pixels.
const SMOOTH: f32 = 26.0;
const OUTLINE: usize = 4;
/// An eye's place is round with this exponent; what belongs to the eye lies within this many times its size.
const ROUND: f32 = 2.3;
const REACH: f32 = 1.1;
/// Within this share of the eye nothing is hair.
const INSIDE: f32 = 0.8;
/// Nothing of the face is darker than its ground by this luminance: it is lit, as on a screen.
const LAMP: f32 = 24.0;
/// A mark beside the eye that has at least this share of its pixels is a part of it.
const PART_OF_IT: f32 = 0.12;
/// How far a colour may be from the skin's and still be skin: to cover, and to take colour from.
const COVERED: f32 = 30.0;
const TAKEN: f32 = 50.0;

/// One eye's lids.
pub(crate) struct Lid {
    /// The closed eye, in figure coordinates.
    pub picture: PartPicture,
    pub columns: Vec<Column>,
}

/// From the upper rim of the eye to the lower one, figure coordinates; the lids meet at `closed`, the lash line's middle.
#[derive(Clone, Copy)]
pub(crate) struct Column {
    pub x: f32,
    pub top: f32,
    pub closed: f32,
    pub bottom: f32,
    /// Half of the lash line's height here.
    pub half: f32,
}

/// The place that is looked at, and which of its pixels are eye.
struct Mask {
    x0: usize,
    y0: usize,
    width: usize,
    height: usize,
    eye: Vec<bool>,
    /// Before the eye.
    hair: Vec<bool>,
}

impl Mask {
    fn at(&self, x: usize, y: usize) -> bool {
        self.eye[y * self.width + x]
    }

    /// First and last row of the eye in a column.
    fn column(&self, x: usize) -> Option<(usize, usize)> {
        let rows = (0..self.height).filter(|y| self.at(x, *y));
        rows.fold(None, |span, y| Some((span.map_or(y, |(from, _)| from), y)))
    }
}

/// 1 at the rim of the rounded place, less within.
fn rounded(p: Vec2, spot: &Spot) -> f32 {
    let d = ((p - spot.centre) / (0.5 * spot.size)).abs();
    (d.x.powf(ROUND) + d.y.powf(ROUND)).powf(1.0 / ROUND)
}

/// How far above and below its middle the lids' rim is in a column.
fn rim(x: f32, spot: &Spot) -> f32 {
    let half = 0.5 * REACH * spot.size + SOFT;
    let t = ((x - spot.centre.x) / half.x).abs().min(1.0);
    half.y * (1.0 - t.powf(ROUND)).powf(1.0 / ROUND)
}

/// Paints the closed eye; `None` where the place does not stand out from what is around it.
pub(crate) fn close(figure: &Image, spot: &Spot) -> Option<Lid> {
    let (w, h) = (figure.width as usize, figure.height as usize);
    let margin = 0.35 * spot.size + 4.0;
    let within = |v: f32, most: usize| v.clamp(0.0, most as f32) as usize;
    let (low, high) = (spot.low() - margin, spot.high() + margin);
    let (x0, y0, x1, y1) = (within(low.x, w), within(low.y, h), within(high.x, w), within(high.y, h));
    if x1 < x0 + 6 || y1 < y0 + 6 {
        return None;
    }
    let (width, height) = (x1 - x0, y1 - y0);
    let colours: Vec<Option<Vec3>> = (0..width * height).map(|i| solid(figure, x0 + i % width, y0 + i / width)).collect();
    let place = |i: usize| Vec2::new((x0 + i % width) as f32 + 0.5, (y0 + i / width) as f32 + 0.5);
    // Cheeks are skin more surely than what lies above an eye.
    let around = (0..width * height).filter_map(|i| {
        let p = place(i);
        let ring = rounded(p, spot);
        let weight = if p.y > spot.centre.y { 2.0 } else { 1.0 };
        (1.05..1.7).contains(&ring).then(|| colours[i].map(|c| (c, weight))).flatten()
    });
    let skin = commonest(around)?;
    let apart = |i: usize| colours[i].map_or(0.0, |c| c.distance(skin));
    let inside = (0..width * height).filter(|i| rounded(place(*i), spot) < 0.9).filter_map(|i| colours[i]);
    let darkest = inside.map(luminance).fold(f32::MAX, f32::min);
    let hair = hair(width, &colours, skin, darkest, |i| if place(i).y < spot.centre.y { rounded(place(i), spot) } else { 0.0 });
    let mut mask = Mask { x0, y0, width, height, eye: Vec::new(), hair };
    let marked = (0..width * height).map(|i| rounded(place(i), spot) < REACH && !mask.hair[i] && apart(i) > COVERED);
    mask.eye = largest(width, marked.collect());
    // Between the lashes of a column all is eye, the white too.
    for x in 0..width {
        if let Some((from, to)) = mask.column(x) {
            (from..=to).for_each(|y| mask.eye[y * width + x] = !mask.hair[y * width + x]);
        }
    }
    let area = mask.eye.iter().filter(|m| **m).count() as f32;
    if area < 0.15 * spot.size.x * spot.size.y {
        return None;
    }
    let (columns, lash) = columns(&mask, &colours, skin, spot)?;
    let picture = paint(&mask, &colours, skin, &columns, &lash);
    Some(Lid { picture, columns })
}

/// The pixels on the four sides of one.
fn beside(i: usize, width: usize, count: usize) -> impl Iterator<Item = usize> {
    let x = i % width;
    let sides = [(x > 0).then(|| i - 1), (x + 1 < width).then_some(i + 1), i.checked_sub(width), Some(i + width)];
    sides.into_iter().flatten().filter(move |j| *j < count)
}

/// Locks of hair, with their outlines, that come in from outside: what goes on there in its own colour, up to a dark line.
/// `darkest` is the eye's darkest luminance, `ring` 1 at its rim: inside it is all eye.
fn hair(width: usize, colours: &[Option<Vec3>], skin: Vec3, darkest: f32, ring: impl Fn(usize) -> f32) -> Vec<bool> {
    let count = colours.len();
    let dark = darkest + 0.22 * (luminance(skin) - darkest).max(0.0);
    if luminance(skin) - darkest < LAMP {
        return vec![false; count];
    }
    let lock = |i: usize| colours[i].filter(|c| c.distance(skin) > TAKEN && luminance(*c) > dark);
    let mut hair: Vec<bool> = (0..count).map(|i| ring(i) > REACH && lock(i).is_some()).collect();
    let mut stack: Vec<usize> = (0..count).filter(|i| hair[*i]).collect();
    while let Some(i) = stack.pop() {
        for j in beside(i, width, count) {
            if !hair[j] && ring(j) > INSIDE && lock(i).zip(lock(j)).is_some_and(|(a, b)| a.distance(b) < SMOOTH) {
                hair[j] = true;
                stack.push(j);
            }
        }
    }
    for _ in 0..OUTLINE {
        let rim = |i: usize| !hair[i] && ring(i) > INSIDE && colours[i].is_some_and(|c| c.distance(skin) > COVERED);
        let next: Vec<usize> = (0..count).filter(|i| rim(*i) && beside(*i, width, count).any(|j| hair[j])).collect();
        next.into_iter().for_each(|i| hair[i] = true);
    }
    hair
}

/// The largest connected mark, and those beside it that are not much smaller.
fn largest(width: usize, marked: Vec<bool>) -> Vec<bool> {
    let count = marked.len();
    let mut left = marked;
    let mut marks: Vec<Vec<usize>> = Vec::new();
    for start in 0..count {
        if !std::mem::take(&mut left[start]) {
            continue;
        }
        let mut mark = vec![start];
        let mut next = 0;
        while let Some(&i) = mark.get(next) {
            next += 1;
            for j in beside(i, width, count) {
                if std::mem::take(&mut left[j]) {
                    mark.push(j);
                }
            }
        }
        marks.push(mark);
    }
    let most = marks.iter().map(Vec::len).max().unwrap_or(0) as f32;
    for i in marks.into_iter().filter(|m| m.len() as f32 >= PART_OF_IT * most).flatten() {
        left[i] = true;
    }
    left
}

struct Lash {
    width: f32,
    colour: Vec3,
    middle: f32,
    half: f32,
    /// Row at the middle, and how much higher it is at the corners; and at the right one more than at the left.
    low: f32,
    dip: f32,
    tilt: f32,
}

impl Lash {
    /// Where along it a column is, -1 to 1, and its row there.
    fn row(&self, x: f32) -> (f32, f32) {
        let t = (x - self.middle) / self.half;
        let inside = t.clamp(-1.0, 1.0);
        (t, self.low - self.dip * inside * inside + self.tilt * inside)
    }
}

impl Lash {
    /// How much higher than thick the line is at a place along it.
    fn steep(&self, t: f32) -> f32 {
        let slope = (-2.0 * self.dip * t.clamp(-1.0, 1.0) + self.tilt) / self.half;
        (1.0 + slope * slope).sqrt()
    }
}

fn luminance(c: Vec3) -> f32 {
    c.dot(Vec3::new(0.299, 0.587, 0.114))
}

/// Mean colour of the darkest share of the eye; of the lightest, where the eye is a lamp on dark ground. And whether the eye
/// is a dot of one colour.
fn lash_colour(mask: &Mask, colours: &[Option<Vec3>], skin: Vec3) -> Option<(Vec3, bool)> {
    let mut eye: Vec<Vec3> = mask.eye.iter().zip(colours).filter(|(m, _)| **m).filter_map(|(_, c)| *c).collect();
    eye.sort_by(|a, b| luminance(*a).total_cmp(&luminance(*b)));
    let mean = |part: &[Vec3]| part.iter().sum::<Vec3>() / part.len().max(1) as f32;
    let share = (eye.len() / 12).max(1);
    let dark = mean(eye.get(..share)?);
    let colour = if luminance(skin) - luminance(dark) > LAMP { dark } else { mean(&eye[eye.len() / 2..]) };
    let alike = eye.iter().filter(|c| c.distance(colour) < 50.0).count();
    Some((colour, alike * 2 > eye.len()))
}

fn columns(mask: &Mask, colours: &[Option<Vec3>], skin: Vec3, spot: &Spot) -> Option<(Vec<Column>, Lash)> {
    let spans: Vec<Option<(f32, f32)>> = (0..mask.width)
        .map(|x| mask.column(x).map(|(from, to)| ((mask.y0 + from) as f32, (mask.y0 + to + 1) as f32)))
        .collect();
    let first = spans.iter().position(Option::is_some)?;
    let last = spans.iter().rposition(Option::is_some)?;
    let (left, right) = ((mask.x0 + first) as f32, (mask.x0 + last + 1) as f32);
    let top = spans.iter().flatten().map(|s| s.0).fold(f32::MAX, f32::min);
    let bottom = spans.iter().flatten().map(|s| s.1).fold(f32::MIN, f32::max);
    let (wide, high) = (right - left, bottom - top);
    // A corner: the middle of the outer columns.
    let corner = |from: usize, to: usize| {
        let (sum, count) = spans[from..to].iter().flatten().fold((0.0, 0.0), |(s, n), (a, b)| (s + 0.5 * (a + b), n + 1.0));
        sum / f32::max(count, 1.0)
    };
    let eighth = ((last + 1 - first) / 8).max(1);
    let (yl, yr) = (corner(first, first + eighth), corner(last + 1 - eighth, last + 1));
    let low = top + 0.78 * high;
    let dip = (low - 0.5 * (yl + yr)).clamp(0.07 * wide, 0.22 * wide);
    let (colour, dot) = lash_colour(mask, colours, skin)?;
    let width = (if dot { 0.16 } else { 0.105 } * (wide * high).sqrt()).max(2.2);
    let lash = Lash {
        width,
        colour,
        middle: 0.5 * (left + right),
        half: 0.5 * wide,
        low,
        dip,
        tilt: (0.5 * (yr - yl)).clamp(-0.12 * wide, 0.12 * wide),
    };
    let step = (wide + 2.0 * SOFT) / (COLUMNS - 1) as f32;
    let columns = (0..COLUMNS).map(|i| {
        let x = left - SOFT + i as f32 * step;
        let (t, closed) = lash.row(x);
        let half = 0.5 * width * lash.steep(t) + 1.0;
        let high = rim(x, spot);
        Column { x, top: (spot.centre.y - high).min(closed - half), closed, bottom: (spot.centre.y + high).max(closed + half), half }
    });
    Some((columns.collect(), lash))
}

fn paint(mask: &Mask, colours: &[Option<Vec3>], skin: Vec3, columns: &[Column], lash: &Lash) -> PartPicture {
    let (width, height) = (mask.width, mask.height);
    let top = columns.iter().map(|c| c.top).fold(f32::MAX, f32::min);
    let bottom = columns.iter().map(|c| c.bottom).fold(f32::MIN, f32::max);
    let further = FURTHER * (columns[columns.len() - 1].x - columns[0].x);
    let reach = (SOFT + further).ceil() as usize + 1;
    let skinny = |i: usize| colours[i].is_some_and(|c| c.distance(skin) < TAKEN);
    // How much of a pixel is covered: all of the eye, and softly what is next to it.
    let cover: Vec<f32> = (0..width * height)
        .map(|i| {
            let (x, y) = (i % width, i / width);
            let mut nearest = f32::MAX;
            for v in y.saturating_sub(reach)..=(y + reach).min(height - 1) {
                for u in x.saturating_sub(reach)..=(x + reach).min(width - 1) {
                    if mask.at(u, v) {
                        nearest = nearest.min(Vec2::new(u as f32 - x as f32, v as f32 - y as f32).length());
                    }
                }
            }
            let soft = if skinny(i) { SOFT + further } else { SOFT };
            if mask.hair[i] { 0.0 } else { (soft + 0.4 - nearest).clamp(0.0, 1.0) }
        })
        .collect();
    // Skin to take colour from: all around, clear of the eye.
    let clear = |i: &usize| cover[*i] == 0.0 && skinny(*i) && beside(*i, width, width * height).all(skinny);
    let from: Vec<usize> = (0..width * height).filter(clear).collect();
    let stride = (from.len() / 160).max(1);
    let samples: Vec<(Vec2, Vec3)> = from.iter().step_by(stride).filter_map(|&i| colours[i].map(|c| (Vec2::new((i % width) as f32, (i / width) as f32), c))).collect();
    let mut out = PartPicture { x0: mask.x0, y0: mask.y0, width, height, rgba: vec![0; width * height * 4], own: vec![255; width * height] };
    for i in 0..width * height {
        let (x, y) = ((i % width) as f32, (i / width) as f32);
        let (px, py) = (mask.x0 as f32 + x + 0.5, mask.y0 as f32 + y + 0.5);
        let (t, row) = lash.row(px);
        // Thinner towards the corners.
        let half = 0.5 * lash.width * (1.0 - 0.5 * t.abs().powi(3));
        let off = ((py - row).abs() / lash.steep(t)).max(lash.half * (t.abs() - 0.97));
        let stroke = (half - off + 0.5).clamp(0.0, 1.0);
        let alpha = if mask.hair[i] { 0.0 } else { cover[i].max(stroke) };
        if alpha <= 0.0 || py < top - 1.0 || py > bottom + 1.0 {
            continue;
        }
        let (mut sum, mut total) = (skin * 1e-9, 1e-9);
        for (p, c) in &samples {
            let k = 1.0 / p.distance_squared(Vec2::new(x, y)).max(1.0).powf(1.5);
            sum += *c * k;
            total += k;
        }
        let colour = (sum / total).lerp(lash.colour, stroke);
        let rgba = (colour * alpha).extend(255.0 * alpha);
        out.rgba[i * 4..i * 4 + 4].copy_from_slice(&rgba.to_array().map(|v| (v + 0.5).clamp(0.0, 255.0) as u8));
    }
    out
}
