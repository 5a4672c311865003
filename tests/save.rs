//! What is saved opens again as the same model: in folders, shards and files, under both names, in
//! every type; and a save that fails leaves what was there.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::tensor::{TensorView, serialize};
use safetensors::{Dtype, SafeTensors};
use support::{Fixture, f32x4};
use vaekl::{
    Encoding, ErrorKind, KeyLayout, Model, ModelOptions, Parts, SaveOptions, Session,
    SessionOptions, Storage,
};

const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// A folder for one test, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vaekl-save-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The files of a folder, by name.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    entries.map(|e| (e.file_name().into_string().unwrap(), fs::read(e.path()).unwrap())).collect()
}

/// Types, shapes and bytes of the tensors of all safetensors files of a folder.
type Tensors = BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>;

fn tensors(files: &BTreeMap<String, Vec<u8>>) -> Tensors {
    let weights = files.iter().filter(|(name, _)| name.ends_with(".safetensors"));
    let mut all = Tensors::new();
    for (name, bytes) in weights.filter(|(name, _)| *name != "reference.safetensors") {
        for (tensor, view) in SafeTensors::deserialize(bytes).unwrap().tensors() {
            let value = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            assert!(all.insert(tensor, value).is_none(), "{name}");
        }
    }
    all
}

/// The model of a fixture as a user opens it.
fn open(fixture: &Fixture) -> Model {
    let mut options = ModelOptions::default();
    if !fixture.folder.join("config.json").exists() {
        options.config = fixture.expected_config();
    }
    Model::open_with(fixture.path(), &options).unwrap()
}

/// Whether the file has the elements as they are saved.
fn is_plain(model: &Model) -> bool {
    let floats = [Encoding::F32, Encoding::F16, Encoding::Bf16, Encoding::F64];
    let info = model.info();
    info.format == "safetensors" && info.dtypes.keys().all(|dtype| floats.contains(dtype))
}

/// The bits of a decode.
fn decoded(model: &Model, fixture: &Fixture) -> Vec<u32> {
    let mut session = Session::new(model, &SessionOptions::default()).unwrap();
    let picture = session.decode(f32x4(&fixture.tensor("latents")).view()).unwrap().sample;
    picture.iter().map(|value| value.to_bits()).collect()
}

fn plain() -> SaveOptions {
    SaveOptions::default()
}

#[test]
fn every_fixture_comes_back_from_a_folder_and_from_a_file() {
    let scratch = Scratch::new("all");
    for fixture in Fixture::all() {
        let name = &fixture.name;
        let path = |kind: &str| scratch.path(&format!("{name}{kind}"));
        let model = open(&fixture);
        let saved = model.save_pretrained(path(""), &plain()).unwrap();
        let first = files(&path(""));
        assert_eq!(first.keys().collect::<Vec<_>>(), ["config.json", WEIGHTS], "{name}");
        let saved_tensors = tensors(&first);
        assert_eq!(saved_tensors.len(), model.info().tensors, "{name}");
        if is_plain(&model) {
            assert_eq!(saved.weight_bytes, model.info().weight_bytes, "{name}");
            assert_eq!(saved.dtypes, model.info().dtypes, "{name}");
            match fs::read(fixture.folder.join("config.json")) {
                Ok(text) => assert_eq!(first["config.json"], text, "{name}: its own configuration"),
                Err(_) => {
                    assert!(first["config.json"].starts_with(b"{\n  \"_class_name\""), "{name}");
                }
            }
            // The same elements as in the fixture, under today's names.
            let before = tensors(&files(&fixture.folder)).into_values();
            let before: Vec<_> = before.map(|(dtype, _, bytes)| (dtype, bytes)).collect();
            for (dtype, _, bytes) in saved_tensors.values() {
                assert!(before.contains(&(*dtype, bytes.clone())), "{name}: other bytes");
            }
        }
        for (tensor, (_, shape, _)) in &saved_tensors {
            let projection = tensor.contains(".attentions.") && !tensor.contains("group_norm");
            let axes = if tensor.ends_with("bias") || tensor.contains("norm") {
                1
            } else if projection {
                2
            } else {
                4
            };
            assert_eq!(shape.len(), axes, "{name}: {tensor}");
        }

        let again = Model::open(path("")).unwrap();
        assert_eq!(again.config(), model.config(), "{name}");
        assert!(again.info().guessed.is_empty() && again.info().layout == "diffusers", "{name}");
        let bits = decoded(&model, &fixture);
        assert_eq!(decoded(&again, &fixture), bits, "{name}");
        again.save_pretrained(path("-again"), &plain()).unwrap();
        assert_eq!(files(&path("-again")), first, "{name}: the folder of a folder");

        for (kind, layout, opened_as) in [
            (".safetensors", KeyLayout::Diffusers, "diffusers"),
            (".ldm.safetensors", KeyLayout::Original, "original"),
        ] {
            let options = plain().with_layout(layout);
            again.save_file(path(kind), &options).unwrap();
            let file = Model::open(path(kind)).unwrap();
            assert_eq!(file.info().layout, opened_as, "{name}");
            assert_eq!(file.info().config_source, "the file's metadata", "{name}");
            assert_eq!(file.config(), model.config(), "{name}");
            assert!(file.info().guessed.is_empty(), "{name}");
            assert_eq!(decoded(&file, &fixture), bits, "{name}, {opened_as}");
            // File to folder, and file to file.
            let folder = path(&format!("{kind}-folder"));
            file.save_pretrained(&folder, &plain()).unwrap();
            assert_eq!(files(&folder), first, "{name}: the folder of a file, {opened_as}");
            let copy = path(&format!("{kind}.copy"));
            file.save_file(&copy, &options).unwrap();
            assert!(fs::read(copy).unwrap() == fs::read(path(kind)).unwrap(), "{name}");
        }
    }
}

#[test]
fn every_family_comes_back_under_the_names_of_its_publisher_too() {
    const COUNT: &str = "bn.num_batches_tracked";
    let scratch = Scratch::new("families");
    for fixture in Fixture::families() {
        let name = &fixture.name;
        let path = |kind: &str| scratch.path(&format!("{name}{kind}"));
        let model = open(&fixture);
        let family = &*model.info().family;
        let saved = model.save_pretrained(path(""), &plain()).unwrap();
        assert_eq!(saved.dtypes, model.info().dtypes, "{name}");
        let first = files(&path(""));
        let mut own = tensors(&first);
        if family == "AutoencoderKLFlux2" {
            let count = (Dtype::I64, Vec::new(), vec![0; 8]);
            assert_eq!(own.remove(COUNT), Some(count), "{name}: diffusers warns without it");
        }
        assert_eq!(own.len(), model.info().tensors, "{name}");
        if let Ok(text) = fs::read(fixture.folder.join("config.json")) {
            assert_eq!(first["config.json"], text, "{name}: its own configuration");
            let mut theirs = tensors(&files(&fixture.folder));
            theirs.remove(COUNT);
            assert!(own == theirs, "{name}: other tensors than diffusers writes");
        }
        let bits = decoded(&model, &fixture);
        let same = |again: &Model, layout: &str| {
            let info = again.info();
            assert_eq!((again.config(), &*info.layout), (model.config(), layout), "{name}");
            assert!(info.guessed.is_empty() && info.foreign_tensors == 0, "{name}: {info:?}");
            assert_eq!(decoded(again, &fixture), bits, "{name}, {layout}");
        };
        same(&Model::open(path("")).unwrap(), "diffusers");
        for (kind, layout) in
            [(".safetensors", KeyLayout::Diffusers), (".own.safetensors", KeyLayout::Original)]
        {
            let saved = model.save_file(path(kind), &plain().with_layout(layout));
            if (family, layout) == ("AsymmetricAutoencoderKL", KeyLayout::Original) {
                let message = saved.unwrap_err().to_string();
                assert!(message.contains("diffusers' expected for an Asymmetric"), "{message}");
                continue;
            }
            saved.unwrap();
            same(&Model::open(path(kind)).unwrap(), layout.name());
        }
        if let "flux2_own" | "taesd_safetensors" = &**name {
            let [found, theirs] = [path(".own.safetensors"), fixture.path()].map(|path| {
                let bytes = fs::read(path).unwrap();
                let tensors = SafeTensors::deserialize(&bytes).unwrap().tensors();
                let named = |(name, view): (String, TensorView<'_>)| {
                    (name, (view.dtype(), view.shape().to_vec(), view.data().to_vec()))
                };
                let mut tensors: Tensors = tensors.into_iter().map(named).collect();
                tensors.remove(COUNT);
                tensors
            });
            assert!(found == theirs, "{name}: other tensors than its publisher's");
        }
    }
}

#[test]
fn bytes_are_those_of_the_safetensors_crate() {
    let scratch = Scratch::new("crate");
    // Four types in one file; diffusers wrote it, in the same order.
    for name in ["mixed_dtypes", "sd_like"] {
        let fixture = Fixture::open(name);
        open(&fixture).save_pretrained(scratch.path(name), &plain()).unwrap();
        let found = fs::read(scratch.path(name).join(WEIGHTS)).unwrap();
        let tensors = SafeTensors::deserialize(&found).unwrap();
        let metadata = Some([("format".to_owned(), "pt".to_owned())].into());
        let views: Vec<_> = tensors.tensors();
        assert!(found == serialize(views, metadata).unwrap(), "{name}");
        assert!(found == fs::read(fixture.folder.join(WEIGHTS)).unwrap(), "{name}");
    }
}

#[test]
fn shards_are_those_of_diffusers_and_replace_each_other() {
    let scratch = Scratch::new("shards");
    let fixture = Fixture::open("sd_like");
    let model = open(&fixture);
    let folder = scratch.path("vae");
    model.save_pretrained(&folder, &plain()).unwrap();
    let whole = tensors(&files(&folder));
    let names = |folder: &Path| files(folder).into_keys().collect::<Vec<_>>();
    let limit = 20_000;
    let saved = model.save_pretrained(&folder, &plain().with_max_shard_size(limit)).unwrap();
    let there = files(&folder);
    assert!(!there.contains_key(WEIGHTS), "the unsharded file is stale");
    assert_eq!(tensors(&there), whole);
    let index: serde_json::Value =
        serde_json::from_slice(&there[&format!("{WEIGHTS}.index.json")]).unwrap();
    assert_eq!(index["metadata"]["total_size"], model.info().weight_bytes);
    assert_eq!(index["weight_map"].as_object().unwrap().len(), whole.len());
    let shards = saved.files.len() - 2;
    assert!(shards > 3, "{shards}");
    for (i, path) in saved.files[..shards].iter().enumerate() {
        let name = format!("diffusion_pytorch_model-{:05}-of-{shards:05}.safetensors", i + 1);
        assert_eq!(path.file_name().unwrap().to_str().unwrap(), name);
        let bytes = &there[&name];
        let shard = SafeTensors::deserialize(bytes).unwrap();
        let data: usize = shard.tensors().iter().map(|(_, view)| view.data().len()).sum();
        assert!(data as u64 <= limit || shard.len() == 1, "{name}: {data}");
        for tensor in shard.names() {
            assert_eq!(index["weight_map"][tensor], name, "{tensor}");
        }
    }
    let again = Model::open(&folder).unwrap();
    assert_eq!(decoded(&again, &fixture), decoded(&model, &fixture));

    // Onto the folder it is open from: other shards, of another variant beside, then one file.
    again.save_pretrained(&folder, &plain().with_max_shard_size(40_000)).unwrap();
    assert!(names(&folder).len() < there.len());
    let variant = plain().with_variant("fp16").with_dtype(Storage::F16);
    again.save_pretrained(&folder, &variant.clone().with_max_shard_size(20_000)).unwrap();
    assert!(names(&folder).contains(&format!("{WEIGHTS}.index.fp16.json")));
    again.save_pretrained(&folder, &variant).unwrap();
    again.save_pretrained(&folder, &plain()).unwrap();
    assert_eq!(
        names(&folder),
        ["config.json", "diffusion_pytorch_model.fp16.safetensors", WEIGHTS]
    );
    assert_eq!(decoded(&again, &fixture), decoded(&model, &fixture), "the old map");
    let options = ModelOptions::default().with_variant("fp16");
    let half = Model::open_with(&folder, &options).unwrap();
    assert_eq!(half.info().dtypes.keys().collect::<Vec<_>>(), [&Encoding::F16]);
}

/// The elements of a tensor as f64.
fn values(dtype: Dtype, bytes: &[u8]) -> Vec<f64> {
    let two = |b: &[u8]| [b[0], b[1]];
    let f32s = |b: &[u8]| f64::from(f32::from_le_bytes(b.try_into().unwrap()));
    match dtype {
        Dtype::F32 => bytes.chunks_exact(4).map(f32s).collect(),
        Dtype::F64 => {
            bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
        }
        Dtype::F16 => bytes.chunks_exact(2).map(|b| f16::from_le_bytes(two(b)).to_f64()).collect(),
        Dtype::BF16 => {
            bytes.chunks_exact(2).map(|b| bf16::from_le_bytes(two(b)).to_f64()).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn types_change_by_rounding_to_nearest_even() {
    let scratch = Scratch::new("types");
    for name in ["sd_like", "mixed_dtypes", "bf16_batch2", "mish_three_resnets"] {
        let fixture = Fixture::open(name);
        let model = open(&fixture);
        model.save_pretrained(scratch.path(name), &plain()).unwrap();
        let before = tensors(&files(&scratch.path(name)));
        for (storage, dtype) in
            [(Storage::F32, Dtype::F32), (Storage::F16, Dtype::F16), (Storage::Bf16, Dtype::BF16)]
        {
            let folder = scratch.path(&format!("{name}-{storage}"));
            let saved = model.save_pretrained(&folder, &plain().with_dtype(storage)).unwrap();
            assert_eq!(saved.dtypes.len(), 1);
            assert_eq!(saved.weight_bytes, model.info().parameters * storage.size() as u64);
            for (tensor, (found, _, bytes)) in tensors(&files(&folder)) {
                assert_eq!(found, dtype);
                let (old, _, old_bytes) = &before[&tensor];
                if *old == dtype {
                    assert!(bytes == *old_bytes, "{name}: {tensor}");
                }
                // torch rounds f64 to f32 first.
                let round = |value: f64| match storage {
                    Storage::F32 => f64::from(value as f32),
                    Storage::F16 => f16::from_f32(value as f32).to_f64(),
                    Storage::Bf16 => bf16::from_f32(value as f32).to_f64(),
                };
                let expected: Vec<f64> = values(*old, old_bytes).into_iter().map(round).collect();
                assert!(values(dtype, &bytes) == expected, "{name}: {tensor}");
            }
        }
    }
}

/// `sd_like` in memory, with the first values of a weight replaced.
fn altered(replaced: &[f32]) -> Model {
    let fixture = Fixture::open("sd_like");
    let bytes = fs::read(fixture.folder.join(WEIGHTS)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let name = "decoder.conv_in.weight";
    let mut weight = file.tensor(name).unwrap().data().to_vec();
    for (i, value) in replaced.iter().enumerate() {
        weight[4 * i..4 * i + 4].copy_from_slice(&value.to_le_bytes());
    }
    let views = file.tensors().into_iter().map(|(tensor, view)| {
        let data = if tensor == name { &weight[..] } else { view.data() };
        let view = TensorView::new(view.dtype(), view.shape().to_vec(), data).unwrap();
        (tensor, view)
    });
    let bytes = serialize(views.collect::<Vec<_>>(), None).unwrap();
    let config = open(&fixture).config().clone();
    Model::from_bytes(bytes, &ModelOptions::default().with_config(config)).unwrap()
}

#[test]
fn ties_overflow_and_nan() {
    let scratch = Scratch::new("values");
    let saved = |model: &Model, storage| {
        let folder = scratch.path("values");
        model.save_pretrained(&folder, &plain().with_dtype(storage)).map(|_| {
            let (dtype, _, bytes) = tensors(&files(&folder))["decoder.conv_in.weight"].clone();
            values(dtype, &bytes)
        })
    };
    // Halfway between neighbours: to the even one. What torch gives for these.
    let model = altered(&[2049.0, 2051.0, 65519.0, f32::NAN, f32::INFINITY, 1e-8]);
    let found = saved(&model, Storage::F16).unwrap();
    assert_eq!(found[..3], [2048.0, 2052.0, 65504.0]);
    assert!(found[3].is_nan() && found[4] == f64::INFINITY && found[5] == 0.0);
    let found = saved(&model, Storage::Bf16).unwrap();
    assert_eq!(found[..3], [2048.0, 2048.0, 65536.0]);
    assert!(found[3].is_nan() && found[4] == f64::INFINITY);

    let model = altered(&[0.0, -65520.0]);
    let error = saved(&model, Storage::F16).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    for part in ["decoder.conv_in.weight", "f16", "expected", "-65520 found"] {
        assert!(error.message().contains(part), "{error}");
    }
    assert!(saved(&model, Storage::Bf16).is_ok());
    assert!(saved(&altered(&[f32::MAX]), Storage::Bf16).is_err());
}

#[test]
fn a_save_that_fails_leaves_what_was_there() {
    let scratch = Scratch::new("fails");
    let overflows = altered(&[1e6]);
    let options = plain().with_dtype(Storage::F16);
    let folder = scratch.path("a/b/vae");
    assert!(overflows.save_pretrained(&folder, &options).is_err());
    assert!(!scratch.path("a").exists(), "the new folders are gone");

    let fixture = Fixture::open("sd_like");
    open(&fixture).save_pretrained(&folder, &plain()).unwrap();
    let before = files(&folder);
    assert!(overflows.save_pretrained(&folder, &options).is_err());
    assert_eq!(files(&folder), before);
    let file = scratch.path("one.safetensors");
    open(&fixture).save_file(&file, &plain()).unwrap();
    let bytes = fs::read(&file).unwrap();
    assert!(overflows.save_file(&file, &options).is_err());
    assert!(fs::read(&file).unwrap() == bytes);
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 2, "nothing beside them");
}

#[test]
fn a_file_is_saved_onto_the_file_that_is_open() {
    let scratch = Scratch::new("onto");
    let fixture = Fixture::open("ldm_bare");
    let path = scratch.path("model.safetensors");
    fs::copy(fixture.path(), &path).unwrap();
    let mut config = Model::open(&path).unwrap().config().clone();
    config.shift_factor = Some(0.1159);
    let model = Model::open_with(&path, &ModelOptions::default().with_config(config)).unwrap();
    let bits = decoded(&model, &fixture);
    model.save_file(&path, &plain().with_layout(KeyLayout::Original)).unwrap();
    assert_eq!(decoded(&model, &fixture), bits);
    let again = Model::open(&path).unwrap();
    assert_eq!(decoded(&again, &fixture), bits);
    // What was given is the configuration now.
    assert_eq!(again.config().shift_factor, Some(0.1159));
    assert!(again.info().guessed.is_empty());
    let bytes = fs::read(&path).unwrap();
    let from_bytes = Model::from_bytes(bytes, &ModelOptions::default()).unwrap();
    assert_eq!(from_bytes.config(), again.config());
}

#[test]
fn half_a_model_is_saved_as_it_is() {
    let scratch = Scratch::new("half");
    let fixture = Fixture::open("sd_like");
    let options = ModelOptions::default().with_parts(Parts::Decoder);
    let model = Model::open_with(fixture.path(), &options).unwrap();
    let file = scratch.path("decoder.safetensors");
    model.save_file(&file, &plain()).unwrap();
    let preset = options.clone().with_preset("sdxl".parse().unwrap());
    let source = Model::open_with(&file, &preset).unwrap().info().config_source.clone();
    assert_eq!(source, "the file's metadata, with preset sdxl");
    for layout in [KeyLayout::Diffusers, KeyLayout::Original] {
        model.save_file(&file, &plain().with_layout(layout)).unwrap();
        let again = Model::open_with(&file, &options).unwrap();
        assert_eq!(again.info().tensors, model.info().tensors);
        assert_eq!(decoded(&again, &fixture), decoded(&model, &fixture));
        assert!(Model::open(&file).unwrap_err().message().contains("encoder."));
    }
}

#[test]
fn a_configuration_in_the_metadata_that_is_wrong_is_named() {
    let scratch = Scratch::new("metadata");
    let path = scratch.path("model.safetensors");
    open(&Fixture::open("sd_like")).save_file(&path, &plain()).unwrap();
    let bytes = fs::read(&path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    for (text, part) in [("{", "not valid JSON"), (r#"{"act_fn": "tanh"}"#, "act_fn")] {
        let metadata = Some([("vaekl.config".to_owned(), text.to_owned())].into());
        fs::write(&path, serialize(file.tensors(), metadata).unwrap()).unwrap();
        let message = Model::open(&path).unwrap_err().to_string();
        for part in ["model.safetensors", "the file's metadata", part] {
            assert!(message.contains(part), "{message}");
        }
    }
}

#[test]
fn options_that_do_not_apply_are_refused() {
    let scratch = Scratch::new("options");
    let model = open(&Fixture::open("sd_like"));
    let (folder, file) = (scratch.path("vae"), scratch.path("file"));
    fs::write(&file, "").unwrap();
    let folder_fails = |options: &SaveOptions| model.save_pretrained(&folder, options);
    let file_fails = |options: &SaveOptions| model.save_file(scratch.path("new"), options);
    for (result, kind, part) in [
        (
            folder_fails(&plain().with_layout(KeyLayout::Original)),
            ErrorKind::InvalidArgument,
            "layout",
        ),
        (folder_fails(&plain().with_variant("a/b")), ErrorKind::InvalidArgument, "variant"),
        (folder_fails(&plain().with_max_shard_size(0)), ErrorKind::InvalidArgument, "shard"),
        (file_fails(&plain().with_variant("fp16")), ErrorKind::InvalidArgument, "variant"),
        (file_fails(&plain().with_max_shard_size(9)), ErrorKind::InvalidArgument, "shard"),
        (model.save_pretrained("", &plain()), ErrorKind::InvalidArgument, "folder"),
        (model.save_pretrained(&file, &plain()), ErrorKind::Io, "a file found"),
        (model.save_pretrained(file.join("vae"), &plain()), ErrorKind::Io, "file/vae"),
        (model.save_file(&scratch.0, &plain()), ErrorKind::Io, "is a folder"),
    ] {
        let error = result.unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.message().contains(part), "{error}");
    }
    assert_eq!(files(&scratch.0).len(), 1);
}
