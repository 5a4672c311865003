#![forbid(unsafe_code)]
//! Reading small text files: a configuration, an index of shards.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::base::error::{Error, Result};

/// Reads a small text file, which may be a pipe.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    /// A configuration or an index is far below; a larger file, or a device without
    /// end, is something else.
    const MOST: u64 = 64 << 20;
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes))
        .map_err(|error| Error::io(path.display(), error))?;
    if bytes.len() as u64 > MOST {
        let message = format!("{}: over {MOST} bytes, too many for a JSON file", path.display());
        return Err(Error::format(message));
    }
    String::from_utf8(bytes)
        .map_err(|error| Error::format(format!("{}: not UTF-8: {error}", path.display())))
}
