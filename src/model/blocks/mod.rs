#![forbid(unsafe_code)]
//! The blocks of the networks, computed as in diffusers.
//!
//! `kl` has those of `AutoencoderKL`, `tiny` those of `AutoencoderTiny`, `condition` what keeps the
//! part of a picture outside of a mask.

mod condition;
mod kl;
mod masked;
mod tiny;

use self::masked::Condition;
pub(crate) use self::masked::Masked;
pub(super) use self::tiny::Edge;
use super::config::{Activation, Config, Family, Flux2Config};
use super::window::Window;
use crate::backend::{self, Act, Backend, Epilogue, Resample, Slot};
use crate::base::error::Result;
use crate::base::storage::Storage;

/// Settings of the network, besides its weights.
#[derive(Clone, Copy)]
pub(crate) struct Settings {
    /// Type of the activations between layers. Latents, moments and pictures are always `F32`.
    pub(crate) storage: Storage,
    /// Whether query, key and value are projected at once.
    pub(crate) fuse_qkv: bool,
    /// Groups of each GroupNorm; 1 where the network has none.
    groups: usize,
    act: Act,
    /// Whether each value is the same in a tile as in the whole picture.
    local: bool,
}

impl Settings {
    pub(crate) fn new(config: &Config, storage: Storage, fuse_qkv: bool) -> Self {
        let (groups, act_fn, local) = match &config.family {
            Family::Tiny(tiny) => (1, tiny.act_fn, true),
            Family::Kl(kl)
            | Family::Asymmetric(kl)
            | Family::Flux2(Flux2Config { network: kl, .. }) => {
                (kl.norm_num_groups, kl.act_fn, false)
            }
        };
        let act = match act_fn {
            Activation::Silu => Act::Silu,
            Activation::Mish => Act::Mish,
            Activation::Gelu => Act::Gelu,
            Activation::Relu => Act::Relu,
        };
        Self { storage, fuse_qkv, groups, act, local }
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
    /// The masked picture of a run that has one.
    condition: Option<Condition>,
}

impl<'b, B: Backend> Blocks<'b, B> {
    /// Blocks for whole pictures, or for tiles positioned by `window`; with the masked picture of a
    /// decode that has one.
    pub(super) fn new(
        backend: &'b mut B,
        settings: Settings,
        window: Option<Window>,
        masked: Option<Masked>,
    ) -> Self {
        Self { backend, settings, window, condition: masked.map(Condition::new) }
    }

    /// Trims the halo around a tile to at most `halo` pixels.
    pub(super) fn trim(&mut self, input: Slot, halo: usize) -> Result<Slot> {
        let Some(window) = &self.window else { return Ok(input) };
        let (region, window) = window.trimmed(halo);
        self.window = Some(window);
        self.backend.crop(input, &region)
    }

    fn op<'a>(
        &self,
        filters: &'a [backend::LayerFilter<'a>],
        prologue: Option<backend::Prologue<'a>>,
        resample: Resample,
    ) -> backend::Conv<'a> {
        let Settings { groups, local, .. } = self.settings;
        let (residual, epilogue) = (false, Epilogue::None);
        backend::Conv { filters, prologue, resample, residual, epilogue, local, groups }
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
