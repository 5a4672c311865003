#![forbid(unsafe_code)]
//! The memory of a run on the CPU: an arena, and a scratch file for spilled activations.

use std::ops::Range;

use crate::backend::{Slot, WorkspaceLayout};
use crate::base::error::{Error, Result};
use crate::base::scratch_file::{FileRegion, ScratchFile};

/// The memory of activations, laid out by the plan.
pub(crate) struct Memory<'a> {
    pub(crate) arena: &'a mut [u8],
    /// The file of spilled activations.
    pub(crate) file: Option<&'a ScratchFile>,
    pub(crate) layout: &'a WorkspaceLayout,
}

impl<'a> Memory<'a> {
    /// The part of the scratch file of a spilled activation; `None` if it is in the arena.
    pub(super) fn spilled(&self, slot: &Slot) -> Result<Option<FileRegion<'a>>> {
        if !slot.spilled {
            return Ok(None);
        }
        let range = self.layout.locate(slot)?;
        let file = self.file.ok_or_else(|| Error::internal("a run without its scratch file"))?;
        Ok(Some(file.region(range.start as u64..range.end as u64)))
    }

    /// The range of an activation in the arena; empty if it is spilled.
    pub(super) fn in_arena(&self, slot: &Slot) -> Result<Range<usize>> {
        if slot.spilled { Ok(0..0) } else { self.layout.locate(slot) }
    }
}
