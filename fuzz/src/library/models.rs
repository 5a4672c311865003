//! The fixtures, each opened once: the smallest of every family, and of what a network may have.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use vaekl::{Config, Model, ModelOptions};

/// Folders or files below `tests/data`, with the configuration of a file that has none.
const FIXTURES: [(&str, Option<&str>); 12] = [
    ("sd_like", None),
    ("latent_1x1", None),
    ("attn_blocks_swish", None),
    ("grey_one_channel", None),
    ("relu_no_mid_attention", None),
    ("ldm_checkpoint/model.safetensors", Some("ldm_checkpoint/expected_config.json")),
    ("bf16_batch2", None),
    ("families/flux2", None),
    ("families/asymmetric", None),
    ("families/tiny", None),
    ("families/taesana", None),
    ("families/taesd", Some("families/taesd/expected_config.json")),
];

/// `tests/data` of the repository, whichever package this is compiled in.
pub fn data() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().find(|folder| folder.join("tests/data/sd_like").is_dir());
    root.expect("the repository").join("tests/data")
}

/// All models, in the order of their names above.
pub fn all() -> &'static [Model] {
    static MODELS: OnceLock<Vec<Model>> = OnceLock::new();
    let open = |(path, config): &(&str, Option<&str>)| {
        let mut options = ModelOptions::default();
        if let Some(config) = config {
            let text = std::fs::read_to_string(data().join(config)).expect("a fixture");
            options = options.with_config(Config::from_json(&text).expect("a fixture"));
        }
        Model::open_with(data().join(path), &options).expect("a fixture opens")
    };
    MODELS.get_or_init(|| FIXTURES.iter().map(open).collect())
}
