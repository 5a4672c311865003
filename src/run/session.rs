#![forbid(unsafe_code)]
//! A session: runs a model, one call at a time, with its own threads and workspace.

use std::fmt;
use std::ops::ControlFlow;

use ndarray::{Array4, ArrayView3, ArrayView4, ArrayViewMut3, Axis};

use super::control::{CancelToken, OnProgress};
use super::options::SessionOptions;
use super::outputs::{DecoderOutput, EncoderOutput, Returned, of_batch};
use super::plan::Plan;
use super::planes::{Fill, check_size, finite, input_name, rows_of, scatter, zeros};
use super::rows::Pull;
use super::runner::{MaskedFill, Runner};
use super::scheme::{Request, Scheme};
use crate::arch::Level;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::storage::Storage;
use crate::latents::{DiagonalGaussian, Encoded, Generator};
use crate::model::network::Direction;
use crate::model::{Family, Model};

/// Receives row `y` of a result, interleaved; `Break` stops the call.
type OnRow<'r> = dyn FnMut(usize, &[f32]) -> ControlFlow<()> + 'r;

/// Runs a model, one call at a time. Owns threads and workspace, which later calls reuse.
///
/// A session is `Send`: it may move between threads; one thread at a time uses it. In a process
/// that is forked from the one that made it, every call fails with `State`: it has none of the
/// threads there. A new session on the same model works, and dropping the old one waits for
/// nothing. A child that is forked inside a callback must not return from it.
pub struct Session {
    pub(super) model: Model,
    options: SessionOptions,
    pub(super) runner: Runner,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("options", &self.options)
            .field("level", &self.level())
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Makes a session on `model`.
    ///
    /// # Errors
    /// `InvalidArgument` for an option out of range, `OutOfMemory` if threads cannot be started.
    pub fn new(model: &Model, options: &SessionOptions) -> Result<Self> {
        let runner = Runner::new(options, model)?;
        Ok(Self { model: model.clone(), options: options.clone(), runner })
    }

    /// Makes calls work in `memory` instead of a workspace of their own. A call for which no plan
    /// fits there fails before doing any work.
    ///
    /// # Errors
    /// `InvalidArgument` if `memory` is not aligned to 64 bytes.
    pub fn set_workspace(&mut self, memory: &'static mut [u8]) -> Result<()> {
        self.runner.lend(memory)
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.runner.threads.count()
    }

    /// The instruction set.
    pub fn level(&self) -> Level {
        self.runner.kernels.level()
    }

    /// Type of the activations between layers: the one in the options, `F32` if the model's
    /// `force_upcast` demands it, or `Bf16` after an `F16` call overflowed and was repeated.
    pub fn activation_dtype(&self) -> Storage {
        self.runner.storage
    }

    /// Workspace in bytes held now.
    pub fn memory(&self) -> usize {
        self.runner.memory()
    }

    /// Sets the memory budget of later calls in bytes; see [`SessionOptions::memory_budget`].
    /// Threads and activation type stay as they are.
    pub fn set_memory_budget(&mut self, bytes: u64) {
        self.options.memory_budget = bytes;
    }

    /// Sets the part of the budget of later calls that the caller needs itself, in bytes; see
    /// [`SessionOptions::memory_reserved`].
    pub fn set_memory_reserved(&mut self, bytes: u64) {
        self.options.memory_reserved = bytes;
    }

    /// What a decode of one latent of `height` x `width` by this session would need now, with what
    /// the system can give: [`plan_decode`](crate::plan_decode) asks neither.
    ///
    /// # Errors
    /// Those of [`Session::decode`], except for those of arithmetic.
    pub fn plan_decode(&self, height: usize, width: usize) -> Result<Plan> {
        let shape = (1, self.model.config().latent_channels, height, width);
        self.scheme(Direction::Decode, shape, Returned::Rows).map(|scheme| scheme.plan())
    }

    /// What an encode of one picture of `height` x `width` pixels by this session would need now.
    ///
    /// # Errors
    /// Those of [`Session::encode`], except for those of arithmetic.
    pub fn plan_encode(&self, height: usize, width: usize) -> Result<Plan> {
        let shape = (1, self.model.config().in_channels, height, width);
        self.scheme(Direction::Encode, shape, Returned::Arrays).map(|scheme| scheme.plan())
    }

    /// Sets the token that cancels later calls.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ndarray::Array4;
    /// use vaekl::{CancelToken, ErrorKind, Model, Session, SessionOptions};
    ///
    /// let model = Model::open("cli/model")?;
    /// let mut session = Session::new(&model, &SessionOptions::default())?;
    /// let token = CancelToken::new();
    /// session.set_cancel_token(token.clone());
    /// std::thread::spawn(move || {
    ///     std::thread::sleep(Duration::from_millis(30));
    ///     token.cancel();
    /// });
    /// let latents = Array4::zeros((64, model.config().latent_channels, 64, 64));
    /// let error = session.decode(latents.view()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Cancelled);
    /// # Ok::<(), vaekl::Error>(())
    /// ```
    pub fn set_cancel_token(&mut self, token: CancelToken) {
        self.runner.control.token = token;
    }

    /// Sets a function that reports progress during a call, on the thread of the call. Its `Break`
    /// cancels the call. `None` removes it.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use ndarray::Array4;
    /// use vaekl::{Model, Session, SessionOptions};
    ///
    /// let model = Model::open("cli/model")?;
    /// let mut session = Session::new(&model, &SessionOptions::default())?;
    /// session.on_progress(Some(Box::new(|progress| {
    ///     eprintln!("{} %", 100 * progress.done / progress.total);
    ///     ControlFlow::Continue(())
    /// })));
    /// session.decode(Array4::zeros((1, model.config().latent_channels, 8, 8)).view())?;
    /// # Ok::<(), vaekl::Error>(())
    /// ```
    pub fn on_progress(&mut self, progress: Option<OnProgress>) {
        self.runner.control.on_progress = progress;
    }

    /// Decodes raw latents `[batch, latent_channels, h, w]` to pictures `[batch, out_channels, h *
    /// downscale, w * downscale]`, one after the other.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong shape or a non-finite latent (with its position), `Model` if
    /// the model has no decoder, `Budget` if no plan fits the memory budget, `OutOfMemory`, `Io` if
    /// the scratch file fails, `NonFinite` if the result has NaN or infinity, `Cancelled`.
    pub fn decode(&mut self, latents: ArrayView4<'_, f32>) -> Result<DecoderOutput> {
        let (batch, _, height, width) = latents.dim();
        let mut scheme = self.scheme(Direction::Decode, latents.dim(), Returned::Arrays)?;
        let (factor, channels) =
            (self.model.config().downscale(), self.model.config().out_channels);
        let (rows, columns) = (height.saturating_mul(factor), width.saturating_mul(factor));
        let mut sample = zeros("the pictures", [batch, channels, rows, columns])?;
        for (b, (latents, mut picture)) in
            latents.outer_iter().zip(sample.outer_iter_mut()).enumerate()
        {
            let taken = self.take(scheme, &mut rows_of(latents), None, &mut |y, row| {
                scatter(row, picture.index_axis_mut(Axis(1), y));
            });
            scheme = taken.map_err(|error| of_batch(error, b, batch))?;
        }
        Ok(DecoderOutput { sample, plan: scheme.plan() })
    }

    /// Decodes raw latents `[batch, latent_channels, h, w]`, keeping what lies outside of a mask:
    /// `picture` is `[batch, out_channels, h * downscale, w * downscale]`, `mask` has one channel:
    /// 1 where the model draws, 0 where it keeps the picture, or anything between. diffusers'
    /// `AsymmetricAutoencoderKL.decode(latents, image=picture, mask=mask)`.
    ///
    /// # Errors
    /// Those of [`Session::decode`]; `InvalidArgument` if the family takes no mask, if tiles are
    /// asked for, or for a picture or a mask of another size.
    pub fn decode_masked(
        &mut self,
        latents: ArrayView4<'_, f32>,
        picture: ArrayView4<'_, f32>,
        mask: ArrayView4<'_, f32>,
    ) -> Result<DecoderOutput> {
        let (batch, _, height, width) = latents.dim();
        let mut scheme = self.scheme(Direction::Decode, latents.dim(), Returned::Masked)?;
        let config = self.model.config();
        let (factor, channels) = (config.downscale(), config.out_channels);
        let (rows, columns) = (height.saturating_mul(factor), width.saturating_mul(factor));
        for (what, found, channels) in
            [("picture", picture.dim(), channels), ("mask", mask.dim(), 1)]
        {
            let expected = (batch, channels, rows, columns);
            if found != expected {
                return Err(Error::invalid(format!(
                    "{what}: {expected:?} (batch, channels, height, width) expected, \
                     {found:?} found"
                )));
            }
        }
        let outside = |value: &f32| !(0.0..=1.0).contains(value);
        if let Some(((b, _, y, x), value)) = mask.indexed_iter().find(|(_, it)| outside(it)) {
            let error = Error::invalid(format!(
                "mask: 0 to 1 expected, {value} found at row {y}, column {x}"
            ));
            return Err(of_batch(error, b, batch));
        }
        let mut sample = zeros("the pictures", [batch, channels, rows, columns])?;
        for (b, mut made) in sample.outer_iter_mut().enumerate() {
            let latents = latents.index_axis(Axis(0), b);
            let (picture, mask) = (picture.index_axis(Axis(0), b), mask.index_axis(Axis(0), b));
            let mut rows_of_picture = rows_of(picture);
            let mut inside = finite("picture", channels, &mut rows_of_picture);
            let mut outside = |y: usize, row: &mut [f32]| {
                inside(y, row)?;
                let mask = mask.index_axis(Axis(0), 0);
                for (pixel, &mask) in row.chunks_exact_mut(channels).zip(mask.row(y)) {
                    pixel.iter_mut().for_each(|value| *value *= 1.0 - mask);
                }
                Ok(())
            };
            let mut of_mask = rows_of(mask);
            let masked = MaskedFill { picture: &mut outside, mask: &mut of_mask };
            let taken = self.take(scheme, &mut rows_of(latents), Some(masked), &mut |y, row| {
                scatter(row, made.index_axis_mut(Axis(1), y));
            });
            scheme = taken.map_err(|error| of_batch(error, b, batch))?;
        }
        Ok(DecoderOutput { sample, plan: scheme.plan() })
    }

    /// Checks that [`Session::decode_masked`] of latents of shape `dim` fits the limits.
    #[cfg(feature = "capi")]
    pub(crate) fn check_masked(&self, dim: (usize, usize, usize, usize)) -> Result<()> {
        self.scheme(Direction::Decode, dim, Returned::Masked).map(|_| ())
    }

    /// Decodes one raw latent `[latent_channels, h, w]` and passes the picture to `on_row(y, row)`,
    /// top to bottom. `row` has `width * out_channels` interleaved values. `Break` cancels the
    /// call.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use ndarray::Array3;
    /// use vaekl::{Model, Session, SessionOptions};
    ///
    /// let model = Model::open("cli/model")?;
    /// let mut session = Session::new(&model, &SessionOptions::default())?;
    /// let latents = Array3::zeros((model.config().latent_channels, 4, 4));
    /// let mut pixels: Vec<u8> = Vec::new(); // RGB RGB ..., as image files have them
    /// session.decode_rows(latents.view(), &mut |_y, row| {
    ///     let byte = |v: &f32| ((v / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round() as u8;
    ///     pixels.extend(row.iter().map(byte));
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(pixels.len(), 32 * 32 * 3);
    /// # Ok::<(), vaekl::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Session::decode`], and `Cancelled` if `on_row` breaks. Rows that `on_row` took
    /// before an error are those of the picture. In tiles, `NonFinite` if
    /// `F16` storage overflows after the first row: no picture mixes storages. The session's next
    /// call is in `Bf16`.
    pub fn decode_rows(
        &mut self,
        latents: ArrayView3<'_, f32>,
        on_row: &mut OnRow<'_>,
    ) -> Result<Plan> {
        let (channels, height, width) = latents.dim();
        let scheme =
            self.scheme(Direction::Decode, (1, channels, height, width), Returned::Rows)?;
        self.pull_rows(scheme, &mut rows_of(latents), on_row)
    }

    /// Like [`Session::decode_rows`], for a latent of `height` x `width` that `fill` supplies row
    /// by row, interleaved.
    #[cfg(feature = "capi")]
    pub(crate) fn decode_rows_of(
        &mut self,
        (height, width): (usize, usize),
        fill: &mut Fill<'_>,
        on_row: &mut OnRow<'_>,
    ) -> Result<Plan> {
        let channels = self.model.config().latent_channels;
        let scheme =
            self.scheme(Direction::Decode, (1, channels, height, width), Returned::Rows)?;
        self.pull_rows(scheme, fill, on_row)
    }

    /// Passes the rows of a call to `on_row`.
    fn pull_rows(
        &mut self,
        scheme: Scheme,
        fill: &mut Fill<'_>,
        on_row: &mut OnRow<'_>,
    ) -> Result<Plan> {
        let Self { model, runner, .. } = self;
        let mut pull = Pull::begin(model, runner, scheme, fill)?;
        while let Some(y) = pull.advance(model, runner, fill)? {
            if on_row(y, pull.row()).is_break() {
                return Err(Error::new(ErrorKind::Cancelled, "cancelled while rows were taken"));
            }
        }
        Ok(pull.plan())
    }

    /// Like [`Session::decode_rows_of`], for an `on_row` that accepts rows again: if the call
    /// begins anew, so do the rows.
    #[cfg(feature = "capi")]
    pub(crate) fn decode_to(
        &mut self,
        (height, width): (usize, usize),
        fill: &mut Fill<'_>,
        on_row: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<()> {
        let channels = self.model.config().latent_channels;
        let scheme =
            self.scheme(Direction::Decode, (1, channels, height, width), Returned::Rows)?;
        self.take(scheme, fill, None, on_row)?;
        Ok(())
    }

    /// Encodes pictures `[batch, in_channels, height, width]` in [-1, 1], one after the other, to
    /// the posterior over latents `[batch, latent_channels, height / downscale, width /
    /// downscale]`. Each halving of the resolution drops an odd last row or column. A tiny
    /// autoencoder gives latents, without a posterior, and its halvings keep an odd last row or
    /// column.
    ///
    /// # Errors
    /// Those of [`Session::decode`]; `Model` if the model has no encoder.
    pub fn encode(&mut self, sample: ArrayView4<'_, f32>) -> Result<EncoderOutput> {
        let (batch, ..) = sample.dim();
        let mut scheme = self.scheme(Direction::Encode, sample.dim(), Returned::Arrays)?;
        let mut moments = self.moments(&scheme, batch)?;
        for (b, (picture, moments)) in sample.outer_iter().zip(moments.outer_iter_mut()).enumerate()
        {
            let taken = self.encode_one(scheme, &mut rows_of(picture), moments);
            scheme = taken.map_err(|error| of_batch(error, b, batch))?;
        }
        Ok(EncoderOutput { encoded: self.encoded(moments)?, plan: scheme.plan() })
    }

    /// Encodes one picture that `fill(y, row)` supplies row by row, top to bottom: `width *
    /// in_channels` interleaved values in [-1, 1]. Each row is asked for once; if an overflow of
    /// `F16` storage is repeated in `Bf16`, once more from the top.
    ///
    /// # Errors
    /// Those of [`Session::encode`], and any error of `fill`.
    pub fn encode_rows(
        &mut self,
        height: usize,
        width: usize,
        fill: &mut dyn FnMut(usize, &mut [f32]) -> Result<()>,
    ) -> Result<EncoderOutput> {
        let channels = self.model.config().in_channels;
        let scheme =
            self.scheme(Direction::Encode, (1, channels, height, width), Returned::Arrays)?;
        let mut moments = self.moments(&scheme, 1)?;
        let scheme = self.encode_one(scheme, fill, moments.index_axis_mut(Axis(0), 0))?;
        Ok(EncoderOutput { encoded: self.encoded(moments)?, plan: scheme.plan() })
    }

    /// Encodes pictures and decodes the posterior's mode, or a sample drawn from `seed`, without
    /// scaling. diffusers' `AutoencoderKL.forward`; a tiny autoencoder's latents are rounded to
    /// 8 bits in between, as its `forward` does, and nothing is drawn.
    ///
    /// # Errors
    /// Those of [`Session::encode`] and [`Session::decode`].
    pub fn forward(
        &mut self,
        sample: ArrayView4<'_, f32>,
        sample_posterior: bool,
        seed: u64,
    ) -> Result<DecoderOutput> {
        match self.encode(sample)?.encoded {
            Encoded::Posterior(posterior) if sample_posterior => {
                self.decode(posterior.try_sample(&mut Generator::new(seed))?.view())
            }
            Encoded::Posterior(posterior) => self.decode(posterior.mode()),
            Encoded::Latents(mut latents) => {
                if let Some(tiny) = self.model.config().family.tiny() {
                    latents.mapv_inplace(|latent| tiny.rounded(latent));
                }
                self.decode(latents.view())
            }
        }
    }

    /// What the network's output is of: moments, or latents.
    fn encoded(&self, values: Array4<f32>) -> Result<Encoded> {
        Ok(match self.model.config().family {
            Family::Tiny(_) => Encoded::Latents(values),
            _ => Encoded::Posterior(DiagonalGaussian::new(values)?),
        })
    }

    /// An array for the moments `[batch, 2 * latent_channels, h, w]`, or for latents.
    fn moments(&self, scheme: &Scheme, batch: usize) -> Result<Array4<f32>> {
        let Request { height, width, .. } = scheme.request;
        let config = self.model.config();
        let side = |length| config.encoded_length(length);
        zeros("the moments", [batch, config.encoded_channels(), side(height), side(width)])
    }

    /// Encodes the picture of `fill` to `moments`: mean, then log-variance.
    fn encode_one(
        &mut self,
        scheme: Scheme,
        fill: &mut Fill<'_>,
        mut moments: ArrayViewMut3<'_, f32>,
    ) -> Result<Scheme> {
        self.take(scheme, fill, None, &mut |y, row| {
            scatter(row, moments.index_axis_mut(Axis(1), y))
        })
    }

    /// Passes all rows of a call to `on_row`, and again from the first if the call begins anew. A
    /// call with a mask has `masked`.
    /// Returns the scheme it ended with, for the next picture.
    fn take(
        &mut self,
        scheme: Scheme,
        fill: &mut Fill<'_>,
        masked: Option<MaskedFill<'_>>,
        on_row: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Scheme> {
        let Self { model, runner, .. } = self;
        let mut pull = Pull::begin_masked(model, runner, scheme, fill, masked)?.rewritable();
        while let Some(y) = pull.advance(model, runner, fill)? {
            on_row(y, pull.row());
        }
        Ok(pull.into_scheme())
    }

    /// Checks the shape `[batch, channels, height, width]` of an input, and chooses the scheme of
    /// each picture's call before anything is allocated.
    pub(super) fn scheme(
        &self,
        direction: Direction,
        (batch, channels, height, width): (usize, usize, usize, usize),
        returned: Returned,
    ) -> Result<Scheme> {
        self.runner.threads.check_process()?;
        self.runner.control.check()?;
        self.model.check_files()?;
        let (what, config) = (input_name(direction), self.model.config());
        let (expected, axis) = match direction {
            Direction::Decode => (config.latent_channels, "latent_channels"),
            Direction::Encode => (config.in_channels, "in_channels"),
        };
        if channels != expected {
            return Err(Error::invalid(format!(
                "{what}: {expected} channels expected ({axis}), {channels} found"
            )));
        }
        if batch == 0 {
            return Err(Error::invalid(format!("{what}: the batch is empty")));
        }
        check_size(direction, height, width)?;
        let results = returned.bytes(config, direction, [batch, height, width]);
        let resources = self
            .runner
            .resources(&self.options, &self.model)
            .with_headroom(self.runner.headroom(), results);
        let masked = matches!(returned, Returned::Masked);
        let request = Request { direction, height, width, masked };
        Scheme::choose(&self.model, request, resources).map_err(|error| {
            error.within(format_args!("{what} of {width}x{height} (width x height)"))
        })
    }
}
