#![forbid(unsafe_code)]
//! The safetensors format, <https://github.com/huggingface/safetensors>: a JSON header of names,
//! dtypes, shapes and offsets, then the data.

use std::borrow::Cow;

use super::contents::Contents;
use super::limits::{MOST_AXES, MOST_HEADER};
use super::raw_tensors::{Names, RawTensors};
use super::tensor::{Tensor, count};
use super::text::shortened;
use crate::base::alloc;
use crate::base::encoding::Encoding;
use crate::base::error::{Error, Result};
use crate::base::json::{Kind, Reader};

/// What is said of a header that is none.
const OTHERWISE: &str = "not a valid safetensors file";
/// What the header says of tensors, for messages.
const INFOS: &str = "the tensors of a header";

/// Name of a dtype, bits of an element, and the encoding if weights can have it.
type Dtype = (&'static str, usize, Option<Encoding>);

#[rustfmt::skip] // A table, which rustfmt would put one to a line.
const DTYPES: [Dtype; 22] = [
    ("F32", 32, Some(Encoding::F32)), ("F16", 16, Some(Encoding::F16)),
    ("BF16", 16, Some(Encoding::Bf16)), ("F64", 64, Some(Encoding::F64)),
    ("F8_E4M3", 8, Some(Encoding::F8E4M3)), ("F8_E5M2", 8, Some(Encoding::F8E5M2)),
    ("F8_E4M3FNUZ", 8, None), ("F8_E5M2FNUZ", 8, None), ("F8_E8M0", 8, None), ("F4", 4, None),
    ("F6_E2M3", 6, None), ("F6_E3M2", 6, None), ("BOOL", 8, None), ("U8", 8, None),
    ("I8", 8, None), ("U16", 16, None), ("I16", 16, None), ("U32", 32, None), ("I32", 32, None),
    ("U64", 64, None), ("I64", 64, None), ("C64", 64, None),
];

/// The tensors of a file, which share `contents`.
///
/// # Errors
/// `Format`, saying what is wrong; `Io` if the file cannot be read.
pub(super) fn parse(contents: &Contents) -> Result<RawTensors> {
    let length = contents.len();
    let number = contents
        .slice(0..8)
        .ok_or_else(|| Error::format(format!("truncated: {length} bytes hold no header length")))?;
    let size = u64::from_le_bytes(number.read()?[..].try_into().expect("8 bytes"));
    if size > MOST_HEADER {
        let most = MOST_HEADER >> 20;
        return Err(Error::format(format!(
            "the header's length is over {most} MiB: not safetensors"
        )));
    }
    let head = contents.slice(8..8 + size).ok_or_else(|| {
        Error::format(format!(
            "truncated, or not safetensors: the header is longer than the file's {length} bytes"
        ))
    })?;
    let head = head.read()?;
    let text = std::str::from_utf8(&head)
        .map_err(|error| Error::format(format!("{OTHERWISE}: the header is not UTF-8: {error}")))?;
    let data = contents.slice(8 + size..length).expect("in bounds");

    let (mut raw, infos) = header(text)?;
    check_offsets(&infos)?;
    let end = infos.iter().map(|info| info.end).max().unwrap_or(0);
    if end != data.len() {
        return Err(Error::format(format!(
            "truncated or corrupt: the tensors' data do not fill the file's {length} bytes"
        )));
    }
    for Info { name, dtype: (dtype, _, encoding), shape, start, end } in infos {
        match encoding {
            Some(encoding) => {
                let part = data.slice(start..end).expect("checked against the length");
                let in_file = alloc::text(&name, INFOS)?;
                raw.add(name, Tensor::new(in_file, encoding, shape, part)?)?;
            }
            None => raw.add_unsupported(name, dtype.to_owned())?,
        }
    }
    Ok(raw)
}

/// What the header says of a tensor.
struct Info {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    /// Where its data are, from the end of the header.
    start: u64,
    end: u64,
}

/// The tensors of a header, and what the file says of itself.
fn header(text: &str) -> Result<(RawTensors, Vec<Info>)> {
    let (mut raw, mut infos, mut names) = (RawTensors::default(), Vec::new(), Names::default());
    let mut reader = Reader::new(text, OTHERWISE);
    reader.object(|reader, name| {
        if name == "__metadata__" {
            return match reader.kind()? {
                Kind::Object => reader.object(|reader, key| {
                    let text = reader.text()?;
                    raw.describe(owned(key)?, owned(text)?)
                }),
                _ => reader.value().map(|_| ()),
            };
        }
        names.add(&name)?;
        let info = Info::read(reader, &name)?;
        alloc::push(&mut infos, info, INFOS)
    })?;
    reader.end()?;
    Ok((raw, infos))
}

impl Info {
    fn read(reader: &mut Reader<'_>, name: &str) -> Result<Self> {
        let wrong = |what: String| {
            Error::format(format!("{OTHERWISE}: tensor {}: {what}", shortened(name)))
        };
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        reader.object(|reader, key| {
            match &*key {
                "dtype" => {
                    let found = reader.text()?;
                    let known = DTYPES.into_iter().find(|row| row.0 == found);
                    let unknown = || wrong(format!("the dtype {} is unknown", shortened(&found)));
                    dtype = Some(known.ok_or_else(unknown)?);
                }
                "shape" => {
                    let too_many = || wrong(format!("at most {MOST_AXES} axes expected"));
                    shape = Some(naturals(reader, MOST_AXES)?.ok_or_else(too_many)?);
                }
                "data_offsets" => {
                    let other = || wrong("two data_offsets expected".into());
                    let pair = naturals(reader, 2)?.and_then(|pair| <[_; 2]>::try_from(pair).ok());
                    offsets = Some(pair.ok_or_else(other)?);
                }
                _ => _ = reader.value()?,
            }
            Ok(())
        })?;
        let (Some(dtype), Some(shape), Some([start, end])) = (dtype, shape, offsets) else {
            return Err(wrong("dtype, shape and data_offsets expected".into()));
        };
        let shape: Option<Vec<usize>> = shape.into_iter().map(|n| n.try_into().ok()).collect();
        let shape = shape.ok_or_else(|| overflows(name))?;
        Ok(Self { name: alloc::text(name, INFOS)?, dtype, shape, start, end })
    }
}

/// The numbers of a list; `None` if there are more than `most`.
fn naturals(reader: &mut Reader<'_>, most: usize) -> Result<Option<Vec<u64>>> {
    let (mut numbers, mut is_long) = (Vec::new(), false);
    reader.list(|reader| {
        is_long |= numbers.len() == most;
        let number = reader.natural()?;
        if !is_long {
            numbers.push(number);
        }
        Ok(())
    })?;
    Ok((!is_long).then_some(numbers))
}

/// Checks that the data follow each other without a gap, each as long as dtype and shape say.
fn check_offsets(infos: &[Info]) -> Result<()> {
    let mut order = alloc::collected(0..infos.len(), INFOS)?;
    order.sort_unstable_by_key(|&at| (infos[at].start, infos[at].end));
    let mut next = 0;
    for info in order.into_iter().map(|at| &infos[at]) {
        let name = shortened(&info.name);
        if info.start != next || info.end < info.start {
            return Err(Error::format(format!(
                "corrupt: the offsets of tensor {name} overlap another's or leave a gap"
            )));
        }
        next = info.end;
        let bits = count(&info.shape).and_then(|elements| elements.checked_mul(info.dtype.1));
        let bits = bits.ok_or_else(|| overflows(&info.name))?;
        if !bits.is_multiple_of(8) || (bits / 8) as u64 != info.end - info.start {
            return Err(Error::format(format!(
                "corrupt: the offsets of tensor {name} do not agree with its dtype and shape"
            )));
        }
    }
    Ok(())
}

fn overflows(name: &str) -> Error {
    Error::format(format!("corrupt: the shape of tensor {} overflows", shortened(name)))
}

fn owned(text: Cow<'_, str>) -> Result<String> {
    match text {
        Cow::Owned(text) => Ok(text),
        Cow::Borrowed(text) => alloc::text(text, "the metadata of a header"),
    }
}
