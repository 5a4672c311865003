#![forbid(unsafe_code)]
//! The records at the end of a zip archive: where its directory is, and how many entries it has.

use std::ops::Range;

use super::super::contents::Contents;
use super::super::cursor::Cursor;
use super::super::limits::MOST_ZIP_ENTRIES;
use crate::base::error::{Error, ErrorKind, Result};

const END: &[u8] = b"PK\x05\x06";
/// Bytes of the end record before its comment.
const END_SIZE: usize = 22;
/// The longest comment that its 16 bits can tell.
const MOST_COMMENT: usize = 65535;

const END64: &[u8] = b"PK\x06\x06";
const END64_SIZE: u64 = 56;
const LOCATOR: &[u8] = b"PK\x06\x07";
const LOCATOR_SIZE: u64 = 20;

/// Where the directory of an archive is.
pub(super) struct Directory {
    pub(super) range: Range<u64>,
    pub(super) count: u64,
}

/// The fields of an end record, of either kind.
#[derive(Clone, Copy)]
struct End {
    disk: u32,
    directory_disk: u32,
    count_here: u64,
    count: u64,
    size: u64,
    offset: u64,
}

impl Directory {
    /// Finds the directory, which must end where the end records begin.
    ///
    /// # Errors
    /// `Format` if there is none, or the records do not agree; `Unsupported` for archives in
    /// several parts.
    pub(super) fn find(contents: &Contents) -> Result<Self> {
        let length = contents.len();
        let tail_start = length.saturating_sub((END_SIZE + MOST_COMMENT) as u64);
        let tail = contents.slice(tail_start..length).expect("in bounds");
        let tail = tail.read()?;
        let mut ends = (0..(tail.len() + 1).saturating_sub(END_SIZE)).filter(|&at| {
            let comment = usize::from(u16::from_le_bytes([tail[at + 20], tail[at + 21]]));
            tail[at..].starts_with(END) && at + END_SIZE + comment == tail.len()
        });
        let Some(at) = ends.next() else {
            return Err(Error::format("truncated: a zip archive without its end record"));
        };
        // Readers take the first or the last of them.
        let comment = &tail[at + END_SIZE..];
        if ends.next().is_some() || comment.windows(END.len()).any(|part| part == END) {
            return Err(Error::format("a zip archive with two end records"));
        }
        let at_end = tail_start + at as u64;
        let end = End::short(&mut Cursor::new(&tail, at + END.len()))?;
        let (end, records) = match End::long(contents, at_end)? {
            Some((long, start)) if end.agrees_with(&long) => (long, start),
            Some(_) => return Err(Error::format("the two end records of the zip disagree")),
            None if end.is_saturated() => {
                return Err(Error::format("the zip archive lacks its zip64 end record"));
            }
            None => (end, at_end),
        };
        let End { count, size, offset, .. } = end;
        if end.disk != 0 || end.directory_disk != 0 || end.count_here != count {
            let message = "a zip archive in several parts";
            return Err(Error::new(ErrorKind::Unsupported, message));
        }
        if count > MOST_ZIP_ENTRIES {
            let message = format!("{count} entries in the zip archive, at most {MOST_ZIP_ENTRIES}");
            return Err(Error::format(message));
        }
        if offset.checked_add(size) != Some(records) {
            return Err(Error::format(format!(
                "the zip directory, {size} bytes at {offset}, does not end at {records}, where \
                 its end record begins"
            )));
        }
        Ok(Self { range: offset..records, count })
    }
}

impl End {
    /// The record of 32 bits, after its signature.
    fn short(cursor: &mut Cursor<'_>) -> Result<Self> {
        Ok(Self {
            disk: cursor.u16()?.into(),
            directory_disk: cursor.u16()?.into(),
            count_here: cursor.u16()?.into(),
            count: cursor.u16()?.into(),
            size: cursor.u32()?.into(),
            offset: cursor.u32()?.into(),
        })
    }

    /// The record of 64 bits before that of 32 at `before`, and its offset; `None` if there is
    /// none.
    fn long(contents: &Contents, before: u64) -> Result<Option<(Self, u64)>> {
        let locator = before.checked_sub(LOCATOR_SIZE).and_then(|at| contents.slice(at..before));
        let Some(locator) = locator else { return Ok(None) };
        let locator = locator.read()?;
        let mut cursor = Cursor::new(&locator, 0);
        if cursor.take(4)? != LOCATOR {
            return Ok(None);
        }
        let (disk, offset, disks) = (cursor.u32()?, cursor.u64()?, cursor.u32()?);
        let range = offset..before - LOCATOR_SIZE;
        let exact = range.start.checked_add(END64_SIZE) == Some(range.end);
        let record = contents.slice(range).filter(|_| exact && disk == 0 && disks == 1);
        let wrong = || Error::format("the zip64 end record is not where it is said to be");
        let record = record.ok_or_else(wrong)?;
        let record = record.read()?;
        let mut cursor = Cursor::new(&record, 0);
        if cursor.take(4)? != END64 || cursor.u64()? != END64_SIZE - 12 {
            return Err(wrong());
        }
        cursor.take(4)?; // Versions: made by, needed.
        let end = Self {
            disk: cursor.u32()?,
            directory_disk: cursor.u32()?,
            count_here: cursor.u64()?,
            count: cursor.u64()?,
            size: cursor.u64()?,
            offset: cursor.u64()?,
        };
        Ok(Some((end, offset)))
    }

    /// The fields, each with the value that says that only the record of 64 bits has it.
    fn fields(&self) -> [(u64, u64); 6] {
        let (word, double) = (u64::from(u16::MAX), u64::from(u32::MAX));
        [
            (self.disk.into(), word),
            (self.directory_disk.into(), word),
            (self.count_here, word),
            (self.count, word),
            (self.size, double),
            (self.offset, double),
        ]
    }

    fn is_saturated(&self) -> bool {
        self.fields().iter().any(|(value, most)| value == most)
    }

    /// Whether this record of 32 bits has the same values as `long`, or leaves them to it.
    fn agrees_with(&self, long: &Self) -> bool {
        let pairs = self.fields().into_iter().zip(long.fields());
        pairs.into_iter().all(|((short, most), (long, _))| short == long || short == most)
    }
}
