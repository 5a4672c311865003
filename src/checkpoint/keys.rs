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
//! | `encoder.quant_conv`, `decoder.post_quant_conv` (FLUX.2) | `quant_conv`, `post_quant_conv` |
//! | `encoder.N`, `decoder.N` (TAESD) | `encoder.layers.N`, `decoder.layers.(N - 1)` |
//!
//! (`query` and its like are diffusers' deprecated names). All may be bare or behind a prefix
//! ([`Prefix`]), with any other tensors around.

use std::collections::{BTreeMap, BTreeSet};

use super::limits::MOST_PARTS;
use super::prefix::{Prefix, unwrapped};
use super::raw_tensors::RawTensors;
use super::relatives::of_another_model;
use super::tensor::Tensor;
use super::text::shortened;
use crate::base::alloc;
use crate::base::error::{Error, Result};

/// How a checkpoint names its tensors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyLayout {
    /// The names of diffusers: `decoder.mid_block.attentions.0.to_q.weight`, `[out, in]`.
    #[default]
    Diffusers,
    /// The names of the original ("LDM"): `decoder.mid.attn_1.q.weight`, `[out, in, 1, 1]`.
    Original,
}

impl KeyLayout {
    /// The name: `diffusers` or `original`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Diffusers => "diffusers",
            Self::Original => "original",
        }
    }
}

/// The autoencoder's tensors, renamed, apart from the others.
pub(super) struct Sorted {
    pub(super) tensors: BTreeMap<String, Tensor>,
    pub(super) foreign: Vec<String>,
    pub(super) layout: KeyLayout,
    pub(super) prefix: String,
}

/// What is allocated here, for messages.
const NAMES: &str = "names of tensors";

/// The first parts of an autoencoder's names.
const ROOTS: [&str; 5] = ["encoder.", "decoder.", "quant_conv.", "post_quant_conv.", "bn.running_"];

/// The number of batches that FLUX.2's statistics were made of.
pub(crate) const BATCHES: &str = "bn.num_batches_tracked";

/// # Errors
/// `Model` if there is no autoencoder, it is of another family, two tensors have the same meaning,
/// or one has a type that weights cannot have.
pub(super) fn sort(raw: RawTensors) -> Result<Sorted> {
    let RawTensors { tensors, unsupported, .. } = raw;
    // By the names without wrappers, the names in the file.
    let (mut names, mut twice) = (BTreeMap::new(), Vec::new());
    for name in tensors.keys().chain(unsupported.keys()) {
        if let Some(other) = names.insert(unwrapped(name), name.clone()) {
            alloc::push(&mut twice, (name.clone(), other), NAMES)?;
        }
    }
    // One by one: collected, they would be in a vector first, whose allocation cannot fail.
    let mut set = BTreeSet::new();
    for name in names.keys() {
        set.insert(name.as_str());
    }
    let prefix = Prefix::find(&set).ok_or_else(|| no_autoencoder(&set))?;
    let inside = |name: &str| prefix.strip(name).map(|rest| prefix.complete(rest));
    let ours =
        |name: &str| inside(name).filter(|rest| ROOTS.iter().any(|root| rest.starts_with(root)));
    // Beside the autoencoder it does not matter.
    if let Some((one, other)) = twice.iter().find(|(one, _)| ours(&unwrapped(one)).is_some()) {
        return Err(same(one, other));
    }
    let mut own = BTreeMap::new();
    for &name in &set {
        if let Some(rest) = ours(name) {
            own.insert(names[name].as_str(), rest);
        }
    }
    let original = own.values().any(|name| is_original(name));
    let layout = if original { KeyLayout::Original } else { KeyLayout::Diffusers };
    let levels = up_levels(own.values());
    if let Some((name, dtype)) = unsupported.iter().find(|(name, _)| own.contains_key(&***name)) {
        return Err(Error::model(format!(
            "tensor {name}: f32, f16, bf16, f64, an f8 or a quantised type expected, {dtype} found"
        )));
    }
    // A count of training steps is among the tensors of FLUX.2, but is no weight.
    let counts = |name: &str| inside(&unwrapped(name)).is_some_and(|rest| rest == BATCHES);
    let mut sorted = Sorted {
        tensors: BTreeMap::new(),
        foreign: alloc::collected(unsupported.keys().filter(|name| !counts(name)).cloned(), NAMES)?,
        layout,
        prefix: prefix.text.clone(),
    };
    for (name, tensor) in tensors {
        let Some(rest) = own.get(&*name) else {
            alloc::push(&mut sorted.foreign, name, NAMES)?;
            continue;
        };
        let canonical = canonical(rest, original, levels);
        if let Some(other) = sorted.tensors.insert(canonical, tensor) {
            return Err(same(&name, &other.name));
        }
    }
    Ok(sorted)
}

fn same(one: &str, other: &str) -> Error {
    Error::model(format!("tensors {one} and {other} mean the same"))
}

/// The error for tensors without an autoencoder.
fn no_autoencoder(names: &BTreeSet<&str>) -> Error {
    if let Some(tensor) = of_another_model(names.iter().copied()) {
        return Error::model(format!(
            "no autoencoder: a model without one (tensor {tensor}); it is in a file or folder of \
             its own, such as vae/"
        ));
    }
    let count = names.len();
    let some: Vec<String> = names.iter().take(3).map(|name| shortened(name)).collect();
    let found = if count == 0 { String::new() } else { format!(" (such as {})", some.join(", ")) };
    Error::model(format!(
        "no autoencoder among {count} tensors{found}: neither encoder.conv_in.weight nor \
         decoder.conv_in.weight is there, nor a tiny autoencoder's layers, bare or behind a \
         prefix such as first_stage_model. or vae."
    ))
}

fn is_original(name: &str) -> bool {
    let original = [".mid.", ".down.", ".up.", ".norm_out."];
    original.iter().any(|part| name.contains(part)) || from_taesd(name).is_some()
}

/// The name in diffusers today.
fn canonical(name: &str, original: bool, levels: usize) -> String {
    // No layer has so many parts, and a name may be all points.
    if name.split('.').count() > MOST_PARTS {
        return name.to_owned();
    }
    if let Some(name) = from_taesd(name) {
        return name;
    }
    // FLUX.2's own files have the 1x1 convolutions inside the halves.
    for (own, theirs) in
        [("encoder.quant_conv.", "quant_conv."), ("decoder.post_quant_conv.", "post_quant_conv.")]
    {
        if let Some(rest) = name.strip_prefix(own) {
            return format!("{theirs}{rest}");
        }
    }
    if original { from_original(name, levels) } else { from_deprecated(name) }
}

/// The name in diffusers of a tensor of TAESD's own files, whose decoder has one module more before
/// the first convolution; `None` for other names.
fn from_taesd(name: &str) -> Option<String> {
    let (half, rest) = name.split_once('.')?;
    let (index, rest) = rest.split_once('.')?;
    let before = match half {
        "encoder" => 0,
        "decoder" => 1,
        _ => return None,
    };
    let index = index.parse::<usize>().ok()?.checked_sub(before)?;
    Some(format!("{half}.layers.{index}.{rest}"))
}

/// Levels of a decoder in the original layout, whose order is reversed.
fn up_levels<'n>(names: impl Iterator<Item = &'n String>) -> usize {
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
    fn names_of_flux2_and_taesd_become_those_of_diffusers() {
        for (own, expected) in [
            ("encoder.quant_conv.bias", "quant_conv.bias"),
            ("decoder.post_quant_conv.weight", "post_quant_conv.weight"),
            ("encoder.0.weight", "encoder.layers.0.weight"),
            ("encoder.11.pool.1.bias", "encoder.layers.11.pool.1.bias"),
            ("decoder.1.weight", "decoder.layers.0.weight"),
            ("decoder.3.conv.4.bias", "decoder.layers.2.conv.4.bias"),
            ("decoder.layers.0.weight", "decoder.layers.0.weight"),
            ("bn.running_mean", "bn.running_mean"),
        ] {
            assert_eq!(canonical(own, is_original(own), 4), expected);
        }
        assert_eq!(from_taesd("decoder.0.weight"), None);
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
