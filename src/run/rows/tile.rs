#![forbid(unsafe_code)]
//! A tile's pixels, laid into the rows that are given out.

use std::slice::ChunksExactMut;

use crate::backend::Region;
use crate::base::buffer::{AlignedBuf, cast};
use crate::base::error::Result;
use crate::run::runner::{Made, Runner};

/// Copies the pixels `core` of a run's output, in `F32`, into `rows` from column `left` on, a row
/// of the core into each.
pub(super) fn lay(
    runner: &mut Runner,
    made: &Made,
    core: Region,
    rows: ChunksExactMut<'_, f32>,
    left: usize,
) -> Result<()> {
    let channels = made.shape().channels;
    let mut pixels = AlignedBuf::zeroed(core.width * channels * size_of::<f32>(), "a row")?;
    let to = left * channels..(left + core.width) * channels;
    for (y, row) in core.rows().zip(rows) {
        runner.read(made, y, core.columns(), &mut pixels)?;
        row[to.clone()].copy_from_slice(cast(&pixels));
    }
    Ok(())
}
