#![forbid(unsafe_code)]
//! The families of autoencoders: the weights of a model and the blocks of its networks.
//!
//! A new family is one more arm in each function here, with its own lists of blocks. `config.rs`
//! names its configuration.

use super::build::Builder;
use super::steps::Block;
use super::weights::{Decoder, Encoder};
use super::{decoder, encoder};
use crate::base::error::{Error, Result};

/// The direction of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    /// Latents to a picture.
    Decode,
    /// A picture to the moments of its posterior.
    Encode,
}

/// The weights of a model, by family.
pub(super) enum Family {
    /// `AutoencoderKL`. A half is `None` if the model was opened without it.
    Kl { encoder: Option<Encoder>, decoder: Option<Decoder> },
}

impl Family {
    /// Takes the weights for `directions` from a checkpoint.
    ///
    /// # Errors
    /// `Model`, naming the first tensor that is missing or has a wrong shape.
    pub(super) fn build(builder: &mut Builder<'_>, directions: &[Direction]) -> Result<Self> {
        let wanted = |direction| directions.contains(&direction);
        let encoder = wanted(Direction::Encode).then(|| builder.encoder()).transpose()?;
        let decoder = wanted(Direction::Decode).then(|| builder.decoder()).transpose()?;
        Ok(Self::Kl { encoder, decoder })
    }

    /// The blocks of the network of `direction`.
    ///
    /// # Errors
    /// `Model` if the model was opened without it.
    pub(super) fn blocks(&self, direction: Direction) -> Result<Vec<Block<'_>>> {
        let without = |half| Error::model(format!("the model was opened without its {half}"));
        let Self::Kl { encoder, decoder } = self;
        Ok(match direction {
            Direction::Encode => {
                encoder::blocks(encoder.as_ref().ok_or_else(|| without("encoder"))?)
            }
            Direction::Decode => {
                decoder::blocks(decoder.as_ref().ok_or_else(|| without("decoder"))?)
            }
        })
    }
}
