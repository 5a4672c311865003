#![forbid(unsafe_code)]
//! What the calls of a session give.

use ndarray::Array4;

use super::plan::Plan;
use crate::base::error::Error;
use crate::latents::Encoded;
use crate::model::Config;
use crate::model::network::Direction;

/// The result of [`Session::decode`](crate::Session::decode); diffusers' `DecoderOutput`.
#[derive(Clone, Debug)]
pub struct DecoderOutput {
    /// Pictures `[batch, out_channels, height, width]` in about [-1, 1], unclamped.
    pub sample: Array4<f32>,
    /// What each picture's decode needed.
    pub plan: Plan,
}

/// The result of [`Session::encode`](crate::Session::encode); diffusers' `AutoencoderKLOutput`, or
/// `AutoencoderTinyOutput`.
#[derive(Clone, Debug)]
pub struct EncoderOutput {
    /// The posterior over latents, or latents.
    pub encoded: Encoded,
    /// What each picture's encode needed.
    pub plan: Plan,
}

/// How a call gives its result.
#[derive(Clone, Copy)]
pub(super) enum Returned {
    /// As arrays that it allocates.
    Arrays,
    /// As those, of a decode with a mask.
    Masked,
    /// Row by row.
    Rows,
}

impl Returned {
    /// Bytes of the arrays for `batch` inputs of `height` x `width`.
    pub(super) fn bytes(
        self,
        config: &Config,
        direction: Direction,
        [batch, height, width]: [usize; 3],
    ) -> u64 {
        let side = |length: usize| match direction {
            Direction::Decode => length.saturating_mul(config.downscale()),
            Direction::Encode => config.encoded_length(length),
        };
        let channels = match (self, direction) {
            (Self::Rows, _) => 0,
            (_, Direction::Decode) => config.out_channels,
            (_, Direction::Encode) => config.encoded_channels(),
        };
        let factors = [batch, channels, side(height), side(width), size_of::<f32>()];
        factors.iter().fold(1, |all: u64, &n| all.saturating_mul(n as u64))
    }
}

/// Adds the picture's index in its batch to an error.
pub(super) fn of_batch(error: Error, index: usize, batch: usize) -> Error {
    if batch > 1 { error.within(format_args!("{index} of the batch of {batch}")) } else { error }
}
