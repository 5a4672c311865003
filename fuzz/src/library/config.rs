//! The text of a `config.json`: what is read is written and read again the same, and is enough to
//! ask a model for.

use std::sync::OnceLock;

use vaekl::{Config, Model, ModelOptions};

use super::checkpoint::is_expected;
use super::models::data;

/// A file of each kind of network, small, that the configuration is tried on.
const WEIGHTS: [&str; 3] = [
    "latent_1x1/diffusion_pytorch_model.safetensors",
    "families/tiny/diffusion_pytorch_model.safetensors",
    "families/flux2_small_decoder/diffusion_pytorch_model.safetensors",
];

pub fn config(bytes: &[u8]) {
    static FILES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        WEIGHTS.iter().map(|path| std::fs::read(data().join(path)).expect("a fixture")).collect()
    });
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let config = match Config::from_json(text) {
        Ok(config) => config,
        Err(error) => return is_expected(&error),
    };
    config.validate().expect("what is read is valid");
    let written = config.to_json();
    let again = Config::from_json(&written).unwrap_or_else(|error| panic!("{error}: {written}"));
    assert_eq!(again, config, "{written}");
    assert!(config.downscale() > 0 && config.patch_size() > 0);
    assert!(config.encoded_length(config.downscale()) == 1);
    let options = ModelOptions::default().with_config(config);
    for file in files {
        match Model::from_bytes(&**file, &options) {
            Ok(model) => super::checkpoint::run(&model),
            Err(error) => is_expected(&error),
        }
    }
}
