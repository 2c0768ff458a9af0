//! People by MakeHuman: its base mesh morphed into another body for every seed, in its clothes and hair, or in ours.
//!
//! Wants the folder that MakeHuman's assets unpack to (`base/`, `makehuman/data/`; CC0). They come without textures: colours and
//! patterns are made here.

mod files;
mod shape;

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use glam::{Vec2, Vec3};
use odori_engine::avatar::rigged::character::{Character, Vertex};
use odori_engine::avatar::rigged::glb;
use odori_engine::avatar::rigged::raster::{Material, Pattern, Triangle};
use odori_engine::avatar::rigged::retarget::{self, Alignment, Rest};
use odori_engine::skeleton::{BONE_COUNT, Bone, SKELETON};

use crate::colour::{self, Rgb, mix, scale};
use crate::procedural;
use crate::rng::Rng;
use files::{Base, Faces, Garment, Targets};

/// MakeHuman's joints that are bones of the skeleton; those with a `?` are there on both sides. What hangs on others follows the
/// nearest of these above it.
const BONES: [(&str, &str); 29] = [
    ("root", "hips"),
    ("spine04", "spine"),
    ("spine02", "chest"),
    ("spine01", "upperChest"),
    ("neck01", "neck"),
    ("head", "head"),
    ("clavicle.?", "?Shoulder"),
    ("upperarm01.?", "?UpperArm"),
    ("lowerarm01.?", "?LowerArm"),
    ("wrist.?", "?Hand"),
    ("upperleg01.?", "?UpperLeg"),
    ("lowerleg01.?", "?LowerLeg"),
    ("foot.?", "?Foot"),
    ("toe3-1.?", "?Toes"),
    ("finger1-1.?", "?ThumbMetacarpal"),
    ("finger1-2.?", "?ThumbProximal"),
    ("finger1-3.?", "?ThumbDistal"),
    ("finger2-1.?", "?IndexProximal"),
    ("finger2-2.?", "?IndexIntermediate"),
    ("finger2-3.?", "?IndexDistal"),
    ("finger3-1.?", "?MiddleProximal"),
    ("finger3-2.?", "?MiddleIntermediate"),
    ("finger3-3.?", "?MiddleDistal"),
    ("finger4-1.?", "?RingProximal"),
    ("finger4-2.?", "?RingIntermediate"),
    ("finger4-3.?", "?RingDistal"),
    ("finger5-1.?", "?LittleProximal"),
    ("finger5-2.?", "?LittleIntermediate"),
    ("finger5-3.?", "?LittleDistal"),
];
/// How far tights lie off the helper that they are cut from, decimetres.
const TIGHTS_OFF: f32 = 0.05;

/// Everything that people are made of.
pub struct Humans {
    base: Base,
    targets: Targets,
    bones: Vec<Option<Bone>>,
    suits: Vec<Garment>,
    shoes: Vec<Garment>,
    hats: Vec<Garment>,
    hair: Vec<Garment>,
    brows: Vec<Garment>,
}

impl Humans {
    /// # Errors
    /// The file that is missing, or that is not understood.
    pub fn read(folder: &Path) -> Result<Humans> {
        let data = folder.join("makehuman/data");
        let base = Base::read(&data)?;
        let bone = |joint: &str| {
            BONES.iter().find_map(|(theirs, ours)| {
                let side = [("L", "left"), ("R", "right")].into_iter().find(|(s, _)| theirs.replace('?', s) == joint)?.1;
                Bone::named(&ours.replace('?', side))
            })
        };
        let bones = base.joints.iter().map(|j| bone(&j.name)).collect();
        let (shoes, rest): (Vec<Garment>, Vec<Garment>) = files::garments(&folder.join("base/clothes"), &base)?.into_iter().partition(|g| g.name.starts_with("shoes"));
        let (hats, suits) = rest.into_iter().partition(|g| g.name.starts_with("fedora"));
        let hair = files::garments(&folder.join("base/hair"), &base)?;
        let brows = files::garments(&folder.join("base/eyebrows"), &base)?;
        let targets = Targets::new(data.join("targets"), base.positions.len());
        Ok(Humans { base, targets, bones, suits, shoes, hats, hair, brows })
    }

    /// The same seed gives the same person.
    pub fn character(&self, seed: u64) -> Result<Character> {
        let rng = Rng::new(seed ^ 0x4d48);
        let human = shape::human(&self.base, &self.targets, &mut rng.fork(1))?;
        let middle = |at: &[usize]| at.iter().map(|&v| human.positions[v]).sum::<Vec3>() / at.len() as f32;
        let rest = Rest {
            parents: self.base.joints.iter().map(|j| j.parent).collect(),
            positions: self.base.joints.iter().map(|j| middle(&j.at)).collect(),
            bones: self.bones.clone(),
        };
        let alignment = retarget::align(&rest).map_err(|e| anyhow!("a MakeHuman body: {e}"))?;
        let mut figure = Figure { base: &self.base, alignment: &alignment, out: Character::bare(&format!("human-{seed}"), &alignment.joints) };
        let (skin, hair) = (colour::skin(&mut rng.fork(2)), colour::hair(&mut rng.fork(3)));
        let worn = self.dress(&mut figure, &human, &mut rng.fork(4));
        self.body(&mut figure, &human.positions, skin, &worn);
        let eyes = self.eyes(&mut figure, &human.positions, &mut rng.fork(5));
        let brow = rng.fork(6).below(self.brows.len().max(1));
        if let Some(brow) = self.brows.get(brow) {
            let material = figure.material(Material { outlined: false, ..Material::plain(scale(hair, 0.7)) });
            figure.garment(brow, &human.positions, material);
        }
        let mut rng = rng.fork(7);
        let own = (!self.hair.is_empty() && rng.chance(0.5)).then(|| rng.below(self.hair.len()));
        if let Some(own) = own {
            let material = figure.material(Material::plain(hair));
            figure.garment(&self.hair[own], &human.positions, material);
        }
        let hat = (!self.hats.is_empty() && own.is_some() && rng.chance(0.08)).then(|| rng.below(self.hats.len()));
        if let Some(hat) = hat {
            let material = figure.material(Material::plain(colour::cloth(&mut rng)));
            figure.garment(&self.hats[hat], &human.positions, material);
        }
        let names: Vec<String> = figure.out.materials.iter().map(|_| String::new()).collect();
        let place = |name: &str| self.base.joints.iter().position(|j| j.name == name).with_context(|| format!("the rig has no {name}"));
        let looks_from = [place("eye.L")?, place("eye.R")?].map(|e| figure.moved(e, rest.positions[e]));
        let mut out = glb::finished(figure.out, Some(looks_from), &names);
        for v in &mut out.vertices {
            v.uv = Vec2::new(v.position.x, v.position.y);
        }
        let waist = out.joints[Bone::named("spine").expect("a bone of the skeleton").index()].y;
        for m in &mut out.materials {
            if let Pattern::Split { v, .. } = &mut m.pattern {
                *v = waist;
            }
        }
        for (range, iris) in eyes {
            let middle = out.vertices[range.clone()].iter().map(|v| v.position).sum::<Vec3>() / range.len() as f32;
            for v in &mut out.vertices[range] {
                v.uv = Vec2::new(v.position.x - middle.x, v.position.y - middle.y) / iris;
            }
        }
        if let Some(skirt) = worn.skirt {
            procedural::swing(&mut out, skirt, &mut rng.fork(1));
        }
        if own.is_none() {
            procedural::hair_on(&mut out, hair, &mut rng.fork(2));
        }
        Ok(out)
    }

    /// A suit of MakeHuman's, or tights cut from its helper, with a skirt or without; shoes.
    fn dress(&self, figure: &mut Figure, human: &shape::Human, rng: &mut Rng) -> Worn {
        let body = &human.positions;
        let mut worn = Worn { hides: vec![false; body.len()], skirt: None };
        let theirs: Vec<&Garment> = self.suits.iter().filter(|s| s.name.starts_with("female") == human.female || rng.chance(0.15)).collect();
        if !theirs.is_empty() && rng.chance(0.55) {
            let suit = theirs[rng.below(theirs.len())];
            let material = figure.material(fabric(rng.chance(0.6), rng));
            figure.garment(suit, body, material);
            worn.hide(suit);
        } else {
            let top = figure.material(fabric(false, rng));
            let bottom = figure.material(fabric(false, rng));
            let sleeve = rng.pick(&[0, 1, 1, 2]);
            let skirt = self.base.groups.get("helper-skirt").filter(|_| rng.chance(if human.female { 0.5 } else { 0.08 }));
            let leg = if skirt.is_some() { rng.pick(&[0, 0, 2]) } else { rng.pick(&[1, 2, 2]) };
            let tights = self.base.groups.get("helper-tights").map_or(&[][..], Vec::as_slice);
            let height = |joint: &str| self.base.joints.iter().find(|j| j.name == joint).map_or(0.0, |j| body[j.at[0]].y);
            let (hips, chest) = (height("root"), height("spine02"));
            let waist = hips + (chest - hips) * rng.range(0.0, 0.45);
            let hem = if rng.chance(0.2) { waist + (chest - hips) * rng.range(0.2, 0.6) } else { waist };
            let (mut upper, mut lower) = (Faces::new(), Faces::new());
            for face in tights {
                let Some(bone) = self.bone_of(face[0] as usize) else { continue };
                let y = body[face[0] as usize].y;
                match SKELETON.bones[bone.index()].name.trim_start_matches("left").trim_start_matches("right") {
                    "UpperArm" if sleeve > 0 => upper.push(face.clone()),
                    "LowerArm" if sleeve > 1 => upper.push(face.clone()),
                    "UpperLeg" if leg > 0 => lower.push(face.clone()),
                    "LowerLeg" if leg > 1 => lower.push(face.clone()),
                    "hips" | "spine" | "chest" | "upperChest" | "Shoulder" if y > hem => upper.push(face.clone()),
                    "hips" | "spine" | "chest" if y < waist => lower.push(face.clone()),
                    _ => {}
                }
            }
            let off = grown(body, tights, TIGHTS_OFF);
            figure.part(&off, &upper, top);
            figure.part(&off, &lower, bottom);
            if let Some(faces) = skirt {
                let low = faces.iter().flatten().map(|&v| body[v as usize].y).fold(f32::INFINITY, f32::min);
                let hem = low + (hips - low) * rng.pick(&[0.0, 0.3, 0.5, 0.65]);
                let faces: &Faces = &faces.iter().filter(|f| f.iter().all(|&v| body[v as usize].y >= hem)).cloned().collect();
                let from = figure.out.vertices.len();
                figure.part(&grown(body, faces, 1.5 * TIGHTS_OFF), faces, bottom);
                worn.skirt = Some(from..figure.out.vertices.len());
            }
        }
        if !self.shoes.is_empty() && rng.chance(0.9) {
            let shoes = &self.shoes[rng.below(self.shoes.len())];
            let material = figure.material(Material::plain(colour::cloth(rng)));
            figure.garment(shoes, body, material);
            worn.hide(shoes);
        }
        worn
    }

    /// The bone that a vertex of the base mesh mostly follows.
    fn bone_of(&self, v: usize) -> Option<Bone> {
        let mut joint = Some(self.base.weights[v].iter().max_by(|a, b| a.1.total_cmp(&b.1))?.0);
        while let Some(j) = joint {
            if self.bones[j].is_some() {
                return self.bones[j];
            }
            joint = self.base.joints[j].parent;
        }
        None
    }

    fn body(&self, figure: &mut Figure, positions: &[Vec3], skin: Rgb, worn: &Worn) {
        let Some(faces) = self.base.groups.get("body") else { return };
        let seen = faces.iter().filter(|f| !f.iter().all(|&v| worn.hides[v as usize]));
        let on_lips = |v: u32| self.base.weights[v as usize].iter().filter(|(j, _)| self.base.joints[*j].name.starts_with("oris0")).map(|(_, w)| w).sum::<f32>() > 0.95;
        let (lips, rest): (Faces, Faces) = seen.cloned().partition(|f| f.iter().all(|&v| on_lips(v)));
        let material = figure.material(Material::plain(skin));
        figure.part(positions, &rest, material);
        let material = figure.material(Material { outlined: false, ..Material::plain(mix(skin, [0.75, 0.2, 0.25], 0.35)) });
        figure.part(positions, &lips, material);
    }

    /// White with a coloured iris. Gives what vertices are an eye, and how many metres the iris is across.
    fn eyes(&self, figure: &mut Figure, positions: &[Vec3], rng: &mut Rng) -> Vec<(std::ops::Range<usize>, f32)> {
        let iris = scale(colour::hair(rng), 0.6);
        let pattern = Pattern::Disc { centre: Vec2::ZERO, radius: 1.0, other: iris };
        let material = figure.material(Material { pattern, outlined: false, ..Material::plain([0.97, 0.97, 0.96]) });
        let mut out = Vec::new();
        for group in ["helper-l-eye", "helper-r-eye"] {
            if let Some(faces) = self.base.groups.get(group) {
                let from = figure.out.vertices.len();
                figure.part(positions, faces, material);
                out.push((from..figure.out.vertices.len(), 0.0065));
            }
        }
        out
    }
}

/// What a figure wears: the vertices of the base mesh that it hides, and which vertices of the figure are a skirt.
struct Worn {
    hides: Vec<bool>,
    skirt: Option<std::ops::Range<usize>>,
}

impl Worn {
    fn hide(&mut self, garment: &Garment) {
        for (hidden, by) in self.hides.iter_mut().zip(&garment.hides) {
            *hidden |= by;
        }
    }
}

/// `suit`: of two colours, above and below the waist.
fn fabric(suit: bool, rng: &mut Rng) -> Material {
    let colour = colour::cloth(rng);
    let other = if rng.chance(0.5) { colour::cloth(rng) } else { scale(colour, 0.7) };
    let pattern = match (suit, rng.below(10)) {
        // Where the waist is is known when the body has its size.
        (true, _) => Pattern::Split { v: 0.0, other },
        (false, 0) => Pattern::Stripes { period: rng.range(0.05, 0.16), other },
        (false, 1) => Pattern::Checks { period: rng.range(0.04, 0.1), other },
        (false, 2) => Pattern::Dots { period: rng.range(0.05, 0.11), other },
        _ => Pattern::Plain,
    };
    Material { pattern, ..Material::plain(colour) }
}

/// The positions, those of these faces moved outwards.
fn grown(positions: &[Vec3], faces: &[Vec<u32>], by: f32) -> Vec<Vec3> {
    let mut out = positions.to_vec();
    for (p, n) in out.iter_mut().zip(normals(positions, faces)) {
        *p += n * by;
    }
    out
}

/// Of every vertex; nothing where no face is.
fn normals(positions: &[Vec3], faces: &[Vec<u32>]) -> Vec<Vec3> {
    let mut out = vec![Vec3::ZERO; positions.len()];
    for face in faces {
        let at = |k: usize| positions[face[k] as usize];
        let across = if face.len() > 3 { (at(2) - at(0)).cross(at(3) - at(1)) } else { (at(1) - at(0)).cross(at(2) - at(0)) };
        face.iter().for_each(|&v| out[v as usize] += across);
    }
    out.iter_mut().for_each(|n| *n = n.normalize_or_zero());
    out
}

/// A character in the making, in the T-pose, still in decimetres.
struct Figure<'a> {
    base: &'a Base,
    alignment: &'a Alignment,
    out: Character,
}

impl Figure<'_> {
    fn material(&mut self, material: Material) -> u16 {
        self.out.materials.push(material);
        (self.out.materials.len() - 1) as u16
    }

    /// A place that goes with a joint, in the T-pose.
    fn moved(&self, joint: usize, p: Vec3) -> Vec3 {
        let a = self.alignment;
        a.turn[joint] * (p - a.from[joint]) + a.to[joint]
    }

    /// Adds faces of the base mesh.
    fn part(&mut self, positions: &[Vec3], faces: &[Vec<u32>], material: u16) {
        let base = self.base;
        self.add(positions, faces, material, |v| base.weights[v].clone());
    }

    /// Adds a garment; it moves as what it hangs on.
    fn garment(&mut self, garment: &Garment, body: &[Vec3], material: u16) {
        let base = self.base;
        self.add(&garment.fitted(body), &garment.faces, material, |v| {
            let binding = &garment.bindings[v];
            (0..3).flat_map(|k| base.weights[binding.on[k]].iter().map(move |&(j, w)| (j, w * binding.weights[k].max(0.0)))).collect()
        });
    }

    fn add(&mut self, positions: &[Vec3], faces: &[Vec<u32>], material: u16, weights: impl Fn(usize) -> Vec<(usize, f32)>) {
        let normals = normals(positions, faces);
        let mut place = vec![u32::MAX; positions.len()];
        for face in faces {
            for &v in face {
                let v = v as usize;
                if place[v] == u32::MAX {
                    place[v] = self.out.vertices.len() as u32;
                    let vertex = self.vertex(positions[v], normals[v], &weights(v));
                    self.out.vertices.push(vertex);
                }
            }
            for k in 2..face.len() {
                self.out.triangles.push(Triangle { corners: [face[0], face[k - 1], face[k]].map(|v| place[v as usize]), material });
            }
        }
    }

    fn vertex(&self, position: Vec3, normal: Vec3, weights: &[(usize, f32)]) -> Vertex {
        let mut on_bone = [0.0f32; BONE_COUNT];
        let (mut at, mut turned, mut total) = (Vec3::ZERO, Vec3::ZERO, 0.0);
        for &(joint, w) in weights {
            at += self.moved(joint, position) * w;
            turned += self.alignment.turn[joint] * normal * w;
            on_bone[self.alignment.bone[joint].index()] += w;
            total += w;
        }
        if total < 1e-6 {
            // What no joint moves goes with the hips.
            let root = self.base.joints.iter().position(|j| j.name == "root").unwrap_or(0);
            (at, turned, total) = (self.moved(root, position), self.alignment.turn[root] * normal, 1.0);
            on_bone[0] = 1.0;
        }
        let mut most: Vec<(usize, f32)> = on_bone.into_iter().enumerate().filter(|(_, w)| *w > 0.0).collect();
        most.sort_by(|a, b| b.1.total_cmp(&a.1));
        most.truncate(4);
        let kept: f32 = most.iter().map(|(_, w)| w).sum();
        let mut v = Vertex { position: at / total, normal: turned.normalize_or(Vec3::Z), ..Vertex::default() };
        for (k, (bone, w)) in most.into_iter().enumerate() {
            (v.joints[k], v.weights[k]) = (bone as u8, w / kept);
        }
        v
    }
}
