#![forbid(unsafe_code)]
//! GGUF versions 2 and 3, <https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>: metadata,
//! names and shapes of tensors, then their data at aligned offsets. Little-endian.
//!
//! Dimensions come innermost first, so shapes are reversed. ComfyUI-GGUF stores a tensor whose rows
//! are no whole number of blocks in rows of 256, with its shape in the metadata
//! `comfy.gguf.orig_shape.NAME`.

use std::collections::BTreeMap;

use super::contents::Contents;
use super::limits::*;
use super::raw_tensors::{Names, RawTensors};
use super::reader::Reader;
use super::tensor::{Tensor, count};
use crate::base::alloc;
use crate::base::encoding::Encoding;
use crate::base::error::{Error, ErrorKind, Result};

/// What the header says of tensors, for messages.
const INFOS: &str = "the tensors of a header";
const ALIGNMENT: &str = "general.alignment";
const TRUE_SHAPE: &str = "comfy.gguf.orig_shape.";
/// Prefix of the texts that are read.
const GENERAL: &str = "general.";

/// The tensors of a file, which share `contents`.
///
/// # Errors
/// `Format`, saying what is wrong; `Unsupported` for another version; `Io` if the file cannot be
/// read.
pub(super) fn parse(contents: &Contents) -> Result<RawTensors> {
    let mut reader = Reader::new(contents);
    let _mark: [u8; 4] = reader.array("the mark")?;
    check_version(reader.u32("the version")?)?;
    let tensors = reader.u64("the number of tensors")?;
    let pairs = reader.u64("the number of metadata entries")?;
    // The least that each takes: a tensor has lengths of its name and shape, a type and an offset,
    // an entry the length of its key, a type and a byte.
    check_count(&reader, tensors, 24, MOST_TENSORS as u64, "tensors")?;
    check_count(&reader, pairs, 13, MOST_GGUF_ENTRIES, "metadata entries")?;
    let mut raw = RawTensors::default();
    let mut metadata = Metadata { alignment: 32, ..Metadata::default() };
    for _ in 0..pairs {
        metadata.entry(&mut reader, &mut raw)?;
    }
    let (mut infos, mut names) = (alloc::with_capacity(tensors as usize, INFOS)?, Names::default());
    for _ in 0..tensors {
        let info = Info::read(&mut reader)?;
        names.add(&info.name)?;
        infos.push(info);
    }
    let data = reader.position().next_multiple_of(metadata.alignment);
    let mut ranges = alloc::with_capacity(infos.len(), INFOS)?;
    for (at, info) in infos.iter().enumerate() {
        let name = alloc::text(&info.name, INFOS)?;
        let start = info.start(data, metadata.alignment, contents.len())?;
        let encoding = match encoding(info.kind) {
            Ok(encoding) => encoding,
            Err(found) => {
                ranges.push((start, start, at));
                raw.add_unsupported(name, found)?;
                continue;
            }
        };
        let end = info.end(start, encoding, contents.len())?;
        ranges.push((start, end, at));
        let part = contents.slice(start..end).expect("in bounds");
        let true_shape = metadata.shapes.remove(&name);
        let tensor = Tensor::new(name.clone(), encoding, info.shape(true_shape)?, part)?;
        raw.add(name, tensor)?;
    }
    ranges.sort_unstable();
    for pair in ranges.windows(2) {
        if let [(_, end, first), (start, _, second)] = pair
            && end > start
        {
            let [first, second] = [first, second].map(|&at| &infos[at].name);
            let message = format!("corrupt: the data of tensors {first} and {second} overlap");
            return Err(Error::format(message));
        }
    }
    Ok(raw)
}

fn check_version(version: u32) -> Result<()> {
    let message: String = match version {
        2 | 3 => return Ok(()),
        1 => "GGUF version 2 or 3 expected, the short-lived version 1 found".into(),
        _ if [2, 3].contains(&version.swap_bytes()) => {
            "a GGUF file for big-endian processors, little-endian expected".into()
        }
        _ => format!("GGUF version 2 or 3 expected, {version} found"),
    };
    Err(Error::new(ErrorKind::Unsupported, message))
}

/// Checks a count before anything is read or allocated for it.
fn check_count(reader: &Reader<'_>, count: u64, least: u64, most: u64, what: &str) -> Result<()> {
    let left = reader.left();
    if count > left / least {
        let message = format!("truncated or corrupt: {count} {what} in {left} bytes");
        return Err(Error::format(message));
    }
    if count > most {
        return Err(Error::format(format!("at most {most} {what} expected, {count} found")));
    }
    Ok(())
}

/// What matters of the metadata.
#[derive(Default)]
struct Metadata {
    alignment: u64,
    /// True shapes by the names of tensors.
    shapes: BTreeMap<String, Vec<usize>>,
    /// Names of these tensors.
    named: Names,
    /// Texts and arrays in arrays that were announced.
    skipped: u64,
}

/// Types of values in metadata by their numbers; sizes are in [`size`].
const TEXT: u32 = 8;
const ARRAY: u32 = 9;

/// Size of a value of type `kind` in bytes, if all have one size.
fn size(kind: u32) -> Option<u64> {
    match kind {
        // u8, i8, a truth value
        0 | 1 | 7 => Some(1),
        // u16, i16
        2 | 3 => Some(2),
        // u32, i32, f32
        4..=6 => Some(4),
        // u64, i64, f64
        10..=12 => Some(8),
        _ => None,
    }
}

impl Metadata {
    /// Reads an entry, and keeps what matters of it: texts in `raw`.
    fn entry(&mut self, reader: &mut Reader<'_>, raw: &mut RawTensors) -> Result<()> {
        let key = name(reader, "a key of metadata")?;
        let kind = reader.u32("the type of metadata")?;
        let wrong = |what: String| Error::format(format!("metadata {key}: {what}"));
        if key == ALIGNMENT {
            let found = natural(reader, kind).map_err(|error| error.within(&key))?;
            if !found.is_power_of_two() || found > u64::from(u32::MAX) {
                return Err(wrong(format!("a power of two expected, {found} found")));
            }
            self.alignment = found;
        } else if let (Some(tensor), ARRAY) = (key.strip_prefix(TRUE_SHAPE), kind) {
            let kind = reader.u32("the type of an array")?;
            let count = reader.u64("the length of an array")?;
            if count > MOST_GGUF_AXES {
                return Err(wrong(format!(
                    "at most {MOST_GGUF_AXES} axes expected, {count} found"
                )));
            }
            let sides = (0..count)
                .map(|_| side(natural(reader, kind)?))
                .collect::<Result<_>>()
                .map_err(|error| error.within(&key))?;
            self.named.add(tensor)?;
            self.shapes.insert(tensor.to_owned(), sides);
        } else if key.starts_with(GENERAL) && kind == TEXT {
            let length = reader.u64("the length of a text")?;
            if length > MOST_GGUF_TEXT {
                reader.part(length, "a text")?;
            } else {
                let text = reader.text(length, "a text").map_err(|error| error.within(&key))?;
                raw.describe(key, text)?;
            }
        } else {
            self.skip(reader, kind, 0).map_err(|error| error.within(&key))?;
        }
        Ok(())
    }

    /// Skips a value of type `kind` that lies in `depth` arrays.
    fn skip(&mut self, reader: &mut Reader<'_>, kind: u32, depth: usize) -> Result<()> {
        if let Some(size) = size(kind) {
            reader.part(size, "a number")?;
        } else if kind == TEXT {
            let length = reader.u64("the length of a text")?;
            reader.part(length, "a text")?;
        } else if kind == ARRAY {
            let kind = reader.u32("the type of an array")?;
            let count = reader.u64("the length of an array")?;
            if depth == MOST_GGUF_DEPTH {
                return Err(Error::format(format!("over {MOST_GGUF_DEPTH} arrays in each other")));
            }
            // A text has its length, an array a type and a length.
            let least = size(kind).unwrap_or(if kind == ARRAY { 12 } else { 8 });
            let left = reader.left();
            if count > left / least {
                return Err(Error::format(format!(
                    "truncated or corrupt: an array of {count} values in {left} bytes"
                )));
            }
            if size(kind).is_some() {
                reader.part(count * least, "an array")?;
            } else {
                self.skipped = self.skipped.saturating_add(count);
                if self.skipped > MOST_GGUF_SKIPPED {
                    return Err(Error::format(format!("over {MOST_GGUF_SKIPPED} texts in arrays")));
                }
                (0..count).try_for_each(|_| self.skip(reader, kind, depth + 1))?;
            }
        } else {
            return Err(Error::format(format!(
                "a type of metadata from 0 to 12 expected, {kind} found"
            )));
        }
        Ok(())
    }
}

/// A whole number of type `kind`, from 0.
fn natural(reader: &mut Reader<'_>, kind: u32) -> Result<u64> {
    let wrong = || Error::format("a whole number from 0 expected");
    let is_whole = matches!(kind, 0..=5 | 10 | 11);
    let size = size(kind).filter(|_| is_whole).ok_or_else(wrong)?;
    let mut number = 0;
    for shift in 0..size {
        let [byte] = reader.array("a number")?;
        number |= u64::from(byte) << (8 * shift);
    }
    let is_signed = matches!(kind, 1 | 3 | 5 | 11);
    if is_signed && number >> (8 * size - 1) != 0 {
        return Err(wrong());
    }
    Ok(number)
}

/// What the header says of a tensor.
struct Info {
    name: String,
    /// Innermost first.
    dimensions: Vec<usize>,
    kind: u32,
    /// From the beginning of the data.
    offset: u64,
}

impl Info {
    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let name = name(reader, "the name of a tensor")?;
        let axes = reader.u32("the number of dimensions")?;
        if axes > MOST_GGUF_DIMENSIONS {
            return Err(Error::format(format!(
                "tensor {name}: at most {MOST_GGUF_DIMENSIONS} dimensions expected, {axes} found"
            )));
        }
        let dimension = |_| side(reader.u64("a dimension")?);
        let dimensions = (0..axes)
            .map(dimension)
            .collect::<Result<_>>()
            .map_err(|error| error.within(format!("tensor {name}")))?;
        let kind = reader.u32("the type of a tensor")?;
        let offset = reader.u64("the offset of a tensor")?;
        Ok(Self { name, dimensions, kind, offset })
    }

    fn wrong(&self, what: impl Into<String>) -> Error {
        Error::format(format!("tensor {}: {}", self.name, what.into()))
    }

    /// Where its data begin in a file of `length` bytes whose data begin at `data`.
    fn start(&self, data: u64, alignment: u64, length: u64) -> Result<u64> {
        let offset = self.offset;
        if !offset.is_multiple_of(alignment) {
            return Err(self.wrong(format!(
                "an offset that is a multiple of {alignment} expected, {offset} found"
            )));
        }
        data.checked_add(offset).filter(|&start| start <= length).ok_or_else(|| {
            self.wrong(format!("truncated or corrupt: offset {offset} in a file of {length} bytes"))
        })
    }

    /// Where its data end.
    fn end(&self, start: u64, encoding: Encoding, length: u64) -> Result<u64> {
        let (block, _) = encoding.block();
        let row = self.dimensions.first().copied().unwrap_or(1);
        if !row.is_multiple_of(block) {
            return Err(self.wrong(format!(
                "rows of a multiple of {block} elements expected ({encoding}), {row} found"
            )));
        }
        let bytes = count(&self.dimensions).and_then(|elements| encoding.bytes(elements));
        let bytes = bytes
            .ok_or_else(|| self.wrong(format!("dimensions {:?} that overflow", self.dimensions)))?
            as u64;
        start.checked_add(bytes).filter(|&end| end <= length).ok_or_else(|| {
            self.wrong(format!(
                "truncated or corrupt: {bytes} bytes at byte {start} of a file of {length} bytes"
            ))
        })
    }

    /// The shape in row-major order, or `true_shape` of the same size.
    fn shape(&self, true_shape: Option<Vec<usize>>) -> Result<Vec<usize>> {
        let in_file: Vec<usize> = self.dimensions.iter().rev().copied().collect();
        let Some(shape) = true_shape else { return Ok(in_file) };
        if count(&shape) != count(&in_file) {
            return Err(self.wrong(format!(
                "a true shape with as many elements as {in_file:?} expected, {shape:?} found"
            )));
        }
        Ok(shape)
    }
}

fn side(side: u64) -> Result<usize> {
    usize::try_from(side).map_err(|_| Error::format(format!("a dimension of {side}")))
}

fn name(reader: &mut Reader<'_>, what: &str) -> Result<String> {
    let length = reader.u64(what)?;
    if length > MOST_NAME as u64 {
        return Err(Error::format(format!(
            "{what}: at most {MOST_NAME} bytes expected, {length} found"
        )));
    }
    reader.text(length, what)
}

/// The encoding that ggml's type number `kind` is, or the name of a type that no weight has.
fn encoding(kind: u32) -> std::result::Result<Encoding, String> {
    Err(match kind {
        0 => return Ok(Encoding::F32),
        1 => return Ok(Encoding::F16),
        2 => return Ok(Encoding::Q4_0),
        3 => return Ok(Encoding::Q4_1),
        6 => return Ok(Encoding::Q5_0),
        7 => return Ok(Encoding::Q5_1),
        8 => return Ok(Encoding::Q8_0),
        10 => return Ok(Encoding::Q2K),
        11 => return Ok(Encoding::Q3K),
        12 => return Ok(Encoding::Q4K),
        13 => return Ok(Encoding::Q5K),
        14 => return Ok(Encoding::Q6K),
        28 => return Ok(Encoding::F64),
        30 => return Ok(Encoding::Bf16),
        9 => "q8_1".into(),
        15 => "q8_k".into(),
        16 => "iq2_xxs".into(),
        17 => "iq2_xs".into(),
        18 => "iq3_xxs".into(),
        19 => "iq1_s".into(),
        20 => "iq4_nl".into(),
        21 => "iq3_s".into(),
        22 => "iq2_s".into(),
        23 => "iq4_xs".into(),
        24 => "i8".into(),
        25 => "i16".into(),
        26 => "i32".into(),
        27 => "i64".into(),
        29 => "iq1_m".into(),
        34 => "tq1_0".into(),
        35 => "tq2_0".into(),
        39 => "mxfp4".into(),
        40 => "nvfp4".into(),
        _ => format!("ggml type {kind}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::Bytes;

    /// A file of zeros, which are empty texts, without a tensor.
    #[test]
    fn arrays_of_texts_end() {
        let parsed = |count: u64| {
            let mut bytes = b"GGUF\x03\0\0\0".to_vec();
            bytes.extend([0, 1, 1].iter().flat_map(|number: &u64| number.to_le_bytes()));
            bytes.push(b'a');
            bytes.extend([ARRAY, TEXT].iter().flat_map(|kind| kind.to_le_bytes()));
            bytes.extend(count.to_le_bytes());
            bytes.resize(bytes.len() + 8 * count as usize, 0);
            parse(&Contents::Memory(Bytes::new(bytes))).map(|_| ())
        };
        parsed(1000).unwrap();
        let error = parsed(MOST_GGUF_SKIPPED + 1).unwrap_err();
        assert!(error.message().contains("a: over 4194304 texts"), "{error}");
    }
}
