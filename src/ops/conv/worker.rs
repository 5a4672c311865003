//! The memory of a worker of a convolution, cut out of the scratch memory of all.
//!
//! `Geometry::scratch` tells its size.

use crate::base::alloc;
use crate::base::buffer::align_up;
use crate::base::error::Result;

/// Scratch memory in bytes: shared by all workers, such as prepared filters, and private to each.
#[derive(Clone, Copy)]
pub(super) struct Scratch {
    pub(super) shared: usize,
    pub(super) worker: usize,
}

/// Bytes of spilled input and output that a worker stages.
#[derive(Clone, Copy, Default)]
pub(super) struct Staging {
    pub(super) input: usize,
    pub(super) output: usize,
}

/// The private memory of a worker: scratch memory, and staging for blocks of the scratch file.
pub(super) struct Worker<'a> {
    pub(super) scratch: &'a mut [u8],
    pub(super) input: &'a mut [u8],
    pub(super) output: &'a mut [u8],
}

impl<'a> Worker<'a> {
    /// As many workers as fit `memory`, with `scratch` bytes each.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn all(memory: &'a mut [u8], scratch: usize, staging: Staging) -> Result<Vec<Self>> {
        let parts = memory.chunks_exact_mut(scratch + staging.input + staging.output);
        let workers = parts.map(|part| {
            let (scratch, staged) = part.split_at_mut(scratch);
            let (input, output) = staged.split_at_mut(staging.input);
            Self { scratch, input, output }
        });
        alloc::collected(workers, "workers")
    }
}

/// Bytes of the small allocations of a convolution, whose number and sizes nothing chooses.
pub(super) const FIXED: usize = 4096;

/// Bytes of `n` values of scratch memory.
pub(super) fn floats(n: usize) -> usize {
    align_up(n * size_of::<f32>())
}
