//! What Linux does its own way: advice about pages, room on a disk, the cores it tells of.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::Path;

use memmap2::{Advice, Mmap, MmapMut, UncheckedAdvice};

use super::{Headroom, headroom as files};

/// Whether [`release`] frees memory.
pub(super) const RELEASES: bool = true;

/// Drops the pages of `range`, which is in bounds, until they are read again; and those beside it,
/// which Linux maps with the page that is read (`fault_around_bytes`).
pub(super) fn release(map: &Mmap, range: Range<usize>) {
    const AROUND: usize = 64 << 10;
    let start = range.start / AROUND * AROUND;
    let range = start..range.end.next_multiple_of(AROUND).min(map.len());
    // SAFETY: the map is shared and nobody writes through it, so that it has no pages of its own to
    // lose: what is dropped is read again from the file, which does not change while it is mapped.
    let _ =
        unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, range.start, range.len()) };
}

/// Asks for small pages. A file in the system's cache in pieces of 2 MiB would be mapped in such, so
/// that a layer's weights took more memory than they have bytes.
pub(super) fn prefer_small(map: &Mmap) {
    let _ = map.advise(Advice::NoHugePage);
}

/// Asks for huge pages: tiles of many rows far apart would miss the translation cache of small
/// ones. It is advice; a system without huge pages declines, and nothing else changes.
pub(super) fn prefer_huge(map: &MmapMut) {
    let _ = map.advise(Advice::HugePage);
}

/// Sets the length of `file` and, where the file system can, reserves its room, so that a disk that
/// is too full is known before the work.
pub(crate) fn reserve(file: &File, bytes: u64) -> io::Result<()> {
    let length = libc::off_t::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open, and no memory is passed.
    match unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, length) } {
        0 => Ok(()),
        // The file system cannot.
        libc::EOPNOTSUPP | libc::EINVAL => file.set_len(bytes),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}

/// Physical cores that this process may use, or its processors where the system does not tell.
pub(crate) fn physical_cores() -> usize {
    let allowed = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut cores: Vec<String> = (0..)
        .map_while(|cpu| {
            let path = format!("/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list");
            std::fs::read_to_string(path).ok()
        })
        .collect();
    cores.sort();
    cores.dedup();
    if cores.is_empty() { allowed } else { allowed.min(cores.len()) }
}

/// What this process may still take.
pub(crate) fn headroom() -> Headroom {
    files::headroom(Path::new("/"))
}

/// Bytes of this process that are in memory.
pub(crate) fn resident_memory() -> Option<u64> {
    files::resident(Path::new("/"))
}
