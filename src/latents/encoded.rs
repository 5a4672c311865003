#![forbid(unsafe_code)]
//! What an encoder gives.

use ndarray::{Array4, ArrayView4};

use super::posterior::DiagonalGaussian;
use super::rng::Generator;

/// What an encoder gives: a posterior over latents, or latents, as the family does.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Encoded {
    /// A Gaussian for each latent: `AutoencoderKL` and the families near it.
    Posterior(DiagonalGaussian),
    /// Latents `[batch, latent_channels, h, w]`: `AutoencoderTiny`.
    Latents(Array4<f32>),
}

impl Encoded {
    /// The posterior's mode, or the latents, `[batch, latent_channels, h, w]`.
    pub fn mode(&self) -> ArrayView4<'_, f32> {
        match self {
            Self::Posterior(posterior) => posterior.mode(),
            Self::Latents(latents) => latents.view(),
        }
    }

    /// A sample of the posterior, drawn from `generator`, or the latents, for which nothing is
    /// drawn.
    pub fn sample(&self, generator: &mut Generator) -> Array4<f32> {
        match self {
            Self::Posterior(posterior) => posterior.sample(generator),
            Self::Latents(latents) => latents.clone(),
        }
    }

    /// The posterior; `None` if the family has none.
    pub fn posterior(&self) -> Option<&DiagonalGaussian> {
        match self {
            Self::Posterior(posterior) => Some(posterior),
            Self::Latents(_) => None,
        }
    }

    /// The posterior, owned; `None` if the family has none.
    pub fn into_posterior(self) -> Option<DiagonalGaussian> {
        match self {
            Self::Posterior(posterior) => Some(posterior),
            Self::Latents(_) => None,
        }
    }
}
