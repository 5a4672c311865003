//! Memory of the system's own: a mapped file, and pages of zeros. The same on every system that
//! `memmap2` knows, but for what `pages` says of a page in use.

use std::fs::File;
use std::io;
use std::ops::{Deref, DerefMut, Range};

use memmap2::{Mmap, MmapMut};

use super::pages;

/// A file mapped to be read. Its pages become resident where they are read.
pub(crate) struct FileMap(Mmap);

impl FileMap {
    /// Whether [`FileMap::release`] frees memory on this system.
    pub(crate) const RELEASES: bool = pages::RELEASES;

    /// Maps all of `file`, which is not empty.
    ///
    /// The file must not change while it is mapped. Nothing can hold other programs to that:
    /// whoever asks for a map asks its own caller for it.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        // SAFETY: the map is shared and read-only, so nobody writes through it. That nobody
        // rewrites or truncates the file meanwhile is the promise above, which `Model::open`
        // documents.
        unsafe { Mmap::map(file) }.map(Self)
    }

    /// Lets the system have the memory of `range` until it is read again. Panics when `range` is
    /// out of bounds.
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

/// Zeroed memory, aligned to a page, that becomes resident where it is touched.
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
