//! Flax, GGUF and 8-bit files that are malicious or corrupt: what is said of them when they open,
//! and of weights that are read later. No panic, no long wait, no large allocation.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use safetensors::SafeTensors;
use support::{Fixture, data, f32x4};
use vaekl::{ErrorKind, Model, ModelOptions, Session, SessionOptions};

/// `tests/fixtures/hostile_tensors.py` writes the files, each with a part of its message.
#[test]
fn hostile_files_are_refused_for_their_reason() {
    let folder = data().join("hostile");
    let expected = fs::read_to_string(folder.join("expected_tensors.json")).unwrap();
    let expected: BTreeMap<String, String> = serde_json::from_str(&expected).unwrap();
    assert!(expected.len() >= 20);
    let mut wrong = Vec::new();
    for (name, part) in &expected {
        let start = Instant::now();
        let message = match Model::open(folder.join(name)) {
            Ok(_) => "opened".to_owned(),
            Err(error) => error.message().to_owned(),
        };
        if !message.contains(part) || !message.contains(name) || message.contains('\n') {
            wrong.push(format!("{name}: \"{part}\" expected: {message}"));
        }
        if start.elapsed() > Duration::from_secs(1) {
            wrong.push(format!("{name}: {:?}", start.elapsed()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The bytes of a fixture's only file of weights, and options to open them.
fn weights(name: &str, file: &str) -> (Vec<u8>, ModelOptions) {
    let fixture = Fixture::open(name);
    let mut options = ModelOptions::default();
    options.config = Some(fixture.model(|_| {}).config().clone());
    (fs::read(fixture.folder.join(file)).unwrap(), options)
}

#[test]
fn a_nan_in_a_weight_is_an_error_when_its_layer_runs() {
    let (mut bytes, options) = weights("scaled_fp8", "diffusion_pytorch_model.safetensors");
    let name = "decoder.conv_in.weight";
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let at = tensors.tensor(name).unwrap().data().as_ptr().addr() - bytes.as_ptr().addr();
    bytes[at + 5] = 0x7f;
    let model = Model::from_bytes(bytes, &options).unwrap();
    let fixture = Fixture::open("scaled_fp8");
    let mut session = Session::new(&model, &SessionOptions::default()).unwrap();
    let error = session.decode(f32x4(&fixture.tensor("latents")).view()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Format);
    assert!(
        error.message().contains(&format!("tensor {name}: element 5 is not finite")),
        "{error}"
    );
    // The encoder has another weight there.
    session.encode(f32x4(&fixture.tensor("image")).view()).unwrap();
}

#[test]
fn every_truncation_and_many_flipped_bytes_are_survived() {
    for (name, file) in [
        ("flax", "diffusion_flax_model.msgpack"),
        ("flax_state", "model.msgpack"),
        ("gguf", "model.gguf"),
        ("scaled_fp8", "diffusion_pytorch_model.safetensors"),
    ] {
        let (bytes, options) = weights(name, file);
        let open = |bytes: Vec<u8>| Model::from_bytes(bytes, &options);
        open(bytes.clone()).unwrap();
        let head = 2000;
        for cut in (0..head).step_by(3).chain((head..bytes.len()).step_by(1009)) {
            assert!(open(bytes[..cut].to_vec()).is_err(), "{name} cut at {cut}");
        }
        for at in (0..head).step_by(3).chain((head..bytes.len()).step_by(1013)) {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= flip;
                // Data may change unnoticed, and metadata.
                let _ = open(bytes);
            }
        }
    }
}
