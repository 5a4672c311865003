#![forbid(unsafe_code)]
//! Mapping a file into memory.

use std::fs::{File, FileType};
use std::ops::Range;
use std::path::Path;

use crate::base::buffer::{Bytes, Owner};
use crate::base::error::{Error, Result};
use crate::os::{self, FileMap};

impl Owner for FileMap {
    fn release(&self, range: Range<usize>) {
        FileMap::release(self, range);
    }

    fn releases(&self) -> bool {
        Self::RELEASES
    }
}

/// Maps the regular file at `path`, following links. Pages are read on first use and the system may
/// drop them.
///
/// The file must not change while it is mapped: if it is truncated, the process ends with SIGBUS,
/// as in every program that maps its weights. Replacing it by renaming another file over it is
/// harmless.
///
/// # Errors
/// `Io`, naming the file; `Format` if it is not a regular file.
pub(super) fn map(path: &Path) -> Result<Bytes> {
    let failed = |error| Error::io(path.display(), error);
    // Looked at before it is opened: the opening of a FIFO waits for a writer, that of a device may
    // do anything.
    let kind = std::fs::metadata(path).map_err(failed)?.file_type();
    if !kind.is_file() {
        let (path, found) = (path.display(), name_of(kind));
        return Err(Error::format(format!("{path}: a regular file expected, {found} found")));
    }
    let file = File::open(path).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() == 0 {
        // An empty file cannot be mapped; it is told apart as any other malformed one.
        return Ok(Bytes::new(Vec::new()));
    }
    Ok(Bytes::owned_by(FileMap::new(&file).map_err(failed)?))
}

/// Name of a file that is not a regular file, for messages.
fn name_of(kind: FileType) -> &'static str {
    if kind.is_dir() { "a folder" } else { os::kind_name(kind) }
}
