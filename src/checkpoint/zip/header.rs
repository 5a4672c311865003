#![forbid(unsafe_code)]
//! The two headers of a zip entry: one in the directory, one before its data.

use super::super::contents::Contents;
use super::super::cursor::Cursor;
use super::super::limits::MOST_ZIP_NAME;
use crate::base::error::{Error, ErrorKind, Result};

const CENTRAL: &[u8] = b"PK\x01\x02";
const LOCAL: &[u8] = b"PK\x03\x04";
const LOCAL_SIZE: u64 = 30;
/// The extra field with sizes and offsets of 64 bits.
const ZIP64: u16 = 1;
/// What stands in a field of 32 bits for one of 64 in that extra field.
const SATURATED: u64 = 0xffff_ffff;

/// Bits of the flags: encrypted, strongly encrypted, with the local header masked.
const ENCRYPTED: u16 = 1 << 0 | 1 << 6 | 1 << 13;
/// The sizes and the CRC stand after the data, and need not stand in the local header.
const TRAILING: u16 = 1 << 3;
/// The data are a patch for other data.
const PATCHED: u16 = 1 << 5;

/// How an entry is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Plain,
    Deflated,
}

/// An entry of the directory.
pub(super) struct Central {
    pub(super) name: String,
    flags: u16,
    pub(super) method: Method,
    pub(super) crc: u32,
    /// Bytes in the file.
    pub(super) compressed: u64,
    /// Bytes when inflated.
    pub(super) size: u64,
    /// Where its local header is.
    pub(super) offset: u64,
}

impl Central {
    /// The next entry of the directory.
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Self> {
        let at = cursor.at();
        if cursor.take(4)? != CENTRAL {
            return Err(Error::format(format!("no entry at {at} of the zip directory")));
        }
        cursor.take(4)?; // Versions: made by, needed.
        let (flags, method) = (cursor.u16()?, cursor.u16()?);
        cursor.take(4)?; // Time and date.
        let crc = cursor.u32()?;
        let (compressed, size) = (cursor.u32()?.into(), cursor.u32()?.into());
        let (name, extra, comment) = (cursor.u16()?, cursor.u16()?, cursor.u16()?);
        let disk = cursor.u16()?;
        cursor.take(6)?; // Attributes.
        let offset = cursor.u32()?.into();
        if name > MOST_ZIP_NAME {
            let message = format!("a name of {name} bytes in the zip, at most {MOST_ZIP_NAME}");
            return Err(Error::format(message));
        }
        let name = std::str::from_utf8(cursor.take(name.into())?)
            .ok()
            .filter(|name| !name.chars().any(char::is_control))
            .ok_or_else(|| Error::format(format!("no name at {at} of the zip directory")))?
            .to_owned();
        let extra = cursor.take(extra.into())?;
        cursor.take(comment.into())?;
        let within = |error: Error| error.within(format!("entry {name}"));
        let [size, compressed, offset] =
            widened([size, compressed, offset], extra).map_err(within)?;
        let unsupported = |what: String| Err(within(Error::new(ErrorKind::Unsupported, what)));
        if flags & ENCRYPTED != 0 {
            return unsupported("it is encrypted".into());
        }
        if flags & PATCHED != 0 || disk != 0 {
            return unsupported("it is a patch, or in another part of the archive".into());
        }
        let method = match method {
            0 => Method::Plain,
            8 => Method::Deflated,
            other => return unsupported(format!("compression method {other}")),
        };
        Ok(Self { name, flags, method, crc, compressed, size, offset })
    }

    /// Checks the local header. Returns where the data begin; `None` if that is outside the file.
    pub(super) fn check_local(&self, contents: &Contents) -> Result<Option<u64>> {
        let bytes = |start: u64, size: u64| contents.slice(start..start.checked_add(size)?);
        let Some(header) = bytes(self.offset, LOCAL_SIZE) else { return Ok(None) };
        let header = header.read()?;
        let mut cursor = Cursor::new(&header, 0);
        let signature = cursor.take(4)?;
        cursor.take(2)?; // Version needed.
        let (flags, method) = (cursor.u16()?, cursor.u16()?);
        cursor.take(4)?; // Time and date.
        let crc = cursor.u32()?;
        let (compressed, size) = (cursor.u32()?.into(), cursor.u32()?.into());
        let (name, extra) = (u64::from(cursor.u16()?), u64::from(cursor.u16()?));
        let Some(rest) = bytes(self.offset + LOCAL_SIZE, name + extra) else { return Ok(None) };
        let rest = rest.read()?;
        let (local_name, extra_field) = rest.split_at(name as usize);
        let [size, compressed, _] = widened([size, compressed, 0], extra_field)?;
        let trailing = flags & TRAILING != 0;
        let agrees = |local: u64, central: u64| local == central || trailing && local == 0;
        let method = match method {
            0 => Some(Method::Plain),
            8 => Some(Method::Deflated),
            _ => None,
        };
        let same = signature == LOCAL
            && flags == self.flags
            && method == Some(self.method)
            && local_name == self.name.as_bytes()
            && agrees(crc.into(), self.crc.into())
            && agrees(compressed, self.compressed)
            && agrees(size, self.size);
        if !same {
            let message = "its local header does not agree with the zip directory";
            return Err(Error::format(message));
        }
        Ok(Some(self.offset + LOCAL_SIZE + name + extra))
    }
}

/// `fields`, in the order of the zip64 extra field, with its values for those that are saturated.
fn widened(mut fields: [u64; 3], extra: &[u8]) -> Result<[u64; 3]> {
    if fields.iter().all(|&field| field != SATURATED) {
        return Ok(fields);
    }
    let missing = || Error::format("its zip64 field is missing or too short");
    let mut cursor = Cursor::new(extra, 0);
    while cursor.left() > 0 {
        let (id, size) = (cursor.u16()?, cursor.u16()?);
        let value = cursor.take(size.into())?;
        if id == ZIP64 {
            let mut values = Cursor::new(value, 0);
            for field in fields.iter_mut().filter(|field| **field == SATURATED) {
                *field = values.u64().map_err(|_| missing())?;
            }
            return Ok(fields);
        }
    }
    Err(missing())
}
