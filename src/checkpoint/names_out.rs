#![forbid(unsafe_code)]
//! Names and shapes of tensors in a file that is written: the inverse of `keys`.

/// The place of a tensor in the state dict of diffusers' class, which has modules in the order in
/// which their constructors make them: compare these.
pub(crate) fn state_dict_place(name: &str) -> Vec<usize> {
    const MODULES: [&str; 28] = [
        "encoder",
        "decoder",
        "quant_conv",
        "post_quant_conv",
        "conv_in",
        "down_blocks",
        "up_blocks",
        "mid_block",
        "condition_encoder",
        "conv_norm_out",
        "conv_out",
        "attentions",
        "resnets",
        "downsamplers",
        "upsamplers",
        "group_norm",
        "to_q",
        "to_k",
        "to_v",
        "to_out",
        "norm1",
        "conv1",
        "norm2",
        "conv2",
        "conv_shortcut",
        "conv",
        "weight",
        "bias",
    ];
    let place = |part: &str| match part.parse() {
        Ok(number) => number,
        Err(_) => MODULES.iter().position(|module| *module == part).unwrap_or(MODULES.len()),
    };
    name.split('.').map(place).collect()
}

/// Whose names a file in the original layout has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OriginalNames {
    /// Latent diffusion's. The decoder has `levels`, which they count from the highest resolution.
    Ldm {
        /// Resolutions of the decoder.
        levels: usize,
    },
    /// FLUX.2's: the same, with the 1x1 convolutions inside the halves.
    Flux2 {
        /// Resolutions of the decoder.
        levels: usize,
    },
    /// TAESD's: numbers alone.
    Taesd,
}

/// The name in the original layout of a tensor that diffusers calls `name`.
pub(crate) fn original_name(name: &str, names: OriginalNames) -> String {
    match names {
        OriginalNames::Ldm { levels } => of_ldm(name, levels),
        OriginalNames::Flux2 { levels } => match name.split_once('.') {
            Some(("quant_conv", _)) => format!("encoder.{name}"),
            Some(("post_quant_conv", _)) => format!("decoder.{name}"),
            _ => of_ldm(name, levels),
        },
        OriginalNames::Taesd => of_taesd(name).unwrap_or_else(|| name.to_owned()),
    }
}

/// TAESD's name, whose decoder begins with a module without weights; `None` for what is no layer.
fn of_taesd(name: &str) -> Option<String> {
    let (half, rest) = name.split_once(".layers.")?;
    let (index, rest) = rest.split_once('.')?;
    let before = if half == "decoder" { 1 } else { 0 };
    Some(format!("{half}.{}.{rest}", index.parse::<usize>().ok()? + before))
}

/// The name in latent diffusion.
fn of_ldm(name: &str, levels: usize) -> String {
    let parts: Vec<&str> = name.split('.').collect();
    let (head, rest) = match parts[..] {
        [root, "mid_block", "attentions", "0", ref rest @ ..] => {
            (format!("{root}.mid.attn_1"), projection(rest))
        }
        [root, "mid_block", "resnets", "0", ref rest @ ..] => {
            (format!("{root}.mid.block_1"), shortcut(rest))
        }
        [root, "mid_block", "resnets", "1", ref rest @ ..] => {
            (format!("{root}.mid.block_2"), shortcut(rest))
        }
        [root, "conv_norm_out", ref rest @ ..] => (format!("{root}.norm_out"), rest.join(".")),
        [root, way @ ("down_blocks" | "up_blocks"), level, part, number, ref rest @ ..] => {
            let (way, level) = match (way, level.parse::<usize>()) {
                ("up_blocks", Ok(level)) if level < levels => {
                    ("up", (levels - 1 - level).to_string())
                }
                ("up_blocks", _) => ("up", level.to_owned()),
                _ => ("down", level.to_owned()),
            };
            let (part, rest) = match part {
                "resnets" => (format!("block.{number}"), shortcut(rest)),
                "attentions" => (format!("attn.{number}"), projection(rest)),
                "downsamplers" => ("downsample".to_owned(), rest.join(".")),
                "upsamplers" => ("upsample".to_owned(), rest.join(".")),
                other => (format!("{other}.{number}"), rest.join(".")),
            };
            (format!("{root}.{way}.{level}.{part}"), rest)
        }
        _ => return name.to_owned(),
    };
    format!("{head}.{rest}")
}

/// The part of a name behind an attention block.
fn projection(rest: &[&str]) -> String {
    let (head, rest) = match *rest {
        ["group_norm", ref rest @ ..] => ("norm", rest),
        ["to_q", ref rest @ ..] => ("q", rest),
        ["to_k", ref rest @ ..] => ("k", rest),
        ["to_v", ref rest @ ..] => ("v", rest),
        ["to_out", "0", ref rest @ ..] => ("proj_out", rest),
        _ => return rest.join("."),
    };
    [&[head], rest].concat().join(".")
}

/// The part of a name behind a ResNet block.
fn shortcut(rest: &[&str]) -> String {
    match *rest {
        ["conv_shortcut", ref rest @ ..] => [&["nin_shortcut"], rest].concat().join("."),
        _ => rest.join("."),
    }
}

/// The shape that a tensor has in a file: diffusers' projections are linear layers, `[out, in]`,
/// the original ones convolutions, `[out, in, 1, 1]`; what is read may have either form.
pub(crate) fn shape_out(name: &str, shape: &[usize], original: bool) -> Vec<usize> {
    let projects = name.contains(".attentions.") && !name.contains(".group_norm.");
    match *shape {
        [to, from] | [to, from, 1] | [to, from, 1, 1] if projects && !original => vec![to, from],
        [to, from] | [to, from, 1] => vec![to, from, 1, 1],
        _ => shape.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_diffusers_become_original_ones() {
        for (name, expected) in [
            (
                "encoder.down_blocks.1.resnets.0.conv_shortcut.weight",
                "encoder.down.1.block.0.nin_shortcut.weight",
            ),
            (
                "encoder.down_blocks.2.downsamplers.0.conv.bias",
                "encoder.down.2.downsample.conv.bias",
            ),
            (
                "encoder.down_blocks.3.attentions.1.group_norm.weight",
                "encoder.down.3.attn.1.norm.weight",
            ),
            ("encoder.mid_block.resnets.1.norm1.bias", "encoder.mid.block_2.norm1.bias"),
            (
                "decoder.mid_block.attentions.0.to_out.0.weight",
                "decoder.mid.attn_1.proj_out.weight",
            ),
            ("decoder.up_blocks.3.resnets.2.conv1.weight", "decoder.up.0.block.2.conv1.weight"),
            ("decoder.up_blocks.0.attentions.2.to_k.bias", "decoder.up.3.attn.2.k.bias"),
            ("decoder.up_blocks.0.upsamplers.0.conv.weight", "decoder.up.3.upsample.conv.weight"),
            ("decoder.conv_norm_out.weight", "decoder.norm_out.weight"),
            ("decoder.conv_out.bias", "decoder.conv_out.bias"),
            ("post_quant_conv.weight", "post_quant_conv.weight"),
        ] {
            assert_eq!(original_name(name, OriginalNames::Ldm { levels: 4 }), expected);
        }
    }

    #[test]
    fn families_have_the_names_of_their_publishers() {
        let flux2 = OriginalNames::Flux2 { levels: 4 };
        for (names, name, expected) in [
            (flux2, "quant_conv.weight", "encoder.quant_conv.weight"),
            (flux2, "post_quant_conv.bias", "decoder.post_quant_conv.bias"),
            (flux2, "bn.running_var", "bn.running_var"),
            (
                flux2,
                "decoder.up_blocks.3.resnets.2.conv1.weight",
                "decoder.up.0.block.2.conv1.weight",
            ),
            (OriginalNames::Taesd, "encoder.layers.0.weight", "encoder.0.weight"),
            (OriginalNames::Taesd, "encoder.layers.11.pool.1.bias", "encoder.11.pool.1.bias"),
            (OriginalNames::Taesd, "decoder.layers.0.weight", "decoder.1.weight"),
            (OriginalNames::Taesd, "decoder.layers.2.conv.4.bias", "decoder.3.conv.4.bias"),
        ] {
            assert_eq!(original_name(name, names), expected);
        }
    }

    #[test]
    fn tensors_stand_in_the_order_of_the_state_dict() {
        let names = [
            "encoder.conv_in.weight",
            "encoder.conv_in.bias",
            "encoder.down_blocks.0.resnets.0.norm1.weight",
            "encoder.down_blocks.0.resnets.0.conv1.weight",
            "encoder.down_blocks.0.downsamplers.0.conv.weight",
            "encoder.down_blocks.1.attentions.0.group_norm.weight",
            "encoder.down_blocks.1.attentions.0.to_out.0.weight",
            "encoder.down_blocks.1.resnets.0.conv_shortcut.weight",
            "encoder.down_blocks.10.resnets.0.norm1.weight",
            "encoder.mid_block.attentions.0.to_q.weight",
            "encoder.mid_block.resnets.0.norm1.weight",
            "encoder.conv_norm_out.weight",
            "encoder.conv_out.weight",
            "decoder.up_blocks.0.resnets.0.norm1.weight",
            "decoder.mid_block.resnets.0.norm1.weight",
            "decoder.condition_encoder.layers.0.weight",
            "decoder.conv_norm_out.weight",
            "quant_conv.weight",
            "post_quant_conv.weight",
            "bn.running_mean",
        ];
        let mut sorted = names;
        sorted.reverse();
        sorted.sort_by_key(|name| state_dict_place(name));
        assert_eq!(sorted, names);
    }

    #[test]
    fn one_by_one_layers_have_the_form_of_their_layout() {
        let query = "decoder.mid_block.attentions.0.to_q.weight";
        for shape in [&[8, 8][..], &[8, 8, 1], &[8, 8, 1, 1]] {
            assert_eq!(shape_out(query, shape, false), [8, 8]);
            assert_eq!(shape_out(query, shape, true), [8, 8, 1, 1]);
            assert_eq!(shape_out("quant_conv.weight", shape, false), [8, 8, 1, 1]);
        }
        assert_eq!(shape_out("decoder.conv_in.weight", &[8, 4, 3, 3], false), [8, 4, 3, 3]);
        assert_eq!(shape_out("decoder.conv_in.bias", &[8], true), [8]);
    }
}
