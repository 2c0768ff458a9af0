//! The picture: the same sound gives the same frames, dancers come and go and change without a jump, and what lies behind
//! them never touches them.

mod common;

use odori_engine::avatar::{Avatar, Sidecar, import_encoded};
use odori_engine::dance::Direction;
use odori_engine::ladder::Rung;
use odori_engine::picture::camera::Framing;
use odori_engine::pipeline::{Costume, Models, PictureSetup, Pipeline, Scene, Settings};
use odori_engine::pose::Pose;
use odori_engine::render::{Background, Prefer, open};
use odori_engine::skeleton::Bone;
use odori_kernels::{Backend, cpu};

const SIDE: u32 = 256;

struct Studio {
    backend: Backend,
    models: Models,
}

fn avatar(picture: &[u8], sidecar: &[u8]) -> Avatar {
    import_encoded(picture, Some(&Sidecar::parse(sidecar).unwrap()), None).unwrap().0
}

fn kana() -> Avatar {
    avatar(include_bytes!("../../assets/avatars/kana.png"), include_bytes!("../../assets/avatars/kana.json"))
}

fn mochi() -> Avatar {
    avatar(include_bytes!("../../assets/avatars/mochi.png"), include_bytes!("../../assets/avatars/mochi.json"))
}

impl Studio {
    fn new() -> Self {
        let backend = Backend::Cpu(cpu::Pool::new(2));
        let models = common::models(&backend);
        Studio { backend, models }
    }

    fn pipeline(&self, dancers: usize, scene: &Scene) -> Pipeline {
        self.shaped((SIDE, SIDE), dancers, scene)
    }

    fn shaped(&self, (width, height): (u32, u32), dancers: usize, scene: &Scene) -> Pipeline {
        let setup = PictureSetup { avatar: kana(), drawer: open(Prefer::Cpu), width, height, working_size: 128, best: Rung::OneStep, keep_budget: false, seed: 1 };
        let mut pipeline = Pipeline::new(&self.backend, &self.models, Settings::default(), setup).unwrap();
        pipeline.set_scene(scene);
        if dancers > 1 {
            pipeline.wear(&mut self.costume(&pipeline, 1, dancers));
        }
        pipeline
    }

    /// Dancers `from` to `to` come; they are all Mochi.
    fn costume(&self, pipeline: &Pipeline, from: usize, to: usize) -> Costume {
        let fitting = pipeline.fitting().unwrap();
        (from..to).fold(Costume::new(to), |costume, n| {
            let look = fitting.look(&self.backend, &self.models, mochi(), n).unwrap();
            costume.with_look(n, look).with_newcomer(&self.backend, &self.models).unwrap()
        })
    }
}

fn sound(frames: usize) -> Vec<f32> {
    common::song(8..8 + frames.div_ceil(30))[..800 * frames].to_vec()
}

/// A frame, kept.
#[derive(PartialEq)]
struct Seen {
    rgba: Vec<u8>,
    ground: Vec<u8>,
    pose: Pose,
    dancers: usize,
}

/// Every frame of a sound that comes in blocks; `before` may change something before a frame.
fn film(pipeline: &mut Pipeline, blocks: &[&[f32]], mut before: impl FnMut(usize, &mut Pipeline)) -> Vec<Seen> {
    let mut seen = Vec::new();
    for block in blocks {
        let mut rest = *block;
        while !rest.is_empty() {
            rest = &rest[pipeline.push_audio(rest)..];
            if pipeline.frame_due() {
                before(seen.len(), pipeline);
            }
            if let Some(f) = pipeline.next_frame().unwrap() {
                assert_eq!(f.media_samples, 800 * (seen.len() as u64 + 1), "no frame is passed over");
                seen.push(Seen { rgba: f.rgba.to_vec(), ground: f.ground.to_vec(), pose: f.pose.clone(), dancers: f.dancers.len() });
            }
        }
    }
    seen
}

#[test]
fn the_same_sound_gives_the_same_pictures_however_it_is_cut() {
    let studio = Studio::new();
    let scene = Scene { framing: Framing::Auto, background: Background::Stage };
    let sound = sound(75);
    let whole = film(&mut studio.pipeline(2, &scene), &[&sound], |_, _| ());
    assert_eq!(whole.len(), 75);
    let cut: Vec<&[f32]> = sound.chunks(317).collect();
    let again = film(&mut studio.pipeline(2, &scene), &cut, |_, _| ());
    assert!(whole == again);
    assert!(whole.iter().all(|f| f.ground.len() == f.rgba.len() && f.dancers == 2));
    assert!(whole[40].ground != whole[60].ground, "the stage moves");
}

#[test]
fn a_dancer_who_turns_away_shows_the_back_and_else_the_front() {
    let studio = Studio::new();
    let sound = sound(360);
    let dance = |avatar: Avatar| {
        let setup = PictureSetup { avatar, drawer: open(Prefer::Cpu), width: SIDE, height: SIDE, working_size: 128, best: Rung::Puppet, keep_budget: false, seed: 1 };
        let direction = Direction { facing_deg: -90.0, ..Direction::default() };
        let mut pipeline = Pipeline::new(&studio.backend, &studio.models, Settings { direction, ..Settings::default() }, setup).unwrap();
        film(&mut pipeline, &[&sound], |_, _| ())
    };
    let one_sided = dance(kana());
    let (whole, _) = kana().with_back(include_bytes!("../../assets/avatars/kana-back.png"), None).unwrap();
    let seen = dance(whole);
    let shoulders = ["leftUpperArm", "rightUpperArm"].map(|name| Bone::named(name).unwrap().index());
    let (mut fronts, mut backs, mut facing) = (0, 0, 0);
    for (n, (a, b)) in one_sided.iter().zip(&seen).enumerate() {
        assert!(a.pose == b.pose, "both dance the same");
        let [left, right] = shoulders.map(|s| a.pose.joints().positions[s]);
        let towards = (left.x - right.x) / left.distance(right);
        // Near the profile either may be shown, as it was before; and one gives way to the other in three frames.
        facing = if towards > 0.15 { facing + 1 } else { 0 };
        if facing > 3 {
            fronts += 1;
            assert!(a.rgba == b.rgba, "frame {n} faces the viewer by {towards}");
        } else if towards < -0.55 {
            backs += 1;
            assert!(a.rgba != b.rgba, "frame {n} is turned away by {towards}");
        }
    }
    assert!(fronts > 20 && backs > 20, "{fronts} fronts and {backs} backs were danced");
    let change = |from: usize, to: usize| seen[from].rgba.iter().zip(&seen[to].rgba).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>();
    let alike = |n: usize| one_sided[n].rgba == seen[n].rgba;
    let turns: Vec<usize> = (1..seen.len() - 4).filter(|n| alike(n - 1) && !alike(*n)).collect();
    assert!(!turns.is_empty());
    for n in turns {
        let share = change(n - 1, n) / change(n - 1, n + 4);
        assert!(share < 0.7, "at frame {n} the back is there at once: {share} of the change");
    }
}

#[test]
fn dancers_come_and_go_and_no_frame_jumps() {
    let studio = Studio::new();
    let sound = sound(200);
    let mut pipeline = studio.pipeline(1, &Scene::default());
    let mut coming = studio.costume(&pipeline, 1, 3);
    let seen = film(&mut pipeline, &[&sound], |n, pipeline| match n {
        40 => pipeline.wear(&mut coming),
        100 => pipeline.wear(&mut Costume::new(1)),
        150 => pipeline.wear(&mut Costume::new(2)),
        _ => {}
    });
    assert_eq!([39, 40, 99, 149, 150].map(|n| seen[n].dancers), [1, 3, 3, 1, 2]);
    // As large as the figures are: moves hardly change it. One who is suddenly there would add a tenth of the picture.
    let size = |f: &Seen| f.rgba.as_chunks::<4>().0.iter().map(|p| f64::from(p[3])).sum::<f64>() / (255.0 * f64::from(SIDE * SIDE));
    let grown = seen[20..].windows(2).map(|w| (size(&w[1]) - size(&w[0])).abs()).enumerate().fold((0, 0.0), |a, b| if b.1 > a.1 { b } else { a });
    assert!(grown.1 < 0.02, "the figures grow or shrink by {} of the picture at frame {}", grown.1, grown.0 + 21);
    // Those who dance on do not jump either: the frame of a change is like the ten before and after it.
    let change = |n: usize| seen[n].rgba.iter().zip(&seen[n - 1].rgba).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>();
    for n in [40, 100, 150] {
        let usual = (n - 10..n + 11).filter(|k| *k != n).map(change).fold(0.0, f64::max);
        assert!(change(n) < 1.5 * usual, "frame {n} changes {} times as much as those around it", change(n) / usual);
    }
    let covered = |n: usize| seen[n].rgba.as_chunks::<4>().0.iter().filter(|p| p[3] > 200).count();
    assert!(covered(95) > covered(39), "three are seen");
}

#[test]
fn another_avatar_is_put_on_between_two_frames_and_the_dance_goes_on() {
    let studio = Studio::new();
    let sound = sound(50);
    let plain = film(&mut studio.pipeline(1, &Scene::default()), &[&sound], |_, _| ());
    let mut pipeline = studio.pipeline(1, &Scene::default());
    let look = pipeline.fitting().unwrap().look(&studio.backend, &studio.models, mochi(), 0).unwrap();
    let mut costume = Costume::new(1).with_look(0, look);
    let changed = film(&mut pipeline, &[&sound], |n, pipeline| {
        if n == 25 {
            pipeline.wear(&mut costume);
        }
    });
    assert!(plain.iter().zip(&changed).all(|(a, b)| a.pose == b.pose));
    assert!(plain[24] == changed[24] && plain[25].rgba != changed[25].rgba);
}

/// Columns and rows of a frame where something is seen, the first and the last.
fn seen_within(rgba: &[u8], width: u32) -> [usize; 4] {
    let shown = rgba.as_chunks::<4>().0.iter().enumerate().filter(|(_, p)| p[3] > 128).map(|(i, _)| (i % width as usize, i / width as usize));
    shown.fold([usize::MAX, 0, usize::MAX, 0], |[l, r, t, b], (x, y)| [l.min(x), r.max(x), t.min(y), b.max(y)])
}

#[test]
fn a_wide_frame_is_the_square_one_with_room_at_its_sides() {
    let studio = Studio::new();
    let sound = sound(50);
    let square = film(&mut studio.pipeline(1, &Scene::default()), &[&sound], |_, _| ());
    let wide = film(&mut studio.shaped((2 * SIDE, SIDE), 1, &Scene::default()), &[&sound], |_, _| ());
    let side = SIDE as usize;
    for (a, b) in square.iter().zip(&wide) {
        let middle = b.rgba.chunks_exact(2 * side * 4).flat_map(|row| &row[side / 2 * 4..][..side * 4]);
        let far = a.rgba.iter().zip(middle).filter(|(a, b)| a.abs_diff(**b) > 2).count();
        assert!(a.pose == b.pose && far < a.rgba.len() / 1000, "{far}");
    }
    let scene = Scene { background: Background::Stage, ..Scene::default() };
    let [small, group] = [SIDE, 2 * SIDE].map(|width| (width, film(&mut studio.shaped((width, SIDE), 3, &scene), &[&sound], |_, _| ())));
    let [high, higher] = [&small, &group].map(|(width, film)| {
        let [_, _, top, bottom] = seen_within(&film[49].rgba, *width);
        bottom - top
    });
    assert!(higher > high * 11 / 10, "a group has the room to be {higher} rows high, in a square {high}");
    let (_, group) = group;
    assert!(group[49].ground.len() == group[49].rgba.len());
}

#[test]
fn an_upright_frame_shows_the_dancer_larger_and_whole_from_head_to_feet() {
    let studio = Studio::new();
    let sound = sound(50);
    let square = film(&mut studio.pipeline(1, &Scene::default()), &[&sound], |_, _| ());
    let (width, height) = (SIDE, SIDE * 16 / 9 / 2 * 2);
    for framing in [Framing::Full, Framing::Half, Framing::Face] {
        let scene = Scene { framing, background: Background::Stage };
        let upright = film(&mut studio.shaped((width, height), 1, &scene), &[&sound], |_, _| ());
        for (a, b) in square.iter().zip(&upright).skip(20) {
            let ([_, _, top, bottom], [_, _, above, below]) = (seen_within(&a.rgba, width), seen_within(&b.rgba, width));
            assert!(above > 2, "{framing:?}: the head is cut off");
            if framing == Framing::Full {
                assert!(below + 2 < height as usize && below - above > (bottom - top) * 5 / 4, "rows {above} to {below}; in a square {top} to {bottom}");
            }
        }
    }
}

#[test]
fn what_lies_behind_never_touches_the_figures() {
    let studio = Studio::new();
    let sound = sound(45);
    let film = |background| film(&mut studio.pipeline(1, &Scene { framing: Framing::Full, background }), &[&sound], |_, _| ());
    let (clear, green) = (film(Background::Clear), film(Background::Colour([0, 200, 0])));
    assert!(clear.iter().zip(&green).all(|(a, b)| a.rgba == b.rgba));
    assert!(clear.iter().all(|f| f.ground.is_empty()));
    let ground = green[40].ground.as_chunks::<4>().0;
    assert_eq!(ground[0], [0, 200, 0, 255]);
    let darkest = |rows: std::ops::Range<usize>| ground[rows.start * SIDE as usize..rows.end * SIDE as usize].iter().map(|p| p[1]).min().unwrap();
    assert!(darkest(235..256) < 120 && darkest(0..200) == 200, "the shadow lies at the feet");
}
