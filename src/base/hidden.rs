#![forbid(unsafe_code)]
//! Names for files that nobody else is to find.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// Number of names to try before giving up.
const ATTEMPTS: usize = 100;

/// Gives `make` a path in `folder`, of a name that nobody can foresee, until nothing stands there
/// already; returns what it made, and the path.
pub(crate) fn with_name<T>(
    folder: &Path,
    mut make: impl FnMut(&Path) -> io::Result<T>,
) -> io::Result<(T, PathBuf)> {
    let mut left = ATTEMPTS;
    loop {
        // Each state has keys of its own; a forked process has those of its parent.
        let number = RandomState::new().hash_one(std::process::id());
        let path = folder.join(format!(".vaekl-{number:016x}.tmp"));
        left -= 1;
        match make(&path) {
            Ok(made) => return Ok((made, path)),
            Err(error) if left > 0 && error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}
