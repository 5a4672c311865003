//! What `fuzz/` does with an input, on the inputs that were findings and on others of any kind: the
//! targets of the library. `docs/fuzzing.md` tells how to look for more.

#[path = "../fuzz/src/library/mod.rs"]
mod library;

use std::fs;
use std::path::{Path, PathBuf};

use library::TARGETS;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

/// Runs every target on what is kept for it.
#[test]
fn no_finding_returns() {
    let mut files = 0;
    for (name, target) in TARGETS {
        let Ok(entries) = fs::read_dir(fuzz().join("regressions").join(name)) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            println!("{}", path.display());
            target(&fs::read(path).unwrap());
            files += 1;
        }
    }
    assert!(files > 0, "no file in {}", fuzz().display());
}

/// Inputs without a format reach what needs none: sequences of calls, plans, conversions.
#[test]
fn any_bytes_are_survived() {
    for (name, target) in TARGETS {
        for length in [0, 1, 7, 40, 300] {
            for seed in 0..4_u64 {
                let mut state = seed;
                let mut byte = || {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(length | 1);
                    (state >> 56) as u8
                };
                let bytes: Vec<u8> = (0..length).map(|_| byte()).collect();
                println!("{name}: {length} bytes of seed {seed}");
                target(&bytes);
            }
        }
    }
}

/// A target that is forgotten in one of the places is never run.
#[test]
fn every_target_has_its_place() {
    let commands = ["picture", "arrays", "latents"];
    let files = fs::read_dir(fuzz().join("fuzz_targets")).unwrap();
    let files = files.map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        files.map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    files.sort();
    let mut expected: Vec<_> = TARGETS.iter().map(|(name, _)| *name).chain(commands).collect();
    // Features decide which of these are compiled here.
    for name in ["c_interface", "kernels"] {
        if !expected.contains(&name) {
            expected.push(name);
        }
    }
    expected.sort_unstable();
    assert_eq!(files, expected);
    let page = fs::read_to_string(fuzz().join("../docs/fuzzing.md")).unwrap();
    let manifest = fs::read_to_string(fuzz().join("Cargo.toml")).unwrap();
    let seeds = fs::read_to_string(fuzz().join("seeds.txt")).unwrap();
    for name in expected {
        assert!(page.contains(&format!("| `{name}` |")), "{name} is not in docs/fuzzing.md");
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{name} is not in Cargo.toml");
        assert!(seeds.contains(&format!("{name}: ")), "{name} is not in seeds.txt");
    }
    for entry in fs::read_dir(fuzz().join("regressions")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(files.contains(&name), "fuzz/regressions/{name} belongs to no target");
    }
}
