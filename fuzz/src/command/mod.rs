//! Targets of the command.
//!
//! | file | targets |
//! |---|---|
//! | `picture` | png, jpeg and webp, whole and row by row |
//! | `arrays` | arrays, masks and latents of every format |
// A test that compiles these files has them in a private module, and uses a part.
#![allow(dead_code, unreachable_pub)]

#[path = "../library/archive.rs"]
pub mod archive;
pub mod arrays;
pub mod picture;
#[path = "../library/scratch.rs"]
pub mod scratch;

/// A target: its name, and what it does with an input. It panics at a finding.
pub type Target = (&'static str, fn(&[u8]));

/// Every target of the command.
pub const TARGETS: &[Target] =
    &[("picture", picture::picture), ("arrays", arrays::arrays), ("latents", arrays::latents)];

/// A message for a person is one line without control characters.
pub fn is_for_a_person(message: &str) {
    assert!(!message.is_empty() && !message.contains('\n'), "{message:?}");
}
