//! Floor 6: the autoencoder: configuration, weights, and the network, written once against
//! [`Backend`](crate::backend::Backend).

pub(crate) mod blocks;
mod builder;
mod check;
pub(crate) mod config;
mod family;
mod fingerprint;
mod flux2;
mod guess;
mod halo;
mod infer;
mod kl;
pub(crate) mod network;
mod open;
mod presets;
mod save;
mod scaling;
mod shapes;
mod steps;
mod tiny;
mod weights;
pub(crate) mod window;

pub use config::{Activation, Config, Family, Flux2Config, KlConfig, TinyConfig, TinyVariant};
pub use guess::Guess;
pub use open::{Model, ModelInfo, ModelOptions, Parts};
pub use presets::Preset;
pub use save::{SaveOptions, Saved};
