#![forbid(unsafe_code)]
//! The safetensors format: a JSON header of names, dtypes, shapes and offsets, then the data.

use safetensors::{Dtype, SafeTensorError, SafeTensors};

use super::format::other_format;
use super::tensor::{RawTensors, Tensor};
use crate::base::buffer::Bytes;
use crate::base::encoding::Encoding;
use crate::base::error::{Error, Result};

/// The tensors of a file. Nothing is copied: they share `bytes`.
///
/// # Errors
/// `Format`, saying what is wrong, or `Unsupported` for a checkpoint of another kind.
pub(super) fn parse(bytes: Bytes) -> Result<RawTensors> {
    if bytes.is_empty() {
        return Err(Error::format("the file is empty"));
    }
    let (header, metadata) =
        SafeTensors::read_metadata(&bytes).map_err(|error| match other_format(&bytes) {
            Some(other) => other,
            None => Error::format(explain(&error, bytes.len())),
        })?;
    let mut raw = RawTensors::default();
    for (name, info) in metadata.tensors() {
        let dtype = match info.dtype {
            Dtype::F32 => Encoding::F32,
            Dtype::F16 => Encoding::F16,
            Dtype::BF16 => Encoding::Bf16,
            Dtype::F64 => Encoding::F64,
            other => {
                raw.unsupported.insert(name, format!("{other:?}"));
                continue;
            }
        };
        // The crate has checked that the offsets lie in the file and agree with shape and dtype.
        let (start, end) = info.data_offsets;
        let data = 8 + header;
        let tensor = Tensor {
            name: name.clone(),
            dtype,
            shape: info.shape.clone(),
            bytes: bytes.slice(data + start..data + end),
        };
        raw.tensors.insert(name, tensor);
    }
    Ok(raw)
}

/// A message for each way a file can be wrong.
fn explain(error: &SafeTensorError, length: usize) -> String {
    match error {
        SafeTensorError::HeaderTooSmall => {
            format!("truncated: {length} bytes hold no header length")
        }
        SafeTensorError::HeaderTooLarge => {
            "the header's length is over 100 MB: not safetensors".into()
        }
        SafeTensorError::InvalidHeaderLength => {
            format!(
                "truncated, or not safetensors: the header is longer than the file's {length} bytes"
            )
        }
        SafeTensorError::MetadataIncompleteBuffer => {
            format!("truncated or corrupt: the tensors' data do not fill the file's {length} bytes")
        }
        SafeTensorError::InvalidOffset(name) => {
            format!("corrupt: the offsets of tensor {name} overlap another's or leave a gap")
        }
        SafeTensorError::TensorInvalidInfo => {
            "corrupt: a tensor's offsets do not agree with its dtype and shape".into()
        }
        SafeTensorError::ValidationOverflow => "corrupt: a tensor's shape overflows".into(),
        other => format!("not a valid safetensors file: {other}"),
    }
}
