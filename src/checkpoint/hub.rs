#![forbid(unsafe_code)]
//! The local cache of the Hugging Face hub: `models--ORG--NAME/{refs,snapshots,blobs}`.

use std::borrow::Cow;
use std::env;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::limits::MOST_REFERENCE;
use super::text::{read_text, shortened};
use crate::base::alloc;
use crate::base::error::{Error, Result};

/// The revision of a repository that is opened.
const REVISION: &str = "main";

/// The place of a checkpoint that exists: `path`, or its snapshot in the hub's cache if it is a
/// repository's folder there, or its name, `org/name`. Nothing is downloaded.
///
/// # Errors
/// `Io` if there is nothing, `Format` if the cache has no snapshot of it.
pub(super) fn resolve(path: &Path) -> Result<Cow<'_, Path>> {
    if path.join("snapshots").is_dir() && !path.join("config.json").exists() {
        return snapshot(path).map(Cow::Owned);
    }
    let missing = match fs::metadata(path) {
        Ok(_) => return Ok(Cow::Borrowed(path)),
        Err(error) => error,
    };
    let (Some((name, rest)), io::ErrorKind::NotFound) = (repository(path), missing.kind()) else {
        return Err(Error::io(path.display(), missing));
    };
    let caches = caches();
    let folders: Vec<PathBuf> = caches.iter().map(|cache| cache.join(&name)).collect();
    match folders.iter().find(|folder| folder.is_dir()) {
        Some(folder) => snapshot(folder).map(|snapshot| Cow::Owned(snapshot.join(rest))),
        // A path this long is more likely one that is wrong.
        None if !rest.as_os_str().is_empty() => Err(Error::io(path.display(), missing)),
        None => {
            let looked: Vec<String> = folders.iter().map(|f| f.display().to_string()).collect();
            let message = format!("no such file or folder, nor {}", looked.join(" or "));
            Err(Error::io(path.display(), io::Error::new(io::ErrorKind::NotFound, message)))
        }
    }
}

/// The name of the folder of the repository in `org/name/rest`, and the rest.
fn repository(path: &Path) -> Option<(String, PathBuf)> {
    let mut parts = Vec::new();
    for component in path.components() {
        let Component::Normal(part) = component else { return None };
        parts.push(part.to_str()?);
    }
    let [org, name, rest @ ..] = &parts[..] else { return None };
    Some((format!("models--{org}--{name}"), rest.iter().collect()))
}

/// The folders that may be the cache, in the order in which the hub's own library chooses.
fn caches() -> Vec<PathBuf> {
    let variable = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(cache) = variable("HF_HUB_CACHE").or_else(|| variable("HUGGINGFACE_HUB_CACHE")) {
        return vec![cache.into()];
    }
    if let Some(home) = variable("HF_HOME") {
        return vec![PathBuf::from(home).join("hub")];
    }
    let cache = variable("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| env::home_dir().map(|home| home.join(".cache")));
    cache.map(|cache| cache.join("huggingface").join("hub")).into_iter().collect()
}

/// The snapshot of a repository's folder that `refs/main` names, or the only one.
fn snapshot(repository: &Path) -> Result<PathBuf> {
    let snapshots = repository.join("snapshots");
    let named = repository.join("refs").join(REVISION);
    if named.is_file() {
        let text = read_text(&named, MOST_REFERENCE)?;
        let revision = text.trim();
        // A name of a folder there: a reference must not point anywhere else.
        let plain = Path::new(revision).file_name().is_some_and(|name| name == revision);
        if plain && snapshots.join(revision).is_dir() {
            return Ok(snapshots.join(revision));
        }
        return Err(Error::format(format!(
            "{}: the name of a folder in {} expected, \"{}\" found",
            named.display(),
            snapshots.display(),
            shortened(revision)
        )));
    }
    let failed = |error| Error::io(snapshots.display(), error);
    let mut folders = Vec::new();
    for entry in fs::read_dir(&snapshots).map_err(failed)? {
        alloc::push(&mut folders, entry.map_err(failed)?.path(), "a list of snapshots")?;
    }
    match &folders[..] {
        [only] => Ok(only.clone()),
        _ => Err(Error::format(format!(
            "{}: {} snapshots and no refs/{REVISION}: name one of the folders in snapshots/",
            repository.display(),
            folders.len()
        ))),
    }
}
