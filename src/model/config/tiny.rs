#![forbid(unsafe_code)]
//! The network of `AutoencoderTiny`, and of TAESD's own files.

use serde_json::{Value, json};

use super::activation::Activation;
use super::fields::{Fields, MOST_CHANNELS, MOST_LAYERS, MOST_LEVELS, check_counts};
use crate::base::error::{Error, Result};

/// The variants of a tiny autoencoder, by the names that TAESD gives them (`arch_variant`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TinyVariant {
    /// That of diffusers' class.
    #[default]
    Plain,
    /// FLUX.2's: each block at the resolution of the latents first adds a path with a GroupNorm,
    /// over the whole picture.
    Flux2,
    /// Sana's: the encoder begins with two convolutions of stride 2, so that a latent stands for
    /// 32 pixels.
    F32,
}

impl TinyVariant {
    /// The name in a configuration; `None` for diffusers' own.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Flux2 => Some("flux_2"),
            Self::F32 => Some("f32"),
        }
    }
}

/// The network of an `AutoencoderTiny`, field for field as in diffusers' `config.json`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct TinyConfig {
    /// Channels of each encoder stage, highest resolution first.
    pub encoder_block_out_channels: Vec<usize>,
    /// Channels of each decoder stage, lowest resolution first.
    pub decoder_block_out_channels: Vec<usize>,
    /// Blocks of each encoder stage.
    pub num_encoder_blocks: Vec<usize>,
    /// Blocks of each decoder stage.
    pub num_decoder_blocks: Vec<usize>,
    /// Activation function inside the blocks; the one at their end is always ReLU.
    pub act_fn: Activation,
    /// Half of the range of latents that diffusers maps to [0, 1].
    pub latent_magnitude: f64,
    /// Where diffusers maps a latent of 0 to.
    pub latent_shift: f64,
    /// The variant; `arch_variant` in a configuration that this library writes.
    pub variant: TinyVariant,
}

impl Default for TinyConfig {
    /// The defaults of diffusers' `AutoencoderTiny.__init__`.
    fn default() -> Self {
        Self {
            encoder_block_out_channels: vec![64; 4],
            decoder_block_out_channels: vec![64; 4],
            num_encoder_blocks: vec![1, 3, 3, 3],
            num_decoder_blocks: vec![3, 3, 3, 1],
            act_fn: Activation::Relu,
            latent_magnitude: 3.0,
            latent_shift: 0.5,
            variant: TinyVariant::Plain,
        }
    }
}

impl TinyConfig {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self> {
        let default = Self::default();
        if let Some(value) = fields.get("upsampling_scaling_factor")
            && value != "2"
        {
            return Fields::wrong("upsampling_scaling_factor", "2", value);
        }
        // With whole factors both are the same.
        if let Some(value) = fields.get("upsample_fn")
            && !matches!(Fields::text(value).as_deref(), Some("nearest" | "nearest-exact"))
        {
            return Fields::wrong("upsample_fn", "nearest", value);
        }
        let variant = match fields.get("arch_variant") {
            None => TinyVariant::Plain,
            Some(value) => match Fields::text(value).as_deref() {
                Some("flux_2") => TinyVariant::Flux2,
                Some("f32") => TinyVariant::F32,
                _ => return Fields::wrong("arch_variant", "flux_2 or f32", value),
            },
        };
        let counts = |field: &str, default: &[usize]| fields.counts(field, default);
        Ok(Self {
            encoder_block_out_channels: counts(
                "encoder_block_out_channels",
                &default.encoder_block_out_channels,
            )?,
            decoder_block_out_channels: counts(
                "decoder_block_out_channels",
                &default.decoder_block_out_channels,
            )?,
            num_encoder_blocks: counts("num_encoder_blocks", &default.num_encoder_blocks)?,
            num_decoder_blocks: counts("num_decoder_blocks", &default.num_decoder_blocks)?,
            act_fn: fields.activation("act_fn", default.act_fn)?,
            latent_magnitude: fields
                .number("latent_magnitude")?
                .unwrap_or(default.latent_magnitude),
            latent_shift: fields.number("latent_shift")?.unwrap_or(default.latent_shift),
            variant,
        })
    }

    /// The fields as diffusers writes them; those of a variant with its name.
    pub(super) fn to_json(&self) -> Value {
        let mut json = json!({
            "encoder_block_out_channels": self.encoder_block_out_channels,
            "decoder_block_out_channels": self.decoder_block_out_channels,
            "block_out_channels": self.decoder_block_out_channels,
            "num_encoder_blocks": self.num_encoder_blocks,
            "num_decoder_blocks": self.num_decoder_blocks,
            "act_fn": self.act_fn.name(),
            "latent_magnitude": self.latent_magnitude,
            "latent_shift": self.latent_shift,
            "upsampling_scaling_factor": 2,
            "upsample_fn": "nearest",
        });
        if let Some(name) = self.variant.name() {
            json["arch_variant"] = json!(name);
        }
        json
    }

    /// `latent` as diffusers' `AutoencoderTiny.forward` has it between encoder and decoder: mapped
    /// to [0, 1], rounded to 8 bits, and mapped back.
    pub(crate) fn rounded(&self, latent: f32) -> f32 {
        let (span, shift) = (2.0 * self.latent_magnitude as f32, self.latent_shift as f32);
        let byte = ((latent / span + shift).clamp(0.0, 1.0) * 255.0).round_ties_even();
        (byte / 255.0 - shift) * span
    }

    /// Halvings of the resolution by the encoder before its first stage.
    pub(crate) fn stem_halvings(&self) -> usize {
        if self.variant == TinyVariant::F32 { 2 } else { 0 }
    }

    /// Doublings of the resolution by the decoder.
    pub(super) fn doublings(&self) -> usize {
        self.num_decoder_blocks.len().saturating_sub(1)
    }

    /// Checks that the fields describe a network.
    pub(super) fn validate(&self) -> Result<()> {
        for (field, channels, blocks) in [
            ("num_encoder_blocks", &self.encoder_block_out_channels, &self.num_encoder_blocks),
            ("num_decoder_blocks", &self.decoder_block_out_channels, &self.num_decoder_blocks),
        ] {
            check_counts(&[(field, blocks.len(), MOST_LEVELS)])?;
            if channels.len() != blocks.len() {
                return Err(Error::model(format!(
                    "{field}: {} entries expected, one for each width, {} found",
                    channels.len(),
                    blocks.len()
                )));
            }
            for (&channels, &blocks) in channels.iter().zip(blocks) {
                check_counts(&[("channels of a stage", channels, MOST_CHANNELS)])?;
                check_counts(&[(field, blocks.max(1), MOST_LAYERS)])?;
            }
        }
        let first = self.encoder_block_out_channels[0];
        if self.variant == TinyVariant::F32 && !first.is_multiple_of(2) {
            return Err(Error::model(format!(
                "encoder_block_out_channels: an even first width expected of the variant f32, \
                 {first} found"
            )));
        }
        let halvings = self.stem_halvings() + self.num_encoder_blocks.len() - 1;
        if halvings != self.doublings() {
            return Err(Error::model(format!(
                "num_decoder_blocks: {} stages expected, as the encoder halves {halvings} times, \
                 {} found",
                halvings + 1,
                self.num_decoder_blocks.len()
            )));
        }
        for (field, value) in
            [("latent_magnitude", self.latent_magnitude), ("latent_shift", self.latent_shift)]
        {
            // As f32, in which latents are mapped.
            let span = 2.0 * value as f32;
            let (fits, expected) = match field {
                "latent_magnitude" => (span.is_normal() && span > 0.0, "a positive number"),
                _ => (span.is_finite(), "a finite number"),
            };
            if !fits {
                return Err(Error::model(format!("{field}: {expected} expected, {value} found")));
            }
        }
        Ok(())
    }
}
