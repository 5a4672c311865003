//! Floor 6: the posterior between encoder and diffusion model, and torch's random numbers.

mod encoded;
mod posterior;
mod rng;

pub use encoded::Encoded;
pub use posterior::DiagonalGaussian;
pub use rng::Generator;
