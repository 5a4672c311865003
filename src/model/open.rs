//! Opening a model: from a checkpoint and a configuration to the parameter tree.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use super::config::Config;
use super::weights::{Decoder, Encoder};
use crate::base::dtype::DType;
use crate::base::error::{Error, Result};

/// Which halves of the autoencoder a model needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Parts {
    /// Pictures to latents and latents to pictures.
    #[default]
    Both,
    /// Latents to pictures only; a checkpoint without an encoder will do.
    Decoder,
    /// Pictures to latents only; a checkpoint without a decoder will do.
    Encoder,
}

/// A family of models: what shapes cannot tell (scaling, shift, latent statistics, sample size).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Preset {
    /// Stable Diffusion 1.x and 2.x: scaling 0.18215.
    Sd,
}

impl FromStr for Preset {
    type Err = Error;
    fn from_str(_name: &str) -> Result<Self> {
        todo!()
    }
}

/// How to open a model. `ModelOptions::default()` reads everything the checkpoint has.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ModelOptions {
    /// Halves that must be there.
    pub parts: Parts,
    /// A `config.json` to use instead of the checkpoint's own or of inferring one.
    pub config_path: Option<PathBuf>,
    /// A configuration to use instead of any file's.
    pub config: Option<Config>,
    /// Scaling, shift and latent statistics for a file without a configuration.
    pub preset: Option<Preset>,
    /// Variant of a diffusers folder: `fp16` opens `diffusion_pytorch_model.fp16.safetensors`.
    pub variant: Option<String>,
}

/// What is known of an open model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelInfo {
    /// Parameters of the autoencoder.
    pub parameters: u64,
    /// Bytes of these parameters in the checkpoint's own dtypes (mapped, not resident).
    pub weight_bytes: u64,
    /// Tensors of each dtype.
    pub dtypes: BTreeMap<DType, usize>,
    /// Tensors of the autoencoder.
    pub tensors: usize,
    /// Tensors in the checkpoint that are not the autoencoder's, left alone.
    pub foreign_tensors: usize,
    /// `diffusers` or `original`, with the prefix if there is one.
    pub layout: String,
    /// Where the configuration came from, for a person: "config.json", "inferred from shapes".
    pub config_source: String,
    /// Fields of the configuration that were guessed, each with the reason.
    pub guessed: Vec<String>,
}

struct Inner {
    config: Config,
    info: ModelInfo,
    encoder: Option<Encoder>,
    decoder: Option<Decoder>,
}

/// An open autoencoder: immutable, cheap to clone, shared between threads and sessions.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

impl Model {
    /// Opens a diffusers folder or a single `.safetensors` file, with default options.
    ///
    /// # Errors
    /// `Io` when the file cannot be opened, `Format` when it is not a checkpoint or corrupt, `Model`
    /// when a tensor is missing or misshapen; the message names file and tensor.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &ModelOptions::default())
    }

    /// [`Model::open`] with options.
    ///
    /// # Errors
    /// As [`Model::open`], and `InvalidArgument` when an option cannot apply.
    pub fn open_with(path: impl AsRef<Path>, options: &ModelOptions) -> Result<Self> {
        let _ = (path, options);
        todo!()
    }

    /// Opens the bytes of a `.safetensors` file in memory. The bytes are shared, not copied.
    ///
    /// # Errors
    /// As [`Model::open_with`].
    pub fn from_bytes(
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
        options: &ModelOptions,
    ) -> Result<Self> {
        let _ = (bytes, options);
        todo!()
    }

    /// The configuration: read, given or inferred.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// What is known of the checkpoint.
    pub fn info(&self) -> &ModelInfo {
        &self.0.info
    }

    /// The encoder, or an error where the model was opened without it.
    pub(crate) fn need_encoder(&self) -> Result<&Encoder> {
        self.0.encoder.as_ref().ok_or_else(|| Error::model("the model was opened without its encoder"))
    }

    /// The decoder, or an error where the model was opened without it.
    pub(crate) fn need_decoder(&self) -> Result<&Decoder> {
        self.0.decoder.as_ref().ok_or_else(|| Error::model("the model was opened without its decoder"))
    }
}
