#![forbid(unsafe_code)]
//! A decoded picture whose rows are taken one by one.

use std::fmt;

use ndarray::{Array3, ArrayView3};

use super::plan::Plan;
use super::planes::rows_of;
use super::rows::Pull;
use super::runner::Runner;
use super::scheme::Scheme;
use super::session::Session;
use crate::base::error::Result;
use crate::base::shape::Shape;
use crate::model::Model;
use crate::model::network::Direction;

/// A decode whose rows are taken one by one, without its session.
pub(crate) struct Decoding {
    pull: Pull,
    /// What rows that are not made yet are decoded from.
    latents: Array3<f32>,
    shape: Shape,
}

impl Decoding {
    /// Begins to decode raw latents by `scheme`.
    pub(super) fn begin(
        model: &Model,
        runner: &mut Runner,
        scheme: Scheme,
        latents: ArrayView3<'_, f32>,
    ) -> Result<Self> {
        let (_, height, width) = latents.dim();
        let pull = Pull::begin(model, runner, scheme, &mut rows_of(latents))?;
        let latents = if pull.reads() { latents.to_owned() } else { Array3::zeros((0, 0, 0)) };
        let config = model.config();
        let (factor, channels) = (config.downscale(), config.out_channels);
        Ok(Self { pull, latents, shape: Shape::new(height * factor, width * factor, channels) })
    }

    /// The shape of the picture.
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// The next row, interleaved; `None` after the last. `model` and `runner` are those that it
    /// began with, and did nothing else since.
    pub(super) fn next(&mut self, model: &Model, runner: &mut Runner) -> Result<Option<&[f32]>> {
        let row = self.pull.advance(model, runner, &mut rows_of(self.latents.view()))?;
        Ok(row.map(|_| self.pull.row()))
    }
}

impl Session {
    /// Decodes one raw latent `[latent_channels, h, w]` into a picture whose rows are taken one by
    /// one.
    ///
    /// ```
    /// use ndarray::Array3;
    /// use vaekl::{Model, Session, SessionOptions};
    ///
    /// let model = Model::open("cli/model")?;
    /// let mut session = Session::new(&model, &SessionOptions::default())?;
    /// let latents = Array3::zeros((model.config().latent_channels, 4, 4));
    /// let mut stream = session.stream(latents.view())?;
    /// let mut rows = 0;
    /// while let Some(row) = stream.next_row()? {
    ///     assert_eq!(row.len(), 32 * 3);
    ///     rows += 1;
    /// }
    /// assert_eq!(rows, stream.height());
    /// # Ok::<(), vaekl::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Session::decode`].
    pub fn stream(&mut self, latents: ArrayView3<'_, f32>) -> Result<RowStream<'_>> {
        let decoding = self.begin_decode(latents)?;
        Ok(RowStream { session: self, decoding })
    }

    /// Like [`Session::stream`], for callers that keep the session separately (the C stream).
    pub(crate) fn begin_decode(&mut self, latents: ArrayView3<'_, f32>) -> Result<Decoding> {
        let (channels, height, width) = latents.dim();
        let scheme = self.scheme(Direction::Decode, (1, channels, height, width))?;
        Decoding::begin(&self.model, &mut self.runner, scheme, latents)
    }

    /// The next row of `decoding`, which this session began, and did nothing else since.
    pub(crate) fn next_row<'d>(&mut self, decoding: &'d mut Decoding) -> Result<Option<&'d [f32]>> {
        decoding.next(&self.model, &mut self.runner)
    }
}

/// A decoded picture whose rows are taken one by one; made by
/// [`Session::stream`](crate::Session::stream). Its session is in use until it is dropped, at the
/// end or before.
pub struct RowStream<'s> {
    session: &'s mut Session,
    decoding: Decoding,
}

impl RowStream<'_> {
    /// Pixels of a row.
    pub fn width(&self) -> usize {
        self.decoding.shape().width
    }

    /// Rows of the picture.
    pub fn height(&self) -> usize {
        self.decoding.shape().height
    }

    /// Values of a pixel.
    pub fn channels(&self) -> usize {
        self.decoding.shape().channels
    }

    /// What the decode needs.
    pub fn plan(&self) -> Plan {
        self.decoding.pull.plan()
    }

    /// The next row, `width * channels` interleaved values; `None` after the last. With tiles, the
    /// first of each row of tiles takes the time that these take.
    ///
    /// # Errors
    /// `Cancelled` where the token asks for it, before any row. `Io` when the scratch file fails:
    /// of a picture in one piece the row may be asked for again. In tiles also what
    /// [`Session::decode`](crate::Session::decode) says of the arithmetic; after a failure in tiles
    /// all further rows are refused with `State`.
    pub fn next_row(&mut self) -> Result<Option<&[f32]>> {
        self.session.next_row(&mut self.decoding)
    }
}

impl fmt::Debug for RowStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream").field("shape", &self.decoding.shape()).finish_non_exhaustive()
    }
}
