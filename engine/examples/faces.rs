//! Draws what a face can show, close up, onto one sheet: `faces SHEET.png PICTURE [PICTURE ...]`. A sidecar of the same name
//! with `.json` is read if there is one; else keypoints and face are found.
//!
//! A row a picture: as it is, lids at half, closed, gaze to both sides, mouth shut and open; then the same turned a little.

use glam::{Quat, Vec2};
use odori_engine::avatar::{Expression, FigureFinder, Sidecar, drive, import_encoded};
use odori_engine::pose::{Camera, Pose};
use odori_engine::render::{Prefer, Size, View, open};
use odori_engine::skeleton::Bone;
use odori_kernels::{Backend, Weights, cpu};

const SIDE: usize = 256;

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(sheet), pictures) = (args.next(), args.collect::<Vec<_>>()) else {
        eprintln!("usage: faces SHEET.png PICTURE [PICTURE ...]");
        std::process::exit(2);
    };
    let weights = Weights::from_safetensors(include_bytes!("../../models/figure.safetensors")).expect("weights");
    let mut finder = FigureFinder::new(&Backend::Cpu(cpu::Pool::new(1)), &weights).expect("weights that fit");
    let shows: Vec<Expression> = [(0.0, 0.0, 0.0, 0.0), (0.25, 0.0, 0.0, 0.0), (0.5, 0.0, 0.0, 0.0), (1.0, 0.0, 0.0, -1.0), (0.0, 1.0, 0.0, -0.5), (0.0, -1.0, 0.0, 0.5), (0.0, 0.0, 1.0, 1.0), (1.0, 0.0, 0.0, 0.0)]
        .map(|(lids, x, y, mouth)| Expression { lids, gaze: Vec2::new(x, y), mouth })
        .to_vec();
    let mut out = image::RgbaImage::new((shows.len() * SIDE) as u32, (pictures.len() * SIDE) as u32);
    let mut drawer = open(Prefer::Cpu);
    for (row, path) in pictures.iter().enumerate() {
        let bytes = std::fs::read(path).expect("the picture can be read");
        let sidecar = std::fs::read(std::path::Path::new(path).with_extension("json")).ok().map(|t| Sidecar::parse(&t).expect("the sidecar is fine"));
        let (avatar, report) = match import_encoded(&bytes, sidecar.as_ref(), Some(&mut finder)) {
            Ok(made) => made,
            Err(e) => {
                println!("{path}: {e}");
                continue;
            }
        };
        println!("{path}: face from {}: {}; {} triangles", report.face_from, avatar.face.parts().iter().filter_map(|(n, p)| p.map(|p| format!("{n} {:.0}x{:.0} at {:.0}", p.size.x, p.size.y, p.centre))).collect::<Vec<_>>().join(", "), report.triangles);
        let mut puppet = drawer.puppet_maker().make(&avatar);
        let camera = Camera::full_body(SIDE as f32, SIDE as f32);
        for (column, show) in shows.iter().enumerate() {
            let mut pose = Pose::default();
            if column + 1 == shows.len() {
                pose.rotations[Bone::named("head").expect("a head").index()] = Quat::from_rotation_y(0.5) * Quat::from_rotation_z(0.15);
            }
            let mut frame = drive(&avatar, &pose, &camera);
            show.apply(&avatar, &mut frame);
            let at = |name: &str| frame.keypoints[odori_engine::skeleton::SKELETON.keypoint_named(name).expect("a keypoint")].position;
            let head = at("neck").distance(at("head_top"));
            let scale = 0.8 * SIDE as f32 / head;
            let centre = at("neck").lerp(at("head_top"), 0.45);
            let view = View { origin: Vec2::splat(0.5 * SIDE as f32) - centre * scale, scale };
            drawer.begin(Size::square(SIDE)).expect("a size that can be drawn");
            drawer.draw_puppet(&mut puppet, &frame, &view, None).expect("drawn");
            drawer.lay(None, 1.0).expect("laid");
            let (rgba, _) = drawer.finish(None).expect("finished");
            for (i, p) in rgba.chunks_exact(4).enumerate() {
                let keep = 255 - u32::from(p[3]);
                let over = |c: usize, ground: u32| (u32::from(p[c]) + ground * keep / 255).min(255) as u8;
                out.put_pixel((column * SIDE + i % SIDE) as u32, (row * SIDE + i / SIDE) as u32, image::Rgba([over(0, 200), over(1, 205), over(2, 222), 255]));
            }
        }
    }
    out.save(&sheet).expect("the sheet can be written");
}
