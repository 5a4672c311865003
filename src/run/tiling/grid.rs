#![forbid(unsafe_code)]
//! Shared by both grids of tiles.

use crate::base::error::{Error, Result};

/// The largest number of tiles along a side.
const MOST_TILES: usize = 1 << 16;

/// Refuses tiles that are too small for a picture with a side of `length`, `stride` from one to the
/// next.
pub(super) fn check_count(length: usize, stride: usize) -> Result<()> {
    let count = length.div_ceil(stride);
    if count <= MOST_TILES {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "tile size: at most {MOST_TILES} tiles along a side expected, {count} found"
    )))
}

/// The distinct values, each with its count.
pub(super) fn counted<T: Ord>(all: impl Iterator<Item = T>) -> Vec<(T, u64)> {
    let mut all: Vec<T> = all.collect();
    all.sort_unstable();
    let mut counted: Vec<(T, u64)> = Vec::new();
    for one in all {
        match counted.last_mut() {
            Some((last, count)) if *last == one => *count += 1,
            _ => counted.push((one, 1)),
        }
    }
    counted
}
