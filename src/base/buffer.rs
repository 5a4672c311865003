//! Memory: an aligned buffer whose allocation can fail, and checked views of its bytes as elements.

use std::mem;
use std::ops::{Deref, DerefMut, Range};
use std::sync::Arc;

use half::{bf16, f16};

use super::alloc::out_of_memory;
use super::error::Result;
use super::storage::Storage;
use super::watched_file::WatchedFile;
use crate::os::{self, AnonymousMap};

/// Alignment of every part of a buffer: a cache line, and a zmm register.
pub(crate) const ALIGN: usize = 64;

/// `bytes` rounded up to a multiple of [`ALIGN`].
pub(crate) const fn align_up(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGN)
}

/// Owned bytes, zeroed and page-aligned, fresh from the system. They become resident on first use,
/// in huge pages if the system has them.
#[derive(Default)]
pub(crate) struct AlignedBuf(Option<AnonymousMap>);

impl AlignedBuf {
    /// Allocates `len` zero bytes.
    ///
    /// # Errors
    /// `OutOfMemory`, naming `what`, if the system refuses.
    pub(crate) fn zeroed(len: usize, what: &str) -> Result<Self> {
        if len == 0 {
            return Ok(Self(None));
        }
        let out_of_memory = || out_of_memory(what, len);
        // A system that promises more than it has would kill the process later instead.
        if os::physical_memory().is_some_and(|have| len as u64 > have) {
            return Err(out_of_memory());
        }
        AnonymousMap::new(len).map(|map| Self(Some(map))).map_err(|_| out_of_memory())
    }
}

impl Deref for AlignedBuf {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

impl DerefMut for AlignedBuf {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.0.as_deref_mut().unwrap_or_default()
    }
}

mod sealed {
    pub(crate) trait Plain: Copy {}
    impl Plain for f32 {}
    impl Plain for u16 {}
    impl Plain for half::f16 {}
    impl Plain for half::bf16 {}
}

/// Views aligned bytes as elements.
///
/// # Panics
/// If address or length do not fit `T`. That is a bug in the caller, which takes the bytes from an
/// [`AlignedBuf`] at multiples of [`ALIGN`].
pub(crate) fn cast<T: sealed::Plain>(bytes: &[u8]) -> &[T] {
    let size = size_of::<T>();
    assert!(
        bytes.as_ptr().addr().is_multiple_of(align_of::<T>()) && bytes.len().is_multiple_of(size)
    );
    // SAFETY: aligned and sized by the assert; every bit pattern is a value of the sealed `Plain`
    // types.
    unsafe { std::slice::from_raw_parts(bytes.as_ptr().cast(), bytes.len() / size) }
}

/// Like [`cast`], mutable.
pub(crate) fn cast_mut<T: sealed::Plain>(bytes: &mut [u8]) -> &mut [T] {
    let size = size_of::<T>();
    assert!(
        bytes.as_ptr().addr().is_multiple_of(align_of::<T>()) && bytes.len().is_multiple_of(size)
    );
    // SAFETY: as in `cast`, and the borrow is exclusive; every value of `T` is valid bytes.
    unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size) }
}

/// Elements of an activation, by type.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Elements<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    Bf16(&'a [bf16]),
}

impl<'a> Elements<'a> {
    /// Views `bytes` as elements of `dtype`.
    pub(crate) fn new(dtype: Storage, bytes: &'a [u8]) -> Self {
        match dtype {
            Storage::F32 => Self::F32(cast(bytes)),
            Storage::F16 => Self::F16(cast(bytes)),
            Storage::Bf16 => Self::Bf16(cast(bytes)),
        }
    }

    pub(crate) fn slice(self, range: Range<usize>) -> Self {
        match self {
            Self::F32(s) => Self::F32(&s[range]),
            Self::F16(s) => Self::F16(&s[range]),
            Self::Bf16(s) => Self::Bf16(&s[range]),
        }
    }
}

/// Mutable [`Elements`].
#[derive(Debug)]
pub(crate) enum ElementsMut<'a> {
    F32(&'a mut [f32]),
    F16(&'a mut [f16]),
    Bf16(&'a mut [bf16]),
}

impl<'a> ElementsMut<'a> {
    /// Views `bytes` as elements of `dtype`.
    pub(crate) fn new(dtype: Storage, bytes: &'a mut [u8]) -> Self {
        match dtype {
            Storage::F32 => Self::F32(cast_mut(bytes)),
            Storage::F16 => Self::F16(cast_mut(bytes)),
            Storage::Bf16 => Self::Bf16(cast_mut(bytes)),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::F32(s) => s.len(),
            Self::F16(s) => s.len(),
            Self::Bf16(s) => s.len(),
        }
    }

    /// The elements, read-only.
    pub(crate) fn shared(&self) -> Elements<'_> {
        match self {
            Self::F32(s) => Elements::F32(s),
            Self::F16(s) => Elements::F16(s),
            Self::Bf16(s) => Elements::Bf16(s),
        }
    }

    /// The elements from `first` on, borrowed.
    pub(crate) fn tail(&mut self, first: usize) -> ElementsMut<'_> {
        match self {
            Self::F32(s) => ElementsMut::F32(&mut s[first..]),
            Self::F16(s) => ElementsMut::F16(&mut s[first..]),
            Self::Bf16(s) => ElementsMut::Bf16(&mut s[first..]),
        }
    }

    /// The elements, of which none are left here.
    pub(crate) fn take(&mut self) -> Self {
        match self {
            Self::F32(s) => Self::F32(mem::take(s)),
            Self::F16(s) => Self::F16(mem::take(s)),
            Self::Bf16(s) => Self::Bf16(mem::take(s)),
        }
    }

    /// Splits into the first `at` elements and the rest.
    pub(crate) fn split_at(self, at: usize) -> (Self, Self) {
        match self {
            Self::F32(s) => {
                let (a, b) = s.split_at_mut(at);
                (Self::F32(a), Self::F32(b))
            }
            Self::F16(s) => {
                let (a, b) = s.split_at_mut(at);
                (Self::F16(a), Self::F16(b))
            }
            Self::Bf16(s) => {
                let (a, b) = s.split_at_mut(at);
                (Self::Bf16(a), Self::Bf16(b))
            }
        }
    }
}

/// Owner of the memory of [`Bytes`].
pub(crate) trait Owner: AsRef<[u8]> + Send + Sync {
    /// Returns the memory of `range` to the system until it is read again, if it can be reloaded.
    fn release(&self, range: Range<usize>);

    /// Whether [`Owner::release`] frees memory.
    fn releases(&self) -> bool;

    /// The file that the memory is mapped from.
    fn file(&self) -> Option<&Arc<WatchedFile>> {
        None
    }
}

/// An owner that cannot release memory.
struct Fixed<T>(T);

impl<T: AsRef<[u8]>> AsRef<[u8]> for Fixed<T> {
    fn as_ref(&self) -> &[u8] {
        self.0.as_ref()
    }
}

impl<T: AsRef<[u8]> + Send + Sync> Owner for Fixed<T> {
    fn release(&self, _: Range<usize>) {}

    fn releases(&self) -> bool {
        false
    }
}

/// Immutable shared bytes: a range of a mapped file, owned memory or a caller's buffer.
#[derive(Clone)]
pub(crate) struct Bytes {
    owner: Arc<dyn Owner>,
    range: Range<usize>,
}

impl Bytes {
    /// All bytes of `owner`.
    pub(crate) fn new(owner: impl AsRef<[u8]> + Send + Sync + 'static) -> Self {
        Self::owned_by(Fixed(owner))
    }

    /// All bytes of `owner`, which can release them.
    pub(crate) fn owned_by(owner: impl Owner + 'static) -> Self {
        let len = owner.as_ref().len();
        Self { owner: Arc::new(owner), range: 0..len }
    }

    /// Returns the memory of these bytes to the system until they are read again, so that only the
    /// weights in use are resident, not the whole model.
    pub(crate) fn release(&self) {
        self.owner.release(self.range.clone());
    }

    /// Whether [`Bytes::release`] frees memory.
    pub(crate) fn releases(&self) -> bool {
        self.owner.releases()
    }

    /// The file that these bytes are mapped from.
    pub(crate) fn file(&self) -> Option<&Arc<WatchedFile>> {
        self.owner.file()
    }

    /// A part of these bytes, sharing their owner. Panics when `range` is out of bounds.
    pub(crate) fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.range.len());
        let start = self.range.start + range.start;
        Self { owner: Arc::clone(&self.owner), range: start..start + range.len() }
    }
}

impl Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &(*self.owner).as_ref()[self.range.clone()]
    }
}
