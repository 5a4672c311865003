#![forbid(unsafe_code)]
//! The form of PyTorch's checkpoints before 1.6: five pickles one after the other (a magic number,
//! the version, facts about the machine, the object, the keys of its storages), then for each key
//! the number of elements in 64 bits, and the elements.

use std::collections::BTreeMap;

use super::super::contents::Contents;
use super::super::raw_tensors::RawTensors;
use super::limits::MOST_BYTES;
use super::machine::Pickle;
use super::tensors::tensors;
use super::value::Value;
use crate::base::error::{Error, ErrorKind, Result};

/// 0x1950a86a20f9469cfc6c in little-endian order.
const MAGIC: [u8; 10] = [0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19];
/// The only version there was.
const VERSION: i64 = 1001;

/// The tensors of a file, which share `contents`.
///
/// # Errors
/// `Format`, saying what is wrong; `Unsupported` for a pickle of another kind; `Io` if the file
/// cannot be read.
pub(in crate::checkpoint) fn parse(contents: &Contents) -> Result<RawTensors> {
    let head = contents.slice(0..contents.len().min(MOST_BYTES)).expect("in bounds");
    let bytes = head.read()?;
    let magic = Pickle::read(&bytes, 0)?;
    if !matches!(magic.root, Value::Long(span) if span.of(&bytes) == MAGIC) {
        let message = "a pickle, but not of torch.save";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let version = Pickle::read(&bytes, magic.end)?;
    if version.root != Value::Int(VERSION) {
        let message = format!("a version that is unknown, {VERSION} expected");
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let machine = Pickle::read(&bytes, version.end)?;
    if machine.get(machine.root, "little_endian") != Some(Value::Bool(true)) {
        let message = "saved with big-endian elements";
        return Err(Error::new(ErrorKind::Unsupported, message));
    }
    let object = Pickle::read(&bytes, machine.end)?;
    let keys = Pickle::read(&bytes, object.end)?;
    let storages = storages(contents, &object, &keys)?;
    tensors(&object, |storage| {
        let key = storage.key.of(&bytes);
        let found = storages.get(key).cloned();
        found.ok_or_else(|| {
            let key = String::from_utf8_lossy(key).escape_debug().to_string();
            Error::format(format!("the file has no storage {key}"))
        })
    })
}

/// The bytes of the storages, which follow the last pickle in the order of `keys`.
fn storages<'a>(
    contents: &Contents,
    object: &Pickle<'a>,
    keys: &Pickle<'a>,
) -> Result<BTreeMap<&'a [u8], Contents>> {
    let wrong = |what: &str| Error::format(format!("the list of storages: {what}"));
    let mut declared = BTreeMap::new();
    for storage in &object.arena.storages {
        let facts = (storage.len, storage.element);
        if *declared.entry(storage.key.of(object.bytes)).or_insert(facts) != facts {
            return Err(wrong("one storage with two types or lengths"));
        }
    }
    let order = match keys.root {
        Value::List(id) => keys.arena.items(id),
        _ => return Err(wrong("it is no list")),
    };
    let (mut found, mut at) = (BTreeMap::new(), keys.end as u64);
    for &key in order {
        let key = keys.text(key).ok_or_else(|| wrong("a key that is no text"))?.as_bytes();
        let Some(&(len, element)) = declared.get(key) else {
            return Err(wrong("a storage that the object does not have"));
        };
        let truncated = || wrong("the file ends before its last storage");
        let start = at + 8;
        let count = contents.slice(at..start).ok_or_else(truncated)?;
        let count = u64::from_le_bytes(count.read()?[..].try_into().expect("8 bytes"));
        if count != len {
            return Err(Error::format(format!(
                "a storage of {count} elements, {len} expected, at byte {at}"
            )));
        }
        let end = len.checked_mul(element.size()).and_then(|size| start.checked_add(size));
        let bytes = end.and_then(|end| contents.slice(start..end)).ok_or_else(truncated)?;
        at = start + bytes.len();
        if found.insert(key, bytes).is_some() {
            return Err(wrong("one storage twice"));
        }
    }
    if at != contents.len() {
        return Err(wrong("bytes after the last storage"));
    }
    Ok(found)
}
