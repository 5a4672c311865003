#![forbid(unsafe_code)]
//! Saves a model: as diffusers' folder, or as one file.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::config::{Config, Family};
use super::open::Model;
use crate::base::alloc;
use crate::base::atomic_file::AtomicFile;
use crate::base::encoding::Encoding;
use crate::base::error::{Error, Result};
use crate::base::new_folder::NewFolder;
use crate::base::storage::Storage;
use crate::checkpoint::{
    BATCHES, CONFIG, CONFIG_KEY, FileTensor, KeyLayout, OriginalNames, Tensor, WeightNames, index,
    original_name, shape_out, state_dict_place, write,
};

/// Options for saving a model. `SaveOptions::default()` changes no tensor.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct SaveOptions {
    /// The type of all tensors, rounded to nearest, ties to even. Default: each tensor's own;
    /// `f32` for one that is quantised or has 8 bits.
    pub dtype: Option<Storage>,
    /// The names of the tensors; a folder has those of diffusers. The original ones are latent
    /// diffusion's, FLUX.2's or TAESD's, as the family is.
    pub layout: KeyLayout,
    /// The most bytes of tensors in a file of a folder; a larger tensor has a file of its own.
    /// Default: one file.
    pub max_shard_size: Option<u64>,
    /// Variant of the weights in a folder: `fp16` makes
    /// `diffusion_pytorch_model.fp16.safetensors`.
    pub variant: Option<String>,
}

impl SaveOptions {
    /// Sets [`SaveOptions::dtype`].
    #[must_use]
    pub fn with_dtype(self, dtype: Storage) -> Self {
        Self { dtype: Some(dtype), ..self }
    }

    /// Sets [`SaveOptions::layout`].
    #[must_use]
    pub fn with_layout(self, layout: KeyLayout) -> Self {
        Self { layout, ..self }
    }

    /// Sets [`SaveOptions::max_shard_size`].
    #[must_use]
    pub fn with_max_shard_size(self, max_shard_size: u64) -> Self {
        Self { max_shard_size: Some(max_shard_size), ..self }
    }

    /// Sets [`SaveOptions::variant`].
    #[must_use]
    pub fn with_variant(self, variant: impl Into<String>) -> Self {
        Self { variant: Some(variant.into()), ..self }
    }
}

/// What was saved.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Saved {
    /// The files, weights first.
    pub files: Vec<PathBuf>,
    /// Size of the tensors in bytes, in the types they were saved in.
    pub weight_bytes: u64,
    /// Number of tensors of each type.
    pub dtypes: BTreeMap<Encoding, usize>,
}

impl Saved {
    fn new(tensors: &[FileTensor<'_>]) -> Self {
        let mut saved = Self { files: Vec::new(), weight_bytes: 0, dtypes: BTreeMap::new() };
        for tensor in tensors {
            let Some(dtype) = tensor.dtype() else { continue };
            saved.weight_bytes += tensor.bytes();
            *saved.dtypes.entry(dtype).or_default() += 1;
        }
        saved
    }
}

impl Model {
    /// Saves the model as `save_pretrained` of diffusers' class does: `config.json` and
    /// `diffusion_pytorch_model.safetensors`, or shards and their index, which `from_pretrained`
    /// opens, except of a variant of `AutoencoderTiny` that diffusers does not have
    /// ([`TinyConfig::variant`](crate::TinyConfig::variant)). `config.json` is the checkpoint's,
    /// byte for byte, unless an option of opening has overridden it. A model opened without one
    /// half is saved without it.
    ///
    /// `folder` is made if it is not there. All files are written before the first of them takes
    /// its name; then weights of an earlier save of the same variant are removed. The folder may be
    /// the one that the model was opened from. One tensor at a time is in memory.
    ///
    /// ```
    /// use vaekl::{Model, SaveOptions, Storage};
    ///
    /// # let folder = std::env::temp_dir().join(format!("vaekl-save-{}", std::process::id()));
    /// let model = Model::open("cli/model")?;
    /// model.save_pretrained(&folder, &SaveOptions::default().with_dtype(Storage::Bf16))?;
    /// assert_eq!(Model::open(&folder)?.config(), model.config());
    /// # std::fs::remove_dir_all(&folder).unwrap();
    /// # Ok::<(), vaekl::Error>(())
    /// ```
    ///
    /// # Errors
    /// `InvalidArgument` if an option does not apply, or a value overflows the type asked for,
    /// naming the tensor. `Io`, naming the file: also if one of the weights changes meanwhile.
    /// After an error, a new folder is removed, and a folder that was there has the files it had,
    /// unless a renaming failed.
    pub fn save_pretrained(
        &self,
        folder: impl AsRef<Path>,
        options: &SaveOptions,
    ) -> Result<Saved> {
        let folder = folder.as_ref();
        if options.layout != KeyLayout::Diffusers {
            let message = "layout: the original one is that of a single file, a folder found";
            return Err(Error::invalid(message));
        }
        let names = WeightNames::new(options.variant.as_deref())?;
        if options.max_shard_size == Some(0) {
            return Err(Error::invalid("max_shard_size: 1 byte or more expected, 0 found"));
        }
        let tensors = self.file_tensors(options)?;
        let mut saved = Saved::new(&tensors);

        let mut new = NewFolder::make(folder)?;
        let weights = names.files(tensors, options.max_shard_size)?;
        let index = index(&weights)?;
        let mut files = Vec::new();
        let metadata = BTreeMap::from([format()]);
        for weight_file in weights {
            let mut file = AtomicFile::create(folder.join(weight_file.name))?;
            write(&mut file, weight_file.tensors, &metadata)?;
            alloc::push(&mut files, file, FILES)?;
        }
        if let Some(index) = index {
            let file = text_file(&folder.join(names.index()), index.bytes())?;
            alloc::push(&mut files, file, FILES)?;
        }
        // Last: whoever finds it finds the weights too.
        let file = text_file(&folder.join(CONFIG), self.config_file()?.as_bytes())?;
        alloc::push(&mut files, file, FILES)?;

        // Copies of files that have changed take no name.
        self.check_files()?;
        saved.files = alloc::collected(files.iter().map(|file| file.path().to_owned()), FILES)?;
        new.expect(&saved.files);
        AtomicFile::commit_all(files)?;
        new.complete();
        remove_stale(folder, &names, &saved.files)?;
        Ok(saved)
    }

    /// Saves the model as one `.safetensors` file, which has the configuration in its metadata, as
    /// `vaekl.config`: [`Model::open`] then guesses nothing. It may be the file that the model was
    /// opened from. One tensor at a time is in memory.
    ///
    /// # Errors
    /// Those of [`Model::save_pretrained`], and `InvalidArgument` for the original layout of an
    /// `AsymmetricAutoencoderKL`. After an error, a file at `path` is what it was.
    pub fn save_file(&self, path: impl AsRef<Path>, options: &SaveOptions) -> Result<Saved> {
        let path = path.as_ref();
        if let Some(variant) = &options.variant {
            let message = format!("variant: none expected for a single file, {variant:?} found");
            return Err(Error::invalid(message));
        }
        if let Some(size) = options.max_shard_size {
            let message = format!("max_shard_size: none expected for a single file, {size} found");
            return Err(Error::invalid(message));
        }
        let tensors = self.file_tensors(options)?;
        let mut saved = Saved::new(&tensors);
        let metadata = BTreeMap::from([format(), (CONFIG_KEY.to_owned(), self.config_file()?)]);
        let mut file = AtomicFile::create(path)?;
        write(&mut file, tensors, &metadata)?;
        self.check_files()?;
        file.commit()?;
        saved.files.push(path.to_owned());
        Ok(saved)
    }

    /// The tensors of the model as a file has them, in the order of diffusers' state dict.
    fn file_tensors<'m>(&'m self, options: &SaveOptions) -> Result<Vec<FileTensor<'m>>> {
        self.check_files()?;
        let original = match options.layout {
            KeyLayout::Original => Some(original_names(self.config())?),
            KeyLayout::Diffusers => None,
        };
        let placed = self.tensors().iter().map(|it| (state_dict_place(it.0), it));
        let mut placed = alloc::collected(placed, TENSORS)?;
        // Names are unique, and a sort that keeps the order of equals would allocate.
        placed.sort_unstable_by(|a, b| a.0.cmp(&b.0).then_with(|| a.1.0.cmp(b.1.0)));
        let file_tensor = |(_, (name, tensor)): (_, (&String, &'m Tensor))| {
            let shape = shape_out(name, &tensor.shape, original.is_some());
            let name = original.map_or_else(|| name.clone(), |names| original_name(name, names));
            FileTensor::new(tensor, name, shape, options.dtype)
        };
        let mut tensors = alloc::collected(placed.into_iter().map(file_tensor), TENSORS)?;
        if matches!(self.config().family, Family::Flux2(_)) {
            // Training alone reads the count, but diffusers warns where it is missing.
            alloc::push(&mut tensors, FileTensor::count(BATCHES.to_owned(), 0), TENSORS)?;
        }
        Ok(tensors)
    }

    /// The text of `config.json`.
    fn config_file(&self) -> Result<String> {
        match self.config_text() {
            Some(text) => alloc::text(text, "a configuration"),
            None => Ok(as_diffusers_writes(self.config())),
        }
    }
}

/// Names of lists, for messages.
const TENSORS: &str = "tensors";
const FILES: &str = "files";

/// Whose names the original layout of a family has.
///
/// # Errors
/// `InvalidArgument` for a family whose original names do not open.
fn original_names(config: &Config) -> Result<OriginalNames> {
    let levels = config.downscale().ilog2() as usize + 1;
    match &config.family {
        Family::Kl(_) => Ok(OriginalNames::Ldm { levels }),
        Family::Flux2(_) => Ok(OriginalNames::Flux2 { levels }),
        Family::Tiny(_) => Ok(OriginalNames::Taesd),
        Family::Asymmetric(_) => Err(Error::invalid(format!(
            "layout: diffusers' expected for an {}, the original one found",
            config.family.name()
        ))),
    }
}

/// What every file of torch's tensors says of itself.
fn format() -> (String, String) {
    ("format".into(), "pt".into())
}

/// A configuration as diffusers writes it: sorted, indented by two.
fn as_diffusers_writes(config: &Config) -> String {
    let json: Value = serde_json::from_str(&config.to_json()).expect("to_json gives JSON");
    let fields: BTreeMap<&String, &Value> = json.as_object().into_iter().flatten().collect();
    let text = serde_json::to_string_pretty(&fields).expect("values are JSON");
    format!("{text}\n")
}

fn text_file(path: &Path, text: &[u8]) -> Result<AtomicFile> {
    let mut file = AtomicFile::create(path)?;
    file.write_all(text).map_err(|error| Error::io(path.display(), error))?;
    file.finish()?;
    Ok(file)
}

/// Removes weights of the same variant that an earlier save left, which a reader might take for
/// this one's: diffusers removes the shards.
fn remove_stale(folder: &Path, names: &WeightNames, saved: &[PathBuf]) -> Result<()> {
    let failed = |path: &Path, error: io::Error| Error::io(path.display(), error);
    for entry in fs::read_dir(folder).map_err(|error| failed(folder, error))? {
        let name = entry.map_err(|error| failed(folder, error))?.file_name();
        let path = folder.join(&name);
        let stale = names.has(&name.to_string_lossy()) && !saved.contains(&path);
        if stale && !path.is_dir() {
            fs::remove_file(&path).map_err(|error| failed(&path, error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names every field, so that a new one does not compile until it has its method.
    #[test]
    fn every_option_has_a_method() {
        let options = SaveOptions::default()
            .with_dtype(Storage::Bf16)
            .with_layout(KeyLayout::Original)
            .with_max_shard_size(5)
            .with_variant("fp16");
        let SaveOptions { dtype, layout, max_shard_size, variant } = options;
        assert_eq!((dtype, layout), (Some(Storage::Bf16), KeyLayout::Original));
        assert_eq!((max_shard_size, variant.as_deref()), (Some(5), Some("fp16")));
    }

    #[test]
    fn a_configuration_is_sorted_and_indented() {
        let list = || Some(vec![0.5, -1.0, 2.0, 0.25]);
        let config =
            Config { latents_mean: list(), latents_std: Some(vec![1.0; 4]), ..Config::default() };
        let text = as_diffusers_writes(&config);
        assert!(
            text.starts_with("{\n  \"_class_name\": \"AutoencoderKL\",\n  \"act_fn\": \"silu\"")
        );
        assert!(text.contains("\n  \"latents_mean\": [\n    0.5,\n    -1.0,\n    2.0,"), "{text}");
        assert!(text.ends_with("\n}\n"), "{text}");
        assert_eq!(Config::from_json(&text).unwrap(), config);
    }
}
