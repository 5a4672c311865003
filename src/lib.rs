//! libvaekl: the autoencoders of Stable Diffusion and its kin (diffusers' `AutoencoderKL` and the
//! families near it) on CPUs.
//!
//! A [`Model`] is an open checkpoint, shared by any number of threads. A [`Session`] runs it: it
//! owns threads and workspace, decodes latents to pictures and encodes pictures to latents:
//!
//! ```
//! use ndarray::Array4;
//! use vaekl::{Model, Session, SessionOptions};
//!
//! let model = Model::open("cli/model")?;
//! let mut session = Session::new(&model, &SessionOptions::default())?;
//!
//! let latents = Array4::zeros((1, model.config().latent_channels, 4, 6));
//! let pictures = session.decode(latents.view())?.sample;
//! assert_eq!(pictures.dim(), (1, 3, 32, 48)); // about [-1, 1], unclamped
//!
//! let encoded = session.encode(pictures.view())?.encoded;
//! assert_eq!(encoded.mode().dim(), latents.dim());
//! # Ok::<(), vaekl::Error>(())
//! ```
//!
//! Arrays are NCHW in f32, as in diffusers. Pictures have values in about [-1, 1]. Latents are raw,
//! as `AutoencoderKL.decode` takes them; [`Config::unscale_latents`] makes raw latents from those
//! of a diffusion model.
//!
//! # The map
//!
//! A file imports only from the floors below its own (`tests/floors/` reads the `use` lines).
//!
//! | floor | module | what lives there |
//! |---|---|---|
//! | 0 | `os` | what differs by system: maps, files, memory and cores |
//! | 1 | `base` | errors, element types, shapes, aligned memory, scratch and output files |
//! | 2 | `arch` | instruction sets: the only `std::arch` |
//! | 3 | `kernels` | arithmetic on slices, and the one parallel primitive |
//! | 4 | `ops` | convolution and attention over blocks of a picture |
//! | 5 | `backend` | the `Backend` trait on slots; the processor and the recorder behind it |
//! | 5 | `checkpoint` | files to named tensors |
//! | 6 | `model` | configuration, weights, encoder and decoder |
//! | 6 | `latents` | the posterior and its random numbers |
//! | 7 | `run` | plans, sessions, progress, cancelling |
//! | 8 | `ffi` | the C interface; with `capi` only |
//! | 8 | `bench` | what the benches measure; only with the feature `bench` |

mod arch;
mod backend;
mod base;
#[cfg(feature = "bench")]
#[doc(hidden)]
pub mod bench;
mod checkpoint;
#[cfg(feature = "capi")]
mod ffi;
mod kernels;
mod latents;
mod model;
mod ops;
mod os;
mod run;

pub use arch::Level;
pub use base::atomic_file::AtomicFile;
pub use base::encoding::Encoding;
pub use base::error::{Error, ErrorKind, Result};
pub use base::storage::Storage;
pub use base::visible::visible;
pub use checkpoint::{KeyLayout, TensorFile};
pub use latents::{DiagonalGaussian, Encoded, Generator};
pub use model::{
    Activation, Config, Family, Flux2Config, Guess, KlConfig, Model, ModelInfo, ModelOptions,
    Parts, Preset, SaveOptions, Saved, TinyConfig, TinyVariant,
};
pub use run::{
    Attention, CancelToken, DecoderOutput, EncoderOutput, Plan, Progress, RowStream, Session,
    SessionOptions, Tiling, memory_available, memory_in_use, plan_decode, plan_encode,
};
