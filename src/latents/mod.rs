//! Floor 6: the posterior between encoder and diffusion model, and torch's random numbers.

mod posterior;
mod rng;

pub use posterior::DiagonalGaussian;
pub use rng::Generator;
