//! A session: one user of a model at a time, with its threads and its workspace.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ndarray::{Array4, ArrayView3, ArrayView4};

use crate::base::dtype::DType;
use crate::base::error::Result;
use crate::latents::DiagonalGaussian;
use crate::model::Model;

/// How attention is computed; the two agree up to rounding. diffusers' `set_attn_processor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Attention {
    /// One pass over the keys with a running softmax (FlashAttention).
    #[default]
    Streamed,
    /// All scores of a few queries at a time, then their softmax.
    RowByRow,
}

/// How a session works. `SessionOptions::default()` is f32 on all physical cores.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Threads, 0 for one per physical core.
    pub threads: usize,
    /// Storage of activations between layers: `F32`, `Bf16` or `F16`. Sums are always `f32` or wider.
    /// `F16` becomes `F32` for a model whose `force_upcast` is set.
    pub activation_dtype: DType,
    /// One projection for query, key and value instead of three (diffusers' `fuse_qkv_projections`).
    pub fuse_qkv: bool,
    /// The attention algorithm.
    pub attention: Attention,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            threads: 0,
            activation_dtype: DType::F32,
            fuse_qkv: false,
            attention: Attention::Streamed,
        }
    }
}

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

/// One user of a model at a time: owns threads and workspace, which later calls reuse.
pub struct Session {
    model: Model,
    cancel: CancelHandle,
}

impl Session {
    /// Makes a session on `model`.
    ///
    /// # Errors
    /// `InvalidArgument` for an option out of range, `OutOfMemory` when threads cannot be had.
    pub fn new(model: &Model, options: &SessionOptions) -> Result<Self> {
        let _ = options;
        Ok(Self { model: model.clone(), cancel: CancelHandle::default() })
    }

    /// The model.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Threads in use.
    pub fn threads(&self) -> usize {
        todo!()
    }

    /// Storage of activations: what was asked for, or `F32` where the model's `force_upcast` demands
    /// it, or `Bf16` after an `F16` call overflowed and was repeated.
    pub fn activation_dtype(&self) -> DType {
        todo!()
    }

    /// Bytes of workspace held now.
    pub fn memory(&self) -> usize {
        todo!()
    }

    /// A handle that stops this session's calls.
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    /// Calls `progress` from time to time during a call, on the thread that made the call; `Break`
    /// stops it. `None` removes it.
    pub fn on_progress(
        &mut self,
        progress: Option<Box<dyn FnMut(Progress) -> ControlFlow<()> + Send>>,
    ) {
        let _ = progress;
        todo!()
    }

    /// Decodes raw latents `[batch, latent_channels, h, w]` into pictures
    /// `[batch, out_channels, h * downscale, w * downscale]`, one after the other.
    ///
    /// # Errors
    /// `InvalidArgument` for a wrong shape or a non-finite latent (with its position), `Model` when the
    /// model has no decoder, `NonFinite` when the arithmetic overflows, `Cancelled`, `OutOfMemory`.
    pub fn decode(&mut self, latents: ArrayView4<'_, f32>) -> Result<DecoderOutput> {
        let _ = latents;
        todo!()
    }

    /// Decodes one raw latent `[latent_channels, h, w]` and gives the picture row by row, top to
    /// bottom: `on_row(y, row)` with `row` as `width * out_channels` interleaved values. `Break` stops.
    ///
    /// # Errors
    /// As [`Session::decode`].
    pub fn decode_rows(
        &mut self,
        latents: ArrayView3<'_, f32>,
        on_row: &mut dyn FnMut(usize, &[f32]) -> ControlFlow<()>,
    ) -> Result<()> {
        let _ = (latents, on_row);
        todo!()
    }

    /// Encodes pictures `[batch, in_channels, height, width]` in [-1, 1] into the posterior over
    /// latents; the noise of a sample is drawn for the whole batch.
    ///
    /// # Errors
    /// As [`Session::decode`], with the encoder.
    pub fn encode(&mut self, sample: ArrayView4<'_, f32>) -> Result<AutoencoderKlOutput> {
        let _ = sample;
        todo!()
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
        let _ = (height, width, fill);
        todo!()
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
        let _ = (sample, sample_posterior, seed);
        todo!()
    }
}
