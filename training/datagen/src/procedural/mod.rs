//! Characters made by code: stylised humanoids from grown to chibi, and mascots, each from one seed.
//!
//! Read `character` first. No file is read; the same seed gives the same character.

mod body;
mod clothes;
mod hair;
mod head;
pub mod mascot;
mod shape;

use glam::Vec3;
use odori_engine::skeleton::{BONE_COUNT, KEYPOINT_COUNT, SKELETON};

use odori_engine::avatar::rigged::character::{Character, Loose, Vertex};
use crate::colour;
use odori_engine::avatar::rigged::raster::{Material, Triangle};
use crate::rng::Rng;
pub use clothes::swing;

use body::{Body, Build, bone};
use head::{Face, Skull};
use shape::Mesh;

pub fn character(seed: u64) -> Character {
    let mut rng = Rng::new(seed);
    let build = Build::random(&mut rng.fork(1));
    let joints = build.joints();
    let body = Body { build: &build, joints: &joints };
    let mut mesh = Mesh::default();
    let (skin_colour, hair_colour) = (colour::skin(&mut rng), colour::hair(&mut rng));
    let skin = mesh.material(Material::plain(skin_colour));
    let hair_material = mesh.material(Material::plain(hair_colour));
    let tie = {
        let c = colour::cloth(&mut rng);
        mesh.material(Material::plain(c))
    };
    clothes::dress(&mut mesh, &body, skin, &mut rng.fork(2));

    let mut head_rng = rng.fork(3);
    let skull = Skull::new(&build, joints[bone("head")], &mut head_rng);
    let youth = ((build.head - 0.22) / 0.2).clamp(0.0, 1.0);
    let face = Face::random(&mut head_rng, youth, hair_colour);
    let face_material = mesh.material(face.material(skin_colour));
    skull.draw(&mut mesh, skin, face_material);
    head::ears(&mut mesh, &skull, skin, hair_material, &mut rng.fork(4));
    hair::hair(&mut mesh, &skull, hair_material, tie, &mut rng.fork(5));
    clothes::headwear(&mut mesh, &skull, &mut rng.fork(6));
    mesh.set_normals();

    finished(format!("made-{seed}"), &joints, mesh, &skull, &face, &build)
}

/// The character of a mesh whose normals are set.
fn finished(name: String, joints: &[Vec3; BONE_COUNT], mesh: Mesh, skull: &Skull, face: &Face, build: &Build) -> Character {
    let mut all_joints = joints.to_vec();
    all_joints.extend(&mesh.loose_joints);
    let mut out = Character {
        name,
        held_out: false,
        joints: all_joints,
        loose: mesh.loose,
        vertices: mesh.vertices,
        triangles: mesh.triangles,
        materials: mesh.materials,
        keypoint_offsets: keypoint_offsets(joints, skull, face, build),
        line_scale: 1.0,
    };
    out.finish();
    out
}

/// Our hair on the head of a finished character.
pub fn hair_on(out: &mut Character, colour: colour::Rgb, rng: &mut Rng) {
    let tie = colour::cloth(rng);
    let head = out.joints[bone("head")];
    let on_head = |v: &&Vertex| v.joints.iter().zip(&v.weights).any(|(&j, &w)| usize::from(j) == bone("head") && w > 0.6);
    let places: Vec<Vec3> = out.vertices.iter().filter(on_head).map(|v| v.position).filter(|p| p.y > head.y - 0.05).collect();
    let top = places.iter().map(|p| p.y).fold(head.y + 0.1, f32::max);
    let chin = places.iter().filter(|p| p.z > head.z).map(|p| p.y).fold(top, f32::min);
    let middle = Vec3::new(head.x, (top + chin) * 0.5, head.z);
    // Nose and ears lie lower than the brow.
    let skull: Vec<Vec3> = places.into_iter().filter(|p| p.y > middle.y + 0.15 * (top - chin)).collect();
    let reach = |axis: usize| skull.iter().map(|p| p[axis]).fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (a.min(v), b.max(v)));
    let ((left, right), (back, front)) = (reach(0), reach(2));
    if !(right > left && front > back) {
        return;
    }
    let half = Vec3::new((right - left) * 0.5, (top - chin) * 0.5, (front - back) * 0.5);
    let skull = Skull { centre: Vec3::new((left + right) * 0.5, middle.y, (back + front) * 0.5), half: half * 1.03, jaw: 0.8 };
    let mut mesh = Mesh::default();
    let (hair, tie) = (mesh.material(Material::plain(colour)), mesh.material(Material::plain(tie)));
    hair::hair(&mut mesh, &skull, hair, tie, rng);
    mesh.set_normals();
    add(out, mesh);
}

/// Adds a mesh, whose loose joints come first, to a character that has none yet.
fn add(out: &mut Character, mesh: Mesh) {
    let (vertices, materials, loose) = (out.vertices.len() as u32, out.materials.len() as u16, out.loose.len());
    let moved = |j: usize| if j >= BONE_COUNT { j + loose } else { j };
    out.vertices.extend(mesh.vertices.into_iter().map(|v| Vertex { smooth: v.normal, joints: v.joints.map(|j| moved(usize::from(j)) as u8), ..v }));
    out.triangles.extend(mesh.triangles.into_iter().map(|t| Triangle { corners: t.corners.map(|c| c + vertices), material: t.material + materials }));
    out.materials.extend(mesh.materials);
    out.joints.extend(mesh.loose_joints);
    out.loose.extend(mesh.loose.into_iter().map(|l| Loose { parent: moved(l.parent), ..l }));
}

fn keypoint_offsets(joints: &[Vec3; BONE_COUNT], skull: &Skull, face: &Face, build: &Build) -> [Vec3; KEYPOINT_COUNT] {
    let middle = skull.centre - joints[bone("head")];
    let h = skull.half;
    let on_face = |x: f32, y: f32| middle + Vec3::new(x * h.x, y * h.y, h.z * 0.9);
    std::array::from_fn(|k| {
        let info = &SKELETON.keypoints[k];
        match info.name.as_str() {
            "nose" => on_face(0.0, face.eye.y - 0.25),
            "left_eye" => on_face(face.eye.x, face.eye.y),
            "right_eye" => on_face(-face.eye.x, face.eye.y),
            "left_ear" => middle + Vec3::new(h.x, -0.15 * h.y, 0.0),
            "right_ear" => middle + Vec3::new(-h.x, -0.15 * h.y, 0.0),
            "head_top" => middle + Vec3::Y * h.y,
            "left_toe" | "right_toe" => info.offset * build.foot,
            "left_hand" | "right_hand" => info.offset * build.hand,
            _ => info.offset,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_seeds_give_sound_characters() {
        for seed in 0..60 {
            let c = character(seed);
            assert!(c.joints.len() < 200, "{seed}: joints fit a byte");
            assert!((2000..40_000).contains(&c.triangles.len()), "{seed}: {} triangles", c.triangles.len());
            for v in &c.vertices {
                assert!(v.position.is_finite() && v.normal.is_finite(), "{seed}");
                assert!((v.weights.iter().sum::<f32>() - 1.0).abs() < 1e-3, "{seed}: {:?}", v.weights);
                assert!(v.joints.iter().all(|&j| (j as usize) < c.joints.len()), "{seed}");
            }
            let height = c.vertices.iter().map(|v| v.position.y).fold(0.0, f32::max);
            assert!((0.7..2.6).contains(&height), "{seed}: {height} m");
        }
    }

    #[test]
    fn a_seed_is_a_character() {
        let (a, b) = (character(7), character(7));
        assert_eq!(a.vertices.len(), b.vertices.len());
        assert!(a.vertices.iter().zip(&b.vertices).all(|(x, y)| x.position == y.position));
    }
}
