//! From a picture to an avatar, with a report of what was found and guessed.

use glam::Vec2;

use super::rig::{Rig, keypoint, other_side};
use super::figure::{self, Figure, Ground};
use super::finder::{self, FigureFinder};
use super::sidecar::Resolved;
use super::seen::{self, SeenParts};
use super::{Avatar, AvatarError, Face, Image, LoosePart, PartMap, Sidecar, mesh, parts, rigged, segment};
use crate::skeleton::{KEYPOINT_COUNT, SKELETON};

/// What an import found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ImportReport {
    /// "sidecar", "network" or "rig".
    pub keypoints_from: &'static str,
    /// 1 when given; else how sure the network is of limbs and trunk.
    pub confidence: f32,
    pub inferred: Vec<String>,
    /// "sidecar", "picture", or "none" where no eyes were found that are sure to be eyes.
    pub face_from: &'static str,
    pub ground: Ground,
    pub skirt: bool,
    pub triangles: usize,
    pub vertices: usize,
    /// Of the kept picture.
    pub width: u32,
    pub height: u32,
    /// Size of the given picture; of a 3D character's drawing, which stands for it. The kept picture's `p` is its
    /// `p / scale + origin`.
    pub picture: [u32; 2],
    pub origin: [f32; 2],
    pub scale: f32,
    pub notes: Vec<String>,
}

/// Decodes PNG, JPEG or WebP (its header is checked before any pixel), or draws a VRM or GLB character, and imports it.
pub fn import_encoded(bytes: &[u8], sidecar: Option<&Sidecar>, finder: Option<&mut FigureFinder>) -> Result<(Avatar, ImportReport), AvatarError> {
    if rigged::is_rigged(bytes) {
        // Its joints are known: nothing is left to find or to give.
        return if sidecar.is_some() { Err(AvatarError::Rigged("its joints are its own; leave the keypoints out".into())) } else { rigged::import(bytes) };
    }
    let picture = decode(bytes)?;
    Avatar::import(picture.width(), picture.height(), picture.into_raw(), sidecar, finder)
}

/// Decodes a picture from outside, straight alpha; its header is checked before any pixel.
///
/// # Errors
/// If it is no PNG, JPEG or WebP, or too large.
pub fn decode(bytes: &[u8]) -> Result<image::RgbaImage, AvatarError> {
    let reader = || {
        image::ImageReader::new(std::io::Cursor::new(bytes))
            .with_guessed_format()
            .map_err(|e| AvatarError::Decode(e.to_string()))
    };
    let (width, height) = reader()?.into_dimensions().map_err(|e| AvatarError::Decode(e.to_string()))?;
    figure::check_size(width, height)?;
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(1 << 30);
    let mut decoder = reader()?;
    decoder.limits(limits);
    Ok(decoder.decode().map_err(|e| AvatarError::Decode(e.to_string()))?.into_rgba8())
}

impl Avatar {
    /// `rgba` is straight alpha, width * height * 4 bytes, rows from the top. Without a finder, keypoints must be given
    /// and the ground be clear or plain.
    ///
    /// # Errors
    /// What is wrong with the picture or the keypoints, and what to do.
    pub fn import(
        width: u32,
        height: u32,
        rgba: Vec<u8>,
        sidecar: Option<&Sidecar>,
        mut finder: Option<&mut FigureFinder>,
    ) -> Result<(Avatar, ImportReport), AvatarError> {
        figure::check_size(width, height)?;
        let given = sidecar.map(|s| s.resolve(width, height)).transpose()?;
        let figure = figure::find(width, height, rgba, finder.as_deref_mut())?;
        Self::of_figure(figure, (width, height), sidecar, given, finder, Layers::default())
    }

    /// Of a square picture whose joints are known, and its parts as [`finder::Seen::parts`] has them.
    pub(super) fn import_known(side: u32, rgba: Vec<u8>, points: &Sidecar, parts: &[f32]) -> Result<(Avatar, ImportReport), AvatarError> {
        let given = points.resolve(side, side)?;
        let figure = figure::find(side, side, rgba, None)?;
        // A back's sides are called the other way round, and its parts with them.
        let of = |(i, _)| parts[if given.swapped { seen::opposite(i) } else { i }];
        let cell = finder::SIZE as f32 / side as f32;
        let seen = SeenParts { parts: parts.iter().enumerate().map(of).collect(), scale: cell / figure.scale, origin: Vec2::from(figure.origin) * cell };
        Self::of_figure(figure, (side, side), Some(points), Some(given), None, Layers { seen: Some(seen), ..Layers::default() })
    }

    /// The same figure with joints, face, loose parts and skirt as a person says they are: `points` in pixels of
    /// [`Avatar::reference`]. What is painted stays, a skirt of which they say nothing too, and the back's joints follow.
    ///
    /// # Errors
    /// What is wrong with the points.
    pub fn corrected(&self, points: &Sidecar) -> Result<(Avatar, ImportReport), AvatarError> {
        let Image { width, height, .. } = self.reference;
        let given = points.resolve(width, height)?;
        let points = &Sidecar { skirt: points.skirt.or(Some(self.rig.hem.is_some())), ..points.clone() };
        let figure = Figure { image: self.reference.clone(), origin: [0.0; 2], scale: 1.0, ground: Ground::Clear };
        let (avatar, report) = Self::of_figure(figure, (width, height), Some(points), Some(given), None, Layers { found: self.found.clone(), paint: self.paint.clone(), ..Layers::default() })?;
        let name = points.name.clone().unwrap_or_else(|| self.name.clone());
        let back = avatar.back_following(self)?;
        Ok((Avatar { name, back, ..avatar }, report))
    }

    /// Joints, face, loose parts and skirt as they are, in pixels of [`Avatar::reference`]: what [`Avatar::corrected`] takes.
    pub fn points(&self) -> Sidecar {
        Sidecar {
            width: self.reference.width,
            height: self.reference.height,
            keypoints: SKELETON.keypoints.iter().zip(self.keypoints).map(|(k, p)| (k.name.clone(), p.into())).collect(),
            loose: self.loose.clone(),
            skirt: Some(self.rig.hem.is_some()),
            face: Some(self.face),
            name: None,
        }
    }

    /// The part of every pixel of [`Avatar::reference`] as network, rig or rules find it, whatever is painted.
    pub fn found_parts(&self) -> PartMap {
        if let Some(found) = &self.found {
            return found.clone();
        }
        let image = &self.reference;
        let rig = rig_of(image, &self.keypoints, &self.loose);
        let seg = segment::label(image, &rig, hints(Some(self.rig.hem.is_some()), &self.loose, Layers::default()));
        let part = |(i, &label): (usize, &u8)| {
            let p = Vec2::new((i % image.width as usize) as f32, (i / image.width as usize) as f32) + 0.5;
            match label as usize {
                segment::HEAD if mesh::hang(&rig, &seg, p).0 > 0.5 => parts::HAIR,
                part @ 0..segment::PARTS => part as u8 + 1,
                _ => 0,
            }
        };
        PartMap::new(image.width, image.height, seg.label.iter().enumerate().map(part).collect())
    }

    /// What is painted, or a map of nothing.
    pub fn paint_map(&self) -> PartMap {
        let Image { width, height, .. } = self.reference;
        self.paint.clone().unwrap_or_else(|| PartMap::new(width, height, vec![0; width as usize * height as usize]))
    }

    /// Paints over what the rules find, in place of what was painted before; [`Avatar::corrected`] makes the avatar of it.
    ///
    /// # Errors
    /// If the map is not of the size of [`Avatar::reference`].
    pub fn paint(&mut self, map: PartMap) -> Result<(), AvatarError> {
        self.check_paint(&map)?;
        self.paint = (!map.is_empty()).then_some(map);
        Ok(())
    }

    pub(crate) fn check_paint(&self, map: &PartMap) -> Result<(), AvatarError> {
        let (width, height) = map.size();
        if (width, height) != (self.reference.width, self.reference.height) {
            let own = format!("{}x{}", self.reference.width, self.reference.height);
            return Err(AvatarError::Parts(format!("the map is {width}x{height} pixels, but the avatar's picture is {own}")));
        }
        Ok(())
    }

    /// The size is that of the picture of which the figure was cut.
    pub(super) fn of_figure(
        figure: Figure,
        (width, height): (u32, u32),
        sidecar: Option<&Sidecar>,
        given: Option<Resolved>,
        finder: Option<&mut FigureFinder>,
        mut layers: Layers,
    ) -> Result<(Avatar, ImportReport), AvatarError> {
        let map = |p: Vec2| (p - Vec2::from(figure.origin)) * figure.scale;
        let mut notes = Vec::new();
        let glimpse = finder.map(|finder| Glimpse::of(finder, &figure.image));
        let (keypoints, keypoints_from, confidence, inferred): ([Vec2; KEYPOINT_COUNT], _, _, _) = match given {
            Some(g) => {
                if g.swapped {
                    notes.push("left and right were exchanged: the character's left belongs at the picture's right".into());
                }
                (g.points.map(map), "sidecar", 1.0, g.inferred)
            }
            None => {
                let glimpse = glimpse.as_ref().ok_or_else(|| AvatarError::Keypoints("none are given, and there is nothing to find them with".into()))?;
                let (points, confidence) = glimpse.keypoints()?;
                (points, "network", confidence, Vec::new())
            }
        };
        layers.seen = layers.seen.or_else(|| glimpse.map(|g| g.parts));
        // The sidecar may have been made for another size of the same picture.
        let own = sidecar.map_or(Vec2::ONE, |s| Vec2::new(width as f32 / s.width as f32, height as f32 / s.height as f32));
        let loose: Vec<LoosePart> = sidecar.map_or_else(Vec::new, |s| s.loose.iter().map(|l| l.mapped(|p| map(p * own))).collect());
        let mut rig = rig_of(&figure.image, &keypoints, &loose);
        let skirt = sidecar.and_then(|s| s.skirt);
        let seg = segment::segment(&figure.image, &rig, hints(skirt, &loose, layers));
        rig.hem = seg.hem;
        let (face, face_from) = match sidecar.and_then(|s| s.face) {
            Some(given) => (given.mapped(|p| map(p * own)), "sidecar"),
            None => (Face::find(&figure.image, &keypoints), "picture"),
        };
        let mesh = mesh::build(&seg, &rig, &figure.image, face);
        let face = mesh.face;
        if face.left_eye.is_none() && face.right_eye.is_none() {
            notes.push("no eyes were found that are sure to be eyes: they will not blink".into());
        }
        if mesh.indices.is_empty() {
            return Err(AvatarError::NoFigure("the keypoints do not lie on the figure".into()));
        }
        let report = ImportReport {
            keypoints_from,
            confidence,
            inferred,
            face_from: if face.is_empty() { "none" } else { face_from },
            ground: figure.ground,
            skirt: rig.hem.is_some(),
            triangles: mesh.indices.len() / 3,
            vertices: mesh.vertices.len(),
            width: figure.image.width,
            height: figure.image.height,
            picture: [width, height],
            origin: figure.origin,
            scale: figure.scale,
            notes,
        };
        let avatar = Avatar {
            name: sidecar.and_then(|s| s.name.clone()).unwrap_or_default(),
            reference: figure.image,
            keypoints,
            atlas: mesh.atlas,
            vertices: mesh.vertices,
            indices: mesh.indices,
            layers: mesh.layers,
            rig,
            face,
            loose,
            found: seg.found,
            paint: seg.paint,
            back: None,
        };
        Ok((avatar, report))
    }
}

fn rig_of(image: &Image, keypoints: &[Vec2; KEYPOINT_COUNT], loose: &[LoosePart]) -> Rig {
    let ankles = ["left_ankle", "right_ankle"].map(|name| keypoints[keypoint(name)].y);
    let mut rig = Rig::new(keypoints, lowest_row(image).max(ankles[0]).max(ankles[1]));
    for loose in loose {
        rig.hair[(loose.anchor[0] < rig.head_top.x) as usize] = loose.anchor.into();
    }
    rig
}

/// What is known of the parts of a figure: seen of it or found before, and painted over that; maps are of its size.
#[derive(Default)]
pub(super) struct Layers {
    pub seen: Option<SeenParts>,
    pub found: Option<PartMap>,
    pub paint: Option<PartMap>,
}

fn hints(skirt: Option<bool>, loose: &[LoosePart], layers: Layers) -> segment::Hints {
    let loose = loose.iter().map(|l| segment::Loose { anchor: l.anchor.into(), polygon: l.polygon.iter().map(|&p| p.into()).collect() });
    segment::Hints { seen: layers.seen, found: layers.found, skirt, loose: loose.collect(), paint: layers.paint }
}

/// Share of the finder's picture that the figure's longer side fills.
const FILLS: f32 = 0.88;
/// A joint that the finder is less sure of than this is not seen; and so is a figure on the average.
const LEAST_SURE: f32 = 0.2;
const LEAST_SURE_ALL: f32 = 0.65;
/// Pixels of its picture by which its two looks may differ before it is not sure at all.
const DIFFER: f32 = 20.0;

/// What the finder sees of a figure. It looks twice, once in the mirror.
pub(super) struct Glimpse {
    /// Pixels of the figure's picture, and how sure that is.
    points: [Vec2; KEYPOINT_COUNT],
    sure: [f32; KEYPOINT_COUNT],
    parts: SeenParts,
}

impl Glimpse {
    /// `image` is premultiplied.
    pub fn of(finder: &mut FigureFinder, image: &Image) -> Glimpse {
        const SIZE: usize = finder::SIZE;
        let (w, h) = (image.width as f32, image.height as f32);
        let scale = FILLS * SIZE as f32 / w.max(h);
        let origin = (Vec2::splat(SIZE as f32) - Vec2::new(w, h) * scale) * 0.5;
        let sub = ((1.0 / scale).ceil() as usize).clamp(1, 10);
        let mut picture = vec![0.0f32; SIZE * SIZE * 4];
        for (i, pixel) in picture.chunks_exact_mut(4).enumerate() {
            let corner = Vec2::new((i % SIZE) as f32, (i / SIZE) as f32);
            for s in 0..sub * sub {
                let p = (corner + (Vec2::new((s % sub) as f32, (s / sub) as f32) + 0.5) / sub as f32 - origin) / scale;
                if p.x >= 0.0 && p.y >= 0.0 && p.x < w && p.y < h {
                    let at = (p.y as usize * image.width as usize + p.x as usize) * 4;
                    pixel.iter_mut().zip(&image.rgba[at..at + 4]).for_each(|(to, v)| *to += f32::from(*v) / (255 * sub * sub) as f32);
                }
            }
            let clear = 1.0 - pixel[3];
            pixel[..3].iter_mut().for_each(|c| *c += 0.5 * clear);
        }
        let turn = |i: usize| i / SIZE * SIZE + SIZE - 1 - i % SIZE;
        let mirrored: Vec<f32> = (0..SIZE * SIZE).flat_map(|i| picture[turn(i) * 4..][..4].to_vec()).collect();
        let (straight, turned) = (finder.look(&picture), finder.look(&mirrored));
        let (mut points, mut sure) = (straight.points, straight.sure);
        for k in 0..KEYPOINT_COUNT {
            let m = other_side(k);
            let there = Vec2::new(SIZE as f32 - turned.points[m].x, turned.points[m].y);
            let share = turned.sure[m] / (sure[k] + turned.sure[m]).max(1e-6);
            let differ = points[k].distance(there) / DIFFER;
            points[k] = points[k].lerp(there, share);
            sure[k] = 0.5 * (sure[k] + turned.sure[m]) * (1.0 - differ).max(0.0);
        }
        let mut parts = straight.parts;
        for (i, pixel) in parts.chunks_exact_mut(finder::CLASSES).enumerate() {
            let there = &turned.parts[turn(i) * finder::CLASSES..][..finder::CLASSES];
            pixel.iter_mut().enumerate().for_each(|(c, b)| *b = 0.5 * (*b + there[seen::opposite(c)]));
        }
        Glimpse { points: points.map(|p| (p - origin) / scale), sure, parts: SeenParts { parts, scale, origin } }
    }

    /// The keypoints, and how sure it is of limbs and trunk.
    ///
    /// # Errors
    /// Names the joints that are not seen.
    pub fn keypoints(&self) -> Result<([Vec2; KEYPOINT_COUNT], f32), AvatarError> {
        let body: Vec<usize> = (0..KEYPOINT_COUNT).filter(|k| !["eye", "ear", "nose"].iter().any(|n| SKELETON.keypoints[*k].name.contains(n))).collect();
        let all = body.iter().map(|k| self.sure[*k]).sum::<f32>() / body.len() as f32;
        let unseen: Vec<String> = body.iter().filter(|k| self.sure[**k] < LEAST_SURE).map(|k| SKELETON.keypoints[*k].name.replace('_', " ")).collect();
        if all < LEAST_SURE_ALL || unseen.len() > 2 {
            return Err(AvatarError::Unclear(if unseen.is_empty() { "it is not like a figure that stands".into() } else { format!("not seen: {}", unseen.join(", ")) }));
        }
        Ok((self.points, all))
    }
}

fn lowest_row(image: &super::Image) -> f32 {
    let w = image.width as usize * 4;
    let row = image.rgba.chunks_exact(w).rposition(|r| r.chunks_exact(4).any(|p| p[3] > 127));
    row.map_or(image.height as f32, |y| y as f32 + 1.0)
}
