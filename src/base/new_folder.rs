#![forbid(unsafe_code)]
//! A folder for outputs, which is removed again if it is new and they fail.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::error::{Error, Result};
use super::leftovers::leftovers;

/// A folder for outputs. Dropped before [`NewFolder::complete`], it removes the folders that it has
/// made, with the files that came into them. They are among the [`leftovers`] until then.
#[derive(Default)]
pub(crate) struct NewFolder {
    /// The folders made, each in the one before.
    made: Vec<PathBuf>,
    files: Vec<PathBuf>,
}

impl NewFolder {
    /// Makes `folder`, and the folders it is in, where they are not there.
    ///
    /// # Errors
    /// `InvalidArgument` for a path without a name; `Io`, naming the path.
    pub(crate) fn make(folder: &Path) -> Result<Self> {
        let failed = |error| Error::io(folder.display(), error);
        if folder.as_os_str().is_empty() {
            return Err(Error::invalid("folder: a path expected, \"\" found"));
        }
        if folder.exists() && !folder.is_dir() {
            let error = io::Error::new(ErrorKind::NotADirectory, "a folder expected, a file found");
            return Err(failed(error));
        }
        let missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let mut missing: Vec<&Path> = folder.ancestors().take_while(missing).collect();
        let mut new = Self::default();
        while let Some(path) = missing.pop() {
            let mut leftovers = leftovers();
            match fs::create_dir(path) {
                Ok(()) => {
                    leftovers.folders.push(path.to_owned());
                    new.made.push(path.to_owned());
                }
                // Another process was faster.
                Err(_) if path.is_dir() => {}
                Err(error) => return Err(failed(error)),
            }
        }
        Ok(new)
    }

    /// Notes files that are about to come into the folder.
    pub(crate) fn expect(&mut self, files: &[PathBuf]) {
        self.files.extend_from_slice(files);
    }

    /// Leaves the folders where they are.
    pub(crate) fn complete(mut self) {
        self.unlist();
        self.made.clear();
    }

    fn unlist(&self) {
        leftovers().folders.retain(|folder| !self.made.contains(folder));
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if self.made.is_empty() {
            return;
        }
        // What fails here has nobody to be told; a folder with files of others stays.
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        for folder in self.made.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
        self.unlist();
    }
}
