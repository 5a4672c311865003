#![forbid(unsafe_code)]
//! Infers a configuration for a file without one: what shapes tell, and marked guesses for the
//! rest.

use std::collections::BTreeMap;
use std::fmt;

use super::config::Config;
use super::presets::Preset;
use crate::base::error::{Error, Result};
use crate::checkpoint::{Checkpoint, KeyLayout, Tensor};

/// A guess about a configuration, displayed as `what = value: reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Guess {
    /// The field of the configuration, or `preset` for all fields that a model family sets.
    pub what: &'static str,
    /// The guessed value.
    pub value: String,
    /// The reason.
    pub reason: String,
}

impl Guess {
    fn new(what: &'static str, value: impl ToString, reason: impl Into<String>) -> Self {
        Self { what, value: value.to_string(), reason: reason.into() }
    }
}

impl fmt::Display for Guess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.what, self.value, self.reason)
    }
}

/// Infers the configuration from the shapes of a checkpoint's tensors. The rest is guessed and
/// added to `guessed`, except for given `groups` and for what a family sets.
///
/// # Errors
/// `Model`, naming the tensor, when the tensors contradict each other.
pub(super) fn infer(
    checkpoint: &Checkpoint,
    groups: Option<usize>,
    guessed: &mut Vec<Guess>,
) -> Result<Config> {
    let shapes = Shapes(&checkpoint.tensors);
    let mut config = Config::default();
    shapes.channels(&mut config)?;
    let levels = config.block_out_channels.len();
    let attention =
        |part: &str, at: usize| shapes.has(&format!("{part}.{at}.attentions.0.to_q.weight"));
    let (down, up) = ("encoder.down_blocks", "decoder.up_blocks");
    config.down_attention = (0..levels).map(|level| attention(down, level)).collect();
    config.up_attention = (0..levels).map(|level| attention(up, level)).collect();
    // Half a model says nothing of the other half, whose attention then mirrors it.
    if !shapes.has("encoder.conv_in.weight") {
        config.down_attention = config.up_attention.iter().rev().copied().collect();
    } else if !shapes.has("decoder.conv_in.weight") {
        config.up_attention = config.down_attention.iter().rev().copied().collect();
    }
    let mid = |part: &str| shapes.has(&format!("{part}.mid_block.attentions.0.to_q.weight"));
    config.mid_block_add_attention = mid("encoder") || mid("decoder");
    config.use_quant_conv = shapes.has("quant_conv.weight");
    config.use_post_quant_conv = shapes.has("post_quant_conv.weight");

    let usual = "shapes do not tell, all known families have it";
    config.norm_num_groups = groups.unwrap_or(32);
    if groups.is_none() {
        let odd = config.block_out_channels.iter().find(|&&channels| !channels.is_multiple_of(32));
        if let Some(odd) = odd {
            return Err(Error::model(format!(
                "a level of {odd} channels cannot have the usual 32 groups: give \
                 norm_num_groups or a configuration"
            )));
        }
        guessed.push(Guess::new("norm_num_groups", 32, usual));
    }
    guessed.push(Guess::new("act_fn", config.act_fn.name(), usual));
    config.validate()?;
    Ok(config)
}

/// Guesses the family from the checkpoint and sets its values.
pub(super) fn guess_family(checkpoint: &Checkpoint, config: &mut Config, guessed: &mut Vec<Guess>) {
    if let Some((preset, reason)) = family(checkpoint, config) {
        preset.apply(config);
        guessed.push(Guess::new("preset", preset.name(), reason));
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

/// The family suggested by channels and neighbouring tensors, and the reason.
fn family(checkpoint: &Checkpoint, config: &Config) -> Option<(Preset, &'static str)> {
    let beside = |part: &str| checkpoint.foreign.iter().any(|name| name.contains(part));
    let quant = config.use_quant_conv || config.use_post_quant_conv;
    Some(match (config.latent_channels, config.block_out_channels.len()) {
        (4, 4) if beside("edm_mean") => (Preset::Playground25, "the file has edm_mean"),
        (4, 4) if beside("conditioner.embedders.1.") => {
            (Preset::Sdxl, "the file has two text encoders under conditioner.embedders")
        }
        (4, 4) => {
            (Preset::Sd, "4 latent channels; SDXL's has the same shapes: name the preset if so")
        }
        (4, 3) => (Preset::SdX4Upscaler, "4 latent channels and 3 levels"),
        (16, 4) if quant => return None,
        (16, 4) if !config.mid_block_add_attention => {
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

/// Checks that encoder and decoder, channels of the levels and layers, are of one model.
fn agree(encoder: &(Vec<usize>, usize), decoder: &(Vec<usize>, usize)) -> Result<()> {
    let (down, up) = (encoder.0.len(), decoder.0.len());
    if down != up {
        return Err(Error::model(format!(
            "the encoder has {down} levels, the decoder {up}: tensors are missing"
        )));
    }
    if encoder != decoder {
        return Err(Error::model(format!(
            "encoder and decoder differ: {:?} channels and {} layers, {:?} and {}; an \
             AutoencoderKL has the same in both",
            encoder.0, encoder.1, decoder.0, decoder.1
        )));
    }
    Ok(())
}

struct Shapes<'a>(&'a BTreeMap<String, Tensor>);

impl Shapes<'_> {
    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Length of axis `axis` of a convolution's weight.
    fn axis(&self, name: &str, axis: usize) -> Result<usize> {
        let tensor =
            self.0.get(name).ok_or_else(|| Error::model(format!("tensor {name} is missing")))?;
        match tensor.shape.get(axis) {
            Some(&length) if length > 0 => Ok(length),
            _ => Err(Error::model(format!(
                "tensor {}: at least {} axes, none of length 0, expected, {:?} found",
                tensor.name,
                axis + 1,
                tensor.shape
            ))),
        }
    }

    /// The number of tensors `name(0)`, `name(1)`, ... without a gap.
    fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..).take_while(|&i| self.has(&name(i))).count()
    }

    /// Reads channels, levels and layers from either half.
    fn channels(&self, config: &mut Config) -> Result<()> {
        let resnet =
            |part: &str, level: usize, i: usize| format!("{part}.{level}.resnets.{i}.conv1.weight");
        let read = |part: &str| -> Result<(Vec<usize>, usize)> {
            let levels = self.count(|level| resnet(part, level, 0));
            let channels = (0..levels)
                .map(|level| self.axis(&resnet(part, level, 0), 0))
                .collect::<Result<_>>()?;
            Ok((channels, self.count(|i| resnet(part, 0, i))))
        };
        let (has_encoder, has_decoder) =
            (self.has("encoder.conv_in.weight"), self.has("decoder.conv_in.weight"));
        let encoder = has_encoder.then(|| read("encoder.down_blocks")).transpose()?;
        let decoder = has_decoder.then(|| read("decoder.up_blocks")).transpose()?;
        let decoder = decoder.map(|(channels, layers)| {
            (channels.into_iter().rev().collect::<Vec<_>>(), layers.saturating_sub(1))
        });
        if let (Some(encoder), Some(decoder)) = (&encoder, &decoder) {
            agree(encoder, decoder)?;
        }
        if has_decoder {
            config.latent_channels = self.axis("decoder.conv_in.weight", 1)?;
            config.out_channels = self.axis("decoder.conv_out.weight", 0)?;
            config.in_channels = config.out_channels;
        }
        if has_encoder {
            config.in_channels = self.axis("encoder.conv_in.weight", 1)?;
            if !has_decoder {
                config.latent_channels = self.axis("encoder.conv_out.weight", 0)? / 2;
                config.out_channels = config.in_channels;
            }
        }
        if let Some((channels, layers)) = decoder.or(encoder) {
            (config.block_out_channels, config.layers_per_block) = (channels, layers);
        }
        if config.block_out_channels.is_empty() {
            let name = if has_decoder {
                "decoder.up_blocks.0.resnets.0.conv1.weight"
            } else {
                "encoder.down_blocks.0.resnets.0.conv1.weight"
            };
            return Err(Error::model(format!("tensor {name} is missing")));
        }
        Ok(())
    }
}
