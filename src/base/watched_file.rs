//! A file that is read for as long as it is open, and must stay what it is.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::error::{Error, Result};

/// An open file, with the size and the time of its last change when it was opened.
///
/// A file that is replaced by renaming another over it, or removed, stays the same to who has it
/// open. One that is written in place does not, and [`WatchedFile::check`] tells. A writer that
/// sets back the time is not seen.
#[derive(Debug)]
pub(crate) struct WatchedFile {
    file: File,
    path: PathBuf,
    stamp: Stamp,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: u64,
    /// `None` where the system does not tell.
    changed: Option<SystemTime>,
}

impl Stamp {
    fn of(file: &File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { bytes: metadata.len(), changed: metadata.modified().ok() })
    }
}

impl WatchedFile {
    /// Opens the file at `path`.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let stamp = Stamp::of(&file)?;
        Ok(Self { file, path: path.to_owned(), stamp })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its size when it was opened.
    pub(crate) fn bytes(&self) -> u64 {
        self.stamp.bytes
    }

    /// # Errors
    /// `Io`, naming the file, if it was written since it was opened.
    pub(crate) fn check(&self) -> Result<()> {
        let path = self.path.display();
        let found = Stamp::of(&self.file).map_err(|error| Error::io(path, error))?;
        if found == self.stamp {
            return Ok(());
        }
        let (expected, path) = (self.stamp.bytes, self.path.display());
        let what = if found.bytes == expected {
            format!("its {expected} bytes were written again")
        } else {
            format!("{expected} bytes expected, {} found", found.bytes)
        };
        let changed = io::Error::other(format!("changed while in use: {what}"));
        Err(Error::io(format!("weights file {path}"), changed))
    }
}
