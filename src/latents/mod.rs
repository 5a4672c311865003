//! Floor 6: what stands between encoder and diffusion model. The posterior and torch's noise.

mod posterior;
mod rng;

pub use posterior::DiagonalGaussian;
pub use rng::Generator;
