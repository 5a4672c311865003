#![forbid(unsafe_code)]
//! The configuration of diffusers' `FlaxAutoencoderKL`, as one of `AutoencoderKL`.

/// The fields that diffusers' `FlaxAutoencoderKL` ignores. They take the values that it computes
/// with: silu, no attention in a level, all 1x1 convolutions. Blocks still count.
pub(super) const IGNORED: [&str; 7] = [
    "act_fn",
    "shift_factor",
    "latents_mean",
    "latents_std",
    "use_quant_conv",
    "use_post_quant_conv",
    "mid_block_add_attention",
];
