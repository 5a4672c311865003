#![forbid(unsafe_code)]
//! The network of `AutoencoderKL`, and of the families that differ from it in a few numbers:
//! `AutoencoderKLFlux2` and `AsymmetricAutoencoderKL`.

use serde_json::{Value, json};

use super::activation::Activation;
use super::fields::{Fields, MOST_CHANNELS, MOST_LAYERS, MOST_LEVELS, check_counts};
use crate::base::error::{Error, Result};

/// The network of an `AutoencoderKL`, field for field as in diffusers' `config.json`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct KlConfig {
    /// Whether each encoder level has attention (`AttnDownEncoderBlock2D`) or not
    /// (`DownEncoderBlock2D`), highest resolution first.
    pub down_attention: Vec<bool>,
    /// Whether each decoder level has attention (`AttnUpDecoderBlock2D`) or not
    /// (`UpDecoderBlock2D`), lowest resolution first.
    pub up_attention: Vec<bool>,
    /// Channels of each level, highest resolution first.
    pub block_out_channels: Vec<usize>,
    /// Channels of each level of the decoder, highest resolution first, if they are not those of
    /// the encoder (`AutoencoderKLFlux2` and `AsymmetricAutoencoderKL`).
    pub decoder_block_out_channels: Option<Vec<usize>>,
    /// ResNet blocks in an encoder level; a decoder level has one more.
    pub layers_per_block: usize,
    /// ResNet blocks in a decoder level less one, if that is not `layers_per_block`
    /// (`AsymmetricAutoencoderKL`).
    pub decoder_layers_per_block: Option<usize>,
    /// Activation function of the ResNet blocks.
    pub act_fn: Activation,
    /// Groups of every GroupNorm.
    pub norm_num_groups: usize,
    /// Whether a 1x1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the middle blocks have attention.
    pub mid_block_add_attention: bool,
}

impl Default for KlConfig {
    /// The defaults of diffusers' `AutoencoderKL.__init__`.
    fn default() -> Self {
        Self {
            down_attention: vec![false],
            up_attention: vec![false],
            block_out_channels: vec![64],
            decoder_block_out_channels: None,
            layers_per_block: 1,
            decoder_layers_per_block: None,
            act_fn: Activation::Silu,
            norm_num_groups: 32,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
        }
    }
}

/// How a class of diffusers names the fields in which the two halves may differ.
struct Names {
    down_channels: &'static str,
    down_layers: &'static str,
    up_channels: &'static str,
    /// `None` if both halves have the same.
    up_layers: Option<&'static str>,
}

const OF_KL: Names = Names {
    down_channels: "block_out_channels",
    down_layers: "layers_per_block",
    up_channels: "decoder_block_out_channels",
    up_layers: None,
};

const OF_ASYMMETRIC: Names = Names {
    down_channels: "down_block_out_channels",
    down_layers: "layers_per_down_block",
    up_channels: "up_block_out_channels",
    up_layers: Some("layers_per_up_block"),
};

impl KlConfig {
    /// The defaults of diffusers' `AutoencoderKLFlux2.__init__`.
    pub(super) fn of_flux2() -> Self {
        Self {
            down_attention: vec![false; 4],
            up_attention: vec![false; 4],
            block_out_channels: vec![128, 256, 512, 512],
            layers_per_block: 2,
            ..Self::default()
        }
    }

    /// Reads the fields of an `AutoencoderKL`, or of an `AutoencoderKLFlux2`.
    pub(super) fn read(fields: &Fields<'_>, default: Self, widths: bool) -> Result<Self> {
        let levels = default.block_out_channels.len();
        let decoder_block_out_channels =
            if widths { fields.some_counts(OF_KL.up_channels)? } else { None };
        Ok(Self {
            down_attention: fields.blocks("down_block_types", "DownEncoderBlock2D", levels)?,
            up_attention: fields.blocks("up_block_types", "UpDecoderBlock2D", levels)?,
            block_out_channels: fields.counts(OF_KL.down_channels, &default.block_out_channels)?,
            decoder_block_out_channels,
            layers_per_block: fields.count(OF_KL.down_layers, default.layers_per_block)?,
            decoder_layers_per_block: None,
            act_fn: fields.activation("act_fn", default.act_fn)?,
            norm_num_groups: fields.count("norm_num_groups", default.norm_num_groups)?,
            use_quant_conv: fields.flag("use_quant_conv", default.use_quant_conv)?,
            use_post_quant_conv: fields.flag("use_post_quant_conv", default.use_post_quant_conv)?,
            mid_block_add_attention: fields
                .flag("mid_block_add_attention", default.mid_block_add_attention)?,
        })
    }

    /// Reads the fields of an `AsymmetricAutoencoderKL`.
    pub(super) fn read_asymmetric(fields: &Fields<'_>) -> Result<Self> {
        let Names { down_channels, down_layers, up_channels, up_layers } = OF_ASYMMETRIC;
        let default = Self::default();
        let levels = default.block_out_channels.len();
        let up_layers = up_layers.map(|name| fields.count(name, default.layers_per_block));
        Ok(Self {
            down_attention: fields.blocks("down_block_types", "DownEncoderBlock2D", levels)?,
            up_attention: fields.blocks("up_block_types", "UpDecoderBlock2D", levels)?,
            block_out_channels: fields.counts(down_channels, &default.block_out_channels)?,
            decoder_block_out_channels: Some(
                fields.counts(up_channels, &default.block_out_channels)?,
            ),
            layers_per_block: fields.count(down_layers, default.layers_per_block)?,
            decoder_layers_per_block: up_layers.transpose()?,
            act_fn: fields.activation("act_fn", default.act_fn)?,
            norm_num_groups: fields.count("norm_num_groups", default.norm_num_groups)?,
            ..default
        })
    }

    /// The fields as diffusers writes them for an `AutoencoderKL`; with those that an
    /// `AutoencoderKLFlux2` has besides if `widths`.
    pub(super) fn to_json(&self, widths: bool) -> Value {
        let mut json = self.shared_json();
        json[OF_KL.down_channels] = json!(self.block_out_channels);
        json[OF_KL.down_layers] = json!(self.layers_per_block);
        json["use_quant_conv"] = json!(self.use_quant_conv);
        json["use_post_quant_conv"] = json!(self.use_post_quant_conv);
        json["mid_block_add_attention"] = json!(self.mid_block_add_attention);
        if widths {
            json[OF_KL.up_channels] = json!(self.decoder_block_out_channels);
        }
        json
    }

    /// The fields as diffusers writes them for an `AsymmetricAutoencoderKL`.
    pub(super) fn to_asymmetric_json(&self) -> Value {
        let Names { down_channels, down_layers, up_channels, up_layers } = OF_ASYMMETRIC;
        let mut json = self.shared_json();
        json[down_channels] = json!(self.block_out_channels);
        json[down_layers] = json!(self.layers_per_block);
        json[up_channels] = json!(self.decoder_channels());
        // What pipelines count the halvings by.
        json[OF_KL.down_channels] = json!(self.decoder_channels());
        if let Some(up_layers) = up_layers {
            json[up_layers] = json!(self.decoder_layers());
        }
        json
    }

    /// The fields that all classes name alike.
    fn shared_json(&self) -> Value {
        let blocks = |attention: &[bool], plain: &str| -> Vec<String> {
            let name = |&with: &bool| format!("{}{plain}", if with { "Attn" } else { "" });
            attention.iter().map(name).collect()
        };
        json!({
            "down_block_types": blocks(&self.down_attention, "DownEncoderBlock2D"),
            "up_block_types": blocks(&self.up_attention, "UpDecoderBlock2D"),
            "act_fn": self.act_fn.name(),
            "norm_num_groups": self.norm_num_groups,
        })
    }

    /// Channels of each level of the decoder, highest resolution first.
    pub(crate) fn decoder_channels(&self) -> &[usize] {
        self.decoder_block_out_channels.as_ref().unwrap_or(&self.block_out_channels)
    }

    /// ResNet blocks in a decoder level, less one.
    pub(crate) fn decoder_layers(&self) -> usize {
        self.decoder_layers_per_block.unwrap_or(self.layers_per_block)
    }

    /// Checks that the fields describe a network.
    pub(super) fn validate(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::model(message));
        let levels = self.block_out_channels.len();
        for (field, length) in [
            ("down_block_types", self.down_attention.len()),
            ("up_block_types", self.up_attention.len()),
            ("channels of the decoder's levels", self.decoder_channels().len()),
        ] {
            if length != levels {
                return wrong(format!(
                    "{field}: {levels} entries expected, as in block_out_channels, {length} found"
                ));
            }
        }
        check_counts(&[
            ("block_out_channels: levels", levels, MOST_LEVELS),
            ("layers_per_block", self.layers_per_block, MOST_LAYERS),
            ("layers per block of the decoder", self.decoder_layers(), MOST_LAYERS),
            ("norm_num_groups", self.norm_num_groups, MOST_CHANNELS),
        ])?;
        for &channels in self.block_out_channels.iter().chain(self.decoder_channels()) {
            check_counts(&[("block_out_channels", channels, MOST_CHANNELS)])?;
            if !channels.is_multiple_of(self.norm_num_groups) {
                return wrong(format!(
                    "block_out_channels: multiples of norm_num_groups ({}) expected, \
                     {channels} found",
                    self.norm_num_groups
                ));
            }
        }
        Ok(())
    }
}
