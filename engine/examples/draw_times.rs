//! Times every drawing step on the CPU and on each adapter kind: `draw_times PICTURE [KEYPOINTS.json]`.
//!
//! Prints the best of many frames (other work on the machine only adds); it judges nothing.

use std::time::Instant;

use glam::Vec2;
use odori_engine::avatar::{Expression, Sidecar, drive, import_encoded};
use odori_engine::pose::{Camera, Pose};
use odori_kernels::cpu::Pool;
use odori_engine::render::{Background, Drawer, Ground, Light, Matrix, Prefer, Shadow, Size, View, open};

fn best(mut run: impl FnMut()) -> f64 {
    (0..61)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64() * 1e3
        })
        .fold(f64::MAX, f64::min)
}

fn main() {
    let mut args = std::env::args().skip(1);
    let Some(picture) = args.next() else {
        eprintln!("usage: draw_times PICTURE [KEYPOINTS.json]");
        std::process::exit(2);
    };
    let bytes = std::fs::read(&picture).expect("the picture can be read");
    let sidecar = args.next().map(|p| Sidecar::parse(&std::fs::read(p).expect("the keypoints can be read")).expect("the keypoints are fine"));
    let (avatar, report) = import_encoded(&bytes, sidecar.as_ref(), None).expect("the picture becomes an avatar");
    println!("{} triangles", report.triangles);
    let pool = Pool::for_this_machine();
    for prefer in [Prefer::Cpu, Prefer::Gpu] {
        let mut drawer = open(prefer);
        drawer.work_with(&pool);
        println!("{}", drawer.description());
        let mut puppet = drawer.puppet_maker().make(&avatar);
        for (full, work) in [(Size::square(512), Size::square(128)), (Size::square(512), Size::square(256)), (Size::new(720, 1280), Size::square(128))] {
            let mut frame = drive(&avatar, &Pose::default(), &Camera::full_body(full.width as f32, full.height as f32));
            Expression { lids: 0.5, gaze: Vec2::ONE, mouth: 0.5 }.apply(&avatar, &mut frame);
            drawer.begin(full).expect("a size that can be drawn");
            let drawn = best(|| drop(drawer.draw_puppet(&mut puppet, &frame, &View::WHOLE, Some(work)).map(<[f32]>::len)));
            let puppet_at_work = drawer.draw_puppet(&mut puppet, &frame, &View::WHOLE, Some(work)).expect("drawn").to_vec();
            let flow = [0.7, 0.3];
            let denoised: Vec<f32> = puppet_at_work.chunks_exact(5).flat_map(|p| [&p[..4], &[1.0], &p[..4], &flow].concat()).collect();
            let compose = best(|| {
                drawer.lay(Some(&denoised), 1.0).expect("laid");
                drop(drawer.finish(None).map(|(frame, _)| frame.len()));
            });
            let (light, floors) = (Light::default(), vec![0.9 * full.height as f32; full.width]);
            let shadow = Shadow { centre: [0.5 * full.width as f32, 0.9 * full.height as f32], radii: [110.0, 22.0], strength: 0.4, pad: [0.0; 3] };
            let stage = Ground { background: &Background::Stage, light: &light, shadows: &[shadow; 3], floors: &floors, view: View::WHOLE };
            let ground = best(|| drop(drawer.finish(Some(&stage)).map(|(_, ground)| ground.len())));
            let mut planes = Vec::new();
            let pack = best(|| drawer.pack(Matrix::Bt709, true, &mut planes).expect("packed"));
            let device = match &mut drawer {
                Drawer::Gpu(g) => format!(", packed in WGSL {:.2}", best(|| g.pack_on_device(Matrix::Bt709, true, &mut planes).expect("packed"))),
                Drawer::Cpu(_) => String::new(),
            };
            println!("  {}x{} from {}: puppet + down {drawn:.2} ms, compose {compose:.2}, stage behind {ground:.2}, pack with matte {pack:.2}{device}", full.width, full.height, work.width);
        }
    }
}
