//! The layering rule: a file imports only from its own floor or the floors below it, and `unsafe`
//! stands only where the map allows it.

use std::fs;
use std::path::{Path, PathBuf};

/// Floor of each module of the crate. Modules on one floor do not import each other.
const FLOORS: &[(&str, usize)] = &[
    ("base", 0),
    ("arch", 1),
    ("kernels", 2),
    ("ops", 3),
    ("backend", 4),
    ("checkpoint", 4),
    ("model", 5),
    ("latents", 5),
    ("run", 6),
    ("ffi", 7),
    ("bench", 7),
];

/// Files that may contain `unsafe`, as prefixes of their paths below `src/`.
const UNSAFE: &[&str] =
    &["arch/", "kernels/", "base/buffer.rs", "checkpoint/mmap.rs", "run/spill.rs", "ffi/"];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn all() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    sources(&root, &mut found);
    found
        .into_iter()
        .map(|path| {
            let name = path.strip_prefix(&root).unwrap().to_string_lossy().replace('\\', "/");
            (name, fs::read_to_string(path).unwrap())
        })
        .collect()
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// The text without comments, in which a path is an import.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// Modules named as `crate::module` or in `use crate::{module::...}`.
fn imports(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let names: Vec<&str> = match rest.strip_prefix('{') {
            Some(group) => group.split('}').next().unwrap_or("").split(',').collect(),
            None => vec![rest],
        };
        for name in names {
            let ident: String =
                name.trim().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            if !ident.is_empty() {
                found.push(ident);
            }
        }
    }
    found
}

#[test]
fn imports_point_downwards() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (file, text) in all() {
        let Some((module, _)) = file.split_once('/') else { continue };
        let own = floor(module).unwrap_or_else(|| panic!("src/{module} has no floor in this test"));
        for import in imports(&code(&text)) {
            match floor(&import) {
                Some(_) if import == module => {}
                Some(other) if other < own => seen += 1,
                Some(_) => wrong.push(format!("{file} imports crate::{import}")),
                // `crate::Error` and the like: the public surface is above every floor.
                None => wrong.push(format!("{file} imports crate::{import}, which has no floor")),
            }
        }
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(seen > 50, "the test found only {seen} imports: it no longer reads the sources");
}

#[test]
fn unsafe_stays_at_its_addresses() {
    let mut wrong = Vec::new();
    for (file, text) in all() {
        let allowed = UNSAFE.iter().any(|prefix| file.starts_with(prefix));
        if !allowed && code(&text).replace("unsafe_code", "").contains("unsafe") {
            wrong.push(file);
        }
    }
    assert!(wrong.is_empty(), "unsafe in {wrong:?}");
}

#[test]
fn processor_intrinsics_stay_in_arch() {
    for (file, text) in all() {
        let allowed = file.starts_with("arch/");
        assert!(allowed || !code(&text).contains("core::arch"), "core::arch in {file}");
    }
}

#[test]
fn files_stay_readable() {
    for (file, text) in all() {
        let lines = text.lines().count();
        assert!(lines <= 600, "{file} has {lines} lines");
    }
}
