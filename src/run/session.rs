#![forbid(unsafe_code)]
//! A session: one user of a model at a time, with its threads and its workspace.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ndarray::{Array4, ArrayView2, ArrayView3, ArrayView4, ArrayViewMut2, Axis};

use super::budget::{Call, plan_call};
use super::execute::Tiled;
use super::options::SessionOptions;
use super::plan::{self, Direction, check_size};
use super::stream::{Decoding, RowStream};
use crate::arch::Level;
use crate::base::buffer::AlignedBuf;
use crate::base::dtype::DType;
use crate::base::error::{Error, ErrorKind, Result};
use crate::kernels::Kernels;
use crate::kernels::threads::Threads;
use crate::latents::{DiagonalGaussian, Generator};
use crate::model::Model;

/// Work done, as multiply-adds of the call in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Multiply-adds done.
    pub done: u64,
    /// Multiply-adds of the whole call.
    pub total: u64,
}

/// Stops a session's call in progress, from any thread.
#[derive(Clone, Debug, Default)]
pub struct CancelHandle(Arc<AtomicBool>);

impl CancelHandle {
    /// Asks the call in progress to stop; it returns `Cancelled` within a fraction of a second.
    /// Without a call in progress nothing happens.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// What [`Session::decode`] gives; diffusers' `DecoderOutput`.
#[derive(Clone, Debug)]
pub struct DecoderOutput {
    /// Pictures, `[batch, channels, height, width]`, about [-1, 1], unclamped.
    pub sample: Array4<f32>,
}

/// What [`Session::encode`] gives; diffusers' `AutoencoderKLOutput`.
#[derive(Clone, Debug)]
pub struct AutoencoderKlOutput {
    /// The posterior over latents.
    pub latent_dist: DiagonalGaussian,
}

/// What [`Session::on_progress`] takes.
type OnProgress = Box<dyn FnMut(Progress) -> ControlFlow<()> + Send>;

/// One user of a model at a time: owns threads and workspace, which later calls reuse.
///
/// A session is `Send`: it may move between threads, and is used by one at a time.
pub struct Session {
    pub(super) model: Model,
    pub(super) options: SessionOptions,
    pub(super) dtype: DType,
    pub(super) kernels: Kernels,
    pub(super) threads: Threads,
    pub(super) arena: AlignedBuf,
    /// Memory of the caller, to use instead.
    pub(super) lent: Option<&'static mut [u8]>,
    pub(super) cancel: CancelHandle,
    pub(super) progress: Option<OnProgress>,
    /// What a call in several runs has done.
    pub(super) tiled: Option<Tiled>,
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("options", &self.options)
            .field("level", &self.kernels.level())
            .field("memory", &self.memory())
            .finish_non_exhaustive()
    }
}

impl Session {
    /// Makes a session on `model`.
    ///
    /// # Errors
    /// `InvalidArgument` for an option out of range, `OutOfMemory` when threads cannot be had.
    pub fn new(model: &Model, options: &SessionOptions) -> Result<Self> {
        Ok(Self {
            model: model.clone(),
            dtype: options.resolve_dtype(model)?,
            kernels: Kernels::new(Level::detect()?)?,
            threads: Threads::new(options.resolve_threads()?)?,
            options: options.clone(),
            arena: AlignedBuf::zeroed(0, "workspace")?,
            lent: None,
            cancel: CancelHandle::default(),
            progress: None,
            tiled: None,
        })
    }

    /// Makes calls use `memory`, which is aligned to 64 bytes, as their workspace. One that needs more in
    /// every way that there is fails before any work.
    pub(crate) fn lend(&mut self, memory: &'static mut [u8]) {
        self.lent = Some(memory);
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Threads in use.
    pub fn threads(&self) -> usize {
        self.threads.count()
    }

    /// The instruction set in use.
    pub fn level(&self) -> Level {
        self.kernels.level()
    }

    /// Storage of activations: what was asked for, or `F32` where the model's `force_upcast` demands
    /// it, or `Bf16` after an `F16` call overflowed and was repeated.
    pub fn activation_dtype(&self) -> DType {
        self.dtype
    }

    /// Bytes of workspace held now.
    pub fn memory(&self) -> usize {
        self.workspace().len()
    }

    /// A handle that stops this session's calls.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ndarray::Array4;
    /// use vaekl::{ErrorKind, Model, Session, SessionOptions};
    ///
    /// let model = Model::open("models/default")?;
    /// let mut session = Session::new(&model, &SessionOptions::default())?;
    /// let cancel = session.cancel_handle();
    /// std::thread::spawn(move || {
    ///     std::thread::sleep(Duration::from_millis(30));
    ///     cancel.cancel();
    /// });
    /// let latents = Array4::zeros((64, model.config().latent_channels, 64, 64));
    /// let error = session.decode(latents.view()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Cancelled);
    /// # Ok::<(), vaekl::Error>(())
    /// ```
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    /// Calls `progress` from time to time during a call, on the thread that made the call; `Break`
    /// stops it. `None` removes it.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use ndarray::Array4;
    /// use vaekl::{Model, Session, SessionOptions};
    ///
    /// let model = Model::open("models/default")?;
    /// let mut session = Session::new(&model, &SessionOptions::default())?;
    /// session.on_progress(Some(Box::new(|progress| {
    ///     eprintln!("{} %", 100 * progress.done / progress.total);
    ///     ControlFlow::Continue(())
    /// })));
    /// session.decode(Array4::zeros((1, model.config().latent_channels, 8, 8)).view())?;
    /// # Ok::<(), vaekl::Error>(())
    /// ```
    pub fn on_progress(&mut self, progress: Option<OnProgress>) {
        self.progress = progress;
    }

    /// Decodes raw latents `[batch, latent_channels, h, w]` into pictures
    /// `[batch, out_channels, h * downscale, w * downscale]`, one after the other.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong shape or a non-finite latent (with its position), `Model` when the
    /// model has no decoder, `NonFinite` when the arithmetic overflows, `Cancelled`, `OutOfMemory`.
    pub fn decode(&mut self, latents: ArrayView4<'_, f32>) -> Result<DecoderOutput> {
        self.cancel.clear();
        self.decode_batch(latents)
    }

    /// Decodes one raw latent `[latent_channels, h, w]` and gives the picture row by row, top to
    /// bottom: `on_row(y, row)` with `row` as `width * out_channels` interleaved values. `Break` stops.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    /// use ndarray::Array3;
    /// use vaekl::{Model, Session, SessionOptions};
    ///
    /// let model = Model::open("models/default")?;
    /// let mut session = Session::new(&model, &SessionOptions::default())?;
    /// let latents = Array3::zeros((model.config().latent_channels, 4, 4));
    /// let mut pixels: Vec<u8> = Vec::new(); // RGB RGB ..., as image files have them
    /// session.decode_rows(latents.view(), &mut |_y, row| {
    ///     pixels.extend(row.iter().map(|v| ((v / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round() as u8));
    ///     ControlFlow::Continue(())
    /// })?;
    /// assert_eq!(pixels.len(), 32 * 32 * 3);
    /// # Ok::<(), vaekl::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Session::decode`].
    pub fn decode_rows(
        &mut self,
        latents: ArrayView3<'_, f32>,
        on_row: &mut dyn FnMut(usize, &[f32]) -> ControlFlow<()>,
    ) -> Result<()> {
        self.cancel.clear();
        self.decode_one(latents, on_row)
    }

    /// Decodes one raw latent `[latent_channels, h, w]` into a picture whose rows are taken one by one.
    ///
    /// ```
    /// use ndarray::Array3;
    /// use vaekl::{Model, Session, SessionOptions};
    ///
    /// let model = Model::open("models/default")?;
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
        Ok(RowStream::new(self, decoding))
    }

    /// As [`Session::stream`], for who keeps the session beside.
    pub(crate) fn begin_decode(&mut self, latents: ArrayView3<'_, f32>) -> Result<Decoding> {
        self.cancel.clear();
        let (channels, height, width) = latents.dim();
        self.check(Direction::Decode, 1, (1, channels, height, width))?;
        Decoding::new(self, latents)
    }

    /// Encodes pictures `[batch, in_channels, height, width]` in [-1, 1] into the posterior over
    /// latents, one after the other. Each halving of the resolution drops an odd last row or column.
    ///
    /// # Errors
    /// As [`Session::decode`], with the encoder.
    pub fn encode(&mut self, sample: ArrayView4<'_, f32>) -> Result<AutoencoderKlOutput> {
        self.cancel.clear();
        self.encode_batch(sample)
    }

    /// Encodes one picture that `fill(y, row)` gives row by row (`width * in_channels` interleaved
    /// values in [-1, 1]) into moments `[1, 2 * latent_channels, h, w]`: mean, then log-variance.
    ///
    /// # Errors
    /// As [`Session::encode`].
    pub fn encode_rows(
        &mut self,
        height: usize,
        width: usize,
        fill: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<Array4<f32>> {
        self.cancel.clear();
        self.encode_one(height, width, fill)
    }

    /// Encodes and decodes: the posterior's mode, or a sample of it drawn from `seed`. No scaling.
    /// diffusers' `AutoencoderKL.forward`.
    ///
    /// # Errors
    /// As [`Session::encode`] and [`Session::decode`].
    pub fn forward(
        &mut self,
        sample: ArrayView4<'_, f32>,
        sample_posterior: bool,
        seed: u64,
    ) -> Result<DecoderOutput> {
        self.cancel.clear();
        let posterior = self.encode_batch(sample)?.latent_dist;
        if sample_posterior {
            self.decode_batch(posterior.sample(&mut Generator::new(seed)).view())
        } else {
            self.decode_batch(posterior.mode())
        }
    }

    fn decode_batch(&mut self, latents: ArrayView4<'_, f32>) -> Result<DecoderOutput> {
        let (batch, _, height, width) = latents.dim();
        self.check(Direction::Decode, batch, latents.dim())?;
        let (factor, channels) =
            (self.model.config().downscale(), self.model.config().out_channels);
        let size = (height.saturating_mul(factor), width.saturating_mul(factor));
        let mut sample = zeros("the pictures", batch, channels, size)?;
        for (b, (latents, mut picture)) in
            latents.outer_iter().zip(sample.outer_iter_mut()).enumerate()
        {
            self.decode_one(latents, &mut |y, row| {
                scatter(row, picture.index_axis_mut(Axis(1), y));
                ControlFlow::Continue(())
            })
            .map_err(|error| of_batch(error, b, batch))?;
        }
        Ok(DecoderOutput { sample })
    }

    fn decode_one(
        &mut self,
        latents: ArrayView3<'_, f32>,
        on_row: &mut dyn FnMut(usize, &[f32]) -> ControlFlow<()>,
    ) -> Result<()> {
        let (channels, height, width) = latents.dim();
        self.check(Direction::Decode, 1, (1, channels, height, width))?;
        let mut fill = |y: usize, row: &mut [f32]| gather(latents.index_axis(Axis(1), y), row);
        self.call(Direction::Decode, height, width, &mut fill, on_row)
    }

    fn encode_batch(&mut self, sample: ArrayView4<'_, f32>) -> Result<AutoencoderKlOutput> {
        let (batch, _, height, width) = sample.dim();
        self.check(Direction::Encode, batch, sample.dim())?;
        let mut all = Vec::with_capacity(batch);
        for (b, picture) in sample.outer_iter().enumerate() {
            let mut fill = |y: usize, row: &mut [f32]| gather(picture.index_axis(Axis(1), y), row);
            let moments = self.encode_one(height, width, &mut fill);
            all.push(moments.map_err(|error| of_batch(error, b, batch))?);
        }
        let views: Vec<_> = all.iter().map(|moments| moments.view()).collect();
        let moments = ndarray::concatenate(Axis(0), &views)
            .map_err(|error| Error::internal(format!("moments of a batch: {error}")))?;
        Ok(AutoencoderKlOutput { latent_dist: DiagonalGaussian::new(moments)? })
    }

    fn encode_one(
        &mut self,
        height: usize,
        width: usize,
        fill: &mut dyn FnMut(usize, &mut [f32]),
    ) -> Result<Array4<f32>> {
        let channels = self.model.config().in_channels;
        self.check(Direction::Encode, 1, (1, channels, height, width))?;
        let halvings = self.model.config().block_out_channels.len() - 1;
        let channels = 2 * self.model.config().latent_channels;
        let mut moments =
            zeros("the moments", 1, channels, (height >> halvings, width >> halvings))?;
        let mut planes = moments.index_axis_mut(Axis(0), 0);
        self.call(Direction::Encode, height, width, fill, &mut |y, row| {
            scatter(row, planes.index_axis_mut(Axis(1), y));
            ControlFlow::Continue(())
        })?;
        Ok(moments)
    }

    /// Checks the shape of an input before anything is allocated.
    fn check(
        &self,
        direction: Direction,
        batch: usize,
        shape: (usize, usize, usize, usize),
    ) -> Result<()> {
        let (what, axis) = match direction {
            Direction::Decode => ("latents", "latent_channels"),
            Direction::Encode => ("picture", "in_channels"),
        };
        let (expected, found) = (plan::input_channels(&self.model, direction), shape.1);
        if found != expected {
            return Err(Error::invalid(format!(
                "{what}: {expected} channels expected ({axis}), {found} found"
            )));
        }
        if batch == 0 {
            return Err(Error::invalid(format!("{what}: the batch is empty")));
        }
        check_size(direction, shape.2, shape.3)?;
        let (height, width) = (shape.2, shape.3);
        let within = |error: Error| {
            error.within(format_args!("{what} of {width}x{height} (width x height)"))
        };
        let call = Call::new(&self.model, direction, height, width);
        let plan = plan_call(&self.options, call, self.all_resources());
        plan.and_then(|plan| plan.fits_machine()).map_err(within)
    }
}

/// One row of planes `[channels, width]`, interleaved.
pub(super) fn gather(planes: ArrayView2<'_, f32>, row: &mut [f32]) {
    for (x, pixel) in row.chunks_exact_mut(planes.nrows()).enumerate() {
        for (c, value) in pixel.iter_mut().enumerate() {
            *value = planes[(c, x)];
        }
    }
}

/// The inverse of [`gather`].
fn scatter(row: &[f32], mut planes: ArrayViewMut2<'_, f32>) {
    for (x, pixel) in row.chunks_exact(planes.nrows()).enumerate() {
        for (c, &value) in pixel.iter().enumerate() {
            planes[(c, x)] = value;
        }
    }
}

/// Says which picture of a batch an error belongs to.
fn of_batch(error: Error, index: usize, batch: usize) -> Error {
    if batch > 1 { error.within(format_args!("{index} of the batch of {batch}")) } else { error }
}

/// An array for a result, or an error that names it when memory or address space do not suffice.
fn zeros(what: &str, batch: usize, channels: usize, size: (usize, usize)) -> Result<Array4<f32>> {
    let shape = (batch, channels, size.0, size.1);
    let too_large = || {
        let message =
            format!("{what}: {batch}x{channels}x{}x{} values do not fit memory", size.0, size.1);
        Error::new(ErrorKind::OutOfMemory, message)
    };
    let len = [channels, size.0, size.1]
        .iter()
        .try_fold(batch, |len, &n| len.checked_mul(n))
        .ok_or_else(too_large)?;
    let mut values: Vec<f32> = Vec::new();
    values.try_reserve_exact(len).map_err(|_| too_large())?;
    values.resize(len, 0.0);
    Array4::from_shape_vec(shape, values).map_err(|_| too_large())
}
