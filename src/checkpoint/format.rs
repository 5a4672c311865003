#![forbid(unsafe_code)]
//! Formats of files other than safetensors, known by their first bytes.

use crate::base::error::{Error, ErrorKind};

/// The error for a file that is not safetensors, by its first bytes; `None` for an unknown format.
pub(super) fn other_format(bytes: &[u8]) -> Option<Error> {
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
