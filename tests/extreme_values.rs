//! Values in weights that no training leaves: NaN, infinities, the largest and subnormal numbers,
//! in every tensor of every family. A call gives an error that names the tensor or its layer, or
//! what the network gives; never a picture where torch has NaN.

mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::Array4;
use safetensors::{Dtype, SafeTensors};
use support::{Fixture, encoder_values};
use vaekl::{
    Error, ErrorKind, Family, Model, ModelOptions, SaveOptions, Session, SessionOptions, Storage,
};

/// Latents' sides: enough for all taps of a kernel.
const SIDE: usize = 2;

/// A model as one file of f32, in memory.
struct File {
    name: String,
    bytes: Vec<u8>,
    /// Where the elements of each tensor are, by name.
    tensors: BTreeMap<String, std::ops::Range<usize>>,
}

impl File {
    fn of(fixture: &Fixture) -> Self {
        let name = fixture.name.clone();
        // Tests run at the same time, and each writes the file.
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = format!("extreme-{}-{count}.safetensors", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(path);
        let model = fixture.model(|config| config.force_upcast = false);
        model.save_file(&path, &SaveOptions::default().with_dtype(Storage::F32)).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let parsed = SafeTensors::deserialize(&bytes).unwrap();
        let tensors = parsed.iter().filter(|(_, view)| view.dtype() == Dtype::F32);
        let place = |(name, view): (&str, safetensors::tensor::TensorView<'_>)| {
            let at = view.data().as_ptr().addr() - bytes.as_ptr().addr();
            (name.to_owned(), at..at + view.data().len())
        };
        let tensors = tensors.map(place).collect();
        Self { name, bytes, tensors }
    }

    /// The file with `value` in the middle of a tensor.
    fn with(&self, tensor: &str, value: f32) -> Vec<u8> {
        let place = &self.tensors[tensor];
        let at = place.start + place.len() / 8 * 4;
        let mut bytes = self.bytes.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        bytes
    }
}

fn waves(shape: (usize, usize, usize, usize)) -> Array4<f32> {
    Array4::from_shape_fn(shape, |(_, c, y, x)| ((c * 7 + y * 3 + x) as f32 * 0.9).sin() / 2.0)
}

/// What the half with `tensor` gives; a masked decode for an encoder of masked pictures.
fn run(bytes: Vec<u8>, tensor: &str) -> Result<Array4<f32>, Error> {
    let model = Model::from_bytes(bytes, &ModelOptions::default())?;
    let (config, threads) = (model.config().clone(), SessionOptions::default().with_threads(1));
    let mut session = Session::new(&model, &threads)?;
    let sides = |channels, scale| waves((1, channels, SIDE * scale, SIDE * scale));
    let factor = config.downscale();
    if tensor.starts_with("encoder.") || tensor.starts_with("quant_conv.") {
        let encoded = session.encode(sides(config.in_channels, factor).view())?.encoded;
        return Ok(encoder_values(&encoded));
    }
    let latents = sides(config.latent_channels, 1);
    let decoded = if matches!(config.family, Family::Asymmetric(_)) {
        let picture = sides(config.out_channels, factor);
        let mask = sides(1, factor).mapv(|value| f32::from(value > 0.0));
        session.decode_masked(latents.view(), picture.view(), mask.view())?
    } else {
        session.decode(latents.view())?
    };
    Ok(decoded.sample)
}

fn all() -> impl Iterator<Item = Fixture> {
    let kl = ["sd_like", "mish_three_resnets", "gelu_no_post_quant", "relu_no_mid_attention"];
    kl.into_iter().map(Fixture::open).chain(Fixture::families())
}

/// Calls `check` for every tensor of every family, two families at a time; what it says is wrong.
fn for_every_tensor(check: impl Fn(&File, &str) -> Vec<String> + Sync) {
    let (files, wrong) = (std::sync::Mutex::new(all()), std::sync::Mutex::new(Vec::new()));
    let (mut count, worker) = (0, || {
        let mut count = 0;
        loop {
            let Some(fixture) = files.lock().unwrap().next() else { return count };
            let file = File::of(&fixture);
            for tensor in file.tensors.keys() {
                let said = check(&file, tensor);
                let named = said.iter().map(|what| format!("{} {tensor}: {what}", file.name));
                wrong.lock().unwrap().extend(named);
                count += 1;
            }
        }
    });
    std::thread::scope(|scope| {
        let workers = [scope.spawn(worker), scope.spawn(worker)];
        count += workers.into_iter().map(|worker| worker.join().unwrap()).sum::<usize>();
    });
    println!("{count} tensors");
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{} of {count}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(count > 800, "{count} tensors");
}

#[test]
fn a_value_that_is_not_finite_is_an_error_that_names_it() {
    for_every_tensor(|file, tensor| {
        let mut wrong = Vec::new();
        let layer = tensor.rsplit_once('.').unwrap().0;
        for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            match run(file.with(tensor, value), tensor) {
                Ok(_) => wrong.push(format!("{value}: a result")),
                Err(error) if !error.message().contains(layer) => {
                    wrong.push(format!("{value}: {error}"));
                }
                Err(_) => {}
            }
        }
        wrong
    });
}

/// With the largest number a result may be finite in higher precision only: an error then.
#[test]
fn the_largest_numbers_give_an_error_or_finite_numbers() {
    for_every_tensor(|file, tensor| {
        let mut wrong = Vec::new();
        for value in [f32::MAX, f32::MIN] {
            match run(file.with(tensor, value), tensor) {
                Ok(result) if !result.iter().all(|value| value.is_finite()) => {
                    wrong.push(format!("{value:e}: not finite"));
                }
                Ok(_) => {}
                Err(error) => match error.kind() {
                    ErrorKind::NonFinite | ErrorKind::Model | ErrorKind::Format => {}
                    kind => wrong.push(format!("{value:e}: {kind:?}: {error}")),
                },
            }
        }
        wrong
    });
}

#[test]
fn a_subnormal_number_is_as_good_as_zero() {
    for_every_tensor(|file, tensor| {
        if tensor == "bn.running_var" {
            // A variance, which is positive.
            return Vec::new();
        }
        let zero = run(file.with(tensor, 0.0), tensor).unwrap();
        let range = zero.iter().fold(0_f32, |most, value| most.max(value.abs()));
        let mut wrong = Vec::new();
        for value in [f32::from_bits(1), -1e-40] {
            let found = run(file.with(tensor, value), tensor).unwrap();
            let most = (&found - &zero).iter().fold(0_f32, |most, value| most.max(value.abs()));
            if most > range * 1e-6 || !most.is_finite() {
                wrong.push(format!("{value:e}: {most:e} of {range}"));
            }
        }
        wrong
    });
}

/// The bytes of a value that is not finite in each encoding, at an element of a bias or a norm.
#[test]
fn every_encoding_of_a_vector_is_looked_at() {
    for (name, file, tensor, element) in [
        ("bf16_batch2", "diffusion_pytorch_model.safetensors", "decoder.conv_out.bias", 2),
        ("mixed_dtypes", "diffusion_pytorch_model.safetensors", "decoder.conv_out.bias", 0),
        ("scaled_fp8", "diffusion_pytorch_model.safetensors", "decoder.conv_norm_out.weight", 0),
    ] {
        let fixture = Fixture::open(name);
        let options = ModelOptions::default().with_config(fixture.model(|_| {}).config().clone());
        let bytes = fs::read(fixture.folder.join(file)).unwrap();
        let parsed = SafeTensors::deserialize(&bytes).unwrap();
        let view = parsed.tensor(tensor).unwrap_or_else(|error| panic!("{name}: {error}"));
        let at = view.data().as_ptr().addr() - bytes.as_ptr().addr();
        let values: &[&[u8]] = match view.dtype() {
            Dtype::F32 => &[&[0, 0, 0x80, 0xff], &[0, 0, 0xc0, 0x7f]],
            Dtype::F16 => &[&[0, 0xfc], &[0, 0x7e]],
            Dtype::BF16 => &[&[0x80, 0xff], &[0xc0, 0x7f]],
            Dtype::F64 => &[&[0, 0, 0, 0, 0, 0, 0xf0, 0xff], &[0, 0, 0, 0, 0, 0, 0xf0, 0x7e]],
            Dtype::F8_E4M3 => &[&[0x7f], &[0xff]],
            other => panic!("{name}: {other:?}"),
        };
        for value in values {
            let mut bytes = bytes.clone();
            let place = at + element * value.len();
            bytes[place..place + value.len()].copy_from_slice(value);
            let error = Model::from_bytes(bytes, &options).unwrap_err();
            let kinds = [ErrorKind::Model, ErrorKind::Format];
            assert!(kinds.contains(&error.kind()), "{name}: {error}");
            assert!(error.message().contains(tensor), "{name}: {error}");
        }
    }
}
