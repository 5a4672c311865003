#![forbid(unsafe_code)]
//! What a caller may ask of a session.

use std::path::PathBuf;

use crate::backend::Algorithm;
use crate::base::error::{Error, Result};
use crate::base::storage::Storage;
use crate::model::Model;
use crate::os;

/// How attention is computed; the two agree up to rounding. diffusers' `set_attn_processor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Attention {
    /// One pass over the keys with a running softmax (FlashAttention).
    #[default]
    Streamed,
    /// All scores of a few queries at a time, then their softmax.
    RowByRow,
}

impl From<Attention> for Algorithm {
    fn from(attention: Attention) -> Self {
        match attention {
            Attention::Streamed => Self::Streamed,
            Attention::RowByRow => Self::RowByRow,
        }
    }
}

/// How a picture that is larger than a tile is worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Tiling {
    /// The result of the whole picture in one piece.
    #[default]
    Exact,
    /// The tiles and blends of diffusers' `enable_tiling`: other numbers, with its seams.
    Diffusers,
    /// Decoding in tiles that have all around them that they read, and share the statistics of the
    /// whole picture: no seams, and the result of [`Tiling::Exact`] but for a small error of those
    /// statistics. Twice the time or more, as every tile is computed for the statistics first.
    /// Encoding is exact.
    Seamless,
}

/// How a session works. `SessionOptions::default()` is f32 on all physical cores.
///
/// ```
/// use vaekl::SessionOptions;
///
/// let options = SessionOptions::default().with_threads(4).with_memory_budget(64 << 20);
/// assert_eq!((options.threads, options.memory_budget), (4, 64 << 20));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SessionOptions {
    /// Threads, 0 for one per physical core; 1024 at most.
    pub threads: usize,
    /// Storage of activations between layers: `F32`, `Bf16` or `F16`. Sums are always `f32` or
    /// wider. `F16` becomes `F32` for a model whose `force_upcast` is set.
    pub activation_dtype: Storage,
    /// One projection for query, key and value instead of three (diffusers'
    /// `fuse_qkv_projections`).
    pub fuse_qkv: bool,
    /// The attention algorithm.
    pub attention: Attention,
    /// Bytes that the process may have during a call, 0 for no limit. A call that cannot keep it
    /// fails before any work, with the least budget that it could. The result is the same bits with
    /// any budget.
    pub memory_budget: u64,
    /// A folder where activations may go that the budget has no room for, in a file without a name.
    pub scratch_dir: Option<PathBuf>,
    /// Whether tiles are asked for.
    pub tiling: Tiling,
    /// Latent pixels of a tile's side; 0 for the model's `sample_size`, as diffusers has it, or of
    /// seamless tiles with a budget the most that it has room for.
    pub tile_size: usize,
    /// Latent pixels that neighbours of diffusers' tiles share, 0 for a quarter of the tile.
    /// Seamless tiles take 0 only.
    pub tile_overlap: usize,
}

impl Default for SessionOptions {
    fn default() -> Self {
        Self {
            threads: 0,
            activation_dtype: Storage::F32,
            fuse_qkv: false,
            attention: Attention::Streamed,
            memory_budget: 0,
            scratch_dir: None,
            tiling: Tiling::Exact,
            tile_size: 0,
            tile_overlap: 0,
        }
    }
}

impl SessionOptions {
    const MOST_THREADS: usize = 1024;

    /// Sets [`SessionOptions::threads`].
    #[must_use]
    pub fn with_threads(self, threads: usize) -> Self {
        Self { threads, ..self }
    }

    /// Sets [`SessionOptions::activation_dtype`].
    #[must_use]
    pub fn with_activation_dtype(self, activation_dtype: Storage) -> Self {
        Self { activation_dtype, ..self }
    }

    /// Sets [`SessionOptions::fuse_qkv`].
    #[must_use]
    pub fn with_fuse_qkv(self, fuse_qkv: bool) -> Self {
        Self { fuse_qkv, ..self }
    }

    /// Sets [`SessionOptions::attention`].
    #[must_use]
    pub fn with_attention(self, attention: Attention) -> Self {
        Self { attention, ..self }
    }

    /// Sets [`SessionOptions::memory_budget`], in bytes.
    #[must_use]
    pub fn with_memory_budget(self, memory_budget: u64) -> Self {
        Self { memory_budget, ..self }
    }

    /// Sets [`SessionOptions::scratch_dir`].
    #[must_use]
    pub fn with_scratch_dir(self, scratch_dir: impl Into<PathBuf>) -> Self {
        Self { scratch_dir: Some(scratch_dir.into()), ..self }
    }

    /// Sets [`SessionOptions::tiling`].
    #[must_use]
    pub fn with_tiling(self, tiling: Tiling) -> Self {
        Self { tiling, ..self }
    }

    /// Sets [`SessionOptions::tile_size`], in latent pixels.
    #[must_use]
    pub fn with_tile_size(self, tile_size: usize) -> Self {
        Self { tile_size, ..self }
    }

    /// Sets [`SessionOptions::tile_overlap`], in latent pixels.
    #[must_use]
    pub fn with_tile_overlap(self, tile_overlap: usize) -> Self {
        Self { tile_overlap, ..self }
    }

    /// The number of threads, chosen where none was asked for.
    ///
    /// # Errors
    /// `InvalidArgument` for too many.
    pub(super) fn resolve_threads(&self) -> Result<usize> {
        match self.threads {
            0 => Ok(os::physical_cores()),
            n if n <= Self::MOST_THREADS => Ok(n),
            n => Err(Error::invalid(format!(
                "threads: at most {} expected, {n} found",
                Self::MOST_THREADS
            ))),
        }
    }

    /// The storage asked for, or the one that the model demands.
    pub(super) fn resolve_storage(&self, model: &Model) -> Storage {
        match self.activation_dtype {
            Storage::F16 if model.config().force_upcast => Storage::F32,
            storage => storage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names every field, so that a new one does not compile until it has its method.
    #[test]
    fn every_option_has_a_method() {
        let options = SessionOptions::default()
            .with_threads(4)
            .with_activation_dtype(Storage::Bf16)
            .with_fuse_qkv(true)
            .with_attention(Attention::RowByRow)
            .with_memory_budget(64 << 20)
            .with_scratch_dir("scratch")
            .with_tiling(Tiling::Diffusers)
            .with_tile_size(32)
            .with_tile_overlap(8);
        let SessionOptions {
            threads,
            activation_dtype,
            fuse_qkv,
            attention,
            memory_budget,
            scratch_dir,
            tiling,
            tile_size,
            tile_overlap,
        } = options;
        assert_eq!((threads, memory_budget, fuse_qkv), (4, 64 << 20, true));
        assert_eq!((activation_dtype, attention), (Storage::Bf16, Attention::RowByRow));
        assert_eq!(scratch_dir, Some(PathBuf::from("scratch")));
        assert_eq!((tiling, tile_size, tile_overlap), (Tiling::Diffusers, 32, 8));
    }
}
