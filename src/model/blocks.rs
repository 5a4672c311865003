#![forbid(unsafe_code)]
//! The blocks that encoder and decoder are made of, as diffusers computes them.

use super::config::{Activation, Config};
use super::weights::{self, Attention, Conv, Level, Mid, Norm, Resnet};
use super::window::Window;
use crate::backend::{self, Act, Backend, Columns, Resample, Slot};
use crate::base::error::Result;
use crate::base::storage::Storage;

/// Epsilon of every GroupNorm.
const EPSILON: f64 = 1e-6;

/// The network's settings beside its weights.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// Storage of activations. Latents, moments and pictures are always `F32`.
    pub(crate) dtype: Storage,
    /// One projection for query, key and value instead of three.
    pub(crate) fuse_qkv: bool,
    groups: usize,
    act: Act,
}

impl Settings {
    pub(crate) fn new(config: &Config, dtype: Storage, fuse_qkv: bool) -> Self {
        let act = match config.act_fn {
            Activation::Silu => Act::Silu,
            Activation::Mish => Act::Mish,
            Activation::Gelu => Act::Gelu,
            Activation::Relu => Act::Relu,
        };
        Self { dtype, fuse_qkv, groups: config.norm_num_groups, act }
    }
}

/// The network at work on a backend.
pub(crate) struct Network<'b, B> {
    backend: &'b mut B,
    settings: Settings,
    /// Where the tile is in the activation at hand, of a run on a tile and its halo.
    window: Option<Window>,
}

impl<'b, B: Backend> Network<'b, B> {
    /// The network on whole pictures, or on tiles that begin as `window` says.
    pub(crate) fn new(backend: &'b mut B, settings: Settings, window: Option<Window>) -> Self {
        Self { backend, settings, window }
    }

    /// Leaves `halo` pixels around a tile, of those that there are.
    pub(crate) fn trim(&mut self, input: Slot, halo: usize) -> Result<Slot> {
        let Some(window) = &self.window else { return Ok(input) };
        let (region, window) = window.trimmed(halo);
        self.window = Some(window);
        self.backend.crop(input, &region)
    }

    /// A convolution between activations without normalisation, whose output a GroupNorm reads.
    pub(crate) fn conv(&mut self, conv: &Conv, input: Slot, resample: Resample) -> Result<Slot> {
        let filters = [conv.filter()];
        let op = self.op(&filters, None, resample);
        let out = self.consume(op, input, self.settings.dtype)?;
        if resample == Resample::Double {
            self.window = self.window.as_ref().map(Window::doubled);
        }
        Ok(out)
    }

    /// A 1x1 convolution at the network's edge, `F32` in and out, that no GroupNorm reads.
    pub(crate) fn quant_conv(&mut self, conv: &Conv, input: Slot) -> Result<Slot> {
        let filters = [conv.filter()];
        let op = backend::Conv { groups: 1, ..self.op(&filters, None, Resample::Keep) };
        self.consume(op, input, Storage::F32)
    }

    /// The last layers of encoder and decoder: GroupNorm, SiLU (whatever `act_fn` says), convolution.
    pub(crate) fn head(&mut self, norm: &Norm, conv: &Conv, input: Slot) -> Result<Slot> {
        let filters = [conv.filter()];
        let norm = Some(self.norm(norm, Some(Act::Silu)));
        let op = backend::Conv { groups: 1, ..self.op(&filters, norm, Resample::Keep) };
        self.consume(op, input, Storage::F32)
    }

    /// `x + conv2(act(norm2(conv1(act(norm1(x))))))`, with `x` through a 1x1 convolution where the
    /// number of channels changes. The residual is added in place, so that two activations are alive,
    /// three where the number of channels grows.
    pub(crate) fn resnet(&mut self, block: &Resnet, input: Slot) -> Result<Slot> {
        let act = Some(self.settings.act);
        let conv1 = [block.conv1.filter()];
        let op = self.op(&conv1, Some(self.norm(&block.norm1, act)), Resample::Keep);
        let dtype = self.settings.dtype;
        let (out, hidden) = match &block.shortcut {
            None => {
                let hidden = self.produce(op, &input, dtype)?;
                (input, hidden)
            }
            Some(shortcut) => {
                let filters = [shortcut.filter()];
                let shortcut = self.op(&filters, None, Resample::Keep);
                if filters[0].out_channels <= input.shape.channels {
                    self.backend.fork(&op, &shortcut, input)?
                } else {
                    let hidden = self.produce(op, &input, dtype)?;
                    (self.consume(shortcut, input, dtype)?, hidden)
                }
            }
        };
        let conv2 = [block.conv2.filter()];
        let op = self.op(&conv2, Some(self.norm(&block.norm2, act)), Resample::Keep);
        self.backend.conv(&backend::Conv { residual: true, ..op }, &hidden, &out)?;
        self.backend.free(hidden);
        Ok(out)
    }

    /// `x + out(attention(q, k, v))` of the normalised `x`, over all pixels, with one head.
    pub(crate) fn attention(&mut self, block: &Attention, input: Slot) -> Result<Slot> {
        let filters = [block.query.filter(), block.key.filter(), block.value.filter()];
        let norm = Some(self.norm(&block.norm, None));
        let dtype = self.settings.dtype;
        let mut projections = Vec::with_capacity(3);
        let banks = if self.settings.fuse_qkv { filters.chunks(3) } else { filters.chunks(1) };
        for bank in banks {
            let op = backend::Conv { groups: 1, ..self.op(bank, norm, Resample::Keep) };
            projections.push(self.produce(op, &input, dtype)?);
        }
        let channels = input.shape.channels;
        let columns = |i: usize| match projections.get(i) {
            Some(slot) if !self.settings.fuse_qkv => Columns { slot, first: 0 },
            _ => Columns { slot: &projections[0], first: i * channels },
        };
        let mixed = self.backend.alloc(input.shape, dtype)?;
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

    /// ResNet, attention (where the model has it), ResNet.
    pub(crate) fn mid(&mut self, mid: &Mid, input: Slot) -> Result<Slot> {
        let mut x = self.resnet(&mid.resnets[0], input)?;
        if let Some(attention) = &mid.attention {
            x = self.attention(attention, x)?;
        }
        self.resnet(&mid.resnets[1], x)
    }

    /// A level of encoder or decoder: each ResNet with its attention, then the change of resolution.
    pub(crate) fn level(&mut self, level: &Level, input: Slot, resample: Resample) -> Result<Slot> {
        let x = self.resnets(level, input)?;
        match &level.resample {
            Some(conv) => self.conv(conv, x, resample),
            None => Ok(x),
        }
    }

    /// A level but for the change of resolution.
    pub(crate) fn resnets(&mut self, level: &Level, input: Slot) -> Result<Slot> {
        let mut x = input;
        for (i, resnet) in level.resnets.iter().enumerate() {
            x = self.resnet(resnet, x)?;
            if let Some(attention) = level.attentions.get(i) {
                x = self.attention(attention, x)?;
            }
        }
        Ok(x)
    }

    fn op<'a>(
        &self,
        filters: &'a [backend::Filter<'a>],
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

    /// Runs `op` into a new activation of `dtype`.
    fn produce(&mut self, op: backend::Conv<'_>, input: &Slot, dtype: Storage) -> Result<Slot> {
        let out = self.backend.alloc(op.output(input.shape), dtype)?;
        self.backend.conv(&op, input, &out)?;
        Ok(out)
    }

    /// [`Self::produce`], after which the input is not needed any more.
    fn consume(&mut self, op: backend::Conv<'_>, input: Slot, dtype: Storage) -> Result<Slot> {
        let out = self.produce(op, &input, dtype)?;
        self.backend.free(input);
        Ok(out)
    }
}
