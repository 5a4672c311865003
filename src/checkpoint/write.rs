#![forbid(unsafe_code)]
//! Writing safetensors: the bytes that the `safetensors` crate and Python's package write, a tensor
//! at a time.

use std::collections::BTreeMap;
use std::io::{self, Write};

use half::{bf16, f16};
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use super::limits::MOST_HEADER;
use super::tensor::Tensor;
use crate::base::alloc::{self, Written};
use crate::base::atomic_file::AtomicFile;
use crate::base::encoding::{Dense, Encoding};
use crate::base::error::{Error, Result};
use crate::base::storage::Storage;
use crate::base::weight::{LayerWeight, WeightSource};

/// Bytes that are converted at a time.
const CHUNK: usize = 1 << 16;

/// A tensor as a file will have it.
pub(crate) struct FileTensor<'a> {
    name: String,
    shape: Vec<usize>,
    elements: Elements<'a>,
}

/// The elements of a tensor in a file.
enum Elements<'a> {
    /// Those of a weight, in a type that it may have to be converted to.
    Weight(Dense, &'a Tensor),
    /// One number, an i64.
    Count(i64),
}

impl<'a> FileTensor<'a> {
    /// `tensor` under `name`, in `shape`, which has as many elements. Its type is `storage`; `None`
    /// for its own, or for `f32` if it is quantised or scaled.
    pub(crate) fn new(
        tensor: &'a Tensor,
        name: String,
        shape: Vec<usize>,
        storage: Option<Storage>,
    ) -> Self {
        let dtype = match storage {
            Some(Storage::F32) => Dense::F32,
            Some(Storage::F16) => Dense::F16,
            Some(Storage::Bf16) => Dense::Bf16,
            None => own(tensor).unwrap_or(Dense::F32),
        };
        Self { name, shape, elements: Elements::Weight(dtype, tensor) }
    }

    /// A number that diffusers' class has among its tensors, without axes.
    pub(crate) fn count(name: String, count: i64) -> Self {
        Self { name, shape: Vec::new(), elements: Elements::Count(count) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The type of the elements in the file; `None` if they are no weights.
    pub(crate) fn dtype(&self) -> Option<Encoding> {
        match self.elements {
            Elements::Weight(dtype, _) => Some(dtype.into()),
            Elements::Count(_) => None,
        }
    }

    /// Size in the file.
    pub(crate) fn bytes(&self) -> u64 {
        match self.elements {
            Elements::Weight(dtype, tensor) => {
                tensor.len() as u64 * Encoding::from(dtype).block().1 as u64
            }
            Elements::Count(count) => size_of_val(&count) as u64,
        }
    }

    fn file_dtype(&self) -> Dtype {
        match self.elements {
            Elements::Weight(Dense::F32, _) => Dtype::F32,
            Elements::Weight(Dense::F16, _) => Dtype::F16,
            Elements::Weight(Dense::Bf16, _) => Dtype::BF16,
            Elements::Weight(Dense::F64, _) => Dtype::F64,
            Elements::Count(_) => Dtype::I64,
        }
    }

    /// Writes the elements: their bytes if the type does not change. Only one tensor at a time is
    /// resident.
    fn write(&self, file: &mut AtomicFile) -> Result<()> {
        match self.elements {
            Elements::Weight(dtype, tensor) => {
                let written = Conversion { to: dtype, tensor }.write(file);
                tensor.release();
                written
            }
            Elements::Count(count) => put(file, &count.to_le_bytes()),
        }
    }
}

/// A weight, and the type that its elements get.
struct Conversion<'a> {
    to: Dense,
    tensor: &'a Tensor,
}

impl Conversion<'_> {
    fn write(&self, file: &mut AtomicFile) -> Result<()> {
        if let Some(dtype) = own(self.tensor) {
            let bytes = self
                .tensor
                .row_major_bytes()
                .map_err(|error| error.within(format!("tensor {}", self.tensor.name)))?;
            match dtype == self.to {
                true => put(file, &bytes),
                false => self.convert(dtype, &bytes, file),
            }
        } else {
            let weight = LayerWeight::of(self.tensor)?;
            let weight = weight.dense();
            self.convert(weight.dtype, weight.bytes, file)
        }
    }

    /// Rounds elements of type `from` to nearest, ties to even; those of f64 by way of f32, as in
    /// torch.
    fn convert(&self, from: Dense, bytes: &[u8], file: &mut AtomicFile) -> Result<()> {
        match from {
            Dense::F32 => self.round(bytes, file, |b| f64::from(f32::from_le_bytes(b))),
            Dense::F16 => self.round(bytes, file, |b| f16::from_le_bytes(b).to_f64()),
            Dense::Bf16 => self.round(bytes, file, |b| bf16::from_le_bytes(b).to_f64()),
            Dense::F64 => self.round(bytes, file, f64::from_le_bytes),
        }
    }

    fn round<const N: usize>(
        &self,
        bytes: &[u8],
        file: &mut AtomicFile,
        read: impl Fn([u8; N]) -> f64,
    ) -> Result<()> {
        let mut chunk = alloc::with_capacity(CHUNK, "converted elements")?;
        for (i, &element) in bytes.as_chunks().0.iter().enumerate() {
            let value = read(element);
            let finite = match self.to {
                Dense::F32 => {
                    let rounded = value as f32;
                    chunk.extend_from_slice(&rounded.to_le_bytes());
                    rounded.is_finite()
                }
                Dense::F16 => {
                    let rounded = f16::from_f32(value as f32);
                    chunk.extend_from_slice(&rounded.to_le_bytes());
                    rounded.is_finite()
                }
                Dense::Bf16 => {
                    let rounded = bf16::from_f32(value as f32);
                    chunk.extend_from_slice(&rounded.to_le_bytes());
                    rounded.is_finite()
                }
                Dense::F64 => {
                    chunk.extend_from_slice(&value.to_le_bytes());
                    value.is_finite()
                }
            };
            if value.is_finite() && !finite {
                let (name, dtype) = (&self.tensor.name, Encoding::from(self.to));
                return Err(Error::invalid(format!(
                    "tensor {name}: values that {dtype} has expected, {value} found at {i}"
                )));
            }
            if chunk.len() + size_of::<f64>() > CHUNK {
                put(file, &chunk)?;
                chunk.clear();
            }
        }
        put(file, &chunk)
    }
}

/// The type of a tensor whose elements are in the file themselves, in any order.
fn own(tensor: &Tensor) -> Option<Dense> {
    tensor.dtype.dense().filter(|_| tensor.scale.is_none())
}

/// Writes `tensors` with `metadata` as one file, in the crate's order: larger types first, then by
/// name. Converted elements take the memory of one tensor at a time.
///
/// # Errors
/// `InvalidArgument` if an element overflows its new type, naming the tensor; `Io`, naming the
/// file; `OutOfMemory`; those of loading a tensor.
pub(crate) fn write(
    file: &mut AtomicFile,
    mut tensors: Vec<FileTensor<'_>>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    // Names are unique, and a sort that keeps the order of equals would allocate.
    tensors.sort_unstable_by(|a, b| {
        b.file_dtype().cmp(&a.file_dtype()).then_with(|| a.name.cmp(&b.name))
    });
    let header = header(&tensors, metadata).map_err(|error| Error::io("a header", error))?;
    let header = header.bytes();
    if header.len() as u64 > MOST_HEADER {
        let (path, found) = (file.path().display(), header.len());
        return Err(Error::invalid(format!(
            "{path}: a header of at most {MOST_HEADER} bytes expected, {found} found"
        )));
    }
    put(file, &(header.len() as u64).to_le_bytes())?;
    put(file, header)?;
    for tensor in &tensors {
        tensor.write(file)?;
    }
    file.finish()
}

/// The header, padded with spaces so that the data are aligned to 8 bytes. Its metadata are sorted,
/// which those of the crate are not.
fn header(tensors: &[FileTensor<'_>], metadata: &BTreeMap<String, String>) -> io::Result<Written> {
    let mut text = Written::default();
    text.write_all(b"{\"__metadata__\":")?;
    serde_json::to_writer(&mut text, metadata)?;
    let mut start = 0;
    for tensor in tensors {
        let end = start + tensor.bytes() as usize;
        let info = TensorInfo {
            dtype: tensor.file_dtype(),
            shape: tensor.shape.clone(),
            data_offsets: (start, end),
        };
        text.write_all(b",")?;
        serde_json::to_writer(&mut text, &tensor.name)?;
        text.write_all(b":")?;
        serde_json::to_writer(&mut text, &info)?;
        start = end;
    }
    text.write_all(b"}")?;
    let length = text.bytes().len();
    text.write_all(&b"       "[..length.next_multiple_of(8) - length])?;
    Ok(text)
}

fn put(file: &mut AtomicFile, bytes: &[u8]) -> Result<()> {
    file.write_all(bytes).map_err(|error| Error::io(file.path().display(), error))
}

#[cfg(test)]
mod tests {
    use super::super::contents::Contents;
    use super::*;
    use crate::base::buffer::Bytes;

    /// Name, type, shape and bytes of the tensors that a file with `tensors` has.
    fn saved(tensors: &[(Tensor, Option<Storage>)]) -> Vec<(String, Dtype, Vec<usize>, Vec<u8>)> {
        let name = format!("vaekl-write-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let mut file = AtomicFile::create(&path).unwrap();
        let entries = tensors.iter().map(|(tensor, storage)| {
            FileTensor::new(tensor, tensor.name.clone(), tensor.shape.clone(), *storage)
        });
        write(&mut file, entries.collect(), &BTreeMap::new()).unwrap();
        file.commit().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let found = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let mut all = Vec::new();
        for (name, view) in found.iter() {
            all.push((name.to_owned(), view.dtype(), view.shape().to_vec(), view.data().to_vec()));
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    fn halves(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|&value| f16::from_f32(value).to_le_bytes()).collect()
    }

    #[test]
    fn strided_and_scaled_tensors_become_plain_ones() {
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let contents = || Contents::Memory(Bytes::new(halves(&values)));
        let (shape, dtype) = (vec![3, 2], Encoding::F16);
        let turned = |name: &str| {
            Tensor::strided(name.into(), dtype, shape.clone(), &[1, 3], contents()).unwrap()
        };
        let mut scaled = Tensor::new("c".into(), dtype, shape.clone(), contents()).unwrap();
        scaled.scale = Some(0.5);
        let found =
            saved(&[(turned("a"), None), (turned("b"), Some(Storage::F32)), (scaled, None)]);
        let order = [1.0, 4.0, 2.0, 5.0, 3.0, 6.0];
        let floats = |values: [f32; 6]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let expected: [(&str, Dtype, Vec<u8>); 3] = [
            ("a", Dtype::F16, halves(&order)),
            ("b", Dtype::F32, floats(order)),
            ("c", Dtype::F32, floats(values.map(|value| value / 2.0))),
        ];
        for (found, (name, dtype, bytes)) in found.iter().zip(expected) {
            assert_eq!(found, &(name.to_owned(), dtype, shape.clone(), bytes));
        }
    }
}
