#![forbid(unsafe_code)]
//! The decoder: latents to a picture, in one piece or, after what needs all of it, in tiles.

use super::blocks::{Network, Settings};
use super::weights::Decoder;
use super::window::Window;
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
    let x = front(backend, decoder, settings, latents)?;
    rest(backend, decoder, settings, None, x)
}

/// The first part of [`decode`]: all that needs the whole picture at hand, up to the last attention.
pub(crate) fn front<B: Backend>(
    backend: &mut B,
    decoder: &Decoder,
    settings: Settings,
    latents: Slot,
) -> Result<Slot> {
    let mut network = Network::new(backend, settings, None);
    let mut x = latents;
    if let Some(conv) = &decoder.post_quant_conv {
        x = network.quant_conv(conv, x)?;
    }
    x = network.conv(&decoder.conv_in, x, Resample::Keep)?;
    x = network.mid(&decoder.mid, x)?;
    for level in &decoder.levels[..front_levels(decoder)] {
        x = network.level(level, x, Resample::Double)?;
    }
    Ok(x)
}

/// The rest of [`decode`], which reads no further than [`halo`] around a pixel, but for the statistics of
/// its GroupNorms: of all, or of a tile with that much around it.
pub(crate) fn rest<B: Backend>(
    backend: &mut B,
    decoder: &Decoder,
    settings: Settings,
    window: Option<Window>,
    x: Slot,
) -> Result<Slot> {
    let mut network = Network::new(backend, settings, window);
    let (first, halos) = (front_levels(decoder), halos(decoder));
    let mut x = x;
    for (level, halo) in decoder.levels.iter().zip(&halos[1..]).skip(first) {
        x = network.resnets(level, x)?;
        if let Some(conv) = &level.resample {
            x = network.trim(x, before_doubling(*halo))?;
            x = network.conv(conv, x, Resample::Double)?;
        }
    }
    network.head(&decoder.norm_out, &decoder.conv_out, x)
}

/// Where a tile is in what [`rest`] gives.
pub(crate) fn picture_window(decoder: &Decoder, window: Window) -> Window {
    let halos = halos(decoder);
    let levels = decoder.levels.iter().zip(&halos[1..]).skip(front_levels(decoder));
    levels.filter(|(level, _)| level.resample.is_some()).fold(window, |window, (_, &halo)| {
        let (_, window) = window.trimmed(before_doubling(halo));
        window.doubled()
    })
}

/// How many levels are in the front.
fn front_levels(decoder: &Decoder) -> usize {
    let attends = decoder.levels.iter().rposition(|level| !level.attentions.is_empty());
    attends.map_or(0, |level| level + 1)
}

/// Doublings of the resolution in the front.
pub(crate) fn front_doublings(decoder: &Decoder) -> usize {
    let front = &decoder.levels[..front_levels(decoder)];
    front.iter().filter(|level| level.resample.is_some()).count()
}

/// Channels of what [`front`] gives.
pub(crate) fn front_channels(decoder: &Decoder) -> usize {
    let next = decoder.levels.get(front_levels(decoder));
    next.map_or(&decoder.norm_out, |level| &level.resnets[0].norm1).gamma.len()
}

/// Pixels around a tile of what [`front`] gives that the rest of the network reads.
pub(crate) fn halo(decoder: &Decoder) -> usize {
    halos(decoder)[front_levels(decoder)]
}

/// The same before each level, and before the last GroupNorm. SD's are 13, 12, 10, 7 and 1: a pixel for each
/// 3x3 convolution, half as many before a doubling.
fn halos(decoder: &Decoder) -> Vec<usize> {
    let mut halos = vec![1];
    for level in decoder.levels.iter().rev() {
        let after = halos[halos.len() - 1];
        let after = if level.resample.is_some() { before_doubling(after) } else { after };
        halos.push(after + 2 * level.resnets.len());
    }
    halos.reverse();
    halos
}

/// Pixels needed before the doubling of the resolution and the convolution after it, where `after` are needed
/// after.
fn before_doubling(after: usize) -> usize {
    (after + 1).div_ceil(2)
}
