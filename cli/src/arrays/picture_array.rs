//! Arrays that stand for pictures, `[batch, channels, h, w]`: `.npy` and `.safetensors`.

use std::collections::BTreeMap;
use std::path::Path;

use ndarray::{Array4, ArrayView4};

use super::container::{Array, Container, ContainerFormat};
use super::pick::pick;
use super::{npy, safetensors};
use crate::failure::{Failure, Result};
use crate::output::{Format, Target};

/// Reads `[batch, channels, h, w]`, or `[channels, h, w]` as a batch of one. A `.safetensors` file
/// holds one tensor, or one under the first of `names` that is there.
pub(crate) fn read(path: &Path, names: &[&str]) -> Result<Array4<f32>> {
    let (array, dims) = (read_array(path, names)?, "[batch, channels, height, width]");
    with_axes(path, array, dims)
}

/// Reads a mask as [`read`] does, or `[h, w]`, as `[batch, 1, h, w]`.
pub(crate) fn read_mask(path: &Path, names: &[&str]) -> Result<Array4<f32>> {
    let mut array = read_array(path, names)?;
    if array.shape.len() == 2 {
        array.shape.insert(0, 1);
    }
    with_axes(path, array, "[height, width] or [batch, 1, height, width]")
}

fn read_array(path: &Path, names: &[&str]) -> Result<Array> {
    let format = match Format::of(path)? {
        Format::Npy => ContainerFormat::Npy,
        _ => ContainerFormat::Tensors,
    };
    let container = Container::open(path, format)?;
    let entries = container.entries();
    let entry = pick(&entries, names).map_err(|message| Failure::at(path, message))?;
    container.read(&entry.name)
}

fn with_axes(path: &Path, array: Array, expected: &str) -> Result<Array4<f32>> {
    let Array { shape, values } = array;
    let dims = match shape[..] {
        [batch, channels, h, w] => (batch, channels, h, w),
        [channels, h, w] => (1, channels, h, w),
        _ => {
            let what = format!("shape {shape:?}, expected {expected}");
            return Err(Failure::at(path, what));
        }
    };
    if values.is_empty() {
        return Err(Failure::at(path, format!("shape {shape:?} holds nothing")));
    }
    Ok(Array4::from_shape_vec(dims, values).expect("the readers check the length"))
}

/// Writes `array` as `f32`; `name` is the tensor's in a `.safetensors` file.
pub(crate) fn write(target: &mut Target, name: &str, array: ArrayView4<'_, f32>) -> Result<()> {
    let format = target.format();
    target.write(|file| match format {
        Format::Npy => npy::write(file, array.shape(), array.iter().copied()),
        _ => safetensors::write(file, &BTreeMap::new(), name, array, None),
    })
}
