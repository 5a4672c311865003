#![forbid(unsafe_code)]
//! The options of a session.

use std::path::PathBuf;

use crate::backend::Algorithm;
use crate::base::error::{Error, Result};
use crate::base::storage::Storage;
use crate::model::Model;
use crate::os;

/// The attention algorithm; both give the same result up to rounding. diffusers'
/// `set_attn_processor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Attention {
    /// One pass over the keys with a running softmax (FlashAttention).
    #[default]
    Streamed,
    /// All scores of a few queries, then their softmax.
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

/// Whether to split a picture that is larger than a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Tiling {
    /// The result of the whole picture. A network without statistics, such as a tiny
    /// autoencoder's, is cut into tiles where a limit demands it, which changes no bit.
    #[default]
    Exact,
    /// The overlapping, blended tiles of diffusers' `enable_tiling`: other numbers, with its seams.
    Diffusers,
    /// Decodes in tiles that share the statistics of the whole picture and read a halo of all that
    /// they depend on: no seams. The result differs from [`Tiling::Exact`] only by a small error of
    /// those statistics. At least twice the time, as every tile is first computed for the
    /// statistics. Encoding is exact, and so is a tiny autoencoder in both directions: its tiles
    /// have the bits of the whole picture.
    Seamless,
}

/// Options of a session. `SessionOptions::default()` is f32, exact, on all physical cores.
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
    /// Number of threads, at most 1024; 0 for one per physical core.
    pub threads: usize,
    /// Type of the activations between layers. Sums are always `f32` or wider. `F16` becomes `F32`
    /// if the model sets `force_upcast`.
    pub activation_dtype: Storage,
    /// Whether to project query, key and value at once (diffusers' `fuse_qkv_projections`).
    pub fuse_qkv: bool,
    /// The attention algorithm.
    pub attention: Attention,
    /// Limit in bytes of what a call adds to the process's memory, 0 for none: workspace, weights,
    /// threads, and the library's own lists and code ([`Plan::peak_bytes`](crate::Plan)). What the
    /// process holds already does not count, nor do arrays that the caller passes or is given. A
    /// call that does not fit fails before doing any work, and its error names the least budget
    /// that would do. The limit never changes a bit of the result, except in seamless tiles whose
    /// size is left to it.
    ///
    /// Without a limit too, a call takes the fastest plan for which the system has memory: the
    /// machine, the control groups of a container, and the limits of the process.
    pub memory_budget: u64,
    /// Bytes of the budget that the caller needs itself, as for its arrays. A plan's peak includes
    /// them. Where the system is asked what it has, they are taken to be in memory already.
    pub memory_reserved: u64,
    /// Folder for a nameless scratch file, to which activations are spilled that do not fit the
    /// budget.
    pub scratch_dir: Option<PathBuf>,
    /// Whether to work in tiles.
    pub tiling: Tiling,
    /// Side of a tile in latent pixels; 0 for the model's `sample_size`, as in diffusers, or for
    /// seamless tiles with a budget the largest size that fits it. A multiple of 4 for seamless
    /// tiles of a tiny autoencoder.
    pub tile_size: usize,
    /// Overlap of neighbouring diffusers' tiles in latent pixels; 0 for a quarter of a tile, an
    /// eighth for a tiny autoencoder. Must be 0 for seamless tiles.
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
            memory_reserved: 0,
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

    /// Sets [`SessionOptions::memory_reserved`], in bytes.
    #[must_use]
    pub fn with_memory_reserved(self, memory_reserved: u64) -> Self {
        Self { memory_reserved, ..self }
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

    /// The number of threads; one per physical core by default.
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

    /// The activation type, or `F32` if the model demands it.
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
            .with_memory_reserved(1 << 20)
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
            memory_reserved,
            scratch_dir,
            tiling,
            tile_size,
            tile_overlap,
        } = options;
        assert_eq!((threads, memory_budget, fuse_qkv), (4, 64 << 20, true));
        assert_eq!(memory_reserved, 1 << 20);
        assert_eq!((activation_dtype, attention), (Storage::Bf16, Attention::RowByRow));
        assert_eq!(scratch_dir, Some(PathBuf::from("scratch")));
        assert_eq!((tiling, tile_size, tile_overlap), (Tiling::Diffusers, 32, 8));
    }
}
