#![forbid(unsafe_code)]
//! Opens a model: a checkpoint and a configuration become the parameter tree.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::builder::{Builder, Totals};
use super::check;
use super::config::{Config, Family};
use super::family::{Direction, Weights};
use super::fingerprint::fingerprint;
use super::flux2;
use super::guess::Guess;
use super::infer::{guess_preset, infer};
use super::presets::Preset;
use crate::base::buffer::Bytes;
use crate::base::encoding::Encoding;
use crate::base::error::{Error, Result};
use crate::base::visible::visible;
use crate::base::watched_file::WatchedFile;
use crate::checkpoint::{Checkpoint, MOST_CONFIG, Tensor, read_text};

/// Which halves of the autoencoder to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Parts {
    /// Encoder and decoder.
    #[default]
    Both,
    /// The decoder only; the checkpoint needs no encoder.
    Decoder,
    /// The encoder only; the checkpoint needs no decoder.
    Encoder,
    /// The halves that the checkpoint has; [`Model::parts`] tells which.
    Present,
}

/// Options for opening a model. `ModelOptions::default()` opens both halves, with the checkpoint's
/// own configuration if it has one.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct ModelOptions {
    /// Halves to open. An error if the checkpoint lacks one.
    pub parts: Parts,
    /// Path of a `config.json` to use. Default: the checkpoint's own, or inferred from shapes.
    pub config_path: Option<PathBuf>,
    /// A configuration to use instead of a file's.
    pub config: Option<Config>,
    /// A model family. Sets scaling, shift and statistics of the latents, which shapes do not tell,
    /// and overrides the configuration. Default: guessed if the checkpoint has no configuration.
    pub preset: Option<Preset>,
    /// Groups of each GroupNorm, for a file without a configuration; default 32. An error if there
    /// is a configuration, which has them.
    pub norm_num_groups: Option<usize>,
    /// Variant of a diffusers folder: `fp16` opens `diffusion_pytorch_model.fp16.safetensors`.
    pub variant: Option<String>,
    /// Whether to read files, a layer at a time, instead of mapping them. A file that changes is
    /// then an error, whatever happens to it. Files that the system cannot map are read in any
    /// case.
    pub disable_mmap: bool,
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

    /// Sets [`ModelOptions::disable_mmap`].
    #[must_use]
    pub fn with_disable_mmap(self, disable_mmap: bool) -> Self {
        Self { disable_mmap, ..self }
    }
}

/// Properties of an open model.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ModelInfo {
    /// Number of parameters.
    pub parameters: u64,
    /// Size of the parameters in bytes, in the checkpoint's own types.
    pub weight_bytes: u64,
    /// Number of tensors of each type.
    pub dtypes: BTreeMap<Encoding, usize>,
    /// Number of tensors of the autoencoder.
    pub tensors: usize,
    /// Number of tensors in the checkpoint that are not the autoencoder's, which are ignored.
    pub foreign_tensors: usize,
    /// The autoencoder's tensors that a given or read configuration leaves out, as in the file.
    /// Without a configuration such a tensor is an error.
    pub unused_tensors: Vec<String>,
    /// Format of the weights, such as `safetensors`.
    pub format: String,
    /// Whether the weights are mapped or in memory; otherwise they are read from their file, a
    /// layer at a time.
    pub mapped: bool,
    /// Layout of the checkpoint: `diffusers` or `original`, with the prefix of the names if any.
    pub layout: String,
    /// The variant opened, such as `fp16`; `None` for weights that are not a variant.
    pub variant: Option<String>,
    /// 16 hexadecimal digits made of the values of biases and norms, without reading the weights.
    /// Equal for a model in any layout and format, and for a part of [`Parts`], as long as the file
    /// has the same of these vectors, with equal values as f32: a copy in f16 has another.
    pub fingerprint: String,
    /// Source of the configuration, for a person: a path, or "inferred from shapes".
    pub config_source: String,
    /// The family: the name of diffusers' class, such as `AutoencoderTiny`.
    pub family: String,
    /// What tells the family, for a person: the class in a configuration, or a tensor.
    pub family_source: String,
    /// The parts of the configuration that were guessed.
    pub guessed: Vec<Guess>,
}

impl ModelInfo {
    /// What a host should tell its user: guesses, and weights that are left out. A line each, with
    /// names [`visible`].
    pub fn notices(&self) -> Vec<String> {
        let mut notices: Vec<_> =
            self.guessed.iter().map(|guess| format!("guessed {guess}")).collect();
        if let Some(first) = self.unused_tensors.first() {
            let (count, source) = (self.unused_tensors.len(), &self.config_source);
            notices.push(format!(
                "{count} tensors of the autoencoder are not in the configuration ({source}) and \
                 are ignored, such as {first}"
            ));
        }
        notices.iter().map(|notice| visible(notice).into_owned()).collect()
    }
}

struct Inner {
    config: Config,
    info: ModelInfo,
    weights: Weights,
    /// The tensors that `weights` has, for saving.
    tensors: BTreeMap<String, Tensor>,
    /// The text of the configuration, if it is the checkpoint's own and nothing overrides it.
    config_text: Option<String>,
    /// The files that the tensors are in.
    files: Vec<Arc<WatchedFile>>,
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
    /// Opens a checkpoint of any format with default options: a file, a diffusers folder, or what
    /// the local cache of the Hugging Face hub has of `org/name`. Its files are mapped: they must
    /// not change while the model or a session of it exists. One that is truncated ends the process
    /// with SIGBUS when a call reads what is gone. A file that was written in place before a call
    /// or during it makes the call fail with `Io`. Replacing a file by renaming another over it,
    /// and removing it, is harmless. With [`ModelOptions::disable_mmap`] every change is an error
    /// at most.
    ///
    /// # Errors
    /// `Io` if the file cannot be opened or changes meanwhile, `Format` if it is not a checkpoint
    /// or is corrupt, `Model` if a tensor is missing, has a wrong shape, or has a bias or a norm's
    /// number that is not finite. The message names file and tensor.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path, &ModelOptions::default())
    }

    /// Opens a checkpoint, like [`Model::open`], with options.
    ///
    /// ```
    /// use vaekl::{Model, ModelOptions, Parts};
    ///
    /// let options = ModelOptions::default().with_parts(Parts::Decoder);
    /// let model = Model::open_with("cli/model", &options)?;
    /// assert_eq!(model.config().latent_channels, 16);
    /// # Ok::<(), vaekl::Error>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Model::open`], and `InvalidArgument` if an option does not apply.
    pub fn open_with(path: impl AsRef<Path>, options: &ModelOptions) -> Result<Self> {
        let (variant, mmap) = (options.variant.as_deref(), !options.disable_mmap);
        Self::build(Checkpoint::open(path.as_ref(), variant, mmap)?, options)
    }

    /// Opens a file of any format in memory. The bytes are shared, not copied.
    ///
    /// ```
    /// use vaekl::{Config, Model, ModelOptions};
    ///
    /// let config = std::fs::read_to_string("cli/model/config.json")?;
    /// let options = ModelOptions::default().with_config(Config::from_json(&config)?);
    /// let bytes = std::fs::read("cli/model/diffusion_pytorch_model.safetensors")?;
    /// let model = Model::from_bytes(bytes, &options)?;
    /// assert!(model.info().guessed.is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Those of [`Model::open_with`].
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
        let directions: &[Direction] = match options.parts {
            Parts::Both => &[Direction::Encode, Direction::Decode],
            Parts::Encoder => &[Direction::Encode],
            Parts::Decoder => &[Direction::Decode],
            Parts::Present => {
                match (checkpoint.has_half("encoder"), checkpoint.has_half("decoder")) {
                    (true, false) => &[Direction::Encode],
                    (false, true) => &[Direction::Decode],
                    _ => &[Direction::Encode, Direction::Decode],
                }
            }
        };
        let mut guessed = Vec::new();
        let Configured { mut config, source: config_source, family_source } =
            configure(&checkpoint, options, &mut guessed)
                .map_err(|error| error.within(&checkpoint.source))?;
        let inferred = options.config.is_none()
            && options.config_path.is_none()
            && checkpoint.config.is_none();
        let mut builder = Builder::new(&checkpoint, config.family.name());
        let weights = Weights::build(&mut builder, &config, directions)?;
        if let Family::Flux2(flux2) = config.family.clone() {
            flux2::read_statistics(&mut builder, &mut config, &flux2)?;
        }
        let unused = check::unused(&checkpoint, |name| builder.used(name), directions)?;
        if inferred {
            check::absences(&checkpoint, &config, directions)?;
            check::none_unused(&checkpoint, &config, &unused)?;
        }
        let overridden =
            options.config.is_some() || options.config_path.is_some() || options.preset.is_some();
        // The class of Flax has a text that means something else to diffusers' own.
        let of_another_class = |text: &str| text.contains("FlaxAutoencoderKL");
        let own = checkpoint.config.as_ref();
        let own = own.filter(|(text, _)| !overridden && !of_another_class(text));
        let (saved, config_text) = (builder.tensors(), own.map(|(text, _)| text.clone()));
        let fingerprint =
            fingerprint(&checkpoint).map_err(|error| error.within(&checkpoint.source))?;
        let Totals { tensors, parameters, bytes, dtypes } = builder.totals();
        let layout = checkpoint.layout.name();
        let info = ModelInfo {
            parameters,
            weight_bytes: bytes,
            dtypes,
            tensors,
            foreign_tensors: checkpoint.foreign.len(),
            unused_tensors: unused,
            format: checkpoint.format.name().to_owned(),
            mapped: checkpoint.mapped,
            layout: match &*checkpoint.prefix {
                "" => layout.into(),
                prefix => format!("{layout}, behind {prefix}"),
            },
            variant: checkpoint.variant,
            fingerprint,
            config_source,
            family: config.family.name().to_owned(),
            family_source,
            guessed,
        };
        let mut files = Vec::new();
        saved.values().for_each(|tensor| tensor.contents.add_files(&mut files));
        let inner = Inner { config, info, weights, tensors: saved, config_text, files };
        let model = Self(Arc::new(inner));
        // What was read of them so far too.
        model.check_files()?;
        Ok(model)
    }

    /// The configuration: read, given or inferred.
    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// The halves that are open, never [`Parts::Present`].
    pub fn parts(&self) -> Parts {
        let has = |direction| self.network(direction).is_ok();
        match (has(Direction::Encode), has(Direction::Decode)) {
            (true, false) => Parts::Encoder,
            (false, true) => Parts::Decoder,
            _ => Parts::Both,
        }
    }

    /// Properties of the model and its checkpoint.
    pub fn info(&self) -> &ModelInfo {
        &self.0.info
    }

    /// Fails if a file of the weights was written since it was opened: before a call, which then
    /// reads nothing of it, and after one, whose result is then worth nothing.
    ///
    /// # Errors
    /// `Io`, naming the file.
    pub(crate) fn check_files(&self) -> Result<()> {
        self.0.files.iter().try_for_each(|file| file.check())
    }

    /// The tensors of the model under diffusers' names, as the checkpoint has them.
    pub(super) fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.0.tensors
    }

    /// The text of the checkpoint's configuration, if it is the model's.
    pub(super) fn config_text(&self) -> Option<&str> {
        self.0.config_text.as_deref()
    }

    /// The weights.
    pub(super) fn weights(&self) -> &Weights {
        &self.0.weights
    }
}

/// A configuration, and what it was made of, for a person.
struct Configured {
    config: Config,
    source: String,
    family_source: String,
}

/// The configuration given, read or inferred, in this order, and where it came from.
fn configure(
    checkpoint: &Checkpoint,
    options: &ModelOptions,
    guessed: &mut Vec<Guess>,
) -> Result<Configured> {
    let read = |text: &str, path: &str| Config::from_json(text).map_err(|error| error.within(path));
    let there = if let Some(config) = &options.config {
        config.validate()?;
        Some((config.clone(), "given".to_owned()))
    } else if let Some(path) = &options.config_path {
        let name = path.display().to_string();
        Some((read(&read_text(path, MOST_CONFIG)?, &name)?, name))
    } else if let Some((text, path)) = &checkpoint.config {
        Some((read(text, path)?, path.clone()))
    } else {
        None
    };
    let mut configured = match (there, options.norm_num_groups) {
        (Some((config, source)), Some(groups)) => {
            let has = config.family.kl().map_or(0, |kl| kl.norm_num_groups);
            return Err(Error::invalid(format!(
                "norm_num_groups: none expected beside a configuration ({source}), which has \
                 {has}; {groups} found"
            )));
        }
        (Some((config, source)), None) => {
            let family_source = format!("the configuration: {source}");
            Configured { config, source, family_source }
        }
        (None, groups) => {
            let (mut config, tensor) = infer(checkpoint, groups, guessed)?;
            if options.preset.is_none() {
                guess_preset(checkpoint, &mut config, guessed);
            }
            let (source, family_source) =
                ("inferred from shapes".to_owned(), format!("tensor {tensor}"));
            Configured { config, source, family_source }
        }
    };
    if let Some(preset) = options.preset {
        preset.check(&configured.config)?;
        preset.apply(&mut configured.config);
        configured.config.validate()?;
        configured.source = format!("{}, with preset {}", configured.source, preset.name());
    }
    Ok(configured)
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
            .with_variant("fp16")
            .with_disable_mmap(true);
        let ModelOptions {
            parts,
            config_path,
            config: set,
            preset,
            norm_num_groups,
            variant,
            disable_mmap,
        } = options;
        assert!(disable_mmap);
        assert_eq!((parts, preset), (Parts::Decoder, Some(Preset::Flux)));
        assert_eq!(config_path, Some(PathBuf::from("config.json")));
        assert_eq!((set, norm_num_groups), (Some(config), Some(8)));
        assert_eq!(variant.as_deref(), Some("fp16"));
    }
}
