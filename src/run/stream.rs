#![forbid(unsafe_code)]
//! A decoded picture, read row by row.

use std::fmt;

use ndarray::{Array3, ArrayView3};

use super::outputs::Returned;
use super::plan::Plan;
use super::planes::rows_of;
use super::rows::Pull;
use super::runner::Runner;
use super::scheme::Scheme;
use super::session::Session;
use crate::base::alloc;
use crate::base::error::{Error, Result};
use crate::base::shape::Shape;
use crate::model::Model;
use crate::model::network::Direction;

/// A decode, read row by row, apart from its session.
pub(crate) struct Decoding {
    pull: Pull,
    /// The input of the rows that are not decoded yet.
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
        let latents = if pull.reads() { copy(latents)? } else { Array3::zeros((0, 0, 0)) };
        let config = model.config();
        let (factor, channels) = (config.downscale(), config.out_channels);
        Ok(Self { pull, latents, shape: Shape::new(height * factor, width * factor, channels) })
    }

    /// The shape of the picture.
    pub(crate) fn shape(&self) -> Shape {
        self.shape
    }

    /// The next row, interleaved; `None` after the last. `model` and `runner` are those of
    /// [`Decoding::begin`]; `runner` has done nothing else since.
    pub(super) fn next(&mut self, model: &Model, runner: &mut Runner) -> Result<Option<&[f32]>> {
        let row = self.pull.advance(model, runner, &mut rows_of(self.latents.view()))?;
        Ok(row.map(|_| self.pull.row()))
    }
}

/// A copy of planes.
fn copy(planes: ArrayView3<'_, f32>) -> Result<Array3<f32>> {
    let values = alloc::collected(planes.iter().copied(), "latents")?;
    Array3::from_shape_vec(planes.raw_dim(), values)
        .map_err(|error| Error::internal(format!("a copy of latents: {error}")))
}

impl Session {
    /// Decodes one raw latent `[latent_channels, h, w]` to a picture whose rows are then read one
    /// by one.
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
    /// Those of [`Session::decode`].
    pub fn stream(&mut self, latents: ArrayView3<'_, f32>) -> Result<RowStream<'_>> {
        let decoding = self.begin_decode(latents)?;
        Ok(RowStream { session: self, decoding })
    }

    /// Like [`Session::stream`], for callers that keep the session separately (the C stream).
    pub(crate) fn begin_decode(&mut self, latents: ArrayView3<'_, f32>) -> Result<Decoding> {
        let (channels, height, width) = latents.dim();
        let scheme =
            self.scheme(Direction::Decode, (1, channels, height, width), Returned::Rows)?;
        Decoding::begin(&self.model, &mut self.runner, scheme, latents)
    }

    /// The next row of `decoding`. This session began it and has done nothing else since.
    pub(crate) fn next_row<'d>(&mut self, decoding: &'d mut Decoding) -> Result<Option<&'d [f32]>> {
        decoding.next(&self.model, &mut self.runner)
    }
}

/// A decoded picture, read row by row; made by [`Session::stream`](crate::Session::stream). Its
/// session is in use until the stream is dropped, at its end or before.
pub struct RowStream<'s> {
    session: &'s mut Session,
    decoding: Decoding,
}

impl RowStream<'_> {
    /// Width of the picture in pixels.
    pub fn width(&self) -> usize {
        self.decoding.shape().width
    }

    /// Height of the picture in pixels.
    pub fn height(&self) -> usize {
        self.decoding.shape().height
    }

    /// Channels of the picture: values per pixel.
    pub fn channels(&self) -> usize {
        self.decoding.shape().channels
    }

    /// What the decode needs.
    pub fn plan(&self) -> Plan {
        self.decoding.pull.plan()
    }

    /// The next row, `width * channels` interleaved values; `None` after the last. In tiles, the
    /// first row of each row of tiles takes the time of decoding them.
    ///
    /// # Errors
    /// `Cancelled` by the token, before any row; `Io` if the scratch file fails. In tiles also the
    /// errors of the computation, as of [`Session::decode`](crate::Session::decode). After an error
    /// no rows come any more: each later call returns the same error.
    pub fn next_row(&mut self) -> Result<Option<&[f32]>> {
        self.session.next_row(&mut self.decoding)
    }
}

impl fmt::Debug for RowStream<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowStream").field("shape", &self.decoding.shape()).finish_non_exhaustive()
    }
}
