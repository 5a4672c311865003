#![forbid(unsafe_code)]
//! The blocks of encoder and decoder, computed as in diffusers.

use super::config::{Activation, Config};
use super::weights::{self, Attention, Conv, Norm, Resnet};
use super::window::Window;
use crate::backend::{self, Act, Backend, Columns, Resample, Slot};
use crate::base::error::Result;
use crate::base::storage::Storage;

/// Epsilon of every GroupNorm.
const EPSILON: f64 = 1e-6;

/// Settings of the network, besides its weights.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// Type of the activations between layers. Latents, moments and pictures are always `F32`.
    pub(crate) storage: Storage,
    /// Whether query, key and value are projected at once.
    pub(crate) fuse_qkv: bool,
    groups: usize,
    act: Act,
}

impl Settings {
    pub(crate) fn new(config: &Config, storage: Storage, fuse_qkv: bool) -> Self {
        let act = match config.act_fn {
            Activation::Silu => Act::Silu,
            Activation::Mish => Act::Mish,
            Activation::Gelu => Act::Gelu,
            Activation::Relu => Act::Relu,
        };
        Self { storage, fuse_qkv, groups: config.norm_num_groups, act }
    }

    /// These settings with another activation type.
    pub(crate) fn with_storage(self, storage: Storage) -> Self {
        Self { storage, ..self }
    }
}

/// The blocks, run on a backend.
pub(super) struct Blocks<'b, B> {
    backend: &'b mut B,
    settings: Settings,
    /// Position of the tile in the current activation, if the run is on a tile and its halo.
    window: Option<Window>,
}

impl<'b, B: Backend> Blocks<'b, B> {
    /// Blocks for whole pictures, or for tiles positioned by `window`.
    pub(super) fn new(backend: &'b mut B, settings: Settings, window: Option<Window>) -> Self {
        Self { backend, settings, window }
    }

    /// Trims the halo around a tile to at most `halo` pixels.
    pub(super) fn trim(&mut self, input: Slot, halo: usize) -> Result<Slot> {
        let Some(window) = &self.window else { return Ok(input) };
        let (region, window) = window.trimmed(halo);
        self.window = Some(window);
        self.backend.crop(input, &region)
    }

    /// A convolution without normalisation, whose output a GroupNorm reads.
    pub(super) fn conv(&mut self, conv: &Conv, input: Slot, resample: Resample) -> Result<Slot> {
        let filters = [conv.filter()];
        let op = self.op(&filters, None, resample);
        let out = self.consume(op, input, self.settings.storage)?;
        if resample == Resample::Double {
            self.window = self.window.as_ref().map(Window::doubled);
        }
        Ok(out)
    }

    /// A 1x1 convolution at the network's edge, `F32` in and out. No GroupNorm reads its output.
    pub(super) fn quant_conv(&mut self, conv: &Conv, input: Slot) -> Result<Slot> {
        let filters = [conv.filter()];
        let op = backend::Conv { groups: 1, ..self.op(&filters, None, Resample::Keep) };
        self.consume(op, input, Storage::F32)
    }

    /// The last layers of encoder and decoder: GroupNorm, SiLU (whatever `act_fn` says),
    /// convolution.
    pub(super) fn head(&mut self, norm: &Norm, conv: &Conv, input: Slot) -> Result<Slot> {
        let filters = [conv.filter()];
        let norm = Some(self.norm(norm, Some(Act::Silu)));
        let op = backend::Conv { groups: 1, ..self.op(&filters, norm, Resample::Keep) };
        self.consume(op, input, Storage::F32)
    }

    /// `x + conv2(act(norm2(conv1(act(norm1(x))))))`; if the number of channels changes, `x` passes
    /// a 1x1 convolution first. The residual is added in place: two activations are alive, three if
    /// the number of channels grows.
    pub(super) fn resnet(&mut self, block: &Resnet, input: Slot) -> Result<Slot> {
        let act = Some(self.settings.act);
        let conv1 = [block.conv1.filter()];
        let op = self.op(&conv1, Some(self.norm(&block.norm1, act)), Resample::Keep);
        let storage = self.settings.storage;
        let (out, hidden) = match &block.shortcut {
            None => {
                let hidden = self.produce(op, &input, storage)?;
                (input, hidden)
            }
            Some(shortcut) => {
                let filters = [shortcut.filter()];
                let shortcut = self.op(&filters, None, Resample::Keep);
                if filters[0].out_channels <= input.shape.channels {
                    let split = self.backend.split(&op, &shortcut, input)?;
                    (split.shortcut, split.conv)
                } else {
                    let hidden = self.produce(op, &input, storage)?;
                    (self.consume(shortcut, input, storage)?, hidden)
                }
            }
        };
        let conv2 = [block.conv2.filter()];
        let op = self.op(&conv2, Some(self.norm(&block.norm2, act)), Resample::Keep);
        self.backend.conv(&backend::Conv { residual: true, ..op }, &hidden, &out)?;
        self.backend.free(hidden);
        Ok(out)
    }

    /// `x + out(attention(q, k, v))`, where `q`, `k` and `v` are projections of the normalised `x`;
    /// over all pixels, with one head.
    pub(super) fn attention(&mut self, block: &Attention, input: Slot) -> Result<Slot> {
        let filters = [block.query.filter(), block.key.filter(), block.value.filter()];
        let norm = Some(self.norm(&block.norm, None));
        let storage = self.settings.storage;
        let mut projections = Vec::with_capacity(3);
        let banks = if self.settings.fuse_qkv { filters.chunks(3) } else { filters.chunks(1) };
        for bank in banks {
            let op = backend::Conv { groups: 1, ..self.op(bank, norm, Resample::Keep) };
            projections.push(self.produce(op, &input, storage)?);
        }
        let channels = input.shape.channels;
        let columns = |i: usize| match projections.get(i) {
            Some(slot) if !self.settings.fuse_qkv => Columns { slot, first: 0 },
            _ => Columns { slot: &projections[0], first: i * channels },
        };
        let mixed = self.backend.alloc(input.shape, storage)?;
        let op = backend::Attention {
            name: &block.norm.name,
            query: columns(0),
            key: columns(1),
            value: columns(2),
        };
        self.backend.attention(&op, &mixed)?;
        for slot in projections {
            self.backend.free(slot);
        }
        let out = [block.out.filter()];
        let op = self.op(&out, None, Resample::Keep);
        self.backend.conv(&backend::Conv { residual: true, ..op }, &mixed, &input)?;
        self.backend.free(mixed);
        Ok(input)
    }

    fn op<'a>(
        &self,
        filters: &'a [backend::LayerFilter<'a>],
        norm: Option<backend::Norm<'a>>,
        resample: Resample,
    ) -> backend::Conv<'a> {
        backend::Conv { filters, norm, resample, residual: false, groups: self.settings.groups }
    }

    fn norm<'a>(&self, norm: &'a weights::Norm, act: Option<Act>) -> backend::Norm<'a> {
        let (gamma, beta, groups) = (&norm.gamma, &norm.beta, self.settings.groups);
        let core = self.window.as_ref().map(Window::core);
        backend::Norm { gamma, beta, groups, epsilon: EPSILON, act, core }
    }

    /// Runs `op`; its output is a new activation.
    fn produce(&mut self, op: backend::Conv<'_>, input: &Slot, storage: Storage) -> Result<Slot> {
        let out = self.backend.alloc(op.output(input.shape), storage)?;
        self.backend.conv(&op, input, &out)?;
        Ok(out)
    }

    /// Like [`Self::produce`], and frees the input.
    fn consume(&mut self, op: backend::Conv<'_>, input: Slot, storage: Storage) -> Result<Slot> {
        let out = self.produce(op, &input, storage)?;
        self.backend.free(input);
        Ok(out)
    }
}
