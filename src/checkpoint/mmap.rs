//! Mapping a file into memory.

use std::fs::File;
use std::path::Path;

use memmap2::Mmap;

use super::cannot_open;
use crate::base::buffer::Bytes;
use crate::base::error::Result;

/// Maps the file at `path`. Pages are read when they are first used and may be dropped by the system.
///
/// The file must not change while it is mapped: a file cut short under us ends the process with SIGBUS,
/// as with every program that maps its weights. Replacing it by renaming another over it is harmless.
///
/// # Errors
/// `Io`, naming the file.
pub(super) fn map(path: &Path) -> Result<Bytes> {
    let file = File::open(path).map_err(|error| cannot_open(path, &error))?;
    let length = file.metadata().map_err(|error| cannot_open(path, &error))?.len();
    if length == 0 {
        // An empty file cannot be mapped; it is told apart as any other malformed one.
        return Ok(Bytes::new(Vec::new()));
    }
    // SAFETY: the mapping is private and read-only. That nobody truncates or rewrites the file meanwhile
    // is asked of the user, above and in the documentation of `Model::open`.
    let map = unsafe { Mmap::map(&file) }.map_err(|error| cannot_open(path, &error))?;
    Ok(Bytes::new(map))
}
