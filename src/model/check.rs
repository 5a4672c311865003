#![forbid(unsafe_code)]
//! Whether a checkpoint is what its model takes it for: nothing left over inside the autoencoder,
//! nothing missing that its family has.

use super::config::{Config, Family};
use super::family::Direction;
use crate::base::alloc;
use crate::base::error::{Error, Result};
use crate::checkpoint::{Checkpoint, Tensor};

/// Channels of the latents of Stable Diffusion 1, 2 and XL, and of others with their autoencoder.
const SD_CHANNELS: usize = 4;

/// Latent channels and levels of FLUX.2's autoencoder.
const FLUX2: (usize, usize) = (32, 4);

/// Checks an inferred configuration against what the family has.
///
/// # Errors
/// `Model`, naming the tensor, if a quantising convolution is missing, or statistics are.
pub(super) fn absences(
    checkpoint: &Checkpoint,
    config: &Config,
    directions: &[Direction],
) -> Result<()> {
    let Some(kl) = config.family.kl() else { return Ok(()) };
    let shape = (config.latent_channels, kl.block_out_channels.len());
    if matches!(config.family, Family::Kl(_)) && shape == FLUX2 {
        return Err(Error::model(format!(
            "{}: tensor bn.running_mean is missing: an AutoencoderKLFlux2, as 32 latent channels \
             and 4 levels suggest, has it; another model needs a configuration",
            checkpoint.source
        )));
    }
    let both = checkpoint.has_half("encoder") && checkpoint.has_half("decoder");
    let halves = [
        (Direction::Encode, "quant_conv", kl.use_quant_conv),
        (Direction::Decode, "post_quant_conv", kl.use_post_quant_conv),
    ];
    for (direction, name, there) in halves {
        if there || !directions.contains(&direction) {
            continue;
        }
        let why = if config.latent_channels == SD_CHANNELS {
            "an AutoencoderKL with 4 latent channels, as of Stable Diffusion, has it"
        } else if both && kl.use_quant_conv != kl.use_post_quant_conv {
            "the convolution of the other half is there"
        } else {
            continue;
        };
        return Err(Error::model(format!(
            "{}: tensor {name}.weight is missing: {why}; a model that has none needs a \
             configuration that says use_{name} is false",
            checkpoint.source
        )));
    }
    Ok(())
}

/// The tensors of the halves of `directions` that no layer uses.
///
/// # Errors
/// `OutOfMemory`.
pub(super) fn unused(
    checkpoint: &Checkpoint,
    used: impl Fn(&str) -> bool,
    directions: &[Direction],
) -> Result<Vec<String>> {
    let wanted = |name: &str| {
        directions.iter().any(|direction| {
            let roots = match direction {
                Direction::Encode => ["encoder.", "quant_conv."],
                Direction::Decode => ["decoder.", "post_quant_conv."],
            };
            roots.iter().any(|root| name.starts_with(root))
        })
    };
    let left = |(name, tensor): (&String, &Tensor)| {
        (wanted(name) && !used(name)).then(|| alloc::text(&tensor.name, "a tensor's name"))
    };
    alloc::try_collected(checkpoint.tensors.iter().filter_map(left), "tensors")
}

/// # Errors
/// `Model`, naming the first tensor, if there are any.
pub(super) fn none_unused(
    checkpoint: &Checkpoint,
    config: &Config,
    unused: &[String],
) -> Result<()> {
    let Some(first) = unused.first() else { return Ok(()) };
    let more = match unused.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Err(Error::model(format!(
        "{}: tensor {first}{more} is in no layer of an {}: a model of another family, or one with \
         layers of its own",
        checkpoint.source,
        config.family.name()
    )))
}
