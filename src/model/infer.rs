#![forbid(unsafe_code)]
//! Infers a configuration for a file without one: what names and shapes tell, and marked guesses
//! for the rest.

use super::config::{Config, Family};
use super::guess::Guess;
use super::presets::Preset;
use super::shapes::Shapes;
use super::{kl, tiny};
use crate::base::error::Result;
use crate::checkpoint::{Checkpoint, KeyLayout};

/// Infers the configuration from the names and shapes of a checkpoint's tensors, with the tensor
/// that tells the family. The rest is guessed and added to `guessed`, except for given `groups` and
/// for what a preset sets.
///
/// # Errors
/// `Model`, naming the tensor, when the tensors contradict each other.
pub(super) fn infer(
    checkpoint: &Checkpoint,
    groups: Option<usize>,
    guessed: &mut Vec<Guess>,
) -> Result<(Config, String)> {
    let shapes = Shapes(&checkpoint.tensors);
    let tells = |start: &str| shapes.first(start).map(str::to_owned);
    if let Some(tensor) = tells("encoder.layers.").or_else(|| tells("decoder.layers.")) {
        return Ok((tiny::infer::infer(shapes, checkpoint.layout, guessed)?, tensor));
    }
    let (family, tensor) = if let Some(tensor) = tells("decoder.condition_encoder.") {
        (kl::infer::Kind::Asymmetric, tensor)
    } else if let Some(tensor) = tells("bn.running_") {
        (kl::infer::Kind::Flux2, tensor)
    } else {
        let tensor = tells("encoder.").or_else(|| tells("decoder."));
        (kl::infer::Kind::Plain, tensor.unwrap_or_default())
    };
    Ok((kl::infer::infer(shapes, family, groups, guessed)?, tensor))
}

/// Guesses the published model that an autoencoder is, from the checkpoint, and sets its values.
pub(super) fn guess_preset(checkpoint: &Checkpoint, config: &mut Config, guessed: &mut Vec<Guess>) {
    if let Some((preset, reason)) = preset(checkpoint, config) {
        preset.apply(config);
        guessed.push(Guess::new("preset", preset.name(), reason));
        return;
    }
    if !matches!(config.family, Family::Kl(_)) {
        guess_of_family(checkpoint, config, guessed);
        return;
    }
    config.scaling_factor = 1.0;
    let (channels, downscale) = (config.latent_channels, config.downscale());
    let reason =
        format!("no known family has {channels} latent channels at {downscale} pixels a latent");
    guessed.push(Guess::new("scaling_factor", 1, reason));
    let reason = "shapes do not tell; f16 activations become f32";
    guessed.push(Guess::new("force_upcast", config.force_upcast, reason));
    let size = format!("{}x{}", config.sample_size.0, config.sample_size.1);
    guessed.push(Guess::new("sample_size", size, "shapes do not tell, diffusers' default"));
}

/// The preset suggested by channels and neighbouring tensors, and the reason.
fn preset(checkpoint: &Checkpoint, config: &Config) -> Option<(Preset, &'static str)> {
    let Family::Kl(kl) = &config.family else { return None };
    let beside = |part: &str| checkpoint.foreign.iter().any(|name| name.contains(part));
    let quant = kl.use_quant_conv || kl.use_post_quant_conv;
    Some(match (config.latent_channels, kl.block_out_channels.len()) {
        (4, 4) if beside("edm_mean") => (Preset::Playground25, "the file has edm_mean"),
        (4, 4) if beside("conditioner.embedders.1.") => {
            (Preset::Sdxl, "the file has two text encoders under conditioner.embedders")
        }
        (4, 4) => {
            (Preset::Sd, "4 latent channels; SDXL's has the same shapes: name the preset if so")
        }
        (4, 3) => (Preset::SdX4Upscaler, "4 latent channels and 3 levels"),
        (16, 4) if quant => return None,
        (16, 4) if !kl.mid_block_add_attention => {
            (Preset::CogView4, "16 latent channels, no attention in the middle")
        }
        (16, 4) if beside("joint_blocks.") => (Preset::Sd3, "the file has joint_blocks"),
        (16, 4) if beside("double_blocks.") => (Preset::Flux, "the file has double_blocks"),
        (16, 4) if checkpoint.layout == KeyLayout::Original => {
            (Preset::Flux, "16 latent channels in the original layout; SD3's has the same shapes")
        }
        (16, 4) => (Preset::Sd3, "16 latent channels; FLUX's has the same shapes"),
        _ => return None,
    })
}

/// Guesses what is the same in all published models of a family.
fn guess_of_family(checkpoint: &Checkpoint, config: &mut Config, guessed: &mut Vec<Guess>) {
    let all = "all published models of the family have it";
    match config.family {
        // The statistics are in the weights.
        Family::Kl(_) | Family::Flux2(_) => {}
        // TAESD's own files have it by definition.
        Family::Tiny(_) if checkpoint.layout == KeyLayout::Original => {}
        Family::Asymmetric(_) => {
            config.sample_size = (512, 512);
            guessed.push(Guess::new("scaling_factor", config.scaling_factor, all));
        }
        Family::Tiny(_) => guessed.push(Guess::new("scaling_factor", config.scaling_factor, all)),
    }
}
