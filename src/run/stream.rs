#![forbid(unsafe_code)]
//! The picture of a decode, taken row by row.

use std::fmt;
use std::ops::Range;

use super::session::Session;
use crate::base::buffer::{AlignedBuf, cast};
use crate::base::error::Result;
use crate::base::scratch_file::ScratchFile;
use crate::base::shape::Shape;

/// What a call made: an `f32` activation in the arena of its session, or in the scratch file.
pub(crate) struct Rows {
    shape: Shape,
    range: Range<usize>,
    /// Where the activation is if not in the arena, and the row that was read last.
    file: Option<(ScratchFile, AlignedBuf)>,
    next: usize,
}

impl Rows {
    /// An activation at bytes `range` of `file`, or of the arena.
    pub(super) fn new(
        shape: Shape,
        range: Range<usize>,
        file: Option<ScratchFile>,
    ) -> Result<Self> {
        let row = shape.width * shape.channels * size_of::<f32>();
        let file = match file {
            Some(file) => Some((file, AlignedBuf::zeroed(row, "a row")?)),
            None => None,
        };
        Ok(Self { shape, range, file, next: 0 })
    }

    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// The next row and where it is, of a picture whose session has `arena`.
    pub(super) fn next<'r>(&'r mut self, arena: &'r [u8]) -> Result<Option<(usize, &'r [f32])>> {
        if self.next == self.shape.height {
            return Ok(None);
        }
        let bytes = self.range.len() / self.shape.height;
        let (y, at) = (self.next, self.next * bytes);
        self.next += 1;
        let row = match &mut self.file {
            Some((file, row)) => {
                file.part(self.range.start as u64..self.range.end as u64).read(at as u64, row)?;
                &row[..]
            }
            None => &arena[self.range.clone()][at..at + bytes],
        };
        Ok(Some((y, cast(row))))
    }
}

/// A decoded picture whose rows are taken one by one; made by [`Session::stream`]. Its session is in use
/// until it is dropped, at the end or before.
pub struct RowStream<'s> {
    session: &'s mut Session,
    rows: Rows,
}

impl<'s> RowStream<'s> {
    pub(super) fn new(session: &'s mut Session, rows: Rows) -> Self {
        Self { session, rows }
    }

    /// Pixels of a row.
    pub fn width(&self) -> usize {
        self.rows.shape.width
    }

    /// Rows of the picture.
    pub fn height(&self) -> usize {
        self.rows.shape.height
    }

    /// Values of a pixel.
    pub fn channels(&self) -> usize {
        self.rows.shape.channels
    }

    /// The next row, `width * channels` interleaved values; `None` after the last.
    ///
    /// # Errors
    /// `Io` when the scratch file fails.
    pub fn next_row(&mut self) -> Result<Option<&[f32]>> {
        let row = self.session.next_row(&mut self.rows)?;
        Ok(row.map(|(_, row)| row))
    }
}

impl fmt::Debug for RowStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream")
            .field("shape", &self.rows.shape)
            .field("next", &self.rows.next)
            .finish_non_exhaustive()
    }
}
