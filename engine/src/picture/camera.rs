//! The camera: how much of the dancers the frame shows, and where each of a group stands in it.
//!
//! It works on a whole picture, which is square as the dancers' own ones are: a view says where that lies in the frame, of any shape, and the puppet
//! is drawn through it, so that a close shot is as sharp as the reference is. No clock: moves are counted in frames and begin on downbeats.

use glam::{Vec2, Vec3};

use super::look::Figure;
use crate::beat::{BeatState, LEAST_CONFIDENCE};
use crate::dance::group::{MOST_DANCERS, SPACING_M};
use crate::pose::Camera;
use crate::render::View;

/// How much of the dancer the frame shows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// Head to feet; of a group, everybody.
    #[default]
    Full,
    /// From the hips up.
    Half,
    Face,
    /// It changes with the phrases of the music.
    Auto,
}

impl Framing {
    pub const ALL: [Framing; 4] = [Framing::Full, Framing::Half, Framing::Face, Framing::Auto];

    pub fn name(self) -> &'static str {
        match self {
            Framing::Full => "full",
            Framing::Half => "half",
            Framing::Face => "face",
            Framing::Auto => "auto",
        }
    }
}

/// Bars of a phrase, and what it shows; the seed says where it begins.
const PHRASE_BARS: u32 = 4;
const PHRASES: [Framing; 8] =
    [Framing::Full, Framing::Full, Framing::Half, Framing::Face, Framing::Full, Framing::Half, Framing::Half, Framing::Face];
/// Frames of a move of the camera.
const MOVE_FRAMES: f32 = 26.0;
/// Frames without a beat after which the automatic camera shows everything.
const LOST_FRAMES: u32 = 60;
/// Shares of the shot above the head, and of the figure from pelvis to neck shown below the pelvis in a half shot.
const HEAD_ROOM: f32 = 0.09;
const BELOW_PELVIS: f32 = 0.42;
/// A face shot is this many heads high, and shows no less than this share of the whole picture: closer, the reference would
/// be enlarged.
const HEADS: f32 = 1.46;
const CLOSEST: f32 = 0.24;
/// Frames over which the camera follows the dancer from side to side.
const FOLLOW_FRAMES: f32 = 7.0;

/// Metres that an upright frame shows from side to side, of a whole picture's 2.12: arms held out are cut off, and dancers are not tiny.
const UPRIGHT_M: f32 = 1.5;
/// Of the height that an upright frame has besides a square, this share is above it.
const ABOVE: f32 = 0.55;

/// The frame: where the whole picture lies in it when the camera is at rest, and the square that closer shots fill.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Frame {
    size: Vec2,
    /// Side of the whole picture.
    pub side: f32,
    pub rest: View,
    square: f32,
    square_origin: Vec2,
}

impl Frame {
    pub fn new(width: f32, height: f32) -> Self {
        let metre = Camera::full_body(1.0, 1.0).scale;
        let (size, square) = (Vec2::new(width, height), width.min(height));
        let side = height.min((width / (UPRIGHT_M * metre)).max(square));
        let lay = |side: f32| (size - side) * Vec2::new(0.5, ABOVE);
        Frame { size, side, rest: View { origin: lay(side), scale: 1.0 }, square, square_origin: lay(square) }
    }

    /// Where what the frame shows at rest lies in it when the whole picture lies there.
    pub fn stage(&self, whole: &View) -> View {
        View { origin: -self.rest.origin, scale: 1.0 }.within(whole)
    }

    /// How much wider than the whole picture it is.
    pub fn width(&self) -> f32 {
        self.size.x / self.side
    }
}

/// A square of the whole picture, pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Window {
    centre: Vec2,
    side: f32,
}

impl Window {
    /// What the frame's square shows of the whole picture at rest.
    fn whole(frame: &Frame) -> Self {
        Window { centre: frame.square_origin - frame.rest.origin + frame.square / 2.0, side: frame.square }
    }

    /// Part of the way to another one: zooming is even in its logarithm, and goes straight to its goal.
    fn towards(self, to: Window, u: f32) -> Window {
        if u >= 1.0 {
            return to;
        }
        let side = self.side * (to.side / self.side).powf(u);
        let change = to.side - self.side;
        let way = if change.abs() > 1.0 { (side - self.side) / change } else { u };
        Window { centre: self.centre.lerp(to.centre, way), side }
    }
}

fn ease(u: f32) -> f32 {
    u * u * u * (u * (6.0 * u - 15.0) + 10.0)
}

/// Who the camera looks at: a figure at rest, where its neck and nose are now, in its own picture, and where that lies in
/// the whole.
pub(super) struct Subject {
    pub figure: Figure,
    pub neck: Vec2,
    pub nose: Vec2,
    pub view: View,
}

pub(super) struct Cameraman {
    frame: Frame,
    shown: Framing,
    from: Window,
    /// 0 as it was to 1 as it is.
    moved: f32,
    now: Window,
    /// How far the dancer is from where they stand at rest, own pixels, smoothed.
    follow: Vec2,
    bars: u32,
    bar_phase: f32,
    lost: u32,
    begun: bool,
}

impl Cameraman {
    pub fn new(frame: Frame) -> Self {
        let whole = Window::whole(&frame);
        Cameraman { frame, shown: Framing::Full, from: whole, moved: 1.0, now: whole, follow: Vec2::ZERO, bars: 0, bar_phase: 0.0, lost: LOST_FRAMES, begun: false }
    }

    fn window(&self, framing: Framing, of: &Subject) -> Window {
        let Figure { head: [low, high], neck, pelvis, .. } = of.figure;
        let (own_centre, own_side) = match framing {
            Framing::Full | Framing::Auto => return Window::whole(&self.frame),
            Framing::Half => {
                let bottom = pelvis.y + BELOW_PELVIS * (pelvis.y - neck.y);
                let side = (bottom - low.y) / (1.0 - HEAD_ROOM);
                (Vec2::new(neck.x, bottom - side / 2.0), side)
            }
            Framing::Face => {
                let side = (HEADS * (high - low).max_element()).max(CLOSEST * self.frame.side);
                (Vec2::new(0.5 * (low.x + high.x), low.y + (0.5 - HEAD_ROOM) * side), side)
            }
        };
        Window { centre: of.view.apply(own_centre + self.follow), side: own_side * of.view.scale }
    }

    /// A frame on: where the whole picture lies in the frame. `beat` is that of the frame's own time.
    pub fn step(&mut self, wish: Framing, of: &Subject, beat: &BeatState, seed: u32) -> View {
        let sure = beat.confidence >= LEAST_CONFIDENCE;
        self.lost = if sure { 0 } else { self.lost.saturating_add(1) };
        let downbeat = sure && beat.bar_phase < self.bar_phase - 0.5;
        self.bar_phase = beat.bar_phase;
        self.bars = self.bars.wrapping_add(u32::from(downbeat));
        // Down with a crouch, but not up and down with every bounce.
        let away = 0.5 * (of.neck + of.nose - of.figure.neck - of.figure.nose);
        self.follow += (Vec2::new(away.x, 0.6 * away.y.max(0.0)) - self.follow) / FOLLOW_FRAMES;

        let phrase = PHRASES[(self.bars / PHRASE_BARS + seed) as usize % PHRASES.len()];
        let goal = match wish {
            Framing::Auto if self.lost >= LOST_FRAMES => Framing::Full,
            Framing::Auto if downbeat && self.bars.is_multiple_of(PHRASE_BARS) => phrase,
            Framing::Auto => self.shown,
            asked => asked,
        };
        if goal != self.shown {
            // Into and out of a face it cuts; and it begins with what was asked for.
            let cut = !self.begun || wish == Framing::Auto && downbeat && (self.shown == Framing::Face || goal == Framing::Face);
            (self.from, self.moved, self.shown) = (self.now, if cut { 1.0 } else { 0.0 }, goal);
        }
        self.begun = true;
        self.moved = (self.moved + 1.0 / MOVE_FRAMES).min(1.0);
        self.now = self.from.towards(self.window(self.shown, of), ease(self.moved));
        let scale = self.frame.square / self.now.side;
        if scale == 1.0 {
            return self.frame.rest;
        }
        View { origin: self.frame.square_origin - scale * (self.now.centre - Vec2::splat(self.now.side / 2.0)), scale }
    }
}

/// Share of their distance from left to right that dancers are shown apart, by the group's size: arms may overlap, and
/// nobody becomes tiny.
const SQUEEZE: [f32; MOST_DANCERS] = [1.0, 0.80, 0.66, 0.54, 0.46];
/// Metres from the outermost dancer's middle to the edge.
const WING_M: f32 = 0.62;
/// Scale of a soloist on the stage, which has a floor to show.
const ON_STAGE: f32 = 0.9;
/// How much deeper the stage is shown than it is, and metres from it to the eye and from the floor to it.
const DEPTH: f32 = 1.7;
const EYE_FAR_M: f32 = 6.5;
const EYE_HIGH_M: f32 = 1.2;
/// A smaller figure stands higher: of its missing height, this share goes below its feet.
const LIFT: f32 = 0.34;
/// Frames in which the camera makes room.
const ROOM_FRAMES: f32 = 40.0;

/// How a group is fitted into the whole picture; eased when dancers come and go.
pub(super) struct Room {
    width: f32,
    /// Scale of those who stand in front, and share of their distance.
    from: [f32; 2],
    to: [f32; 2],
    moved: f32,
}

/// How much larger than in front somebody is seen who stands so far towards the viewer, metres.
fn nearness(z: f32) -> f32 {
    EYE_FAR_M / (EYE_FAR_M - DEPTH * z).max(1.0)
}

/// Scale and squeeze for a group in a frame so much wider than the whole picture.
fn room(size: usize, staged: bool, width: f32) -> [f32; 2] {
    let size = size.clamp(1, MOST_DANCERS);
    if size == 1 {
        return [if staged { ON_STAGE } else { 1.0 }, 1.0];
    }
    let squeeze = SQUEEZE[size - 1];
    // The widest formation, or the one whose wings are nearest.
    let slots = 0.5 * (size - 1) as f32;
    let out = slots * SPACING_M * squeeze;
    let half_m = (1.15 * out + WING_M).max(nearness(0.35 * slots - 0.3) * (out + WING_M));
    [(0.5 * width / Camera::full_body(1.0, 1.0).scale / half_m).min(0.86), squeeze]
}

impl Room {
    /// `staged` is whether there is a floor to be seen, `width` how much wider than the whole picture the frame is.
    pub fn new(size: usize, staged: bool, width: f32) -> Self {
        let to = room(size, staged, width);
        Room { width, from: to, to, moved: 1.0 }
    }

    fn now(&self) -> [f32; 2] {
        let u = ease(self.moved);
        if u >= 1.0 { self.to } else { std::array::from_fn(|i| self.from[i] + (self.to[i] - self.from[i]) * u) }
    }

    /// A frame on, for so many dancers.
    pub fn step(&mut self, size: usize, staged: bool) {
        let to = room(size, staged, self.width);
        if to != self.to {
            (self.from, self.to, self.moved) = (self.now(), to, 0.0);
        }
        self.moved = (self.moved + 1.0 / ROOM_FRAMES).min(1.0);
    }

    /// Scale of those who stand in front.
    pub fn scale(&self) -> f32 {
        self.now()[0]
    }

    /// Where the picture of who stands at `place`, metres, lies in the whole picture of `camera`.
    pub fn view(&self, place: Vec3, camera: &Camera) -> View {
        let [scale, squeeze] = self.now();
        if scale == 1.0 && place == Vec3::ZERO {
            return View::WHOLE;
        }
        let near = nearness(place.z);
        let floor = camera.project(Vec3::ZERO).y;
        let front = floor - (1.0 - scale) * LIFT * camera.height;
        let eye = front - EYE_HIGH_M * camera.scale * scale;
        let stands = eye + (front - eye) * near;
        let middle = 0.5 * camera.width + place.x * squeeze * scale * near * camera.scale;
        let scale = scale * near;
        View { origin: Vec2::new(middle - scale * 0.5 * camera.width, stands - scale * floor), scale }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subject() -> Subject {
        let figure = Figure { head: [Vec2::new(210.0, 80.0), Vec2::new(300.0, 190.0)], neck: Vec2::new(256.0, 190.0), nose: Vec2::new(256.0, 150.0), pelvis: Vec2::new(256.0, 300.0) };
        Subject { figure, neck: figure.neck, nose: figure.nose, view: View::WHOLE }
    }

    fn beat(frame: u32) -> BeatState {
        BeatState { bpm: 120.0, bar_phase: (frame % 60) as f32 / 60.0, beat_phase: (frame % 15) as f32 / 15.0, confidence: 1.0, ..BeatState::default() }
    }

    #[test]
    fn every_shot_has_head_room_and_the_full_one_is_the_whole_picture() {
        for framing in [Framing::Full, Framing::Half, Framing::Face] {
            // A picture of 512 pixels in a square frame, an upright and a wide one.
            for (width, height) in [(512.0, 512.0), (362.3, 724.0), (1024.0, 512.0)] {
                let (mut camera, of) = (Cameraman::new(Frame::new(width, height)), subject());
                assert!((camera.frame.side - 512.0).abs() < 1.0, "{}", camera.frame.side);
                let view = (0..90).map(|n| camera.step(framing, &of, &beat(n), 0)).last().unwrap();
                let [low, high] = of.figure.head.map(|p| view.apply(p));
                assert!(low.y > 0.05 * 512.0 && low.x > 0.0 && high.x < width && high.y < height, "{framing:?} {width}x{height}: head from {low} to {high}");
            }
            let (mut camera, of) = (Cameraman::new(Frame::new(512.0, 512.0)), subject());
            let view = (0..90).map(|n| camera.step(framing, &of, &beat(n), 0)).last().unwrap();
            let [_, high] = of.figure.head.map(|p| view.apply(p));
            match framing {
                Framing::Half => assert!((300.0..512.0).contains(&view.apply(of.figure.pelvis).y)),
                Framing::Face => assert!((300.0..470.0).contains(&high.y)),
                _ => assert_eq!(view, View::WHOLE),
            }
        }
    }

    #[test]
    fn the_automatic_camera_changes_on_downbeats_of_whole_phrases_only() {
        let (mut camera, of) = (Cameraman::new(Frame::new(512.0, 512.0)), subject());
        let mut shots = vec![(0, Framing::Full)];
        for frame in 0..60 * 40 {
            camera.step(Framing::Auto, &of, &beat(frame), 3);
            if camera.shown != shots[shots.len() - 1].1 {
                shots.push((frame, camera.shown));
            }
        }
        assert!(shots.len() > 5, "{shots:?}");
        assert!(shots[1..].iter().all(|(frame, _)| frame % 240 == 0), "{shots:?}");
    }

    #[test]
    fn a_camera_that_is_asked_to_move_never_jumps() {
        let (mut camera, of) = (Cameraman::new(Frame::new(512.0, 512.0)), subject());
        let mut before = View::WHOLE;
        for frame in 0..400 {
            let framing = [Framing::Full, Framing::Face, Framing::Half, Framing::Full][frame as usize / 10 % 4];
            let view = camera.step(framing, &of, &beat(frame), 0);
            let step = (view.apply(Vec2::splat(256.0)) - before.apply(Vec2::splat(256.0))).length();
            assert!(step < 120.0 && (view.scale / before.scale).ln().abs() < 0.15, "frame {frame}: {before:?} to {view:?}");
            before = view;
        }
    }

    #[test]
    fn a_group_stands_within_the_frame_on_its_floor() {
        for (width, height) in [(512.0, 512.0), (720.0, 1280.0), (1280.0, 720.0)] {
            let frame = Frame::new(width, height);
            let camera = Camera::full_body(frame.side, frame.side);
            for size in 2..=MOST_DANCERS {
                let room = Room::new(size, true, frame.width());
                let edge = 0.5 * (size - 1) as f32 * SPACING_M * 1.15;
                // As near as a formation has them.
                let near = 0.35 * 0.5 * (size - 1) as f32 - 0.3;
                let view = |place| room.view(place, &camera).within(&frame.rest);
                for place in [Vec3::new(edge, 0.0, 0.0), Vec3::new(-edge, 0.0, -0.7), Vec3::new(edge / 1.15, 0.0, near)] {
                    let at = |x: f32, y: f32| view(place).apply(camera.project(Vec3::new(x, y, 0.0)));
                    assert!(at(-0.6, 0.0).x > 0.0 && at(0.6, 0.0).x < width, "{size} dancers, {place}: {}", at(0.0, 0.0));
                    assert!(at(0.0, 1.9).y > 0.0 && at(0.0, 0.0).y < 0.99 * height, "{size} dancers, {place}");
                }
                let floors = [-0.7, 0.0, 0.4].map(|z| view(Vec3::new(0.0, 0.0, z)).apply(camera.project(Vec3::ZERO)).y);
                assert!(floors[0] < floors[1] && floors[1] < floors[2], "who is nearer stands lower: {floors:?}");
            }
        }
        let camera = Camera::full_body(512.0, 512.0);
        assert_eq!(Room::new(1, false, 1.0).view(Vec3::ZERO, &camera), View::WHOLE);
    }
}
