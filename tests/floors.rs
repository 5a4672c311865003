//! The layering rule: a file imports only from its own floor or the floors below it, and `unsafe`
//! stands only where the map allows it.

use std::fs;
use std::path::{Path, PathBuf};

/// Floor of each module of the crate. Modules on one floor do not import each other.
const FLOORS: &[(&str, usize)] = &[
    ("os", 0),
    ("base", 1),
    ("arch", 2),
    ("kernels", 3),
    ("ops", 4),
    ("backend", 5),
    ("checkpoint", 5),
    ("model", 6),
    ("latents", 6),
    ("run", 7),
    ("ffi", 8),
    ("bench", 8),
];

/// Files that may contain `unsafe`, as prefixes of their paths below `src/`.
const UNSAFE: &[&str] = &["os/", "arch/", "kernels/", "base/buffer.rs", "ffi/"];

/// Endings of source files.
const LANGUAGES: [&str; 8] = ["rs", "c", "h", "cpp", "hpp", "go", "swift", "py"];

/// Lines a file may have, of whatever language.
const MOST_LINES: usize = 600;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let hidden = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'));
        if path.is_dir() && !hidden {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| LANGUAGES.iter().any(|&x| e == x)) {
            found.push(path);
        }
    }
}

/// Name and text of each source below `folder` of the repository.
fn all_in(folder: &str) -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
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

fn all() -> Vec<(String, String)> {
    all_in("src")
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// The text without comments, in which a path is an import.
fn code(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// Modules of the crate that `text` names: after `crate::`, or after as many `super::` as lead out of
/// the file's own module, which is `depth` below the crate.
fn imports(text: &str, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for (at, path) in text.match_indices("crate::") {
        found.extend(heads(&text[at + path.len()..]));
    }
    for (at, path) in text.match_indices("super::") {
        if text[..at].ends_with(path) {
            continue; // not the first of its chain
        }
        let mut rest = &text[at..];
        let mut left = depth + inline_modules(&text[..at]);
        while let Some(after) = rest.strip_prefix(path) {
            rest = after;
            left -= 1;
        }
        if left == 0 {
            found.extend(heads(rest));
        }
    }
    found
}

/// The first names of a path, or of each path of a group `{a::b, c::{d, e}}`.
fn heads(path: &str) -> Vec<String> {
    let ident = |path: &str| -> String {
        path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect()
    };
    let Some(group) = path.strip_prefix('{') else { return vec![ident(path)] };
    let mut found = vec![ident(group)];
    let mut open = 1;
    for (at, c) in group.char_indices() {
        match c {
            '{' => open += 1,
            '}' => open -= 1,
            ',' if open == 1 => found.push(ident(&group[at + 1..])),
            _ => {}
        }
        if open == 0 {
            break;
        }
    }
    found.retain(|name| !name.is_empty());
    found
}

/// How many inline modules are open at the end of `text`, by rustfmt's indentation.
fn inline_modules(text: &str) -> usize {
    let mut open: Vec<&str> = Vec::new();
    for line in text.lines() {
        let indent = &line[..line.len() - line.trim_start().len()];
        let item = line.trim();
        if item.ends_with('{') && (item.starts_with("mod ") || item.contains(" mod ")) {
            open.push(indent);
        } else if item == "}" && open.last() == Some(&indent) {
            open.pop();
        }
    }
    open.len()
}

/// How far the module of `file` is below the crate.
fn depth(file: &str) -> usize {
    file.trim_end_matches("/mod.rs").split('/').count()
}

#[test]
fn imports_are_found_however_they_are_written() {
    let text = "
use crate::{base::{error::Error, dtype}, arch,
    kernels::Kernels};
use super::own;
use super::super::{run::{Plan, Session}, ffi};
mod tests {
    mod inner {
        use super::super::super::neighbour;
        fn f() { super::super::super::super::model::open() }
    }
    use super::super::own;
    use super::super::super::latents;
}
use super::super::bench;
";
    let found = imports(text, depth("ops/conv.rs"));
    let expected = ["base", "arch", "kernels", "run", "ffi", "model", "latents", "bench"];
    assert_eq!(found, expected);
    assert_eq!(imports("use super::base;", depth("ops/mod.rs")), ["base"]);
}

#[test]
fn imports_point_downwards() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (file, text) in all() {
        let Some((module, _)) = file.split_once('/') else { continue };
        let own = floor(module).unwrap_or_else(|| panic!("src/{module} has no floor in this test"));
        for import in imports(&code(&text), depth(&file)) {
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

/// Conditions that `text` is compiled under: what stands in the parentheses of `cfg(`, `cfg!(` and
/// `cfg_attr(`, without quoted values.
fn conditions(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, word) in text.match_indices("cfg") {
        let rest = &text[at + word.len()..];
        let rest = rest.strip_prefix("_attr").or(rest.strip_prefix('!')).unwrap_or(rest);
        let Some(inside) = rest.strip_prefix('(') else { continue };
        let mut open = 1;
        let end = inside.find(|c| {
            open += i32::from(c == '(') - i32::from(c == ')');
            open == 0
        });
        let inside = &inside[..end.unwrap_or(inside.len())];
        found.push(inside.split('"').step_by(2).collect());
    }
    found
}

/// Whether a condition asks for a system, rather than for a processor, a feature or a test.
fn asks_for_a_system(condition: &str) -> bool {
    let systems = ["unix", "windows", "target_os", "target_family", "target_env", "target_vendor"];
    condition.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| systems.contains(&word))
}

#[test]
fn conditions_are_found_however_they_are_written() {
    let text = r#"#[cfg(all(test, not(unix)))] fn f() { cfg!(target_os = "x") }
#[cfg_attr(windows, allow(dead_code))] #[cfg(feature = "unix")] #[cfg(target_arch = "y")]"#;
    let found: Vec<bool> = conditions(text).iter().map(|c| asks_for_a_system(c)).collect();
    assert_eq!(found, [true, true, true, false, false]);
}

#[test]
fn systems_are_told_apart_in_os_alone() {
    let own = |(file, _): &(String, String)| !file.starts_with("os/");
    for (file, text) in all().into_iter().filter(own).chain(all_in("cli/src")) {
        let text = code(&text);
        for condition in conditions(&text) {
            assert!(!asks_for_a_system(&condition), "cfg({condition}) in {file}");
        }
        for path in ["std::os::", "libc::", "memmap2::"] {
            assert!(!text.contains(path), "{path} in {file}");
        }
    }
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
    for folder in ["src", "cli", "tests", "benches", "examples", "scripts", "models", "bindings"] {
        for (file, text) in all_in(folder) {
            let lines = text.lines().count();
            assert!(lines <= MOST_LINES, "{folder}/{file} has {lines} lines");
        }
    }
}
