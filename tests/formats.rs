//! What the formats beside safetensors say of themselves. Their numbers: `tests/parity.rs`.

mod support;

use std::fs;

use support::Fixture;
use vaekl::{Activation, ErrorKind, Model, ModelOptions};

#[test]
fn a_flax_folder_is_what_its_class_computes() {
    let folder = Fixture::open("flax").folder;
    let model = Model::open(&folder).unwrap();
    let config = model.config();
    let kl = config.family.kl().unwrap();
    assert_eq!(kl.act_fn, Activation::Silu);
    assert_eq!((&kl.down_attention[..], &kl.up_attention[..]), (&[false; 2][..], &[false; 2][..]));
    assert!(kl.use_quant_conv && kl.use_post_quant_conv && kl.mid_block_add_attention);
    assert_eq!((kl.norm_num_groups, config.scaling_factor), (4, 0.25));
    assert_eq!(model.info().layout, "diffusers");
    assert_eq!(model.info().foreign_tensors, 0);
    assert!(model.info().guessed.is_empty());
    // The file by itself has the configuration beside it.
    let model = Model::open(folder.join("diffusion_flax_model.msgpack")).unwrap();
    assert!(model.info().config_source.ends_with("config.json"), "{:?}", model.info());
}

#[test]
fn safetensors_come_before_flax() {
    let scratch = std::env::temp_dir().join(format!("vaekl-{}-formats", std::process::id()));
    fs::create_dir_all(&scratch).unwrap();
    let flax = Fixture::open("flax").folder;
    for file in ["config.json", "diffusion_flax_model.msgpack"] {
        fs::copy(flax.join(file), scratch.join(file)).unwrap();
    }
    Model::open(&scratch).unwrap();
    // Flax's weights have no variants, so they are not what is asked for.
    let options = ModelOptions::default().with_variant("fp16");
    let error = Model::open_with(&scratch, &options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Io, "{error}");
    let file = scratch.join("diffusion_pytorch_model.safetensors");
    fs::write(&file, b"{}").unwrap();
    let error = Model::open(&scratch).unwrap_err();
    assert!(error.message().contains(&file.display().to_string()), "{error}");
    fs::remove_dir_all(&scratch).unwrap();
}

#[test]
fn a_gguf_file_of_version_2_is_read_like_one_of_version_3() {
    let fixture = Fixture::open("gguf");
    let mut options = ModelOptions::default();
    options.config = fixture.expected_config();
    let mut bytes = fs::read(fixture.path()).unwrap();
    assert_eq!(bytes[..5], *b"GGUF\x03");
    bytes[4] = 2;
    let model = Model::from_bytes(bytes, &options).unwrap();
    assert_eq!(model.info().layout, "original");
    assert_eq!(model.info().foreign_tensors, 0);
    // Ten kinds of blocks and four of floats.
    assert_eq!(model.info().dtypes.len(), 14, "{:?}", model.info().dtypes);
}

#[test]
fn scales_are_no_tensors_of_the_model() {
    let model = Model::open(Fixture::open("scaled_fp8").path()).unwrap();
    assert_eq!(model.info().foreign_tensors, 0);
    let dtypes: Vec<&str> = model.info().dtypes.keys().map(|dtype| dtype.name()).collect();
    assert_eq!(dtypes, ["f16", "f8_e4m3", "f8_e5m2"]);
}
