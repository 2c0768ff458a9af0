//! Weights by name: f32 tensors read from safetensors bytes (f32, f16 or bf16), held to limits before use.
//!
//! Nothing in a file is trusted: sizes, dtypes and values are checked, and what is wrong is named. This file opens no files.

use std::collections::BTreeMap;
use std::sync::Arc;

use safetensors::{Dtype, SafeTensors};

use crate::PlanError;
use crate::cpu::pack::PackedLayers;
use crate::plan::WeightInfo;

/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: usize = 512 << 20;

/// Why a weights file was refused.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("weights of {bytes} bytes; at most {MAX_FILE_BYTES} are read")]
    TooLarge { bytes: usize },
    #[error("not a safetensors file: {0}")]
    Format(#[from] safetensors::SafeTensorError),
    #[error("tensor {name} is {dtype}; F32, F16 and BF16 can be read")]
    Dtype { name: String, dtype: String },
    #[error("tensor {name} is not finite at element {index}")]
    NotFinite { name: String, index: usize },
    #[error("tensor {name} of shape {dims:?} comes with {len} values")]
    Length { name: String, dims: Vec<usize>, len: usize },
}

/// A tensor: shape, then values in row-major order.
#[derive(Clone, Debug, PartialEq)]
struct Tensor {
    dims: Vec<usize>,
    data: Arc<[f32]>,
}

/// Named f32 tensors and the file's metadata.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    tensors: BTreeMap<String, Tensor>,
    metadata: BTreeMap<String, String>,
    /// What the CPU family has made of these tensors.
    packed: PackedLayers,
}

impl PartialEq for Weights {
    fn eq(&self, other: &Self) -> bool {
        self.tensors == other.tensors && self.metadata == other.metadata
    }
}

impl Weights {
    /// No tensors; fill with `insert`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads every tensor as f32.
    ///
    /// # Errors
    /// A file that is too large or malformed; a tensor of another dtype or with a value that is not finite, by name.
    pub fn from_safetensors(bytes: &[u8]) -> Result<Self, WeightsError> {
        if bytes.len() > MAX_FILE_BYTES {
            return Err(WeightsError::TooLarge { bytes: bytes.len() });
        }
        let file = SafeTensors::deserialize(bytes)?;
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let mut weights = Self::new();
        if let Some(map) = header.metadata() {
            weights.metadata.extend(map.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
        for (name, view) in file.iter() {
            let raw = view.data();
            let data: Vec<f32> = match view.dtype() {
                Dtype::F32 => raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
                Dtype::F16 => raw.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
                Dtype::BF16 => raw.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
                other => return Err(WeightsError::Dtype { name: name.into(), dtype: format!("{other:?}") }),
            };
            weights.insert(name, view.shape(), data)?;
        }
        Ok(weights)
    }

    /// Adds or replaces a tensor.
    ///
    /// # Errors
    /// Values that do not fill the shape, or are not finite.
    pub fn insert(&mut self, name: &str, dims: &[usize], data: Vec<f32>) -> Result<(), WeightsError> {
        if dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d)) != Some(data.len()) {
            return Err(WeightsError::Length { name: name.into(), dims: dims.to_vec(), len: data.len() });
        }
        if let Some(index) = data.iter().position(|v| !v.is_finite()) {
            return Err(WeightsError::NotFinite { name: name.into(), index });
        }
        self.tensors.insert(name.into(), Tensor { dims: dims.to_vec(), data: data.into() });
        self.packed = PackedLayers::default();
        Ok(())
    }

    /// Shape and values of a tensor.
    pub fn get(&self, name: &str) -> Option<(&[usize], &[f32])> {
        self.tensors.get(name).map(|t| (t.dims.as_slice(), &*t.data))
    }

    /// Names of all tensors, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The model's configuration: metadata `config`.
    pub fn config_json(&self) -> Option<&str> {
        self.metadata("config")
    }

    /// A string of the file's `__metadata__`.
    pub fn metadata(&self, key: &str) -> Option<&str> {
        self.metadata.get(key).map(String::as_str)
    }

    /// Number of values in all tensors.
    pub fn parameters(&self) -> usize {
        self.tensors.values().map(|t| t.data.len()).sum()
    }

    /// The values of a plan's weight.
    ///
    /// Axes of length 1 do not matter, and a table may come with several leading axes: (10, 513, 64) is (5130, 64).
    ///
    /// # Errors
    /// Names the tensor that is missing or of another shape.
    pub fn resolve(&self, info: &WeightInfo) -> Result<&[f32], PlanError> {
        self.tensor(info).map(|t| &*t.data)
    }

    /// The same values, to keep.
    ///
    /// # Errors
    /// As `resolve`.
    pub(crate) fn resolve_shared(&self, info: &WeightInfo) -> Result<Arc<[f32]>, PlanError> {
        self.tensor(info).map(|t| t.data.clone())
    }

    pub(crate) fn packed(&self) -> &PackedLayers {
        &self.packed
    }

    fn tensor(&self, info: &WeightInfo) -> Result<&Tensor, PlanError> {
        let tensor = self.tensors.get(&info.name).ok_or_else(|| PlanError::MissingWeight { name: info.name.clone() })?;
        if fits(&tensor.dims, &info.dims) {
            Ok(tensor)
        } else {
            Err(PlanError::WeightShape { name: info.name.clone(), expected: info.dims.clone(), found: tensor.dims.clone() })
        }
    }
}

fn fits(found: &[usize], expected: &[usize]) -> bool {
    let squeeze = |dims: &[usize]| dims.iter().copied().filter(|&d| d != 1).collect::<Vec<_>>();
    let (f, e) = (squeeze(found), squeeze(expected));
    f == e || (expected.len() == 2 && found.last() == expected.last() && f.iter().product::<usize>() == e.iter().product::<usize>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::{TensorView, serialize};
    use std::collections::HashMap;

    fn file(dtype: Dtype, bytes: &[u8], dims: &[usize]) -> Vec<u8> {
        let view = TensorView::new(dtype, dims.to_vec(), bytes).unwrap();
        let meta = HashMap::from([("config".to_string(), "{\"a\":1}".to_string())]);
        serialize([("layer.weight", view)], Some(meta)).unwrap()
    }

    #[test]
    fn reads_three_dtypes_to_the_same_values() {
        let values = [1.0f32, -2.5, 0.0, 0.125];
        let f32s: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let f16s: Vec<u8> = values.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect();
        let bf16s: Vec<u8> = values.iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect();
        for (dtype, bytes) in [(Dtype::F32, f32s), (Dtype::F16, f16s), (Dtype::BF16, bf16s)] {
            let w = Weights::from_safetensors(&file(dtype, &bytes, &[2, 2])).unwrap();
            assert_eq!(w.get("layer.weight"), Some((&[2usize, 2][..], &values[..])));
            assert_eq!(w.config_json(), Some("{\"a\":1}"));
        }
    }

    #[test]
    fn names_what_is_wrong() {
        let nan: Vec<u8> = [1.0f32, f32::NAN].iter().flat_map(|v| v.to_le_bytes()).collect();
        let e = Weights::from_safetensors(&file(Dtype::F32, &nan, &[2])).unwrap_err();
        assert_eq!(e.to_string(), "tensor layer.weight is not finite at element 1");
        let e = Weights::from_safetensors(&file(Dtype::I64, &[0; 16], &[2])).unwrap_err();
        assert_eq!(e.to_string(), "tensor layer.weight is I64; F32, F16 and BF16 can be read");
        assert!(Weights::from_safetensors(b"nonsense").is_err());
        let mut w = Weights::new();
        assert!(w.insert("a", &[3], vec![0.0; 2]).is_err());
        w.insert("a", &[2, 3, 4], vec![0.0; 24]).unwrap();
        let need = |dims: &[usize]| WeightInfo { name: "a".into(), dims: dims.to_vec() };
        assert!(w.resolve(&need(&[6, 4])).is_ok());
        assert_eq!(w.resolve(&need(&[4, 6])).unwrap_err().to_string(), "tensor a has shape [2, 3, 4], the network needs [4, 6]");
        let missing = WeightInfo { name: "b".into(), dims: vec![1] };
        assert_eq!(w.resolve(&missing).unwrap_err().to_string(), "the weights have no tensor b");
    }
}
