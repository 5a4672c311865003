//! What `fuzz/` does with an input, on the inputs that were findings and on the command's own files
//! for tests: the targets of the command.

#[path = "../../fuzz/src/command/mod.rs"]
mod command;

use std::fs;
use std::path::{Path, PathBuf};

use command::TARGETS;

/// The files below `folder`.
fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn no_finding_returns() {
    let regressions = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/regressions");
    for (name, target) in TARGETS {
        for path in files(&regressions.join(name)) {
            println!("{}", path.display());
            target(&fs::read(path).unwrap());
        }
    }
}

/// The seeds, and each of them cut and with a byte changed.
#[test]
fn files_of_every_format_are_read_and_broken() {
    let data = files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data"));
    assert!(data.len() > 20);
    for path in data.iter().filter(|path| fs::metadata(path).unwrap().len() < 1 << 14) {
        println!("{}", path.display());
        let bytes = fs::read(path).unwrap();
        for (_, target) in TARGETS {
            target(&bytes);
            for part in 1..5 {
                let at = bytes.len() * part / 5;
                target(&bytes[..at]);
                let mut changed = bytes.clone();
                if let Some(byte) = changed.get_mut(at) {
                    *byte ^= 0x41;
                }
                target(&changed);
            }
        }
    }
}
