//! Swept shapes: rings joined into tubes, ellipsoids, and the growing list of vertices behind them.
//!
//! Knows nothing of bodies; weights and materials come from the caller.

use glam::{Vec2, Vec3};
use odori_engine::skeleton::BONE_COUNT;

use odori_engine::avatar::rigged::character::{Loose, Vertex};
use odori_engine::avatar::rigged::raster::{Material, Triangle};

/// Joint and weight; at most four are kept.
pub type Weights = Vec<(usize, f32)>;

/// A closed loop of vertices: `centre + right * cos + up * sin`.
#[derive(Clone, Debug)]
pub struct Ring {
    pub centre: Vec3,
    pub right: Vec3,
    pub up: Vec3,
    pub weights: Weights,
}

#[derive(Default)]
pub struct Mesh {
    pub vertices: Vec<Vertex>,
    pub triangles: Vec<Triangle>,
    pub materials: Vec<Material>,
    pub loose: Vec<Loose>,
    pub loose_joints: Vec<Vec3>,
}

impl Mesh {
    pub fn material(&mut self, m: Material) -> u16 {
        self.materials.push(m);
        (self.materials.len() - 1) as u16
    }

    pub fn vertex(&mut self, position: Vec3, uv: Vec2, weights: &[(usize, f32)]) -> u32 {
        let mut sorted = weights.to_vec();
        sorted.sort_by(|a, b| b.1.total_cmp(&a.1));
        sorted.truncate(4);
        let total: f32 = sorted.iter().map(|w| w.1).sum();
        let mut v = Vertex { position, uv, ..Vertex::default() };
        for (k, (j, w)) in sorted.into_iter().enumerate() {
            v.joints[k] = j as u8;
            v.weights[k] = w / total;
        }
        self.vertices.push(v);
        (self.vertices.len() - 1) as u32
    }

    pub fn triangle(&mut self, corners: [u32; 3], material: u16) {
        self.triangles.push(Triangle { corners, material });
    }

    /// A joint that swings; gives its index for weights.
    pub fn loose_joint(&mut self, at: Vec3, loose: Loose) -> usize {
        self.loose_joints.push(at);
        self.loose.push(loose);
        BONE_COUNT + self.loose.len() - 1
    }

    /// Joins rings of `sides` vertices in order; `material(ring, side)` dresses the quad between a ring and the
    /// next, or leaves a hole. Closes both ends with a fan when `caps`. Rings must turn anticlockwise seen from
    /// where the tube goes to.
    pub fn tube(&mut self, rings: &[Ring], sides: usize, caps: bool, material: impl Fn(usize, usize) -> Option<u16>) {
        let first = self.vertices.len();
        let mut along = 0.0;
        for (i, ring) in rings.iter().enumerate() {
            if i > 0 {
                along += ring.centre.distance(rings[i - 1].centre);
            }
            for s in 0..sides {
                let a = s as f32 / sides as f32 * std::f32::consts::TAU;
                let p = ring.centre + ring.right * a.cos() + ring.up * a.sin();
                let upright = (ring.right.cross(ring.up)).normalize_or_zero().y.abs() > 0.7;
                let uv = if upright { Vec2::new(p.x, p.y) } else { Vec2::new(p.z, along) };
                self.vertex(p, uv, &ring.weights);
            }
        }
        let at = |r: usize, s: usize| (first + r * sides + s % sides) as u32;
        for r in 0..rings.len() - 1 {
            for s in 0..sides {
                if let Some(m) = material(r, s) {
                    self.triangle([at(r, s), at(r, s + 1), at(r + 1, s + 1)], m);
                    self.triangle([at(r, s), at(r + 1, s + 1), at(r + 1, s)], m);
                }
            }
        }
        if caps {
            let last = rings.len() - 1;
            for s in 1..sides - 1 {
                if let Some(m) = material(0, s) {
                    self.triangle([at(0, 0), at(0, s + 1), at(0, s)], m);
                }
                if let Some(m) = material(last - 1, s) {
                    self.triangle([at(last, 0), at(last, s), at(last, s + 1)], m);
                }
            }
        }
    }

    /// `radii` along x, y, z.
    pub fn ellipsoid(&mut self, centre: Vec3, radii: Vec3, weights: &Weights, material: u16) {
        let rings: Vec<Ring> = (0..=8)
            .map(|i| {
                let a = i as f32 / 8.0 * std::f32::consts::PI;
                let r = a.sin().max(0.02);
                Ring {
                    centre: centre - Vec3::Y * radii.y * a.cos(),
                    right: Vec3::Z * radii.z * r,
                    up: Vec3::X * radii.x * r,
                    weights: weights.clone(),
                }
            })
            .collect();
        self.tube(&rings, 12, true, |_, _| Some(material));
    }

    /// A tapering strand through `path`; `width` and `depth` at the root, shrinking to a point.
    pub fn strand(&mut self, path: &[(Vec3, Weights)], side: Vec3, width: f32, depth: f32, taper: f32, material: u16) {
        let n = path.len();
        let rings: Vec<Ring> = (0..n)
            .map(|i| {
                let t = i as f32 / (n - 1) as f32;
                let d = (path[(i + 1).min(n - 1)].0 - path[i.saturating_sub(1)].0).normalize_or(Vec3::NEG_Y);
                let right = (side - d * side.dot(d)).normalize_or(Vec3::X);
                let swell = (1.0 - t.powf(taper)).max(0.03) * if i == 0 { 0.7 } else { 1.0 };
                Ring {
                    centre: path[i].0,
                    right: right * width * swell,
                    up: d.cross(right) * depth * swell,
                    weights: path[i].1.clone(),
                }
            })
            .collect();
        self.tube(&rings, 8, true, |_, _| Some(material));
    }

    /// Vertex normals from the faces around each vertex.
    pub fn set_normals(&mut self) {
        for t in &self.triangles {
            let [a, b, c] = t.corners.map(|i| self.vertices[i as usize].position);
            let n = (b - a).cross(c - a);
            for &i in &t.corners {
                self.vertices[i as usize].normal += n;
            }
        }
        for v in &mut self.vertices {
            v.normal = v.normal.normalize_or(Vec3::Z);
        }
    }
}

/// 0 below `a`, 1 above `b`, smooth between.
pub fn smooth(a: f32, b: f32, x: f32) -> f32 {
    let t = ((x - a) / (b - a)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Linear between the nearest knots of a table of (x, y), sorted by x.
pub fn table(knots: &[(f32, f32)], x: f32) -> f32 {
    let i = knots.iter().position(|k| k.0 > x).unwrap_or(knots.len());
    match i {
        0 => knots[0].1,
        i if i == knots.len() => knots[i - 1].1,
        i => {
            let (a, b) = (knots[i - 1], knots[i]);
            let t = (x - a.0) / (b.0 - a.0);
            let t = t * t * (3.0 - 2.0 * t);
            a.1 + (b.1 - a.1) * t
        }
    }
}
