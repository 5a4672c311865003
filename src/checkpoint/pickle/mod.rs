#![forbid(unsafe_code)]
//! PyTorch's checkpoints, `.ckpt`, `.pt`, `.pth` and `.bin`, read without running what is in them.
//!
//! A pickle is a program for Python's unpickler. Here an interpreter knows its opcodes and a list
//! of names: tensors, dictionaries, and classes whose objects nothing is read from. Any other name
//! is refused, and nothing is ever called.
//!
//! | file | what it does |
//! |---|---|
//! | `archive` | the form of a file since PyTorch 1.6: a zip archive |
//! | `legacy` | the form before: pickles, then raw data |
//! | `tensors`, `flatten` | named tensors in their storages |
//! | `machine` | the stack machine |
//! | `calls`, `globals` | what calls make, and the names that may be called |
//! | `opcode`, `value`, `element`, `limits` | what all of these are about |

mod archive;
mod calls;
mod element;
mod flatten;
mod globals;
mod legacy;
mod limits;
mod machine;
mod opcode;
mod tensors;
mod value;

pub(super) use archive::parse as parse_archive;
pub(super) use legacy::parse as parse_legacy;

#[cfg(test)]
mod tests;
