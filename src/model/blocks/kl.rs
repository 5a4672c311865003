#![forbid(unsafe_code)]
//! The blocks of `AutoencoderKL`.

use super::Blocks;
use crate::backend::{self, Act, Backend, Columns, Prologue, Resample, Slot};
use crate::base::error::Result;
use crate::base::storage::Storage;
use crate::model::weights::kl::{Attention, Resnet};
use crate::model::weights::{Conv, Norm};
use crate::model::window::Window;

/// Epsilon of every GroupNorm.
const EPSILON: f64 = 1e-6;

impl<B: Backend> Blocks<'_, B> {
    /// A convolution without normalisation, whose output a GroupNorm reads.
    pub(in crate::model) fn conv(
        &mut self,
        conv: &Conv,
        input: Slot,
        resample: Resample,
    ) -> Result<Slot> {
        let filters = [conv.filter()];
        let op = self.op(&filters, None, resample);
        let out = self.consume(op, input, self.settings.storage)?;
        if resample == Resample::Double {
            self.window = self.window.as_ref().map(Window::doubled);
        }
        Ok(out)
    }

    /// A 1x1 convolution at the network's edge, `F32` in and out. No GroupNorm reads its output.
    pub(in crate::model) fn quant_conv(&mut self, conv: &Conv, input: Slot) -> Result<Slot> {
        let filters = [conv.filter()];
        let op = backend::Conv { groups: 1, ..self.op(&filters, None, Resample::Keep) };
        self.consume(op, input, Storage::F32)
    }

    /// The last layers of encoder and decoder: GroupNorm, SiLU (whatever `act_fn` says),
    /// convolution.
    pub(in crate::model) fn head(&mut self, norm: &Norm, conv: &Conv, input: Slot) -> Result<Slot> {
        let filters = [conv.filter()];
        let norm = Some(self.norm(norm, Some(Act::Silu)));
        let op = backend::Conv { groups: 1, ..self.op(&filters, norm, Resample::Keep) };
        self.consume(op, input, Storage::F32)
    }

    /// `x + conv2(act(norm2(conv1(act(norm1(x))))))`; if the number of channels changes, `x` passes
    /// a 1x1 convolution first. The residual is added in place: two activations are alive, three if
    /// the number of channels grows.
    pub(in crate::model) fn resnet(&mut self, block: &Resnet, input: Slot) -> Result<Slot> {
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
    pub(in crate::model) fn attention(&mut self, block: &Attention, input: Slot) -> Result<Slot> {
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

    fn norm<'a>(&self, norm: &'a Norm, act: Option<Act>) -> Prologue<'a> {
        let (gamma, beta, groups) = (&norm.gamma, &norm.beta, self.settings.groups);
        let core = self.window.as_ref().map(Window::core);
        Prologue::Norm(backend::Norm { gamma, beta, groups, epsilon: EPSILON, act, core })
    }
}
