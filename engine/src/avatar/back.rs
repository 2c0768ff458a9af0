//! A character's back: another picture, whose joints are the front's, mirrored, where the two show the same outline.

use glam::Vec2;

use super::figure::{self, Figure};
use super::finder::FigureFinder;
use super::import::{Glimpse, Layers};
use super::rig::other_side;
use super::{Avatar, AvatarError, Face, Image, ImportReport, LoosePart, Sidecar, decode};
use crate::skeleton::{KEYPOINT_COUNT, SKELETON};

/// Side of the grid that outlines are compared on.
const GRID: usize = 96;
/// Shares of both outlines together that both must cover for one to be the other's mirror image.
const ALIKE: f32 = 0.8;

impl Avatar {
    /// This avatar with a back: an encoded picture of the same character from behind, standing as in the front's. Gives what was
    /// found: its joints come from the "front" where the outlines are each other's mirror images, else from the "network".
    ///
    /// # Errors
    /// What is wrong with the picture.
    pub fn with_back(self, bytes: &[u8], finder: Option<&mut FigureFinder>) -> Result<(Avatar, ImportReport), AvatarError> {
        let (back, report) = self.import_back(bytes, finder).map_err(|e| AvatarError::Back(Box::new(e)))?;
        Ok((Avatar { back: Some(Box::new(back)), ..self }, report))
    }

    fn import_back(&self, bytes: &[u8], mut finder: Option<&mut FigureFinder>) -> Result<(Avatar, ImportReport), AvatarError> {
        let picture = decode(bytes)?;
        let (width, height) = (picture.width(), picture.height());
        let Figure { image, origin, scale, ground } = figure::find(width, height, picture.into_raw(), finder.as_deref_mut())?;
        let (own, other) = (bounds(&self.reference), bounds(&image));
        let mut notes = Vec::new();
        let alike = outlines_alike(&self.reference, own, &image, other);
        // A picture of other proportions, or one whose figure stands otherwise, is not the front's mirror image.
        let (points, loose, keypoints_from, confidence) = if alike >= ALIKE {
            let place = |p: Vec2| {
                let share = (p - own[0]) / (own[1] - own[0]);
                other[0] + Vec2::new(1.0 - share.x, share.y) * (other[1] - other[0])
            };
            let loose = self.loose.iter().map(|l| l.mapped(place)).collect();
            (self.keypoints.map(place), loose, "front", alike)
        } else {
            let finder = finder.as_deref_mut().ok_or_else(|| AvatarError::Keypoints("the figure does not stand as it does in the front's picture".into()))?;
            let (points, confidence) = Glimpse::of(finder, &image).keypoints()?;
            notes.push("it does not stand as in the front's picture: its joints were looked for".into());
            (points, Vec::new(), "network", confidence)
        };
        let size = (image.width, image.height);
        let figure = Figure { image, origin: [0.0; 2], scale: 1.0, ground };
        let (back, report) = self.of_back(figure, size, points, loose, finder)?;
        // That left and right were exchanged needs no words here: a back's always are.
        Ok((back, ImportReport { keypoints_from, confidence, picture: [width, height], origin, scale, notes, ..report }))
    }

    /// The back of `before`, whose joints follow those that this correction of it has moved, where the two pictures are each other's
    /// mirror images.
    pub(super) fn back_following(&self, before: &Avatar) -> Result<Option<Box<Avatar>>, AvatarError> {
        let Some(back) = &before.back else { return Ok(None) };
        let (own, other) = (bounds(&self.reference), bounds(&back.reference));
        let skirt = self.rig.hem.is_some();
        let moved = self.keypoints != before.keypoints || skirt != before.rig.hem.is_some();
        if !moved || outlines_alike(&self.reference, own, &back.reference, other) < ALIKE {
            return Ok(Some(back.clone()));
        }
        let size = (other[1] - other[0]) / (own[1] - own[0]) * Vec2::new(-1.0, 1.0);
        let most = Vec2::new(back.reference.width as f32, back.reference.height as f32) - 1.0;
        let mut points = back.points();
        for (k, (now, then)) in self.keypoints.iter().zip(&before.keypoints).enumerate() {
            let at = other_side(k);
            let there = (back.keypoints[at] + (*now - *then) * size).clamp(Vec2::ZERO, most);
            points.keypoints.insert(SKELETON.keypoints[at].name.clone(), there.into());
        }
        points.skirt = Some(skirt);
        let (back, _) = back.corrected(&points).map_err(|e| AvatarError::Back(Box::new(e)))?;
        Ok(Some(Box::new(back)))
    }

    /// Of a figure whose joints are known, pixels of its picture.
    fn of_back(
        &self,
        figure: Figure,
        size: (u32, u32),
        points: [Vec2; KEYPOINT_COUNT],
        loose: Vec<LoosePart>,
        finder: Option<&mut FigureFinder>,
    ) -> Result<(Avatar, ImportReport), AvatarError> {
        let sidecar = Sidecar {
            width: size.0,
            height: size.1,
            keypoints: SKELETON.keypoints.iter().zip(points).map(|(k, p)| (k.name.clone(), p.into())).collect(),
            loose,
            skirt: Some(self.rig.hem.is_some()),
            face: Some(Face::default()),
            name: None,
        };
        // As a front: left is where the picture's right is.
        let given = sidecar.resolve(size.0, size.1)?;
        Self::of_figure(figure, size, Some(&sidecar), Some(given), finder, Layers::default())
    }
}

/// Corners of what is solid in a picture, pixels.
fn bounds(image: &Image) -> [Vec2; 2] {
    let (mut low, mut high) = (Vec2::MAX, Vec2::ZERO);
    for (i, _) in image.rgba.chunks_exact(4).enumerate().filter(|(_, p)| p[3] > 127) {
        let at = Vec2::new((i % image.width as usize) as f32, (i / image.width as usize) as f32);
        (low, high) = (low.min(at), high.max(at + 1.0));
    }
    if low.cmplt(high).all() { [low, high] } else { [Vec2::ZERO, Vec2::new(image.width as f32, image.height as f32)] }
}

/// How much two outlines cover each other, the first mirrored, both stretched to the same box; less where the boxes' proportions differ.
fn outlines_alike(front: &Image, own: [Vec2; 2], back: &Image, other: [Vec2; 2]) -> f32 {
    let solid = |image: &Image, [low, high]: [Vec2; 2], share: Vec2| {
        let p = low + share * (high - low);
        let at = (p.y as usize).min(image.height as usize - 1) * image.width as usize + (p.x as usize).min(image.width as usize - 1);
        image.rgba[at * 4 + 3] > 127
    };
    let (mut both, mut either) = (0, 0);
    for i in 0..GRID * GRID {
        let share = (Vec2::new((i % GRID) as f32, (i / GRID) as f32) + 0.5) / GRID as f32;
        let (a, b) = (solid(front, own, Vec2::new(1.0 - share.x, share.y)), solid(back, other, share));
        both += u32::from(a && b);
        either += u32::from(a || b);
    }
    let shape = |[low, high]: [Vec2; 2]| (high.x - low.x) / (high.y - low.y);
    let stretched = shape(own) / shape(other);
    both as f32 / either.max(1) as f32 * stretched.min(1.0 / stretched)
}

#[cfg(test)]
mod tests {
    use glam::{Quat, Vec3};

    use super::super::tests::{dancing, figure, painted, picture};
    use super::super::{Side, drive, drive_side, keypoint};
    use super::*;
    use crate::pose::{Camera, Pose};
    use crate::skeleton::Bone;

    fn png(width: u32, height: u32, rgba: &[u8]) -> Vec<u8> {
        use image::ImageEncoder;
        let mut out = Vec::new();
        image::codecs::png::PngEncoder::new(&mut out).write_image(rgba, width, height, image::ExtendedColorType::Rgba8).expect("a picture");
        out
    }

    /// The figure seen from behind: the other way round.
    fn from_behind() -> Vec<u8> {
        let (w, h, rgba, _) = picture();
        let row = w as usize * 4;
        let turned: Vec<u8> = rgba.chunks_exact(row).flat_map(|r| r.chunks_exact(4).rev().flatten().copied().collect::<Vec<_>>()).collect();
        png(w, h, &turned)
    }

    #[test]
    fn a_joint_corrected_on_the_front_moves_on_the_back() {
        let (front, _) = figure();
        let (avatar, _) = front.with_back(&from_behind(), None).expect("a back");
        let mut points = avatar.points();
        let hand = points.keypoints.get_mut("left_hand").expect("a hand");
        *hand = [hand[0] - 9.0, hand[1] - 6.0];
        let (corrected, _) = avatar.corrected(&points).expect("corrected");
        let (before, now) = (avatar.back.as_ref().expect("a back"), corrected.back.as_ref().expect("a back"));
        // What is the left on the front is called right on the back, and lies mirrored.
        for k in 0..KEYPOINT_COUNT {
            let by = if k == keypoint("right_hand") { Vec2::new(9.0, -6.0) } else { Vec2::ZERO };
            assert!(now.keypoints[k].distance(before.keypoints[k] + by) < 0.5, "{}: {} from {}", SKELETON.keypoints[k].name, now.keypoints[k], before.keypoints[k]);
        }
        // Only a name is given: nothing of the back changes.
        let (renamed, _) = avatar.corrected(&Sidecar { name: Some("It".into()), ..avatar.points() }).expect("renamed");
        assert_eq!(renamed.back, avatar.back);
    }

    #[test]
    fn a_back_has_the_fronts_joints_mirrored_and_stays_in_the_file() {
        // One hand's joint nearer to the wrist, so that sides can be told.
        let mut points = figure().0.points();
        let hand = points.keypoints.get_mut("left_hand").expect("a hand");
        *hand = [hand[0] - 9.0, hand[1] - 9.0];
        let (front, _) = figure().0.corrected(&points).expect("corrected");
        let (avatar, report) = front.with_back(&from_behind(), None).expect("a back");
        assert_eq!(report.keypoints_from, "front");
        let back = avatar.back.as_ref().expect("it is there");
        // Its left hand is at the picture's left, and called right, as on a front.
        let (l, r) = (keypoint("left_hand"), keypoint("right_hand"));
        let width = back.reference.width as f32;
        for (behind, before) in [(r, l), (l, r)] {
            let there = Vec2::new(width - avatar.keypoints[before].x, avatar.keypoints[before].y);
            assert!(back.keypoints[behind].distance(there) < 2.0, "{} behind, {there} expected", back.keypoints[behind]);
        }
        assert!(back.keypoints[r].distance(Vec2::new(width - back.keypoints[l].x, back.keypoints[l].y)) > 8.0);
        assert!(back.face.is_empty());
        let read = Avatar::from_bytes(&avatar.to_bytes().expect("bytes")).expect("read");
        assert_eq!(read, avatar);
        // Correcting the front leaves it.
        assert_eq!(avatar.corrected(&avatar.points()).expect("corrected").0.back, avatar.back);
        let twice = Avatar { back: Some(Box::new(avatar.clone())), ..avatar };
        let refused = Avatar::from_bytes(&twice.to_bytes().expect("bytes")).expect_err("a back of a back").to_string();
        assert!(refused.contains("its back has a back"), "{refused}");
    }

    #[test]
    fn a_back_that_is_no_figure_or_stands_otherwise_is_refused_in_words() {
        let (front, _) = figure();
        let refused = |bytes: &[u8]| front.clone().with_back(bytes, None).expect_err("no back").to_string();
        assert!(refused(b"nothing").starts_with("the back: the picture cannot be read"), "{}", refused(b"nothing"));
        let ball = painted(300, 500, &[(Vec2::new(150.0, 200.0), Vec2::new(150.0, 320.0), 90.0, [90; 3])]);
        assert!(refused(&png(300, 500, &ball)).contains("does not stand as it does in the front's picture"));
    }

    #[test]
    fn who_turns_round_has_every_joint_where_it_is_and_its_left_at_the_left() {
        let (avatar, _) = figure();
        let camera = Camera::full_body(512.0, 512.0);
        let away = |pose: &Pose| {
            let mut pose = pose.clone();
            let hips = Bone::HIPS.index();
            pose.rotations[hips] = Quat::from_rotation_y(std::f32::consts::PI) * pose.rotations[hips];
            pose
        };
        for pose in [Pose::default(), dancing()] {
            let turned = drive_side(&avatar, Side::Back, &away(&pose), &camera);
            // Half a turn mirrors what the viewer sees, and a mirror exchanges the names again.
            let expected = drive(&avatar, &pose.mirrored(), &camera);
            for k in ["left_wrist", "right_wrist", "left_elbow", "right_knee", "left_shoulder", "neck", "pelvis"] {
                let (a, b) = (turned.keypoints[keypoint(k)].position, expected.keypoints[keypoint(k)].position);
                assert!(a.distance(b) < 2.0, "{k}: {a}, {b} expected");
            }
            // As far off the viewer as before, and it faces him as a front would.
            let depth = |k| turned.depths[keypoint(k)] + expected.depths[keypoint(k)];
            assert!(depth("left_wrist").abs() < 1e-3 && depth("right_knee").abs() < 1e-3);
            assert!(Vec3::from_slice(&turned.facing[super::super::CHEST_FORWARD..]).z > 0.7);
        }
    }
}
