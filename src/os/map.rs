//! Memory from the system: a mapped file, and pages of zeros. The code is the same on every system
//! that `memmap2` supports, except for the advice about pages in `pages`.

use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut, Range};

use memmap2::{Mmap, MmapMut};

use super::pages;

/// A file mapped for reading. Its pages become resident when they are read.
pub(crate) struct FileMap(Mmap);

impl FileMap {
    /// Whether [`FileMap::release`] frees memory on this system.
    pub(crate) const RELEASES: bool = pages::RELEASES;

    /// Maps all of `file`, which is not empty.
    ///
    /// The file must not change while it is mapped. The library cannot enforce that: each caller
    /// must require it of its own caller.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the map is shared and read-only, so nobody writes through it. That nobody
        // rewrites or truncates the file meanwhile is the promise above, which `Model::open`
        // documents.
        let map = unsafe { Mmap::map(file) }?;
        pages::prefer_small(&map);
        Ok(Self(map))
    }

    /// Returns the memory of `range` to the system until it is read again. Panics if `range` is out
    /// of bounds.
    pub(crate) fn release(&self, range: Range<usize>) {
        // The system's call has no such check, and would drop the pages of a neighbour.
        assert!(range.start <= range.end && range.end <= self.0.len());
        pages::release(&self.0, range);
    }
}

impl AsRef<[u8]> for FileMap {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

/// Zeroed, page-aligned memory, which becomes resident on first use.
pub(crate) struct AnonymousMap(MmapMut);

impl AnonymousMap {
    /// Maps `len` bytes, which are not 0, in huge pages where the system has them.
    pub(crate) fn new(len: usize) -> io::Result<Self> {
        let map = MmapMut::map_anon(len)?;
        pages::prefer_huge(&map);
        Ok(Self(map))
    }
}

impl Deref for AnonymousMap {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for AnonymousMap {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}
