#![forbid(unsafe_code)]
//! Where the autoencoder's tensors are among those of a file: what stands before their names.

use std::collections::BTreeSet;

/// Parts that may stand before an autoencoder's names: the field of a larger model, the keys of
/// training checkpoints, and wrappers of PyTorch.
const BEFORE: [&str; 15] = [
    "autoencoder",
    "ema",
    "ema_model",
    "ema_state_dict",
    "first_stage_model",
    "model",
    "model_ema",
    "model_state_dict",
    "module",
    "params",
    "params_ema",
    "shadow_params",
    "state_dict",
    "vae",
    "weights",
];

/// Wrappers that PyTorch puts anywhere in a name: `torch.compile`, activation checkpointing, FSDP.
const WRAPPERS: [&str; 3] = ["_orig_mod.", "_checkpoint_wrapped_module.", "_fsdp_wrapped_module."];

/// The tensors by which an encoder and a decoder are known: those of `AutoencoderKL`, of
/// `AutoencoderTiny`, and of TAESD's own modules, one with two convolutions at its beginning.
const LANDMARKS: [&str; 7] = [
    "encoder.conv_in.weight",
    "decoder.conv_in.weight",
    "encoder.layers.0.weight",
    "decoder.layers.0.weight",
    "encoder.1.conv.0.weight",
    "encoder.4.conv.0.weight",
    "decoder.3.conv.0.weight",
];

/// A half of TAESD in a file of its own, whose names lack the half's: the block by which it is
/// known, the convolution before it, and whether it has a module 0 with weights.
const TAESD: [(&str, &str, bool, &str); 3] = [
    ("1.conv.0.weight", "0.weight", true, "encoder."),
    ("4.conv.0.weight", "2.weight", true, "encoder."),
    ("3.conv.0.weight", "1.weight", false, "decoder."),
];

/// The first parts of the names of a half.
const OF_A_HALF: [&str; 8] = [
    "conv_in.",
    "conv_out.",
    "conv_norm_out.",
    "norm_out.",
    "mid.",
    "mid_block.",
    "up.",
    "up_blocks.",
];

/// What stands before an autoencoder's names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Prefix {
    /// With its last point; empty for bare names.
    pub(super) text: String,
    /// `encoder.` or `decoder.` in a file of a half alone whose names lack it; otherwise empty.
    root: &'static str,
}

impl Prefix {
    /// Finds the autoencoder among `names`, without their wrappers. Averaged weights (`ema`) count
    /// only if there are no others.
    pub(super) fn find(names: &BTreeSet<&str>) -> Option<Self> {
        let fronts = |landmark: &'static str| {
            let fronts = names.iter().filter_map(move |&name| name.strip_suffix(landmark));
            fronts.filter(|front| is_known(front))
        };
        let rank = |front: &&str| (front.contains("ema"), front.len());
        if let Some(text) = LANDMARKS.into_iter().flat_map(fronts).min_by_key(rank) {
            return Some(Self { text: text.to_owned(), root: "" });
        }
        let decoders = fronts("conv_in.weight").filter(|front| is_decoder(names, front));
        if let Some(text) = decoders.min_by_key(rank) {
            return Some(Self { text: text.to_owned(), root: "decoder." });
        }
        TAESD.into_iter().find_map(|(block, conv, begins, root)| {
            let has = |front: &str, name| names.contains(&*format!("{front}{name}"));
            let fits = |front: &&str| has(front, conv) && has(front, "0.weight") == begins;
            let text = fronts(block).filter(fits).min_by_key(rank)?;
            Some(Self { text: text.to_owned(), root })
        })
    }

    /// `name` without the prefix, if it has it.
    pub(super) fn strip<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_prefix(&self.text)
    }

    /// A name inside the prefix, with the name of its half.
    pub(super) fn complete(&self, rest: &str) -> String {
        let lacks_root = OF_A_HALF.iter().any(|part| rest.starts_with(part))
            || rest.starts_with(|first: char| first.is_ascii_digit());
        format!("{}{rest}", if lacks_root { self.root } else { "" })
    }
}

/// `name` without what PyTorch's wrappers add.
pub(super) fn unwrapped(name: &str) -> String {
    WRAPPERS.iter().fold(name.to_owned(), |name, wrapper| name.replace(wrapper, ""))
}

/// `name` without the known parts before it, and those in `more`.
pub(super) fn bare<'n>(mut name: &'n str, more: &[&str]) -> &'n str {
    while let Some((part, rest)) = name.split_once('.')
        && (BEFORE.contains(&part) || more.contains(&part))
    {
        name = rest;
    }
    name
}

fn is_known(front: &str) -> bool {
    front.is_empty()
        || front
            .strip_suffix('.')
            .is_some_and(|parts| parts.split('.').all(|part| BEFORE.contains(&part)))
}

/// Whether the names behind `front` are those of a decoder whose own name is missing. A U-Net has
/// such names too, but also a way down.
fn is_decoder(names: &BTreeSet<&str>, front: &str) -> bool {
    let has = |part: &str| names.contains(&*format!("{front}{part}"));
    let starts = |part: &str| {
        let start = format!("{front}{part}");
        names.range(&*start..).next().is_some_and(|name| name.starts_with(&start))
    };
    let up = has("up.0.block.0.conv1.weight") || has("up_blocks.0.resnets.0.conv1.weight");
    let mid = has("mid.block_1.conv1.weight") || has("mid_block.resnets.0.conv1.weight");
    up && mid && !starts("down.") && !starts("down_blocks.") && !starts("time_embed")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(names: &[&str]) -> Option<(String, String)> {
        let names: BTreeSet<&str> = names.iter().copied().collect();
        let prefix = Prefix::find(&names)?;
        let example = prefix.complete("conv_in.weight");
        Some((prefix.text, example))
    }

    #[test]
    fn prefixes_of_containers_and_wrappers() {
        for text in
            ["", "vae.", "model.vae.", "module.", "state_dict.first_stage_model.", "ema.module."]
        {
            for landmark in LANDMARKS {
                let name = format!("{text}{landmark}");
                assert_eq!(found(&["x.y", &name]).unwrap().0, text);
            }
        }
        let both = ["ema.decoder.conv_in.weight", "state_dict.decoder.conv_in.weight"];
        assert_eq!(found(&both).unwrap().0, "state_dict.");
        assert_eq!(found(&["control_model.decoder.conv_in.weight"]), None);
        assert_eq!(bare("model.ema.vae.a.vae.b", &[]), "a.vae.b");
        assert_eq!(bare("extra.module.weights", &["extra"]), "weights");
        assert_eq!(unwrapped("_orig_mod.decoder._orig_mod.conv_in.bias"), "decoder.conv_in.bias");
    }

    #[test]
    fn halves_of_taesd_lack_their_names() {
        let root = |names: &[&str]| {
            let names: BTreeSet<&str> = names.iter().copied().collect();
            Prefix::find(&names).map(|prefix| prefix.complete("3.conv.0.weight"))
        };
        let (encoder, decoder) = ("encoder.3.conv.0.weight", "decoder.3.conv.0.weight");
        for (names, expected) in [
            (&["0.weight", "1.conv.0.weight", "3.conv.0.weight"][..], Some(encoder)),
            (&["0.weight", "2.weight", "4.conv.0.weight"], Some(encoder)),
            (&["1.weight", "3.conv.0.weight"], Some(decoder)),
            (&["0.weight", "3.conv.0.weight", "1.weight"], None),
            (&["conv.0.weight"], None),
        ] {
            assert_eq!(root(names).as_deref(), expected, "{names:?}");
        }
    }

    #[test]
    fn a_decoder_alone_may_lack_its_name() {
        let decoder = [
            "conv_in.weight",
            "mid.block_1.conv1.weight",
            "up.0.block.0.conv1.weight",
            "norm_out.bias",
        ];
        let expected = Some((String::new(), "decoder.conv_in.weight".to_owned()));
        assert_eq!(found(&decoder), expected);
        let unet = [&decoder[..], &["down.0.block.0.conv1.weight"]].concat();
        assert_eq!(found(&unet), None);
    }
}
