//! Arrays, masks and latents: the format is that of the bytes, and the name of the file follows.
//! What is read has as many values as its shape says; an array that is written is read again.

use std::sync::OnceLock;

use vaekl::Model;
use vaekl_cli::fuzzing::{self, Wanted};

use super::scratch::Scratch;
use super::{archive, is_for_a_person};

/// The ending for the format that the bytes begin as, and the bytes that are to be read.
fn format(bytes: &[u8]) -> (&'static str, Vec<u8>) {
    match bytes {
        [0x93, ..] => ("npy", bytes.to_vec()),
        [b'P', b'K', ..] => ("npz", archive::repaired(bytes)),
        [0x80, _, 0x8a, ..] => ("pt", bytes.to_vec()),
        _ => ("safetensors", bytes.to_vec()),
    }
}

pub fn arrays(bytes: &[u8]) {
    let (ending, bytes) = format(bytes);
    if !matches!(ending, "npy" | "safetensors") {
        return;
    }
    let scratch = Scratch::new();
    let path = scratch.write(&format!("input.{ending}"), &bytes);
    if let Err(message) = fuzzing::mask(&path) {
        is_for_a_person(&message);
    }
    match fuzzing::array(&path) {
        Ok(array) => {
            assert!(!array.is_empty());
            let again = scratch.write("again.npy", &fuzzing::npy(&array));
            let again = fuzzing::array(&again).unwrap_or_else(|message| panic!("{message}"));
            let bits = |value: &f32| value.to_bits();
            assert_eq!(again.dim(), array.dim());
            assert!(again.iter().map(bits).eq(array.iter().map(bits)));
        }
        Err(message) => is_for_a_person(&message),
    }
}

pub fn latents(bytes: &[u8]) {
    static MODEL: OnceLock<Model> = OnceLock::new();
    let model = MODEL.get_or_init(fuzzing::model);
    let (ending, bytes) = format(bytes);
    let endings: &[&str] = match ending {
        "safetensors" => &["safetensors", "latent"],
        // PyTorch's files are archives too.
        "npz" => &["npz", "pt"],
        "npy" => &["npy"],
        _ => &["pth"],
    };
    for ending in endings {
        let scratch = Scratch::new();
        let path = scratch.write(&format!("input.{ending}"), &bytes);
        for wanted in [
            Wanted { tensor: None, scaled: false, size: None },
            Wanted { tensor: None, scaled: true, size: Some((64, 40)) },
            Wanted { tensor: Some("latents"), scaled: false, size: None },
        ] {
            match fuzzing::latents(&path, model, wanted) {
                Ok(array) => {
                    let channels = model.config().latent_channels;
                    let found = array.dim().1;
                    assert!(!array.is_empty() && (found == channels || found == 2 * channels));
                }
                Err(message) => is_for_a_person(&message),
            }
        }
    }
}
