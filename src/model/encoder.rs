#![forbid(unsafe_code)]
//! The encoder: a picture to the moments of its posterior.

use super::blocks::{Network, Settings};
use super::weights::Encoder;
use crate::backend::{Backend, Resample, Slot};
use crate::base::error::Result;

/// Encodes a picture (`F32`) into moments (`F32`: mean, then log-variance), on any backend.
///
/// `conv_in -> levels, highest resolution first -> mid -> GroupNorm -> SiLU -> conv_out -> quant_conv`
pub(crate) fn encode<B: Backend>(
    backend: &mut B,
    encoder: &Encoder,
    settings: Settings,
    picture: Slot,
) -> Result<Slot> {
    let mut network = Network::new(backend, settings, None);
    let mut x = network.conv(&encoder.conv_in, picture, Resample::Keep)?;
    for level in &encoder.levels {
        x = network.level(level, x, Resample::Halve)?;
    }
    x = network.mid(&encoder.mid, x)?;
    x = network.head(&encoder.norm_out, &encoder.conv_out, x)?;
    match &encoder.quant_conv {
        Some(conv) => network.quant_conv(conv, x),
        None => Ok(x),
    }
}
