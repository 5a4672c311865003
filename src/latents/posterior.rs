//! diffusers' `DiagonalGaussianDistribution`.

use ndarray::{Array1, Array4, ArrayView4};

use super::rng::Generator;
use crate::base::error::Result;

/// The posterior over latents: a Gaussian with its own mean and variance at each latent.
#[derive(Clone, Debug)]
pub struct DiagonalGaussian {
    moments: Array4<f32>,
    deterministic: bool,
}

impl DiagonalGaussian {
    /// From moments `[batch, 2 * latent_channels, h, w]`: mean, then log-variance, which is clamped to
    /// [-30, 20].
    ///
    /// # Errors
    /// `InvalidArgument` when the number of channels is odd.
    pub fn new(moments: Array4<f32>) -> Result<Self> {
        Ok(Self { moments, deterministic: false })
    }

    /// The same with zero variance: `sample` is the mean, `kl` and `nll` are zero.
    #[must_use]
    pub fn deterministic(self) -> Self {
        Self { deterministic: true, ..self }
    }

    /// Moments as the encoder gave them, log-variance unclamped, `[batch, 2 * latent_channels, h, w]`.
    pub fn moments(&self) -> ArrayView4<'_, f32> {
        self.moments.view()
    }

    /// The mean, `[batch, latent_channels, h, w]`.
    pub fn mode(&self) -> ArrayView4<'_, f32> {
        todo!()
    }

    /// `mean + std * noise`, the noise drawn from `generator` for the whole batch.
    pub fn sample(&self, generator: &mut Generator) -> Array4<f32> {
        let _ = generator;
        todo!()
    }

    /// Kullback-Leibler divergence from the standard normal, one value per picture.
    pub fn kl(&self) -> Array1<f64> {
        todo!()
    }

    /// Kullback-Leibler divergence from `other`, one value per picture.
    ///
    /// # Errors
    /// `InvalidArgument` when the shapes differ.
    pub fn kl_to(&self, other: &Self) -> Result<Array1<f64>> {
        let _ = other;
        todo!()
    }

    /// Negative log-likelihood of `sample`, one value per picture.
    ///
    /// # Errors
    /// `InvalidArgument` when the shape of `sample` is not the mean's.
    pub fn nll(&self, sample: ArrayView4<'_, f32>) -> Result<Array1<f64>> {
        let _ = sample;
        todo!()
    }
}
