#![forbid(unsafe_code)]
//! diffusers' `DiagonalGaussianDistribution`.

use ndarray::{Array1, Array4, ArrayView4, Axis, Zip};

use super::rng::Generator;
use crate::base::error::{Error, Result};

/// The posterior over latents: an independent Gaussian for each value.
///
/// Arrays are `[batch, latent_channels, h, w]` in f32; sums are f64.
///
/// ```
/// use ndarray::Array4;
/// use vaekl::{DiagonalGaussian, Generator};
///
/// let moments = Array4::zeros((1, 8, 2, 2)); // mean 0, log-variance 0: the standard normal
/// let posterior = DiagonalGaussian::new(moments)?;
/// assert_eq!(posterior.kl()[0], 0.0);
/// // The noise of torch.Generator().manual_seed(33)
/// let latents = posterior.sample(&mut Generator::new(33));
/// assert_eq!(latents.dim(), (1, 4, 2, 2));
/// # Ok::<(), vaekl::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct DiagonalGaussian {
    moments: Array4<f32>,
    deterministic: bool,
}

/// diffusers clamps the log-variance to this range.
const LOGVAR: (f32, f32) = (-30.0, 20.0);

impl DiagonalGaussian {
    /// Makes a posterior from moments `[batch, 2 * latent_channels, h, w]`: mean, then
    /// log-variance, which is clamped to [-30, 20] on use.
    ///
    /// # Errors
    /// `InvalidArgument` if the number of channels is odd.
    pub fn new(moments: Array4<f32>) -> Result<Self> {
        let channels = moments.len_of(Axis(1));
        if !channels.is_multiple_of(2) {
            return Err(Error::invalid(format!(
                "moments: an even number of channels expected (mean and log-variance), \
                 {channels} found"
            )));
        }
        Ok(Self { moments, deterministic: false })
    }

    /// This posterior with zero variance: `sample` gives the mean; `kl` and `nll` are zero.
    #[must_use]
    pub fn deterministic(self) -> Self {
        Self { deterministic: true, ..self }
    }

    /// The moments of the encoder, `[batch, 2 * latent_channels, h, w]`, log-variance unclamped.
    pub fn moments(&self) -> ArrayView4<'_, f32> {
        self.moments.view()
    }

    /// The mode, which is the mean.
    pub fn mode(&self) -> ArrayView4<'_, f32> {
        let (mean, _) = self.halves();
        mean
    }

    /// The log-variance, clamped.
    pub fn logvar(&self) -> Array4<f32> {
        let (_, logvar) = self.halves();
        logvar.mapv(clamped)
    }

    /// The standard deviation, `exp(logvar / 2)`.
    pub fn std(&self) -> Array4<f32> {
        self.of_logvar(std_of)
    }

    /// The variance, `exp(logvar)`.
    pub fn var(&self) -> Array4<f32> {
        self.of_logvar(f32::exp)
    }

    /// A sample: `mean + std * noise`. The noise is drawn from `generator` once for the whole
    /// batch, as diffusers does with one generator.
    pub fn sample(&self, generator: &mut Generator) -> Array4<f32> {
        let mode = self.mode();
        let mut noise = generator.randn(mode.len()).into_iter();
        let noise = Array4::from_shape_simple_fn(mode.raw_dim(), || noise.next().unwrap_or(0.0));
        self.add_noise(noise)
    }

    /// Like [`DiagonalGaussian::sample`], if there is memory.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn try_sample(&self, generator: &mut Generator) -> Result<Array4<f32>> {
        let mode = self.mode();
        let noise = Array4::from_shape_vec(mode.raw_dim(), generator.try_randn(mode.len())?);
        Ok(self.add_noise(noise.map_err(|error| Error::internal(format!("noise: {error}")))?))
    }

    /// A sample with the caller's `noise`: `mean + std * noise`.
    ///
    /// # Errors
    /// `InvalidArgument` if `noise` does not have the mean's shape.
    pub fn sample_with(&self, noise: ArrayView4<'_, f32>) -> Result<Array4<f32>> {
        self.check_shape("noise", noise.shape())?;
        Ok(self.add_noise(noise.to_owned()))
    }

    /// Kullback-Leibler divergence from the standard normal, summed over each picture, `[batch]`.
    pub fn kl(&self) -> Array1<f64> {
        let (mean, var, logvar) = self.wide();
        let mut terms = mean.mapv(|m| m * m) + &var;
        terms = terms - 1.0 - &logvar;
        self.sum(terms.mapv(|term| 0.5 * term))
    }

    /// Kullback-Leibler divergence from `other`, summed over each picture, `[batch]`.
    ///
    /// # Errors
    /// `InvalidArgument` if the shapes differ.
    pub fn kl_to(&self, other: &Self) -> Result<Array1<f64>> {
        self.check_shape("the other posterior", other.mode().shape())?;
        let (mean, var, logvar) = self.wide();
        let (other_mean, other_var, other_logvar) = other.wide();
        let difference = mean - other_mean;
        let terms = difference.mapv(|d| d * d) / &other_var + var / &other_var - 1.0 - logvar
            + other_logvar;
        Ok(self.sum(terms.mapv(|term| 0.5 * term)))
    }

    /// Negative log-likelihood of `sample`, summed over each picture, `[batch]`.
    ///
    /// # Errors
    /// `InvalidArgument` if `sample` does not have the mean's shape.
    pub fn nll(&self, sample: ArrayView4<'_, f32>) -> Result<Array1<f64>> {
        self.check_shape("sample", sample.shape())?;
        let (mean, var, logvar) = self.wide();
        let difference = sample.mapv(f64::from) - mean;
        let terms = difference.mapv(|d| d * d) / var + logvar + (2.0 * std::f64::consts::PI).ln();
        Ok(self.sum(terms.mapv(|term| 0.5 * term)))
    }

    fn halves(&self) -> (ArrayView4<'_, f32>, ArrayView4<'_, f32>) {
        self.moments.view().split_at(Axis(1), self.moments.len_of(Axis(1)) / 2)
    }

    fn of_logvar(&self, f: impl Fn(f32) -> f32) -> Array4<f32> {
        if self.deterministic {
            return Array4::zeros(self.mode().raw_dim());
        }
        self.logvar().mapv(f)
    }

    fn add_noise(&self, mut noise: Array4<f32>) -> Array4<f32> {
        // Rounded after the product, as torch does.
        let (mode, logvar) = self.halves();
        let add = |noise: &mut f32, &mean: &f32, &logvar: &f32| {
            let std = if self.deterministic { 0.0 } else { std_of(clamped(logvar)) };
            *noise = mean + std * *noise;
        };
        Zip::from(&mut noise).and(mode).and(logvar).for_each(add);
        noise
    }

    /// Mean, variance and log-variance in f64.
    fn wide(&self) -> (Array4<f64>, Array4<f64>, Array4<f64>) {
        let logvar = self.logvar().mapv(f64::from);
        (self.mode().mapv(f64::from), logvar.mapv(f64::exp), logvar)
    }

    /// The sum over each picture; zero where the posterior is deterministic.
    fn sum(&self, terms: Array4<f64>) -> Array1<f64> {
        let sum = |terms: ndarray::ArrayView3<'_, f64>| {
            if self.deterministic { 0.0 } else { terms.sum() }
        };
        terms.outer_iter().map(sum).collect()
    }

    fn check_shape(&self, what: &str, found: &[usize]) -> Result<()> {
        let mode = self.mode();
        if mode.shape() != found {
            let expected = mode.shape();
            return Err(Error::invalid(format!("{what}: {expected:?} expected, {found:?} found")));
        }
        Ok(())
    }
}

/// A log-variance within its bounds.
fn clamped(logvar: f32) -> f32 {
    logvar.clamp(LOGVAR.0, LOGVAR.1)
}

/// The standard deviation for a log-variance.
fn std_of(logvar: f32) -> f32 {
    (0.5 * logvar).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posterior() -> DiagonalGaussian {
        let value = |(_, c, y, x): (usize, usize, usize, usize)| {
            (c as f32 - 1.5) * 0.7 + (y + 2 * x) as f32 * 0.1
        };
        DiagonalGaussian::new(Array4::from_shape_fn((2, 4, 2, 3), value)).unwrap()
    }

    #[test]
    fn odd_channels_are_refused() {
        let error = DiagonalGaussian::new(Array4::zeros((1, 3, 2, 2))).unwrap_err();
        assert!(error.message().contains("3 found"), "{error}");
    }

    #[test]
    fn the_log_variance_is_clamped() {
        let mut moments = Array4::zeros((1, 2, 1, 2));
        (moments[(0, 1, 0, 0)], moments[(0, 1, 0, 1)]) = (-100.0, 100.0);
        let posterior = DiagonalGaussian::new(moments).unwrap();
        assert_eq!(posterior.logvar().as_slice().unwrap(), [-30.0, 20.0]);
        assert_eq!(posterior.moments()[(0, 1, 0, 0)], -100.0);
    }

    #[test]
    fn a_deterministic_posterior_is_its_mean() {
        let posterior = posterior().deterministic();
        assert_eq!(posterior.sample(&mut Generator::new(1)), posterior.mode());
        assert_eq!(posterior.kl().as_slice().unwrap(), [0.0, 0.0]);
        assert_eq!(posterior.nll(posterior.mode()).unwrap().as_slice().unwrap(), [0.0, 0.0]);
        assert!(posterior.var().iter().all(|&v| v == 0.0));
    }

    #[test]
    fn the_divergence_from_itself_is_zero() {
        let posterior = posterior();
        assert!(posterior.kl_to(&posterior).unwrap().iter().all(|kl| kl.abs() < 1e-12));
        assert!(posterior.kl().iter().all(|&kl| kl > 0.0));
    }

    #[test]
    fn shapes_are_checked() {
        let posterior = posterior();
        let wrong = Array4::zeros((1, 2, 2, 3));
        for error in [
            posterior.nll(wrong.view()).unwrap_err(),
            posterior.sample_with(wrong.view()).unwrap_err(),
        ] {
            assert!(
                error.message().contains("[2, 2, 2, 3] expected, [1, 2, 2, 3] found"),
                "{error}"
            );
        }
    }
}
