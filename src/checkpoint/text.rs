#![forbid(unsafe_code)]
//! Reading small text files: a configuration, an index of shards.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::base::alloc;
use crate::base::error::{Error, Result};

/// Reads a text file of at most `most` bytes, which may be a pipe.
///
/// # Errors
/// `Io` if it cannot be read, `Format` if it is longer, a device without end among others, or is
/// not UTF-8; `OutOfMemory`. The message names the file.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<String> {
    /// Bytes that are read at a time.
    const PART: usize = 4 << 10;
    let failed = |error| Error::io(path.display(), error);
    let mut file = File::open(path).map_err(failed)?.take(most + 1);
    let (mut bytes, mut part) = (Vec::new(), [0; PART]);
    loop {
        let read = match file.read(&mut part) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        alloc::reserve(&mut bytes, read, "a text").map_err(|e| e.within(path.display()))?;
        bytes.extend_from_slice(&part[..read]);
    }
    if bytes.len() as u64 > most {
        let path = path.display();
        return Err(Error::format(format!("{path}: at most {most} bytes expected, more found")));
    }
    String::from_utf8(bytes)
        .map_err(|error| Error::format(format!("{}: not UTF-8: {error}", path.display())))
}

/// The beginning of a text of a file, for messages: one line.
pub(crate) fn shortened(text: &str) -> String {
    const MOST: usize = 60;
    let mut letters = text.chars().filter(|letter| !letter.is_control());
    let mut short: String = letters.by_ref().take(MOST).collect();
    if letters.next().is_some() {
        short.push_str("...");
    }
    short
}
