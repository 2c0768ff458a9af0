//! GPU and CPU draw the same; host structs have the layout that WGSL gives them.

use super::gpu::{ComposeParams, PackParams, PuppetParams, Sizes};
use super::*;
use crate::avatar::tests::{dancing, figure};
use crate::avatar::{BoneTransform, Vertex, drive};
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

#[test]
fn gpu_and_cpu_draw_the_same_frames() {
    let Some(mut gpu) = open_gpu() else { return };
    let (avatar, _) = figure();
    let mut cpu = open(Prefer::Cpu);
    gpu.set_avatar(&avatar);
    cpu.set_avatar(&avatar);
    for (full, work) in [(Size::square(512), Size::square(128)), (Size::new(360, 640), Size::square(96)), (Size::square(256), Size::square(192))] {
        let frame = drive(&avatar, &dancing(), &Camera::full_body(full.width as f32, full.height as f32));
        let a = cpu.draw_puppet(&frame, full, work).unwrap().to_vec();
        let b = gpu.draw_puppet(&frame, full, work).unwrap().to_vec();
        assert!(a.iter().filter(|v| **v > 0.5).count() > work.pixels() / 20, "something is drawn");
        let (far, mean) = apart(&a, &b, 0.06);
        println!("{full:?} puppet: {:.4} % far, mean {mean:.5}", far * 100.0);
        assert!(far < 0.005 && mean < 0.002, "{full:?}: {far} {mean}");
        // The warp, darker, with half its detail from a little beside.
        let denoised = answer(&a, 0.8, 0.5, [0.7, -0.4]);
        let picture = Arc::new(Image { width: full.width as u32, height: full.height as u32, rgba: (0..full.pixels() * 4).map(|i| if i % 4 == 3 { 255 } else { (i / 7) as u8 }).collect() });
        for background in [Background::Clear, Background::Colour([20, 200, 90]), Background::Picture(picture)] {
            for d in [None, Some(denoised.as_slice())] {
                let floats = |v: &[u8]| v.iter().map(|&x| x as f32 / 255.0).collect::<Vec<_>>();
                let x = floats(cpu.compose(d, &background).unwrap());
                let y = floats(gpu.compose(d, &background).unwrap());
                let (far, mean) = apart(&x, &y, 0.06);
                assert!(far < 0.005 && mean < 0.004, "{full:?} {:?}: {far} {mean}", d.is_some());
            }
        }
        for (matrix, matte) in [(Matrix::Bt601, false), (Matrix::Bt709, true)] {
            let Drawer::Gpu(g) = &mut gpu else { unreachable!() };
            let (mut x, mut y) = (Vec::new(), Vec::new());
            g.pack_on_device(matrix, matte, &mut x).unwrap();
            y.resize(x.len(), 0);
            let frame = g.compose(Some(&denoised), &Background::Clear).unwrap().to_vec();
            g.pack_on_device(matrix, matte, &mut x).unwrap();
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
        (odori_shaders::PUPPET, "PuppetParams", size_of::<PuppetParams>(), vec![0, 8, 16]),
        (odori_shaders::DOWNSAMPLE, "Sizes", size_of::<Sizes>(), vec![0, 8]),
        (odori_shaders::COMPOSE, "ComposeParams", size_of::<ComposeParams>(), vec![0, 8, 16, 32, 36]),
        (odori_shaders::PACK, "PackParams", size_of::<PackParams>(), vec![0, 8, 12, 16, 32, 48]),
    ];
    use std::mem::offset_of;
    assert_eq!(offset_of!(Vertex, bones), 32);
    assert_eq!(offset_of!(Vertex, weights), 48);
    assert_eq!(offset_of!(BoneTransform, angle), 28);
    assert_eq!(offset_of!(BoneTransform, trust), 32);
    assert_eq!(offset_of!(ComposeParams, denoised), 32);
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
    assert!(matches!(cpu.compose(None, &Background::Clear), Err(RenderError::NoAvatar)));
    cpu.set_avatar(&avatar);
    let full = Size::square(256);
    let frame = drive(&avatar, &Pose::default(), &Camera::full_body(256.0, 256.0));
    let work = cpu.draw_puppet(&frame, full, Size::square(128)).unwrap().to_vec();
    assert!(work.chunks_exact(5).all(|p| p[4] <= p[3] + 1e-3 && p[0] <= p[3] + 1e-3));
    let out = cpu.compose(None, &Background::Clear).unwrap().to_vec();
    // A perfect denoiser with the mask at one changes nothing either.
    let again = cpu.compose(Some(&answer(&work, 1.0, 1.0, [0.0; 2])), &Background::Clear).unwrap();
    assert!(out.iter().zip(again).all(|(a, b)| a.abs_diff(*b) <= 1));
    // A flow of three working pixels to the right shows the whole picture, sharp, six pixels to the left.
    let moved: Vec<f32> = (0..128 * 128).flat_map(|i| work[5 * if i % 128 < 125 { i + 3 } else { i }..][..5].to_vec()).collect();
    let shifted = cpu.compose(Some(&answer(&moved, 1.0, 1.0, [3.0, 0.0])), &Background::Clear).unwrap();
    for (row, from) in shifted.chunks_exact(256 * 4).zip(out.chunks_exact(256 * 4)) {
        assert!(row[..240 * 4].iter().zip(&from[6 * 4..]).all(|(a, b)| a.abs_diff(*b) <= 2));
    }
    assert!(cpu.draw_puppet(&frame, Size::square(5000), Size::square(128)).is_err());
}
