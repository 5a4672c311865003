#![forbid(unsafe_code)]
//! What the outputs of this process would leave behind if it ended now.

use std::collections::BTreeSet;
use std::fs;
use std::mem;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files of hidden names, and new folders that are not complete yet.
pub(crate) struct Leftovers {
    pub(crate) files: BTreeSet<PathBuf>,
    /// Each below the ones before it.
    pub(crate) folders: Vec<PathBuf>,
}

/// A static, because the end of a process concerns all of it.
static LEFTOVERS: Mutex<Leftovers> =
    Mutex::new(Leftovers { files: BTreeSet::new(), folders: Vec::new() });

/// The list. Names are given and taken under its lock alone, so that nothing stands on the disk
/// that is not listed.
pub(crate) fn leftovers() -> MutexGuard<'static, Leftovers> {
    LEFTOVERS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Removes all of them, and never gives the lock back: no other thread leaves anything new.
pub(crate) fn abandon() {
    let all = leftovers();
    all.remove();
    mem::forget(all);
}

impl Leftovers {
    fn remove(&self) {
        // One may be gone already, and there is nobody to tell.
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
        // A folder with files of others stays.
        for folder in self.folders.iter().rev() {
            let _ = fs::remove_dir(folder);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_and_folders_that_are_empty_then() {
        let base = std::env::temp_dir().join(format!("vaekl-leftovers-{}", std::process::id()));
        let [theirs, ours] = ["theirs", "ours"].map(|name| base.join(name));
        for folder in [&base, &theirs, &ours] {
            fs::create_dir(folder).unwrap();
        }
        let files = BTreeSet::from(["a", "gone"].map(|name| ours.join(name)));
        fs::write(ours.join("a"), "").unwrap();
        fs::write(theirs.join("somebody's"), "").unwrap();
        Leftovers { files, folders: vec![base.clone(), theirs.clone(), ours.clone()] }.remove();
        assert!(!ours.exists() && theirs.join("somebody's").exists());
        fs::remove_dir_all(&base).unwrap();
    }
}
