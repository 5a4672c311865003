#![forbid(unsafe_code)]
//! Presets: the values of a published model, which the shapes of a bare file do not tell.

use std::str::FromStr;

use super::config::{Config, Family, TinyConfig, TinyVariant};
use crate::base::error::{Error, Result};

/// A published model. Sets scaling, shift and statistics of the latents, the picture size of
/// training, and whether the model overflows in half precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preset {
    /// Stable Diffusion 1.x and 2.x, and others with their autoencoder (PixArt-alpha, DiT, LCM).
    Sd,
    /// Stable Diffusion XL, Kolors, HunyuanDiT, AuraFlow, PixArt-Sigma.
    Sdxl,
    /// The repaired autoencoder of SDXL, which works in half precision.
    SdxlFp16Fix,
    /// Stable Diffusion 3 and 3.5.
    Sd3,
    /// FLUX.1, Chroma, Lumina 2, Z-Image, HiDream.
    Flux,
    /// Playground v2.5.
    Playground25,
    /// The x4 upscaler of Stable Diffusion 2.
    SdX4Upscaler,
    /// CogView3 Plus and CogView4.
    CogView4,
    /// FLUX.2, its small decoder too.
    Flux2,
    /// The asymmetric autoencoders of Stable Diffusion, for inpainting.
    Asymmetric,
    /// The tiny autoencoder of Stable Diffusion 1.x and 2.x.
    Taesd,
    /// The tiny autoencoder of Stable Diffusion XL.
    Taesdxl,
    /// The tiny autoencoder of Stable Diffusion 3 and 3.5.
    Taesd3,
    /// The tiny autoencoder of FLUX.1.
    Taef1,
    /// The tiny autoencoder of FLUX.2.
    Taef2,
    /// The tiny autoencoder of Sana.
    Taesana,
}

/// The values of a preset.
struct Values {
    name: &'static str,
    scaling: f64,
    shift: Option<f64>,
    statistics: Option<([f64; 4], [f64; 4])>,
    sample_size: usize,
    force_upcast: bool,
    shapes: Shapes,
}

/// What the shapes of a model's tensors tell.
#[derive(Clone, Copy)]
struct Shapes {
    family: &'static str,
    latent_channels: usize,
    /// Halvings of the resolution and one.
    levels: usize,
    quant_convs: bool,
    mid_attention: bool,
}

/// Stable Diffusion's shapes.
const SD: Shapes = Shapes {
    family: "AutoencoderKL",
    latent_channels: 4,
    levels: 4,
    quant_convs: true,
    mid_attention: true,
};
/// The shapes of Stable Diffusion 3 and FLUX.
const SD3: Shapes = Shapes { latent_channels: 16, quant_convs: false, ..SD };
/// The shapes of a tiny autoencoder of Stable Diffusion.
const TINY: Shapes =
    Shapes { family: "AutoencoderTiny", quant_convs: false, mid_attention: false, ..SD };

impl Preset {
    const ALL: [Self; 16] = [
        Self::Sd,
        Self::Sdxl,
        Self::SdxlFp16Fix,
        Self::Sd3,
        Self::Flux,
        Self::Playground25,
        Self::SdX4Upscaler,
        Self::CogView4,
        Self::Flux2,
        Self::Asymmetric,
        Self::Taesd,
        Self::Taesdxl,
        Self::Taesd3,
        Self::Taef1,
        Self::Taef2,
        Self::Taesana,
    ];

    fn values(self) -> Values {
        let plain = |name, scaling, sample_size| Values {
            name,
            scaling,
            shift: None,
            statistics: None,
            sample_size,
            force_upcast: true,
            shapes: SD,
        };
        let tiny = |name, latent_channels| Values {
            shift: Some(0.0),
            force_upcast: false,
            shapes: Shapes { latent_channels, ..TINY },
            ..plain(name, 1.0, 512)
        };
        match self {
            Self::Sd => plain("sd", 0.18215, 512),
            Self::Sdxl => plain("sdxl", 0.13025, 1024),
            Self::SdxlFp16Fix => {
                Values { force_upcast: false, ..plain("sdxl-fp16-fix", 0.13025, 1024) }
            }
            Self::Sd3 => Values { shift: Some(0.0609), shapes: SD3, ..plain("sd3", 1.5305, 1024) },
            Self::Flux => {
                Values { shift: Some(0.1159), shapes: SD3, ..plain("flux", 0.3611, 1024) }
            }
            Self::Playground25 => Values {
                statistics: Some((
                    [-1.6574, 1.886, -1.383, 2.5155],
                    [8.4927, 5.9022, 6.5498, 5.2299],
                )),
                ..plain("playground-v2.5", 0.5, 1024)
            },
            Self::SdX4Upscaler => {
                let shapes = Shapes { levels: 3, ..SD };
                Values { shapes, ..plain("sd-x4-upscaler", 0.08333, 512) }
            }
            Self::CogView4 => {
                let shapes = Shapes { mid_attention: false, ..SD3 };
                Values { shift: Some(0.0), shapes, ..plain("cogview4", 1.0, 1024) }
            }
            Self::Flux2 => {
                let shapes = Shapes { family: "AutoencoderKLFlux2", latent_channels: 32, ..SD };
                Values { shapes, ..plain("flux2", 1.0, 1024) }
            }
            Self::Asymmetric => {
                let shapes = Shapes { family: "AsymmetricAutoencoderKL", ..SD };
                Values { shapes, force_upcast: false, ..plain("asymmetric", 0.18215, 512) }
            }
            Self::Taesd => tiny("taesd", 4),
            Self::Taesdxl => tiny("taesdxl", 4),
            Self::Taesd3 => tiny("taesd3", 16),
            Self::Taef1 => tiny("taef1", 16),
            Self::Taef2 => tiny("taef2", 32),
            Self::Taesana => {
                let shapes = Shapes { latent_channels: 32, levels: 6, ..TINY };
                Values { shapes, ..tiny("taesana", 32) }
            }
        }
    }

    /// The name: `sd`, `sdxl`, `sdxl-fp16-fix`, `sd3`, `flux`, `playground-v2.5`, `sd-x4-upscaler`,
    /// `cogview4`, `flux2`, `asymmetric`, `taesd`, `taesdxl`, `taesd3`, `taef1`, `taef2` or
    /// `taesana`.
    pub fn name(self) -> &'static str {
        self.values().name
    }

    /// Checks that a model can be of this family. Channels between the levels may differ: there are
    /// distilled models.
    ///
    /// # Errors
    /// `InvalidArgument`, naming what differs.
    pub(super) fn check(self, config: &Config) -> Result<()> {
        let Values { name, shapes, .. } = self.values();
        let flag = |there: bool| if there { "is there" } else { "is missing" };
        let levels = |levels: usize| format!("{levels} levels");
        let channels = |channels: usize| format!("{channels} latent channels");
        let attention = |there| format!("attention in the middle {}", flag(there));
        let quant = |there| format!("quant_conv {}", flag(there));
        let pool = |there| format!("pooling {}", flag(there));
        let kl = config.family.kl();
        let pools = |tiny: &TinyConfig| tiny.variant == TinyVariant::Flux2;
        let pairs = [
            (shapes.family.to_owned(), config.family.name().to_owned()),
            (channels(shapes.latent_channels), channels(config.latent_channels)),
            (levels(shapes.levels), levels(config.downscale().ilog2() as usize + 1)),
            (
                attention(shapes.mid_attention),
                attention(kl.is_some_and(|kl| kl.mid_block_add_attention)),
            ),
            // Of half a model only one of the two can be seen.
            (
                quant(shapes.quant_convs),
                quant(kl.is_some_and(|kl| kl.use_quant_conv || kl.use_post_quant_conv)),
            ),
            (pool(self == Self::Taef2), pool(config.family.tiny().is_some_and(pools))),
        ];
        match pairs.iter().find(|(expected, found)| expected != found) {
            Some((expected, found)) => {
                Err(Error::invalid(format!("preset {name}: {expected} expected, {found}")))
            }
            None => Ok(()),
        }
    }

    /// Sets the family's values.
    pub(super) fn apply(self, config: &mut Config) {
        let values = self.values();
        if matches!(config.family, Family::Flux2(_)) {
            // Its scaling is in its weights.
            config.sample_size = (values.sample_size, values.sample_size);
            return;
        }
        config.scaling_factor = values.scaling;
        config.shift_factor = values.shift;
        (config.latents_mean, config.latents_std) = match values.statistics {
            Some((mean, std)) => (Some(mean.to_vec()), Some(std.to_vec())),
            None => (None, None),
        };
        config.sample_size = (values.sample_size, values.sample_size);
        config.force_upcast = values.force_upcast;
    }
}

impl FromStr for Preset {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        let named = |preset: &Self| preset.name().eq_ignore_ascii_case(name);
        Self::ALL.into_iter().find(named).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|preset| preset.name()).collect();
            Error::invalid(format!(
                "preset: one of {} expected, \"{name}\" found",
                names.join(", ")
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_found_by_name_and_make_valid_configurations() {
        for preset in Preset::ALL {
            assert_eq!(preset.name().parse::<Preset>().unwrap(), preset);
            let mut config = Config::default();
            preset.apply(&mut config);
            config.validate().unwrap();
        }
        let message = "sd9".parse::<Preset>().unwrap_err().to_string();
        assert!(message.contains("sd9") && message.contains("playground-v2.5"), "{message}");
    }
}
