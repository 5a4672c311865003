//! libvaekl: the Stable Diffusion autoencoder (`AutoencoderKL`) on ordinary processors.
//!
//! # The map
//!
//! A file imports only from the floors below its own (`tests/floors.rs` reads the `use` lines).
//!
//! | floor | module | what lives there |
//! |---|---|---|
//! | 0 | `base` | errors, element types, shapes, aligned memory |
//! | 1 | `arch` | instruction sets: the only `core::arch` |
//! | 2 | `kernels` | arithmetic on slices, and the one parallel primitive |
//! | 3 | `ops` | convolution and attention over blocks of a picture |
//! | 4 | `backend` | the `Backend` trait on slots; the processor and the recorder behind it |
//! | 4 | `checkpoint` | files to named tensors |
//! | 5 | `model` | configuration, weights, encoder and decoder |
//! | 5 | `latents` | the posterior and its random numbers |
//! | 6 | `run` | plans, sessions, progress, cancelling |
//! | 7 | `ffi` | the C interface |

mod arch;
mod backend;
mod base;
mod checkpoint;
mod ffi;
mod kernels;
mod latents;
mod model;
mod ops;
mod run;

pub use arch::Level;
pub use base::dtype::DType;
pub use base::error::{Error, ErrorKind, Result};
pub use latents::{DiagonalGaussian, Generator};
pub use model::{Activation, Config, Model, ModelInfo, ModelOptions, Parts, Preset};
pub use run::{
    Attention, AutoencoderKlOutput, CancelHandle, DecoderOutput, Plan, Progress, Session,
    SessionOptions, plan_decode, plan_encode,
};
