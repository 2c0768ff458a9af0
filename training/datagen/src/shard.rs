//! Writes samples as safetensors shards that training maps into memory. The format is FORMAT.md.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use odori_engine::avatar::FACING;
use safetensors::tensor::{Dtype, TensorView};

use crate::flow::FLOW_GRID;
use crate::look::{HEAD_GRID, Sample};

/// What is known of a sample besides its pictures.
pub struct Record {
    pub sample: Sample,
    pub reference: Vec<u8>,
    /// size * size
    pub parts: Vec<u8>,
    pub ruled_parts: Vec<u8>,
    /// 24 * (x, y)
    pub reference_keypoints: Vec<f32>,
    pub token_rows: Vec<i32>,
    pub character: i32,
    pub look: i32,
    pub character_held_out: bool,
    pub clip_held_out: bool,
}

/// Writes `name` in `folder`: beside first, then renamed, so that a reader never sees half a shard.
pub fn write(
    folder: &Path,
    name: &str,
    size: usize,
    frames: usize,
    records: &[Record],
    metadata: &HashMap<String, String>,
) -> Result<()> {
    let k = records.len();
    let bytes = |f: &dyn Fn(&Record) -> &[u8]| -> Vec<u8> { records.iter().flat_map(|r| f(r).iter().copied()).collect() };
    let u = |f: &dyn Fn(&Record) -> u8| -> Vec<u8> { records.iter().map(f).collect() };
    let i = |f: &dyn Fn(&Record) -> i32| -> Vec<u8> { records.iter().flat_map(|r| f(r).to_le_bytes()).collect() };
    let tensors: Vec<(&str, Dtype, Vec<usize>, Vec<u8>)> = vec![
        ("reference", Dtype::U8, vec![k, size, size, 4], bytes(&|r| &r.reference)),
        ("parts", Dtype::U8, vec![k, size, size], bytes(&|r| &r.parts)),
        ("ruled_parts", Dtype::U8, vec![k, size, size], bytes(&|r| &r.ruled_parts)),
        ("reference_keypoints", Dtype::F32, vec![k, 24, 2], bytes(&|r| bytemuck::cast_slice(&r.reference_keypoints))),
        ("truth", Dtype::U8, vec![k, frames, size, size, 4], bytes(&|r| &r.sample.truth)),
        ("puppet", Dtype::U8, vec![k, frames, size, size, 4], bytes(&|r| &r.sample.puppet)),
        ("validity", Dtype::U8, vec![k, frames, size, size], bytes(&|r| &r.sample.validity)),
        ("keypoints", Dtype::F32, vec![k, frames, 24, 3], bytes(&|r| bytemuck::cast_slice(&r.sample.keypoints))),
        ("true_keypoints", Dtype::F32, vec![k, frames, 24, 2], bytes(&|r| bytemuck::cast_slice(&r.sample.true_keypoints))),
        ("depths", Dtype::F32, vec![k, frames, 24], bytes(&|r| bytemuck::cast_slice(&r.sample.depths))),
        ("facing", Dtype::F32, vec![k, frames, FACING], bytes(&|r| bytemuck::cast_slice(&r.sample.facing))),
        ("head", Dtype::U8, vec![k, frames, HEAD_GRID, HEAD_GRID], bytes(&|r| &r.sample.head)),
        ("flow", Dtype::I16, vec![k, frames, FLOW_GRID, FLOW_GRID, 2], bytes(&|r| bytemuck::cast_slice(&r.sample.flow))),
        ("token_row", Dtype::I32, vec![k, frames], bytes(&|r| bytemuck::cast_slice(&r.token_rows))),
        ("character", Dtype::I32, vec![k], i(&|r| r.character)),
        ("look", Dtype::I32, vec![k], i(&|r| r.look)),
        ("character_held_out", Dtype::U8, vec![k], u(&|r| u8::from(r.character_held_out))),
        ("clip_held_out", Dtype::U8, vec![k], u(&|r| u8::from(r.clip_held_out))),
        ("error_px", Dtype::F32, vec![k, frames], bytes(&|r| bytemuck::cast_slice(&r.sample.error_px))),
    ];
    let views = tensors
        .iter()
        .map(|(name, dtype, shape, data)| Ok((*name, TensorView::new(*dtype, shape.clone(), data)?)))
        .collect::<Result<Vec<_>>>()?;
    let part = folder.join(format!("{name}.part"));
    safetensors::serialize_to_file(views, Some(metadata.clone()), &part)
        .with_context(|| format!("cannot write {}", part.display()))?;
    std::fs::rename(&part, folder.join(name)).with_context(|| format!("cannot rename {}", part.display()))?;
    Ok(())
}
