//! Reads a rigged GLB or VRM (0.x, 1.0) file into a `Character`.
//!
//! Takes bytes, not paths, from anywhere: everything is bounded and checked before it is used. Wants one humanoid rig, which a VRM
//! names and whose names are guessed in a GLB; weapons in hand slots, expressions, cameras and clips are left out.

use std::collections::HashMap;
use std::sync::Arc;

use glam::{Mat3, Mat4, Vec2, Vec3};

use super::bones::{self, RigName};
use super::character::{Character, Vertex};
use super::colour::from_linear;
use super::raster::{Alpha, Material, Pattern, Texture, Triangle};
use super::retarget::{self, Alignment, Rest};
use super::vrm::Vrm;
use crate::skeleton::{Bone, SKELETON};

const MAX_VERTICES: usize = 400_000;
const MAX_TRIANGLES: usize = 1_000_000;
const MAX_NODES: usize = 10_000;
/// Bytes of all textures together, decoded.
const MAX_TEXTURES: usize = 512 << 20;

/// What is wrong with a file.
type Result<T> = std::result::Result<T, String>;

macro_rules! bail {
    ($($text:tt)*) => { return Err(format!($($text)*)) };
}

/// A character and what its file says of it. `texture_px` is the longest side that textures keep.
///
/// # Errors
/// What of the file cannot be used.
pub fn read(name: &str, bytes: &[u8], texture_px: u32) -> Result<(Character, Option<Vrm>)> {
    let file = gltf::Gltf::from_slice(bytes).map_err(|e| format!("not a readable GLB or VRM file ({e})"))?;
    let blob = file.blob.as_deref().unwrap_or(&[]);
    let doc = &file.document;
    check_ranges(doc, blob)?;
    let vrm = Vrm::read(doc)?;
    let nodes: Vec<gltf::Node> = doc.nodes().collect();
    if nodes.len() > MAX_NODES {
        bail!("{} nodes; at most {MAX_NODES} are read", nodes.len());
    }
    let mut parent: Vec<Option<usize>> = vec![None; nodes.len()];
    for node in &nodes {
        for child in node.children() {
            parent[child.index()] = Some(node.index());
        }
    }
    let world = world_transforms(&nodes, &parent)?;
    let names: Vec<RigName> = nodes
        .iter()
        .map(|n| RigName { name: n.name().unwrap_or("").to_string(), parent: parent[n.index()] })
        .collect();
    // Only skin joints can be bones; mesh nodes sometimes bear the same names.
    let mut is_joint = vec![false; nodes.len()];
    for skin in doc.skins() {
        for joint in skin.joints() {
            is_joint[joint.index()] = true;
        }
    }
    let hidden = |n: &RigName| RigName { name: String::new(), parent: n.parent };
    let rig: Vec<RigName> =
        names.iter().zip(&is_joint).map(|(n, &j)| if j { n.clone() } else { hidden(n) }).collect();
    let rest = Rest {
        parents: parent.clone(),
        positions: world.iter().map(|m| m.w_axis.truncate()).collect(),
        bones: vrm.as_ref().map_or_else(|| bones::map(&rig), |v| v.bones(nodes.len())),
    };
    let alignment = retarget::align(&rest).map_err(|e| format!("its rig is not one that can dance: {e}"))?;

    let mut out = Character::bare(name, &alignment.joints);
    let mut materials = Materials { blob, texture_px, decoded: 0, textures: HashMap::new(), places: HashMap::new(), names: Vec::new() };
    for node in &nodes {
        let Some(mesh) = node.mesh() else { continue };
        if in_a_hand_slot(node.index(), &parent, &names) {
            continue;
        }
        for primitive in mesh.primitives() {
            let place = materials.place(&primitive.material(), &mut out.materials)?;
            add_primitive(&mut out, node, &primitive, place, blob, &world, &alignment).map_err(|e| format!("mesh {}: {e}", mesh.name().unwrap_or("?")))?;
        }
    }
    if out.vertices.is_empty() {
        bail!("it has no mesh");
    }
    // Eyes go the way of the joints.
    let eyes = vrm.as_ref().and_then(|v| v.eyes).filter(|eyes| eyes.iter().all(|e| *e < nodes.len()));
    let eyes = eyes.map(|eyes| eyes.map(|e| alignment.turn[e] * (rest.positions[e] - alignment.from[e]) + alignment.to[e]));
    Ok((finished(out, eyes, &materials.names), vrm))
}

/// Gives a character in the T-pose, of any size, its size, its place and its face. `eyes`: where their bones are.
pub fn finished(mut out: Character, eyes: Option<[Vec3; 2]>, material_names: &[String]) -> Character {
    let joints = out.joints.len();
    out.joints.extend(eyes.into_iter().flatten());
    to_metres(&mut out);
    out.finish();
    let eyes = out.joints.split_off(joints);
    face_keypoints(&mut out, material_names, <[Vec3; 2]>::try_from(eyes).ok());
    out
}

/// Every view lies in the file and every accessor in its view: what is read later is there.
fn check_ranges(doc: &gltf::Document, blob: &[u8]) -> Result<()> {
    for view in doc.views() {
        if view.buffer().index() != 0 || view.offset().checked_add(view.length()).is_none_or(|end| end > blob.len()) {
            bail!("data outside the file: only files that hold everything themselves are read");
        }
    }
    // What expressions are kept as is not read.
    let attributes = doc.meshes().flat_map(|m| m.primitives().collect::<Vec<_>>()).flat_map(|p| p.attributes().map(|(_, a)| a).chain(p.indices()).collect::<Vec<_>>());
    for accessor in attributes.chain(doc.skins().filter_map(|s| s.inverse_bind_matrices())) {
        if accessor.sparse().is_some() {
            bail!("its mesh is kept as sparse data, which is not read; export it without");
        }
        let Some(view) = accessor.view() else { continue };
        let stride = view.stride().unwrap_or(accessor.size());
        let end = accessor.count().checked_sub(1).map_or(Some(0), |n| n.checked_mul(stride)?.checked_add(accessor.size())?.checked_add(accessor.offset()));
        if stride < accessor.size() || end.is_none_or(|end| end > view.length()) {
            bail!("data past the end of its view: the file is damaged");
        }
    }
    Ok(())
}

fn world_transforms(nodes: &[gltf::Node], parent: &[Option<usize>]) -> Result<Vec<Mat4>> {
    let local: Vec<Mat4> = nodes.iter().map(|n| Mat4::from_cols_array_2d(&n.transform().matrix())).collect();
    (0..nodes.len())
        .map(|i| {
            let (mut m, mut at, mut depth) = (local[i], parent[i], 0);
            while let Some(p) = at {
                m = local[p] * m;
                at = parent[p];
                depth += 1;
                if depth > nodes.len() {
                    bail!("the node tree has a loop");
                }
            }
            Ok(m)
        })
        .collect()
}

fn in_a_hand_slot(node: usize, parent: &[Option<usize>], names: &[RigName]) -> bool {
    let mut at = Some(node);
    while let Some(n) = at {
        if names[n].name.to_lowercase().contains("slot") {
            return true;
        }
        at = parent[n];
    }
    false
}

fn add_primitive(
    out: &mut Character,
    node: &gltf::Node,
    primitive: &gltf::Primitive,
    material: u16,
    blob: &[u8],
    world: &[Mat4],
    alignment: &Alignment,
) -> Result<()> {
    let reader = primitive.reader(|b| (b.index() == 0).then_some(blob));
    let positions: Vec<Vec3> = reader.read_positions().ok_or("no positions")?.map(Vec3::from).collect();
    let count = positions.len();
    if out.vertices.len() + count > MAX_VERTICES {
        bail!("more than {MAX_VERTICES} vertices");
    }
    let indices: Vec<u32> = match reader.read_indices() {
        Some(i) => i.into_u32().collect(),
        None => (0..count as u32).collect(),
    };
    if out.triangles.len() + indices.len() / 3 > MAX_TRIANGLES {
        bail!("more than {MAX_TRIANGLES} triangles");
    }
    if indices.iter().any(|&i| i as usize >= count) {
        bail!("an index points past the vertices");
    }
    let normals: Vec<Vec3> = match reader.read_normals() {
        Some(n) => n.map(Vec3::from).collect(),
        None => flat_normals(&positions, &indices),
    };
    let uvs: Vec<Vec2> = match reader.read_tex_coords(0) {
        Some(t) => t.into_f32().map(Vec2::from).collect(),
        None => vec![Vec2::ZERO; count],
    };
    // Per vertex up to four (joint node, its matrix, weight).
    let skin = node.skin();
    let (bind, joint_nodes): (Vec<Mat4>, Vec<usize>) = match &skin {
        Some(skin) => {
            let joints: Vec<usize> = skin.joints().map(|j| j.index()).collect();
            let inverse: Vec<Mat4> = skin
                .reader(|b| (b.index() == 0).then_some(blob))
                .read_inverse_bind_matrices()
                .map_or_else(Vec::new, |m| m.map(|m| Mat4::from_cols_array_2d(&m)).collect());
            let m = joints
                .iter()
                .enumerate()
                .map(|(i, &j)| world[j] * inverse.get(i).copied().unwrap_or(Mat4::IDENTITY))
                .collect();
            (m, joints)
        }
        None => (vec![world[node.index()]], vec![node.index()]),
    };
    let (sets, weights): (Vec<[u16; 4]>, Vec<[f32; 4]>) = match (&skin, reader.read_joints(0), reader.read_weights(0)) {
        (Some(_), Some(j), Some(w)) => (j.into_u16().collect(), w.into_f32().collect()),
        _ => (vec![[0; 4]; count], vec![[1.0, 0.0, 0.0, 0.0]; count]),
    };
    if [normals.len(), uvs.len(), sets.len(), weights.len()].iter().any(|&n| n != count) {
        bail!("attributes of different lengths");
    }
    if sets.iter().flatten().any(|&j| usize::from(j) >= bind.len()) {
        bail!("a vertex names a joint that the skin lacks");
    }
    let first = out.vertices.len() as u32;
    for v in 0..count {
        let total: f32 = weights[v].iter().sum();
        let (mut position, mut normal) = (Vec3::ZERO, Vec3::ZERO);
        let mut on_bone: Vec<(u8, f32)> = Vec::with_capacity(4);
        for (&j, &w) in sets[v].iter().zip(&weights[v]) {
            let w = if total > 1e-6 { w / total } else { 0.25 };
            if w <= 0.0 {
                continue;
            }
            let m = bind[usize::from(j)];
            let n = joint_nodes[usize::from(j)];
            let p = m.transform_point3(positions[v]);
            position += (alignment.turn[n] * (p - alignment.from[n]) + alignment.to[n]) * w;
            normal += alignment.turn[n] * (Mat3::from_mat4(m).inverse().transpose() * normals[v]).normalize_or_zero() * w;
            let bone = alignment.bone[n].0;
            match on_bone.iter_mut().find(|(b, _)| *b == bone) {
                Some((_, sum)) => *sum += w,
                None => on_bone.push((bone, w)),
            }
        }
        if !position.is_finite() || !normal.is_finite() {
            bail!("a vertex is not finite");
        }
        let mut vertex = Vertex { position, normal: normal.normalize_or(Vec3::Z), uv: uvs[v], ..Vertex::default() };
        for (k, (b, w)) in on_bone.into_iter().enumerate() {
            vertex.joints[k] = b;
            vertex.weights[k] = w;
        }
        out.vertices.push(vertex);
    }
    let mirrored = Mat3::from_mat4(bind[0]).determinant() < 0.0;
    for t in indices.chunks_exact(3) {
        let [a, b, c] = [t[0] + first, t[1] + first, t[2] + first];
        let corners = if mirrored { [a, c, b] } else { [a, b, c] };
        out.triangles.push(Triangle { corners, material });
    }
    Ok(())
}

fn flat_normals(positions: &[Vec3], indices: &[u32]) -> Vec<Vec3> {
    let mut normals = vec![Vec3::ZERO; positions.len()];
    for t in indices.chunks_exact(3) {
        let [a, b, c] = [t[0], t[1], t[2]].map(|i| positions[i as usize]);
        for &i in t {
            normals[i as usize] += (b - a).cross(c - a);
        }
    }
    normals.into_iter().map(|n| n.normalize_or(Vec3::Z)).collect()
}

struct Materials<'a> {
    blob: &'a [u8],
    texture_px: u32,
    /// Bytes of the textures so far.
    decoded: usize,
    textures: HashMap<usize, Arc<Texture>>,
    places: HashMap<Option<usize>, u16>,
    names: Vec<String>,
}

impl Materials<'_> {
    fn place(&mut self, material: &gltf::Material, list: &mut Vec<Material>) -> Result<u16> {
        if let Some(&place) = self.places.get(&material.index()) {
            return Ok(place);
        }
        let pbr = material.pbr_metallic_roughness();
        let [r, g, b, _] = pbr.base_color_factor();
        let texture = match pbr.base_color_texture() {
            Some(info) => Some(self.texture(&info.texture())?),
            None => None,
        };
        let place = list.len() as u16;
        list.push(Material {
            colour: [r, g, b].map(from_linear),
            texture,
            alpha: match material.alpha_mode() {
                gltf::material::AlphaMode::Opaque => Alpha::Ignored,
                gltf::material::AlphaMode::Mask => Alpha::Cut(material.alpha_cutoff().unwrap_or(0.5)),
                gltf::material::AlphaMode::Blend => Alpha::Cut(0.5),
            },
            pattern: Pattern::Plain,
            outlined: material.alpha_mode() == gltf::material::AlphaMode::Opaque,
        });
        self.names.push(material.name().unwrap_or("").to_lowercase());
        self.places.insert(material.index(), place);
        Ok(place)
    }

    fn texture(&mut self, texture: &gltf::Texture) -> Result<Arc<Texture>> {
        let source = texture.source();
        if let Some(t) = self.textures.get(&source.index()) {
            return Ok(t.clone());
        }
        let gltf::image::Source::View { view, .. } = source.source() else { bail!("a texture outside the file") };
        let bytes = self.blob.get(view.offset()..view.offset() + view.length()).ok_or("a texture past the end")?;
        let picture = crate::avatar::decode(bytes).map_err(|e| format!("a texture: {e}"))?;
        let (w, h, most) = (picture.width(), picture.height(), self.texture_px);
        let picture = if w.max(h) > most { image::DynamicImage::from(picture).thumbnail(most, most).into_rgba8() } else { picture };
        self.decoded += picture.len();
        if self.decoded > MAX_TEXTURES {
            bail!("its textures need more than {} MB", MAX_TEXTURES >> 20);
        }
        let texture = Arc::new(Texture {
            width: picture.width() as usize,
            height: picture.height() as usize,
            rgba: picture.pixels().map(|p| p.0).collect(),
        });
        self.textures.insert(source.index(), texture.clone());
        Ok(texture)
    }
}

/// Makes the head joint as high as the shared skeleton's: one unit for all rigs.
fn to_metres(c: &mut Character) {
    let place = |n: &str| Bone::named(n).expect("known").index();
    let height = |i: usize| c.joints[i].y;
    let low = c.vertices.iter().map(|v| v.position.y).fold(f32::INFINITY, f32::min);
    let wanted = SKELETON.rest_joints[place("head")].y;
    let k = wanted / (height(place("head")) - low).max(1e-3);
    for v in &mut c.vertices {
        v.position *= k;
    }
    for j in &mut c.joints {
        *j *= k;
    }
}

/// Nose, eyes, ears, head top and toes from the mesh around their bones.
fn face_keypoints(c: &mut Character, material_names: &[String], eye_bones: Option<[Vec3; 2]>) {
    let place = |n: &str| Bone::named(n).expect("known").index();
    let head = place("head");
    let origin = c.joints[head];
    let near = |v: &&Vertex, bone: usize| {
        v.joints.iter().zip(&v.weights).any(|(&j, &w)| j as usize == bone && w > 0.5)
    };
    let on_head: Vec<Vec3> = c.vertices.iter().filter(|v| near(v, head)).map(|v| v.position).collect();
    let top = on_head.iter().map(|p| p.y).fold(origin.y + 0.1, f32::max);
    let size = (top - origin.y) / 0.25;
    for (k, info) in SKELETON.keypoints.iter().enumerate() {
        let b = info.bone.index();
        c.keypoint_offsets[k] = match info.name.as_str() {
            "left_hand" | "right_hand" => info.offset * c.size_ratio(),
            _ if b == head => info.offset * size,
            "left_toe" | "right_toe" => {
                let side = if info.name.starts_with("left") { "left" } else { "right" };
                let foot = place(&format!("{side}Foot"));
                let tip = c
                    .vertices
                    .iter()
                    .filter(|v| near(v, foot) || near(v, b))
                    .map(|v| v.position)
                    .max_by(|p, q| p.z.total_cmp(&q.z))
                    .unwrap_or(c.joints[b] + info.offset);
                Vec3::new(c.joints[foot].x, tip.y.min(0.04), tip.z - 0.03) - c.joints[b]
            }
            _ => info.offset * c.size_ratio(),
        };
    }
    // Bones of the eyes, or a material of their own, tell where the face is.
    let mut sums = [(Vec3::ZERO, 0.0f32); 2];
    for t in &c.triangles {
        let name = &material_names[t.material as usize];
        if name.starts_with("eye") && !name.contains("brow") {
            for &v in &t.corners {
                let p = c.vertices[v as usize].position;
                let side = &mut sums[usize::from(p.x < origin.x)];
                *side = (side.0 + p, side.1 + 1.0);
            }
        }
    }
    let painted = sums.iter().all(|s| s.1 > 0.0).then(|| sums.map(|(sum, n)| sum / n));
    // An eye's bone sits within the head: where it looks out the eye is drawn.
    let eyes = painted.or_else(|| eye_bones.map(|e| e.map(|e| Vec3::new(e.x, e.y, e.z + 0.02))));
    if let Some(eyes) = eyes {
        let eyes = eyes.map(|e| e - origin);
        let set = |c: &mut Character, name: &str, p: Vec3| {
            c.keypoint_offsets[SKELETON.keypoint_named(name).expect("known")] = p;
        };
        let apart = (eyes[0].x - eyes[1].x).abs();
        let middle = (eyes[0] + eyes[1]) * 0.5;
        set(c, "left_eye", eyes[0]);
        set(c, "right_eye", eyes[1]);
        set(c, "nose", middle + Vec3::new(0.0, -0.55 * apart, 0.3 * apart));
        set(c, "left_ear", Vec3::new(eyes[0].x + 0.65 * apart, middle.y - 0.1 * apart, 0.0));
        set(c, "right_ear", Vec3::new(eyes[1].x - 0.65 * apart, middle.y - 0.1 * apart, 0.0));
    }
}
