#![forbid(unsafe_code)]
//! Near relatives of the families that are opened, known by tensors that those do not have. Opened
//! as one, they would give a wrong picture.

/// A tensor of another family.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Relative {
    pub(super) family: &'static str,
    /// Its name inside the autoencoder.
    pub(super) tensor: String,
}

/// A mark of a family in the names of its tensors.
enum Mark {
    Starts(&'static str),
    Has(&'static str),
}

use Mark::{Has, Starts};

impl Mark {
    fn fits(&self, name: &str) -> bool {
        match self {
            Starts(text) => name.starts_with(text),
            Has(text) => name.contains(text),
        }
    }
}

const VIDEO: &str = "AutoencoderKLTemporalDecoder (Stable Video Diffusion)";
const WAN: &str = "AutoencoderKLWan (Wan, Qwen-Image)";

/// Marks and families; the first that fits counts.
const MARKS: [(Mark, &str); 15] = [
    (Has(".time_stack."), VIDEO),
    (Has(".time_mix"), VIDEO),
    (Has(".temporal_res_block."), VIDEO),
    (Starts("decoder.time_conv_out."), VIDEO),
    (Starts("quantize.embedding"), "VQModel (latent diffusion's vector quantiser)"),
    (Starts("decoder_unet."), "ConsistencyDecoderVAE"),
    (Starts("encoder.stages."), "AutoencoderDC"),
    (Starts("decoder.stages."), "AutoencoderDC"),
    (Has(".attn.to_qkv_multiscale."), "AutoencoderDC"),
    (Starts("encoder.downsamples."), WAN),
    (Starts("decoder.upsamples."), WAN),
    (Has(".time_conv."), WAN),
    (Starts("encoder.conv_in.conv."), "a video autoencoder with 3-D convolutions"),
    (Starts("decoder.conv_in.conv."), "a video autoencoder with 3-D convolutions"),
    (Has(".res_unit1."), "AutoencoderOobleck"),
];

/// Tensors of models whose autoencoder is in another file.
const WITHOUT: [Mark; 5] = [
    Has("model.diffusion_model."),
    Has("double_blocks."),
    Has("joint_blocks."),
    Has("text_model."),
    Starts("time_embedding."),
];

/// The first of the tensors that is of a model without an autoencoder.
pub(super) fn of_another_model<'n>(names: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    names.into_iter().find(|name| WITHOUT.iter().any(|mark| mark.fits(name)))
}

/// The family of the first mark that one of the tensors has.
pub(super) fn relative(names: impl Iterator<Item = String>) -> Option<Relative> {
    let marked = names.filter_map(|name| {
        let at = MARKS.iter().position(|(mark, _)| mark.fits(&name))?;
        Some((at, name))
    });
    marked.min().map(|(at, tensor)| Relative { family: MARKS[at].1, tensor })
}
