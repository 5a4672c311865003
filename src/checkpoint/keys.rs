#![forbid(unsafe_code)]
//! Names of tensors: those of an autoencoder, and their names in diffusers today.
//!
//! | in the file | diffusers |
//! |---|---|
//! | `encoder.down.I.block.J` (the original, "LDM") | `encoder.down_blocks.I.resnets.J` |
//! | `encoder.mid.block_1` | `encoder.mid_block.resnets.0` |
//! | `decoder.up.I` (lowest resolution last) | `decoder.up_blocks.(levels - 1 - I)` |
//! | `attn_1.{norm, q, k, v, proj_out}` | `attentions.0.{group_norm, to_q, to_k, to_v, to_out.0}` |
//! | `attentions.J.{query, key, value, proj_attn}` | `attentions.J.{to_q, to_k, to_v, to_out.0}` |
//!
//! (the last are diffusers' deprecated names). All may be bare or behind `first_stage_model.` or
//! `vae.`, with any other tensors around.

use std::collections::BTreeMap;

use super::tensor::{RawTensors, Tensor};
use crate::base::error::{Error, Result};

/// The naming layout of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyLayout {
    Diffusers,
    Original,
}

/// The autoencoder's tensors, renamed, apart from the others.
pub(super) struct Sorted {
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) foreign: Vec<String>,
    pub(super) layout: KeyLayout,
    pub(super) prefix: &'static str,
}

/// Prefixes of the autoencoder in larger checkpoints; the last fits the bare form.
const PREFIXES: [&str; 3] = ["first_stage_model.", "vae.", ""];
/// The first parts of an autoencoder's names.
const ROOTS: [&str; 4] = ["encoder.", "decoder.", "quant_conv.", "post_quant_conv."];

/// # Errors
/// `Model` if there is no autoencoder, two tensors have the same meaning, or one has a type that
/// weights cannot have.
pub(super) fn sort(raw: RawTensors) -> Result<Sorted> {
    let RawTensors { tensors, unsupported, .. } = raw;
    let landmark = |prefix: &str| {
        ["encoder.conv_in.weight", "decoder.conv_in.weight"].iter().any(|name| {
            let name = format!("{prefix}{name}");
            tensors.contains_key(&name) || unsupported.contains_key(&name)
        })
    };
    let prefix = PREFIXES.into_iter().find(|prefix| landmark(prefix)).ok_or_else(|| {
        Error::model(format!(
            "no autoencoder among {} tensors: neither encoder.conv_in.weight nor \
             decoder.conv_in.weight \
             is there, bare or behind first_stage_model. or vae.",
            tensors.len() + unsupported.len()
        ))
    })?;
    let ours = |name: &str| {
        name.strip_prefix(prefix)
            .filter(|rest| ROOTS.iter().any(|root| rest.starts_with(root)))
            .map(str::to_owned)
    };
    let original = tensors.keys().filter_map(|name| ours(name)).any(|name| is_original(&name));
    let layout = if original { KeyLayout::Original } else { KeyLayout::Diffusers };
    let levels = up_levels(tensors.keys().filter_map(|name| ours(name)));
    let mut sorted = Sorted { tensors: BTreeMap::new(), foreign: Vec::new(), layout, prefix };
    if let Some((name, dtype)) = unsupported.iter().find(|(name, _)| ours(name).is_some()) {
        return Err(Error::model(format!(
            "tensor {name}: f32, f16, bf16, f64, an f8 or a quantised type expected, {dtype} found"
        )));
    }
    sorted.foreign.extend(unsupported.into_keys());
    for (name, tensor) in tensors {
        let Some(rest) = ours(&name) else {
            sorted.foreign.push(name);
            continue;
        };
        let canonical =
            if original { from_original(&rest, levels) } else { from_deprecated(&rest) };
        if let Some(other) = sorted.tensors.insert(canonical, tensor) {
            let message = format!("tensors {name} and {} mean the same", other.name);
            return Err(Error::model(message));
        }
    }
    Ok(sorted)
}

fn is_original(name: &str) -> bool {
    let original = [".mid.", ".down.", ".up.", ".norm_out."];
    original.iter().any(|part| name.contains(part))
}

/// Levels of a decoder in the original layout, whose order is reversed.
fn up_levels(names: impl Iterator<Item = String>) -> usize {
    names
        .filter_map(|name| {
            name.strip_prefix("decoder.up.")?.split('.').next()?.parse::<usize>().ok()
        })
        .filter(|&level| level < 64)
        .map(|level| level + 1)
        .max()
        .unwrap_or(0)
}

fn from_deprecated(name: &str) -> String {
    const NAMES: [(&str, &str); 4] =
        [("query", "to_q"), ("key", "to_k"), ("value", "to_v"), ("proj_attn", "to_out.0")];
    rename_attention(name, &NAMES)
}

/// Renames the part behind `attentions.J.`.
fn rename_attention(name: &str, names: &[(&str, &str)]) -> String {
    let mut parts: Vec<&str> = name.split('.').collect();
    if let Some(at) = parts.iter().position(|&part| part == "attentions")
        && let Some(part) = parts.get_mut(at + 2)
        && let Some((_, new)) = names.iter().find(|(old, _)| old == part)
    {
        *part = new;
    }
    parts.join(".")
}

fn from_original(name: &str, levels: usize) -> String {
    const NAMES: [(&str, &str); 5] = [
        ("norm", "group_norm"),
        ("q", "to_q"),
        ("k", "to_k"),
        ("v", "to_v"),
        ("proj_out", "to_out.0"),
    ];
    let parts: Vec<&str> = name.split('.').collect();
    let renamed: Vec<String> = match parts[..] {
        [root, "mid", "attn_1", ..] => head(&[root, "mid_block", "attentions", "0"], &parts[3..]),
        [root, "mid", "block_1", ..] => head(&[root, "mid_block", "resnets", "0"], &parts[3..]),
        [root, "mid", "block_2", ..] => head(&[root, "mid_block", "resnets", "1"], &parts[3..]),
        [root, "norm_out", ..] => head(&[root, "conv_norm_out"], &parts[2..]),
        [root, way @ ("down" | "up"), level, part, ..] => {
            let blocks = if way == "down" { "down_blocks" } else { "up_blocks" };
            let level = match level.parse::<usize>() {
                Ok(n) if way == "up" && n < levels => (levels - 1 - n).to_string(),
                _ => level.to_owned(),
            };
            let part = match part {
                "block" => "resnets",
                "attn" => "attentions",
                "downsample" => "downsamplers.0",
                "upsample" => "upsamplers.0",
                other => other,
            };
            head(&[root, blocks, &level, part], &parts[4..])
        }
        _ => head(&[], &parts),
    };
    let name = renamed.join(".").replace(".nin_shortcut.", ".conv_shortcut.");
    rename_attention(&name, &NAMES)
}

fn head(head: &[&str], rest: &[&str]) -> Vec<String> {
    head.iter().chain(rest).map(|&part| part.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn original_names_become_those_of_diffusers() {
        for (original, expected) in [
            (
                "encoder.down.1.block.0.nin_shortcut.weight",
                "encoder.down_blocks.1.resnets.0.conv_shortcut.weight",
            ),
            (
                "encoder.down.2.downsample.conv.bias",
                "encoder.down_blocks.2.downsamplers.0.conv.bias",
            ),
            (
                "encoder.down.3.attn.1.norm.weight",
                "encoder.down_blocks.3.attentions.1.group_norm.weight",
            ),
            ("encoder.mid.block_2.norm1.bias", "encoder.mid_block.resnets.1.norm1.bias"),
            (
                "decoder.mid.attn_1.proj_out.weight",
                "decoder.mid_block.attentions.0.to_out.0.weight",
            ),
            ("decoder.mid.attn_1.q.bias", "decoder.mid_block.attentions.0.to_q.bias"),
            ("decoder.up.0.block.2.conv1.weight", "decoder.up_blocks.3.resnets.2.conv1.weight"),
            ("decoder.up.3.upsample.conv.weight", "decoder.up_blocks.0.upsamplers.0.conv.weight"),
            ("decoder.norm_out.weight", "decoder.conv_norm_out.weight"),
            ("decoder.conv_out.bias", "decoder.conv_out.bias"),
            ("post_quant_conv.weight", "post_quant_conv.weight"),
        ] {
            assert_eq!(from_original(original, 4), expected);
        }
    }

    #[test]
    fn deprecated_attention_names_become_todays() {
        let name = |part: &str| format!("decoder.mid_block.attentions.0.{part}.weight");
        for (old, new) in [
            ("query", "to_q"),
            ("key", "to_k"),
            ("value", "to_v"),
            ("proj_attn", "to_out.0"),
            ("to_q", "to_q"),
        ] {
            assert_eq!(from_deprecated(&name(old)), name(new));
        }
    }
}
