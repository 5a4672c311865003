//! Mapping a file into memory.

use std::fs::{File, FileType};
use std::ops::Range;
use std::path::Path;

use memmap2::Mmap;

use super::cannot_open;
use crate::base::buffer::{Bytes, Owner};
use crate::base::error::{Error, Result};

/// A mapped file.
struct Mapped(Mmap);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Owner for Mapped {
    fn release(&self, range: Range<usize>) {
        #[cfg(target_os = "linux")]
        // SAFETY: nobody writes to the mapping, so that its pages are those of the file, and are read from
        // there again: the bytes do not change.
        let _ = unsafe {
            let advice = memmap2::UncheckedAdvice::DontNeed;
            self.0.unchecked_advise_range(advice, range.start, range.len())
        };
        #[cfg(not(target_os = "linux"))]
        let _ = range;
    }

    fn releases(&self) -> bool {
        cfg!(target_os = "linux")
    }
}

/// Maps the regular file at `path`, or where a link there leads. Pages are read when they are first used
/// and may be dropped by the system.
///
/// The file must not change while it is mapped: a file cut short under us ends the process with SIGBUS,
/// as with every program that maps its weights. Replacing it by renaming another over it is harmless.
///
/// # Errors
/// `Io`, naming the file; `Format` for what is no regular file.
pub(super) fn map(path: &Path) -> Result<Bytes> {
    let failed = |error| cannot_open(path, error);
    // Looked at before it is opened: the opening of a FIFO waits for a writer, that of a device may do
    // anything.
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
    // SAFETY: the mapping is private and read-only. That nobody truncates or rewrites the file meanwhile
    // is asked of the user, above and in the documentation of `Model::open`.
    let map = unsafe { Mmap::map(&file) }.map_err(failed)?;
    Ok(Bytes::owned_by(Mapped(map)))
}

/// What is no regular file, for a person.
fn name_of(kind: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return "a FIFO";
        }
        if kind.is_char_device() || kind.is_block_device() {
            return "a device";
        }
        if kind.is_socket() {
            return "a socket";
        }
    }
    if kind.is_dir() { "a folder" } else { "another kind" }
}
