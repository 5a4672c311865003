//! What the targets do with an input: `library` needs the package `vaekl` alone, `command` its
//! command too. `tests/fuzz_regressions.rs` of each package compiles its half a second time, so
//! that an ordinary `cargo test` runs every input that was ever a finding.

pub mod command;
pub mod library;
