//! MakeHuman's own files: base mesh, rig and its weights, morph targets, clothes fitted to the base mesh.
//!
//! What is said of a file that cannot be used names it. Knows no character.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow, bail};
use glam::Vec3;
use serde::Deserialize;

/// Faces as corners, four or three.
pub type Faces = Vec<Vec<u32>>;

/// The mesh that everything is measured against: the body, and helpers round it (tights, a skirt, eyes, joints).
pub struct Base {
    /// Decimetres, y up, facing +z.
    pub positions: Vec<Vec3>,
    pub groups: HashMap<String, Faces>,
    pub joints: Vec<Joint>,
    /// Of each vertex: joint and weight, summing to 1; helpers that no joint moves have none.
    pub weights: Vec<Vec<(usize, f32)>>,
}

/// A joint of MakeHuman's default rig; it sits in the middle of some vertices.
pub struct Joint {
    pub name: String,
    pub parent: Option<usize>,
    pub at: Vec<usize>,
}

/// Where each vertex that moves goes, decimetres.
pub type Target = Vec<(usize, Vec3)>;

/// Clothes, hair or brows: each vertex hangs on three of the base mesh.
pub struct Garment {
    pub name: String,
    pub faces: Faces,
    pub bindings: Vec<Binding>,
    /// For x, y and z: two vertices of the base mesh, and how far apart they are where offsets are as written.
    scales: [(usize, usize, f32); 3],
    /// Whether this vertex of the base mesh lies beneath, and is not drawn.
    pub hides: Vec<bool>,
}

#[derive(Clone, Copy)]
pub struct Binding {
    pub on: [usize; 3],
    pub weights: [f32; 3],
    offset: Vec3,
}

impl Garment {
    /// Its vertices on a body of these positions.
    pub fn fitted(&self, body: &[Vec3]) -> Vec<Vec3> {
        let scale = Vec3::from_array(std::array::from_fn(|axis| {
            let (a, b, apart) = self.scales[axis];
            (body[a] - body[b])[axis].abs() / apart
        }));
        self.bindings.iter().map(|b| (0..3).map(|k| body[b.on[k]] * b.weights[k]).sum::<Vec3>() + b.offset * scale).collect()
    }
}

fn text(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Positions and the faces of every group, as the file numbers them.
fn mesh(path: &Path) -> Result<(Vec<Vec3>, HashMap<String, Faces>)> {
    let file = std::fs::File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let data = obj::ObjData::load_buf(file).map_err(|e| anyhow!("{}: {e}", path.display()))?;
    let positions: Vec<Vec3> = data.position.iter().map(|p| Vec3::from_array(*p)).collect();
    let mut groups: HashMap<String, Faces> = HashMap::new();
    for group in data.objects.into_iter().flat_map(|o| o.groups) {
        let faces = groups.entry(group.name).or_default();
        for polygon in group.polys {
            let corners: Vec<u32> = polygon.0.iter().map(|c| c.0 as u32).collect();
            if corners.iter().any(|&c| c as usize >= positions.len()) {
                bail!("{}: a face points past the vertices", path.display());
            }
            faces.push(corners);
        }
    }
    if positions.iter().any(|p| !p.is_finite()) {
        bail!("{}: a vertex is not finite", path.display());
    }
    Ok((positions, groups))
}

#[derive(Deserialize)]
struct RigFile {
    bones: HashMap<String, BoneFile>,
    joints: HashMap<String, Vec<usize>>,
}

#[derive(Deserialize)]
struct BoneFile {
    head: String,
    parent: Option<String>,
}

#[derive(Deserialize)]
struct WeightsFile {
    weights: HashMap<String, Vec<(usize, f32)>>,
}

impl Base {
    /// From MakeHuman's `data` folder.
    pub fn read(data: &Path) -> Result<Base> {
        let (positions, groups) = mesh(&data.join("3dobjs/base.obj"))?;
        let rig_path = data.join("rigs/default.mhskel");
        let rig: RigFile = serde_json::from_str(&text(&rig_path)?).with_context(|| format!("{}", rig_path.display()))?;
        let mut names: Vec<&String> = rig.bones.keys().collect();
        names.sort();
        let place = |name: &str| names.iter().position(|n| *n == name);
        let mut joints = Vec::with_capacity(names.len());
        for name in &names {
            let bone = &rig.bones[*name];
            let at = rig.joints.get(&bone.head).filter(|at| !at.is_empty() && at.iter().all(|v| *v < positions.len()));
            let at = at.with_context(|| format!("{}: {name} is nowhere", rig_path.display()))?.clone();
            joints.push(Joint { name: (*name).clone(), parent: bone.parent.as_deref().and_then(place), at });
        }
        let weights_path = data.join("rigs/default_weights.mhw");
        let file: WeightsFile = serde_json::from_str(&text(&weights_path)?).with_context(|| format!("{}", weights_path.display()))?;
        let mut weights: Vec<Vec<(usize, f32)>> = vec![Vec::new(); positions.len()];
        for (name, list) in &file.weights {
            let joint = place(name).with_context(|| format!("{}: no bone {name}", weights_path.display()))?;
            for &(v, w) in list {
                weights.get_mut(v).with_context(|| format!("{}: no vertex {v}", weights_path.display()))?.push((joint, w));
            }
        }
        for on in &mut weights {
            on.sort_by_key(|(joint, _)| *joint);
            let total: f32 = on.iter().map(|(_, w)| w).sum();
            on.iter_mut().for_each(|(_, w)| *w /= total);
        }
        Ok(Base { positions, groups, joints, weights })
    }
}

/// Reads a `.mhclo` and its mesh.
pub fn garment(path: &Path, base: &Base) -> Result<Garment> {
    let wrong = |line: &str| anyhow!("{}: {line:?} is not understood", path.display());
    let body = text(path)?;
    let (mut scales, mut bindings, mut hides, mut file) = ([(0, 0, 1.0); 3], Vec::new(), vec![false; base.positions.len()], None);
    let mut section = "";
    for line in body.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let vertex = |w: &str| w.parse::<usize>().ok().filter(|v| *v < base.positions.len()).ok_or_else(|| wrong(line));
        let number = |w: &str| w.parse::<f32>().ok().filter(|v| v.is_finite()).ok_or_else(|| wrong(line));
        match (words[0], words.len()) {
            ("verts" | "delete_verts", _) => section = words[0],
            ("obj_file", 2) => file = Some(path.with_file_name(words[1])),
            (axis @ ("x_scale" | "y_scale" | "z_scale"), 4) => {
                let apart = number(words[3])?;
                if apart <= 0.0 {
                    return Err(wrong(line));
                }
                scales[usize::from(axis.as_bytes()[0] - b'x')] = (vertex(words[1])?, vertex(words[2])?, apart);
            }
            (first, n) if section == "verts" && first.starts_with(|c: char| c.is_ascii_digit()) => bindings.push(match n {
                1 => Binding { on: [vertex(first)?; 3], weights: [1.0, 0.0, 0.0], offset: Vec3::ZERO },
                9 => Binding {
                    on: [vertex(words[0])?, vertex(words[1])?, vertex(words[2])?],
                    weights: [number(words[3])?, number(words[4])?, number(words[5])?],
                    offset: Vec3::new(number(words[6])?, number(words[7])?, number(words[8])?),
                },
                _ => return Err(wrong(line)),
            }),
            (first, _) if section == "delete_verts" && first.starts_with(|c: char| c.is_ascii_digit()) => {
                // "12 15 - 20 33": single vertices and ranges.
                let mut at = 0;
                while at < words.len() {
                    let from = vertex(words[at])?;
                    let range = words.get(at + 1) == Some(&"-");
                    let to = if range { vertex(words.get(at + 2).ok_or_else(|| wrong(line))?)? } else { from };
                    hides[from..=to.max(from)].fill(true);
                    at += if range { 3 } else { 1 };
                }
            }
            _ => {}
        }
    }
    let (positions, groups) = mesh(&file.with_context(|| format!("{}: no obj_file", path.display()))?)?;
    if positions.len() != bindings.len() {
        bail!("{}: {} vertices are placed, its mesh has {}", path.display(), bindings.len(), positions.len());
    }
    let name = path.file_stem().and_then(|n| n.to_str()).unwrap_or("garment").to_string();
    let mut names: Vec<String> = groups.keys().cloned().collect();
    names.sort();
    let faces = names.iter().flat_map(|n| groups[n].clone()).collect();
    Ok(Garment { name, faces, bindings, scales, hides })
}

/// Every `.mhclo` in the folders under `folder`, by name.
pub fn garments(folder: &Path, base: &Base) -> Result<Vec<Garment>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            for entry in std::fs::read_dir(&path)? {
                files.push(entry?.path());
            }
        }
    }
    files.retain(|f| f.extension().is_some_and(|e| e == "mhclo"));
    files.sort();
    files.iter().map(|f| garment(f, base)).collect()
}

/// Morph targets, read when they are first asked for.
pub struct Targets {
    folder: PathBuf,
    vertices: usize,
    read: Mutex<HashMap<String, Arc<Target>>>,
}

impl Targets {
    pub fn new(folder: PathBuf, vertices: usize) -> Targets {
        Targets { folder, vertices, read: Mutex::new(HashMap::new()) }
    }

    /// Whether there is one of this name: its path in the folder, without the ending.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).exists()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.target"))
    }

    pub fn get(&self, name: &str) -> Result<Arc<Target>> {
        let known = |m: &Mutex<HashMap<String, Arc<Target>>>| m.lock().unwrap_or_else(|e| e.into_inner()).get(name).cloned();
        if let Some(target) = known(&self.read) {
            return Ok(target);
        }
        let path = self.path(name);
        let mut target = Target::new();
        for line in text(&path)?.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty()) {
            let mut words = line.split_whitespace();
            let vertex = words.next().and_then(|w| w.parse::<usize>().ok()).filter(|v| *v < self.vertices);
            let by: Vec<f32> = words.filter_map(|w| w.parse().ok()).filter(|v: &f32| v.is_finite()).collect();
            let (Some(vertex), &[x, y, z]) = (vertex, by.as_slice()) else { bail!("{}: {line:?} is not understood", path.display()) };
            target.push((vertex, Vec3::new(x, y, z)));
        }
        let target = Arc::new(target);
        self.read.lock().unwrap_or_else(|e| e.into_inner()).insert(name.to_string(), target.clone());
        Ok(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Base {
        let positions = vec![Vec3::ZERO, Vec3::X * 2.0, Vec3::Y, Vec3::Z, Vec3::ONE];
        Base { weights: vec![Vec::new(); positions.len()], positions, groups: HashMap::new(), joints: Vec::new() }
    }

    fn read(mhclo: &str) -> Result<Garment> {
        static COUNT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        let unique = format!("odori-garment-{}-{}", std::process::id(), COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed));
        let folder = std::env::temp_dir().join(unique);
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("cap.obj"), "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")?;
        std::fs::write(folder.join("cap.mhclo"), mhclo)?;
        let garment = garment(&folder.join("cap.mhclo"), &base());
        std::fs::remove_dir_all(&folder)?;
        garment
    }

    const CAP: &str = "# a cap\nname cap\nobj_file cap.obj\nx_scale 0 1 4.0\ny_scale 0 2 1.0\nz_scale 0 3 1.0\nverts 0\nmaterial cap.mhmat\n\
        4\n0 1 2 0.5 0.5 0 0.2 0 0\n2 3 4 0 0 1 0 0 0\n\ndelete_verts\n0 2 - 3\n";

    #[test]
    fn a_garment_lies_on_the_body_that_wears_it() {
        let cap = read(CAP).unwrap();
        assert_eq!((cap.faces.as_slice(), cap.hides.as_slice()), (&[vec![0, 1, 2]][..], &[true, false, true, true, false][..]));
        // Half as wide as where offsets are as written.
        assert_eq!(cap.fitted(&base().positions), [Vec3::ONE, Vec3::new(1.1, 0.0, 0.0), Vec3::ONE]);
        let mut wide = base().positions;
        wide[1].x = 8.0;
        assert_eq!(cap.fitted(&wide)[1], Vec3::new(4.4, 0.0, 0.0));
    }

    #[test]
    fn what_is_wrong_with_a_garment_is_said() {
        for (from, to, says) in [
            ("\n4\n", "\n9\n", "not understood"),
            ("0.5 0.5 0 0.2 0 0", "0.5 0.5", "not understood"),
            ("\n4\n", "\n", "2 vertices are placed, its mesh has 3"),
            ("obj_file cap.obj", "", "no obj_file"),
            ("x_scale 0 1 4.0", "x_scale 0 1 0.0", "not understood"),
            ("0 2 - 3", "0 2 -", "not understood"),
        ] {
            let error = format!("{:#}", read(&CAP.replace(from, to)).err().unwrap());
            assert!(error.contains(says) && error.contains("cap.mhclo"), "{to:?}: {error}");
        }
    }
}
