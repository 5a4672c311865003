#![forbid(unsafe_code)]
//! The latents of a model, and those of its diffusion model: scaling, statistics and patches.

use ndarray::{Array4, ArrayView4, ArrayViewMut4};

use super::flux2::PATCH;
use super::{Config, Family};
use crate::base::alloc;
use crate::base::error::{Error, Result};
use crate::model::scaling::Scaling;

impl Config {
    /// Scales raw latents `[batch, latent_channels, h, w]` for the diffusion model, in place:
    /// `(latents - mean) * scaling / std`, or `(latents - shift) * scaling`. Of an
    /// `AutoencoderKLFlux2`, mean and standard deviation are those of the latent's place in its 2x2
    /// patch.
    ///
    /// # Errors
    /// `InvalidArgument` if the second axis is not `latent_channels` long, or patches do not fit;
    /// `Model` for an `AutoencoderKLFlux2` whose weights, and so its statistics, were not read.
    pub fn scale_latents(&self, latents: ArrayViewMut4<'_, f32>) -> Result<()> {
        self.known_scaling()?.apply(latents)
    }

    /// Makes raw latents from those of the diffusion model, in place: the inverse of
    /// [`Config::scale_latents`].
    ///
    /// # Errors
    /// Those of [`Config::scale_latents`].
    pub fn unscale_latents(&self, latents: ArrayViewMut4<'_, f32>) -> Result<()> {
        self.known_scaling()?.undo(latents)
    }

    /// [`Config::unscale_latents`] for one value after the other, at channel, row and column.
    ///
    /// # Errors
    /// `Model`, as there.
    #[cfg(feature = "capi")]
    pub(crate) fn unscaling(&self) -> Result<impl Fn(f32, [usize; 3]) -> f32> {
        let scaling = self.known_scaling()?;
        Ok(move |value, at| scaling.undone(value, at))
    }

    /// Side of the patches that the diffusion model's latents come in: 2 for an
    /// `AutoencoderKLFlux2`, otherwise 1.
    pub fn patch_size(&self) -> usize {
        if matches!(self.family, Family::Flux2(_)) { PATCH } else { 1 }
    }

    /// Folds latents `[batch, latent_channels, h, w]` into patches `[batch, latent_channels * p^2,
    /// h / p, w / p]`, with `p` of [`Config::patch_size`] and channels in the order channel, row,
    /// column, as FLUX.2's pipeline does.
    ///
    /// # Errors
    /// `InvalidArgument` if `p` does not divide the sides, `OutOfMemory`.
    pub fn patchify_latents(&self, latents: ArrayView4<'_, f32>) -> Result<Array4<f32>> {
        let (p, (batch, channels, height, width)) = (self.patch_size(), latents.dim());
        if !height.is_multiple_of(p) || !width.is_multiple_of(p) {
            return Err(Error::invalid(format!(
                "latents: sides that are multiples of {p} expected, {width}x{height} found"
            )));
        }
        let shape = (batch, channels * p * p, height / p, width / p);
        alloc::array(shape, "latents", |(b, c, y, x)| {
            latents[(b, c / (p * p), y * p + c / p % p, x * p + c % p)]
        })
    }

    /// The inverse of [`Config::patchify_latents`].
    ///
    /// # Errors
    /// `InvalidArgument` if the second axis is not a multiple of `p^2`, `OutOfMemory`.
    pub fn unpatchify_latents(&self, patches: ArrayView4<'_, f32>) -> Result<Array4<f32>> {
        let (p, (batch, channels, height, width)) = (self.patch_size(), patches.dim());
        if !channels.is_multiple_of(p * p) {
            return Err(Error::invalid(format!(
                "latents: a multiple of {} channels expected, {channels} found",
                p * p
            )));
        }
        let shape = (batch, channels / (p * p), height * p, width * p);
        alloc::array(shape, "latents", |(b, c, y, x)| {
            patches[(b, (c * p + y % p) * p + x % p, y / p, x / p)]
        })
    }

    /// The scaling; an error if a part of it is in weights that were not read.
    fn known_scaling(&self) -> Result<Scaling<'_>> {
        if matches!(self.family, Family::Flux2(_)) && self.latents_mean.is_none() {
            return Err(Error::model(
                "statistics of the latents: those of an AutoencoderKLFlux2 are in its weights, \
                 not in its configuration",
            ));
        }
        Ok(self.scaling())
    }

    pub(super) fn scaling(&self) -> Scaling<'_> {
        Scaling {
            channels: self.latent_channels,
            patch: self.patch_size(),
            factor: self.scaling_factor,
            shift: self.shift_factor,
            mean: self.latents_mean.as_deref(),
            std: self.latents_std.as_deref(),
        }
    }
}
