#![forbid(unsafe_code)]
//! Tensors of a pickle, in the storages of their file.

use super::super::contents::Contents;
use super::super::limits::MOST_AXES;
use super::super::raw_tensors::RawTensors;
use super::super::tensor::{Tensor, count};
use super::flatten::flatten;
use super::limits::{MOST_REPEATED, MOST_SHARED};
use super::machine::Pickle;
use super::value::{PickledStorage, TensorValue, Value};
use crate::base::alloc;
use crate::base::encoding::Encoding;
use crate::base::error::{Error, Result};

/// The tensors of `pickle`, named and checked. `bytes_of` gives the bytes of a storage, all of it.
///
/// # Errors
/// `Format`, naming the tensor, if it does not fit its storage; those of [`flatten`] and of
/// `bytes_of`.
pub(super) fn tensors(
    pickle: &Pickle<'_>,
    bytes_of: impl Fn(&PickledStorage) -> Result<Contents>,
) -> Result<RawTensors> {
    let mut raw = RawTensors::default();
    for (name, id) in flatten(pickle)? {
        let within = |error: Error| error.within(format!("tensor {name}"));
        let (storage, element, offset, shape, strides) = match pickle.arena.tensors[id as usize] {
            TensorValue::Strided { storage, element, offset, shape, strides } => {
                (storage, element, offset, shape, strides)
            }
            TensorValue::Other(kind) => {
                raw.add_unsupported(name, kind.to_owned())?;
                continue;
            }
        };
        let Some(encoding) = element.encoding() else {
            raw.add_unsupported(name, element.name().to_owned())?;
            continue;
        };
        let shape = sides(pickle.arena.items(shape)).map_err(within)?;
        let strides = sides(pickle.arena.items(strides)).map_err(within)?;
        let storage = &pickle.arena.storages[storage as usize];
        let bytes = bytes_of(storage).and_then(|bytes| part(storage, bytes)).map_err(within)?;
        let place = Place { encoding, offset, shape, strides };
        let tensor = place.tensor(name.clone(), bytes)?;
        raw.add(name, tensor)?;
    }
    Ok(raw)
}

/// The part of a storage's bytes that its view has, if there is one.
fn part(storage: &PickledStorage, bytes: Contents) -> Result<Contents> {
    let size = storage.element.size();
    if storage.len.checked_mul(size) != Some(bytes.len()) {
        let (len, element, found) = (storage.len, storage.element.name(), bytes.len());
        return Err(Error::format(format!(
            "its storage has {found} bytes, {len} elements of {element} expected"
        )));
    }
    let Some((offset, len)) = storage.view else { return Ok(bytes) };
    let start = offset.checked_mul(size);
    let range = start.and_then(|start| Some(start..start.checked_add(len.checked_mul(size)?)?));
    let outside = || Error::format("its storage is a view outside of another");
    range.and_then(|range| bytes.slice(range)).ok_or_else(outside)
}

/// Where a tensor is in its storage.
struct Place {
    encoding: Encoding,
    offset: u64,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

impl Place {
    fn tensor(self, name: String, storage: Contents) -> Result<Tensor> {
        let Self { encoding, offset, shape, strides } = self;
        let (_, size) = encoding.block();
        let elements = count(&shape);
        // Only a tensor that repeats elements has more of them than its storage.
        let there = (storage.len() / size as u64) as usize;
        if elements.is_none_or(|elements| elements > MOST_REPEATED.max(there)) {
            return Err(Error::format(format!(
                "tensor {name}: more elements in {shape:?} than in its storage, {there}, and than \
                 {MOST_REPEATED}"
            )));
        }
        let start = offset.checked_mul(size as u64);
        let rest = start.and_then(|start| storage.slice(start..storage.len()));
        let outside = || Error::format(format!("tensor {name}: elements outside its storage"));
        let rest = rest.ok_or_else(outside)?;
        let tensor = Tensor::strided(name, encoding, shape, &strides, rest)?;
        if tensor.contents.inflates_beside(MOST_SHARED) {
            return Err(Error::format(format!(
                "tensor {}: a part of a compressed storage of over {MOST_SHARED} bytes, which \
                 every part would inflate anew",
                tensor.name
            )));
        }
        Ok(tensor)
    }
}

/// The items of a shape, or strides.
fn sides(values: &[Value]) -> Result<Vec<usize>> {
    if values.len() > MOST_AXES {
        let axes = values.len();
        return Err(Error::format(format!("{axes} axes, at most {MOST_AXES} expected")));
    }
    let side = |&value: &Value| match value {
        Value::Int(side) => usize::try_from(side)
            .map_err(|_| Error::format(format!("{side} in its shape or strides"))),
        _ => Err(Error::format("something in its shape or strides that is no number")),
    };
    let mut sides = alloc::with_capacity(values.len(), "a shape")?;
    for value in values {
        sides.push(side(value)?);
    }
    Ok(sides)
}
