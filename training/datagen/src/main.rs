//! `odori-datagen`: renders the training frames of the denoiser.
//!
//! A thin edge: reads files and arguments, calls the modules, writes shards. Read `scene` and `character` first.

mod bones;
mod character;
mod clips;
mod colour;
mod glb;
mod procedural;
mod raster;
mod retarget;
mod rng;
mod scene;
mod springs;

use anyhow::Result;
use odori_engine::pose::Camera;

fn main() -> Result<()> {
    let out = std::env::args().nth(1).unwrap();
    let mut chars: Vec<character::Character> = Vec::new();
    for p in std::env::args().skip(2) {
        if let Ok(seed) = p.parse::<u64>() { for s in seed..seed+8 { chars.push(procedural::character(s)); } continue; }
        match glb::read(&p, &std::fs::read(&p)?) { Ok(c) => chars.push(c), Err(e) => eprintln!("{e:#}") }
    }
    let poses = clips::test_poses(120);
    let n = 256;
    let mut raster = raster::Raster::new(n, 3);
    let cols = 6;
    let mut sheet = image::RgbaImage::new((cols * n) as u32, (chars.len() * n) as u32);
    let t0 = std::time::Instant::now();
    for (i, c) in chars.iter().enumerate() {
        eprintln!("{} {} tris {} joints h {} ratio {}", c.name, c.triangles.len(), c.joints.len(), c.height(), c.size_ratio());
        let style = raster::Style::random(&mut rng::Rng::new(i as u64));
        let mut actor = scene::Actor::new(c, &style);
        let camera = Camera::full_body(n as f32, n as f32);
        for k in 0..cols {
            let pose = if k == 0 { character::reference_pose(0.7, 0.07) } else { for j in 0..10 { actor.advance(&poses[(k-1)*20+j]); } poses[(k-1)*20+10].clone() };
            let d = actor.draw(&pose, &camera, &mut raster);
            for y in 0..n { for x in 0..n {
                let p = &d.rgba[(y*n+x)*4..][..4];
                let bg = 200u32;
                let a = 255 - p[3] as u32;
                let c = [0,1,2].map(|q| (p[q] as u32 + bg*a/255).min(255) as u8);
                sheet.put_pixel((k*n+x) as u32, (i*n+y) as u32, image::Rgba([c[0],c[1],c[2],255]));
            }}
            for kp in d.keypoints { let (x,y)=(kp.x as i32, kp.y as i32); for (dx,dy) in [(0,0),(1,0),(0,1),(1,1)] { let (x,y)=(x+dx,y+dy); if x>=0&&y>=0&&x<n as i32&&y<n as i32 { sheet.put_pixel((k*n) as u32+x as u32, (i*n) as u32+y as u32, image::Rgba([255,0,0,255])); } } }
        }
    }
    eprintln!("{:?}", t0.elapsed());
    sheet.save(out)?;
    Ok(())
}
