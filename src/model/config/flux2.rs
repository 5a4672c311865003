#![forbid(unsafe_code)]
//! The network of `AutoencoderKLFlux2`, and its statistics' settings.

use serde_json::{Value, json};

use super::fields::Fields;
use super::kl::KlConfig;
use crate::base::error::{Error, Result};

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
pub(super) const PATCH: usize = 2;

impl Flux2Config {
    pub(super) fn read(fields: &Fields<'_>) -> Result<Self> {
        let patch = fields.get("patch_size");
        if let Some(value) = patch
            && fields.some_counts("patch_size").ok().flatten().as_deref() != Some(&[PATCH; 2])
        {
            return Fields::wrong("patch_size", "[2, 2]", value);
        }
        let Self { network, batch_norm_eps: eps } = Self::default();
        Ok(Self {
            network: KlConfig::read(fields, network, true)?,
            batch_norm_eps: fields.number("batch_norm_eps")?.unwrap_or(eps),
        })
    }

    /// The fields as diffusers writes them.
    pub(super) fn to_json(&self) -> Value {
        let mut json = self.network.to_json(true);
        json["batch_norm_eps"] = json!(self.batch_norm_eps);
        // Of the training alone.
        json["batch_norm_momentum"] = json!(0.1);
        json["patch_size"] = json!([PATCH, PATCH]);
        json
    }

    pub(super) fn validate(&self) -> Result<()> {
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
