//! Files of the families beside `AutoencoderKL` with something wrong: an error that names tensor
//! and family, never a picture.

mod support;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;

use ndarray::Array4;
use safetensors::tensor::{TensorView, serialize};
use safetensors::{Dtype, SafeTensors};
use support::{Fixture, f32x4};
use vaekl::{Config, ErrorKind, Model, ModelOptions, Parts, Session, SessionOptions, Tiling};

/// A tensor: dtype, shape and bytes.
type Raw = (Dtype, Vec<usize>, Vec<u8>);

/// The tensors of a fixture's only file.
fn tensors(name: &str) -> BTreeMap<String, Raw> {
    let path = Fixture::family(name).path();
    let folder = path.join("diffusion_pytorch_model.safetensors");
    let bytes = fs::read(if folder.is_file() { folder } else { path }).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let raw = |view: TensorView<'_>| (view.dtype(), view.shape().to_vec(), view.data().to_vec());
    tensors.iter().map(|(name, view)| (name.to_owned(), raw(view))).collect()
}

/// Opens tensors as a bare file.
fn open(tensors: &BTreeMap<String, Raw>, options: &ModelOptions) -> vaekl::Result<Model> {
    let views = tensors.iter().map(|(name, (dtype, shape, bytes))| {
        (Cow::from(name), TensorView::new(*dtype, shape.clone(), bytes).unwrap())
    });
    Model::from_bytes(serialize(views, None).unwrap(), options)
}

#[track_caller]
fn refused(tensors: &BTreeMap<String, Raw>, options: &ModelOptions, parts: &[&str]) {
    let error = open(tensors, options).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Model, "{error}");
    for part in parts {
        assert!(error.message().contains(part), "\"{part}\" is not in: {error}");
    }
}

/// The values of a tensor of f32 replaced.
fn set(tensors: &mut BTreeMap<String, Raw>, name: &str, value: f32) {
    let (dtype, shape, bytes) = tensors.get_mut(name).unwrap();
    let count: usize = shape.iter().product();
    (*dtype, *bytes) = (Dtype::F32, value.to_le_bytes().repeat(count));
}

#[test]
fn statistics_that_none_can_be() {
    let options = ModelOptions::default();
    let good = tensors("flux2_own");
    open(&good, &options).unwrap();
    let family = "AutoencoderKLFlux2";
    for (tensor, value, expected) in [
        ("bn.running_var", 0.0, "positive numbers expected, 0 found at 0"),
        ("bn.running_var", -1.0, "positive numbers expected, -1 found"),
        ("bn.running_var", f32::NAN, "finite numbers expected, NaN found"),
        ("bn.running_mean", f32::NAN, "finite numbers expected, NaN found"),
        ("bn.running_mean", f32::INFINITY, "finite numbers expected, inf found"),
    ] {
        let mut bad = good.clone();
        set(&mut bad, tensor, value);
        refused(&bad, &options, &[tensor, family, expected]);
    }
    for name in ["bn.running_mean", "bn.running_var"] {
        let mut bad = good.clone();
        bad.remove(name);
        refused(&bad, &options, &[name, "is missing"]);
        let mut bad = good.clone();
        bad.insert(name.to_owned(), (Dtype::F32, vec![15], vec![0; 60]));
        refused(&bad, &options, &[name, "[16] expected, [15] found"]);
    }
    // Without statistics, FLUX.2's shape of 32 latents and 4 levels is told.
    let mut bad = tensors("flux2");
    bad.retain(|name, _| !name.starts_with("bn."));
    let config = fs::read_to_string(Fixture::family("flux2").folder.join("config.json")).unwrap();
    let options = options.with_config(Config::from_json(&config).unwrap());
    refused(&bad, &options, &["bn.running_mean", "is missing"]);
}

#[test]
fn halves_that_do_not_belong_together() {
    let (options, taesd) = (ModelOptions::default(), tensors("taesd_safetensors"));
    open(&taesd, &options).unwrap();
    let only = |tensors: &BTreeMap<String, Raw>, half: &str| {
        let of = tensors.iter().filter(|(name, _)| name.starts_with(half));
        of.map(|(name, raw)| (name.clone(), raw.clone())).collect::<BTreeMap<_, _>>()
    };
    // A half alone opens as that half, and not as both.
    let decoder = only(&taesd, "decoder.");
    refused(&decoder, &options, &["tensor encoder.layers.0.", "is missing"]);
    let parts = options.clone().with_parts(Parts::Decoder);
    open(&decoder, &parts).unwrap();
    // The decoder of one tiny autoencoder and the encoder of another, with other latents.
    let mut mixed = only(&taesd, "decoder.");
    mixed.extend(only(&tensors("tiny"), "encoder."));
    let message = open(&mixed, &options).unwrap_err();
    assert!(message.message().contains("mean the same") || message.message().contains("latent"));
    // An AutoencoderKL's decoder beside a tiny encoder.
    let mut mixed = only(&taesd, "encoder.");
    mixed.extend(only(&tensors("flux2_own"), "decoder."));
    refused(&mixed, &options, &["decoder.layers.0.", "is missing"]);
    // A layer lost, one too many, and one of another width.
    let mut bad = taesd.clone();
    bad.retain(|name, _| !name.starts_with("decoder.8."));
    refused(&bad, &options, &["decoder.layers", "AutoencoderTiny"]);
    let mut bad = taesd.clone();
    bad.insert("decoder.40.weight".into(), bad["decoder.7.weight"].clone());
    refused(&bad, &options, &["decoder.layers", "AutoencoderTiny"]);
    let mut bad = taesd.clone();
    bad.insert("decoder.7.weight".into(), (Dtype::F16, vec![4, 8, 3, 3], vec![0; 4 * 8 * 9 * 2]));
    refused(&bad, &options, &["decoder.layers", "AutoencoderTiny"]);
}

#[test]
fn pooling_that_is_missing() {
    let (options, good) = (ModelOptions::default(), tensors("taef2_diffusers_names"));
    open(&good, &options).unwrap();
    // All of it, that of one block, and one tensor.
    let mut bad = good.clone();
    bad.retain(|name, _| !name.contains(".pool."));
    refused(&bad, &options, &["pool.0.weight is missing", "FLUX.2"]);
    let mut bad = good.clone();
    bad.retain(|name, _| !name.starts_with("decoder.layers.3.pool."));
    refused(&bad, &options, &["decoder.layers.3.pool.0.weight", "is missing"]);
    let mut bad = good.clone();
    bad.remove("encoder.layers.12.pool.1.bias");
    refused(&bad, &options, &["encoder.layers.12.pool.1.bias", "is missing"]);
}

#[test]
fn a_condition_encoder_with_a_piece_missing() {
    let good = tensors("asymmetric");
    let options = ModelOptions::default().with_norm_num_groups(4);
    let model = open(&good, &options).unwrap();
    assert_eq!(model.info().family, "AsymmetricAutoencoderKL");
    let mut bad = good.clone();
    bad.remove("decoder.condition_encoder.layers.3.bias");
    refused(&bad, &options, &["decoder.condition_encoder.layers.3.bias", "is missing"]);
    let mut bad = good.clone();
    let name = "decoder.condition_encoder.layers.4.weight";
    bad.insert(name.into(), (Dtype::F16, vec![16, 16, 3, 3], vec![0; 16 * 16 * 9 * 2]));
    refused(&bad, &options, &[name, "[16, 16, 4, 4] expected"]);
}

#[test]
fn configurations_that_no_network_has() {
    for (json, part) in [
        (
            r#"{"_class_name": "AutoencoderTiny", "arch_variant": "f32",
                "encoder_block_out_channels": [1, 8, 8, 8],
                "num_decoder_blocks": [3, 3, 3, 3, 3, 1],
                "decoder_block_out_channels": [8, 8, 8, 8, 8, 8]}"#,
            "an even first width expected",
        ),
        (
            r#"{"_class_name": "AutoencoderTiny", "num_encoder_blocks": [1, 3]}"#,
            "num_encoder_blocks: 4 entries expected",
        ),
        (r#"{"_class_name": "AutoencoderTiny", "latent_magnitude": 1e-320}"#, "a positive number"),
        (r#"{"_class_name": "AutoencoderTiny", "upsample_fn": "bilinear"}"#, "nearest expected"),
        (r#"{"_class_name": "AutoencoderKLFlux2", "patch_size": [4, 4]}"#, "[2, 2] expected"),
        (
            r#"{"_class_name": "AsymmetricAutoencoderKL", "up_block_out_channels": [64, 64]}"#,
            "channels of the decoder's levels: 1 entries expected",
        ),
    ] {
        let error = Config::from_json(json).unwrap_err();
        assert!(error.message().contains(part), "\"{part}\" is not in: {error}");
    }
}

#[test]
fn folders_that_are_no_pair() {
    let folder = std::env::temp_dir().join(format!("vaekl-{}-pairs", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let pair = Fixture::family("taesd").folder;
    let copy = |from: &str, to: &str| fs::copy(pair.join(from), folder.join(to)).unwrap();
    copy("taesd_decoder.pth", "lonely_decoder.pth");
    let message = || Model::open(&folder).unwrap_err().message().to_owned();
    assert!(message().contains("no two files NAME_encoder and NAME_decoder"), "{}", message());
    for name in ["a", "b"] {
        copy("taesd_decoder.pth", &format!("{name}_decoder.pth"));
        copy("taesd_encoder.pth", &format!("{name}_encoder.pth"));
    }
    assert!(message().contains("expected, a, b found"), "{}", message());
    for half in ["encoder", "decoder"] {
        fs::remove_file(folder.join(format!("b_{half}.pth"))).unwrap();
    }
    Model::open(&folder).unwrap();
    // The halves swapped.
    copy("taesd_decoder.pth", "a_encoder.pth");
    copy("taesd_encoder.pth", "a_decoder.pth");
    assert!(message().contains("AutoencoderTiny"), "{}", message());
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn masks_that_do_not_fit() {
    let fixture = Fixture::family("asymmetric");
    let model = fixture.model(|_| {});
    let [latents, picture, mask] =
        ["latents", "condition_image", "mask"].map(|name| f32x4(&fixture.tensor(name)));
    let mut session = Session::new(&model, &SessionOptions::default()).unwrap();
    let mut fails = |picture: &Array4<f32>, mask: &Array4<f32>, parts: &[&str]| {
        let error = session.decode_masked(latents.view(), picture.view(), mask.view()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        for part in parts {
            assert!(error.message().contains(part), "\"{part}\" is not in: {error}");
        }
    };
    let zeros = |c, h, w| Array4::zeros((1, c, h, w));
    fails(&picture, &zeros(1, 40, 55), &["mask", "(1, 1, 40, 56)", "(1, 1, 40, 55) found"]);
    fails(&picture, &zeros(3, 40, 56), &["mask", "(1, 3, 40, 56) found"]);
    fails(&zeros(3, 48, 56), &mask, &["picture", "(1, 3, 40, 56)", "(1, 3, 48, 56) found"]);
    let mut nan = mask.clone();
    nan[(0, 0, 3, 5)] = f32::NAN;
    fails(&picture, &nan, &["mask: 0 to 1 expected, NaN found at row 3, column 5"]);
    // Tiles have no mask, and other families take none.
    let seamless = SessionOptions::default().with_tiling(Tiling::Seamless);
    let mut session = Session::new(&model, &seamless).unwrap();
    let masked = |session: &mut Session| {
        session.decode_masked(latents.view(), picture.view(), mask.view()).unwrap_err()
    };
    assert!(masked(&mut session).message().contains("exact expected with a mask"));
    let other = Fixture::family("tiny").model(|_| {});
    let mut session = Session::new(&other, &SessionOptions::default()).unwrap();
    let message = masked(&mut session).message().to_owned();
    assert!(message.contains("AsymmetricAutoencoderKL expected, AutoencoderTiny found"));
}

/// A mask never costs more than the plan says, nor does it change a bit by threads or budget.
#[test]
fn a_masked_decode_keeps_its_budget() {
    let fixture = Fixture::family("asymmetric");
    let model = fixture.model(|_| {});
    let [latents, picture, mask] =
        ["latents", "condition_image", "mask"].map(|name| f32x4(&fixture.tensor(name)));
    let run = |options: &SessionOptions| {
        let mut session = Session::new(&model, options).unwrap();
        let made = session.decode_masked(latents.view(), picture.view(), mask.view())?;
        assert_eq!(session.memory() as u64, made.plan.workspace_bytes);
        let bits: Vec<u32> = made.sample.iter().map(|value| value.to_bits()).collect();
        Ok::<_, vaekl::Error>((bits, made.plan))
    };
    let (bits, plan) = run(&SessionOptions::default().with_threads(2)).unwrap();
    let scratch = std::env::temp_dir();
    for (threads, less) in [(1, 0), (3, 0), (1, 30), (2, 30)] {
        // Each thread has memory of its own.
        let more = threads as u64 * (256 << 10);
        let budget = plan.peak_bytes + more - plan.workspace_bytes * less / 100;
        let options = SessionOptions::default()
            .with_threads(threads)
            .with_memory_budget(budget)
            .with_scratch_dir(&scratch);
        let (found, lean) = run(&options).unwrap();
        assert!(found == bits, "{threads} threads");
        assert!(lean.peak_bytes <= options.memory_budget);
    }
    let options = SessionOptions::default().with_threads(2).with_scratch_dir(&scratch);
    let error = run(&options.with_memory_budget(1 << 20)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Budget);
}
