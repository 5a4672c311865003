#![forbid(unsafe_code)]
//! Infers the configuration of an `AutoencoderKL`, or of a family near it, from shapes.

use crate::base::error::{Error, Result};
use crate::model::config::{Config, Family, Flux2Config, KlConfig};
use crate::model::guess::Guess;
use crate::model::shapes::Shapes;

/// The family, as far as its halves may differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::model) enum Kind {
    /// `AutoencoderKL`: they have the same channels and layers.
    Plain,
    /// `AutoencoderKLFlux2`: they may differ in channels.
    Flux2,
    /// `AsymmetricAutoencoderKL`.
    Asymmetric,
}

/// Infers the configuration from the shapes of a checkpoint's tensors. The rest is guessed and
/// added to `guessed`, except for given `groups` and for what a family sets.
///
/// # Errors
/// `Model`, naming the tensor, when the tensors contradict each other.
pub(in crate::model) fn infer(
    shapes: Shapes<'_>,
    kind: Kind,
    groups: Option<usize>,
    guessed: &mut Vec<Guess>,
) -> Result<Config> {
    let mut kl = KlConfig::default();
    let mut config = Config::of(Family::Kl(kl.clone()));
    channels(shapes, kind, &mut config, &mut kl)?;
    let levels = kl.block_out_channels.len();
    let attention =
        |part: &str, at: usize| shapes.has(&format!("{part}.{at}.attentions.0.to_q.weight"));
    let (down, up) = ("encoder.down_blocks", "decoder.up_blocks");
    kl.down_attention = (0..levels).map(|level| attention(down, level)).collect();
    kl.up_attention = (0..levels).map(|level| attention(up, level)).collect();
    // Half a model says nothing of the other half, whose attention then mirrors it.
    if !shapes.has("encoder.conv_in.weight") {
        kl.down_attention = kl.up_attention.iter().rev().copied().collect();
    } else if !shapes.has("decoder.conv_in.weight") {
        kl.up_attention = kl.down_attention.iter().rev().copied().collect();
    }
    let mid = |part: &str| shapes.has(&format!("{part}.mid_block.attentions.0.to_q.weight"));
    kl.mid_block_add_attention = mid("encoder") || mid("decoder");
    kl.use_quant_conv = shapes.has("quant_conv.weight");
    kl.use_post_quant_conv = shapes.has("post_quant_conv.weight");

    let usual = "shapes do not tell, all known families have it";
    kl.norm_num_groups = groups.unwrap_or(32);
    if groups.is_none() {
        let widths = kl.block_out_channels.iter().chain(kl.decoder_channels());
        let odd = { widths }.find(|&&channels| !channels.is_multiple_of(32));
        if let Some(odd) = odd {
            return Err(Error::model(format!(
                "a level of {odd} channels cannot have the usual 32 groups: give \
                 norm_num_groups or a configuration"
            )));
        }
        guessed.push(Guess::new("norm_num_groups", 32, usual));
    }
    guessed.push(Guess::new("act_fn", kl.act_fn.name(), usual));
    // What is read so far, in the family's own defaults.
    let Config { in_channels, out_channels, latent_channels, .. } = config;
    let config = Config {
        in_channels,
        out_channels,
        latent_channels,
        ..Config::of(match kind {
            Kind::Plain => Family::Kl(kl),
            Kind::Flux2 => Family::Flux2(Flux2Config { network: kl, ..Flux2Config::default() }),
            Kind::Asymmetric => Family::Asymmetric(kl),
        })
    };
    config.validate()?;
    Ok(config)
}

/// Checks that encoder and decoder, channels of the levels and layers, are of one model.
fn agree(kind: Kind, encoder: &(Vec<usize>, usize), decoder: &(Vec<usize>, usize)) -> Result<()> {
    let (down, up) = (encoder.0.len(), decoder.0.len());
    if down != up {
        return Err(Error::model(format!(
            "the encoder has {down} levels, the decoder {up}: tensors are missing"
        )));
    }
    let differ = match kind {
        Kind::Plain => encoder != decoder,
        Kind::Flux2 => encoder.1 != decoder.1,
        Kind::Asymmetric => false,
    };
    if differ {
        return Err(Error::model(format!(
            "encoder and decoder differ: {:?} channels and {} layers, {:?} and {}; an \
             {} has the same {} in both",
            encoder.0,
            encoder.1,
            decoder.0,
            decoder.1,
            if kind == Kind::Flux2 { "AutoencoderKLFlux2" } else { "AutoencoderKL" },
            if kind == Kind::Flux2 { "layers" } else { "channels and layers" }
        )));
    }
    Ok(())
}

/// Reads channels, levels and layers from either half.
fn channels(shapes: Shapes<'_>, kind: Kind, config: &mut Config, kl: &mut KlConfig) -> Result<()> {
    let resnet =
        |part: &str, level: usize, i: usize| format!("{part}.{level}.resnets.{i}.conv1.weight");
    let read = |part: &str| -> Result<(Vec<usize>, usize)> {
        let levels = shapes.count(|level| resnet(part, level, 0));
        let channels = (0..levels)
            .map(|level| shapes.axis(&resnet(part, level, 0), 0))
            .collect::<Result<_>>()?;
        Ok((channels, shapes.count(|i| resnet(part, 0, i))))
    };
    let (has_encoder, has_decoder) =
        (shapes.has("encoder.conv_in.weight"), shapes.has("decoder.conv_in.weight"));
    let encoder = has_encoder.then(|| read("encoder.down_blocks")).transpose()?;
    let decoder = has_decoder.then(|| read("decoder.up_blocks")).transpose()?;
    let decoder = decoder.map(|(channels, layers)| {
        (channels.into_iter().rev().collect::<Vec<_>>(), layers.saturating_sub(1))
    });
    if let (Some(encoder), Some(decoder)) = (&encoder, &decoder) {
        agree(kind, encoder, decoder)?;
        if kind != Kind::Plain && encoder.0 != decoder.0 {
            kl.decoder_block_out_channels = Some(decoder.0.clone());
        }
        if kind == Kind::Asymmetric {
            kl.decoder_block_out_channels = Some(decoder.0.clone());
            kl.decoder_layers_per_block = Some(decoder.1);
        }
    }
    if has_decoder {
        config.latent_channels = shapes.axis("decoder.conv_in.weight", 1)?;
        config.out_channels = shapes.axis("decoder.conv_out.weight", 0)?;
        config.in_channels = config.out_channels;
    }
    if has_encoder {
        config.in_channels = shapes.axis("encoder.conv_in.weight", 1)?;
        if !has_decoder {
            config.latent_channels = shapes.axis("encoder.conv_out.weight", 0)? / 2;
            config.out_channels = config.in_channels;
        }
    }
    if let Some((channels, layers)) = encoder.or(decoder) {
        (kl.block_out_channels, kl.layers_per_block) = (channels, layers);
    }
    if kl.block_out_channels.is_empty() {
        let name = if has_decoder {
            "decoder.up_blocks.0.resnets.0.conv1.weight"
        } else {
            "encoder.down_blocks.0.resnets.0.conv1.weight"
        };
        return Err(Error::model(format!("tensor {name} is missing")));
    }
    Ok(())
}
