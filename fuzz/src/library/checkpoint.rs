//! A file of each format: opened as a model and as tensors, both loaded; a small model decodes.
//! Errors are welcome.

use ndarray::Array4;
use vaekl::{
    Config, Error, ErrorKind, Model, ModelOptions, Parts, Session, SessionOptions, TensorFile,
    plan_decode,
};

use super::archive;

/// The most elements of a tensor that are loaded: a shape may claim far more than its file has, by
/// strides of 0.
const MOST: usize = 1 << 20;
/// The most multiply-adds of a decode.
const MOST_WORK: u64 = 1 << 24;

const FLAX: &str = include_str!("../../../tests/data/flax/config.json");
const FP8: &str = include_str!("../../../tests/data/scaled_fp8/config.json");

pub fn safetensors(bytes: &[u8]) {
    open(&with_length(bytes), None);
}

/// safetensors with scales beside tensors of 8 bits, under the configuration of their fixture.
pub fn fp8(bytes: &[u8]) {
    let bytes = with_length(bytes);
    open(&bytes, None);
    open(&bytes, Some(FP8));
}

/// PyTorch's archives.
pub fn zip(bytes: &[u8]) {
    if bytes.starts_with(b"PK") {
        open(bytes, None);
    }
}

/// A pickled program: as a file of PyTorch before its archives, and in an archive.
pub fn pickle(bytes: &[u8]) {
    if bytes.first() != Some(&0x80) {
        return;
    }
    open(bytes, None);
    let (zeros, ones) = ([0; 4096], [0x3f; 4096]);
    open(
        &archive::of(&[
            ("archive/data.pkl", bytes),
            ("archive/byteorder", b"little"),
            ("archive/data/0", &zeros),
            ("archive/data/1", &ones),
            ("archive/data/2", &ones),
            ("archive/version", b"3\n"),
        ]),
        None,
    );
}

pub fn gguf(bytes: &[u8]) {
    if bytes.starts_with(b"GGUF") {
        open(bytes, None);
    }
}

pub fn msgpack(bytes: &[u8]) {
    if is_map(bytes) {
        open(bytes, None);
    }
}

/// A tree of Flax under a configuration of Flax.
pub fn flax(bytes: &[u8]) {
    if is_map(bytes) {
        open(bytes, Some(FLAX));
    }
}

fn is_map(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| matches!(first, 0x81..=0x8f | 0xde | 0xdf))
}

/// The file with a length of its header that the file has: where the header is longer or shorter
/// than before, the length is that up to its last brace in the first text of JSON.
fn with_length(bytes: &[u8]) -> Vec<u8> {
    let mut file = bytes.to_vec();
    let Some((length, rest)) = file.split_first_chunk_mut::<8>() else { return file };
    let claimed = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if rest.get(..claimed).is_none_or(|header| header.trim_ascii_end().last() != Some(&b'}')) {
        let mut depth = 0;
        let end = rest.iter().position(|byte| {
            depth += i32::from(*byte == b'{') - i32::from(*byte == b'}');
            depth == 0
        });
        if let Some(end) = end {
            *length = (end as u64 + 1).to_le_bytes();
        }
    }
    file
}

/// Opens the bytes of a file as a model and as tensors.
fn open(bytes: &[u8], config: Option<&str>) {
    let config = config.map(|text| Config::from_json(text).expect("a fixture's configuration"));
    let mut options = ModelOptions::default().with_parts(Parts::Present);
    options = match config {
        Some(config) => options.with_config(config),
        None => options.with_norm_num_groups(4),
    };
    match Model::from_bytes(bytes.to_vec(), &options) {
        Ok(model) => run(&model),
        Err(error) => is_expected(&error),
    }
    let file = match TensorFile::from_bytes(bytes.to_vec()) {
        Ok(file) => file,
        Err(error) => return is_expected(&error),
    };
    for name in file.names() {
        let shape = file.shape(name).expect("its own name");
        let elements = shape.iter().try_fold(1_usize, |n, &side| n.checked_mul(side));
        if elements.is_some_and(|elements| elements <= MOST) {
            match file.to_f32(name) {
                Ok(array) => assert_eq!(array.shape(), shape, "{name}"),
                Err(error) => is_expected(&error),
            }
        }
    }
}

/// What is said of a model that opened, and a decode of the least latents where it is little work.
pub fn run(model: &Model) {
    let _ = (model.info().notices(), model.config().to_json());
    let options = SessionOptions::default().with_threads(1);
    let plan = match plan_decode(model, &options, 1, 1) {
        Ok(plan) => plan,
        Err(error) => return is_expected(&error),
    };
    if plan.multiply_adds > MOST_WORK || plan.workspace_bytes > 1 << 26 {
        return;
    }
    let mut session = Session::new(model, &options).expect("a session of one thread");
    let latents = Array4::from_elem((1, model.config().latent_channels, 1, 1), 0.5);
    match session.decode(latents.view()) {
        Ok(output) => {
            assert!(output.sample.iter().all(|value| value.is_finite()), "not finite");
            assert_eq!(output.plan, plan);
        }
        Err(error) => is_expected(&error),
    }
}

/// An error is one of a file, an argument or the machine, never of the library itself.
pub fn is_expected(error: &Error) {
    assert!(error.kind() != ErrorKind::Internal && !error.message().is_empty(), "{error}");
}
