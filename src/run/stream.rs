#![forbid(unsafe_code)]
//! The rows that a call gives, pulled one by one.

use std::fmt;
use std::ops::Range;

use ndarray::{Array3, ArrayView3, Axis};

use super::plan::Direction;
use super::seamless::SeamlessRows;
use super::session::{Session, gather};
use super::tiles::TiledRows;
use crate::base::buffer::{AlignedBuf, cast};
use crate::base::error::Result;
use crate::base::scratch_file::ScratchFile;
use crate::base::shape::Shape;

/// Writes a row of the input, interleaved.
pub(super) type Fill<'f> = dyn FnMut(usize, &mut [f32]) -> Result<()> + 'f;

/// What a run of the network made: an `f32` activation in the arena of its session, or in the scratch
/// file.
pub(super) struct Rows {
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

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// The next row and where it is, of a picture whose session has `arena`.
    pub(super) fn next<'r>(&'r mut self, arena: &'r [u8]) -> Result<Option<(usize, &'r [f32])>> {
        if self.next == self.shape.height {
            return Ok(None);
        }
        let bytes = self.range.len() / self.shape.height;
        let (y, at) = (self.next, self.next * bytes);
        if let Some((file, row)) = &mut self.file {
            file.part(self.range.start as u64..self.range.end as u64).read(at as u64, row)?;
        }
        // Not before: a row that could not be read is asked for again.
        self.next += 1;
        let row = match &self.file {
            Some((_, row)) => &row[..],
            None => &arena[self.range.clone()][at..at + bytes],
        };
        Ok(Some((y, cast(row))))
    }
}

/// A call in progress, whose rows are pulled.
pub(super) enum Pull {
    /// All are made.
    Whole(Rows),
    /// A row of tiles is made when its first row is pulled.
    Tiled(TiledRows),
    /// Likewise.
    Seamless(SeamlessRows),
}

impl Pull {
    /// The next row and where it is. `fill` is that of [`Session::begin`].
    pub(super) fn next<'r>(
        &'r mut self,
        session: &'r mut Session,
        fill: &mut Fill<'_>,
    ) -> Result<Option<(usize, &'r [f32])>> {
        session.cancel.check()?;
        match self {
            Self::Whole(rows) => session.next_row(rows),
            Self::Tiled(rows) => rows.next(session, fill),
            Self::Seamless(rows) => rows.next(session),
        }
    }
}

/// A decode whose rows are pulled, without its session.
pub(crate) struct Decoding {
    pull: Pull,
    /// What tiles that are not made yet are decoded from.
    latents: Array3<f32>,
    shape: Shape,
}

impl Decoding {
    /// Begins to decode raw latents.
    pub(crate) fn new(session: &mut Session, latents: ArrayView3<'_, f32>) -> Result<Self> {
        let (_, height, width) = latents.dim();
        let pull = session.begin(Direction::Decode, height, width, &mut of(latents))?;
        let latents = match pull {
            Pull::Whole(_) | Pull::Seamless(_) => Array3::zeros((0, 0, 0)),
            Pull::Tiled(_) => latents.to_owned(),
        };
        let config = session.model().config();
        let (factor, channels) = (config.downscale(), config.out_channels);
        Ok(Self { pull, latents, shape: Shape::new(height * factor, width * factor, channels) })
    }

    /// The shape of the picture.
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// The next row, interleaved; `session` is the one that it began with, and did nothing else since.
    pub(crate) fn next<'r>(&'r mut self, session: &'r mut Session) -> Result<Option<&'r [f32]>> {
        let row = self.pull.next(session, &mut of(self.latents.view()))?;
        Ok(row.map(|(_, row)| row))
    }
}

/// The rows of planes `[channels, height, width]`, interleaved.
fn of(planes: ArrayView3<'_, f32>) -> impl FnMut(usize, &mut [f32]) -> Result<()> {
    move |y, row| {
        gather(planes.index_axis(Axis(1), y), row);
        Ok(())
    }
}

/// A decoded picture whose rows are taken one by one; made by [`Session::stream`]. Its session is in use
/// until it is dropped, at the end or before.
pub struct RowStream<'s> {
    session: &'s mut Session,
    decoding: Decoding,
}

impl<'s> RowStream<'s> {
    pub(super) fn new(session: &'s mut Session, decoding: Decoding) -> Self {
        Self { session, decoding }
    }

    /// Pixels of a row.
    pub fn width(&self) -> usize {
        self.decoding.shape.width
    }

    /// Rows of the picture.
    pub fn height(&self) -> usize {
        self.decoding.shape.height
    }

    /// Values of a pixel.
    pub fn channels(&self) -> usize {
        self.decoding.shape.channels
    }

    /// The next row, `width * channels` interleaved values; `None` after the last. With tiles, the first of
    /// each row of tiles takes the time that these take.
    ///
    /// # Errors
    /// `Cancelled` as long as the session's token is cancelled; `Io` when the scratch file fails;
    /// with tiles also what [`Session::decode`] says of the arithmetic. After a row of tiles that
    /// failed, `State`.
    pub fn next_row(&mut self) -> Result<Option<&[f32]>> {
        self.decoding.next(self.session)
    }
}

impl fmt::Debug for RowStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream").field("shape", &self.decoding.shape).finish_non_exhaustive()
    }
}
