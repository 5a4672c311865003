#![forbid(unsafe_code)]
//! The families that are refused, and the marks of each.
//!
//! A mark is a tensor that no `AutoencoderKL`, `AutoencoderKLFlux2`, `AutoencoderTiny` or
//! `AsymmetricAutoencoderKL` has, in diffusers' names or in those of the family's authors. Each
//! half of a family has one where it differs at all.

use super::marks::{Mark, tensor};

pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) marks: &'static [Mark],
}

const fn family(name: &'static str, marks: &'static [Mark]) -> Family {
    Family { name, marks }
}

/// A quantiser's latents are not doubled: no mean and variance.
pub(super) const VQ: &str = "VQModel (vector quantiser)";

/// The first family with a mark counts, so what is special stands before what is general.
pub(super) const FAMILIES: &[Family] = &[
    // Pictures.
    family(
        VQ,
        &[
            tensor("quantize.embedding"),
            tensor("encoder.conv_out.weight").of(odd_outputs),
            // The spatial norms of Kandinsky 2.
            tensor("decoder.mid_block.resnets.#.norm1.conv_y.weight"),
            tensor("decoder.mid.attn_1.norm.conv_y.weight"),
        ],
    ),
    family(
        "ConsistencyDecoderVAE",
        &[tensor("decoder_unet"), tensor("embed_image.f"), tensor("embed_time.emb")],
    ),
    family(
        "AutoencoderDC (DC-AE)",
        &[
            tensor("encoder.down_blocks.#.#"),
            tensor("decoder.up_blocks.#.#"),
            tensor("encoder.stages"),
            tensor("decoder.stages"),
        ],
    ),
    family(
        "AutoencoderKLHunyuanImage (HunyuanImage)",
        &[
            tensor("encoder.down_blocks.#.conv1.weight").of(axes_4),
            tensor("decoder.up_blocks.#.conv1.weight").of(axes_4),
            tensor("encoder.down.#.downsample.conv.weight").of(other_outputs),
            tensor("decoder.up.#.upsample.conv.weight").of(other_outputs),
        ],
    ),
    family(
        "AutoencoderRAE",
        &[
            tensor("decoder.decoder_layers"),
            tensor("decoder.decoder_embed"),
            tensor("encoder.embeddings.patch_embeddings"),
        ],
    ),
    // Tiny ones, whose convolutions stand in a row.
    family(
        "TAEHV (tiny video autoencoder)",
        &[
            tensor("encoder.#.conv.weight"),
            tensor("decoder.#.conv.weight"),
            tensor("#.conv.weight"),
        ],
    ),
    family(
        "taeqi2_1 (tiny autoencoder for Qwen-Image 2.1)",
        &[
            tensor("encoder.1.weight").of(patched_inputs),
            tensor("encoder.layers.1.weight").of(patched_inputs),
            tensor("decoder.19.weight").of(patched_outputs),
            tensor("decoder.layers.18.weight").of(patched_outputs),
            tensor("decoder.layers.19.weight").of(patched_outputs),
            tensor("1.weight").of(patched_inputs).beside("4.weight"),
            tensor("19.weight").of(patched_outputs),
        ],
    ),
    // Qwen-Image and Wan.
    family(
        "AutoencoderKLQwenImage (Qwen-Image-Layered)",
        &[
            tensor("encoder.conv_in.weight").of(rgba_in).beside("encoder.**.to_qkv"),
            tensor("encoder.conv1.weight").of(rgba_in).beside("encoder.**.to_qkv"),
            tensor("decoder.conv_out.weight").of(rgba_out).beside("decoder.**.to_qkv"),
            tensor("decoder.head.2.weight").of(rgba_out).beside("decoder.**.to_qkv"),
        ],
    ),
    family(
        "AutoencoderKLQwenImage21 (Qwen-Image 2.1)",
        &[
            tensor("encoder.conv_in.weight").of(axes_4).beside("encoder.**.to_qkv"),
            tensor("encoder.conv1.weight").of(axes_4).beside("encoder.**.to_qkv"),
            tensor("decoder.conv_in.weight").of(axes_4).beside("decoder.**.to_qkv"),
            tensor("decoder.conv1.weight").of(axes_4).beside("decoder.**.to_qkv"),
        ],
    ),
    family(
        "AutoencoderKLWan (Wan 2.2)",
        &[
            tensor("encoder.down_blocks.#.downsampler.resample"),
            tensor("decoder.up_blocks.#.upsampler.resample"),
            tensor("encoder.downsamples.#.downsamples"),
            tensor("decoder.upsamples.#.upsamples"),
        ],
    ),
    family(
        "AutoencoderKLWan (Wan 2.1) or AutoencoderKLQwenImage (Qwen-Image)",
        &[
            tensor("encoder.down_blocks.#.resample"),
            tensor("decoder.up_blocks.#.upsamplers.#.resample"),
            tensor("encoder.mid_block.attentions.#.to_qkv"),
            tensor("decoder.mid_block.attentions.#.to_qkv"),
            tensor("encoder.downsamples.#.residual"),
            tensor("decoder.upsamples.#.residual"),
            tensor("encoder.middle.#.residual"),
            tensor("decoder.middle.#.residual"),
        ],
    ),
    // Video.
    family(
        "AutoencoderKLTemporalDecoder (Stable Video Diffusion)",
        &[
            tensor("decoder.time_conv_out"),
            tensor("decoder.**.temporal_res_block"),
            tensor("decoder.**.time_mixer"),
            tensor("decoder.**.time_stack"),
            tensor("decoder.conv_out.time_mix_conv"),
        ],
    ),
    family(
        "AutoencoderKLAllegro",
        &[
            tensor("encoder.temp_conv_in"),
            tensor("decoder.temp_conv_in"),
            tensor("encoder.mid_block.temp_convs"),
            tensor("decoder.mid_block.temp_convs"),
        ],
    ),
    family(
        "AutoencoderKLMagvit (EasyAnimate)",
        &[
            tensor("encoder.mid_block.convs"),
            tensor("decoder.mid_block.convs"),
            tensor("encoder.down_blocks.#.convs"),
            tensor("decoder.up_blocks.#.convs"),
        ],
    ),
    family(
        "AutoencoderKLCosmos (Cosmos tokenizer)",
        &[
            tensor("encoder.conv_in.conv_s"),
            tensor("decoder.conv_in.conv_s"),
            tensor("encoder.conv_in.#.conv3d"),
            tensor("decoder.conv_in.#.conv3d"),
            tensor("encoder.patcher3d"),
            tensor("decoder.unpatcher3d"),
            tensor("encoder.patcher"),
            tensor("decoder.unpatcher"),
        ],
    ),
    family(
        "AutoencoderKLMochi",
        &[
            tensor("encoder.block_in"),
            tensor("decoder.block_in"),
            tensor("encoder.layers.#.stack"),
            tensor("encoder.layers.#.layers.#.attn_block"),
            tensor("decoder.blocks.#.#.stack"),
            tensor("decoder.blocks.#.blocks.#.stack"),
            tensor("layers.#.stack"),
            tensor("layers.#.layers.#.attn_block"),
            tensor("blocks.#.#.stack"),
            tensor("blocks.#.blocks.#.stack"),
        ],
    ),
    family("AutoencoderVidTok", &[tensor("encoder.down_temporal"), tensor("decoder.up_temporal")]),
    family(
        "LTX2VideoDiffusionDecoderModel (LTX-2)",
        &[tensor("decoder.det_stages"), tensor("decoder.diff_blocks")],
    ),
    family(
        "AutoencoderKLLTXVideo or AutoencoderKLLTX2Video (LTX)",
        &[
            tensor("encoder.conv_in.conv.weight").of(|shape| matches!(shape, [_, 48, _, _, _])),
            tensor("decoder.conv_out.conv.weight").of(|shape| matches!(shape, [48, _, _, _, _])),
            tensor("encoder.down_blocks.#.res_blocks"),
            tensor("decoder.up_blocks.#.res_blocks"),
        ],
    ),
    family(
        "Kandinsky6SRVAE",
        &[
            tensor("encoder.down.#.block.#.norm1.gamma")
                .beside("encoder.down.#.downsample.spatial_conv"),
            tensor("decoder.norm_out.norm_layer.gamma"),
        ],
    ),
    family(
        "AutoencoderKLKVAEVideo (KVAE)",
        &[
            tensor("encoder.down.#.downsample.spatial_conv.weight").of(axes_5),
            tensor("decoder.up.#.upsample.spatial_conv.weight").of(axes_5),
        ],
    ),
    family(
        "AutoencoderKLKVAE (KVAE)",
        &[
            tensor("encoder.down.#.downsample.spatial_conv"),
            tensor("decoder.up.#.upsample.spatial_conv"),
        ],
    ),
    family(
        "AutoencoderKLHunyuanVideo15 or AutoencoderKLHunyuanImageRefiner",
        &[
            tensor("encoder.mid_block.attentions.#.norm.gamma"),
            tensor("decoder.mid_block.attentions.#.norm.gamma"),
            tensor("encoder.mid.attn_1.norm.gamma"),
            tensor("decoder.mid.attn_1.norm.gamma"),
        ],
    ),
    family(
        "AutoencoderKLHunyuanVideo",
        &[
            tensor("encoder.conv_in.conv.weight").of(axes_5).beside("encoder.**.attentions"),
            tensor("decoder.conv_in.conv.weight").of(axes_5).beside("decoder.**.attentions"),
            tensor("encoder.conv_in.conv.weight").of(axes_5).beside("encoder.mid.attn_1"),
            tensor("decoder.conv_in.conv.weight").of(axes_5).beside("decoder.mid.attn_1"),
        ],
    ),
    family(
        "AutoencoderKLCogVideoX",
        &[
            tensor("decoder.mid_block.resnets.#.norm1.conv_y.conv"),
            tensor("decoder.mid.block_1.norm1.conv_y.conv"),
            tensor("encoder.conv_in.conv.weight").of(axes_5).beside("encoder.norm_out.weight"),
        ],
    ),
    family(
        "AutoencoderKLMiniMaxH3",
        &[
            tensor("decoder.register_tokens"),
            tensor("encoder.conv_in.weight").of(axes_5).beside("encoder.norm_out.weight"),
        ],
    ),
    family(
        "a video autoencoder with 3-D convolutions",
        &[
            tensor("encoder.conv_in.weight").of(axes_5),
            tensor("decoder.conv_in.weight").of(axes_5),
            tensor("encoder.conv_in.conv.weight").of(axes_5),
            tensor("decoder.conv_in.conv.weight").of(axes_5),
        ],
    ),
    // Sound. AudioLDM's is an AutoencoderKL.
    family(
        "AutoencoderKLLTX2Audio (LTX-2)",
        &[
            tensor("encoder.conv_in.conv.weight").of(axes_4).beside("encoder.mid.block_1"),
            tensor("decoder.conv_in.conv.weight").of(axes_4).beside("decoder.mid.block_1"),
        ],
    ),
    family("MMAudioVAE", &[tensor("encoder.learnable_gain"), tensor("decoder.learnable_gain")]),
    family(
        "AutoencoderKLKVAEAudio (KVAE)",
        &[
            tensor("in_proj.parametrizations"),
            tensor("encoder.block.#.res_unit1.conv1.parametrizations"),
            tensor("decoder.block.#.res_unit1.conv1.parametrizations"),
        ],
    ),
    family("Cosmos3AVAEAudioTokenizer", &[tensor("encoder.layers.#.dwconv")]),
    family(
        "AutoencoderOobleck (Stable Audio)",
        &[tensor("encoder.block.#.res_unit1"), tensor("decoder.block.#.res_unit1")],
    ),
    family(
        "AutoencoderOobleck (Stable Audio) or LongCatAudioDiTVae",
        &[
            tensor("encoder.layers.#.layers.#.layers.#.alpha"),
            tensor("decoder.layers.#.layers.#.layers.#.alpha"),
        ],
    ),
    family(
        "AutoencoderSAME (Stable Audio)",
        &[tensor("encoder.blocks.#.new_tokens"), tensor("decoder.blocks.#.new_tokens")],
    ),
    family(
        "AutoencoderKLMiniMaxH3Audio",
        &[
            tensor("pre_block.attn.zero_k_bias"),
            tensor("encoder.block.#.block.#.block.#.alpha"),
            tensor("decoder.resblocks.#.activations"),
        ],
    ),
    family("MiniMaxMusic3Vocoder", &[tensor("blocks.#.res_unit1")]),
    family("MMAudioVocoder or another vocoder", &[tensor("resblocks.#.convs1")]),
    family(
        "an audio autoencoder with 1-D convolutions",
        &[tensor("encoder.conv_in.weight").of(axes_3), tensor("decoder.conv_in.weight").of(axes_3)],
    ),
    // Molecules.
    family(
        "RFD4ProteinaAutoencoder",
        &[tensor("encoder.init_repr_factory"), tensor("decoder.init_repr_factory")],
    ),
];

fn axes_3(shape: &[usize]) -> bool {
    shape.len() == 3
}

fn axes_4(shape: &[usize]) -> bool {
    shape.len() == 4
}

fn axes_5(shape: &[usize]) -> bool {
    shape.len() == 5
}

/// Means and variances are even in number.
fn odd_outputs(shape: &[usize]) -> bool {
    matches!(shape, [outputs, _, _, _] if outputs % 2 == 1)
}

/// Pixels go into channels, or back: elsewhere this convolution has as many as it gets.
fn other_outputs(shape: &[usize]) -> bool {
    matches!(shape, [outputs, inputs, _, _, ..] if outputs != inputs)
}

fn rgba_in(shape: &[usize]) -> bool {
    matches!(shape, [_, 4, _, _, _])
}

fn rgba_out(shape: &[usize]) -> bool {
    matches!(shape, [4, _, _, _, _])
}

/// Blocks of 2x2 pixels in RGB or RGBA.
fn patched_inputs(shape: &[usize]) -> bool {
    matches!(shape, [outputs, 12 | 16, _, _] if *outputs > 16)
}

fn patched_outputs(shape: &[usize]) -> bool {
    matches!(shape, [12 | 16, inputs, _, _] if *inputs > 16)
}
