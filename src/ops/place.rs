//! The place that an operator reads or writes: an activation in memory, or a spilled one in the
//! scratch file, of which each worker stages its part.

use std::ops::Range;

use crate::base::buffer::{Elements, ElementsMut};
use crate::base::error::Result;
use crate::base::scratch_file::FileRegion;
use crate::base::storage::Storage;

/// The place of values.
pub(crate) enum Place<'a, M> {
    Memory(M),
    /// In a part of the scratch file, as elements of this type.
    File(FileRegion<'a>, Storage),
}

/// The place that an operator reads.
pub(crate) type Source<'a> = Place<'a, Elements<'a>>;

/// The place that an operator writes.
pub(crate) type Target<'a> = Place<'a, ElementsMut<'a>>;

/// Bytes of a pixel of the input and of the output if they are spilled; 0 in memory.
#[derive(Clone, Copy, Default)]
pub(crate) struct Staged {
    pub(crate) input: usize,
    pub(crate) output: usize,
}

impl<'a> Source<'a> {
    /// The values `range`; those in a file are read to `staging`.
    ///
    /// # Errors
    /// `Io` if the scratch file fails.
    pub(crate) fn read<'s>(
        &self,
        range: Range<usize>,
        staging: &'s mut [u8],
    ) -> Result<Elements<'s>>
    where
        'a: 's,
    {
        match self {
            Self::Memory(values) => Ok(values.slice(range)),
            Self::File(region, dtype) => {
                let bytes = &mut staging[..range.len() * dtype.size()];
                region.read((range.start * dtype.size()) as u64, bytes)?;
                Ok(Elements::new(*dtype, bytes))
            }
        }
    }
}
