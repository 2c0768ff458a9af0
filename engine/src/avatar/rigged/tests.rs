//! A character of boxes, made into a file here, is read as the character that it is; damaged files are refused.

use glam::{Quat, Vec2, Vec3};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::raster::{Alpha, Material, Raster, Screen, Shading, Style, Texture, Triangle};
use super::*;
use crate::avatar::import_encoded;
use crate::skeleton::Bone;

/// The skeleton in its T-pose, a box along every bone, as a GLB; `turned` is how the whole stands in its file.
fn file(turned: Quat, extension: impl Fn(&dyn Fn(&str) -> usize) -> (&'static str, Value)) -> Vec<u8> {
    let node = |name: &str| Bone::named(name).expect("a bone of the skeleton").index();
    let rest = &SKELETON.rest_joints;
    let (mut positions, mut joints, mut indices) = (Vec::<Vec3>::new(), Vec::<u8>::new(), Vec::<u16>::new());
    for (b, bone) in SKELETON.bones.iter().enumerate() {
        let ends = match bone.parent {
            Some(p) => [rest[p.index()], rest[b]],
            None => continue,
        };
        let ends = if bone.name == "head" { [rest[b], rest[b] + Vec3::Y * 0.2] } else { ends };
        let owner = if bone.name == "head" { b } else { bone.parent.map_or(0, Bone::index) };
        let (low, high) = (ends[0].min(ends[1]) - 0.03, ends[0].max(ends[1]) + 0.03);
        let first = positions.len() as u16;
        for corner in 0..8u16 {
            let pick = |axis: u16, low: f32, high: f32| if corner >> axis & 1 == 0 { low } else { high };
            positions.push(turned * Vec3::new(pick(0, low.x, high.x), pick(1, low.y, high.y), pick(2, low.z, high.z)));
            joints.extend([owner as u8, 0, 0, 0]);
        }
        for [a, b, c, d] in [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]] {
            indices.extend([a, b, c, a, c, d].map(|i| first + i));
        }
    }
    let count = positions.len();
    let mut blob: Vec<u8> = bytemuck::cast_slice::<Vec3, u8>(&positions).to_vec();
    let mut views = vec![json!({"buffer": 0, "byteOffset": 0, "byteLength": blob.len()})];
    let mut add = |bytes: &[u8]| {
        views.push(json!({"buffer": 0, "byteOffset": blob.len(), "byteLength": bytes.len()}));
        blob.extend(bytes);
    };
    add(&joints);
    add(bytemuck::cast_slice(&vec![[1.0f32, 0.0, 0.0, 0.0]; count]));
    let inverse: Vec<[f32; 16]> = rest.iter().map(|j| glam::Mat4::from_rotation_translation(turned, turned * *j).inverse().to_cols_array()).collect();
    add(bytemuck::cast_slice(&inverse));
    add(bytemuck::cast_slice(&indices));
    let bones = SKELETON.bones.len();
    let mut nodes: Vec<Value> = SKELETON
        .bones
        .iter()
        .enumerate()
        .map(|(b, bone)| {
            let children: Vec<usize> = (0..bones).filter(|c| SKELETON.bones[*c].parent.map(Bone::index) == Some(b)).collect();
            let at = bone.parent.map_or(turned * rest[b], |p| rest[b] - rest[p.index()]);
            let turn = if b == 0 { turned } else { Quat::IDENTITY };
            let mut node = json!({"name": format!("J_{b}"), "translation": at.to_array(), "rotation": turn.to_array()});
            if !children.is_empty() {
                node["children"] = json!(children);
            }
            node
        })
        .collect();
    nodes.push(json!({"mesh": 0, "skin": 0}));
    let (low, high) = positions.iter().fold((Vec3::INFINITY, Vec3::NEG_INFINITY), |(l, h), p| (l.min(*p), h.max(*p)));
    let (name, said) = extension(&node);
    let text = json!({
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0, bones]}], "nodes": nodes, "buffers": [{"byteLength": blob.len()}], "bufferViews": views,
        "accessors": [
            {"bufferView": 0, "componentType": 5126, "count": count, "type": "VEC3", "min": low.to_array(), "max": high.to_array()},
            {"bufferView": 1, "componentType": 5121, "count": count, "type": "VEC4"},
            {"bufferView": 2, "componentType": 5126, "count": count, "type": "VEC4"},
            {"bufferView": 3, "componentType": 5126, "count": bones, "type": "MAT4"},
            {"bufferView": 4, "componentType": 5123, "count": indices.len(), "type": "SCALAR"},
        ],
        "skins": [{"joints": (0..bones).collect::<Vec<_>>(), "inverseBindMatrices": 3}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "JOINTS_0": 1, "WEIGHTS_0": 2}, "indices": 4, "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorFactor": [0.8, 0.3, 0.2, 1.0]}}],
        "extensionsUsed": [name], "extensions": {name: said},
    });
    let mut text = text.to_string().into_bytes();
    text.resize(text.len().next_multiple_of(4), b' ');
    blob.resize(blob.len().next_multiple_of(4), 0);
    let mut out = Vec::new();
    out.extend(b"glTF");
    out.extend([2u32, (12 + 8 + text.len() + 8 + blob.len()) as u32, text.len() as u32].iter().flat_map(|v| v.to_le_bytes()));
    out.extend(b"JSON");
    out.extend(text);
    out.extend((blob.len() as u32).to_le_bytes());
    out.extend(b"BIN\0");
    out.extend(blob);
    out
}

fn current(node: &dyn Fn(&str) -> usize) -> (&'static str, Value) {
    let bones: serde_json::Map<String, Value> = SKELETON.bones.iter().map(|b| (b.name.clone(), json!({"node": node(&b.name)}))).collect();
    ("VRMC_vrm", json!({"specVersion": "1.0", "meta": {"name": "Boxy", "authors": ["Ann"], "avatarPermission": "everyone"}, "humanoid": {"humanBones": bones}}))
}

fn old(node: &dyn Fn(&str) -> usize) -> (&'static str, Value) {
    let bones: Vec<Value> = SKELETON.bones.iter().filter(|b| !b.name.contains("Thumb")).map(|b| json!({"bone": b.name, "node": node(&b.name)})).collect();
    ("VRM", json!({"meta": {"title": "Boxy", "author": "Ann", "licenseName": "CC0"}, "humanoid": {"humanBones": bones}}))
}

/// The file with its JSON changed.
fn retold(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
    let mut text: Value = serde_json::from_slice(&bytes[20..20 + length]).unwrap();
    change(&mut text);
    let mut text = text.to_string().into_bytes();
    text.resize(text.len().next_multiple_of(4), b' ');
    let rest = &bytes[20 + length..];
    let mut out = b"glTF".to_vec();
    out.extend([2u32, (20 + text.len() + rest.len()) as u32, text.len() as u32].iter().flat_map(|v| v.to_le_bytes()));
    out.extend(b"JSON");
    out.extend(text);
    out.extend(rest);
    out
}

#[test]
fn a_vrm_of_either_version_and_facing_stands_in_its_picture_with_its_own_joints() {
    let about = Quat::from_rotation_y(std::f32::consts::PI);
    for bytes in [file(Quat::IDENTITY, current), file(about, current), file(about, old)] {
        let (avatar, report) = import_encoded(&bytes, None, None).unwrap();
        assert_eq!((avatar.name.as_str(), report.keypoints_from), ("Boxy", "rig"));
        assert!(report.notes.iter().any(|n| n.contains("by Ann")), "{:?}", report.notes);
        let at = |name: &str| avatar.keypoints[SKELETON.keypoint_named(name).unwrap()];
        let (w, h) = (avatar.reference.width as f32, avatar.reference.height as f32);
        // The character's left is at the picture's right, arms are between down and level, feet at the bottom.
        assert!(at("left_wrist").x > 0.75 * w && at("right_wrist").x < 0.25 * w, "{} {} of {w}", at("left_wrist"), at("right_wrist"));
        assert!(at("left_wrist").y > at("left_shoulder").y + 0.1 * h && at("left_wrist").y < at("left_knee").y);
        assert!(at("left_ankle").y > 0.9 * h && at("head_top").y < 0.1 * h);
        for name in ["left_elbow", "right_knee", "pelvis", "neck", "left_hand"] {
            let p = at(name).as_uvec2();
            assert_eq!(avatar.reference.rgba[((p.y * avatar.reference.width + p.x) * 4 + 3) as usize], 255, "{name} lies on the figure");
        }
        let back = avatar.back.as_ref().expect("it was drawn from behind too");
        // Parts are the bones' own; on the back, too, its left is what is called left.
        for side in [&avatar, back] {
            let parts = side.found.as_ref().expect("a rig knows its parts");
            let part = |name: &str, to: &str, share: f32| {
                let [a, b] = [name, to].map(|n| side.keypoints[SKELETON.keypoint_named(n).unwrap()]);
                let p = a.lerp(b, share).as_uvec2();
                parts.parts()[(p.y * parts.size().0 + p.x) as usize]
            };
            let found = [part("pelvis", "neck", 0.5), part("left_elbow", "left_wrist", 0.5), part("right_elbow", "right_wrist", 0.5), part("left_knee", "left_ankle", 0.5), part("right_knee", "right_ankle", 0.5)];
            assert_eq!(found, [1, 3, 4, 5, 6]);
        }
        for (name, there) in SKELETON.keypoints.iter().map(|k| &k.name).zip(back.keypoints) {
            let mirrored = if name.contains("toe") || name.contains("nose") || name.contains("eye") { continue } else { at(name) };
            assert!(there.distance(mirrored) < 0.03 * h, "{name} of a symmetric body: {there} behind, {mirrored} in front");
        }
    }
}

#[test]
fn what_cannot_be_used_says_why() {
    let refused = |bytes: &[u8]| import_encoded(bytes, None, None).unwrap_err().to_string();
    let bytes = file(Quat::IDENTITY, |node| {
        let (name, mut said) = current(node);
        said["humanoid"]["humanBones"].as_object_mut().unwrap().remove("leftUpperLeg");
        (name, said)
    });
    assert!(refused(&bytes).contains("no joint for leftUpperLeg"), "{}", refused(&bytes));
    assert!(refused(&file(Quat::IDENTITY, |_| ("VRMC_vrm", json!({"meta": {}})))).contains("names no humanoid bones"));
    let whole = file(Quat::IDENTITY, current);
    assert!(refused(&whole[..whole.len() / 2]).contains("not a readable GLB"));
    let told = |list: &str, key: &str, to: u64| refused(&retold(&whole, |text| text[list][0][key] = json!(to)));
    assert!(told("accessors", "count", 1_000_000).contains("past the end of its view"));
    assert!(told("bufferViews", "byteLength", 1_000_000_000).contains("outside the file"));
    let sidecar = Sidecar::parse(br#"{"width": 10, "height": 10, "keypoints": {}}"#).unwrap();
    assert!(import_encoded(&whole, Some(&sidecar), None).unwrap_err().to_string().contains("leave the keypoints out"));
}

#[test]
fn a_hole_in_a_texture_shows_what_is_behind() {
    let texture = Texture { width: 2, height: 1, rgba: vec![[255, 0, 0, 255], [255, 0, 0, 0]] };
    let front = Material { texture: Some(std::sync::Arc::new(texture)), alpha: Alpha::Cut(0.5), outlined: false, ..Material::plain([1.0; 3]) };
    let corner = |x: f32, y: f32, z: f32| Screen { position: Vec3::new(x, y, z), normal: Vec3::Z, outward: Vec2::ZERO, uv: Vec2::new(x / 8.0, 0.5) };
    let square = |z: f32| [corner(0.0, 0.0, z), corner(8.0, 0.0, z), corner(8.0, 8.0, z), corner(0.0, 8.0, z)];
    let vertices: Vec<Screen> = square(1.0).into_iter().chain(square(0.0)).collect();
    let triangles = [(0, 0), (4, 1)].map(|(v, material)| [[v, v + 1, v + 2], [v, v + 2, v + 3]].map(|corners| Triangle { corners, material })).concat();
    let style = Style { shading: Shading::Flat, outline: 0.0, line_colour: None, light: Vec3::Z, shade: 0.0, shade_hue: 0.0 };
    let picture = Raster::new(8, 1).draw(&vertices, &triangles, &[front, Material::plain([0.0, 0.0, 1.0])], &style, 0.0);
    assert_eq!(picture[4 * 4 * 8 + 4..][..4], [255, 0, 0, 255]);
    assert_eq!(picture[4 * 4 * 8 + 24..][..4], [0, 0, 255, 255]);
}

proptest! {
    #[test]
    fn damaged_files_never_panic(cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12), end in any::<prop::sample::Index>(), short in any::<bool>()) {
        let mut bytes = file(Quat::IDENTITY, current);
        for (at, to) in cuts {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        if short {
            bytes.truncate(end.index(bytes.len()));
        }
        // A result of either kind.
        let _ = glb::read("it", &bytes, 64);
    }

    #[test]
    fn numbers_that_lie_never_panic(list in prop::sample::select(vec!["accessors", "bufferViews"]), which in 0..5usize, key in prop::sample::select(vec!["count", "byteOffset", "byteLength", "byteStride", "bufferView", "componentType"]), to in prop_oneof![0u64..200_000, Just(u64::from(u32::MAX)), Just(u64::MAX / 2)]) {
        let changed = retold(&file(Quat::IDENTITY, current), |text| text[list][which][key] = json!(to));
        let _ = glb::read("it", &changed, 64);
    }
}
