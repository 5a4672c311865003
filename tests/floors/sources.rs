//! The files of the repository that the rules are about.

use std::fs;
use std::path::{Path, PathBuf};

/// Folders with sources of our own.
pub(crate) const FOLDERS: [&str; 10] = [
    "src",
    "cli",
    "tests",
    "benches",
    "examples",
    "fuzz",
    "scripts",
    "bindings",
    "include",
    "packaging",
];

/// Sources outside of them.
const SINGLE: [&str; 3] = ["build.rs", "Makefile", ".ci/run"];

/// Endings of source files. Scripts of the shell may have none: all of `scripts/` is read.
const LANGUAGES: [&str; 10] = ["rs", "c", "h", "cpp", "hpp", "go", "swift", "py", "sh", "cmake"];

/// A source: its path from the root of the repository, with `/`, and its text.
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All sources of the repository.
pub(crate) fn all() -> Vec<Source> {
    let mut found: Vec<Source> = FOLDERS.iter().flat_map(|folder| below(folder)).collect();
    found.extend(SINGLE.iter().map(|file| read(&root().join(file))));
    found
}

/// The sources below `folder`, a path from the root of the repository.
pub(crate) fn below(folder: &str) -> Vec<Source> {
    let mut files = Vec::new();
    collect(&root().join(folder), &mut files);
    files.sort();
    files.iter().map(|path| read(path)).collect()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The text of `file`, a path from the root of the repository.
pub(crate) fn text(file: &str) -> String {
    read(&root().join(file)).text
}

pub(crate) fn exists(file: &str) -> bool {
    root().join(file).is_file()
}

/// `file` has `made`, line by line; with `VAEKL_BLESS` it gets it.
pub(crate) fn compare(file: &str, made: &str) {
    if std::env::var_os("VAEKL_BLESS").is_some() {
        fs::write(root().join(file), made).unwrap();
    }
    let committed = fs::read_to_string(root().join(file)).unwrap_or_default();
    let (old, new): (Vec<_>, Vec<_>) = (committed.lines().collect(), made.lines().collect());
    let gone: Vec<_> = old.iter().filter(|line| !new.contains(line)).collect();
    let come: Vec<_> = new.iter().filter(|line| !old.contains(line)).collect();
    assert!(
        old == new,
        "{file} is not what the sources say; if they are right, VAEKL_BLESS=1 cargo test --test \
         floors\ngone: {gone:#?}\ncome: {come:#?}"
    );
}

fn read(path: &Path) -> Source {
    let name = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{name}: {error}"));
    Source { path: name, text }
}

fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy();
        if path.is_dir() {
            // What is built stays out.
            if !name.starts_with('.') && name != "__pycache__" && name != "target" {
                collect(&path, found);
            }
        } else if is_source(&path) {
            found.push(path);
        }
    }
}

fn is_source(path: &Path) -> bool {
    match path.extension() {
        Some(ending) => LANGUAGES.iter().any(|&language| ending == language),
        None => path.starts_with(root().join("scripts")),
    }
}
