#![forbid(unsafe_code)]
//! A diffusers folder: `config.json`, and weights in one file or in shards, possibly of a variant;
//! or a folder of TAESD's, with a file for each half.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use super::file;
use super::format::{self, Format};
use super::limits::{MOST_CONFIG, MOST_INDEX, MOST_LISTED, MOST_SHARDS};
use super::raw_tensors::RawTensors;
use super::text::{read_text, shortened};
use crate::base::alloc;
use crate::base::error::{Error, Result};
use crate::base::json::{Kind, Reader};

pub(crate) const CONFIG: &str = "config.json";
pub(super) const STEM: &str = "diffusion_pytorch_model";
pub(super) const EXTENSION: &str = ".safetensors";
/// Stem and extension of the weight files, in the order in which they are preferred: diffusers'
/// own order, and what needs no interpreter before what does.
const FORMS: [(&str, &str); 3] =
    [(STEM, EXTENSION), (STEM, ".bin"), ("diffusion_flax_model", ".msgpack")];

/// The contents of a folder, before the names of its tensors are sorted.
pub(super) struct Folder {
    /// The folder itself, or its `vae/`.
    pub(super) path: PathBuf,
    pub(super) raw: RawTensors,
    /// The format of the weights.
    pub(super) format: Format,
    /// Whether all of their files are mapped.
    pub(super) mapped: bool,
    /// The text of `config.json`, and its path; a pair of halves has none.
    pub(super) config: Option<(String, String)>,
    /// The variant of the weights, such as `fp16`.
    pub(super) variant: Option<String>,
}

impl Folder {
    /// Reads `folder`, or its `vae/` if it is a pipeline's.
    pub(super) fn read(folder: &Path, variant: Option<&str>, mmap: bool) -> Result<Self> {
        let vae = folder.join("vae");
        let folder = match folder.join(CONFIG).is_file() {
            false if vae.join(CONFIG).is_file() => &vae,
            false => {
                if let (Some(halves), None) = (Halves::find(folder)?, variant) {
                    return halves.read(folder, mmap);
                }
                return Err(Error::format(format!(
                    "{}: the folder has no {CONFIG} (and no vae/{CONFIG}), and no two files \
                     NAME_encoder and NAME_decoder, .safetensors or .pth",
                    folder.display()
                )));
            }
            true => folder,
        };
        let config = folder.join(CONFIG);
        let config = (read_text(&config, MOST_CONFIG)?, config.display().to_string());
        let weights = Weights::find(folder, variant)?;
        let mut files = Files::default();
        for path in weights.files(folder)? {
            files.add(&path, mmap, |name| name)?;
        }
        let Files { raw, format, mapped } = files;
        let format = format.ok_or_else(|| {
            Error::format(format!("{}: an index without a shard", weights.path.display()))
        })?;
        let (path, config) = (folder.to_owned(), Some(config));
        Ok(Self { path, raw, format, mapped, config, variant: weights.variant })
    }
}

/// The two files of a tiny autoencoder, as TAESD publishes them.
struct Halves {
    /// Each with the name of its half.
    files: [(&'static str, PathBuf); 2],
}

/// Extensions of such files, in the order in which they are preferred.
const OF_HALVES: [&str; 2] = [EXTENSION, ".pth"];

impl Halves {
    /// Finds the pair in `folder`; `None` if there is none.
    ///
    /// # Errors
    /// `Format` if there are several.
    fn find(folder: &Path) -> Result<Option<Self>> {
        let entries =
            std::fs::read_dir(folder).map_err(|error| Error::io(folder.display(), error))?;
        let mut names = BTreeSet::new();
        for entry in entries {
            let name = entry.map_err(|error| Error::io(folder.display(), error))?.file_name();
            let name = name.to_string_lossy();
            for extension in OF_HALVES {
                if let Some(name) = name.strip_suffix(&format!("_decoder{extension}")) {
                    names.insert(name.to_owned());
                }
            }
            if names.len() > MOST_LISTED {
                break;
            }
        }
        let file = |name: &str, half: &str| {
            OF_HALVES
                .iter()
                .map(|extension| folder.join(format!("{name}_{half}{extension}")))
                .find(|path| path.is_file())
        };
        let pairs = names.iter().filter_map(|name| {
            let (encoder, decoder) = (file(name, "encoder")?, file(name, "decoder")?);
            let pair = Self { files: [("encoder.", encoder), ("decoder.", decoder)] };
            Some((name.as_str(), pair))
        });
        let mut pairs: Vec<(&str, Self)> = pairs.collect();
        if pairs.len() > 1 {
            let names: Vec<&str> = pairs.iter().map(|(name, _)| *name).collect();
            return Err(Error::format(format!(
                "{}: one pair of files NAME_encoder and NAME_decoder expected, {} found",
                folder.display(),
                names.join(", ")
            )));
        }
        Ok(pairs.pop().map(|(_, pair)| pair))
    }

    fn read(self, folder: &Path, mmap: bool) -> Result<Folder> {
        let mut files = Files::default();
        for (half, path) in &self.files {
            // TAESD's own names lack that of the half.
            files.add(path, mmap, |name| {
                let bare = name.starts_with(|first: char| first.is_ascii_digit());
                if bare { format!("{half}{name}") } else { name }
            })?;
            if !files.raw.tensors.keys().any(|name| name.contains(half)) {
                return Err(Error::format(format!(
                    "{}: tensors of an {} expected, none found",
                    path.display(),
                    half.trim_end_matches('.')
                )));
            }
        }
        let Files { raw, format, mapped } = files;
        let format = format.ok_or_else(|| Error::internal("a pair without files"))?;
        let (path, config, variant) = (folder.to_owned(), None, None);
        Ok(Folder { path, raw, format, mapped, config, variant })
    }
}

/// The contents of several files.
struct Files {
    raw: RawTensors,
    /// The format of the last one.
    format: Option<Format>,
    /// Whether all are mapped.
    mapped: bool,
}

impl Default for Files {
    fn default() -> Self {
        Self { raw: RawTensors::default(), format: None, mapped: true }
    }
}

impl Files {
    /// Adds the tensors of the file `path`, each under the name that `named` makes of its own.
    ///
    /// # Errors
    /// Those of the file; `Format` for a tensor that an earlier one has.
    fn add(&mut self, path: &Path, mmap: bool, named: impl Fn(String) -> String) -> Result<()> {
        let contents = file::open(path, mmap)?;
        let (part, format) = format::parse(&contents).map_err(|e| e.within(path.display()))?;
        let within = |error: Error| error.within(path.display());
        let RawTensors { tensors, unsupported, metadata, .. } = part;
        self.format = Some(format);
        self.mapped &= contents.is_memory();
        for (name, tensor) in tensors {
            let name = named(name);
            if self.raw.tensors.contains_key(&name) {
                let message = format!("tensor {name} stands in an earlier file too");
                return Err(within(Error::format(message)));
            }
            self.raw.add(name, tensor).map_err(within)?;
        }
        for (name, dtype) in unsupported {
            // A count of steps may be in each, and means nothing.
            let name = named(name);
            if !self.raw.unsupported.contains_key(&name) {
                self.raw.add_unsupported(name, dtype).map_err(within)?;
            }
        }
        for (key, text) in metadata {
            self.raw.describe(key, text).map_err(within)?;
        }
        Ok(())
    }
}

/// The configuration beside a weight file of a diffusers folder.
pub(super) fn config_beside(file: &Path) -> Result<Option<(String, String)>> {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let rest = FORMS.iter().find_map(|(stem, _)| name.strip_prefix(stem));
    let of_folder = rest.is_some_and(|rest| rest.starts_with(['.', '-']));
    let config = file.with_file_name(CONFIG);
    if !of_folder || !config.is_file() {
        return Ok(None);
    }
    Ok(Some((read_text(&config, MOST_CONFIG)?, config.display().to_string())))
}

/// The weight files of a folder.
struct Weights {
    path: PathBuf,
    sharded: bool,
    variant: Option<String>,
}

impl Weights {
    fn find(folder: &Path, variant: Option<&str>) -> Result<Self> {
        if let Some(found) = Self::of_variant(folder, variant) {
            return Ok(found);
        }
        let there = variants(folder)?;
        if let (None, [only]) = (variant, &there[..])
            && let Some(found) = Self::of_variant(folder, Some(only))
        {
            return Ok(found);
        }
        let wanted =
            FORMS.map(|(stem, extension)| format!("{}{extension}", stem_of(stem, variant)));
        let [first, others @ ..] = &wanted;
        let there = if there.is_empty() { "none".into() } else { there.join(", ") };
        let others = others.join(", ");
        let missing = format!("{first} is missing, and {others} too; variants found: {there}");
        Err(Error::io(folder.display(), io::Error::new(io::ErrorKind::NotFound, missing)))
    }

    /// The file or the index of a variant, or of none.
    fn of_variant(folder: &Path, variant: Option<&str>) -> Option<Self> {
        FORMS.into_iter().find_map(|(stem, extension)| {
            let file = format!("{}{extension}", stem_of(stem, variant));
            let index = index_of(stem, extension, variant);
            [(file, false), (index, true)].into_iter().find_map(|(name, sharded)| {
                let path = folder.join(name);
                path.is_file().then(|| Self { path, sharded, variant: variant.map(str::to_owned) })
            })
        })
    }

    /// The weight file, or the shards that the index names.
    fn files(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        if !self.sharded {
            return Ok(vec![self.path.clone()]);
        }
        let text = read_text(&self.path, MOST_INDEX)?;
        let names = shards(&text).map_err(|error| error.within(self.path.display()))?;
        Ok(names.into_iter().map(|name| folder.join(name)).collect())
    }
}

/// The names of the shards in the text of an index.
fn shards(index: &str) -> Result<BTreeSet<String>> {
    let (mut names, mut is_there) = (BTreeSet::new(), false);
    let mut reader = Reader::new(index, "not valid JSON");
    let mut shard = |reader: &mut Reader<'_>, tensor: Cow<'_, str>| {
        if reader.kind()? != Kind::Text {
            let message = format!("the file of tensor {} is not a string", shortened(&tensor));
            return Err(Error::format(message));
        }
        let file = reader.text()?;
        // A shard is a file of this folder: an index must not point anywhere else.
        if Path::new(&*file).file_name().is_none_or(|name| name != &*file) {
            let file = shortened(&file);
            let message = format!("shard \"{file}\" is not the name of a file in the folder");
            return Err(Error::format(message));
        }
        if !names.contains(&*file) {
            if names.len() == MOST_SHARDS {
                return Err(Error::format(format!("more than {MOST_SHARDS} shards")));
            }
            names.insert(alloc::text(&file, "the name of a shard")?);
        }
        Ok(())
    };
    let missing = || Error::format("\"weight_map\" with a file for each tensor expected");
    if reader.kind()? != Kind::Object {
        reader.value()?;
        reader.end()?;
        return Err(missing());
    }
    reader.object(|reader, key| {
        if key != "weight_map" || reader.kind()? != Kind::Object {
            return reader.value().map(|_| ());
        }
        is_there = true;
        reader.object(&mut shard)
    })?;
    reader.end()?;
    if is_there { Ok(names) } else { Err(missing()) }
}

/// The name of the weight files of a variant, or of none, without their extension.
pub(super) fn stem_of(stem: &str, variant: Option<&str>) -> String {
    variant.map_or_else(|| stem.to_owned(), |variant| format!("{stem}.{variant}"))
}

/// The name of the index of a variant's shards, or of those of none.
pub(super) fn index_of(stem: &str, extension: &str, variant: Option<&str>) -> String {
    let variant = variant.map(|variant| format!(".{variant}")).unwrap_or_default();
    format!("{stem}{extension}.index{variant}.json")
}

/// Variants with weights in `folder`, sorted.
fn variants(folder: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(folder).map_err(|error| Error::io(folder.display(), error))?;
    let mut found = BTreeSet::new();
    for entry in entries {
        let name = entry.map_err(|error| Error::io(folder.display(), error))?.file_name();
        let name = name.to_string_lossy();
        let variants = FORMS.iter().filter_map(|(stem, extension)| {
            let file = name.strip_prefix(&format!("{stem}."));
            file.and_then(|rest| rest.strip_suffix(extension)).or_else(|| {
                let index = name.strip_prefix(&format!("{stem}{extension}.index."));
                index.and_then(|rest| rest.strip_suffix(".json"))
            })
        });
        found.extend(variants.filter(|variant| !is_shard(variant)).map(str::to_owned));
        if found.len() >= MOST_LISTED {
            break;
        }
    }
    Ok(found.into_iter().collect())
}

/// Whether the variant part of a file name ends like a shard's: `fp16-00001-of-00002`.
pub(super) fn is_shard(variant: &str) -> bool {
    let digits = |text: &str| text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    let mut ends = variant.rsplitn(4, '-');
    ends.next().is_some_and(digits) && ends.next() == Some("of") && ends.next().is_some_and(digits)
}
