#![forbid(unsafe_code)]
//! The configuration of an autoencoder: every field of diffusers' `__init__` under its own name.
//!
//! | file | what it has |
//! |---|---|
//! | `kl` | the network of `AutoencoderKL`, which two other families have too |
//! | `flux2`, `tiny` | what `AutoencoderKLFlux2` and `AutoencoderTiny` have |
//! | `latents` | scaling, statistics and patches of latents |
//! | `flax` | `FlaxAutoencoderKL`'s fields, as those of an `AutoencoderKL` |
//! | `fields`, `activation` | fields of JSON, read by name; activation functions |

mod activation;
mod fields;
mod flax;
mod flux2;
mod kl;
mod latents;
#[cfg(test)]
mod tests;
mod tiny;

use std::borrow::Cow;

use serde_json::json;

pub use self::activation::Activation;
use self::fields::{Fields, MOST_CHANNELS, check_counts};
pub use self::flux2::Flux2Config;
pub use self::kl::KlConfig;
pub use self::tiny::{TinyConfig, TinyVariant};
use crate::base::error::{Error, Result};
use crate::checkpoint::shortened;

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
        let tiny = family.tiny().is_some();
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
            shift_factor: tiny.then_some(0.0),
            latents_mean: None,
            latents_std: None,
            force_upcast,
        }
    }

    /// Reads the text of a `config.json`. Missing fields take the defaults of diffusers' class that
    /// it names, `AutoencoderKL` if it names none; unknown ones are passed over.
    ///
    /// # Errors
    /// `Format` if the text is not JSON or has over 2^20 bytes, `Model` if a field has a wrong type
    /// or fields contradict each other. The message names the field, with expected and found.
    pub fn from_json(text: &str) -> Result<Self> {
        let mut fields = Fields::read(text)?;
        let class = class_name(&fields);
        let family = match class.as_deref() {
            None | Some("AutoencoderKL") => {
                Family::Kl(KlConfig::read(&fields, KlConfig::default(), false)?)
            }
            Some("FlaxAutoencoderKL") => {
                fields.of_flax = true;
                Family::Kl(KlConfig::read(&fields, KlConfig::default(), false)?)
            }
            Some("AutoencoderKLFlux2") => Family::Flux2(Flux2Config::read(&fields)?),
            Some("AsymmetricAutoencoderKL") => {
                Family::Asymmetric(KlConfig::read_asymmetric(&fields)?)
            }
            Some("AutoencoderTiny") => Family::Tiny(TinyConfig::read(&fields)?),
            Some(class) => {
                let class = shortened(class);
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
                shift_factor: fields.number("shift_factor")?.or(config.shift_factor),
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
            Family::Flux2(flux2) => flux2.to_json(),
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
    pub fn encoded_length(&self, length: usize) -> usize {
        match self.family {
            Family::Tiny(_) => length.div_ceil(self.downscale()),
            _ => length / self.downscale(),
        }
    }
}

/// The name of the class; "no string" if it is no string.
fn class_name<'a>(fields: &Fields<'a>) -> Option<Cow<'a, str>> {
    fields.get("_class_name").map(|class| Fields::text(class).unwrap_or("no string".into()))
}
