//! Which array of a file is the latents.

use crate::arrays::{Entry, alternatives, pick};

/// ComfyUI's name of the latents.
pub(super) const COMFY: &str = "latent_tensor";

/// Names of latents, first those that this command writes.
const NAMES: [&str; 6] = ["latents", COMFY, "latent", "samples", "moments", "sample"];

/// The array named `asked`, or the one that must be meant: one of a known name, the one with the
/// size in its name as caches of trainers have it, or the only one that latents can be.
pub(super) fn choose<'e>(entries: &'e [Entry], asked: Option<&str>) -> Result<&'e Entry, String> {
    let list = |entries: &[&Entry]| {
        entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", ")
    };
    let all: Vec<&Entry> = entries.iter().collect();
    if let Some(name) = asked {
        let found = entries.iter().find(|entry| entry.name == name);
        return found.ok_or_else(|| match entries {
            [Entry { name: nameless, .. }] if nameless.is_empty() => {
                format!("the array has no name, {name} expected by --tensor")
            }
            _ => format!("no tensor {name}, --tensor is one of {}", few(&list(&all))),
        });
    }
    if !NAMES.iter().any(|name| entries.iter().any(|entry| entry.name == *name)) {
        let sized: Vec<&Entry> = entries.iter().filter(|entry| is_sized(&entry.name)).collect();
        match sized[..] {
            [entry] => return Ok(entry),
            [] => {}
            _ => {
                let names = few(&list(&sized));
                return Err(format!(
                    "latents of {} sizes: --tensor picks one of {names}",
                    sized.len()
                ));
            }
        }
        let usable: Vec<&Entry> = entries.iter().filter(|entry| is_usable(entry)).collect();
        if let [entry] = usable[..] {
            return Ok(entry);
        }
    }
    pick(entries, &NAMES).map_err(|_| {
        let (count, names) = (entries.len(), alternatives(&NAMES));
        let there = if count == 0 { String::new() } else { format!(" ({})", few(&list(&all))) };
        format!("{count} tensors{there}, expected one, or one named {names}; --tensor picks one")
    })
}

/// `latents_HxW`.
fn is_sized(name: &str) -> bool {
    let size = name.strip_prefix("latents_").and_then(|size| size.split_once('x'));
    size.is_some_and(|(height, width)| {
        height.parse::<usize>().is_ok() && width.parse::<usize>().is_ok()
    })
}

/// Floats with the axes that latents have.
fn is_usable(entry: &Entry) -> bool {
    entry.shape.as_ref().is_some_and(|shape| (3..=5).contains(&shape.len()))
}

/// The beginning of a list of names.
fn few(names: &str) -> String {
    const MOST: usize = 200;
    match names.char_indices().nth(MOST) {
        Some((at, _)) => format!("{} ...", &names[..at]),
        None => names.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(of: &[(&str, usize)]) -> Vec<Entry> {
        let entry = |&(name, axes): &(&str, usize)| Entry {
            name: name.to_owned(),
            shape: (axes > 0).then(|| vec![1; axes]),
        };
        of.iter().map(entry).collect()
    }

    #[test]
    fn the_latents_are_found() {
        let cases: [(&[(&str, usize)], &str); 8] = [
            (&[("x", 4)], "x"),
            (&[("a", 4), ("latents", 4), ("moments", 4)], "latents"),
            (&[("latents", 3), ("original_size", 0), ("latents_flipped", 3)], "latents"),
            (
                &[("latents_8x4", 3), ("latents_flipped_8x4", 3), ("alpha_mask_8x4", 2)],
                "latents_8x4",
            ),
            (&[("latents_8x4_flipped", 3), ("latents_8x4", 3)], "latents_8x4"),
            (&[("latent_tensor", 4), ("latent_format_version_0", 1)], "latent_tensor"),
            (&[("step", 0), ("z", 5), ("mask", 2)], "z"),
            (&[("step", 0)], "step"),
        ];
        for (of, expected) in cases {
            assert_eq!(choose(&entries(of), None).ok().unwrap().name, expected);
        }
    }

    #[test]
    fn what_is_ambiguous_is_said() {
        let several = entries(&[("latents_8x4", 3), ("latents_4x8", 3), ("crop_ltrb_8x4", 0)]);
        let message = choose(&several, None).err().unwrap();
        assert_eq!(message, "latents of 2 sizes: --tensor picks one of latents_8x4, latents_4x8");
        assert_eq!(choose(&several, Some("latents_4x8")).ok().unwrap().name, "latents_4x8");
        let message = choose(&several, Some("x")).err().unwrap();
        assert!(message.starts_with("no tensor x, --tensor is one of latents_8x4, "), "{message}");
        let message = choose(&entries(&[("a", 4), ("b", 4)]), None).err().unwrap();
        assert!(message.starts_with("2 tensors (a, b), expected one, or one named "), "{message}");
        assert!(choose(&[], None).err().unwrap().starts_with("0 tensors, expected"));
        let message = choose(&entries(&[("", 4)]), Some("x")).err().unwrap();
        assert!(message.contains("no name"), "{message}");
    }
}
