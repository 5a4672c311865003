#![forbid(unsafe_code)]
//! The memory of a run on the processor: an arena, and a scratch file for what it has no room for.

use std::ops::Range;

use crate::backend::{Layout, Slot};
use crate::base::error::{Error, Result};
use crate::base::scratch_file::{ScratchFile, Stored};

/// Where activations are, as the plan laid them out.
pub(crate) struct Memory<'a> {
    pub(crate) arena: &'a mut [u8],
    /// Where the activations are that the arena does not have.
    pub(crate) file: Option<&'a ScratchFile>,
    pub(crate) layout: &'a Layout,
}

impl<'a> Memory<'a> {
    /// The part of the scratch file that an activation has, if it has one.
    pub(super) fn stored(&self, slot: &Slot) -> Result<Option<Stored<'a>>> {
        if !slot.stored {
            return Ok(None);
        }
        let range = self.layout.locate(slot)?;
        let file = self.file.ok_or_else(|| Error::internal("a run without its scratch file"))?;
        Ok(Some(file.part(range.start as u64..range.end as u64)))
    }

    /// What the arena has of an activation.
    pub(super) fn in_arena(&self, slot: &Slot) -> Result<Range<usize>> {
        if slot.stored { Ok(0..0) } else { self.layout.locate(slot) }
    }
}
