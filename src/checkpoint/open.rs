#![forbid(unsafe_code)]
//! Opening a checkpoint: a folder, a single file or bytes in memory.

use std::collections::BTreeMap;
use std::path::Path;

use super::contents::Contents;
use super::file;
use super::folder::{self, Folder};
use super::format::{self, Format};
use super::hub;
use super::keys::{self, KeyLayout};
use super::raw_tensors::RawTensors;
use super::relatives;
use super::scales;
use super::tensor::Tensor;
use crate::base::buffer::Bytes;
use crate::base::error::{Error, Result};

/// The key of the configuration in the metadata of a file that was saved without a folder.
pub(crate) const CONFIG_KEY: &str = "vaekl.config";

/// The tensors of a checkpoint, the autoencoder's apart from the others.
pub(crate) struct Checkpoint {
    /// File or folder, for messages.
    pub(crate) source: String,
    /// The autoencoder's tensors under diffusers' names.
    pub(crate) tensors: BTreeMap<String, Tensor>,
    /// Names of all other tensors, as in the file.
    pub(crate) foreign: Vec<String>,
    /// The layout of the names.
    pub(crate) layout: KeyLayout,
    /// The prefix of the names.
    pub(crate) prefix: String,
    /// The text of `config.json`, and its path; or that in the file's metadata.
    pub(crate) config: Option<(String, String)>,
    /// The format of the weights.
    pub(crate) format: Format,
    /// Whether the file is mapped, or in memory.
    pub(crate) mapped: bool,
    /// The variant that was opened, such as `fp16`.
    pub(crate) variant: Option<String>,
}

impl Checkpoint {
    /// Opens a single file, the folder of an autoencoder or of a pipeline (with the autoencoder in
    /// `vae/`), or what the hub's cache has of `org/name`. With `mmap` files are
    /// mapped where the system can.
    ///
    /// # Errors
    /// `Io`, `Format`, or `Unsupported` for a checkpoint of another kind; the message names the
    /// file.
    pub(crate) fn open(path: &Path, variant: Option<&str>, mmap: bool) -> Result<Self> {
        let path = &*hub::resolve(path)?;
        let metadata = std::fs::metadata(path).map_err(|error| Error::io(path.display(), error))?;
        if metadata.is_dir() {
            let Folder { path, raw, format, mapped, config, variant } =
                Folder::read(path, variant, mmap)?;
            let source = path.display().to_string();
            let checkpoint = Self::new(source, raw, format)?;
            return Ok(Self { config, mapped, variant, ..checkpoint });
        }
        if let Some(variant) = variant {
            return Err(Error::invalid(format!(
                "variant \"{variant}\" was asked for, but {} is a file, not a folder",
                path.display()
            )));
        }
        let contents = file::open(path, mmap)?;
        let (raw, format) = format::parse(&contents).map_err(|e| e.within(path.display()))?;
        let checkpoint = Self::new(path.display().to_string(), raw, format)?;
        // The file's own is of this very file.
        let config = match checkpoint.config {
            Some(own) => Some(own),
            None => folder::config_beside(path)?,
        };
        Ok(Self { config, mapped: contents.is_memory(), ..checkpoint })
    }

    /// Whether the autoencoder has the half `encoder` or `decoder`.
    pub(crate) fn has_half(&self, half: &str) -> bool {
        let has = |first: &str| self.tensors.contains_key(&format!("{half}.{first}.weight"));
        has("conv_in") || has("layers.0")
    }

    /// Opens the bytes of a file.
    ///
    /// # Errors
    /// `Format`, or `Unsupported` for a checkpoint of another kind.
    pub(crate) fn from_bytes(bytes: Bytes) -> Result<Self> {
        let source = "checkpoint in memory";
        let contents = Contents::Memory(bytes);
        let (raw, format) = format::parse(&contents).map_err(|error| error.within(source))?;
        Self::new(source.into(), raw, format)
    }

    fn new(source: String, mut raw: RawTensors, format: Format) -> Result<Self> {
        let config = raw.metadata.remove(CONFIG_KEY);
        let config = config.map(|text| (text, "the file's metadata".to_owned()));
        let sorted = relatives::refuse(&raw)
            .and_then(|()| scales::apply(&mut raw))
            .and_then(|()| keys::sort(raw));
        let sorted = sorted.map_err(|error| error.within(&source))?;
        let keys::Sorted { tensors, foreign, layout, prefix } = sorted;
        let (variant, mapped) = (None, true);
        Ok(Self { source, tensors, foreign, layout, prefix, config, format, mapped, variant })
    }
}
