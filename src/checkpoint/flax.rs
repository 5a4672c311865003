#![forbid(unsafe_code)]
//! Flax's files, `flax.serialization` of <https://github.com/google/flax>: a msgpack map of maps of
//! arrays, with channels last.
//!
//! | in the file | here |
//! |---|---|
//! | maps `decoder`, `up_blocks_0`, `conv_in` in each other | `decoder.up_blocks.0.conv_in` |
//! | `kernel` of a convolution, `[h, w, in, out]` | `weight`, `[out, in, h, w]` |
//! | `kernel` of a linear layer, `[in, out]` | `weight`, `[out, in]` |
//! | `scale` of a norm | `weight` |
//!
//! Kernels are views of the file's bytes with other strides.

use super::contents::Contents;
use super::limits::{MOST_AXES, MOST_FLAX_CHUNKS, MOST_FLAX_NAME};
use super::msgpack::{self, Value};
use super::raw_tensors::RawTensors;
use super::tensor::Tensor;
use crate::base::alloc;
use crate::base::encoding::Encoding;
use crate::base::error::{Error, Result};

/// Flax's types of extensions: an array; a complex number; a scalar, which is an array of no axes.
const ARRAY: i8 = 1;
const COMPLEX: i8 = 2;
const SCALAR: i8 = 3;
/// Marks the map of an array that is too large for one extension.
const CHUNKED: &str = "__msgpack_chunked_array__";
/// Map of the parameters in a training state, which also has steps and moments.
const PARAMS: &str = "params";

/// The tensors of a file, which share `contents`.
///
/// # Errors
/// `Format`, saying what is wrong; `Io` if the file cannot be read.
pub(super) fn parse(contents: &Contents) -> Result<RawTensors> {
    let mut top = match msgpack::read(contents)? {
        Value::Map(pairs) => pairs,
        other => {
            let message = format!("a map of layers expected, {} found", other.kind());
            return Err(Error::format(message));
        }
    };
    let is_params = |(key, value): &(Value, Value)| match (key, value) {
        (Value::Text(key), Value::Map(_)) => key == PARAMS,
        _ => false,
    };
    if let Some(at) = top.iter().position(is_params)
        && let (_, Value::Map(pairs)) = top.swap_remove(at)
    {
        top = pairs;
    }
    let mut raw = RawTensors::default();
    add_map(&mut raw, &[], top)?;
    Ok(raw)
}

/// Adds the tensors of a map that lies at `path`.
fn add_map(raw: &mut RawTensors, path: &[String], pairs: Vec<(Value, Value)>) -> Result<()> {
    for (key, value) in pairs {
        let key = match key {
            Value::Text(key) => key,
            Value::Natural(number) => number.to_string(),
            other => {
                return Err(at(path, format!("a name as key expected, {} found", other.kind())));
            }
        };
        add(raw, &[path, &[key]].concat(), value)?;
    }
    Ok(())
}

/// Adds the tensors of a value that lies at `path`. What is no array is no weight.
fn add(raw: &mut RawTensors, path: &[String], value: Value) -> Result<()> {
    let array = match value {
        Value::Map(pairs) if is_chunked(&pairs) => joined(pairs),
        Value::Map(pairs) => return add_map(raw, path, pairs),
        Value::List(values) => {
            let pairs = values.into_iter().enumerate().map(|(i, v)| (Value::Natural(i as u64), v));
            return add_map(raw, path, alloc::collected(pairs, "a list of msgpack")?);
        }
        Value::Extension(ARRAY | SCALAR, contents) => Array::read(&contents),
        Value::Extension(COMPLEX, _) => Ok(Array::of_type("a complex number")),
        Value::Extension(kind, _) => Ok(Array::of_type(&format!("msgpack extension {kind}"))),
        _ => return Ok(()),
    };
    let Array { dtype, shape, contents } = array.map_err(|error| within(path, error))?;
    let (name, is_kernel) = renamed(path);
    if name.len() > MOST_FLAX_NAME {
        let message =
            format!("a name of at most {MOST_FLAX_NAME} bytes expected, {} found", name.len());
        return Err(Error::format(message));
    }
    if raw.tensors.contains_key(&name) || raw.unsupported.contains_key(&name) {
        return Err(at(path, format!("a second tensor that means {name}")));
    }
    let Some(encoding) = encoding(&dtype) else {
        return raw.add_unsupported(name, dtype);
    };
    let tensor = Tensor::new(path.join("."), encoding, shape, contents)?;
    let tensor = match (is_kernel, tensor.shape.len()) {
        (true, 4) => tensor.permuted(&[3, 2, 0, 1])?,
        (true, 2) => tensor.permuted(&[1, 0])?,
        _ => tensor,
    };
    raw.add(name, tensor)
}

/// The name of the tensor at `path`, and whether it is a kernel.
fn renamed(path: &[String]) -> (String, bool) {
    let mut parts: Vec<String> = path.iter().map(|part| numbered(part)).collect();
    let last = parts.last_mut().expect("a path has a part");
    let is_kernel = last == "kernel";
    if is_kernel || last == "scale" {
        *last = "weight".into();
    }
    (parts.join("."), is_kernel)
}

/// `up_blocks_0` as `up_blocks.0`.
fn numbered(part: &str) -> String {
    match part.rsplit_once('_') {
        Some((name, number))
            if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            format!("{name}.{number}")
        }
        _ => part.to_owned(),
    }
}

/// An array in row-major order, with the name of its type.
struct Array {
    dtype: String,
    shape: Vec<usize>,
    contents: Contents,
}

impl Array {
    /// Something that no weight can be.
    fn of_type(dtype: &str) -> Self {
        Self { dtype: dtype.to_owned(), shape: Vec::new(), contents: Contents::Pieces(Vec::new()) }
    }

    /// Reads the msgpack list of shape, type and bytes.
    fn read(contents: &Contents) -> Result<Self> {
        let Value::List(parts) = msgpack::read(contents)? else {
            return Err(Error::format("a list of shape, type and bytes expected"));
        };
        match <[Value; 3]>::try_from(parts) {
            Ok([Value::List(shape), Value::Text(dtype), Value::Bytes(contents)]) => {
                Ok(Self { dtype, shape: sides(shape)?, contents })
            }
            _ => Err(Error::format("a list of shape, type and bytes expected")),
        }
    }
}

/// The lengths of axes.
fn sides(values: Vec<Value>) -> Result<Vec<usize>> {
    let axes = values.len();
    if axes > MOST_AXES {
        return Err(Error::format(format!("{axes} axes, at most {MOST_AXES} expected")));
    }
    let side = |value| match value {
        Value::Natural(side) => {
            usize::try_from(side).map_err(|_| Error::format(format!("an axis of {side} elements")))
        }
        other => Err(Error::format(format!("length of an axis expected, {} found", other.kind()))),
    };
    values.into_iter().map(side).collect()
}

fn is_chunked(pairs: &[(Value, Value)]) -> bool {
    pairs.iter().any(|(key, _)| matches!(key, Value::Text(key) if key == CHUNKED))
}

/// The array of a map with the mark [`CHUNKED`].
fn joined(pairs: Vec<(Value, Value)>) -> Result<Array> {
    let (mut shape, mut chunks) = (None, None);
    for (key, value) in pairs {
        match (key, value) {
            (Value::Text(key), Value::Map(pairs)) if key == "shape" => shape = Some(pairs),
            (Value::Text(key), Value::Map(pairs)) if key == "chunks" => chunks = Some(pairs),
            _ => {}
        }
    }
    let (Some(shape), Some(chunks)) = (shape, chunks) else {
        return Err(Error::format("an array in chunks without its shape and chunks"));
    };
    let shape = sides(ordered(shape)?)?;
    let (mut dtype, mut pieces) = (None, Vec::new());
    if chunks.len() > MOST_FLAX_CHUNKS {
        let found = chunks.len();
        let message = format!("at most {MOST_FLAX_CHUNKS} chunks expected, {found} found");
        return Err(Error::format(message));
    }
    for chunk in ordered(chunks)? {
        let Value::Extension(ARRAY, contents) = chunk else {
            return Err(Error::format(format!(
                "an array as chunk expected, {} found",
                chunk.kind()
            )));
        };
        let chunk = Array::read(&contents)?;
        if dtype.get_or_insert_with(|| chunk.dtype.clone()) != &chunk.dtype {
            return Err(Error::format("chunks of different types"));
        }
        pieces.push(chunk.contents);
    }
    let dtype = dtype.ok_or_else(|| Error::format("an array without a chunk"))?;
    Ok(Array { dtype, shape, contents: Contents::Pieces(pieces) })
}

/// The values of a map whose keys are `0`, `1` and so on.
fn ordered(mut pairs: Vec<(Value, Value)>) -> Result<Vec<Value>> {
    let index = |key: &Value| match key {
        Value::Text(key) => key.parse().unwrap_or(usize::MAX),
        _ => usize::MAX,
    };
    pairs.sort_unstable_by_key(|(key, _)| index(key));
    let numbered = pairs.iter().enumerate().all(|(at, (key, _))| index(key) == at);
    if !numbered {
        return Err(Error::format("keys 0, 1 and so on expected, others found"));
    }
    alloc::collected(pairs.into_iter().map(|(_, value)| value), "a list of msgpack")
}

/// The encoding that numpy calls `dtype`.
fn encoding(dtype: &str) -> Option<Encoding> {
    Some(match dtype {
        "float32" => Encoding::F32,
        "float16" => Encoding::F16,
        "bfloat16" => Encoding::Bf16,
        "float64" => Encoding::F64,
        "float8_e4m3fn" => Encoding::F8E4M3,
        "float8_e5m2" => Encoding::F8E5M2,
        _ => return None,
    })
}

fn at(path: &[String], message: String) -> Error {
    within(path, Error::format(message))
}

fn within(path: &[String], error: Error) -> Error {
    error.within(format!("tensor {}", path.join(".")))
}
