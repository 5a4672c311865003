//! Arrays that stand for pictures, `[batch, channels, h, w]`: `.npy` and `.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array4, ArrayView4};

use super::container::{Container, ContainerFormat};
use super::pick::pick;
use super::{npy, safetensors};
use crate::failure::{Failure, Result};
use crate::output::{Format, Target};

/// An array file whose header is read, and nothing of its elements.
pub(crate) struct ArrayFile {
    container: Container,
    name: String,
    dims: [usize; 4],
}

/// Opens `[batch, channels, h, w]`, or `[channels, h, w]` as a batch of one. A `.safetensors` file
/// holds one tensor, or one under the first of `names` that is there.
pub(crate) fn open(path: &Path, names: &[&str]) -> Result<ArrayFile> {
    ArrayFile::open(path, names, false)
}

/// Opens a mask as [`open`] does, or `[h, w]`, as `[batch, 1, h, w]`.
pub(crate) fn open_mask(path: &Path, names: &[&str]) -> Result<ArrayFile> {
    ArrayFile::open(path, names, true)
}

impl ArrayFile {
    fn open(path: &Path, names: &[&str], is_mask: bool) -> Result<Self> {
        let format = match Format::of(path)? {
            Format::Npy => ContainerFormat::Npy,
            _ => ContainerFormat::Tensors,
        };
        let container = Container::open(path, format)?;
        let entries = container.entries();
        let entry = pick(&entries, names).map_err(|message| Failure::at(path, message))?;
        let (shape, name) = (container.shape(&entry.name)?, entry.name.clone());
        let dims = match shape[..] {
            [batch, channels, h, w] => [batch, channels, h, w],
            [channels, h, w] => [1, channels, h, w],
            [h, w] if is_mask => [1, 1, h, w],
            _ => {
                let expected = match is_mask {
                    true => "[height, width] or [batch, 1, height, width]",
                    false => "[batch, channels, height, width]",
                };
                let what = format!("shape {shape:?}, expected {expected}");
                return Err(Failure::at(path, what));
            }
        };
        if shape.contains(&0) {
            return Err(Failure::at(path, format!("shape {shape:?} holds nothing")));
        }
        Ok(Self { container, name, dims })
    }

    /// Batch, channels, height and width.
    pub(crate) fn dims(&self) -> [usize; 4] {
        self.dims
    }

    /// The most bytes in memory while [`ArrayFile::read`] reads, its result among them.
    pub(crate) fn reading_bytes(&self) -> Result<u64> {
        self.container.reading_bytes(&self.name)
    }

    /// Reads the elements.
    pub(crate) fn read(self) -> Result<Array4<f32>> {
        let values = self.container.read(&self.name)?;
        let [batch, channels, h, w] = self.dims;
        let array = Array4::from_shape_vec((batch, channels, h, w), values);
        Ok(array.expect("the readers check the length"))
    }
}

/// Writes `array` as `f32`; `name` is the tensor's in a `.safetensors` file.
pub(crate) fn write(target: &mut Target, name: &str, array: ArrayView4<'_, f32>) -> Result<()> {
    let format = target.format();
    target.write(|file| match format {
        Format::Npy => npy::write(file, array.shape(), array.iter().copied()),
        _ => safetensors::write(file, &BTreeMap::new(), name, array, None),
    })
}
