//! Folders: an index of shards, any set of files under the names that are looked for, and the two
//! halves of a TAESD.

use std::fs;
use std::path::PathBuf;
use std::sync::OnceLock;

use vaekl::{Model, ModelOptions, Parts};

use super::checkpoint::{is_expected, run};
use super::choices::Choices;
use super::models::data;
use super::scratch::Scratch;

const INDEX: &str = "diffusion_pytorch_model.safetensors.index.json";

/// What is beside an index.
const SHARDS: [&str; 4] = [
    "config.json",
    "diffusion_pytorch_model-00001-of-00003.safetensors",
    "diffusion_pytorch_model-00002-of-00003.safetensors",
    "diffusion_pytorch_model-00003-of-00003.safetensors",
];

/// An index, beside the shards and the configuration of a fixture.
pub fn index(bytes: &[u8]) {
    static FILES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let read = |name: &&str| fs::read(data().join("sharded").join(name)).expect("a fixture");
    let files = FILES.get_or_init(|| SHARDS.iter().map(read).collect());
    let scratch = Scratch::new();
    for (name, file) in SHARDS.iter().zip(files) {
        scratch.write(name, file);
    }
    scratch.write(INDEX, bytes);
    open(scratch.path().to_owned(), &ModelOptions::default());
}

/// Names that are looked for in a folder, and some that are not.
const NAMES: [&str; 20] = [
    "config.json",
    "vae/config.json",
    "model_index.json",
    INDEX,
    "diffusion_pytorch_model.fp16.safetensors.index.json",
    "diffusion_pytorch_model.safetensors.index.fp16.json",
    "diffusion_pytorch_model.bin.index.json",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "diffusion_pytorch_model-00001-of-00003.safetensors",
    "diffusion_pytorch_model-00002-of-00003.safetensors",
    "diffusion_pytorch_model-00003-of-00003.safetensors",
    "diffusion_pytorch_model.bin",
    "diffusion_flax_model.msgpack",
    "vae/diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "taesd_decoder.pth",
    "taesd_encoder.pth",
    "refs/main",
    "snapshots/0/config.json",
];

/// Files of fixtures to be found there.
const CONTENTS: [&str; 12] = [
    "sharded/config.json",
    "sharded/diffusion_pytorch_model.safetensors.index.json",
    "sharded/diffusion_pytorch_model-00001-of-00003.safetensors",
    "sharded/diffusion_pytorch_model-00002-of-00003.safetensors",
    "sharded/diffusion_pytorch_model-00003-of-00003.safetensors",
    "fp16_variant/config.json",
    "fp16_variant/diffusion_pytorch_model.fp16.safetensors",
    "flax/config.json",
    "flax/diffusion_flax_model.msgpack",
    "families/taesd/taesd_decoder.pth",
    "families/taesd/taesd_encoder.pth",
    "families/tiny/diffusion_pytorch_model.safetensors",
];

/// Any files under any names: what a fixture has, a part of it, or bytes of the input.
pub fn folder(bytes: &[u8]) {
    static FILES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    let files = FILES.get_or_init(|| {
        CONTENTS.iter().map(|path| fs::read(data().join(path)).expect("a fixture")).collect()
    });
    let mut choices = Choices::new(bytes);
    let scratch = Scratch::new();
    let mut options = ModelOptions::default().with_parts(Parts::Present);
    options = options.with_disable_mmap(choices.flag());
    if choices.flag() {
        options = options.with_variant(choices.pick(&["fp16", "", "../fp16", "a.b"]));
    }
    let count = 1 + choices.below(8);
    for _ in 0..count {
        let name = choices.pick(&NAMES);
        let file = &files[choices.below(files.len())];
        match choices.below(8) {
            0 => {
                let length = choices.below(512);
                scratch.write(name, choices.bytes(length));
            }
            1 => {
                let end = file.len().saturating_sub(1 + choices.below(1 << 16));
                scratch.write(name, &file[..end]);
            }
            _ => {
                scratch.write(name, file);
            }
        };
    }
    open(scratch.path().to_owned(), &options);
}

/// A half of a TAESD under either name, beside a sound other half.
pub fn taesd(bytes: &[u8]) {
    static HALVES: OnceLock<Vec<Vec<u8>>> = OnceLock::new();
    const SOUND: [&str; 4] = [
        "taesd/taesd_encoder.pth",
        "taesd/taesd_decoder.pth",
        "taesana/taesana_encoder.safetensors",
        "taesana/taesana_decoder.safetensors",
    ];
    let halves = HALVES.get_or_init(|| {
        let read = |path: &&str| fs::read(data().join("families").join(path)).expect("a fixture");
        SOUND.iter().map(read).collect()
    });
    let pickled = bytes.starts_with(b"PK") || bytes.first() == Some(&0x80);
    let (ending, sound) =
        if pickled { ("pth", &halves[..2]) } else { ("safetensors", &halves[2..]) };
    for (name, which) in [("decoder", 0), ("encoder", 1)] {
        let other = if which == 0 { "encoder" } else { "decoder" };
        let scratch = Scratch::new();
        let path = scratch.write(&format!("taesd_{name}.{ending}"), bytes);
        scratch.write(&format!("taesd_{other}.{ending}"), &sound[which]);
        open(path, &ModelOptions::default());
        open(scratch.path().to_owned(), &ModelOptions::default().with_parts(Parts::Present));
    }
}

fn open(path: PathBuf, options: &ModelOptions) {
    match Model::open_with(path, options) {
        Ok(model) => run(&model),
        Err(error) => is_expected(&error),
    }
}
