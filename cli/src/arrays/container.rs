//! Arrays in files: `.npy` and `.safetensors`, pictures or latents `[batch, channels, h, w]`.

use std::borrow::Cow;
use std::io::Write;
use std::path::Path;

use ndarray::{Array4, ArrayView4};
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors, View};

use crate::element::Element;
use crate::failure::{AtPath, Failure, Result};
use crate::npy::{self, RawArray};
use crate::output::{Format, Target};

/// Reads `[batch, channels, h, w]`, or `[channels, h, w]` as a batch of one. A `.safetensors` file
/// holds one tensor, or one under the first of `names` that is there.
pub(crate) fn read(path: &Path, names: &[&str]) -> Result<Array4<f32>> {
    let bytes = std::fs::read(path).at(path)?;
    let read = match Format::of(path)? {
        Format::Npy => npy::read(&bytes),
        Format::Safetensors => read_safetensors(&bytes, names),
        _ => Err("expected a .npy or .safetensors file".into()),
    };
    let RawArray { shape, dtype, data } = read.map_err(|message| Failure::at(path, message))?;
    let dims = match shape[..] {
        [batch, channels, h, w] => (batch, channels, h, w),
        [channels, h, w] => (1, channels, h, w),
        _ => {
            return Err(Failure::at(
                path,
                format!("shape {shape:?}, expected [batch, channels, height, width]"),
            ));
        }
    };
    if data.is_empty() {
        return Err(Failure::at(path, format!("shape {shape:?} holds nothing")));
    }
    let array = Array4::from_shape_vec(dims, dtype.to_f32(data));
    let array = array.expect("the readers check the length");
    check_range(dtype, data, &array).map_err(|message| Failure::at(path, message))?;
    Ok(array)
}

/// Writes `array` as `f32`; `name` is the tensor's in a `.safetensors` file.
pub(crate) fn write(target: &mut Target, name: &str, array: ArrayView4<'_, f32>) -> Result<()> {
    let format = target.format();
    target.write(|file| {
        if format == Format::Npy {
            return npy::write(file, array.shape(), array.iter().copied());
        }
        let tensor = [(name, LittleEndian(array))];
        let bytes = safetensors::serialize(tensor, None).map_err(std::io::Error::other)?;
        file.write_all(&bytes)
    })
}

fn read_safetensors<'file>(
    bytes: &'file [u8],
    names: &[&str],
) -> std::result::Result<RawArray<'file>, String> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|error| format!("not a valid .safetensors file: {error}"))?;
    let tensor = pick(&file, names)?;
    let dtype = match tensor.dtype() {
        Dtype::F32 => Element::F32,
        Dtype::F16 => Element::F16,
        Dtype::BF16 => Element::Bf16,
        Dtype::F64 => Element::F64,
        other => return Err(format!("elements are {other:?}, expected F32, F16, BF16 or F64")),
    };
    Ok(RawArray { shape: tensor.shape().to_vec(), dtype, data: tensor.data() })
}

fn pick<'data>(
    file: &SafeTensors<'data>,
    names: &[&str],
) -> std::result::Result<TensorView<'data>, String> {
    let named = names.iter().find_map(|name| file.tensor(name).ok());
    match (named, file.tensors().pop(), file.len()) {
        (Some(tensor), ..) | (None, Some((_, tensor)), 1) => Ok(tensor),
        (.., count) => {
            let names = names.join(" or ");
            Err(format!("{count} tensors, expected one, or one named {names}"))
        }
    }
}

/// Names a number of 64 bits that is none of 32. Infinities in the file are left to the library.
fn check_range(
    dtype: Element,
    data: &[u8],
    array: &Array4<f32>,
) -> std::result::Result<(), String> {
    if dtype != Element::F64 {
        return Ok(());
    }
    let values = data.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes));
    let mut pairs = values.zip(array.indexed_iter());
    match pairs.find(|(value, (_, narrow))| value.is_finite() && narrow.is_infinite()) {
        Some((value, ((b, c, y, x), _))) => Err(format!(
            "{value:e} at batch {b}, channel {c}, row {y}, column {x} exceeds the range of f32"
        )),
        None => Ok(()),
    }
}

/// A contiguous copy for the `safetensors` crate, made when it asks for it.
struct LittleEndian<'a>(ArrayView4<'a, f32>);

impl View for LittleEndian<'_> {
    fn dtype(&self) -> Dtype {
        Dtype::F32
    }
    fn shape(&self) -> &[usize] {
        self.0.shape()
    }
    fn data(&self) -> Cow<'_, [u8]> {
        self.0.iter().flat_map(|value| value.to_le_bytes()).collect()
    }
    fn data_len(&self) -> usize {
        self.0.len() * size_of::<f32>()
    }
}
