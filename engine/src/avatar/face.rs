//! Where eyes and mouth are: given with the picture, or looked for in it.
//!
//! It looks at pixels around the head's keypoints. A pair of eyes is believed only where two marks of the same size lie at
//! the same height to both sides of the face; where that is not so there are none, rather than wrong ones.

use glam::{Vec2, Vec3};

use super::rig::keypoint;
use super::Image;
use crate::skeleton::KEYPOINT_COUNT;

/// An upright box, in pixels of a picture.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spot {
    pub centre: Vec2,
    /// Width and height.
    pub size: Vec2,
}

impl Spot {
    pub(crate) fn low(&self) -> Vec2 {
        self.centre - 0.5 * self.size
    }

    pub(crate) fn high(&self) -> Vec2 {
        self.centre + 0.5 * self.size
    }

    /// # Errors
    /// If it is not inside a picture of this size, or too small or too large to be an eye or a mouth.
    pub(crate) fn check(&self, whole: Vec2) -> Result<(), String> {
        if !self.centre.is_finite() || !self.size.is_finite() || self.low().min_element() < 0.0 || self.high().cmpgt(whole).any() {
            return Err(format!("lies outside the {:.0}x{:.0} picture", whole.x, whole.y));
        }
        if self.size.min_element() < 2.0 || self.size.max_element() > 0.4 * whole.max_element() {
            return Err(format!("is {:.0}x{:.0} pixels: too small or too large", self.size.x, self.size.y));
        }
        Ok(())
    }

    fn of(b: &Bounds) -> Spot {
        let (low, high) = (Vec2::new(b.x0 as f32, b.y0 as f32), Vec2::new(b.x1 as f32, b.y1 as f32));
        Spot { centre: 0.5 * (low + high), size: high - low }
    }
}

/// The parts of a face that move; an eye goes from lash to lash. The character's left is normally at the picture's right.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Face {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_eye: Option<Spot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub right_eye: Option<Spot>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mouth: Option<Spot>,
}

impl Face {
    pub fn is_empty(&self) -> bool {
        self.parts().iter().all(|(_, part)| part.is_none())
    }

    /// Every part with its name.
    pub fn parts(&self) -> [(&'static str, Option<Spot>); 3] {
        [("left_eye", self.left_eye), ("right_eye", self.right_eye), ("mouth", self.mouth)]
    }

    pub(crate) fn eyes(&self) -> impl Iterator<Item = Spot> {
        [self.left_eye, self.right_eye].into_iter().flatten()
    }

    /// How far the lids of the higher eye go, pixels.
    pub(crate) fn lid_travel(&self) -> f32 {
        1.3 * self.eyes().map(|e| e.size.y).fold(0.0, f32::max) + 8.0
    }

    /// The same face in another picture, to which `place` takes a point of this one.
    pub(crate) fn mapped(&self, place: impl Fn(Vec2) -> Vec2) -> Face {
        let map = |spot: Option<Spot>| {
            spot.map(|s| {
                let (low, high) = (place(s.low()), place(s.high()));
                Spot { centre: 0.5 * (low + high), size: high - low }
            })
        };
        Face { left_eye: map(self.left_eye), right_eye: map(self.right_eye), mouth: map(self.mouth) }
    }

    /// # Errors
    /// Names the part that is not inside a picture of this size, or too small or too large to be one.
    pub(crate) fn check(&self, whole: Vec2) -> Result<(), String> {
        let mut parts = self.parts().into_iter().filter_map(|(name, part)| Some((name, part?)));
        parts.try_for_each(|(name, spot)| spot.check(whole).map_err(|e| format!("the {} {e}", name.replace('_', " "))))
    }

    /// Looks for eyes and mouth about the head's keypoints, all in pixels of `figure`.
    pub(crate) fn find(figure: &Image, keypoints: &[Vec2; KEYPOINT_COUNT]) -> Face {
        let at = |name: &str| keypoints[keypoint(name)];
        let head = Head::new(at("neck"), at("head_top"), [at("left_eye"), at("right_eye")], at("nose"));
        let Some(scene) = Scene::new(figure, &head) else { return Face::default() };
        // Where bangs or an outline join an eye to the hair, a sterner look may part them.
        let seen = NEAR_SKIN.into_iter().filter_map(|near| scene.eyes(near, &head));
        let Some((_, [left, right])) = seen.max_by(|a, b| a.0.total_cmp(&b.0)) else { return Face::default() };
        let mouth = scene.mouth(&head, &[left, right]);
        Face { left_eye: Some(Spot::of(&left)), right_eye: Some(Spot::of(&right)), mouth: mouth.map(|b| Spot::of(&b)) }
    }
}

/// How far a colour may be from the skin's and still be skin, tried in turn; code values, all three channels together.
const NEAR_SKIN: [f32; 3] = [44.0, 75.0, 110.0];
/// What a mark differs from the skin by at its strongest, at least.
const CONTRAST: f32 = 80.0;
/// A pair that scores less is none.
const LEAST_SCORE: f32 = 0.2;

/// The head in the picture, and its measure: neck to crown, pixels.
struct Head {
    neck: Vec2,
    up: Vec2,
    size: f32,
    eyes: [Vec2; 2],
    nose: Vec2,
}

impl Head {
    fn new(neck: Vec2, top: Vec2, eyes: [Vec2; 2], nose: Vec2) -> Head {
        let axis = top - neck;
        Head { neck, up: axis.normalize_or(Vec2::NEG_Y), size: axis.length(), eyes, nose }
    }

    /// Up from the neck, and out to the character's left, in heads.
    fn own(&self, p: Vec2) -> Vec2 {
        let d = (p - self.neck) / self.size.max(1.0);
        Vec2::new(-d.perp_dot(self.up), d.dot(self.up))
    }
}

#[derive(Clone, Copy, Debug)]
struct Bounds {
    x0: usize,
    y0: usize,
    x1: usize,
    y1: usize,
    /// Pixels.
    area: usize,
    /// Of the strongest tenth of its pixels, the least difference from the skin.
    contrast: f32,
}

impl Bounds {
    fn centre(&self) -> Vec2 {
        0.5 * Vec2::new((self.x0 + self.x1) as f32, (self.y0 + self.y1) as f32)
    }

    fn size(&self) -> Vec2 {
        Vec2::new((self.x1 - self.x0) as f32, (self.y1 - self.y0) as f32)
    }

    fn with(&self, other: &Bounds) -> Bounds {
        Bounds {
            x0: self.x0.min(other.x0),
            y0: self.y0.min(other.y0),
            x1: self.x1.max(other.x1),
            y1: self.y1.max(other.y1),
            area: self.area + other.area,
            contrast: self.contrast.max(other.contrast),
        }
    }
}

/// The part of the picture that is looked at: how far every pixel is from the skin, infinite where nothing is.
struct Scene {
    x0: usize,
    y0: usize,
    width: usize,
    height: usize,
    apart: Vec<f32>,
}

/// An opaque pixel's colour, 0 to 255.
pub(super) fn solid(figure: &Image, x: usize, y: usize) -> Option<Vec3> {
    let p = &figure.rgba[(y * figure.width as usize + x) * 4..][..4];
    (p[3] >= 250).then(|| Vec3::new(f32::from(p[0]), f32::from(p[1]), f32::from(p[2])))
}

/// The colour around which most of the weight lies.
pub(super) fn commonest(colours: impl Iterator<Item = (Vec3, f32)>) -> Option<Vec3> {
    const SIDE: usize = 16;
    let mut bins = vec![(Vec3::ZERO, 0.0f32); SIDE * SIDE * SIDE];
    let bin = |c: f32| (c / 16.0) as usize % SIDE;
    for (c, weight) in colours {
        let to = &mut bins[(bin(c.x) * SIDE + bin(c.y)) * SIDE + bin(c.z)];
        *to = (to.0 + c * weight, to.1 + weight);
    }
    // A bin with its neighbours: a gradient is one colour.
    let near = |i: usize| {
        let [r, g, b] = [i / (SIDE * SIDE), i / SIDE % SIDE, i % SIDE];
        let span = |v: usize| v.saturating_sub(1)..=(v + 1).min(SIDE - 1);
        let mut sum = (Vec3::ZERO, 0.0);
        for r in span(r) {
            for g in span(g) {
                for b in span(b) {
                    let of = bins[(r * SIDE + g) * SIDE + b];
                    sum = (sum.0 + of.0, sum.1 + of.1);
                }
            }
        }
        sum
    };
    let best = (0..bins.len()).filter(|i| bins[*i].1 > 0.0).map(near).max_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(best.0 / best.1)
}

impl Scene {
    fn new(figure: &Image, head: &Head) -> Option<Scene> {
        let middle = 0.5 * (head.eyes[0] + head.eyes[1]).lerp(2.0 * head.nose, 0.3);
        let reach = Vec2::new(0.56, 0.52) * head.size;
        let (w, h) = (figure.width as usize, figure.height as usize);
        let within = |v: f32, most: usize| v.clamp(0.0, most as f32) as usize;
        let (x0, y0) = (within(middle.x - reach.x, w), within(middle.y - reach.y, h));
        let (x1, y1) = (within(middle.x + reach.x, w), within(middle.y + reach.y, h));
        if head.size < 24.0 || x1 < x0 + 12 || y1 < y0 + 12 {
            return None;
        }
        let around = 0.3 * head.size;
        let colours = (y0..y1).flat_map(|y| (x0..x1).map(move |x| (x, y))).filter_map(|(x, y)| {
            let near = 1.0 - Vec2::new(x as f32, y as f32).distance(middle) / around;
            (near > 0.0).then(|| solid(figure, x, y).map(|c| (c, near))).flatten()
        });
        let skin = commonest(colours)?;
        let apart = (y0..y1).flat_map(|y| (x0..x1).map(move |x| (x, y)));
        let apart = apart.map(|(x, y)| solid(figure, x, y).map_or(f32::INFINITY, |c| c.distance(skin))).collect();
        Some(Scene { x0, y0, width: x1 - x0, height: y1 - y0, apart })
    }

    /// Connected marks that are no skin and touch neither the rim of what is looked at nor the figure's own.
    fn marks(&self, near_skin: f32) -> Vec<Bounds> {
        let mut seen: Vec<bool> = self.apart.iter().map(|a| *a <= near_skin).collect();
        let mut marks = Vec::new();
        let (mut stack, mut strength) = (Vec::new(), Vec::new());
        for start in 0..seen.len() {
            if std::mem::replace(&mut seen[start], true) {
                continue;
            }
            stack.push(start);
            strength.clear();
            let mut b = Bounds { x0: usize::MAX, y0: usize::MAX, x1: 0, y1: 0, area: 0, contrast: 0.0 };
            let mut loose = true;
            while let Some(i) = stack.pop() {
                let (x, y) = (i % self.width, i / self.width);
                strength.push(self.apart[i]);
                loose &= self.apart[i].is_finite() && x > 0 && y > 0 && x + 1 < self.width && y + 1 < self.height;
                (b.x0, b.y0, b.x1, b.y1) = (b.x0.min(x), b.y0.min(y), b.x1.max(x + 1), b.y1.max(y + 1));
                let mut go = |j: usize| {
                    if !std::mem::replace(&mut seen[j], true) {
                        stack.push(j);
                    }
                };
                if x > 0 {
                    go(i - 1);
                }
                if x + 1 < self.width {
                    go(i + 1);
                }
                if y > 0 {
                    go(i - self.width);
                }
                if y + 1 < self.height {
                    go(i + self.width);
                }
            }
            if loose {
                strength.sort_unstable_by(f32::total_cmp);
                b.contrast = strength[strength.len() * 9 / 10];
                (b.x0, b.x1, b.y0, b.y1) = (b.x0 + self.x0, b.x1 + self.x0, b.y0 + self.y0, b.y1 + self.y0);
                marks.push(Bounds { area: strength.len(), ..b });
            }
        }
        marks
    }

    /// The eyes, the character's left and right, and how much they are like eyes.
    fn eyes(&self, near_skin: f32, head: &Head) -> Option<(f32, [Bounds; 2])> {
        let marks = self.marks(near_skin);
        let fits = |b: &&Bounds| {
            let size = b.size() / head.size;
            let shape = size.x / size.y;
            b.contrast >= CONTRAST && size.min_element() > 0.022 && size.max_element() < 0.42 && (0.3..2.6).contains(&shape)
        };
        let fit: Vec<&Bounds> = marks.iter().filter(fits).collect();
        let mut best: Option<(f32, [Bounds; 2])> = None;
        for (i, a) in fit.iter().enumerate() {
            for b in &fit[i + 1..] {
                let (left, right) = if head.own(a.centre()).x >= head.own(b.centre()).x { (**a, **b) } else { (**b, **a) };
                let score = pair(&left, &right, head);
                if score > best.map_or(LEAST_SCORE, |(s, _)| s) {
                    best = Some((score, [left, right]));
                }
            }
        }
        let (score, eyes) = best?;
        // A white and an iris, or a lash of its own, belong to the mark that they touch.
        let whole = eyes.map(|eye| {
            let margin = 0.12 * eye.size();
            let (low, high) = (Spot::of(&eye).low() - margin, Spot::of(&eye).high() + margin);
            let inside = |m: &&Bounds| {
                let (l, h) = (Spot::of(m).low(), Spot::of(m).high());
                l.x >= low.x - margin.x && h.x <= high.x + margin.x && l.y <= high.y && h.y >= low.y && m.size().y < 0.6 * eye.size().y && m.contrast >= CONTRAST
            };
            // Not a brow, which is as wide as the eye and lies clear above it.
            marks.iter().filter(inside).filter(|m| m.centre().y > low.y).fold(eye, |all, m| all.with(m))
        });
        Some((score, whole))
    }

    fn mouth(&self, head: &Head, eyes: &[Bounds; 2]) -> Option<Bounds> {
        let own = eyes.map(|e| head.own(e.centre()));
        let (middle, apart) = (0.5 * (own[0] + own[1]), own[0].x - own[1].x);
        let floor = eyes.iter().map(|e| head.own(Vec2::new(e.centre().x, e.y1 as f32)).y).fold(f32::MAX, f32::min);
        let fits = |b: &Bounds| {
            let (at, size) = (head.own(b.centre()), b.size() / head.size);
            let below = floor - at.y;
            b.contrast >= 0.7 * CONTRAST
                && (at.x - middle.x).abs() < 0.2 * apart
                && below > 0.1 * apart
                && middle.y - at.y < 1.2 * apart
                && size.x > 0.16 * apart
                && size.x < 1.3 * apart
                && size.x > 0.8 * size.y
                // A line cannot open.
                && b.area as f32 > 0.585 * (b.size().x * b.size().y)
        };
        // Wider than a nose, and below it.
        let worth = |b: &Bounds| b.size().x / head.size + 0.25 * (middle.y - head.own(b.centre()).y);
        NEAR_SKIN[..2].iter().find_map(|near| self.marks(*near).into_iter().filter(fits).max_by(|a, b| worth(a).total_cmp(&worth(b))))
    }
}

/// How much two marks are like a pair of eyes of this head, 0 to 1.
fn pair(left: &Bounds, right: &Bounds, head: &Head) -> f32 {
    let alike = |a: f32, b: f32, most: f32| (1.0 - (a / b).ln().abs() / most.ln()).max(0.0);
    let (a, b) = (head.own(left.centre()), head.own(right.centre()));
    let (sa, sb) = (left.size(), right.size());
    let apart = a.x - b.x;
    let middle = 0.5 * (a + b);
    // Cheeks lie below the nose.
    let width = 0.5 * (sa.x + sb.x) / head.size;
    if !(0.12..0.8).contains(&apart) || apart < 1.15 * width || (a.y - b.y).abs() > 0.09 || middle.x.abs() > 0.14 || !(0.22..0.9).contains(&middle.y) || middle.y < head.own(head.nose).y + 0.03 {
        return 0.0;
    }
    let likeness = alike(sa.x, sb.x, 1.9) * alike(sa.y, sb.y, 1.9) * alike(left.area as f32, right.area as f32, 2.4);
    let level = 1.0 - ((a.y - b.y).abs() / 0.1).powi(2);
    let told = [head.own(head.eyes[0]), head.own(head.eyes[1])];
    let off = a.distance_squared(told[0]).max(b.distance_squared(told[1]));
    let near = (-off / (2.0 * 0.16f32.powi(2))).exp();
    // Brows are flat and lie above.
    let shape = 0.5 * (sa.x / sa.y + sb.x / sb.y);
    let flat = (2.4 - 0.6 * shape).clamp(0.5, 1.0);
    // Of an eye and a mark in it or on the cheek, the larger.
    let large = (0.5 * (sa.y + sb.y) / head.size / 0.12).clamp(0.5, 1.0).sqrt();
    likeness.sqrt() * level * near * flat * large
}
