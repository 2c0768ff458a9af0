//! The flat bones of a puppet at rest, and the names of their places.
//!
//! Holds positions only; how they move is in `drive`.

use std::sync::LazyLock;

use glam::Vec2;

use crate::skeleton::{KEYPOINT_COUNT, SKELETON};

/// Bones of a puppet: the 20 body bones, springs, the collar bones, and the face's.
pub const BONES: usize = 31;

/// Places in [`PuppetFrame::bones`](super::PuppetFrame). A side is 0 for the character's left, 1 for its right.
pub mod bone {
    pub const PELVIS: usize = 0;
    pub const CHEST: usize = 1;
    pub const NECK: usize = 2;
    pub const HEAD: usize = 3;
    pub const fn shoulder(side: usize) -> usize {
        4 + side * 4
    }
    pub const fn upper_arm(side: usize) -> usize {
        5 + side * 4
    }
    pub const fn lower_arm(side: usize) -> usize {
        6 + side * 4
    }
    pub const fn hand(side: usize) -> usize {
        7 + side * 4
    }
    pub const fn hip(side: usize) -> usize {
        12 + side * 4
    }
    pub const fn upper_leg(side: usize) -> usize {
        13 + side * 4
    }
    pub const fn lower_leg(side: usize) -> usize {
        14 + side * 4
    }
    pub const fn foot(side: usize) -> usize {
        15 + side * 4
    }
    /// Hair hanging at a side of the head.
    pub const fn hair(side: usize) -> usize {
        20 + side
    }
    /// A side of a skirt or robe.
    pub const fn skirt(side: usize) -> usize {
        22 + side
    }
    /// The torso's own corner at a shoulder; unlike the arm's socket it never crosses over in a back view.
    pub const fn collar(side: usize) -> usize {
        24 + side
    }
    /// The face's: they are the head, but for how far an expression moves them. Upper lids go down, and with them their
    /// lash lines, which first come into being; lower lids go up.
    pub const LID: usize = 26;
    pub const LASH: usize = 27;
    pub const LOWER_LID: usize = 28;
    pub const GAZE: usize = 29;
    pub const JAW: usize = 30;
}

/// How much of a foot's hidden length its toes swing with.
pub(crate) const FOOT_SWING: f32 = 0.6;

/// Joints at rest in pixels of the reference picture; pairs are left, right.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rig {
    pub pelvis: Vec2,
    pub spine: Vec2,
    pub neck: Vec2,
    /// Where the skull sits on the neck.
    pub skull: Vec2,
    pub head_top: Vec2,
    pub shoulders: [Vec2; 2],
    pub elbows: [Vec2; 2],
    pub wrists: [Vec2; 2],
    pub hands: [Vec2; 2],
    pub hips: [Vec2; 2],
    pub knees: [Vec2; 2],
    pub ankles: [Vec2; 2],
    pub toes: [Vec2; 2],
    /// Row the soles stand on.
    pub ground: f32,
    /// Where hair swings from, left and right.
    pub hair: [Vec2; 2],
    /// Row of a skirt's hem; `None` when the legs are seen from the hip.
    pub hem: Option<f32>,
}

/// Index of a keypoint by name; the names are part of the program.
pub(crate) fn keypoint(name: &str) -> usize {
    SKELETON.keypoint_named(name).unwrap_or_else(|| panic!("the skeleton has a keypoint {name}"))
}

/// The same keypoint of the other side; itself where there is none.
pub fn other_side(k: usize) -> usize {
    static OTHER: LazyLock<[usize; KEYPOINT_COUNT]> = LazyLock::new(|| {
        std::array::from_fn(|k| match SKELETON.keypoints[k].name.split_once('_') {
            Some(("left", rest)) => keypoint(&format!("right_{rest}")),
            Some(("right", rest)) => keypoint(&format!("left_{rest}")),
            _ => k,
        })
    });
    OTHER[k]
}

impl Rig {
    pub(crate) fn new(k: &[Vec2; KEYPOINT_COUNT], ground: f32) -> Rig {
        let at = |name: &str| k[keypoint(name)];
        let pair = |name: &str| [at(&format!("left_{name}")), at(&format!("right_{name}"))];
        let (pelvis, neck, head_top) = (at("pelvis"), at("neck"), at("head_top"));
        let axis = head_top - neck;
        let nose = ((at("nose") - neck).dot(axis) / axis.length_squared().max(1.0)).clamp(0.2, 0.8);
        Rig {
            pelvis,
            spine: pelvis.lerp(neck, 0.45),
            neck,
            skull: neck + axis * (nose * 0.5),
            head_top,
            shoulders: pair("shoulder"),
            elbows: pair("elbow"),
            wrists: pair("wrist"),
            hands: pair("hand"),
            hips: pair("hip"),
            knees: pair("knee"),
            ankles: pair("ankle"),
            toes: pair("toe"),
            ground,
            hair: pair("ear"),
            hem: None,
        }
    }

    /// Head top to soles, pixels.
    pub fn height(&self) -> f32 {
        (self.ground - self.head_top.y).max(1.0)
    }

    /// How much of a foot's length points at the viewer, pixels: what its picture does not show.
    pub(crate) fn foot_depth(&self, s: usize) -> f32 {
        let leg = Self::length(&self.hips, &self.knees) + Self::length(&self.knees, &self.ankles);
        let shown = self.ankles[s].distance_squared(self.toes[s]);
        ((0.2 * leg).powi(2) - shown).max(0.0).sqrt()
    }

    /// Longer of the two sides: a limb that leans out of the picture looks short.
    pub(crate) fn length(a: &[Vec2; 2], b: &[Vec2; 2]) -> f32 {
        a[0].distance(b[0]).max(a[1].distance(b[1])).max(1.0)
    }
}
