#![forbid(unsafe_code)]
//! The formats of checkpoints, each known by its first bytes.

use super::contents::Contents;
use super::raw_tensors::RawTensors;
use super::{flax, gguf, pickle, safetensors};
use crate::base::error::{Error, ErrorKind, Result};

/// A format of files with tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Safetensors,
    PytorchZip,
    PytorchLegacy,
    Gguf,
    Flax,
}

/// Bytes of a file that tell its format; a tar archive has its mark at 257.
const HEAD: u64 = 262;

impl Format {
    /// The name for people.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Safetensors => "safetensors",
            Self::PytorchZip => "PyTorch (zip)",
            Self::PytorchLegacy => "PyTorch (legacy)",
            Self::Gguf => "GGUF",
            Self::Flax => "Flax msgpack",
        }
    }

    /// The format of a file by its first bytes.
    ///
    /// # Errors
    /// `Format` or `Unsupported`, saying what the file is instead.
    fn of(contents: &Contents) -> Result<Self> {
        let head = contents.slice(0..contents.len().min(HEAD)).expect("in bounds");
        let head = head.read()?;
        let unsupported = |what: &'static str| Err(Error::new(ErrorKind::Unsupported, what));
        match &*head {
            [] => Err(Error::format("the file is empty")),
            // The length of the header is below 4 GB, and the header is an object.
            [_, _, _, _, 0, 0, 0, 0, b'{', ..] => Ok(Self::Safetensors),
            [b'P', b'K', 3, 4, ..] => Ok(Self::PytorchZip),
            [b'P', b'K', 5, 6, ..] => Err(Error::format("a zip archive without entries")),
            // A pickle of protocol 2 or newer.
            [0x80, 2..=5, ..] => Ok(Self::PytorchLegacy),
            [b'G', b'G', b'U', b'F', ..] => Ok(Self::Gguf),
            // A map with a name first, or a map or list of many values.
            [0x81..=0x8f, 0xa1..=0xbf | 0xd9 | 0xda, ..] | [0xdc..=0xdf, ..] => Ok(Self::Flax),
            [b'v', b'e', b'r', b's', b'i', b'o', b'n', b' ', b'h', ..] => {
                Err(Error::format("a Git LFS pointer, not the file it points to"))
            }
            [b'<', ..] => Err(Error::format("a web page, not a checkpoint")),
            [0x89, b'H', b'D', b'F', ..] => {
                unsupported("an HDF5 file, which is of no format with an AutoencoderKL")
            }
            head if head.get(257..).is_some_and(|mark| mark.starts_with(b"ustar")) => unsupported(
                "a tar archive, as PyTorch wrote before 0.2: save it anew by torch.save",
            ),
            // Its reader says best why it is none.
            _ => Ok(Self::Safetensors),
        }
    }
}

/// The tensors of a file of any format, and the format. Tensors share `contents`.
///
/// # Errors
/// `Format` if the file is of no format or corrupt, `Unsupported` if it is of one that is not read.
pub(super) fn parse(contents: &Contents) -> Result<(RawTensors, Format)> {
    let format = Format::of(contents)?;
    let raw = match format {
        Format::Safetensors => safetensors::parse(contents),
        Format::PytorchZip => pickle::parse_archive(contents),
        Format::PytorchLegacy => pickle::parse_legacy(contents),
        Format::Gguf => gguf::parse(contents),
        Format::Flax => flax::parse(contents),
    }?;
    Ok((raw, format))
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::base::buffer::Bytes;
    use crate::base::watched_file::WatchedFile;
    use crate::base::weight::WeightSource;

    /// A file that cannot be mapped gives the same tensors, and only its header is read at first.
    #[test]
    fn tensors_of_a_file_are_those_of_its_bytes() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
        for (name, format) in [
            ("flax/diffusion_flax_model.msgpack", Format::Flax),
            ("flax_state/model.msgpack", Format::Flax),
            ("gguf/model.gguf", Format::Gguf),
            ("scaled_fp8/diffusion_pytorch_model.safetensors", Format::Safetensors),
        ] {
            let path = data.join(name);
            let bytes = Contents::Memory(Bytes::new(std::fs::read(&path).unwrap()));
            let file = Contents::file(Arc::new(WatchedFile::open(&path).unwrap()));
            let ((found, of_file), (expected, of_bytes)) =
                (parse(&file).unwrap(), parse(&bytes).unwrap());
            assert_eq!((of_file, of_bytes), (format, format), "{name}");
            assert!(found.tensors.keys().eq(expected.tensors.keys()), "{name}");
            assert!(found.tensors.len() > 50, "{name}");
            assert_eq!(found.metadata, expected.metadata, "{name}");
            for (tensor, expected) in found.tensors.values().zip(expected.tensors.values()) {
                assert_eq!(tensor.memory().resident, 0);
                assert_eq!(tensor.to_f32().unwrap(), expected.to_f32().unwrap(), "{}", tensor.name);
            }
        }
    }

    #[test]
    fn a_gguf_file_says_what_it_is() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/gguf/model.gguf");
        let bytes = Contents::Memory(Bytes::new(std::fs::read(path).unwrap()));
        let metadata = parse(&bytes).unwrap().0.metadata;
        assert_eq!(metadata["general.architecture"], "vae");
        assert_eq!(metadata["general.name"], "A small autoencoder");
    }
}
