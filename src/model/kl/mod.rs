//! `AutoencoderKL`: its parameter tree and its networks, as lists of steps.

mod build;
pub(super) mod decoder;
pub(super) mod encoder;
pub(super) mod infer;

pub(super) use build::KlBuilder;
