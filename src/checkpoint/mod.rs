//! Floor 5: bytes to named tensors.
//!
//! A [`Checkpoint`] is what a diffusers folder, a single file or bytes in memory hold: tensors
//! under the names that diffusers gives them today ([`keys`]), still in the file's own dtype and
//! memory, and the text of the configuration where there is one.

mod folder;
mod keys;
mod mmap;
mod safetensors;
mod tensor;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::base::buffer::Bytes;
use crate::base::error::{Error, ErrorKind, Result};

pub(crate) use keys::Layout;
pub(crate) use tensor::Tensor;

/// The tensors of a checkpoint, sorted by whether they are an autoencoder's.
pub(crate) struct Checkpoint {
    /// File or folder, for messages.
    pub(crate) source: String,
    /// The autoencoder's tensors under diffusers' names.
    pub(crate) tensors: BTreeMap<String, Tensor>,
    /// Names of all other tensors, as in the file.
    pub(crate) foreign: Vec<String>,
    /// How the names looked.
    pub(crate) layout: Layout,
    /// The prefix that stood before them.
    pub(crate) prefix: &'static str,
    /// The text of `config.json`, and its path.
    pub(crate) config: Option<(String, String)>,
    /// The variant that was opened, as `fp16`.
    pub(crate) variant: Option<String>,
}

/// Tensors as files have them, before their names are understood.
#[derive(Default)]
pub(crate) struct RawTensors {
    pub(crate) tensors: BTreeMap<String, Tensor>,
    /// Tensors of element types that weights cannot have, with the type's name.
    pub(crate) unsupported: BTreeMap<String, String>,
}

impl Checkpoint {
    /// Opens a diffusers folder (or a pipeline's, with the autoencoder in `vae/`) or a single file.
    ///
    /// # Errors
    /// `Io`, `Format`, or `Unsupported` for a checkpoint of another kind; the message names the
    /// file.
    pub(crate) fn open(path: &Path, variant: Option<&str>) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|error| cannot_open(path, error))?;
        if metadata.is_dir() {
            return folder::open(path, variant);
        }
        if let Some(variant) = variant {
            return Err(Error::invalid(format!(
                "variant \"{variant}\" was asked for, but {} is a file, not a folder",
                path.display()
            )));
        }
        let raw = safetensors::parse(mmap::map(path)?).map_err(|e| e.within(path.display()))?;
        Self::new(path.display().to_string(), raw, folder::config_beside(path)?, None)
    }

    /// Opens the bytes of a `.safetensors` file.
    ///
    /// # Errors
    /// As [`Checkpoint::open`].
    pub(crate) fn from_bytes(bytes: Bytes) -> Result<Self> {
        let source = "checkpoint in memory";
        let raw = safetensors::parse(bytes).map_err(|error| error.within(source))?;
        Self::new(source.into(), raw, None, None)
    }

    fn new(
        source: String,
        raw: RawTensors,
        config: Option<(String, String)>,
        variant: Option<String>,
    ) -> Result<Self> {
        let sorted = keys::sort(raw).map_err(|error| error.within(&source))?;
        let keys::Sorted { tensors, foreign, layout, prefix } = sorted;
        Ok(Self { source, tensors, foreign, layout, prefix, config, variant })
    }
}

fn cannot_open(path: &Path, error: std::io::Error) -> Error {
    Error::io(path.display(), error)
}

/// Reads a small text file, which may be a pipe.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    /// A configuration or an index is far below; a larger file, or a device without
    /// end, is something else.
    const MOST: u64 = 64 << 20;
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes))
        .map_err(|error| cannot_open(path, error))?;
    if bytes.len() as u64 > MOST {
        let message = format!("{}: over {MOST} bytes, too many for a JSON file", path.display());
        return Err(Error::format(message));
    }
    String::from_utf8(bytes)
        .map_err(|error| Error::format(format!("{}: not UTF-8: {error}", path.display())))
}

/// What to say of a file that is no safetensors file, by its first bytes.
fn other_format(bytes: &[u8]) -> Option<Error> {
    let unsupported = |what: &str| {
        Some(Error::new(ErrorKind::Unsupported, format!("{what}; convert it to .safetensors")))
    };
    match bytes {
        [b'P', b'K', 3, 4, ..] => unsupported("a PyTorch checkpoint (zip and pickle)"),
        [0x80, 2..=5, ..] => unsupported("a PyTorch checkpoint (pickle)"),
        [b'G', b'G', b'U', b'F', ..] => unsupported("a GGUF file"),
        [b'v', b'e', b'r', b's', b'i', b'o', b'n', b' ', b'h', ..] => {
            Some(Error::format("a Git LFS pointer, not the file it points to"))
        }
        [b'<', ..] => Some(Error::format("a web page, not a checkpoint")),
        _ => None,
    }
}
