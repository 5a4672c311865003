#![forbid(unsafe_code)]
//! The safetensors format: a JSON header of names, dtypes, shapes and offsets, then the data.

use safetensors::tensor::Metadata;
use safetensors::{Dtype, SafeTensorError, SafeTensors};

use super::contents::Contents;
use super::tensor::{RawTensors, Tensor};
use crate::base::encoding::Encoding;
use crate::base::error::{Error, Result};

/// The longest header that is read or written, as in the `safetensors` crate.
pub(super) const MOST_HEADER: u64 = 100_000_000;

/// The tensors of a file, which share `contents`.
///
/// # Errors
/// `Format`, saying what is wrong; `Io` if the file cannot be read.
pub(super) fn parse(contents: &Contents) -> Result<RawTensors> {
    let (metadata, data) = header(contents)?;
    let mut raw = RawTensors::default();
    raw.metadata.extend(metadata.metadata().clone().unwrap_or_default());
    for (name, info) in metadata.tensors() {
        let dtype = match info.dtype {
            Dtype::F32 => Encoding::F32,
            Dtype::F16 => Encoding::F16,
            Dtype::BF16 => Encoding::Bf16,
            Dtype::F64 => Encoding::F64,
            Dtype::F8_E4M3 => Encoding::F8E4M3,
            Dtype::F8_E5M2 => Encoding::F8E5M2,
            other => {
                raw.unsupported.insert(name, format!("{other:?}"));
                continue;
            }
        };
        let (start, end) = info.data_offsets;
        let bytes = data.slice(start as u64..end as u64).expect("checked against the length");
        let tensor = Tensor::new(name.clone(), dtype, info.shape.clone(), bytes)?;
        raw.tensors.insert(name, tensor);
    }
    Ok(raw)
}

/// The header, and the data after it, which are as long as the header says.
fn header(contents: &Contents) -> Result<(Metadata, Contents)> {
    let length = contents.len();
    let wrong = |error: &SafeTensorError| Error::format(explain(error, length));
    let number = contents.slice(0..8).ok_or_else(|| wrong(&SafeTensorError::HeaderTooSmall))?;
    let header = u64::from_le_bytes(number.read()?[..].try_into().expect("8 bytes"));
    if header > MOST_HEADER {
        return Err(wrong(&SafeTensorError::HeaderTooLarge));
    }
    let too_long = || wrong(&SafeTensorError::InvalidHeaderLength);
    let head = contents.slice(0..8 + header).ok_or_else(too_long)?;
    let head = head.read()?;
    // The crate's own reader wants the whole file. It is asked only for what is wrong.
    let Ok(metadata) = serde_json::from_slice::<Metadata>(&head[8..]) else {
        let error = SafeTensors::read_metadata(&head).err();
        return Err(wrong(&error.unwrap_or(SafeTensorError::TensorInvalidInfo)));
    };
    let data = contents.slice(8 + header..length).expect("in bounds");
    if metadata.data_len() as u64 != data.len() {
        return Err(wrong(&SafeTensorError::MetadataIncompleteBuffer));
    }
    Ok((metadata, data))
}

/// A message for each way a file can be wrong.
fn explain(error: &SafeTensorError, length: u64) -> String {
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
