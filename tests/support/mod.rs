//! Reading the fixtures under `tests/data` (see its README), for the integration tests.
#![allow(dead_code, unreachable_pub)] // each test uses its own part

pub mod c;

use std::fs;
use std::path::{Path, PathBuf};

use ndarray::{ArrayD, Dimension, IxDyn};
use safetensors::{Dtype, SafeTensors};
use vaekl::{Config, Encoded, Model, ModelOptions};

pub fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// A model with its inputs and what diffusers makes of them in fp64.
pub struct Fixture {
    pub name: String,
    pub folder: PathBuf,
    pub meta: serde_json::Value,
    reference: Vec<u8>,
}

impl Fixture {
    pub fn open(name: &str) -> Self {
        Self::within(data(), name)
    }

    /// A fixture of a family beside `AutoencoderKL`.
    pub fn family(name: &str) -> Self {
        Self::within(data().join("families"), name)
    }

    fn within(parent: PathBuf, name: &str) -> Self {
        let folder = parent.join(name);
        let read = |file: &str| {
            fs::read(folder.join(file)).unwrap_or_else(|e| panic!("{name}/{file}: {e}"))
        };
        let meta = serde_json::from_slice(&read("meta.json")).unwrap();
        let reference = read("reference.safetensors");
        Self { name: name.into(), folder, meta, reference }
    }

    /// Every fixture, by name.
    pub fn all() -> Vec<Self> {
        names(&data()).iter().map(|name| Self::open(name)).collect()
    }

    /// Every fixture of a family beside `AutoencoderKL`, by name.
    pub fn families() -> Vec<Self> {
        names(&data().join("families")).iter().map(|name| Self::family(name)).collect()
    }

    /// What torch's own run of the network in `dtype` has, in dB from fp64; 0 if not measured.
    pub fn torch_psnr(&self, what: &str, dtype: vaekl::Storage) -> f64 {
        self.meta[format!("{what}_{dtype}_torch_psnr")].as_f64().unwrap_or(0.0)
    }

    /// The folder, if it has a `config.json` or a pair of halves; otherwise the single file.
    pub fn path(&self) -> PathBuf {
        let files = fs::read_dir(&self.folder).unwrap().map(|entry| entry.unwrap().path());
        let model = |path: &PathBuf| {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            !matches!(&*stem, "meta" | "reference" | "tiles" | "expected_config")
        };
        let mut models: Vec<PathBuf> = files.filter(model).collect();
        match (self.folder.join("config.json").exists(), models.len()) {
            (false, 1) => models.remove(0),
            _ => self.folder.clone(),
        }
    }

    /// The configuration that a bare file stands for.
    pub fn expected_config(&self) -> Option<Config> {
        let text = fs::read_to_string(self.folder.join("expected_config.json")).ok()?;
        Some(Config::from_json(&text).unwrap())
    }

    /// Opens the model as its file tells, or as `expected_config.json` does where shapes cannot
    /// tell all; `change` may alter the configuration.
    pub fn model(&self, change: impl FnOnce(&mut Config)) -> Model {
        let mut options = ModelOptions::default();
        if !self.folder.join("config.json").exists() {
            options.config = self.expected_config();
        }
        let open = |options: &ModelOptions| {
            Model::open_with(self.path(), options).unwrap_or_else(|e| panic!("{}: {e}", self.name))
        };
        let mut config = open(&options).config().clone();
        change(&mut config);
        options.config = Some(config);
        open(&options)
    }

    pub fn has(&self, tensor: &str) -> bool {
        SafeTensors::deserialize(&self.reference).unwrap().tensor(tensor).is_ok()
    }

    /// A tensor of the reference, as f64.
    pub fn tensor(&self, tensor: &str) -> ArrayD<f64> {
        read(&self.reference, tensor)
    }
}

/// The folders of fixtures below `parent`, sorted.
fn names(parent: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(parent)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().join("meta.json").exists())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A tensor of a safetensors file in memory, as f64.
pub fn read(file: &[u8], tensor: &str) -> ArrayD<f64> {
    let tensors = SafeTensors::deserialize(file).unwrap();
    let view = tensors.tensor(tensor).unwrap_or_else(|e| panic!("{tensor}: {e}"));
    let values: Vec<f64> = match view.dtype() {
        Dtype::F64 => {
            view.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
        }
        Dtype::F32 => {
            let f = |b: &[u8]| f64::from(f32::from_le_bytes(b.try_into().unwrap()));
            view.data().chunks_exact(4).map(f).collect()
        }
        other => panic!("{tensor}: {other:?}"),
    };
    ArrayD::from_shape_vec(IxDyn(view.shape()), values).unwrap()
}

/// The values that an encoder gives: moments, or latents.
pub fn encoder_values(encoded: &Encoded) -> ndarray::Array4<f32> {
    match encoded.posterior() {
        Some(posterior) => posterior.moments().to_owned(),
        None => encoded.mode().to_owned(),
    }
}

/// `values` as a four-dimensional f32 array.
pub fn f32x4(values: &ArrayD<f64>) -> ndarray::Array4<f32> {
    values.mapv(|v| v as f32).into_dimensionality().unwrap()
}

/// How far `found` is from `expected`.
#[derive(Clone, Copy, Debug)]
pub struct Distance {
    /// Largest absolute difference, as a part of the range of `expected`.
    pub max: f64,
    /// `10 log10(range^2 / mean squared difference)` in dB, where the range is that of `expected`.
    pub psnr: f64,
}

impl Distance {
    pub fn new<D: Dimension>(found: &ndarray::Array<f32, D>, expected: &ArrayD<f64>) -> Self {
        assert_eq!(found.shape(), expected.shape());
        let differences: Vec<f64> =
            found.iter().zip(expected).map(|(&f, &e)| (f64::from(f) - e).abs()).collect();
        assert!(differences.iter().all(|d| d.is_finite()));
        let (low, high) = expected
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &e| (low.min(e), high.max(e)));
        let range = high - low;
        let mse = differences.iter().map(|d| d * d).sum::<f64>() / differences.len() as f64;
        let max = differences.iter().fold(0.0, |max: f64, &d| max.max(d)) / range;
        Self { max, psnr: 10.0 * (range * range / mse.max(1e-300)).log10() }
    }
}
