//! What the standard library can do anywhere, for systems without a way of their own.

use std::fs::{File, FileType, OpenOptions, Permissions};
use std::io;
use std::ops::Range;
use std::path::Path;

use memmap2::{Mmap, MmapMut};

use super::memory::Headroom;

/// Whether [`release`] frees memory.
pub(super) const RELEASES: bool = false;

/// Leaves the pages to the system.
pub(super) fn release(_: &Mmap, _: Range<usize>) {}

/// Leaves the size of pages to the system.
pub(super) fn prefer_small(_: &Mmap) {}

/// Leaves the size of pages to the system.
pub(super) fn prefer_huge(_: &MmapMut) {}

/// Sets the length of `file`.
pub(crate) fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    file.set_len(bytes)
}

/// Processors that this process may use.
pub(crate) fn physical_cores() -> usize {
    std::thread::available_parallelism().map_or(1, |n| n.get())
}

/// There is no such file here.
pub(crate) fn unnamed_file(_: &Path) -> io::Result<File> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Unsupported, as [`unnamed_file`] is.
pub(crate) fn read_at(_: &File, _: &mut [u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Unsupported, as [`unnamed_file`] is.
pub(crate) fn write_at(_: &File, _: &[u8], _: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not told: the folder decides.
pub(crate) fn permissions(_: &Path) -> Option<Permissions> {
    None
}

/// Makes a file at `path`, where nothing may stand.
pub(crate) fn create_beside(path: &Path, _: Option<&Permissions>) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Asks whether a file can be made at `path`, where nothing may stand, by making and removing one.
pub(crate) fn may_create(path: &Path) -> io::Result<()> {
    drop(create_beside(path, None)?);
    std::fs::remove_file(path)
}

/// Every file has a name here.
pub(crate) fn nameless_scratch(_: &Path) -> Option<File> {
    None
}

/// Every file has a name here.
pub(crate) fn nameless_output(_: &Path, _: Option<&Permissions>) -> Option<File> {
    None
}

/// There is no file without a name here.
pub(crate) fn name_file(_: &File, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Not told.
pub(crate) fn may_stay_open(_: &File) -> bool {
    false
}

/// Closes `file`, whose bytes the caller has synced.
pub(crate) fn close(file: File) -> io::Result<()> {
    drop(file);
    Ok(())
}

/// Leaves the names in a folder to the system.
pub(crate) fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Not told.
pub(crate) fn physical_memory() -> Option<u64> {
    None
}

/// Not told.
pub(crate) fn headroom() -> Headroom {
    Headroom::default()
}

/// Not told.
pub(crate) fn resident_memory() -> Option<u64> {
    None
}

/// Name of a file that is neither a regular file nor a folder, for messages.
pub(crate) fn kind_name(_: FileType) -> &'static str {
    "another kind"
}
