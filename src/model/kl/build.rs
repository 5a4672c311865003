#![forbid(unsafe_code)]
//! Builds the parameter tree of `AutoencoderKL`.

use crate::base::alloc;
use crate::base::error::Result;
use crate::model::builder::Builder;
use crate::model::config::{Config, Family, KlConfig};
use crate::model::weights::Conv;
use crate::model::weights::kl::{Attention, Decoder, Encoder, Level, Mid, Resnet};

/// Takes the tensors of a network.
pub(crate) struct KlBuilder<'b, 'a> {
    builder: &'b mut Builder<'a>,
    config: &'b Config,
    kl: &'b KlConfig,
}

impl<'b, 'a> KlBuilder<'b, 'a> {
    pub(crate) fn new(builder: &'b mut Builder<'a>, config: &'b Config, kl: &'b KlConfig) -> Self {
        Self { builder, config, kl }
    }

    /// # Errors
    /// `Model`, naming the first tensor that is missing or has a wrong shape.
    pub(crate) fn encoder(&mut self) -> Result<Encoder> {
        let Self { config, kl, .. } = *self;
        let channels = &kl.block_out_channels;
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let moments = 2 * config.latent_channels;
        let mut levels = Vec::new();
        for (i, &out) in channels.iter().enumerate() {
            let name = format!("encoder.down_blocks.{i}");
            let from = channels[i.saturating_sub(1)];
            let resample = (i + 1 < channels.len()).then_some("downsamplers");
            let (layers, attention) = (kl.layers_per_block, kl.down_attention[i]);
            let level = self.level(&name, from, out, layers, attention, resample)?;
            alloc::push(&mut levels, level, LAYERS)?;
        }
        Ok(Encoder {
            conv_in: self.builder.conv("encoder.conv_in", config.in_channels, first, 3)?,
            levels,
            mid: self.mid("encoder.mid_block", last)?,
            norm_out: self.builder.norm("encoder.conv_norm_out", last)?,
            conv_out: self.builder.conv("encoder.conv_out", last, moments, 3)?,
            quant_conv: kl
                .use_quant_conv
                .then(|| self.builder.conv("quant_conv", moments, moments, 1))
                .transpose()?,
        })
    }

    /// # Errors
    /// `Model`, naming the first tensor that is missing or has a wrong shape.
    pub(crate) fn decoder(&mut self) -> Result<Decoder> {
        let Self { config, kl, .. } = *self;
        let channels = kl.decoder_channels().iter().rev().copied();
        let channels = alloc::collected(channels, "channels")?;
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let latent = config.latent_channels;
        let post_quant_conv = kl
            .use_post_quant_conv
            .then(|| self.builder.conv("post_quant_conv", latent, latent, 1))
            .transpose()?;
        let conv_in = self.builder.conv("decoder.conv_in", latent, first, 3)?;
        let mid = self.mid("decoder.mid_block", first)?;
        let mut levels = Vec::new();
        for (i, &out) in channels.iter().enumerate() {
            let name = format!("decoder.up_blocks.{i}");
            let from = channels[i.saturating_sub(1)];
            let resample = (i + 1 < channels.len()).then_some("upsamplers");
            let (layers, attention) = (kl.decoder_layers() + 1, kl.up_attention[i]);
            let level = self.level(&name, from, out, layers, attention, resample)?;
            alloc::push(&mut levels, level, LAYERS)?;
        }
        Ok(Decoder {
            post_quant_conv,
            conv_in,
            mid,
            levels,
            norm_out: self.builder.norm("decoder.conv_norm_out", last)?,
            conv_out: self.builder.conv("decoder.conv_out", last, config.out_channels, 3)?,
            condition: self.condition()?,
        })
    }

    fn level(
        &mut self,
        name: &str,
        from: usize,
        to: usize,
        layers: usize,
        attention: bool,
        resample: Option<&str>,
    ) -> Result<Level> {
        let mut level = Level { resnets: Vec::new(), attentions: Vec::new(), resample: None };
        for i in 0..layers {
            let from = if i == 0 { from } else { to };
            let resnet = self.resnet(&format!("{name}.resnets.{i}"), from, to)?;
            alloc::push(&mut level.resnets, resnet, LAYERS)?;
            if attention {
                let attention = self.attention(&format!("{name}.attentions.{i}"), to)?;
                alloc::push(&mut level.attentions, attention, LAYERS)?;
            }
        }
        if let Some(kind) = resample {
            level.resample =
                Some(self.builder.conv(&format!("{name}.{kind}.0.conv"), to, to, 3)?);
        }
        Ok(level)
    }

    fn mid(&mut self, name: &str, channels: usize) -> Result<Mid> {
        let first = self.resnet(&format!("{name}.resnets.0"), channels, channels)?;
        let attention = self
            .kl
            .mid_block_add_attention
            .then(|| self.attention(&format!("{name}.attentions.0"), channels))
            .transpose()?;
        let second = self.resnet(&format!("{name}.resnets.1"), channels, channels)?;
        Ok(Mid { resnets: [first, second], attention })
    }

    fn resnet(&mut self, name: &str, from: usize, to: usize) -> Result<Resnet> {
        Ok(Resnet {
            norm1: self.builder.norm(&format!("{name}.norm1"), from)?,
            conv1: self.builder.conv(&format!("{name}.conv1"), from, to, 3)?,
            norm2: self.builder.norm(&format!("{name}.norm2"), to)?,
            conv2: self.builder.conv(&format!("{name}.conv2"), to, to, 3)?,
            shortcut: (from != to)
                .then(|| self.builder.conv(&format!("{name}.conv_shortcut"), from, to, 1))
                .transpose()?,
        })
    }

    fn attention(&mut self, name: &str, channels: usize) -> Result<Attention> {
        let mut linear =
            |part: &str| self.builder.conv(&format!("{name}.{part}"), channels, channels, 1);
        let (query, key) = (linear("to_q")?, linear("to_k")?);
        let (value, out) = (linear("to_v")?, linear("to_out.0")?);
        let norm = self.builder.norm(&format!("{name}.group_norm"), channels)?;
        Ok(Attention { norm, query, key, value, out })
    }

    /// The encoder of the masked picture of an `AsymmetricAutoencoderKL`, after diffusers'
    /// `MaskConditionEncoder`: two convolutions at the picture's resolution, then three of stride 2
    /// to that of the latents.
    fn condition(&mut self) -> Result<Vec<Conv>> {
        if !matches!(self.config.family, Family::Asymmetric(_)) {
            return Ok(Vec::new());
        }
        let channels = self.kl.decoder_channels();
        let mut from = self.config.out_channels;
        let layer = |(i, to): (usize, usize)| {
            let kernel = if i < FULL_SIZE { 3 } else { 4 };
            let name = format!("decoder.condition_encoder.layers.{i}");
            let conv = self.builder.conv(&name, from, to, kernel);
            from = to;
            conv
        };
        let (first, last) = (channels[0], channels[channels.len() - 1]);
        let channels = condition_channels(first, last);
        alloc::try_collected(channels.into_iter().enumerate().map(layer), LAYERS)
    }
}

/// Name of lists of layers, for messages.
const LAYERS: &str = "layers";

/// Layers of a condition encoder at the picture's resolution.
const FULL_SIZE: usize = 2;

/// Channels that the layers of a condition encoder give: they double from `first`, to `last` at
/// most, over the four halvings that diffusers gives its class, whatever the levels.
fn condition_channels(first: usize, last: usize) -> Vec<usize> {
    let mut channels: Vec<usize> = (0..4).map(|halving| (first << halving).min(last)).collect();
    channels.push(last);
    channels
}
