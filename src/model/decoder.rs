#![forbid(unsafe_code)]
//! The decoder: latents to a picture.

use super::blocks::{Network, Settings};
use super::weights::Decoder;
use crate::backend::{Backend, Resample, Slot};
use crate::base::error::Result;

/// Decodes raw latents (`F32`) into a picture (`F32`, unclamped), on any backend.
///
/// `post_quant_conv -> conv_in -> mid -> levels, lowest resolution first -> GroupNorm -> SiLU -> conv_out`
pub(crate) fn decode<B: Backend>(
    backend: &mut B,
    decoder: &Decoder,
    settings: Settings,
    latents: Slot,
) -> Result<Slot> {
    let mut network = Network::new(backend, settings);
    let mut x = latents;
    if let Some(conv) = &decoder.post_quant_conv {
        x = network.quant_conv(conv, x)?;
    }
    x = network.conv(&decoder.conv_in, x, Resample::Keep)?;
    x = network.mid(&decoder.mid, x)?;
    for level in &decoder.levels {
        x = network.level(level, x, Resample::Double)?;
    }
    network.head(&decoder.norm_out, &decoder.conv_out, x)
}
