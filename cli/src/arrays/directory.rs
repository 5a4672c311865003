//! The directory of a zip archive, checked before anything else reads it: a reader makes room for
//! as many entries as the end of an archive says.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::limits::{MOST_ARRAYS, MOST_DIRECTORY};

const END: &[u8] = b"PK\x05\x06";
/// Bytes of the end record before its comment.
const END_SIZE: usize = 22;
const END64: &[u8] = b"PK\x06\x06";
const END64_SIZE: usize = 56;
const LOCATOR_SIZE: usize = 20;
/// Bytes at the end of a file that the end records are among: with the longest comment.
const TAIL: u64 = (END_SIZE + END64_SIZE + LOCATOR_SIZE + 65535) as u64;

/// A zip archive with a directory of a known size. At first zeros stand before the directory:
/// behind them is one end record alone, so that no reader takes another for it.
pub(super) struct Guarded {
    file: File,
    position: u64,
    floor: Arc<AtomicU64>,
    /// Zeros that were read; who looks for an end record reads backwards from the end.
    hidden: u64,
}

impl Guarded {
    /// The archive `file`, and the place before which zeros stand: 0 opens all of it.
    pub(super) fn new(mut file: File) -> Result<(Self, Arc<AtomicU64>), String> {
        let start = directory(&mut file)?;
        let floor = Arc::new(AtomicU64::new(start));
        Ok((Self { file, position: 0, floor: Arc::clone(&floor), hidden: 0 }, floor))
    }
}

impl Read for Guarded {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let hidden = self.floor.load(Ordering::Relaxed).saturating_sub(self.position);
        if hidden > 0 {
            let read = usize::try_from(hidden).unwrap_or(usize::MAX).min(out.len());
            self.hidden += read as u64;
            if self.hidden > MOST_DIRECTORY {
                return Err(io::Error::other("its directory does not agree with its end"));
            }
            out[..read].fill(0);
            self.position += read as u64;
            return Ok(read);
        }
        self.file.seek(SeekFrom::Start(self.position))?;
        let read = self.file.read(out)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for Guarded {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.position = match to {
            SeekFrom::Start(position) => position,
            SeekFrom::End(_) => self.file.seek(to)?,
            SeekFrom::Current(distance) => {
                self.position.checked_add_signed(distance).ok_or(io::ErrorKind::InvalidInput)?
            }
        };
        Ok(self.position)
    }
}

/// Where the directory begins.
fn directory(file: &mut File) -> Result<u64, String> {
    let wrong = |what: &str| format!("not a valid .npz file: {what}");
    let failed = |error: io::Error| error.to_string();
    let length = file.metadata().map_err(failed)?.len();
    let from = length.saturating_sub(TAIL);
    let tail = part(file, from, length).map_err(failed)?;
    let found = (0..(tail.len() + 1).saturating_sub(END_SIZE)).rev().find(|&at| {
        let comment = usize::from(u16::from_le_bytes([tail[at + 20], tail[at + 21]]));
        tail[at..].starts_with(END) && at + END_SIZE + comment == tail.len()
    });
    let at = found.ok_or_else(|| wrong("a zip archive without its end record"))?;
    let number = |at: usize, size: usize| {
        let bytes = tail[at..at + size].iter().rev();
        bytes.fold(0, |number, &byte| number << 8 | u64::from(byte))
    };
    let (mut count, mut size, mut end) = (number(at + 10, 2), number(at + 12, 4), at);
    // Its numbers of 64 bits are in another record before it.
    let long = at.checked_sub(LOCATOR_SIZE + END64_SIZE);
    if let Some(long) = long.filter(|&long| tail[long..].starts_with(END64)) {
        (count, size, end) = (number(long + 32, 8), number(long + 40, 8), long);
    }
    if count > MOST_ARRAYS {
        return Err(format!("{count} arrays, at most {MOST_ARRAYS} expected"));
    }
    if size > MOST_DIRECTORY {
        return Err(format!("a directory of {size} bytes, at most {MOST_DIRECTORY} expected"));
    }
    let start = (from + end as u64).checked_sub(size);
    let start = start.ok_or_else(|| wrong("a directory larger than the file"))?;
    let rest = part(file, start, length).map_err(failed)?;
    let ends = |mark: &[u8]| rest.windows(mark.len()).filter(|bytes| *bytes == mark).count();
    if ends(END) != 1 || ends(END64) != usize::from(end != at) {
        return Err(wrong("a zip archive with two ends"));
    }
    Ok(start)
}

/// Bytes of a file, of which there are few.
fn part(file: &mut File, start: u64, end: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(start))?;
    file.take(end - start).read_to_end(&mut bytes)?;
    Ok(bytes)
}
