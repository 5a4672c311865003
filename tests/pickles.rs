//! PyTorch's checkpoints (tests/data/pickles, by tests/fixtures/pickles.py): one autoencoder in
//! every form gives the bits that its safetensors file gives.

mod support;

use std::fs;
use std::path::PathBuf;
use support::encoder_values;

use ndarray::Array4;
use vaekl::{Model, ModelOptions, Session, SessionOptions};

fn autoencoder() -> PathBuf {
    support::data().join("pickles/autoencoder")
}

/// A folder for one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    /// With the configuration, and these files of the fixture under other names.
    fn new(name: &str, files: &[(&str, &str)]) -> Self {
        let path = std::env::temp_dir().join(format!("vaekl-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        for (from, to) in [("config.json", "config.json")].iter().chain(files) {
            fs::copy(autoencoder().join(from), path.join(to)).unwrap();
        }
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The bits of a picture that a model decodes, and of what it encodes.
fn bits(model: &Model) -> Vec<u32> {
    let mut session = Session::new(model, &SessionOptions::default()).unwrap();
    let wave = |(n, c, y, x): (usize, usize, usize, usize)| ((n + c * 7 + y * 3 + x) as f32).sin();
    let latents = Array4::from_shape_fn((1, 1, 5, 6), wave);
    let image = Array4::from_shape_fn((1, 3, 5, 6), wave);
    let decoded = session.decode(latents.view()).unwrap().sample;
    let moments = encoder_values(&session.encode(image.view()).unwrap().encoded);
    decoded.iter().chain(&moments).map(|value| value.to_bits()).collect()
}

/// The bits of the safetensors file.
fn reference() -> Vec<u32> {
    let name = "diffusion_pytorch_model.safetensors";
    bits(&Model::open(&Scratch::new("reference", &[(name, name)]).0).unwrap())
}

#[test]
fn every_form_gives_the_same_bits() {
    let expected = reference();
    let mut options = ModelOptions::default();
    options.config_path = Some(autoencoder().join("config.json"));
    let forms: &[&str] = &[
        "zip.bin",
        "legacy.bin",
        #[cfg(feature = "deflate")]
        "deflated.bin",
    ];
    for name in forms {
        let model = Model::open_with(autoencoder().join(name), &options)
            .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(bits(&model), expected, "{name}");
        let bytes = fs::read(autoencoder().join(name)).unwrap();
        assert_eq!(bits(&Model::from_bytes(bytes, &options).unwrap()), expected, "{name}");
    }
}

#[test]
fn folders_open_with_pickled_weights_alone() {
    let expected = reference();
    let shard = |number| format!("diffusion_pytorch_model-0000{number}-of-00002.bin");
    let (one, two) = (shard(1), shard(2));
    let index = "diffusion_pytorch_model.bin.index.json";
    let variant_index = "diffusion_pytorch_model.bin.index.fp16.json";
    for (name, files, variant) in [
        ("bin", vec![("zip.bin", "diffusion_pytorch_model.bin")], None),
        ("variant", vec![("legacy.bin", "diffusion_pytorch_model.fp16.bin")], Some("fp16")),
        ("shards", vec![(&*one, &*one), (&two, &two), (index, index)], None),
        ("both", vec![(&*one, &*one), (&two, &two), (index, variant_index)], Some("fp16")),
    ] {
        let scratch = Scratch::new(name, &files);
        let model = Model::open(&scratch.0).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(model.info().variant.as_deref(), variant, "{name}");
        assert_eq!(bits(&model), expected, "{name}");
    }
    // The configuration beside a single file of a folder.
    let scratch = Scratch::new("single", &[("zip.bin", "diffusion_pytorch_model.bin")]);
    let model = Model::open(scratch.0.join("diffusion_pytorch_model.bin")).unwrap();
    assert_eq!(bits(&model), expected);
}

#[test]
fn safetensors_are_preferred() {
    let name = "diffusion_pytorch_model.safetensors";
    let scratch = Scratch::new("preferred", &[(name, name)]);
    fs::write(scratch.0.join("diffusion_pytorch_model.bin"), "no checkpoint").unwrap();
    assert_eq!(bits(&Model::open(&scratch.0).unwrap()), reference());
}
