//! Floor 5: what stands between encoder and diffusion model. The posterior and torch's noise.
