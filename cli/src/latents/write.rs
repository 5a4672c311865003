//! Latents to a file that says what they are.

use std::collections::BTreeMap;

use ndarray::ArrayView4;

use super::choose::COMFY;
use super::format::LatentsFormat;
use super::label::Label;
use super::read::COMFY_RAW;
use crate::arrays::{write_npy, write_npz, write_safetensors};
use crate::failure::Result;
use crate::output::Target;

/// What is written.
pub(crate) struct Written<'a> {
    /// `[batch, channels, h, w]`.
    pub(crate) latents: ArrayView4<'a, f32>,
    /// The name of the tensor, in the formats where it is free.
    pub(crate) name: &'a str,
    pub(crate) label: &'a Label,
}

/// Writes latents as `f32`.
pub(crate) fn write(target: &mut Target<LatentsFormat>, written: &Written<'_>) -> Result<()> {
    let Written { latents, name, label } = *written;
    let (texts, format) = (label.texts(), target.format());
    target.write(|file| match format {
        LatentsFormat::Npy => write_npy(file, latents.shape(), latents.iter().copied()),
        LatentsFormat::Npz => write_npz(file, &texts, name, latents),
        LatentsFormat::Safetensors => write_safetensors(file, &torch(texts), name, latents, None),
        LatentsFormat::Latent => {
            write_safetensors(file, &torch(texts), COMFY, latents, Some(COMFY_RAW))
        }
    })
}

/// `texts` with the entry that torch's and transformers' files have.
fn torch(mut texts: BTreeMap<String, String>) -> BTreeMap<String, String> {
    texts.insert("format".into(), "pt".into());
    texts
}
