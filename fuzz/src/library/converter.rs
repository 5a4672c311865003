//! What is saved against what is opened: a model with values of the input is saved in any type,
//! layout and form and opened again; its tensors are those that it had, rounded once, and a second
//! save has the bytes of the first.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use half::{bf16, f16};
use vaekl::{
    Config, Encoding, ErrorKind, KeyLayout, Model, ModelOptions, SaveOptions, Storage, TensorFile,
};

use super::choices::Choices;
use super::models::data;
use super::scratch::Scratch;

/// A file with its configuration.
const FILES: [(&str, &str); 8] = [
    ("latent_1x1/diffusion_pytorch_model.safetensors", "latent_1x1/config.json"),
    ("attn_blocks_swish/diffusion_pytorch_model.safetensors", "attn_blocks_swish/config.json"),
    ("mixed_dtypes/diffusion_pytorch_model.safetensors", "mixed_dtypes/config.json"),
    ("ldm_checkpoint/model.safetensors", "ldm_checkpoint/expected_config.json"),
    ("scaled_fp8/diffusion_pytorch_model.safetensors", "scaled_fp8/config.json"),
    ("families/flux2/diffusion_pytorch_model.safetensors", "families/flux2/config.json"),
    ("families/asymmetric/diffusion_pytorch_model.safetensors", "families/asymmetric/config.json"),
    ("families/tiny/diffusion_pytorch_model.safetensors", "families/tiny/config.json"),
];

/// Each tensor's name, shape and bits.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<u32>)>;

pub fn converter(bytes: &[u8]) {
    static CONTENTS: OnceLock<Vec<(Vec<u8>, Config)>> = OnceLock::new();
    let contents = CONTENTS.get_or_init(|| {
        let read = |path: &str| fs::read(data().join(path)).expect("a fixture");
        let text = |path: &str| String::from_utf8(read(path)).expect("text");
        let config = |path: &str| Config::from_json(&text(path)).expect("a fixture");
        FILES.iter().map(|(file, path)| (read(file), config(path))).collect()
    });
    let mut choices = Choices::new(bytes);
    let (file, config) = &contents[choices.below(contents.len())];
    let options = options(&mut choices);
    let single = choices.flag();
    let again_as = [None, Some(Storage::F32)][choices.below(2)];
    let options_of_model = ModelOptions::default().with_config(config.clone());
    let Ok(model) = Model::from_bytes(edited(file, &mut choices), &options_of_model) else {
        return;
    };

    let scratch = Scratch::new();
    // As it is, for its own names and values, which are those of the file.
    let plain = scratch.path().join("plain.safetensors");
    if let Err(error) = model.save_file(&plain, &SaveOptions::default()) {
        // 8-bit elements that are not finite are refused where a layer is read.
        assert!(error.message().contains("is not finite (f8"), "{error}");
        return assert_eq!(scratch.names().len(), 0, "{error}");
    }
    let before = tensors(&[plain]);

    let path = scratch.path().join(if single { "one.safetensors" } else { "all" });
    let saved = match single {
        true => model.save_file(&path, &options),
        false => model.save_pretrained(&path, &options),
    };
    let saved = match saved {
        Ok(saved) => saved,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            return assert_eq!(scratch.names(), ["plain.safetensors"], "{error}");
        }
    };
    let mut reopen = ModelOptions::default();
    reopen.variant.clone_from(&options.variant);
    let again = Model::open_with(&path, &reopen).unwrap_or_else(|error| panic!("{error}"));
    // As text: the statistics of a FLUX.2 are weights, which the save may round.
    assert_eq!(again.config().to_json(), model.config().to_json());

    let other = scratch.path().join("again.safetensors");
    let mut same = SaveOptions::default();
    same.dtype = again_as;
    again.save_file(&other, &same).expect("a second save");
    let after = tensors(&[other]);
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>());
    for (name, (shape, bits)) in &before {
        let expected: Vec<u32> = bits.iter().map(|&bits| rounded(bits, options.dtype)).collect();
        assert_eq!(shape, &after[name].0, "{name}");
        assert!(equal(&expected, &after[name].1), "{name}: other values");
    }
    if options.layout == KeyLayout::Diffusers {
        let is_weights = |path: &&PathBuf| path.extension().is_some_and(|it| it == "safetensors");
        let files: Vec<_> = saved.files.iter().filter(is_weights).collect();
        assert_eq!(tensors(&files).len(), after.len());
    }
}

fn options(choices: &mut Choices<'_>) -> SaveOptions {
    let mut options = SaveOptions::default();
    options.dtype =
        choices.pick(&[None, Some(Storage::F32), Some(Storage::F16), Some(Storage::Bf16)]);
    options.layout = choices.pick(&[KeyLayout::Diffusers, KeyLayout::Original]);
    if choices.flag() {
        options.max_shard_size = Some(u64::from(choices.word() >> choices.below(32)));
    }
    options.variant =
        choices.pick(&[None, None, Some("fp16"), Some("a b"), Some("")]).map(Into::into);
    options
}

/// The file with elements that the input has in places that the input chooses.
fn edited(file: &[u8], choices: &mut Choices<'_>) -> Vec<u8> {
    let mut file = file.to_vec();
    let header = u64::from_le_bytes(file[..8].try_into().expect("a fixture")) as usize;
    let elements = &mut file[8 + header..];
    while !choices.is_over() {
        let at = choices.word() as usize % elements.len();
        let new = choices.bytes(4);
        let end = elements.len().min(at + new.len());
        elements[at..end].copy_from_slice(&new[..end - at]);
    }
    file
}

fn tensors(paths: &[impl AsRef<Path>]) -> Tensors {
    let mut all = Tensors::new();
    for path in paths {
        let file = TensorFile::open(path).expect("a saved file opens");
        for name in file.names() {
            assert_ne!(file.encoding(name), Some(Encoding::F8E4M3), "{name}");
            let array = file.to_f32(name).expect("a saved tensor is read");
            let bits = array.iter().map(|value| value.to_bits()).collect();
            assert!(
                all.insert(name.to_owned(), (array.shape().to_vec(), bits)).is_none(),
                "{name}"
            );
        }
    }
    all
}

fn rounded(bits: u32, dtype: Option<Storage>) -> u32 {
    let value = f32::from_bits(bits);
    match dtype {
        None | Some(Storage::F32) => bits,
        Some(Storage::F16) => f16::from_f32(value).to_f32().to_bits(),
        Some(Storage::Bf16) => bf16::from_f32(value).to_f32().to_bits(),
    }
}

/// Whether the bits are the same; NaN is NaN.
fn equal(expected: &[u32], found: &[u32]) -> bool {
    let pairs = expected.iter().zip(found);
    let nan = |bits: &u32| f32::from_bits(*bits).is_nan();
    expected.len() == found.len() && { pairs }.all(|(a, b)| a == b || nan(a) && nan(b))
}
