//! A person says which part a pixel belongs to: maps are read or refused with words, and what is painted is what moves.

use glam::Vec2;

use super::finder::{CLASSES, SIZE};
use super::seen::SeenParts;
use super::tests::{dancing, figure, finder, picture};
use super::*;
use crate::pose::Camera;

const TORSO: u8 = 1;
const LEFT_ARM: u8 = 3;

/// A disc of one part on a map of the avatar's size.
fn disc(avatar: &Avatar, centre: Vec2, radius: f32, part: u8) -> PartMap {
    let (w, h) = (avatar.reference.width, avatar.reference.height);
    let of = |i: u32| Vec2::new((i % w) as f32, (i / w) as f32).distance(centre) < radius;
    PartMap::new(w, h, (0..w * h).map(|i| if of(i) { part } else { 0 }).collect())
}

fn hand(avatar: &Avatar) -> Vec2 {
    avatar.keypoints[keypoint("left_hand")]
}

fn painted(avatar: &Avatar, map: PartMap) -> Avatar {
    let mut avatar = avatar.clone();
    avatar.paint(map).unwrap();
    avatar.corrected(&avatar.points()).unwrap().0
}

/// Where the dance takes what the picture shows at `p`, by the vertex of a layer that lies nearest; and how far it lies.
fn danced(avatar: &Avatar, layers: &[usize], p: Vec2) -> (Vec2, f32) {
    let frame = drive(avatar, &dancing(), &Camera::full_body(512.0, 512.0));
    let corners = layers.iter().flat_map(|&l| {
        let Layer { start, count } = avatar.layers[l];
        &avatar.indices[start as usize..(start + count) as usize]
    });
    let v = corners.map(|&i| avatar.vertices[i as usize]).min_by(|a, b| Vec2::from(a.rest).distance(p).total_cmp(&Vec2::from(b.rest).distance(p))).unwrap();
    let rest = Vec2::from(v.rest);
    let moved = v.bones.iter().zip(v.weights).map(|(&b, k)| frame.bones[b as usize].apply(rest) * k).sum();
    (moved, rest.distance(p))
}

const LEFT_ARM_LAYERS: [usize; 2] = [2, 3];

#[test]
fn paint_lies_over_what_was_found_and_not_beyond_the_figure() {
    let found = PartMap::new(2, 2, vec![TORSO, TORSO, 0, LEFT_ARM]);
    let shown = found.under(Some(&PartMap::new(2, 2, vec![0, LEFT_ARM, LEFT_ARM, 0])));
    assert_eq!(shown.parts(), [TORSO, LEFT_ARM, 0, LEFT_ARM]);
    assert_eq!(found.under(None), found);
}

#[test]
fn a_map_comes_back_as_it_went() {
    let parts: Vec<u8> = (0..40 * 30).map(|i| (i % 8) as u8).collect();
    let map = PartMap::new(40, 30, parts);
    let png = map.to_png().unwrap();
    assert_eq!(PartMap::from_png(&png, 64).unwrap(), map);
    assert_eq!(map.counts(), [150; 7]);
}

#[test]
fn a_map_fits_a_picture_of_another_size() {
    let map = PartMap::new(20, 15, (0..20 * 15).map(|i| (i % 8) as u8).collect());
    let given = map.resampled(90, 70, 0.25, [-1.0, -0.5]);
    assert_eq!(given.parts()[0], 0, "beyond its edge");
    // The middle of (10, 6) lies at (1.6, 1.1).
    assert_eq!(given.parts()[6 * 90 + 10], map.parts()[20 + 1]);
    assert_eq!(given.resampled(20, 15, 4.0, [4.0, 2.0]), map);
}

#[test]
fn a_map_that_says_nothing_known_is_refused_with_words() {
    let refused = |w, h, colour: [u8; 4]| {
        let mut picture = image::RgbaImage::new(w, h);
        picture.put_pixel(3, 2, image::Rgba(colour));
        let mut png = Vec::new();
        picture.write_to(&mut std::io::Cursor::new(&mut png), image::ImageFormat::Png).unwrap();
        PartMap::from_png(&png, 64).unwrap_err().to_string()
    };
    let unknown = refused(20, 20, [1, 2, 3, 255]);
    assert!(unknown.contains("3 across and 2 down is #010203ff") && unknown.contains("left arm #0f8fd0"), "{unknown}");
    assert!(refused(20, 20, [15, 143, 208, 128]).contains("#0f8fd080"), "half clear is neither");
    assert!(refused(65, 20, [0; 4]).contains("64 pixels"));
    assert!(PartMap::from_png(b"GIF89a", 64).unwrap_err().to_string().contains("PNG"));
    assert!(PartMap::from_png(&vec![0; PART_MAP_MAX_BYTES + 1], 64).unwrap_err().to_string().contains("at most 4"));
    let (mut avatar, _) = figure();
    let wrong = avatar.paint(PartMap::new(10, 20, vec![1; 200])).unwrap_err().to_string();
    assert!(wrong.contains("10x20") && wrong.contains(&avatar.reference.width.to_string()), "{wrong}");
    assert!(avatar.paint.is_none());
}

#[test]
fn parts_are_found_where_the_joints_are() {
    let (avatar, _) = figure();
    let map = avatar.found_parts();
    assert_eq!(map.size(), (avatar.reference.width, avatar.reference.height));
    let at = |name: &str| {
        let p = avatar.keypoints[keypoint(name)];
        map.parts()[p.y as usize * map.size().0 as usize + p.x as usize]
    };
    assert_eq!(["pelvis", "nose", "left_elbow", "right_wrist", "left_knee", "right_ankle"].map(at), [1, 2, 3, 4, 5, 6]);
    assert_eq!(map.parts()[0], 0, "the ground is no part");
}

#[test]
fn what_is_painted_moves_with_its_new_part() {
    let (avatar, _) = figure();
    let hand = hand(&avatar);
    let (with_arm, near) = danced(&avatar, &LEFT_ARM_LAYERS, hand);
    assert!(near < 15.0, "the arm's layer shows the hand");
    let changed = painted(&avatar, disc(&avatar, hand, 30.0, TORSO));
    assert!(danced(&changed, &LEFT_ARM_LAYERS, hand).1 > 18.0, "the arm's layer shows the hand no more");
    let (with_torso, near) = danced(&changed, &[0], hand);
    assert!(near < 15.0, "the torso's layer shows it");
    assert!(with_torso.distance(with_arm) > 20.0, "it goes elsewhere: {with_torso} {with_arm}");
    // At rest every pixel is still shown.
    assert_eq!(changed.reference, avatar.reference);
    // Painted as it was found, nothing changes.
    let same = painted(&avatar, disc(&avatar, hand, 20.0, LEFT_ARM));
    assert_eq!((same.vertices, same.atlas), (avatar.vertices, avatar.atlas));
}

/// A hand painted as torso once had a bar of torso drawn between it and the trunk.
#[test]
fn nothing_is_filled_between_the_trunk_and_what_is_painted_beside_it() {
    let (avatar, _) = figure();
    let hand = hand(&avatar);
    let hints = segment::Hints { paint: Some(disc(&avatar, hand, 30.0, TORSO)), ..segment::Hints::default() };
    let torso = &segment::segment(&avatar.reference, &avatar.rig, hints).pictures[segment::TORSO];
    let alpha = |p: Vec2| torso.rgba[((p.y as usize - torso.y0) * torso.width + p.x as usize - torso.x0) * 4 + 3];
    assert_eq!(alpha(hand), 255);
    // On the forearm, in a row of the painted disc.
    let (wrist, elbow) = (avatar.keypoints[keypoint("left_wrist")], avatar.keypoints[keypoint("left_elbow")]);
    let forearm = wrist.lerp(elbow, 0.25);
    assert!(forearm.distance(hand) > 34.0 && (forearm.y - hand.y).abs() < 28.0, "{forearm} {hand}");
    assert_eq!(alpha(forearm), 0);
}

#[test]
fn hair_painted_swings_and_painted_away_is_still() {
    let (avatar, _) = figure();
    let hair_weight = |a: &Avatar, p: Vec2| {
        let v = a.vertices.iter().filter(|v| v.bones.contains(&(bone::HEAD as u32))).min_by(|a, b| Vec2::from(a.rest).distance(p).total_cmp(&Vec2::from(b.rest).distance(p))).unwrap();
        v.bones.iter().zip(v.weights).filter(|(b, k)| (**b == bone::hair(0) as u32 || **b == bone::hair(1) as u32) && *k > 0.0).map(|(_, k)| k).sum::<f32>()
    };
    let [jaw, top] = [("nose", [28.0, 22.0]), ("head_top", [0.0, 12.0])].map(|(name, off)| avatar.keypoints[keypoint(name)] + Vec2::from(off));
    assert!(hair_weight(&avatar, jaw) < 0.4, "{}", hair_weight(&avatar, jaw));
    let maned = painted(&avatar, disc(&avatar, jaw, 25.0, parts::HAIR));
    assert!(hair_weight(&maned, jaw) > 0.6, "{}", hair_weight(&maned, jaw));
    let shaven = painted(&maned, disc(&avatar, jaw, 25.0, parts::HEAD));
    assert!(hair_weight(&shaven, jaw) < 0.1);
    // On top it would pull the skull about.
    let crested = painted(&avatar, disc(&avatar, top, 30.0, parts::HAIR));
    assert!(hair_weight(&crested, top) < 0.13, "{}", hair_weight(&crested, top));
}

#[test]
fn painting_outlives_dragged_joints_and_files() {
    let (avatar, _) = figure();
    let hand = hand(&avatar);
    let paint = disc(&avatar, hand, 30.0, TORSO);
    let changed = painted(&avatar, paint.clone());
    let read = Avatar::from_bytes(&changed.to_bytes().unwrap()).unwrap();
    assert_eq!(read, changed);
    let mut points = read.points();
    points.keypoints.get_mut("right_knee").unwrap()[0] -= 6.0;
    let (dragged, _) = read.corrected(&points).unwrap();
    assert_eq!(dragged.paint, Some(paint));
    assert!(danced(&dragged, &LEFT_ARM_LAYERS, hand).1 > 18.0, "the hand is the torso's still");
    assert_eq!(dragged.keypoints[keypoint("right_knee")].x, avatar.keypoints[keypoint("right_knee")].x - 6.0);
    // And it can be taken back.
    let (w, h) = (avatar.reference.width, avatar.reference.height);
    let clean = painted(&changed, PartMap::new(w, h, vec![0; (w * h) as usize]));
    assert_eq!(clean.paint, None);
    assert_eq!((clean.vertices, clean.atlas), (avatar.vertices, avatar.atlas));
}

#[test]
fn a_file_with_paint_of_another_size_is_refused() {
    let (mut avatar, _) = figure();
    avatar.paint = Some(PartMap::new(8, 8, vec![1; 64]));
    let refused = Avatar::from_bytes(&avatar.to_bytes().unwrap()).map(|_| ()).unwrap_err().to_string();
    assert!(refused.contains("8x8"), "{refused}");
}

/// Springs of hair named in a sidecar were once lost when a joint was dragged.
#[test]
fn loose_parts_outlive_corrections_and_files() {
    let (w, h, rgba, mut sidecar) = picture();
    let polygon = vec![[150.0, 25.0], [200.0, 25.0], [200.0, 80.0], [150.0, 80.0]];
    sidecar.loose = vec![LoosePart { name: "tuft".into(), anchor: [152.0, 78.0], polygon }];
    let (avatar, _) = Avatar::import(w, h, rgba, Some(&sidecar), None).unwrap();
    let read = Avatar::from_bytes(&avatar.to_bytes().unwrap()).unwrap();
    assert_eq!(read, avatar);
    let (again, _) = read.corrected(&read.points()).unwrap();
    assert_eq!(again.loose, avatar.loose);
    assert_eq!(again.rig.hair, avatar.rig.hair);
    assert_eq!(again.vertices, avatar.vertices);
}

/// The figure cut by what a network believes of a disc about a place, who knows nothing of the rest.
fn cut(avatar: &Avatar, at: Vec2, radius: f32, class: usize, belief: f32) -> segment::Segmentation {
    let scale = SIZE as f32 / avatar.reference.width.max(avatar.reference.height) as f32;
    let rest = (1.0 - belief) / (CLASSES - 1) as f32;
    let parts = (0..SIZE * SIZE).flat_map(|i| {
        let there = Vec2::new((i % SIZE) as f32 + 0.5, (i / SIZE) as f32 + 0.5) / scale;
        let near = there.distance(at) < radius;
        (0..CLASSES).map(move |c| if !near { 0.0 } else if c == class { belief } else { rest })
    });
    let seen = SeenParts { parts: parts.collect(), scale, origin: Vec2::ZERO };
    segment::label(&avatar.reference, &avatar.rig, segment::Hints { seen: Some(seen), ..segment::Hints::default() })
}

#[test]
fn the_network_overrules_the_rules_only_where_it_is_sure() {
    let (avatar, _) = figure();
    let hand = hand(&avatar);
    let width = avatar.reference.width as usize;
    let at = |seg: &segment::Segmentation, p: Vec2| seg.label[p.y as usize * width + p.x as usize];
    let ruled = segment::label(&avatar.reference, &avatar.rig, segment::Hints::default());
    assert_eq!(at(&ruled, hand), segment::arm(0) as u8);
    assert_eq!(at(&cut(&avatar, hand, 24.0, 0, 0.99), hand), segment::TORSO as u8, "it is sure");
    assert_eq!(at(&cut(&avatar, hand, 24.0, 0, 0.6), hand), segment::arm(0) as u8, "it is not");
    assert_eq!(at(&cut(&avatar, hand, 3.0, 0, 0.99), hand), segment::arm(0) as u8, "a speck is no part");
    // Where it says nothing, or what the rules say, all is as they say but for a pixel here and there.
    let same = cut(&avatar, hand, 24.0, 2, 0.99);
    let others = same.label.iter().zip(&ruled.label).filter(|(a, b)| a != b).count();
    assert!(others * 200 < ruled.label.iter().filter(|l| **l != 255).count(), "{others} pixels");
}

#[test]
fn hair_that_was_seen_is_the_heads() {
    let (avatar, _) = figure();
    let (chest, width) = (avatar.keypoints[keypoint("pelvis")].lerp(avatar.keypoints[keypoint("neck")], 0.5), avatar.reference.width as usize);
    let i = chest.y as usize * width + chest.x as usize;
    let haired = cut(&avatar, chest, 18.0, seen::HAIR as usize, 0.99);
    assert_eq!((haired.label[i], haired.found.as_ref().unwrap().parts()[i]), (segment::HEAD as u8, parts::HAIR));
}

#[test]
fn the_trunk_goes_on_behind_hair_that_was_seen_before_it() {
    let (avatar, _) = figure();
    let chest = avatar.keypoints[keypoint("pelvis")].lerp(avatar.keypoints[keypoint("neck")], 0.5);
    let mut found = avatar.found_parts();
    found = found.under(Some(&disc(&avatar, chest, 14.0, parts::HAIR)));
    let torso = |found: PartMap| {
        let seg = segment::segment(&avatar.reference, &avatar.rig, segment::Hints { found: Some(found), ..segment::Hints::default() });
        let torso = &seg.pictures[segment::TORSO];
        torso.rgba[((chest.y as usize - torso.y0) * torso.width + chest.x as usize - torso.x0) * 4 + 3]
    };
    assert_eq!(torso(found.clone()), 255);
    // Were it the face there, nothing of the trunk would be behind it.
    assert_eq!(torso(avatar.found_parts().under(Some(&disc(&avatar, chest, 14.0, parts::HEAD)))), 0);
}

#[test]
fn what_was_found_outlives_dragged_joints_and_files() {
    let (w, h, rgba, sidecar) = picture();
    let (avatar, _) = Avatar::import(w, h, rgba, Some(&sidecar), Some(&mut finder())).unwrap();
    let found = avatar.found.clone().expect("the network looked");
    let at = |name: &str| {
        let p = avatar.keypoints[keypoint(name)];
        found.parts()[p.y as usize * found.size().0 as usize + p.x as usize]
    };
    assert_eq!(["pelvis", "nose", "left_elbow", "right_wrist", "left_knee", "right_ankle"].map(at), [1, 2, 3, 4, 5, 6]);
    let read = Avatar::from_bytes(&avatar.to_bytes().unwrap()).unwrap();
    assert!(read == avatar);
    assert!(read.found_parts() == found);
    let mut points = read.points();
    points.keypoints.get_mut("right_knee").unwrap()[0] -= 6.0;
    assert!(read.corrected(&points).unwrap().0.found == Some(found));
}

#[test]
fn where_no_hair_was_seen_to_hang_a_head_keeps_its_jaw() {
    let (avatar, _) = figure();
    let (w, h) = avatar.found_parts().size();
    let seen = |as_hair: bool| {
        let parts = avatar.found_parts().parts().iter().map(|p| if matches!(*p, parts::HEAD | parts::HAIR) { if as_hair { parts::HAIR } else { parts::HEAD } } else { *p }).collect();
        let hints = segment::Hints { found: Some(PartMap::new(w, h, parts)), ..segment::Hints::default() };
        segment::segment(&avatar.reference, &avatar.rig, hints)
    };
    let size = avatar.rig.head_top.distance(avatar.rig.skull);
    // Beside the chin, where a bob would swing.
    let jaw = avatar.rig.skull + Vec2::new(0.6 * size, 0.0);
    assert_eq!(mesh::hang(&avatar.rig, &seen(false), jaw).0, 0.0);
    assert!(mesh::hang(&avatar.rig, &seen(true), jaw).0 > 0.3);
    let unseen = segment::segment(&avatar.reference, &avatar.rig, segment::Hints::default());
    assert!(mesh::hang(&avatar.rig, &unseen, jaw).0 > 0.3, "the rules take it for hair");
}

#[test]
fn a_skirt_of_which_points_say_nothing_stays() {
    let (avatar, _) = figure();
    for worn in [true, false] {
        let (said, _) = avatar.corrected(&Sidecar { skirt: Some(worn), ..avatar.points() }).unwrap();
        let (unsaid, _) = said.corrected(&Sidecar { skirt: None, ..said.points() }).unwrap();
        assert_eq!(unsaid.rig.hem, said.rig.hem);
        assert_eq!(said.rig.hem.is_some(), worn);
    }
}
