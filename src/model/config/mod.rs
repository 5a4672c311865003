#![forbid(unsafe_code)]
//! The configuration of an autoencoder: every field of diffusers' `__init__` under its own name.
//!
//! | file | what it has |
//! |---|---|
//! | `kl` | the network of `AutoencoderKL`, and of `AutoencoderKLFlux2` and `AsymmetricAutoencoderKL` |
//! | `tiny` | the network of `AutoencoderTiny` |
//! | `flax` | `FlaxAutoencoderKL`'s fields, as those of an `AutoencoderKL` |
//! | `fields` | fields of JSON, read by name |

mod fields;
mod flax;
mod kl;
mod tiny;

use ndarray::{Array4, ArrayView4, ArrayViewMut4};
use serde_json::{Value, json};

use self::fields::{Fields, MOST_CHANNELS, check_counts};
pub use self::kl::KlConfig;
pub use self::tiny::{TinyConfig, TinyVariant};
use super::scaling::Scaling;
use crate::base::error::{Error, Result};

/// The activation function inside the blocks of a network (`act_fn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Activation {
    /// `x * sigmoid(x)`; `silu` and `swish` in a configuration.
    #[default]
    Silu,
    /// `x * tanh(softplus(x))`.
    Mish,
    /// The exact form, `x * Phi(x)`.
    Gelu,
    /// `max(x, 0)`.
    Relu,
}

impl Activation {
    /// The name in a configuration.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::Mish => "mish",
            Self::Gelu => "gelu",
            Self::Relu => "relu",
        }
    }
}

/// A family of autoencoders, a class of diffusers, with the configuration of its network.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Family {
    /// `AutoencoderKL`, and `FlaxAutoencoderKL`.
    Kl(KlConfig),
    /// `AutoencoderKLFlux2`: the same network, with statistics of 2x2 patches of latents.
    Flux2(Flux2Config),
    /// `AsymmetricAutoencoderKL`: a decoder with widths and layers of its own, which can keep what
    /// lies outside of a mask.
    Asymmetric(KlConfig),
    /// `AutoencoderTiny`, TAESD: small, without statistics. Its encoder gives latents, not a
    /// posterior.
    Tiny(TinyConfig),
}

/// The network of an `AutoencoderKLFlux2`, and its statistics' settings.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Flux2Config {
    /// The network.
    pub network: KlConfig,
    /// Added to each variance of the latents' statistics.
    pub batch_norm_eps: f64,
}

/// Side of the patches of latents that `AutoencoderKLFlux2` has statistics for.
const PATCH: usize = 2;

impl Family {
    /// The name of diffusers' class.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Kl(_) => "AutoencoderKL",
            Self::Flux2(_) => "AutoencoderKLFlux2",
            Self::Asymmetric(_) => "AsymmetricAutoencoderKL",
            Self::Tiny(_) => "AutoencoderTiny",
        }
    }

    /// The network, if it is one of `AutoencoderKL`'s kind.
    pub const fn kl(&self) -> Option<&KlConfig> {
        match self {
            Self::Kl(network)
            | Self::Flux2(Flux2Config { network, .. })
            | Self::Asymmetric(network) => Some(network),
            Self::Tiny(_) => None,
        }
    }

    /// Like [`Family::kl`], to change it.
    pub const fn kl_mut(&mut self) -> Option<&mut KlConfig> {
        match self {
            Self::Kl(network)
            | Self::Flux2(Flux2Config { network, .. })
            | Self::Asymmetric(network) => Some(network),
            Self::Tiny(_) => None,
        }
    }

    /// The network, if it is a tiny one.
    pub const fn tiny(&self) -> Option<&TinyConfig> {
        match self {
            Self::Tiny(network) => Some(network),
            _ => None,
        }
    }
}

/// The configuration of an autoencoder, field for field as in diffusers' `config.json`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// The family, with its network.
    pub family: Family,
    /// Channels of the encoder's input pictures.
    pub in_channels: usize,
    /// Channels of decoded pictures.
    pub out_channels: usize,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Picture size (height, width) the model was trained for; only the tiled modes read it.
    pub sample_size: (usize, usize),
    /// Factor from raw latents to those of the diffusion model.
    pub scaling_factor: f64,
    /// Offset, subtracted before scaling.
    pub shift_factor: Option<f64>,
    /// Mean of each latent channel, subtracted before scaling. Of an `AutoencoderKLFlux2`, of each
    /// channel of a patch, in the order channel, row, column; the model's weights have it, and
    /// [`Model::config`](crate::Model::config) then.
    pub latents_mean: Option<Vec<f64>>,
    /// Standard deviation of each latent channel, or of each channel of a patch; scaled latents are
    /// divided by it.
    pub latents_std: Option<Vec<f64>>,
    /// Whether the model overflows in half precision: `F16` activations then become `F32`.
    pub force_upcast: bool,
}

impl Default for Config {
    /// The defaults of diffusers' `AutoencoderKL.__init__`.
    fn default() -> Self {
        Self::of(Family::Kl(KlConfig::default()))
    }
}

impl Config {
    /// The defaults of the class of diffusers for a family.
    pub(super) fn of(family: Family) -> Self {
        let (latent_channels, size, scaling_factor, force_upcast) = match &family {
            Family::Kl(_) => (4, 32, 0.18215, true),
            Family::Flux2(_) => (32, 1024, 1.0, true),
            Family::Asymmetric(_) => (4, 32, 0.18215, false),
            Family::Tiny(_) => (4, 512, 1.0, false),
        };
        Self {
            family,
            in_channels: 3,
            out_channels: 3,
            latent_channels,
            sample_size: (size, size),
            scaling_factor,
            shift_factor: None,
            latents_mean: None,
            latents_std: None,
            force_upcast,
        }
    }

    /// Reads the text of a `config.json`. Missing fields take the defaults of diffusers' class that
    /// it names, `AutoencoderKL` if it names none; unknown ones are ignored.
    ///
    /// # Errors
    /// `Format` if the text is not JSON, `Model` if a field has a wrong type or fields contradict
    /// each other. The message names the field, with expected and found.
    pub fn from_json(text: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(text)
            .map_err(|error| Error::format(format!("not valid JSON: {error}")))?;
        let object = json.as_object().ok_or_else(|| Error::format("a JSON object expected"))?;
        let of_flax;
        let mut fields = Fields(object);
        let family = match class_name(&fields) {
            None | Some("AutoencoderKL") => {
                Family::Kl(KlConfig::read(&fields, KlConfig::default(), false)?)
            }
            Some("FlaxAutoencoderKL") => {
                of_flax = flax::fields(object);
                fields = Fields(&of_flax);
                Family::Kl(KlConfig::read(&fields, KlConfig::default(), false)?)
            }
            Some("AutoencoderKLFlux2") => Family::Flux2(Flux2Config::read(&fields)?),
            Some("AsymmetricAutoencoderKL") => {
                Family::Asymmetric(KlConfig::read_asymmetric(&fields)?)
            }
            Some("AutoencoderTiny") => Family::Tiny(TinyConfig::read(&fields)?),
            Some(class) => {
                return Err(Error::model(format!(
                    "_class_name: AutoencoderKL, FlaxAutoencoderKL, AutoencoderKLFlux2, \
                     AsymmetricAutoencoderKL or AutoencoderTiny expected, {class} found"
                )));
            }
        };
        let config = Self::of(family).read_shared(&fields)?;
        config.validate()?;
        Ok(config)
    }

    /// Reads the fields that are not of a network, as far as the family's class has them.
    fn read_shared(self, fields: &Fields<'_>) -> Result<Self> {
        let config = Self {
            in_channels: fields.count("in_channels", self.in_channels)?,
            out_channels: fields.count("out_channels", self.out_channels)?,
            latent_channels: fields.count("latent_channels", self.latent_channels)?,
            ..self
        };
        Ok(match config.family {
            Family::Kl(_) => Self {
                sample_size: fields.size("sample_size", config.sample_size)?,
                scaling_factor: fields.number("scaling_factor")?.unwrap_or(config.scaling_factor),
                shift_factor: fields.number("shift_factor")?,
                latents_mean: fields.numbers("latents_mean")?,
                latents_std: fields.numbers("latents_std")?,
                force_upcast: fields.flag("force_upcast", config.force_upcast)?,
                ..config
            },
            Family::Flux2(_) => Self {
                sample_size: fields.size("sample_size", config.sample_size)?,
                force_upcast: fields.flag("force_upcast", config.force_upcast)?,
                ..config
            },
            Family::Asymmetric(_) => Self {
                sample_size: fields.size("sample_size", config.sample_size)?,
                scaling_factor: fields.number("scaling_factor")?.unwrap_or(config.scaling_factor),
                ..config
            },
            Family::Tiny(_) => Self {
                scaling_factor: fields.number("scaling_factor")?.unwrap_or(config.scaling_factor),
                shift_factor: fields.number("shift_factor")?,
                ..config
            },
        })
    }

    /// The configuration as JSON, as diffusers writes it.
    pub fn to_json(&self) -> String {
        let (height, width) = self.sample_size;
        let square = height == width;
        let sample_size = if square { height.into() } else { json!([height, width]) };
        let mut json = match &self.family {
            Family::Kl(network) => network.to_json(false),
            Family::Flux2(flux2) => {
                let mut json = flux2.network.to_json(true);
                json["batch_norm_eps"] = json!(flux2.batch_norm_eps);
                json["patch_size"] = json!([PATCH, PATCH]);
                json
            }
            Family::Asymmetric(network) => network.to_asymmetric_json(),
            Family::Tiny(network) => network.to_json(),
        };
        json["_class_name"] = json!(self.family.name());
        json["in_channels"] = json!(self.in_channels);
        json["out_channels"] = json!(self.out_channels);
        json["latent_channels"] = json!(self.latent_channels);
        // diffusers' class for FLUX.2 has no such field, and warns where there is one.
        if !matches!(self.family, Family::Flux2(_)) || !self.force_upcast {
            json["force_upcast"] = json!(self.force_upcast);
        }
        if !matches!(self.family, Family::Tiny(_)) {
            json["sample_size"] = sample_size;
        }
        if !matches!(self.family, Family::Flux2(_)) {
            json["scaling_factor"] = json!(self.scaling_factor);
        }
        match self.family {
            Family::Kl(_) => {
                json["shift_factor"] = json!(self.shift_factor);
                json["latents_mean"] = json!(self.latents_mean);
                json["latents_std"] = json!(self.latents_std);
            }
            Family::Tiny(_) => json["shift_factor"] = json!(self.shift_factor.unwrap_or(0.0)),
            Family::Flux2(_) | Family::Asymmetric(_) => {}
        }
        json.to_string()
    }

    /// Checks that the fields describe an autoencoder.
    ///
    /// # Errors
    /// `Model`, naming the field, with expected and found.
    pub fn validate(&self) -> Result<()> {
        match &self.family {
            Family::Kl(network) | Family::Asymmetric(network) => network.validate()?,
            Family::Flux2(flux2) => flux2.validate()?,
            Family::Tiny(network) => network.validate()?,
        }
        check_counts(&[
            ("in_channels", self.in_channels, MOST_CHANNELS),
            ("out_channels", self.out_channels, MOST_CHANNELS),
            ("latent_channels", self.latent_channels, MOST_CHANNELS),
            ("sample_size: height", self.sample_size.0, usize::MAX),
            ("sample_size: width", self.sample_size.1, usize::MAX),
        ])?;
        self.scaling().validate()
    }

    /// Side of a picture in pixels divided by the side of its latent: 2 to the number of halvings.
    pub fn downscale(&self) -> usize {
        let halvings = match &self.family {
            Family::Tiny(network) => network.doublings(),
            family => family.kl().map_or(0, |kl| kl.block_out_channels.len().saturating_sub(1)),
        };
        1 << halvings
    }

    /// Channels of the encoder's output: mean and log-variance of each latent channel, or the
    /// latents themselves.
    pub(crate) fn encoded_channels(&self) -> usize {
        let posterior = !matches!(self.family, Family::Tiny(_));
        self.latent_channels * if posterior { 2 } else { 1 }
    }

    /// Height, or width, of the latents of a picture of height, or width, `length`: a plain
    /// autoencoder's halvings drop an odd last row or column, a tiny one's keep it.
    pub(crate) fn encoded_length(&self, length: usize) -> usize {
        match self.family {
            Family::Tiny(_) => length.div_ceil(self.downscale()),
            _ => length / self.downscale(),
        }
    }

    /// Scales raw latents `[batch, latent_channels, h, w]` for the diffusion model, in place:
    /// `(latents - mean) * scaling / std`, or `(latents - shift) * scaling`. Of an
    /// `AutoencoderKLFlux2`, mean and standard deviation are those of the latent's place in its 2x2
    /// patch.
    ///
    /// # Errors
    /// `InvalidArgument` if the second axis is not `latent_channels` long, or patches do not fit;
    /// `Model` for an `AutoencoderKLFlux2` whose weights, and so its statistics, were not read.
    pub fn scale_latents(&self, latents: ArrayViewMut4<'_, f32>) -> Result<()> {
        self.known_scaling()?.apply(latents)
    }

    /// Makes raw latents from those of the diffusion model, in place: the inverse of
    /// [`Config::scale_latents`].
    ///
    /// # Errors
    /// Those of [`Config::scale_latents`].
    pub fn unscale_latents(&self, latents: ArrayViewMut4<'_, f32>) -> Result<()> {
        self.known_scaling()?.undo(latents)
    }

    /// Side of the patches that the diffusion model's latents come in: 2 for an
    /// `AutoencoderKLFlux2`, otherwise 1.
    pub fn patch_size(&self) -> usize {
        if matches!(self.family, Family::Flux2(_)) { PATCH } else { 1 }
    }

    /// Folds latents `[batch, latent_channels, h, w]` into patches `[batch, latent_channels * p^2,
    /// h / p, w / p]`, with `p` of [`Config::patch_size`] and channels in the order channel, row,
    /// column, as FLUX.2's pipeline does.
    ///
    /// # Errors
    /// `InvalidArgument` if `p` does not divide the sides.
    pub fn patchify_latents(&self, latents: ArrayView4<'_, f32>) -> Result<Array4<f32>> {
        let (p, (batch, channels, height, width)) = (self.patch_size(), latents.dim());
        if !height.is_multiple_of(p) || !width.is_multiple_of(p) {
            return Err(Error::invalid(format!(
                "latents: sides that are multiples of {p} expected, {width}x{height} found"
            )));
        }
        let shape = (batch, channels * p * p, height / p, width / p);
        Ok(Array4::from_shape_fn(shape, |(b, c, y, x)| {
            latents[(b, c / (p * p), y * p + c / p % p, x * p + c % p)]
        }))
    }

    /// The inverse of [`Config::patchify_latents`].
    ///
    /// # Errors
    /// `InvalidArgument` if the second axis is not a multiple of `p^2`.
    pub fn unpatchify_latents(&self, patches: ArrayView4<'_, f32>) -> Result<Array4<f32>> {
        let (p, (batch, channels, height, width)) = (self.patch_size(), patches.dim());
        if !channels.is_multiple_of(p * p) {
            return Err(Error::invalid(format!(
                "latents: a multiple of {} channels expected, {channels} found",
                p * p
            )));
        }
        let shape = (batch, channels / (p * p), height * p, width * p);
        Ok(Array4::from_shape_fn(shape, |(b, c, y, x)| {
            patches[(b, (c * p + y % p) * p + x % p, y / p, x / p)]
        }))
    }

    /// The scaling; an error if a part of it is in weights that were not read.
    fn known_scaling(&self) -> Result<Scaling<'_>> {
        if matches!(self.family, Family::Flux2(_)) && self.latents_mean.is_none() {
            return Err(Error::model(
                "statistics of the latents: those of an AutoencoderKLFlux2 are in its weights, \
                 not in its configuration",
            ));
        }
        Ok(self.scaling())
    }

    fn scaling(&self) -> Scaling<'_> {
        Scaling {
            channels: self.latent_channels,
            patch: self.patch_size(),
            factor: self.scaling_factor,
            shift: self.shift_factor,
            mean: self.latents_mean.as_deref(),
            std: self.latents_std.as_deref(),
        }
    }
}

impl Flux2Config {
    fn read(fields: &Fields<'_>) -> Result<Self> {
        let patch = fields.get("patch_size");
        if let Some(value) = patch
            && *value != json!([PATCH, PATCH])
        {
            return Fields::wrong("patch_size", "[2, 2]", value);
        }
        let eps = fields.number("batch_norm_eps")?;
        let network = KlConfig::read(fields, KlConfig::of_flux2(), true)?;
        Ok(Self { network, ..Self::default() }.with_eps(eps))
    }

    fn with_eps(self, eps: Option<f64>) -> Self {
        Self { batch_norm_eps: eps.unwrap_or(self.batch_norm_eps), ..self }
    }

    fn validate(&self) -> Result<()> {
        self.network.validate()?;
        let eps = self.batch_norm_eps;
        if eps.is_finite() && eps >= 0.0 {
            return Ok(());
        }
        Err(Error::model(format!("batch_norm_eps: 0 or more expected, {eps} found")))
    }
}

impl Default for Flux2Config {
    /// The defaults of diffusers' `AutoencoderKLFlux2.__init__`.
    fn default() -> Self {
        Self { network: KlConfig::of_flux2(), batch_norm_eps: 1e-4 }
    }
}

/// The name of the class; "no string" if it is no string.
fn class_name<'f>(fields: &'f Fields<'_>) -> Option<&'f str> {
    fields.get("_class_name").map(|class| class.as_str().unwrap_or("no string"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(json: &str) -> String {
        Config::from_json(json).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_configuration_is_all_defaults() {
        assert_eq!(Config::from_json("{}").unwrap(), Config::default());
        let other = r#"{"_diffusers_version": "0.1", "something": [1], "shift_factor": null}"#;
        assert_eq!(Config::from_json(other).unwrap(), Config::default());
    }

    #[test]
    fn every_field_is_read_and_written() {
        let json = r#"{"_class_name": "AutoencoderKL", "in_channels": 1, "out_channels": 2,
            "down_block_types": ["UNetResDownEncoderBlock2D", "AttnDownEncoderBlock2D"],
            "up_block_types": ["UNetResAttnUpDecoderBlock2D", "UpDecoderBlock2D"],
            "block_out_channels": [8, 24], "layers_per_block": 3, "act_fn": "GELU",
            "latent_channels": 2, "norm_num_groups": 4, "sample_size": [64, 32],
            "scaling_factor": 0.5, "shift_factor": 0.25, "latents_mean": [1, 2],
            "latents_std": [3, 4.5], "force_upcast": false, "use_quant_conv": false,
            "use_post_quant_conv": false, "mid_block_add_attention": false}"#;
        let expected = Config {
            family: Family::Kl(KlConfig {
                down_attention: vec![false, true],
                up_attention: vec![true, false],
                block_out_channels: vec![8, 24],
                decoder_block_out_channels: None,
                layers_per_block: 3,
                decoder_layers_per_block: None,
                act_fn: Activation::Gelu,
                norm_num_groups: 4,
                use_quant_conv: false,
                use_post_quant_conv: false,
                mid_block_add_attention: false,
            }),
            in_channels: 1,
            out_channels: 2,
            latent_channels: 2,
            sample_size: (64, 32),
            scaling_factor: 0.5,
            shift_factor: Some(0.25),
            latents_mean: Some(vec![1.0, 2.0]),
            latents_std: Some(vec![3.0, 4.5]),
            force_upcast: false,
        };
        let config = Config::from_json(json).unwrap();
        assert_eq!(config, expected);
        assert_eq!(Config::from_json(&config.to_json()).unwrap(), expected);
        assert_eq!(config.downscale(), 2);
    }

    #[test]
    fn wrong_fields_are_named_with_expected_and_found() {
        for (json, parts) in [
            (r#"{"in_channels": "3"}"#, ["in_channels", "whole number", "\"3\""]),
            (r#"{"in_channels": 0}"#, ["in_channels", "1 to", "0 found"]),
            (r#"{"latent_channels": -4}"#, ["latent_channels", "whole number", "-4"]),
            (r#"{"block_out_channels": [48]}"#, ["block_out_channels", "(32)", "48 found"]),
            (r#"{"block_out_channels": [64, 64]}"#, ["down_block_types", "2 entries", "1 found"]),
            (
                r#"{"down_block_types": ["CrossAttn"]}"#,
                ["down_block_types", "DownEncoderBlock2D", "Cross"],
            ),
            (r#"{"act_fn": "tanh"}"#, ["act_fn", "silu", "tanh"]),
            (
                r#"{"latents_mean": [1], "latents_std": [1]}"#,
                ["latents_mean", "4 numbers", "1 found"],
            ),
            (r#"{"latents_mean": [1, 1, 1, 1]}"#, ["latents_std", "both", "neither"]),
            (r#"{"scaling_factor": 0}"#, ["scaling_factor", "other than 0", "0 found"]),
            (r#"{"norm_num_groups": 0}"#, ["norm_num_groups", "1 to", "0 found"]),
            (r#"{"layers_per_block": 100000}"#, ["layers_per_block", "1 to 64", "100000"]),
            (r#"{"force_upcast": 1}"#, ["force_upcast", "true or false", "1 found"]),
            (r#"{"_class_name": "VQModel"}"#, ["_class_name", "AutoencoderKL", "VQModel"]),
            (r#"[1]"#, ["object", "", ""]),
            (r#"{"in_channels": "#, ["not valid JSON", "", ""]),
        ] {
            let message = error(json);
            for part in parts {
                assert!(message.contains(part), "{json}: {message}");
            }
        }
    }
}
