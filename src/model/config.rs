#![forbid(unsafe_code)]
//! The configuration of `AutoencoderKL`: every field of diffusers' `__init__` under its own name.

use ndarray::ArrayViewMut4;
use serde_json::{Map, Value};

use super::flax;
use super::scaling::Scaling;
use crate::base::error::{Error, Result};

/// The activation function inside the ResNet blocks (`act_fn`).
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

/// The configuration of an `AutoencoderKL`, field for field as in diffusers' `config.json`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Channels of the encoder's input pictures.
    pub in_channels: usize,
    /// Channels of decoded pictures.
    pub out_channels: usize,
    /// Whether each encoder level has attention (`AttnDownEncoderBlock2D`) or not
    /// (`DownEncoderBlock2D`), highest resolution first.
    pub down_attention: Vec<bool>,
    /// Whether each decoder level has attention (`AttnUpDecoderBlock2D`) or not
    /// (`UpDecoderBlock2D`), lowest resolution first.
    pub up_attention: Vec<bool>,
    /// Channels of each level, highest resolution first.
    pub block_out_channels: Vec<usize>,
    /// ResNet blocks in an encoder level; a decoder level has one more.
    pub layers_per_block: usize,
    /// Activation function of the ResNet blocks.
    pub act_fn: Activation,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Groups of every GroupNorm.
    pub norm_num_groups: usize,
    /// Picture size (height, width) the model was trained for; only the tiled modes read it.
    pub sample_size: (usize, usize),
    /// Factor from raw latents to those of the diffusion model.
    pub scaling_factor: f64,
    /// Offset, subtracted before scaling.
    pub shift_factor: Option<f64>,
    /// Mean of each latent channel, subtracted before scaling.
    pub latents_mean: Option<Vec<f64>>,
    /// Standard deviation of each latent channel; scaled latents are divided by it.
    pub latents_std: Option<Vec<f64>>,
    /// Whether the model overflows in half precision: `F16` activations then become `F32`.
    pub force_upcast: bool,
    /// Whether a 1x1 convolution follows the encoder.
    pub use_quant_conv: bool,
    /// Whether a 1x1 convolution precedes the decoder.
    pub use_post_quant_conv: bool,
    /// Whether the middle blocks have attention.
    pub mid_block_add_attention: bool,
}

impl Default for Config {
    /// The defaults of diffusers' `AutoencoderKL.__init__`.
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_attention: vec![false],
            up_attention: vec![false],
            block_out_channels: vec![64],
            layers_per_block: 1,
            act_fn: Activation::Silu,
            latent_channels: 4,
            norm_num_groups: 32,
            sample_size: (32, 32),
            scaling_factor: 0.18215,
            shift_factor: None,
            latents_mean: None,
            latents_std: None,
            force_upcast: true,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
        }
    }
}

impl Config {
    /// Reads the text of a `config.json`. Missing fields take diffusers' defaults; unknown ones are
    /// ignored.
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
        match fields.get("_class_name").map(|class| class.as_str().unwrap_or("no string")) {
            None | Some("AutoencoderKL") => {}
            Some("FlaxAutoencoderKL") => {
                of_flax = flax::fields(object);
                fields = Fields(&of_flax);
            }
            Some(class) => {
                return Err(Error::model(format!(
                    "_class_name: AutoencoderKL or FlaxAutoencoderKL expected, {class} found"
                )));
            }
        }
        let default = Self::default();
        let config = Self {
            in_channels: fields.count("in_channels", default.in_channels)?,
            out_channels: fields.count("out_channels", default.out_channels)?,
            down_attention: fields.blocks("down_block_types", "DownEncoderBlock2D")?,
            up_attention: fields.blocks("up_block_types", "UpDecoderBlock2D")?,
            block_out_channels: fields.counts("block_out_channels", default.block_out_channels)?,
            layers_per_block: fields.count("layers_per_block", default.layers_per_block)?,
            act_fn: fields.activation("act_fn")?,
            latent_channels: fields.count("latent_channels", default.latent_channels)?,
            norm_num_groups: fields.count("norm_num_groups", default.norm_num_groups)?,
            sample_size: fields.size("sample_size", default.sample_size)?,
            scaling_factor: fields.number("scaling_factor")?.unwrap_or(default.scaling_factor),
            shift_factor: fields.number("shift_factor")?,
            latents_mean: fields.numbers("latents_mean")?,
            latents_std: fields.numbers("latents_std")?,
            force_upcast: fields.flag("force_upcast", default.force_upcast)?,
            use_quant_conv: fields.flag("use_quant_conv", default.use_quant_conv)?,
            use_post_quant_conv: fields.flag("use_post_quant_conv", default.use_post_quant_conv)?,
            mid_block_add_attention: fields
                .flag("mid_block_add_attention", default.mid_block_add_attention)?,
        };
        config.validate()?;
        Ok(config)
    }

    /// The configuration as JSON, as diffusers writes it.
    pub fn to_json(&self) -> String {
        let blocks = |attention: &[bool], plain: &str, with: &str| -> Vec<String> {
            attention.iter().map(|&a| if a { with } else { plain }.to_owned()).collect()
        };
        let (height, width) = self.sample_size;
        let square = height == width;
        let sample_size = if square { height.into() } else { serde_json::json!([height, width]) };
        let json = serde_json::json!({
            "_class_name": "AutoencoderKL",
            "in_channels": self.in_channels,
            "out_channels": self.out_channels,
            "down_block_types":
                blocks(&self.down_attention, "DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
            "up_block_types":
                blocks(&self.up_attention, "UpDecoderBlock2D", "AttnUpDecoderBlock2D"),
            "block_out_channels": self.block_out_channels,
            "layers_per_block": self.layers_per_block,
            "act_fn": self.act_fn.name(),
            "latent_channels": self.latent_channels,
            "norm_num_groups": self.norm_num_groups,
            "sample_size": sample_size,
            "scaling_factor": self.scaling_factor,
            "shift_factor": self.shift_factor,
            "latents_mean": self.latents_mean,
            "latents_std": self.latents_std,
            "force_upcast": self.force_upcast,
            "use_quant_conv": self.use_quant_conv,
            "use_post_quant_conv": self.use_post_quant_conv,
            "mid_block_add_attention": self.mid_block_add_attention,
        });
        json.to_string()
    }

    /// Checks that the fields describe an autoencoder.
    ///
    /// # Errors
    /// `Model`, naming the field, with expected and found.
    pub fn validate(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::model(message));
        let levels = self.block_out_channels.len();
        for (field, length) in [
            ("down_block_types", self.down_attention.len()),
            ("up_block_types", self.up_attention.len()),
        ] {
            if length != levels {
                return wrong(format!(
                    "{field}: {levels} entries expected, as in block_out_channels, {length} found"
                ));
            }
        }
        for (field, value, most) in [
            ("block_out_channels: levels", levels, MOST_LEVELS),
            ("in_channels", self.in_channels, MOST_CHANNELS),
            ("out_channels", self.out_channels, MOST_CHANNELS),
            ("latent_channels", self.latent_channels, MOST_CHANNELS),
            ("layers_per_block", self.layers_per_block, MOST_LAYERS),
            ("norm_num_groups", self.norm_num_groups, MOST_CHANNELS),
            ("sample_size: height", self.sample_size.0, usize::MAX),
            ("sample_size: width", self.sample_size.1, usize::MAX),
        ] {
            if value == 0 || value > most {
                return wrong(format!("{field}: 1 to {most} expected, {value} found"));
            }
        }
        for &channels in &self.block_out_channels {
            if channels == 0 || channels > MOST_CHANNELS {
                return wrong(format!(
                    "block_out_channels: 1 to {MOST_CHANNELS} expected, {channels} found"
                ));
            }
            if !channels.is_multiple_of(self.norm_num_groups) {
                return wrong(format!(
                    "block_out_channels: multiples of norm_num_groups ({}) expected, \
                     {channels} found",
                    self.norm_num_groups
                ));
            }
        }
        self.scaling().validate()
    }

    /// Side of a picture in pixels divided by the side of its latent: 2^(levels - 1).
    pub fn downscale(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1)
    }

    /// Scales raw latents `[batch, latent_channels, h, w]` for the diffusion model, in place:
    /// `(latents - mean) * scaling / std`, or `(latents - shift) * scaling`.
    ///
    /// # Errors
    /// `InvalidArgument` if the second axis is not `latent_channels` long.
    pub fn scale_latents(&self, latents: ArrayViewMut4<'_, f32>) -> Result<()> {
        self.scaling().apply(latents)
    }

    /// Makes raw latents from those of the diffusion model, in place: the inverse of
    /// [`Config::scale_latents`].
    ///
    /// # Errors
    /// `InvalidArgument` if the second axis is not `latent_channels` long.
    pub fn unscale_latents(&self, latents: ArrayViewMut4<'_, f32>) -> Result<()> {
        self.scaling().undo(latents)
    }

    fn scaling(&self) -> Scaling<'_> {
        Scaling {
            channels: self.latent_channels,
            factor: self.scaling_factor,
            shift: self.shift_factor,
            mean: self.latents_mean.as_deref(),
            std: self.latents_std.as_deref(),
        }
    }
}

/// Limits against absurd configurations, far above those of any model.
const MOST_LEVELS: usize = 16;
const MOST_CHANNELS: usize = 1 << 16;
const MOST_LAYERS: usize = 64;

/// The fields of a configuration, read by name.
struct Fields<'a>(&'a Map<String, Value>);

impl Fields<'_> {
    /// The field; `None` if it is missing or null.
    fn get(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    fn wrong<T>(field: &str, expected: &str, found: &Value) -> Result<T> {
        let mut found = found.to_string();
        if let Some((cut, _)) = found.char_indices().nth(60) {
            found.truncate(cut);
            found.push_str("...");
        }
        Err(Error::model(format!("{field}: {expected} expected, {found} found")))
    }

    fn as_count(field: &str, value: &Value) -> Result<usize> {
        match value.as_u64().and_then(|n| usize::try_from(n).ok()) {
            Some(n) => Ok(n),
            None => Self::wrong(field, "a whole number", value),
        }
    }

    fn count(&self, field: &str, default: usize) -> Result<usize> {
        self.get(field).map_or(Ok(default), |value| Self::as_count(field, value))
    }

    fn list<'v>(field: &str, value: &'v Value) -> Result<&'v Vec<Value>> {
        value.as_array().map_or_else(|| Self::wrong(field, "a list", value), Ok)
    }

    fn counts(&self, field: &str, default: Vec<usize>) -> Result<Vec<usize>> {
        let Some(value) = self.get(field) else { return Ok(default) };
        Self::list(field, value)?.iter().map(|value| Self::as_count(field, value)).collect()
    }

    fn number(&self, field: &str) -> Result<Option<f64>> {
        self.get(field)
            .map(|value| value.as_f64().map_or_else(|| Self::wrong(field, "a number", value), Ok))
            .transpose()
    }

    fn numbers(&self, field: &str) -> Result<Option<Vec<f64>>> {
        let Some(value) = self.get(field) else { return Ok(None) };
        let number = |v: &Value| v.as_f64().map_or_else(|| Self::wrong(field, "numbers", v), Ok);
        Self::list(field, value)?.iter().map(number).collect::<Result<Vec<_>>>().map(Some)
    }

    fn flag(&self, field: &str, default: bool) -> Result<bool> {
        let Some(value) = self.get(field) else { return Ok(default) };
        value.as_bool().map_or_else(|| Self::wrong(field, "true or false", value), Ok)
    }

    fn size(&self, field: &str, default: (usize, usize)) -> Result<(usize, usize)> {
        match self.get(field) {
            None => Ok(default),
            Some(Value::Array(list)) if list.len() == 2 => {
                Ok((Self::as_count(field, &list[0])?, Self::as_count(field, &list[1])?))
            }
            Some(value) => Self::as_count(field, value).map(|n| (n, n)),
        }
    }

    /// Block types, each `plain` or `Attn` and `plain`, with or without the old prefix `UNetRes`.
    fn blocks(&self, field: &str, plain: &str) -> Result<Vec<bool>> {
        let Some(value) = self.get(field) else { return Ok(vec![false]) };
        let one = |value: &Value| {
            let name = value.as_str().unwrap_or("");
            let name = name.strip_prefix("UNetRes").unwrap_or(name);
            match name.strip_prefix("Attn").unwrap_or(name) {
                kind if kind == plain => Ok(name != plain),
                _ => Self::wrong(field, &format!("{plain} or Attn{plain}"), value),
            }
        };
        Self::list(field, value)?.iter().map(one).collect()
    }

    fn activation(&self, field: &str) -> Result<Activation> {
        let Some(value) = self.get(field) else { return Ok(Activation::default()) };
        match value.as_str().unwrap_or("").to_ascii_lowercase().as_str() {
            "silu" | "swish" => Ok(Activation::Silu),
            "mish" => Ok(Activation::Mish),
            "gelu" => Ok(Activation::Gelu),
            "relu" => Ok(Activation::Relu),
            _ => Self::wrong(field, "silu, swish, mish, gelu or relu", value),
        }
    }
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
            in_channels: 1,
            out_channels: 2,
            down_attention: vec![false, true],
            up_attention: vec![true, false],
            block_out_channels: vec![8, 24],
            layers_per_block: 3,
            act_fn: Activation::Gelu,
            latent_channels: 2,
            norm_num_groups: 4,
            sample_size: (64, 32),
            scaling_factor: 0.5,
            shift_factor: Some(0.25),
            latents_mean: Some(vec![1.0, 2.0]),
            latents_std: Some(vec![3.0, 4.5]),
            force_upcast: false,
            use_quant_conv: false,
            use_post_quant_conv: false,
            mid_block_add_attention: false,
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
            (
                r#"{"_class_name": "AutoencoderTiny"}"#,
                ["_class_name", "AutoencoderKL", "AutoencoderTiny"],
            ),
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
