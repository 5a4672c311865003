//! The rules of the house, read from its sources: nobody has to take them on trust.
//!
//! * A file imports only from its own floor or the floors below it; `unsafe` and the processor's
//!   intrinsics stand only where the map allows them (here).
//! * The files of a folder form no circle (`circles`).
//! * Systems are told apart in `src/os` alone (`systems`).
//! * Retired words do not return as identifiers (`words`).
//! * Lines, files and lists of parameters are short (`shape`).
//! * `docs/security.md` has every limit, and a test for every fault (`contract`).
//! * How much `unsafe` there is (`inventory`) and what users of Rust see (`interface`) is written
//!   down.
//!
//! The other files read: `sources` the repository, `rust` tokens, `paths` the imports among them,
//! `python` Python's imports. `graph` finds circles.

mod circles;
mod contract;
mod graph;
mod interface;
mod inventory;
mod paths;
mod python;
mod rust;
mod shape;
mod sources;
mod systems;
mod words;

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

/// Path below `src/` and code of each source of the library, without comments and strings.
fn library() -> Vec<(String, String)> {
    let sources = sources::below("src").into_iter();
    sources.map(|file| (file.path["src/".len()..].to_string(), rust::code(&file.text))).collect()
}

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// What `code`, a file's, imports against the order of floors, and how many
/// imports it has from below.
fn upward(file: &str, code: &str) -> (Vec<String>, usize) {
    let Some((module, _)) = file.split_once('/') else { return (Vec::new(), 0) };
    let own = floor(module).unwrap_or_else(|| panic!("src/{module} has no floor in this test"));
    let (mut wrong, mut downward) = (Vec::new(), 0);
    for named in paths::named(&rust::tokens(code), &paths::module_of(file)) {
        let import = &named.path[0];
        match floor(import) {
            _ if !named.absolute => {}
            Some(_) if import == module => {}
            Some(other) if other < own => downward += 1,
            Some(_) => wrong.push(format!("{file} imports crate::{import}")),
            // `crate::Error` and the like: the public surface is above every floor.
            None => wrong.push(format!("{file} imports crate::{import}, which has no floor")),
        }
    }
    (wrong, downward)
}

#[test]
fn imports_point_downwards() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (file, code) in library() {
        let (upward, downward) = upward(&file, &code);
        wrong.extend(upward);
        seen += downward;
    }
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
    assert!(seen > 50, "the test found only {seen} imports: it no longer reads the sources");
}

#[test]
fn an_import_that_points_upwards_is_found() {
    let code = "use crate::base::A; use super::super::{arch, run::Plan}; fn f() -> crate::Level {}";
    let (wrong, downward) = upward("ops/conv.rs", code);
    let expected =
        ["ops/conv.rs imports crate::run", "ops/conv.rs imports crate::Level, which has no floor"];
    assert_eq!((wrong, downward), (expected.map(String::from).to_vec(), 2));
}

#[test]
fn unsafe_stays_at_its_addresses() {
    let is_unsafe = |code: &str| rust::tokens(code).iter().any(|token| token.text == "unsafe");
    let allowed = |file: &str| UNSAFE.iter().any(|prefix| file.starts_with(prefix));
    let wrong: Vec<String> = library()
        .into_iter()
        .filter(|(file, code)| !allowed(file) && is_unsafe(code))
        .map(|(file, _)| file)
        .collect();
    assert!(wrong.is_empty(), "unsafe in {wrong:?}");
    let known = library().iter().any(|(_, code)| is_unsafe(code));
    assert!(known, "the test found no unsafe at all");
}

#[test]
fn processor_intrinsics_stay_in_arch() {
    let (mut seen, names) = (0, ["std::arch", "core::arch", "_feature_detected"]);
    for (file, code) in library() {
        let found = names.iter().any(|name| code.contains(name));
        assert!(!found || file.starts_with("arch/"), "intrinsics in {file}");
        seen += usize::from(found);
    }
    assert!(seen > 1, "the test found no intrinsics at all");
}
