//! `AutoencoderTiny`: its parameter tree and its networks, as lists of steps.

mod build;
pub(super) mod infer;
mod networks;

pub(super) use build::TinyBuilder;
pub(super) use networks::{decoder, encoder};
