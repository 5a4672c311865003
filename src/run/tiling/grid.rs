#![forbid(unsafe_code)]
//! What the grids of tiles share.

use crate::base::alloc;
use crate::base::error::{Error, Result};
use crate::model::network::{Network, Part};
use crate::model::window::{Span, Window};
use crate::run::budget::{Call, Planned};

/// A grid of tiles with halos, on an input or on the front's output. Lengths are in its pixels.
#[derive(Clone, Copy, Debug)]
pub(in crate::run) struct HaloGrid {
    pub(super) height: usize,
    pub(in crate::run) width: usize,
    /// Rows and columns of a tile; the last tiles may be smaller.
    pub(super) side: (usize, usize),
    pub(super) halo: usize,
}

/// A tile: the start and span of its rows and columns.
#[derive(Clone, Copy)]
pub(in crate::run) struct Place {
    pub(in crate::run) rows: (usize, Span),
    pub(in crate::run) columns: (usize, Span),
}

impl Place {
    pub(in crate::run) fn window(&self) -> Window {
        Window { rows: self.rows.1, columns: self.columns.1 }
    }

    /// Row and column of the first pixel of the tile's halo.
    pub(in crate::run) fn first(&self) -> (usize, usize) {
        (self.rows.0 - self.rows.1.before, self.columns.0 - self.columns.1.before)
    }
}

impl HaloGrid {
    /// The start of each tile along a side, with its span.
    fn cut(
        length: usize,
        side: usize,
        halo: usize,
    ) -> impl ExactSizeIterator<Item = (usize, Span)> {
        (0..length).step_by(side).map(move |start| {
            let end = length.min(start + side);
            let (before, after) = (start.min(halo), (length - end).min(halo));
            (start, Span { before, length: end - start, after })
        })
    }

    /// The start of each row of tiles, with its span.
    pub(in crate::run) fn rows(&self) -> impl ExactSizeIterator<Item = (usize, Span)> + use<> {
        Self::cut(self.height, self.side.0, self.halo)
    }

    /// The start of each column of tiles, with its span.
    pub(in crate::run) fn columns(&self) -> impl ExactSizeIterator<Item = (usize, Span)> + use<> {
        Self::cut(self.width, self.side.1, self.halo)
    }

    /// The distinct windows, each with its number of tiles.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn windows(&self) -> Result<Vec<(Window, u64)>> {
        let spans = |(_, span): (usize, Span)| span;
        let rows = counted(self.rows().map(spans))?;
        let columns = counted(self.columns().map(spans))?;
        let pairs = rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column)));
        let windows = pairs.map(|(&(rows, n), &(columns, m))| (Window { rows, columns }, n * m));
        alloc::collected(windows, TILES)
    }

    /// The run on a tile of `window`.
    pub(in crate::run) fn tile<'n>(&self, network: &'n Network<'n>, window: Window) -> Call<'n> {
        let (height, width) = (window.rows.total(), window.columns.total());
        Call { network, part: Part::Rest(Some(window)), height, width }
    }
}

/// Bytes that a plan of tiles takes in a list of such plans.
pub(super) fn plan_bytes<T>(planned: &Planned) -> u64 {
    // A list that grows has twice the room, and for a moment half as much again.
    (planned.layout.own_bytes() + 3 * size_of::<(T, Planned)>()) as u64
}

/// The plan of the tiles of `window`.
pub(super) fn planned(tiles: &[(Window, Planned)], window: Window) -> Result<&Planned> {
    let tile = tiles.iter().find(|(other, _)| *other == window);
    let (_, planned) = tile.ok_or_else(|| Error::internal("a tile that is not in the plan"))?;
    Ok(planned)
}

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
///
/// # Errors
/// `OutOfMemory`.
pub(super) fn counted<T: Ord>(all: impl Iterator<Item = T>) -> Result<Vec<(T, u64)>> {
    let mut counted: Vec<(T, u64)> = Vec::new();
    for one in all {
        // Few are distinct, and most are as the one before.
        match counted.iter_mut().rev().find(|(other, _)| *other == one) {
            Some((_, count)) => *count += 1,
            None => alloc::push(&mut counted, (one, 1), TILES)?,
        }
    }
    counted.sort_unstable();
    Ok(counted)
}

/// Name of lists of tiles, for messages.
pub(super) const TILES: &str = "tiles";
