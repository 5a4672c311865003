//! Floor 6: the autoencoder: configuration, weights, and the network, written once against
//! [`Backend`](crate::backend::Backend).

pub(crate) mod blocks;
mod build;
mod check;
pub(crate) mod config;
mod decoder;
mod encoder;
mod family;
mod fingerprint;
mod flax;
mod halo;
mod infer;
pub(crate) mod network;
mod open;
mod presets;
mod save;
mod scaling;
mod steps;
mod weights;
pub(crate) mod window;

pub use config::{Activation, Config};
pub use infer::Guess;
pub use open::{Model, ModelInfo, ModelOptions, Parts};
pub use presets::Preset;
pub use save::{SaveOptions, Saved};
