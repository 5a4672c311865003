#![forbid(unsafe_code)]
//! The statistics of latents that an `AutoencoderKLFlux2` has among its weights: those of a
//! BatchNorm over patches of 2x2 latents.

use super::builder::Builder;
use super::config::{Config, Flux2Config};
use crate::base::alloc;
use crate::base::error::Result;

const MEAN: &str = "bn.running_mean";
const VARIANCE: &str = "bn.running_var";

/// Reads the statistics into `config`.
///
/// # Errors
/// `Model`, naming the tensor, if one is missing, has another length, or has a value that no
/// statistic has.
pub(super) fn read_statistics(
    builder: &mut Builder<'_>,
    config: &mut Config,
    flux2: &Flux2Config,
) -> Result<()> {
    let length = config.latent_channels * config.patch_size().pow(2);
    let mean = builder.vector(MEAN, length)?;
    let variance = builder.vector(VARIANCE, length)?;
    if let Some(at) = variance.iter().position(|&it| it <= 0.0) {
        return Err(builder.wrong_value(VARIANCE, "positive numbers", variance[at], at));
    }
    let deviation = |&variance: &f32| (f64::from(variance) + flux2.batch_norm_eps).sqrt();
    let what = "statistics of latents";
    config.latents_mean = Some(alloc::collected(mean.iter().map(|&it| f64::from(it)), what)?);
    config.latents_std = Some(alloc::collected(variance.iter().map(deviation), what)?);
    Ok(())
}
