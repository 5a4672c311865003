#![forbid(unsafe_code)]
//! The bytes of a checkpoint or of a part of it: in memory, still in their file, or deflated.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use super::deflate::{self, Inflated};
use crate::base::alloc;
use crate::base::buffer::Bytes;
use crate::base::error::{Error, Result};
use crate::base::watched_file::WatchedFile;
use crate::os;

/// Bytes, wherever they are. A part of them shares their memory or their file.
#[derive(Clone)]
pub(crate) enum Contents {
    /// In memory: a mapped file, or the caller's bytes.
    Memory(Bytes),
    /// In a file that is not mapped.
    File { file: Arc<WatchedFile>, range: Range<u64> },
    /// A part of what `compressed` inflates to, inflated whenever it is read.
    Deflated { compressed: Arc<Contents>, whole: Inflated, range: Range<u64> },
    /// Pieces one after the other.
    Pieces(Vec<Contents>),
}

impl Contents {
    /// All of `file`, which is read when bytes are needed.
    pub(super) fn file(file: Arc<WatchedFile>) -> Self {
        let range = 0..file.bytes();
        Self::File { file, range }
    }

    /// Adds the files that the bytes are in to `files`, each once.
    pub(crate) fn add_files(&self, files: &mut Vec<Arc<WatchedFile>>) {
        let file = match self {
            Self::Memory(bytes) => bytes.file(),
            Self::File { file, .. } => Some(file),
            Self::Deflated { compressed, .. } => return compressed.add_files(files),
            Self::Pieces(pieces) => return pieces.iter().for_each(|piece| piece.add_files(files)),
        };
        let Some(file) = file else { return };
        if !files.iter().any(|other| Arc::ptr_eq(other, file)) {
            files.push(Arc::clone(file));
        }
    }

    /// All that `compressed` inflates to.
    pub(super) fn deflated(compressed: Contents, whole: Inflated) -> Self {
        Self::Deflated { compressed: Arc::new(compressed), whole, range: 0..whole.len }
    }

    /// Whether the bytes are in memory, as those of a mapped file are.
    pub(super) fn is_memory(&self) -> bool {
        matches!(self, Self::Memory(_))
    }

    /// Whether more than `limit` bytes are inflated before these, or after them for naught.
    pub(super) fn inflates_beside(&self, limit: u64) -> bool {
        match self {
            Self::Deflated { whole, range, .. } => {
                whole.len > limit && (range.start, range.end) != (0, whole.len)
            }
            _ => false,
        }
    }

    pub(crate) fn len(&self) -> u64 {
        match self {
            Self::Memory(bytes) => bytes.len() as u64,
            Self::File { range, .. } | Self::Deflated { range, .. } => range.end - range.start,
            Self::Pieces(pieces) => pieces.iter().map(Self::len).sum(),
        }
    }

    /// The bytes `range`; `None` if it is out of bounds.
    pub(crate) fn slice(&self, range: Range<u64>) -> Option<Self> {
        if range.start > range.end || range.end > self.len() {
            return None;
        }
        Some(match self {
            // In bounds of a length in memory, so a `usize`.
            Self::Memory(bytes) => {
                Self::Memory(bytes.slice(range.start as usize..range.end as usize))
            }
            Self::File { file, range: all } => {
                let range = all.start + range.start..all.start + range.end;
                Self::File { file: Arc::clone(file), range }
            }
            Self::Deflated { compressed, whole, range: all } => {
                let range = all.start + range.start..all.start + range.end;
                Self::Deflated { compressed: Arc::clone(compressed), whole: *whole, range }
            }
            Self::Pieces(pieces) => {
                let mut at = 0;
                let mut parts = Vec::new();
                for piece in pieces {
                    let (start, end) = (range.start.max(at), range.end.min(at + piece.len()));
                    if start < end {
                        parts.extend(piece.slice(start - at..end - at));
                    }
                    at += piece.len();
                }
                Self::Pieces(parts)
            }
        })
    }

    /// The bytes, copied unless they are in memory.
    ///
    /// # Errors
    /// `Io`, naming the file, if it cannot be read or was written since it was opened, `Format` if
    /// deflated bytes are corrupt.
    pub(crate) fn read(&self) -> Result<Cow<'_, [u8]>> {
        if let Self::Memory(bytes) = self {
            return Ok(Cow::Borrowed(bytes));
        }
        let mut out = Vec::new();
        self.append(&mut out)?;
        Ok(Cow::Owned(out))
    }

    fn append(&self, out: &mut Vec<u8>) -> Result<()> {
        match self {
            Self::Memory(bytes) => {
                alloc::reserve(out, bytes.len(), "a part of a file")?;
                out.extend_from_slice(bytes);
            }
            Self::File { file, range } => {
                let from = out.len();
                let length = usize::try_from(range.end - range.start)
                    .map_err(|_| Error::format("more bytes than the address space has"))?;
                out.try_reserve_exact(length)
                    .map_err(|_| alloc::out_of_memory("a part of a file", length))?;
                out.resize(from + length, 0);
                let read = os::read_at(file.file(), &mut out[from..], range.start);
                // First: it says why, if the file has become too short.
                file.check()?;
                read.map_err(|error| Error::io(file.path().display(), error))?;
            }
            Self::Deflated { compressed, whole, range } => {
                deflate::inflate(&compressed.read()?, *whole, range.clone(), out)?;
            }
            Self::Pieces(pieces) => pieces.iter().try_for_each(|piece| piece.append(out))?,
        }
        Ok(())
    }

    /// Returns memory that can be read again to the system.
    pub(crate) fn release(&self) {
        match self {
            Self::Memory(bytes) => bytes.release(),
            Self::File { .. } => {}
            Self::Deflated { compressed, .. } => compressed.release(),
            Self::Pieces(pieces) => pieces.iter().for_each(Self::release),
        }
    }

    /// Bytes in memory for as long as the checkpoint is open.
    pub(crate) fn resident(&self) -> usize {
        match self {
            Self::Memory(bytes) if bytes.releases() => 0,
            Self::Memory(bytes) => bytes.len(),
            Self::File { .. } => 0,
            // In proportion: parts of the same bytes share them.
            Self::Deflated { compressed, whole, .. } => {
                let share = compressed.resident() as u128 * u128::from(self.len());
                share.div_ceil(u128::from(whole.len.max(1))) as usize
            }
            Self::Pieces(pieces) => pieces.iter().map(Self::resident).sum(),
        }
    }

    /// Bytes in memory while [`Contents::read`]'s result lives, beside those that are resident.
    pub(crate) fn passing(&self) -> usize {
        match self {
            Self::Memory(_) => self.touched(),
            _ => self.len() as usize + self.touched(),
        }
    }

    /// Bytes in memory while these are copied, beside the copy and those that are resident.
    fn touched(&self) -> usize {
        match self {
            Self::Memory(bytes) if bytes.releases() => bytes.len(),
            Self::Memory(_) | Self::File { .. } => 0,
            Self::Deflated { compressed, .. } => compressed.passing() + deflate::WORKING,
            Self::Pieces(pieces) => pieces.iter().map(Self::touched).sum(),
        }
    }
}
