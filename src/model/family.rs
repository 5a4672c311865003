#![forbid(unsafe_code)]
//! The weights of a model, by family, and the blocks of its networks.
//!
//! A new family is one more arm in each function here, with its own lists of blocks (`kl/`,
//! `tiny/`). `config/` names its configuration.

use super::builder::Builder;
use super::config::{Config, Family, Flux2Config};
use super::kl::{self, KlBuilder};
use super::steps::Block;
use super::tiny::{self, TinyBuilder};
use super::weights::kl::{Decoder, Encoder};
use super::weights::tiny::Half;
use crate::base::error::{Error, Result};

/// The direction of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Latents to a picture.
    Decode,
    /// A picture to the moments of its posterior, or to latents.
    Encode,
}

/// The weights of a model. A half is `None` if the model was opened without it.
pub(super) enum Weights {
    /// `AutoencoderKL`, `AutoencoderKLFlux2` and `AsymmetricAutoencoderKL`.
    Kl { encoder: Option<Box<Encoder>>, decoder: Option<Box<Decoder>> },
    /// `AutoencoderTiny`.
    Tiny { encoder: Option<Box<Half>>, decoder: Option<Box<Half>> },
}

impl Weights {
    /// Takes the weights for `directions` from a checkpoint.
    ///
    /// # Errors
    /// `Model`, naming the first tensor that is missing or has a wrong shape.
    pub(super) fn build(
        builder: &mut Builder<'_>,
        config: &Config,
        directions: &[Direction],
    ) -> Result<Self> {
        let wanted = |direction| directions.contains(&direction);
        let (encodes, decodes) = (wanted(Direction::Encode), wanted(Direction::Decode));
        Ok(match &config.family {
            Family::Tiny(network) => {
                let mut tiny = TinyBuilder::new(builder, config, network);
                Self::Tiny {
                    encoder: encodes.then(|| tiny.encoder()).transpose()?.map(Box::new),
                    decoder: decodes.then(|| tiny.decoder()).transpose()?.map(Box::new),
                }
            }
            Family::Kl(network)
            | Family::Asymmetric(network)
            | Family::Flux2(Flux2Config { network, .. }) => {
                let mut kl = KlBuilder::new(builder, config, network);
                Self::Kl {
                    encoder: encodes.then(|| kl.encoder()).transpose()?.map(Box::new),
                    decoder: decodes.then(|| kl.decoder()).transpose()?.map(Box::new),
                }
            }
        })
    }

    /// The blocks of the network of `direction`; with what a mask needs if the decode has one.
    ///
    /// # Errors
    /// `Model` if the model was opened without it.
    pub(super) fn blocks(&self, direction: Direction, masked: bool) -> Result<Vec<Block<'_>>> {
        let without = |half| Error::model(format!("the model was opened without its {half}"));
        let (no_encoder, no_decoder) = (|| without("encoder"), || without("decoder"));
        Ok(match (self, direction) {
            (Self::Kl { encoder, .. }, Direction::Encode) => {
                kl::encoder::blocks(encoder.as_deref().ok_or_else(no_encoder)?)?
            }
            (Self::Kl { decoder, .. }, Direction::Decode) => {
                kl::decoder::blocks(decoder.as_deref().ok_or_else(no_decoder)?, masked)?
            }
            (Self::Tiny { encoder, .. }, Direction::Encode) => {
                tiny::encoder(encoder.as_deref().ok_or_else(no_encoder)?)?
            }
            (Self::Tiny { decoder, .. }, Direction::Decode) => {
                tiny::decoder(decoder.as_deref().ok_or_else(no_decoder)?)?
            }
        })
    }
}
