//! Checkpoints that are wrong: every defect is an error that names the file and the thing, never a
//! panic, and never a model.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{TensorView, serialize};
use safetensors::{Dtype, SafeTensors};
use support::Fixture;
use vaekl::{Config, Error, ErrorKind, Model, ModelOptions, Parts, Preset};

/// A folder for one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vaekl-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn fails(path: &Path) -> Error {
    match Model::open(path) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

/// Asserts kind and parts of the message of what opening `bytes` as a file says.
#[track_caller]
fn refused(scratch: &Scratch, bytes: impl AsRef<[u8]>, kind: ErrorKind, parts: &[&str]) {
    let path = scratch.write("model.safetensors", bytes);
    let error = fails(&path);
    assert_eq!(error.kind(), kind, "{error}");
    for part in [&["model.safetensors"], parts].concat() {
        assert!(error.message().contains(part), "\"{part}\" is not in: {error}");
    }
    assert!(!error.message().contains('\n'), "{error}");
}

/// A file of `header` and `data` bytes.
fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

/// The tensors of a fixture, changed, as a file.
fn changed(
    fixture: &str,
    change: impl Fn(&str, &TensorView<'_>) -> Option<(String, Vec<usize>)>,
) -> Vec<u8> {
    let path = Fixture::open(fixture).folder.join("diffusion_pytorch_model.safetensors");
    let bytes = fs::read(path).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let views: Vec<(String, TensorView<'_>)> = tensors
        .iter()
        .filter_map(|(name, view)| {
            let (name, shape) = change(name, &view)?;
            let size = view.dtype().bitsize() / 8;
            let length: usize = shape.iter().product::<usize>() * size;
            Some((name, TensorView::new(view.dtype(), shape, &view.data()[..length]).unwrap()))
        })
        .collect();
    serialize(views, None).unwrap()
}

#[test]
fn files_that_are_no_safetensors() {
    let scratch = Scratch::new("kinds");
    let format = ErrorKind::Format;
    refused(&scratch, b"", format, &["empty"]);
    refused(&scratch, b"abc", format, &["truncated"]);
    refused(&scratch, [0xff; 64], format, &["16 MiB"]);
    refused(&scratch, [255, 0, 0, 0, 0, 0, 0, 0, b'{', b'}'], format, &["header is longer"]);
    refused(&scratch, b"<!DOCTYPE html><html></html>", format, &["web page"]);
    refused(
        &scratch,
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        format,
        &["LFS"],
    );
    refused(&scratch, file("\u{0}\u{1}not json", 0), format, &[]);
    let mut bytes = file("{\"a\": 1}", 0);
    bytes[10] = 0xff;
    refused(&scratch, bytes, format, &[]);
    let unsupported = ErrorKind::Unsupported;
    refused(&scratch, b"\x89HDF\r\n\x1a\n", unsupported, &["HDF5"]);
    let mut tar = vec![0; 512];
    tar[257..262].copy_from_slice(b"ustar");
    refused(&scratch, tar, unsupported, &["torch.save"]);
    refused(&scratch, b"GGUF\x01\x00\x00\x00 and more", unsupported, &["GGUF", "version 1"]);
    refused(&scratch, b"GGUF\x00\x00\x00\x03 and more", unsupported, &["big-endian"]);
    refused(&scratch, b"GGUF\x03\x00\x00\x00 and more", format, &["number of metadata"]);
    refused(&scratch, b"PK\x03\x04rest of a zip file", format, &["without its end record"]);
    refused(&scratch, b"\x80\x02}q\x00. a pickle", unsupported, &["not of torch.save"]);
}

#[test]
#[cfg(unix)]
fn only_regular_files_are_opened() {
    use std::os::unix::fs::symlink;
    let scratch = Scratch::new("irregular");
    let fifo = scratch.0.join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    let shards = scratch.0.join("shards");
    fs::create_dir(&shards).unwrap();
    fs::write(shards.join("config.json"), "{}").unwrap();
    let index = shards.join("diffusion_pytorch_model.safetensors.index.json");
    fs::write(index, r#"{"weight_map": {"a": "fifo"}}"#).unwrap();
    symlink(&fifo, shards.join("fifo")).unwrap();
    for (path, found) in
        [(&fifo, "fifo: a regular"), (&shards, "shards/fifo: a regular"), (&fifo, "a FIFO found")]
    {
        let error = fails(path);
        assert_eq!(error.kind(), ErrorKind::Format, "{error}");
        assert!(error.message().contains(found), "{error}");
    }
    assert!(fails(Path::new("/dev/zero")).message().contains("a device found"));
    // A configuration may come through a pipe, but ends.
    let mut options = ModelOptions::default();
    options.config_path = Some("/dev/zero".into());
    let error = Model::open_with(Fixture::open("sd_like").path(), &options).err().unwrap();
    assert!(error.message().contains("/dev/zero: at most 1048576 bytes expected"), "{error}");

    let link = scratch.0.join("link.safetensors");
    symlink(Fixture::open("ldm_bare").path(), &link).unwrap();
    let mut options = ModelOptions::default();
    options.config = Fixture::open("ldm_bare").expected_config();
    Model::open_with(&link, &options).unwrap();
}

#[test]
fn hostile_headers() {
    let scratch = Scratch::new("headers");
    let tensor = |shape: &str, from: &str, to: &str| {
        format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}"#)
    };
    let one = |t: String| format!(r#"{{"encoder.conv_in.weight":{t}}}"#);
    let two = |a: String, b: String| format!(r#"{{"a":{a},"b":{b}}}"#);
    for (header, data) in [
        // past the end, before the beginning, overlapping, with a gap, backwards
        (one(tensor("[4]", "0", "16")), 8),
        (one(tensor("[4]", "-16", "0")), 16),
        (two(tensor("[4]", "0", "16"), tensor("[4]", "8", "24")), 24),
        (two(tensor("[4]", "0", "16"), tensor("[4]", "20", "36")), 36),
        (one(tensor("[4]", "16", "0")), 16),
        // sizes that do not agree, are negative, overflow
        (one(tensor("[5]", "0", "16")), 16),
        (one(tensor("[-4]", "0", "16")), 16),
        (one(tensor("[4294967296, 4294967296, 4294967296]", "0", "16")), 16),
        (one(tensor("[4]", "18446744073709551608", "8")), 16),
        (one(tensor("[1e3]", "0", "16")), 16),
        // twice the same name
        (format!(r#"{{"a":{},"a":{}}}"#, tensor("[4]", "0", "16"), tensor("[4]", "16", "32")), 32),
        // an unknown dtype, a missing field, nested nonsense, trailing data
        (r#"{"a":{"dtype":"F99","shape":[4],"data_offsets":[0,16]}}"#.into(), 16),
        (r#"{"a":{"dtype":"F32","shape":[4]}}"#.into(), 16),
        ("[".repeat(20_000), 0),
        (one(tensor("[4]", "0", "16")), 17),
    ] {
        refused(&scratch, file(&header, data), ErrorKind::Format, &[]);
    }
}

#[test]
fn every_truncation_and_every_flipped_byte_of_a_header_is_survived() {
    let bytes =
        fs::read(Fixture::open("logvar_clamp").folder.join("diffusion_pytorch_model.safetensors"))
            .unwrap();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut options = ModelOptions::default();
    options.config = Some(Fixture::open("logvar_clamp").model(|_| {}).config().clone());
    let open = |bytes: Vec<u8>| Model::from_bytes(bytes, &options);
    assert!(open(bytes.clone()).is_ok());
    // Around the header byte by byte, then through the data in larger steps.
    let cuts = (0..64).chain((64..header).step_by(7)).chain((header..bytes.len()).step_by(997));
    for cut in cuts {
        assert!(open(bytes[..cut].to_vec()).is_err(), "cut at {cut}");
    }
    let mut refused = 0;
    for at in (0..header).step_by(3) {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = bytes.clone();
            bytes[at] ^= flip;
            // A name of metadata may change unnoticed; most others may not.
            refused += usize::from(open(bytes).is_err());
        }
    }
    assert!(refused > header / 2, "only {refused} of {header}");
}

#[test]
fn tensors_that_are_missing_misshapen_or_strange_are_named() {
    let scratch = Scratch::new("tensors");
    let fixture = Fixture::open("sd_like");
    scratch.write("config.json", fs::read(fixture.folder.join("config.json")).unwrap());
    let name = "decoder.up_blocks.1.resnets.0.conv2.weight";
    let open = |bytes: Vec<u8>| {
        scratch.write("diffusion_pytorch_model.safetensors", bytes);
        fails(&scratch.0)
    };
    let missing = changed("sd_like", |n, v| (n != name).then(|| (n.into(), v.shape().to_vec())));
    let error = open(missing);
    assert_eq!(error.kind(), ErrorKind::Model);
    assert!(error.message().contains(name) && error.message().contains("missing"), "{error}");

    let misshapen = changed("sd_like", |n, v| {
        let mut shape = v.shape().to_vec();
        if n == name {
            shape[0] -= 1;
        }
        Some((n.into(), shape))
    });
    let error = open(misshapen);
    assert_eq!(error.kind(), ErrorKind::Model);
    for part in [name, "expected", "found"] {
        assert!(error.message().contains(part), "{error}");
    }

    let bytes = fs::read(fixture.folder.join("diffusion_pytorch_model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let views: Vec<_> = tensors
        .iter()
        .map(|(n, v)| {
            let dtype = if n == name { Dtype::I32 } else { v.dtype() };
            (n.to_owned(), TensorView::new(dtype, v.shape().to_vec(), v.data()).unwrap())
        })
        .collect();
    let error = open(serialize(views, None).unwrap());
    assert_eq!(error.kind(), ErrorKind::Model);
    assert!(error.message().contains(name) && error.message().contains("I32 found"), "{error}");
}

#[test]
fn a_checkpoint_without_an_autoencoder_says_so() {
    let scratch = Scratch::new("unet");
    let bytes =
        changed("sd_like", |n, v| Some((format!("model.diffusion_model.{n}"), v.shape().to_vec())));
    refused(&scratch, bytes, ErrorKind::Model, &["no autoencoder", "model.diffusion_model."]);
}

#[test]
fn folders_that_are_incomplete() {
    let scratch = Scratch::new("folder");
    let message = |kind| {
        let error = fails(&scratch.0);
        assert_eq!(error.kind(), kind, "{error}");
        error.message().to_owned()
    };
    assert!(message(ErrorKind::Format).contains("config.json"));
    scratch.write("config.json", "{}");
    assert!(message(ErrorKind::Io).contains("diffusion_pytorch_model.safetensors is missing"));
    scratch.write("diffusion_pytorch_model.bin", "");
    assert!(message(ErrorKind::Format).contains("diffusion_pytorch_model.bin: the file is empty"));
    scratch.write(
        "diffusion_pytorch_model.safetensors.index.json",
        r#"{"weight_map": {"a": "../a"}}"#,
    );
    assert!(message(ErrorKind::Format).contains("\"../a\" is not the name of a file"));
    scratch
        .write("diffusion_pytorch_model.safetensors.index.json", r#"{"weight_map": {"a": "a"}}"#);
    assert!(message(ErrorKind::Io).contains("a: "));
    scratch.write("config.json", "{\"in_channels\": true}");
    assert!(message(ErrorKind::Io).contains("No such file"));
    let error = fails(&scratch.0.join("nowhere"));
    assert!(error.message().contains("nowhere"), "{error}");
}

#[test]
fn variants_are_chosen_by_name_or_when_there_is_one() {
    let fixture = Fixture::open("fp16_variant");
    let model = Model::open(fixture.path()).unwrap();
    assert_eq!(model.info().variant.as_deref(), Some("fp16"));
    let mut options = ModelOptions::default();
    options.variant = Some("fp16".into());
    Model::open_with(fixture.path(), &options).unwrap();
    options.variant = Some("bf16".into());
    let error = Model::open_with(fixture.path(), &options).err().unwrap();
    assert!(error.message().contains("bf16") && error.message().contains("fp16"), "{error}");
}

#[test]
fn a_sharded_variant_opens_by_itself() {
    let scratch = Scratch::new("shards");
    let fixture = Fixture::open("sd_like");
    scratch.write("config.json", fs::read(fixture.folder.join("config.json")).unwrap());
    let mut map = serde_json::Map::new();
    for (part, number) in [("encoder", 1), ("decoder", 2)] {
        let name = format!("diffusion_pytorch_model.fp16-0000{number}-of-00002.safetensors");
        // The convolutions around the latents go with the second.
        let of_part = |tensor: &str| tensor.starts_with("encoder") == (part == "encoder");
        let bytes = changed("sd_like", |n, v| of_part(n).then(|| (n.into(), v.shape().to_vec())));
        for tensor in SafeTensors::deserialize(&bytes).unwrap().names() {
            map.insert(tensor.to_string(), name.clone().into());
        }
        scratch.write(&name, bytes);
    }
    let index = serde_json::json!({ "weight_map": map }).to_string();
    scratch.write("diffusion_pytorch_model.safetensors.index.fp16.json", index);
    let model = Model::open(&scratch.0).unwrap();
    assert_eq!(model.info().variant.as_deref(), Some("fp16"));
    assert_eq!(model.info().parameters, fixture.meta["parameters"].as_u64().unwrap());
}

#[test]
fn foreign_tensors_are_counted_and_left_alone() {
    let fixture = Fixture::open("ldm_checkpoint");
    let model = fixture.model(|_| {});
    assert!(model.info().foreign_tensors > 0);
    assert_eq!(model.info().layout, "original, behind first_stage_model.");
    assert_eq!(model.info().parameters, fixture.meta["parameters"].as_u64().unwrap());
}

#[test]
fn a_bare_file_takes_a_preset_and_half_a_model() {
    let fixture = Fixture::open("ldm_bare");
    let mut options = ModelOptions::default();
    options.parts = Parts::Decoder;
    let model = Model::open_with(fixture.path(), &options).unwrap();
    assert!(model.info().tensors < fixture.model(|_| {}).info().tensors);

    // A file with a decoder alone opens as one, and tells what it lacks otherwise.
    let bytes = fs::read(fixture.path()).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let views: Vec<_> = tensors.iter().filter(|(n, _)| !n.starts_with("encoder.")).collect();
    let bytes = serialize(views, None).unwrap();
    Model::from_bytes(bytes.clone(), &options).unwrap();
    let error = Model::from_bytes(bytes, &ModelOptions::default()).err().unwrap();
    assert!(error.message().contains("encoder.") && error.message().contains("missing"), "{error}");
}

#[test]
fn a_configuration_that_does_not_fit_the_file_is_refused() {
    let fixture = Fixture::open("sd_like");
    let config = |change: fn(&mut Config)| {
        let mut options = ModelOptions::default();
        let mut config = fixture.model(|_| {}).config().clone();
        change(&mut config);
        options.config = Some(config);
        Model::open_with(fixture.path(), &options).err().map(|error| error.message().to_owned())
    };
    assert_eq!(config(|_| {}), None);
    assert!(config(|c| c.latent_channels += 1).unwrap().contains("expected"));
    assert!(
        config(|c| c.family.kl_mut().unwrap().norm_num_groups = 7)
            .unwrap()
            .contains("norm_num_groups")
    );
    assert!(
        config(|c| c.family.kl_mut().unwrap().layers_per_block += 1).unwrap().contains("missing")
    );
    let mut options = ModelOptions::default();
    options.norm_num_groups = Some(4);
    let error = Model::open_with(fixture.path(), &options).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    for part in ["norm_num_groups: none expected", "config.json", "; 4 found"] {
        assert!(error.message().contains(part), "{error}");
    }
}

/// `sd_like` without its configuration, its tensors changed.
fn bare(change: impl Fn(&str, &TensorView<'_>) -> Option<(String, Vec<usize>)>) -> Vec<u8> {
    changed("sd_like", change)
}

fn open_bare(bytes: Vec<u8>, parts: Parts) -> vaekl::Result<Model> {
    Model::from_bytes(bytes, &ModelOptions::default().with_norm_num_groups(4).with_parts(parts))
}

fn same(name: &str, view: &TensorView<'_>) -> Option<(String, Vec<usize>)> {
    Some((name.to_owned(), view.shape().to_vec()))
}

#[test]
fn relatives_are_refused_by_their_names() {
    for (tensor, family) in [
        ("decoder.up_blocks.0.resnets.0.time_stack.in_layers.0.bias", "Stable Video Diffusion"),
        ("quantize.embedding.weight", "VQModel"),
    ] {
        // One tensor under another name, so that nothing else is wrong.
        let bytes = bare(|n, v| match n {
            "encoder.conv_norm_out.bias" => Some((tensor.to_owned(), v.shape().to_vec())),
            _ => same(n, v),
        });
        let error = open_bare(bytes, Parts::Both).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Model, "{error}");
        assert!(error.message().contains(tensor) && error.message().contains(family), "{error}");
    }
}

#[test]
fn nothing_is_left_over_inside_an_autoencoder() {
    let extra = |n: &str, v: &TensorView<'_>| match n {
        "encoder.conv_norm_out.bias" => {
            Some(("decoder.skip_conv_1.bias".into(), v.shape().to_vec()))
        }
        _ => same(n, v),
    };
    let error = open_bare(bare(extra), Parts::Decoder).unwrap_err();
    assert!(error.message().contains("decoder.skip_conv_1.bias"), "{error}");
    assert!(error.message().contains("AutoencoderKL"), "{error}");
    // The encoder has none.
    let error = open_bare(bare(extra), Parts::Encoder).unwrap_err();
    assert!(error.message().contains("encoder.conv_norm_out.bias"), "{error}");

    // A configuration leaves it out, as diffusers does, and that is told.
    let config = Model::open(Fixture::open("sd_like").path()).unwrap().config().clone();
    let options = ModelOptions::default().with_config(config).with_parts(Parts::Decoder);
    let model = Model::from_bytes(bare(extra), &options).unwrap();
    assert_eq!(model.info().unused_tensors, ["decoder.skip_conv_1.bias"]);
    let notices = model.info().notices();
    assert!(notices.iter().any(|line| line.contains("decoder.skip_conv_1.bias")), "{notices:?}");
}

#[test]
fn what_contradicts_the_family_is_refused() {
    for (lost, parts) in [("quant_conv", Parts::Encoder), ("post_quant_conv", Parts::Decoder)] {
        let prefix = format!("{lost}.");
        let bytes = bare(|n, v| if n.starts_with(&prefix) { None } else { same(n, v) });
        let error = open_bare(bytes, parts).unwrap_err();
        assert!(error.message().contains(&format!("{lost}.weight is missing")), "{error}");
    }
    // A level of the decoder is lost.
    let bytes = bare(|n, v| if n.starts_with("decoder.up_blocks.3.") { None } else { same(n, v) });
    for parts in [Parts::Decoder, Parts::Both] {
        let error = open_bare(bytes.clone(), parts).unwrap_err();
        assert!(error.message().contains("4 levels, the decoder 3"), "{error}");
    }
    for (preset, what) in
        [("flux", "16 latent channels expected, 4"), ("sd-x4-upscaler", "3 levels expected, 4")]
    {
        let options = ModelOptions::default().with_preset(preset.parse().unwrap());
        let error = Model::open_with(Fixture::open("sd_like").path(), &options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.message().contains(what), "{error}");
    }
    let options = ModelOptions::default().with_preset(Preset::Sdxl);
    let model = Model::open_with(Fixture::open("sd_like").path(), &options).unwrap();
    assert_eq!(model.config().scaling_factor, 0.13025);
}

#[test]
fn prefixes_of_training_and_of_wrappers_open() {
    let reference = open_bare(bare(same), Parts::Both).unwrap();
    for prefix in ["module.", "_orig_mod.", "model.vae.", "state_dict.first_stage_model._orig_mod."]
    {
        let bytes = bare(|n, v| Some((format!("{prefix}{n}"), v.shape().to_vec())));
        let model = open_bare(bytes, Parts::Both).unwrap();
        assert_eq!(model.info().tensors, reference.info().tensors, "{prefix}");
    }
    // A decoder cut out by its prefix, with what stood beside it.
    let bytes = bare(|n, v| {
        let rest = n.strip_prefix("decoder.").or(n.starts_with("post_quant_conv.").then_some(n))?;
        Some((rest.to_owned(), v.shape().to_vec()))
    });
    let decoder = open_bare(bytes, Parts::Decoder).unwrap();
    let channels = |model: &Model| model.config().family.kl().unwrap().block_out_channels.clone();
    assert_eq!(channels(&decoder), channels(&reference));
}

#[test]
fn the_cache_of_the_hub_is_understood() {
    let scratch = Scratch::new("hub");
    let repository = scratch.0.join("models--some--vae");
    let snapshot = repository.join("snapshots/0123abcd");
    fs::create_dir_all(&snapshot).unwrap();
    fs::create_dir_all(repository.join("refs")).unwrap();
    let fixture = Fixture::open("sd_like");
    for name in ["config.json", "diffusion_pytorch_model.safetensors"] {
        fs::copy(fixture.path().join(name), snapshot.join(name)).unwrap();
    }
    // The only snapshot needs no reference.
    Model::open(&repository).unwrap();
    fs::write(repository.join("refs/main"), "0123abcd\n").unwrap();
    Model::open(&repository).unwrap();
    fs::write(repository.join("refs/main"), "../../elsewhere").unwrap();
    let error = fails(&repository);
    assert!(
        error.message().contains("refs/main") && error.message().contains("elsewhere"),
        "{error}"
    );
    let error = fails(Path::new("no-such-org/no-such-name"));
    assert!(error.message().contains("models--no-such-org--no-such-name"), "{error}");
    assert_eq!(error.kind(), ErrorKind::Io);
}

#[test]
fn a_file_that_is_not_mapped_gives_the_same_bits() {
    let fixture = Fixture::open("sd_like");
    let options = ModelOptions::default().with_disable_mmap(true);
    let read = Model::open_with(fixture.path(), &options).unwrap();
    let mapped = Model::open(fixture.path()).unwrap();
    assert!(!read.info().mapped && mapped.info().mapped);
    let latents = ndarray::Array4::from_shape_fn((1, 4, 3, 5), |(_, c, y, x)| {
        (c as f32 - 1.5) * 0.3 + (y * 5 + x) as f32 * 0.01
    });
    let decode = |model: &Model| {
        let mut session = vaekl::Session::new(model, &vaekl::SessionOptions::default()).unwrap();
        session.decode(latents.view()).unwrap().sample
    };
    assert_eq!(decode(&read), decode(&mapped));
}

#[test]
fn the_halves_that_are_there_open_and_a_broken_one_does_not() {
    let present = |bytes| open_bare(bytes, Parts::Present);
    assert_eq!(present(bare(same)).unwrap().parts(), Parts::Both);
    let decoder = |n: &str| n.starts_with("decoder.") || n.starts_with("post_quant_conv.");
    let half = bare(|n, v| if decoder(n) { same(n, v) } else { None });
    assert_eq!(present(half).unwrap().parts(), Parts::Decoder);
    let half = bare(|n, v| if decoder(n) { None } else { same(n, v) });
    assert_eq!(present(half).unwrap().parts(), Parts::Encoder);
    // Not half of it: that would pass for a model without an encoder.
    let lost = "encoder.mid_block.resnets.0.norm1.bias";
    let error = present(bare(|n, v| if n == lost { None } else { same(n, v) })).unwrap_err();
    assert!(error.message().contains(lost), "{error}");
}
