//! The formats of latents, by extension.

use std::path::Path;

use crate::arrays::ContainerFormat;
use crate::failure::{Failure, Result};

/// A format that latents are written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LatentsFormat {
    /// NumPy's array, which says nothing of itself.
    Npy,
    /// NumPy's archive of arrays.
    Npz,
    /// safetensors.
    Safetensors,
    /// ComfyUI's: safetensors with names of its own, for raw latents.
    Latent,
}

impl LatentsFormat {
    /// The format to write `path` in.
    pub(crate) fn of(path: &Path) -> Result<Self> {
        match extension(path).as_str() {
            "npy" => Ok(Self::Npy),
            "npz" => Ok(Self::Npz),
            "safetensors" => Ok(Self::Safetensors),
            "latent" => Ok(Self::Latent),
            _ => {
                let what = "latents are written as .npy, .npz, .safetensors or .latent";
                Err(Failure::at(path, what))
            }
        }
    }

    /// The name, which is the extension.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Npy => "npy",
            Self::Npz => "npz",
            Self::Safetensors => "safetensors",
            Self::Latent => "latent",
        }
    }
}

/// What reads the latents in `path`.
pub(super) fn container(path: &Path) -> Result<ContainerFormat> {
    match extension(path).as_str() {
        "npy" => Ok(ContainerFormat::Npy),
        "npz" => Ok(ContainerFormat::Npz),
        "safetensors" | "latent" | "pt" | "pth" | "bin" => Ok(ContainerFormat::Tensors),
        _ => Err(Failure::at(
            path,
            "latents are read from .npy, .npz, .safetensors, .latent, .pt, .pth or .bin; convert \
             others in Python: numpy.save(\"latents.npy\", numpy.asarray(latents, \"float32\"))",
        )),
    }
}

fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}
