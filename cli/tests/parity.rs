//! The command gives diffusers' numbers for the small models in the library's `tests/data`, whose
//! `reference.safetensors` it reads as it is: `latents` for `decode`, `image` for `encode`.

mod common;

use std::path::{Path, PathBuf};

use common::{Folder, repository, safetensors};
use safetensors::{Dtype, SafeTensors};

/// Models with scaling alone, with a shift, with means and deviations; one in a file of its own
/// that needs `--config`; one with grey pictures in f16.
const MODELS: [&str; 5] =
    ["sd_like", "relu_no_mid_attention", "four_in_three_out", "vae_prefix", "grey_one_channel"];

struct Case {
    folder: PathBuf,
    reference: Vec<u8>,
    outputs: Folder,
}

impl Case {
    fn open(name: &str) -> Option<Self> {
        let folder = repository("tests/data")?.join(name);
        let reference = std::fs::read(folder.join("reference.safetensors")).unwrap();
        Some(Self { folder, reference, outputs: Folder::new() })
    }

    /// A tensor of the reference.
    fn expected(&self, name: &str) -> (Vec<usize>, Vec<f64>) {
        tensor(&self.reference, name)
    }

    /// Runs the command on `input` and gives the tensor it writes.
    fn run(&self, command: &str, input: &Path, options: &[&str]) -> (Vec<usize>, Vec<f64>) {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let config = self.folder.join("config.json");
        let model = if config.exists() {
            vec![text(&self.folder)]
        } else {
            let config = text(&self.folder.join("expected_config.json"));
            vec![text(&self.folder.join("model.safetensors")), "--config".into(), config]
        };
        let mut arguments = vec![command.to_owned(), text(input)];
        arguments.extend(["-o", "out.safetensors", "--quiet", "--model"].map(String::from));
        arguments.extend(model);
        arguments.extend(options.iter().map(|&option| option.to_owned()));
        self.outputs.succeed(&arguments);
        let name = match (command, options.contains(&"moments")) {
            ("decode", _) => "sample",
            (_, true) => "moments",
            _ => "latents",
        };
        tensor(&self.outputs.read("out.safetensors"), name)
    }

    fn reference_path(&self) -> PathBuf {
        self.folder.join("reference.safetensors")
    }
}

fn tensor(file: &[u8], name: &str) -> (Vec<usize>, Vec<f64>) {
    let file = SafeTensors::deserialize(file).unwrap();
    let tensor = file.tensor(name).unwrap();
    let data = tensor.data();
    let values = match tensor.dtype() {
        Dtype::F64 => data.as_chunks().0.iter().map(|&value| f64::from_le_bytes(value)).collect(),
        Dtype::F32 => {
            data.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value).into()).collect()
        }
        other => panic!("{other:?}"),
    };
    (tensor.shape().to_vec(), values)
}

/// At most 1e-4 of the range apart.
fn assert_close(what: &str, found: &(Vec<usize>, Vec<f64>), expected: &(Vec<usize>, Vec<f64>)) {
    assert_eq!(found.0, expected.0, "{what}");
    let (low, high) =
        expected.1.iter().fold((f64::MAX, f64::MIN), |(low, high), &v| (low.min(v), high.max(v)));
    let worst = found.1.iter().zip(&expected.1).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(worst <= 1e-4 * (high - low), "{what}: {worst} of {}", high - low);
}

#[test]
fn decode() {
    for name in MODELS {
        let Some(case) = Case::open(name) else { return };
        let decoded = case.run("decode", &case.reference_path(), &[]);
        assert_close(name, &decoded, &case.expected("decoded_f64"));

        let scaled = case.run("decode", &case.reference_path(), &["--scaled"]);
        let (shape, raw) = case.expected("latents_denormalised");
        let bytes = raw.iter().flat_map(|value| value.to_le_bytes()).collect();
        let raw = safetensors(&[("latents", "F64", &shape, bytes)]);
        let raw = case.outputs.write("raw.safetensors", &raw);
        assert_close(name, &scaled, &case.run("decode", &raw, &[]));
        assert_ne!(scaled.1, decoded.1, "{name}");
    }
}

#[test]
fn encode() {
    for name in MODELS {
        let Some(case) = Case::open(name) else { return };
        let meta = std::fs::read_to_string(case.folder.join("meta.json")).unwrap();
        let meta: serde_json::Value = serde_json::from_str(&meta).unwrap();
        let seed = meta["noise_seed"].to_string();
        let sample = ["--posterior", "sample", "--seed", &seed];
        let encodings: [(&str, &[&str]); 4] = [
            ("mode", &[]),
            ("mode_normalised", &["--scaled"]),
            ("moments", &["--posterior", "moments"]),
            ("sample", &sample),
        ];
        for (expected, options) in encodings {
            let found = case.run("encode", &case.reference_path(), options);
            assert_close(&format!("{name} {expected}"), &found, &case.expected(expected));
        }
    }
}
