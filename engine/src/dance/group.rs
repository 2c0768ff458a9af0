//! Several dancers as one group: who dances what of whom, and where each stands.
//!
//! Dancers have moves of their own (another seed) and take over the leader's: together, mirrored, or one beat after
//! the other. It changes with the phrases of the music. Places keep their order from left to right and their distance, in
//! every formation and on the way between any two, so nobody is run into.

use std::collections::VecDeque;

use glam::Vec3;

use crate::beat::BeatState;
use crate::metrics::POSE_HZ;
use crate::pose::Pose;

pub const MOST_DANCERS: usize = 5;
/// Bars after which the dancers relate otherwise, and after which they stand otherwise.
const RELATION_BARS: u32 = 4;
const FORMATION_BARS: u32 = 8;
/// Frames of the change from one relation to the next, and from one formation to the next.
const RELATE_FRAMES: f32 = 15.0;
const MOVE_FRAMES: f32 = 75.0;
/// Least distance of two neighbours from left to right, metres.
pub const SPACING_M: f32 = 1.15;
/// Share of their own moves that the others keep when they dance as the leader does.
const OWN_SHARE: f32 = 0.22;
/// Poses of the leader that are kept: four beats at 60 BPM.
const HISTORY: usize = 128;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    /// As the leader does.
    Together,
    /// Every other dancer in the mirror.
    Mirrored,
    /// Each a beat after the one before.
    Canon,
    /// Each for themselves.
    Own,
}

const RELATIONS: [Relation; 5] = [Relation::Together, Relation::Mirrored, Relation::Own, Relation::Canon, Relation::Mirrored];

/// By dancer; those beyond the group's size are where they were last.
type Places = [Vec3; MOST_DANCERS];

pub struct Group {
    size: usize,
    /// The leader's poses, newest first.
    history: VecDeque<Pose>,
    was: Relation,
    is: Relation,
    /// 0 as it was to 1 as it is.
    related: f32,
    /// Frames from dancer to dancer in a canon, fixed while it lasts.
    canon_frames: usize,
    from: Places,
    to: Places,
    moved: f32,
    bars: u32,
}

/// Places from left to right belong to dancers in this order: the leader in the middle.
fn place_of(dancer: usize, size: usize) -> usize {
    let step = dancer.div_ceil(2);
    let middle = size / 2;
    if dancer.is_multiple_of(2) { middle + step } else { middle - step }.min(size - 1)
}

/// A dancer's place in a formation.
fn formation(number: u32, dancer: usize, size: usize) -> Vec3 {
    if size == 1 {
        return Vec3::ZERO;
    }
    let middle = (size - 1) as f32 / 2.0;
    let slot = place_of(dancer, size) as f32;
    let out = slot - middle;
    let z = match number % 4 {
        0 => -0.45 * out.abs(),
        1 => 0.0,
        2 => -0.7 * (slot % 2.0),
        _ => 0.35 * out.abs() - 0.3,
    };
    let spacing = if number % 4 == 1 { SPACING_M * 1.15 } else { SPACING_M };
    Vec3::new(out * spacing, 0.0, z)
}

impl Group {
    /// `size` from 1 to [`MOST_DANCERS`]; beyond, it is held to that.
    pub fn new(size: usize) -> Self {
        let size = size.clamp(1, MOST_DANCERS);
        // The table of mirror images is made when it is first asked for: not in the middle of a dance.
        let _ = Pose::default().mirrored();
        let to = std::array::from_fn(|d| if d < size { formation(0, d, size) } else { Vec3::ZERO });
        Group {
            size,
            history: VecDeque::with_capacity(HISTORY),
            was: Relation::Together,
            is: Relation::Together,
            related: 1.0,
            canon_frames: 15,
            from: to,
            to,
            moved: 1.0,
            bars: 0,
        }
    }

    /// A frame on: `leader` is what the first dancer dances, `bars` how many have gone by.
    pub fn step(&mut self, leader: &Pose, bars: u32, beat: &BeatState) {
        if self.history.len() == HISTORY {
            self.history.pop_back();
        }
        self.history.push_front(leader.clone());
        self.related = (self.related + 1.0 / RELATE_FRAMES).min(1.0);
        self.moved = (self.moved + 1.0 / MOVE_FRAMES).min(1.0);
        if bars == self.bars {
            return;
        }
        self.bars = bars;
        let relation = RELATIONS[(bars / RELATION_BARS) as usize % RELATIONS.len()];
        if relation != self.is && self.related == 1.0 {
            (self.was, self.is, self.related) = (self.is, relation, 0.0);
            if relation == Relation::Canon {
                self.canon_frames = ((60.0 / beat.bpm.max(40.0) * POSE_HZ).round() as usize).min(HISTORY / MOST_DANCERS);
            }
        }
        if bars.is_multiple_of(FORMATION_BARS) && self.moved == 1.0 {
            self.form(bars / FORMATION_BARS, self.size);
        }
    }

    /// From where everybody is into a formation; who comes new begins there.
    fn form(&mut self, number: u32, before: usize) {
        let here: Places = std::array::from_fn(|d| self.place(d));
        for (d, place) in here.into_iter().enumerate() {
            self.to[d] = if d < self.size { formation(number, d, self.size) } else { place };
            self.from[d] = if d < before { place } else { self.to[d] };
        }
        self.moved = 0.0;
    }

    /// More or fewer dancers, 1 to [`MOST_DANCERS`]: those who stay find new places.
    pub fn resize(&mut self, size: usize) {
        let before = self.size;
        self.size = size.clamp(1, MOST_DANCERS);
        if self.size != before {
            self.form(self.bars / FORMATION_BARS, before);
        }
    }

    /// Whether everybody has arrived.
    pub fn settled(&self) -> bool {
        self.moved == 1.0
    }

    fn related_to(&self, relation: Relation, dancer: usize, own: &Pose) -> Pose {
        let delay = if relation == Relation::Canon { dancer * self.canon_frames } else { 0 };
        let Some(leader) = self.history.get(delay).or(self.history.back()) else { return own.clone() };
        match relation {
            Relation::Own => own.clone(),
            Relation::Mirrored if dancer % 2 == 1 => leader.mirrored().lerp(own, OWN_SHARE),
            _ => leader.lerp(own, OWN_SHARE),
        }
    }

    /// What a dancer dances; `own` is what they would dance alone. The leader dances that.
    pub fn pose(&self, dancer: usize, own: &Pose) -> Pose {
        if dancer == 0 {
            return own.clone();
        }
        let is = self.related_to(self.is, dancer, own);
        if self.related == 1.0 {
            return is;
        }
        let u = self.related;
        self.related_to(self.was, dancer, own).lerp(&is, u * u * (3.0 - 2.0 * u))
    }

    /// Where a dancer's place is, metres from the middle of the stage.
    pub fn place(&self, dancer: usize) -> Vec3 {
        let u = self.moved;
        self.from[dancer].lerp(self.to[dancer], u * u * (3.0 - 2.0 * u))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_keep_their_distance_in_and_between_formations() {
        for size in 2..=MOST_DANCERS {
            let mut group = Group::new(size);
            for bars in 0..80 {
                for _ in 0..50 {
                    group.step(&Pose::default(), bars, &BeatState::default());
                    let mut x: Vec<f32> = (0..size).map(|d| group.place(d).x).collect();
                    x.sort_unstable_by(f32::total_cmp);
                    assert!(x.windows(2).all(|w| w[1] - w[0] >= SPACING_M - 1e-4), "{size} dancers in bar {bars}: {x:?}");
                }
            }
        }
    }

    #[test]
    fn who_stays_moves_to_a_new_place_and_never_jumps() {
        let mut group = Group::new(1);
        let mut before: Vec<Vec3> = vec![group.place(0)];
        for (frame, size) in (0..600).map(|f| (f, [1, 3, 5, 2, 1, 4][f as usize / 100])) {
            group.resize(size);
            group.step(&Pose::default(), frame / 60, &BeatState::default());
            let now: Vec<Vec3> = (0..size).map(|d| group.place(d)).collect();
            assert!(now.iter().zip(&before).all(|(a, b)| a.distance(*b) < 0.1), "frame {frame}: {before:?} to {now:?}");
            before = now;
        }
        group.resize(1);
        (0..100).for_each(|_| group.step(&Pose::default(), 9, &BeatState::default()));
        assert!(group.settled() && group.place(0) == Vec3::ZERO);
    }

    #[test]
    fn dancers_are_related_but_not_the_same() {
        let pose = |x: f32| Pose { root: Vec3::new(x, 0.9, 0.0), ..Pose::default() };
        let mut group = Group::new(3);
        let mut relations = Vec::new();
        for frame in 0..2400u32 {
            group.step(&pose(0.001 * (frame % 200) as f32), frame / 60, &BeatState::default());
            let others = [1, 2].map(|d| group.pose(d, &pose(0.5)));
            assert_ne!(others[0], pose(0.001 * (frame % 200) as f32));
            if !relations.contains(&group.is) {
                relations.push(group.is);
            }
        }
        assert_eq!(relations.len(), 4, "{relations:?}");
    }
}
