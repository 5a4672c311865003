#![forbid(unsafe_code)]
//! Opening a model: from a checkpoint and a configuration to the parameter tree.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::build::{Builder, Totals};
use super::config::Config;
use super::family::{Direction, Family};
use super::infer::{Guess, guess_family, infer};
use super::presets::Preset;
use crate::base::buffer::Bytes;
use crate::base::encoding::Encoding;
use crate::base::error::{Error, Result};
use crate::checkpoint::{Checkpoint, Layout, read_text};

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
    /// Scaling, shift and statistics of the latents: for a file without a configuration, or instead
    /// of what the configuration says.
    pub preset: Option<Preset>,
    /// Groups of the GroupNorms of a file without a configuration, 32 where it is not given. An
    /// error where there is a configuration, which has them.
    pub norm_num_groups: Option<usize>,
    /// Variant of a diffusers folder: `fp16` opens `diffusion_pytorch_model.fp16.safetensors`.
    pub variant: Option<String>,
}

impl ModelOptions {
    /// Sets [`ModelOptions::parts`].
    #[must_use]
    pub fn with_parts(self, parts: Parts) -> Self {
        Self { parts, ..self }
    }

    /// Sets [`ModelOptions::config_path`].
    #[must_use]
    pub fn with_config_path(self, config_path: impl Into<PathBuf>) -> Self {
        Self { config_path: Some(config_path.into()), ..self }
    }

    /// Sets [`ModelOptions::config`].
    #[must_use]
    pub fn with_config(self, config: Config) -> Self {
        Self { config: Some(config), ..self }
    }

    /// Sets [`ModelOptions::preset`].
    #[must_use]
    pub fn with_preset(self, preset: Preset) -> Self {
        Self { preset: Some(preset), ..self }
    }

    /// Sets [`ModelOptions::norm_num_groups`].
    #[must_use]
    pub fn with_norm_num_groups(self, norm_num_groups: usize) -> Self {
        Self { norm_num_groups: Some(norm_num_groups), ..self }
    }

    /// Sets [`ModelOptions::variant`].
    #[must_use]
    pub fn with_variant(self, variant: impl Into<String>) -> Self {
        Self { variant: Some(variant.into()), ..self }
    }
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
    pub dtypes: BTreeMap<Encoding, usize>,
    /// Tensors of the autoencoder.
    pub tensors: usize,
    /// Tensors in the checkpoint that are not the autoencoder's, left alone.
    pub foreign_tensors: usize,
    /// `diffusers` or `original`, with the prefix if there is one.
    pub layout: String,
    /// The variant that was opened, as `fp16`, where a folder has several or only that.
    pub variant: Option<String>,
    /// Where the configuration came from, for a person: a path, or "inferred from shapes".
    pub config_source: String,
    /// What of the configuration was guessed.
    pub guessed: Vec<Guess>,
}

impl ModelInfo {
    /// The guess that scaling, shift and statistics of the latents rest on, where they were
    /// guessed.
    pub fn guessed_scaling(&self) -> Option<&Guess> {
        self.guessed.iter().find(|guess| guess.is_of_scaling())
    }
}

struct Inner {
    config: Config,
    info: ModelInfo,
    family: Family,
}

/// An open autoencoder: immutable, cheap to clone, shared between threads and sessions.
#[derive(Clone)]
pub struct Model(Arc<Inner>);

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { config, info, .. } = &*self.0;
        f.debug_struct("Model").field("config", config).field("info", info).finish_non_exhaustive()
    }
}

impl Model {
    /// Opens a diffusers folder or a single `.safetensors` file, with default options. The file is
    /// mapped and must not change while the model, or a session of it, is in use.
    ///
    /// # Errors
    /// `Io` when the file cannot be opened, `Format` when it is not a checkpoint or corrupt,
    /// `Model` when a tensor is missing or misshapen; the message names file and tensor.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &ModelOptions::default())
    }

    /// [`Model::open`] with options.
    ///
    /// ```
    /// use vaekl::{Model, ModelOptions, Preset};
    ///
    /// // Instead of what the configuration says of the scaling of latents.
    /// let options = ModelOptions::default().with_preset(Preset::Flux);
    /// let model = Model::open_with("models/default", &options)?;
    /// assert_eq!(model.config().shift_factor, Some(0.1159));
    /// # Ok::<(), vaekl::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Model::open`], and `InvalidArgument` when an option cannot apply.
    pub fn open_with(path: impl AsRef<Path>, options: &ModelOptions) -> Result<Self> {
        Self::build(Checkpoint::open(path.as_ref(), options.variant.as_deref())?, options)
    }

    /// Opens the bytes of a `.safetensors` file in memory. The bytes are shared, not copied.
    ///
    /// ```
    /// use vaekl::{Config, Model, ModelOptions};
    ///
    /// let config = std::fs::read_to_string("models/default/config.json")?;
    /// let options = ModelOptions::default().with_config(Config::from_json(&config)?);
    /// let bytes = std::fs::read("models/default/diffusion_pytorch_model.safetensors")?;
    /// let model = Model::from_bytes(bytes, &options)?;
    /// assert!(model.info().guessed.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`Model::open_with`].
    pub fn from_bytes(
        bytes: impl AsRef<[u8]> + Send + Sync + 'static,
        options: &ModelOptions,
    ) -> Result<Self> {
        if options.variant.is_some() {
            return Err(Error::invalid("variant: a folder expected, bytes in memory found"));
        }
        Self::build(Checkpoint::from_bytes(Bytes::new(bytes))?, options)
    }

    fn build(checkpoint: Checkpoint, options: &ModelOptions) -> Result<Self> {
        let mut guessed = Vec::new();
        let (config, config_source) = configure(&checkpoint, options, &mut guessed)
            .map_err(|error| error.within(&checkpoint.source))?;
        let mut builder = Builder::new(&checkpoint, &config);
        let directions: &[Direction] = match options.parts {
            Parts::Both => &[Direction::Encode, Direction::Decode],
            Parts::Encoder => &[Direction::Encode],
            Parts::Decoder => &[Direction::Decode],
        };
        let family = Family::build(&mut builder, directions)?;
        let Totals { tensors, parameters, bytes, dtypes } = builder.totals();
        let layout = match checkpoint.layout {
            Layout::Diffusers => "diffusers",
            Layout::Original => "original",
        };
        let info = ModelInfo {
            parameters,
            weight_bytes: bytes,
            dtypes,
            tensors,
            foreign_tensors: checkpoint.foreign.len() + checkpoint.tensors.len() - tensors,
            layout: match checkpoint.prefix {
                "" => layout.into(),
                prefix => format!("{layout}, behind {prefix}"),
            },
            variant: checkpoint.variant,
            config_source,
            guessed,
        };
        Ok(Self(Arc::new(Inner { config, info, family })))
    }

    /// The configuration: read, given or inferred.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// What is known of the checkpoint.
    pub fn info(&self) -> &ModelInfo {
        &self.0.info
    }

    /// The weights.
    pub(super) fn family(&self) -> &Family {
        &self.0.family
    }
}

/// The configuration given, read or inferred, in this order, and where it came from.
fn configure(
    checkpoint: &Checkpoint,
    options: &ModelOptions,
    guessed: &mut Vec<Guess>,
) -> Result<(Config, String)> {
    let read = |text: &str, path: &str| Config::from_json(text).map_err(|error| error.within(path));
    let there = if let Some(config) = &options.config {
        config.validate()?;
        Some((config.clone(), "given".to_owned()))
    } else if let Some(path) = &options.config_path {
        let name = path.display().to_string();
        Some((read(&read_text(path)?, &name)?, name))
    } else if let Some((text, path)) = &checkpoint.config {
        Some((read(text, path)?, path.clone()))
    } else {
        None
    };
    let (mut config, mut source) = match (there, options.norm_num_groups) {
        (Some((config, source)), Some(groups)) => {
            return Err(Error::invalid(format!(
                "norm_num_groups: none expected beside a configuration ({source}), which has {}; \
                 {groups} found",
                config.norm_num_groups
            )));
        }
        (Some(there), None) => there,
        (None, groups) => {
            let mut config = infer(checkpoint, groups, guessed)?;
            if options.preset.is_none() {
                guess_family(checkpoint, &mut config, guessed);
            }
            (config, "inferred from shapes".to_owned())
        }
    };
    if let Some(preset) = options.preset {
        preset.apply(&mut config);
        config.validate()?;
        source = format!("{source}, with preset {}", preset.name());
    }
    Ok((config, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names every field, so that a new one does not compile until it has its method.
    #[test]
    fn every_option_has_a_method() {
        let config = Config { sample_size: (48, 64), ..Config::default() };
        let options = ModelOptions::default()
            .with_parts(Parts::Decoder)
            .with_config_path("config.json")
            .with_config(config.clone())
            .with_preset(Preset::Flux)
            .with_norm_num_groups(8)
            .with_variant("fp16");
        let ModelOptions { parts, config_path, config: set, preset, norm_num_groups, variant } =
            options;
        assert_eq!((parts, preset), (Parts::Decoder, Some(Preset::Flux)));
        assert_eq!(config_path, Some(PathBuf::from("config.json")));
        assert_eq!((set, norm_num_groups), (Some(config), Some(8)));
        assert_eq!(variant.as_deref(), Some("fp16"));
    }
}
