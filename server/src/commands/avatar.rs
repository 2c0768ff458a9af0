//! `odori avatar import`.

use std::io::Read;
use std::path::Path;

use anyhow::Context;
use odori_engine::avatar::{Avatar, Ground, IMAGE_MAX_SIDE, ImportReport, PART_MAP_MAX_BYTES, PartMap, Sidecar};
use serde_json::json;

use crate::cli::ImportArgs;
use crate::built_in::{MAX_AVATAR_BYTES, import_back, import_picture};

/// # Errors
/// What is wrong with the picture and what to do.
pub fn import(args: &ImportArgs) -> anyhow::Result<()> {
    let bytes = read(&args.image)?;
    let sidecar = match &args.keypoints {
        Some(path) => {
            let text = std::fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
            Some(Sidecar::parse(&text).with_context(|| path.display().to_string())?)
        }
        None => None,
    };
    let (mut avatar, mut report) = import_picture(&bytes, sidecar.as_ref()).with_context(|| args.image.display().to_string())?;
    if let Some(path) = &args.layers {
        paint(path, &mut avatar, &mut report).with_context(|| path.display().to_string())?;
    }
    let mut back = None;
    if let Some(path) = &args.back {
        let (whole, found) = import_back(avatar, &read(path)?).with_context(|| path.display().to_string())?;
        (avatar, back) = (whole, Some(found));
    }
    super::write_whole(&args.output, &avatar.to_bytes()?)?;
    if let Some(path) = &args.show_layers {
        let [width, height] = report.picture;
        let layers = avatar.found_parts().under(avatar.paint.as_ref());
        let given = layers.resampled(width, height, report.scale, report.origin.map(|v| -v * report.scale));
        super::write_whole(path, &given.to_png()?)?;
    }
    if let Some(path) = &args.preview {
        super::write_whole(path, &avatar.preview_png()?)?;
        if let Some(back) = &avatar.back {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            super::write_whole(&path.with_file_name(format!("{stem}-back.png")), &back.preview_png()?)?;
        }
    }
    if args.json {
        println!("{}", serde_json::to_string(&json!({ "avatar": args.output, "report": report, "back": back }))?);
    } else {
        println!("{}", args.output.display());
        eprintln!("{} triangles; joints from the {}, confidence {:.0} %", report.triangles, report.keypoints_from, report.confidence * 100.0);
        if let Some(back) = &back {
            eprintln!("back: {} triangles; joints from the {}, confidence {:.0} %", back.triangles, back.keypoints_from, back.confidence * 100.0);
        }
        for note in report.notes.iter().chain(back.iter().flat_map(|b| &b.notes)) {
            eprintln!("note: {note}");
        }
        if report.ground == Ground::Busy {
            eprintln!("The figure was cut out of its ground by a network: a picture with its own transparency gives cleaner edges.");
        }
        if report.keypoints_from == "network" {
            eprintln!("The keypoints were found by a network: look at them with --preview, and give better ones with --keypoints.");
        }
    }
    Ok(())
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let size = std::fs::metadata(path).with_context(|| format!("{shown} cannot be opened"))?.len();
    anyhow::ensure!(size <= MAX_AVATAR_BYTES as u64, "{shown} is {} MB; at most {} MB are read", size >> 20, MAX_AVATAR_BYTES >> 20);
    std::fs::read(path).with_context(|| format!("{shown} cannot be read"))
}

/// Makes the avatar again with the layers of a map of the given picture's size.
fn paint(path: &Path, avatar: &mut Avatar, report: &mut ImportReport) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(PART_MAP_MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    let map = PartMap::from_png(&bytes, IMAGE_MAX_SIDE)?;
    let (size, [width, height]) = (map.size(), report.picture);
    anyhow::ensure!(size == (width, height), "it is {}x{} pixels, but the picture is {width}x{height}", size.0, size.1);
    let kept = map.resampled(report.width, report.height, 1.0 / report.scale, report.origin);
    avatar.paint(kept)?;
    let (painted, made) = avatar.corrected(&avatar.points())?;
    (report.triangles, report.vertices) = (made.triangles, made.vertices);
    *avatar = painted;
    Ok(())
}
