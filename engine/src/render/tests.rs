//! GPU and CPU draw the same; host structs have the layout that WGSL gives them.

use std::sync::Arc;

use super::gpu::{ComposeParams, GroundParams, PackParams, PuppetParams, Sizes};
use super::*;
use crate::avatar::face_tests::with_a_face;
use crate::avatar::tests::{dancing, figure};
use crate::avatar::{BoneTransform, Expression, HEAD_LAYER, Image, Vertex, drive};
use crate::pose::{Camera, Pose};

fn open_gpu() -> Option<Drawer> {
    match GpuDrawer::open(true) {
        Ok(g) => {
            println!("drawing on {}", g.info());
            Some(Drawer::Gpu(Box::new(g)))
        }
        Err(e) => {
            println!("SKIPPED: {e}");
            None
        }
    }
}

/// Share of values further apart than `near`, and the mean distance.
fn apart(a: &[f32], b: &[f32], near: f32) -> (f32, f32) {
    assert_eq!(a.len(), b.len());
    let far = a.iter().zip(b).filter(|(x, y)| (*x - *y).abs() > near).count();
    let sum: f32 = a.iter().zip(b).map(|(x, y)| (x - y).abs()).sum();
    (far as f32 / a.len() as f32, sum / a.len() as f32)
}

/// A made-up denoiser answer to a puppet at the working size: its colours times `gain`, unmoved but for `flow`.
fn answer(puppet: &[f32], gain: f32, mask: f32, flow: [f32; 2]) -> Vec<f32> {
    let pixel = |p: &[f32]| -> [f32; DENOISED_CHANNELS] {
        [p[0] * gain, p[1] * gain, p[2] * gain, p[3], mask, p[0], p[1], p[2], p[3], flow[0], flow[1]]
    };
    puppet.chunks_exact(WORK_CHANNELS).flat_map(pixel).collect()
}

fn floats(v: &[u8]) -> Vec<f32> {
    v.iter().map(|&x| x as f32 / 255.0).collect()
}

#[test]
fn gpu_and_cpu_draw_the_same_frames() {
    let Some(mut gpu) = open_gpu() else { return };
    let avatar = with_a_face();
    let mut cpu = open(Prefer::Cpu);
    let (mut on_gpu, mut on_cpu) = (gpu.puppet_maker().make(&avatar), cpu.puppet_maker().make(&avatar));
    assert!(matches!(cpu.draw_puppet(&mut on_gpu, &drive(&avatar, &dancing(), &Camera::full_body(64.0, 64.0)), &View::WHOLE, None), Err(RenderError::Foreign)));
    let close = View { origin: Vec2::new(-150.0, -60.0), scale: 1.9 };
    let far = View { origin: Vec2::new(90.3, 120.7), scale: 0.55 };
    let light = Light { cells: (0..64 * 64).map(|i| [(i % 64) as f32 * 2.0, (i / 64) as f32 * 3.0, 60.0, 0.0]).collect() };
    for (full, work) in [(Size::square(512), Size::square(128)), (Size::new(360, 640), Size::square(96)), (Size::square(256), Size::square(192))] {
        // A figure's own picture is square, whatever the frame is.
        let side = full.width.min(full.height) as f32;
        let mut frame = drive(&avatar, &dancing(), &Camera::full_body(side, side));
        Expression { lids: 0.6, gaze: Vec2::new(0.5, -0.5), mouth: 0.7 }.apply(&avatar, &mut frame);
        let picture = Arc::new(Image { width: full.width as u32, height: full.height as u32, rgba: (0..full.pixels() * 4).map(|i| if i % 4 == 3 { 255 } else { (i / 7) as u8 }).collect() });
        let floors: Vec<f32> = (0..full.width).map(|x| full.height as f32 * if x < full.width / 2 { 0.8 } else { 0.75 }).collect();
        let shadows = [Shadow { centre: [100.0, 0.8 * full.height as f32], radii: [40.0, 12.0], strength: 0.6, pad: [0.0; 3] }];
        for view in [View::WHOLE, close, far] {
            for denoise in [false, true] {
                for background in [Background::Clear, Background::Colour([20, 200, 90]), Background::Picture(picture.clone()), Background::Stage] {
                    cpu.begin(full).unwrap();
                    gpu.begin(full).unwrap();
                    // Two figures, one over the other.
                    for (view, fade) in [(far, 0.5), (view, 1.0)] {
                        let a = cpu.draw_puppet(&mut on_cpu, &frame, &view, Some(work)).unwrap().to_vec();
                        let b = gpu.draw_puppet(&mut on_gpu, &frame, &view, Some(work)).unwrap().to_vec();
                        assert!(a.iter().filter(|v| **v > 0.5).count() > work.pixels() / 20, "something is drawn");
                        let (far, mean) = apart(&a, &b, 0.06);
                        assert!(far < 0.005 && mean < 0.002, "{full:?} {view:?}: {far} {mean}");
                        // The warp, darker, with half its detail from a little beside.
                        let denoised = answer(&a, 0.8, 0.5, [0.7, -0.4]);
                        let denoised = denoise.then_some(denoised.as_slice());
                        cpu.lay(denoised, fade).unwrap();
                        gpu.lay(denoised, fade).unwrap();
                    }
                    let ground = Ground { background: &background, light: &light, shadows: &shadows, floors: &floors, view };
                    let ground = (background != Background::Clear).then_some(ground);
                    let (x, behind_x) = cpu.finish(ground.as_ref()).unwrap();
                    let (y, behind_y) = gpu.finish(ground.as_ref()).unwrap();
                    assert_eq!(behind_x.is_empty(), background == Background::Clear);
                    for (what, x, y) in [("frame", x, y), ("ground", behind_x, behind_y)] {
                        let (far, mean) = apart(&floats(x), &floats(y), 0.06);
                        assert!(far < 0.005 && mean < 0.004 || x.is_empty(), "{full:?} {view:?} {what} {denoise}: {far} {mean}");
                    }
                }
            }
        }
        for (matrix, matte) in [(Matrix::Bt601, false), (Matrix::Bt709, true)] {
            let frame = gpu.finish(None).unwrap().0.to_vec();
            let Drawer::Gpu(g) = &mut gpu else { unreachable!() };
            let (mut x, mut y) = (Vec::new(), Vec::new());
            g.pack_on_device(matrix, matte, &mut x).unwrap();
            y.resize(x.len(), 0);
            yuv::pack_i420(&frame, full.width, full.height, matrix, matte, &mut y);
            let most = x.iter().zip(&y).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(most <= Some(1), "{matrix:?}: {most:?}");
        }
    }
}

#[test]
fn host_structs_have_the_layout_of_wgsl() {
    let sizes = [
        (odori_shaders::PUPPET, "Vertex", size_of::<Vertex>(), vec![0, 8, 16, 24, 28, 32, 48]),
        (odori_shaders::PUPPET, "Bone", size_of::<BoneTransform>(), vec![0, 8, 16, 28, 32]),
        (odori_shaders::PUPPET, "PuppetParams", size_of::<PuppetParams>(), vec![0, 8, 16, 24]),
        (odori_shaders::DOWNSAMPLE, "Sizes", size_of::<Sizes>(), vec![0, 8]),
        (odori_shaders::COMPOSE, "ComposeParams", size_of::<ComposeParams>(), vec![0, 8, 16, 24, 32, 36]),
        (odori_shaders::GROUND, "GroundParams", size_of::<GroundParams>(), vec![0, 8, 12, 16, 32, 40, 44, 48]),
        (odori_shaders::GROUND, "Shadow", size_of::<Shadow>(), vec![0, 8, 16]),
        (odori_shaders::PACK, "PackParams", size_of::<PackParams>(), vec![0, 8, 12, 16, 32, 48]),
    ];
    use std::mem::offset_of;
    assert_eq!(offset_of!(Vertex, bones), 32);
    assert_eq!(offset_of!(Vertex, weights), 48);
    assert_eq!(offset_of!(BoneTransform, angle), 28);
    assert_eq!(offset_of!(BoneTransform, trust), 32);
    assert_eq!(offset_of!(ComposeParams, denoised), 36);
    for (source, name, bytes, offsets) in sizes {
        let module = naga::front::wgsl::parse_str(source).expect("valid WGSL");
        let (_, t) = module.types.iter().find(|(_, t)| t.name.as_deref() == Some(name)).expect("the struct is there");
        let naga::TypeInner::Struct { members, span } = &t.inner else { panic!("{name} is a struct") };
        assert_eq!(*span as usize, bytes, "{name}");
        let first: Vec<u32> = members.iter().map(|m| m.offset).filter(|o| offsets.contains(o)).collect();
        assert_eq!(first, offsets, "{name}");
    }
}

#[test]
fn the_puppet_without_a_denoiser_is_the_frame() {
    let (avatar, report) = figure();
    assert!((900..2400).contains(&report.triangles), "{}", report.triangles);
    let mut cpu = open(Prefer::Cpu);
    let mut puppet = cpu.puppet_maker().make(&avatar);
    assert!(matches!(cpu.finish(None), Err(RenderError::NoFrame)));
    let full = Size::square(256);
    let frame = drive(&avatar, &Pose::default(), &Camera::full_body(256.0, 256.0));
    let mut drawn = |denoised: Option<&[f32]>| {
        cpu.begin(full).unwrap();
        let work = cpu.draw_puppet(&mut puppet, &frame, &View::WHOLE, Some(Size::square(128))).unwrap().to_vec();
        cpu.lay(denoised, 1.0).unwrap();
        (work, cpu.finish(None).unwrap().0.to_vec())
    };
    let (work, out) = drawn(None);
    assert!(work.chunks_exact(5).all(|p| p[4] <= p[3] + 1e-3 && p[0] <= p[3] + 1e-3));
    // A perfect denoiser with the mask at one changes nothing either.
    let (_, again) = drawn(Some(&answer(&work, 1.0, 1.0, [0.0; 2])));
    assert!(out.iter().zip(&again).all(|(a, b)| a.abs_diff(*b) <= 1));
    // A flow of three working pixels to the right shows the whole picture, sharp, six pixels to the left.
    let moved: Vec<f32> = (0..128 * 128).flat_map(|i| work[5 * if i % 128 < 125 { i + 3 } else { i }..][..5].to_vec()).collect();
    let (_, shifted) = drawn(Some(&answer(&moved, 1.0, 1.0, [3.0, 0.0])));
    for (row, from) in shifted.chunks_exact(256 * 4).zip(out.chunks_exact(256 * 4)) {
        assert!(row[..240 * 4].iter().zip(&from[6 * 4..]).all(|(a, b)| a.abs_diff(*b) <= 2));
    }
    assert!(cpu.begin(Size::square(5000)).is_err());
}

#[test]
fn the_heads_cover_is_where_the_head_is_drawn() {
    const GRID: usize = 32;
    let avatar = with_a_face();
    let frame = drive(&avatar, &dancing(), &Camera::full_body(128.0, 128.0));
    let mut puppet = cpu::CpuPuppet::new(&avatar);
    let picture = puppet.draw(&frame, 128, 128);
    let mut cover = vec![0.0; GRID * GRID];
    cpu::layer_cover(&avatar, &frame, HEAD_LAYER, GRID, &mut cover);
    let mut drawn = vec![0.0f32; GRID * GRID];
    for (i, &part) in picture.part.iter().enumerate() {
        drawn[i / 128 / 4 * GRID + i % 128 / 4] += f32::from(part == HEAD_LAYER as u8 + 1) / 16.0;
    }
    assert!(drawn.iter().sum::<f32>() > 8.0, "the head is drawn");
    for (i, (c, d)) in cover.iter().zip(&drawn).enumerate() {
        assert!((0.0..=1.0).contains(c) && *c > d - 0.35, "cell {i}: cover {c}, drawn {d}");
    }
    let far = |i: usize| (0..GRID * GRID).all(|j| drawn[j] == 0.0 || (i / GRID).abs_diff(j / GRID).max((i % GRID).abs_diff(j % GRID)) > 4);
    assert!((0..GRID * GRID).all(|i| cover[i] == 0.0 || !far(i)), "there is no head far from the head");
}

#[test]
fn a_close_shot_is_drawn_from_the_reference_and_not_enlarged() {
    let (avatar, _) = figure();
    let mut cpu = open(Prefer::Cpu);
    let mut puppet = cpu.puppet_maker().make(&avatar);
    let frame = drive(&avatar, &Pose::default(), &Camera::full_body(256.0, 256.0));
    let mut shot = |view: View, size: Size, frame: &crate::avatar::PuppetFrame| {
        cpu.begin(size).unwrap();
        cpu.draw_puppet(&mut puppet, frame, &view, None).unwrap();
        cpu.lay(None, 1.0).unwrap();
        cpu.finish(None).unwrap().0.to_vec()
    };
    // The middle of the picture at twice the size is the middle of the picture of twice the size.
    let near = shot(View { origin: Vec2::splat(-128.0), scale: 2.0 }, Size::square(256), &frame);
    let large = shot(View::WHOLE, Size::square(512), &drive(&avatar, &Pose::default(), &Camera::full_body(512.0, 512.0)));
    let middle: Vec<u8> = (128..384).flat_map(|y| large[(y * 512 + 128) * 4..][..256 * 4].to_vec()).collect();
    let (far, mean) = apart(&floats(&near), &floats(&middle), 0.06);
    assert!(far < 0.005 && mean < 0.002, "{far} {mean}");
}

#[test]
fn pixels_do_not_depend_on_how_many_threads_draw_them() {
    let avatar = with_a_face();
    let close = View { origin: Vec2::new(-150.3, -60.7), scale: 1.9 };
    let far = View { origin: Vec2::new(90.3, 120.7), scale: 0.55 };
    let light = Light { cells: (0..64 * 64).map(|i| [(i % 64) as f32 * 2.0, (i / 64) as f32 * 3.0, 60.0, 0.0]).collect() };
    for (full, work) in [(Size::square(512), Size::square(128)), (Size::new(360, 630), Size::square(96)), (Size::new(720, 406), Size::square(192))] {
        let side = full.width.min(full.height) as f32;
        let frame = drive(&avatar, &dancing(), &Camera::full_body(side, side));
        let floors: Vec<f32> = (0..full.width).map(|x| full.height as f32 * if x < full.width / 2 { 0.8 } else { 0.75 }).collect();
        let shadows = [Shadow { centre: [100.0, 0.8 * full.height as f32], radii: [40.0, 12.0], strength: 0.6, pad: [0.0; 3] }];
        let drawn = |pool: Option<Pool>, denoise: bool| {
            let mut cpu = open(Prefer::Cpu);
            pool.iter().for_each(|p| cpu.work_with(p));
            let mut puppet = cpu.puppet_maker().make(&avatar);
            let mut all = Vec::new();
            // More than once: what was there before must not show.
            for view in [View::WHOLE, close, far] {
                cpu.begin(full).unwrap();
                for (view, fade) in [(far, 0.5), (view, 1.0)] {
                    let puppet = cpu.draw_puppet(&mut puppet, &frame, &view, Some(work)).unwrap().to_vec();
                    let denoised = answer(&puppet, 0.8, 0.5, [0.7, -0.4]);
                    all.extend(puppet.iter().flat_map(|v| v.to_le_bytes()));
                    cpu.lay(denoise.then_some(denoised.as_slice()), fade).unwrap();
                }
                let ground = Ground { background: &Background::Stage, light: &light, shadows: &shadows, floors: &floors, view };
                let (figures, ground) = cpu.finish(Some(&ground)).unwrap();
                all.extend_from_slice(figures);
                all.extend_from_slice(ground);
            }
            all
        };
        for denoise in [false, true] {
            let alone = drawn(None, denoise);
            for threads in [1, 2, 5, 16] {
                assert!(drawn(Some(Pool::new(threads)), denoise) == alone, "{full:?}, {threads} threads, denoised: {denoise}");
            }
        }
    }
}
