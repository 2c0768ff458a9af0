//! Finds the figure in a picture: its alpha, its bounds, and the picture at working size.
//!
//! Looks at pixels only; it knows no joints.

use super::finder::FigureFinder;
use super::{AvatarError, IMAGE_MAX_AREA, IMAGE_MAX_SIDE, Image, REFERENCE_MAX, matting};

/// The figure cut out, and how source pixels map to it: `figure = (source - origin) * scale`.
pub(crate) struct Figure {
    pub image: Image,
    pub origin: [f32; 2],
    pub scale: f32,
    pub ground: Ground,
}

/// What was round the figure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Ground {
    /// Nothing: the alpha came with the picture.
    Clear,
    /// One colour, taken away.
    Plain,
    /// Anything: the figure finder cut the figure out.
    Busy,
}

pub(crate) fn check_size(width: u32, height: u32) -> Result<(), AvatarError> {
    let area = width as u64 * height as u64;
    if width > IMAGE_MAX_SIDE || height > IMAGE_MAX_SIDE || area > IMAGE_MAX_AREA {
        return Err(AvatarError::TooLarge { width, height });
    }
    if width < 16 || height < 16 {
        return Err(AvatarError::NoFigure(format!("the picture is only {width}x{height} pixels")));
    }
    Ok(())
}

/// `rgba` is straight alpha, width * height * 4 bytes. The finder is asked where the ground is busy.
pub(crate) fn find(width: u32, height: u32, rgba: Vec<u8>, finder: Option<&mut FigureFinder>) -> Result<Figure, AvatarError> {
    check_size(width, height)?;
    let need = width as u64 * height as u64 * 4;
    if rgba.len() as u64 != need {
        return Err(AvatarError::PixelCount { width, height, need, got: rgba.len() });
    }
    let (w, h) = (width as usize, height as usize);
    let mut rgba = rgba;
    let clear = rgba.chunks_exact(4).filter(|p| p[3] < 16).count();
    let ground = if clear * 50 > w * h {
        Ground::Clear
    } else if remove_ground(w, h, &mut rgba) {
        Ground::Plain
    } else if finder.is_some_and(|f| matting::cut_out(f, w, h, &mut rgba)) {
        Ground::Busy
    } else {
        let why = "no character is seen in the picture, which has no transparency and no plain ground; cut the figure out (PNG with alpha) or use a one-colour ground";
        return Err(AvatarError::NoFigure(why.into()));
    };
    keep_large_pieces(w, h, &mut rgba, ground != Ground::Clear);

    let (mut x0, mut y0, mut x1, mut y1) = (w, h, 0, 0);
    let mut solid = 0usize;
    for y in 0..h {
        for x in 0..w {
            let a = rgba[(y * w + x) * 4 + 3];
            if a > 8 {
                (x0, y0, x1, y1) = (x0.min(x), y0.min(y), x1.max(x + 1), y1.max(y + 1));
            }
            solid += (a > 127) as usize;
        }
    }
    if solid * 200 < w * h || y1 < y0 + 32 {
        return Err(AvatarError::NoFigure("almost nothing in the picture stands out from its ground".into()));
    }
    if solid * 100 > (x1 - x0) * (y1 - y0) * 92 {
        return Err(AvatarError::NoFigure("the picture is filled to its edges; cut the figure out or use a plain ground".into()));
    }

    // A margin so that bilinear samples and the mesh's rim see clear pixels.
    let (bw, bh) = (x1 - x0, y1 - y0);
    let scale = (REFERENCE_MAX as f32 - 12.0) / bw.max(bh) as f32;
    let scale = scale.min(1.0);
    let margin = (4.0 / scale).ceil() as i64;
    let (cx, cy) = (x0 as i64 - margin, y0 as i64 - margin);
    let (cw, ch) = (bw + 2 * margin as usize, bh + 2 * margin as usize);
    let mut crop = Image::new(cw as u32, ch as u32);
    for y in y0..y1 {
        for x in x0..x1 {
            let p: [u8; 4] = std::array::from_fn(|c| rgba[(y * w + x) * 4 + c]);
            let to = ((y as i64 - cy) as usize * cw + (x as i64 - cx) as usize) * 4;
            crop.rgba[to..to + 4].copy_from_slice(&premultiply(p));
        }
    }
    drop(rgba);
    let image = if scale < 1.0 {
        let (nw, nh) = (((cw as f32 * scale) as u32).max(1), ((ch as f32 * scale) as u32).max(1));
        shrink(crop, nw, nh)
    } else {
        crop
    };
    let scale = image.width as f32 / cw as f32;
    Ok(Figure { image, origin: [cx as f32, cy as f32], scale, ground })
}

fn premultiply(p: [u8; 4]) -> [u8; 4] {
    let a = p[3] as u32;
    let m = |c: u8| ((c as u32 * a + 127) / 255) as u8;
    [m(p[0]), m(p[1]), m(p[2]), p[3]]
}

/// Area average, premultiplied, so no dark fringe.
fn shrink(from: Image, nw: u32, nh: u32) -> Image {
    let source = image::RgbaImage::from_raw(from.width, from.height, from.rgba).expect("size agrees");
    let out = image::imageops::resize(&source, nw, nh, image::imageops::FilterType::Triangle);
    Image { width: nw, height: nh, rgba: out.into_raw() }
}

fn colour_distance(p: &[u8], q: [u8; 3]) -> i32 {
    (0..3).map(|c| (p[c] as i32 - q[c] as i32).abs()).max().unwrap_or(0)
}

/// Makes a near-uniform ground clear by flooding from the border; the rim gets soft alpha and its own colour. Says whether it
/// was near-uniform.
fn remove_ground(w: usize, h: usize, rgba: &mut [u8]) -> bool {
    let border: Vec<usize> =
        (0..w).flat_map(|x| [x, (h - 1) * w + x]).chain((0..h).flat_map(|y| [y * w, y * w + w - 1])).collect();
    let ground: [u8; 3] = std::array::from_fn(|c| {
        let mut v: Vec<u8> = border.iter().map(|&i| rgba[i * 4 + c]).collect();
        v.sort_unstable();
        v[v.len() / 2]
    });
    const SAME: i32 = 30;
    let plain = border.iter().filter(|&&i| colour_distance(&rgba[i * 4..], ground) <= SAME).count();
    if plain * 100 < border.len() * 80 {
        return false;
    }
    let mut outside = vec![false; w * h];
    let mut stack: Vec<usize> = Vec::new();
    for &i in &border {
        if !outside[i] && colour_distance(&rgba[i * 4..], ground) <= SAME {
            outside[i] = true;
            stack.push(i);
        }
    }
    while let Some(i) = stack.pop() {
        let (x, y) = (i % w, i / w);
        let next = [(x > 0, i.wrapping_sub(1)), (x + 1 < w, i + 1), (y > 0, i.wrapping_sub(w)), (y + 1 < h, i + w)];
        for (ok, j) in next {
            if ok && !outside[j] && colour_distance(&rgba[j * 4..], ground) <= SAME {
                outside[j] = true;
                stack.push(j);
            }
        }
    }
    // The rim is a mixture of ground and figure: estimate how much from the inner neighbour's colour.
    let source = rgba.to_vec();
    for y in 0..h {
        for x in 0..w {
            let i = y * w + x;
            if outside[i] {
                rgba[i * 4..i * 4 + 4].fill(0);
                continue;
            }
            let (xa, xb, ya, yb) = (x.saturating_sub(1), (x + 1).min(w - 1), y.saturating_sub(1), (y + 1).min(h - 1));
            let rim = (ya..=yb).any(|v| (xa..=xb).any(|u| outside[v * w + u]));
            if !rim {
                continue;
            }
            let mut inner: Option<usize> = None;
            for v in y.saturating_sub(2)..=(y + 2).min(h - 1) {
                for u in x.saturating_sub(2)..=(x + 2).min(w - 1) {
                    let j = v * w + u;
                    let far = |k: usize| colour_distance(&source[k * 4..], ground);
                    if !outside[j] && inner.is_none_or(|k| far(j) > far(k)) {
                        inner = Some(j);
                    }
                }
            }
            let j = inner.unwrap_or(i);
            let full = colour_distance(&source[j * 4..], ground).max(1);
            let alpha = (colour_distance(&source[i * 4..], ground) as f32 / full as f32).clamp(0.0, 1.0);
            for c in 0..3 {
                let g = ground[c] as f32;
                let own = (source[i * 4 + c] as f32 - g * (1.0 - alpha)) / alpha.max(0.1);
                rgba[i * 4 + c] = own.clamp(0.0, 255.0) as u8;
            }
            rgba[i * 4 + 3] = (alpha * 255.0) as u8;
        }
    }
    true
}

/// Clears specks: pieces under one hundredth of the largest; of a figure that was `cut` out also those under a fifth of it that lie on
/// the picture's border, for photographed paper is darker in its corners.
fn keep_large_pieces(w: usize, h: usize, rgba: &mut [u8], cut: bool) {
    let mut piece = vec![0u32; w * h];
    let (mut sizes, mut rim) = (vec![0usize], vec![false]);
    let mut stack = Vec::new();
    for start in 0..w * h {
        if piece[start] != 0 || rgba[start * 4 + 3] <= 8 {
            continue;
        }
        let id = sizes.len() as u32;
        sizes.push(0);
        rim.push(false);
        piece[start] = id;
        stack.push(start);
        while let Some(i) = stack.pop() {
            sizes[id as usize] += 1;
            let (x, y) = (i % w, i / w);
            rim[id as usize] |= x == 0 || y == 0 || x == w - 1 || y == h - 1;
            for v in y.saturating_sub(1)..=(y + 1).min(h - 1) {
                for u in x.saturating_sub(1)..=(x + 1).min(w - 1) {
                    let j = v * w + u;
                    if piece[j] == 0 && rgba[j * 4 + 3] > 8 {
                        piece[j] = id;
                        stack.push(j);
                    }
                }
            }
        }
    }
    let largest = sizes.iter().copied().max().unwrap_or(0);
    for i in 0..w * h {
        let id = piece[i] as usize;
        let least = if cut && rim[id] { 5 } else { 100 };
        if id != 0 && sizes[id] * least < largest {
            rgba[i * 4..i * 4 + 4].fill(0);
        }
    }
}
