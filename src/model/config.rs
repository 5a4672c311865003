//! `AutoencoderKL`'s configuration: every field of diffusers' `__init__` under its own name.

/// The activation function inside the ResNet blocks (`act_fn`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Activation {
    /// `x * sigmoid(x)`; `silu` and `swish` in a configuration.
    #[default]
    Silu,
    /// `x * tanh(softplus(x))`.
    Mish,
    /// The exact form, `x * Phi(x)`.
    Gelu,
    /// `max(x, 0)`.
    Relu,
}

/// The configuration of an `AutoencoderKL`, field for field as in diffusers' `config.json`.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Config {
    /// Channels of the pictures the encoder takes.
    pub in_channels: usize,
    /// Channels of the pictures the decoder gives.
    pub out_channels: usize,
    /// Whether each encoder level has attention (`AttnDownEncoderBlock2D`) or not
    /// (`DownEncoderBlock2D`), highest resolution first.
    pub down_attention: Vec<bool>,
    /// Whether each decoder level has attention (`AttnUpDecoderBlock2D`) or not
    /// (`UpDecoderBlock2D`), lowest resolution first.
    pub up_attention: Vec<bool>,
    /// Channels of each level, highest resolution first.
    pub block_out_channels: Vec<usize>,
    /// ResNet blocks in an encoder level; a decoder level has one more.
    pub layers_per_block: usize,
    /// Activation function of the ResNet blocks.
    pub act_fn: Activation,
    /// Channels of the latents.
    pub latent_channels: usize,
    /// Groups of every GroupNorm.
    pub norm_num_groups: usize,
    /// Picture size (height, width) the model was trained for; only the tiled modes read it.
    pub sample_size: (usize, usize),
    /// Factor from latents to what the diffusion model works on.
    pub scaling_factor: f64,
    /// Offset subtracted before scaling.
    pub shift_factor: Option<f64>,
    /// Mean of each latent channel, subtracted before scaling.
    pub latents_mean: Option<Vec<f64>>,
    /// Standard deviation of each latent channel, divided by.
    pub latents_std: Option<Vec<f64>>,
    /// The model overflows in half precision: `f16` activations are upgraded to `f32`.
    pub force_upcast: bool,
    /// 1x1 convolution after the encoder.
    pub use_quant_conv: bool,
    /// 1x1 convolution before the decoder.
    pub use_post_quant_conv: bool,
    /// Attention in the middle blocks.
    pub mid_block_add_attention: bool,
}

impl Default for Config {
    /// The defaults of diffusers' `AutoencoderKL.__init__`.
    fn default() -> Self {
        Self {
            in_channels: 3,
            out_channels: 3,
            down_attention: vec![false],
            up_attention: vec![false],
            block_out_channels: vec![64],
            layers_per_block: 1,
            act_fn: Activation::Silu,
            latent_channels: 4,
            norm_num_groups: 32,
            sample_size: (32, 32),
            scaling_factor: 0.18215,
            shift_factor: None,
            latents_mean: None,
            latents_std: None,
            force_upcast: true,
            use_quant_conv: true,
            use_post_quant_conv: true,
            mid_block_add_attention: true,
        }
    }
}

impl Config {
    /// Pixels of the picture's side per latent: 2 to the number of levels less one.
    pub fn downscale(&self) -> usize {
        1 << (self.block_out_channels.len() - 1)
    }

    /// What the diffusion model works on, from what the encoder gave, in place:
    /// `(latents - mean) * scaling / std`, or `(latents - shift) * scaling`.
    ///
    /// # Errors
    /// `InvalidArgument` when the second axis is not `latent_channels` long.
    pub fn scale_latents(
        &self,
        latents: ndarray::ArrayViewMut4<'_, f32>,
    ) -> crate::base::error::Result<()> {
        let _ = latents;
        todo!()
    }

    /// What the decoder takes, from what the diffusion model works on, in place: the inverse of
    /// [`Config::scale_latents`].
    ///
    /// # Errors
    /// `InvalidArgument` when the second axis is not `latent_channels` long.
    pub fn unscale_latents(
        &self,
        latents: ndarray::ArrayViewMut4<'_, f32>,
    ) -> crate::base::error::Result<()> {
        let _ = latents;
        todo!()
    }
}
