//! The memory of a worker of a convolution, cut out of the scratch memory of all.
//!
//! How much that is, `Geometry::scratch` tells.

use crate::base::buffer::align_up;

/// Bytes of scratch memory: what all workers share, such as the prepared filters, and what each has
/// to itself.
#[derive(Clone, Copy)]
pub(super) struct Scratch {
    pub(super) shared: usize,
    pub(super) worker: usize,
}

/// Bytes that a worker stages of input and output in the scratch file.
#[derive(Clone, Copy, Default)]
pub(super) struct Staging {
    pub(super) input: usize,
    pub(super) output: usize,
}

/// What a worker has to itself: scratch memory, and where it stages blocks of the scratch file.
pub(super) struct Worker<'a> {
    pub(super) scratch: &'a mut [u8],
    pub(super) input: &'a mut [u8],
    pub(super) output: &'a mut [u8],
}

impl<'a> Worker<'a> {
    /// As many as `memory` has room for, with `scratch` bytes each.
    pub(super) fn all(memory: &'a mut [u8], scratch: usize, staging: Staging) -> Vec<Self> {
        memory
            .chunks_exact_mut(scratch + staging.input + staging.output)
            .map(|part| {
                let (scratch, staged) = part.split_at_mut(scratch);
                let (input, output) = staged.split_at_mut(staging.input);
                Self { scratch, input, output }
            })
            .collect()
    }
}

/// Bytes of `n` values of scratch memory.
pub(super) fn floats(n: usize) -> usize {
    align_up(n * size_of::<f32>())
}
