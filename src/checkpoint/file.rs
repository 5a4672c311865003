#![forbid(unsafe_code)]
//! The contents of a file: mapped into memory, or read when they are needed.

use std::fs::FileType;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::contents::Contents;
use crate::base::buffer::{Bytes, Owner};
use crate::base::error::{Error, Result};
use crate::base::watched_file::WatchedFile;
use crate::os::{self, FileMap};

/// A mapped file, open to be watched.
struct Mapped {
    map: FileMap,
    file: Arc<WatchedFile>,
}

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        self.map.as_ref()
    }
}

impl Owner for Mapped {
    fn release(&self, range: Range<usize>) {
        self.map.release(range);
    }

    fn releases(&self) -> bool {
        FileMap::RELEASES
    }

    fn file(&self) -> Option<&Arc<WatchedFile>> {
        Some(&self.file)
    }
}

/// Opens the regular file at `path`, following links. With `mmap` it is mapped: pages are read on
/// first use and the system may drop them. A file that cannot be mapped, as on some network and
/// FUSE file systems, is read when its bytes are needed.
///
/// The file must not change while it is open: if a mapped one is truncated, the process ends with
/// SIGBUS, as in every program that maps its weights. Replacing it by renaming another file over it
/// is harmless. [`WatchedFile::check`] tells of a change that it lived through.
///
/// # Errors
/// `Io`, naming the file; `Format` if it is not a regular file.
pub(super) fn open(path: &Path, mmap: bool) -> Result<Contents> {
    let failed = |error| Error::io(path.display(), error);
    // Looked at before it is opened: the opening of a FIFO waits for a writer, that of a device may
    // do anything.
    let kind = std::fs::metadata(path).map_err(failed)?.file_type();
    if !kind.is_file() {
        let (path, found) = (path.display(), name_of(kind));
        return Err(Error::format(format!("{path}: a regular file expected, {found} found")));
    }
    let file = Arc::new(WatchedFile::open(path).map_err(failed)?);
    if file.bytes() == 0 {
        // An empty file cannot be mapped; it is told apart as any other malformed one.
        return Ok(Contents::Memory(Bytes::new(Vec::new())));
    }
    match mmap.then(|| FileMap::new(file.file())) {
        Some(Ok(map)) => Ok(Contents::Memory(Bytes::owned_by(Mapped { map, file }))),
        // Whatever stops the mapping, reading either works or says what is wrong.
        Some(Err(_)) | None => Ok(Contents::file(file)),
    }
}

/// Name of a file that is not a regular file, for messages.
fn name_of(kind: FileType) -> &'static str {
    if kind.is_dir() { "a folder" } else { os::kind_name(kind) }
}
