#![forbid(unsafe_code)]
//! The weight files of a diffusers folder that is written: their names, and which tensors go where.

use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::folder::{EXTENSION, STEM, index_of, is_shard, stem_of};
use super::write::FileTensor;
use crate::base::alloc::{self, Written};
use crate::base::error::{Error, Result};

/// Name of lists of weight files, for messages.
const FILES: &str = "weight files";

/// A weight file to be written.
pub(crate) struct WeightFile<'a> {
    pub(crate) name: String,
    pub(crate) tensors: Vec<FileTensor<'a>>,
}

/// The names of the weight files of a variant, or of none.
pub(crate) struct WeightNames {
    variant: Option<String>,
    /// `diffusion_pytorch_model` or `diffusion_pytorch_model.fp16`.
    stem: String,
}

impl WeightNames {
    /// # Errors
    /// `InvalidArgument` if the variant cannot be a part of a file name.
    pub(crate) fn new(variant: Option<&str>) -> Result<Self> {
        let part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        let fits = |name: &&str| !name.is_empty() && name.chars().all(part) && !is_shard(name);
        if let Some(variant) = variant.filter(|variant| !fits(variant)) {
            return Err(Error::invalid(format!(
                "variant: a name as fp16 expected, {variant:?} found"
            )));
        }
        Ok(Self { variant: variant.map(str::to_owned), stem: stem_of(STEM, variant) })
    }

    fn single(&self) -> String {
        format!("{}{EXTENSION}", self.stem)
    }

    fn shard(&self, number: usize, of: usize) -> String {
        format!("{}-{number:05}-of-{of:05}{EXTENSION}", self.stem)
    }

    /// The name of the index of shards.
    pub(crate) fn index(&self) -> String {
        index_of(STEM, EXTENSION, self.variant.as_deref())
    }

    /// Whether a file of this name has weights of this variant, or lists their shards.
    pub(crate) fn has(&self, name: &str) -> bool {
        let shard = || {
            let middle = name.strip_prefix(&self.stem)?.strip_suffix(EXTENSION)?;
            let numbers = middle.strip_prefix('-')?;
            Some(numbers.len() == "00001-of-00002".len() && is_shard(&format!("x-{numbers}")))
        };
        name == self.single() || name == self.index() || shard() == Some(true)
    }

    /// Cuts `tensors` into files of at most `limit` bytes of data as huggingface_hub's
    /// `split_torch_state_dict_into_shards` does: one after the other, a larger tensor by itself.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn files<'a>(
        &self,
        tensors: Vec<FileTensor<'a>>,
        limit: Option<u64>,
    ) -> Result<Vec<WeightFile<'a>>> {
        let limit = limit.unwrap_or(u64::MAX);
        let (mut shards, mut shard, mut size) = (Vec::new(), Vec::new(), 0_u64);
        for tensor in tensors {
            let bytes = tensor.bytes();
            if bytes > limit {
                alloc::push(&mut shards, alloc::collected([tensor], FILES)?, FILES)?;
                continue;
            }
            if size.saturating_add(bytes) > limit {
                alloc::push(&mut shards, std::mem::take(&mut shard), FILES)?;
                size = 0;
            }
            size += bytes;
            alloc::push(&mut shard, tensor, FILES)?;
        }
        if !shard.is_empty() {
            alloc::push(&mut shards, shard, FILES)?;
        }
        let of = shards.len();
        let name = |i| if of == 1 { self.single() } else { self.shard(i + 1, of) };
        let file = |(i, tensors)| WeightFile { name: name(i), tensors };
        alloc::collected(shards.into_iter().enumerate().map(file), FILES)
    }
}

/// The index of several files, as huggingface_hub writes it; `None` for one file.
///
/// # Errors
/// `OutOfMemory`.
pub(crate) fn index(files: &[WeightFile<'_>]) -> Result<Option<Written>> {
    if files.len() < 2 {
        return Ok(None);
    }
    let mut map = Map::new();
    for file in files {
        let names = file.tensors.iter().map(|tensor| tensor.name().to_owned());
        map.extend(names.map(|name| (name, Value::from(file.name.as_str()))));
    }
    let size: u64 = files.iter().flat_map(|file| &file.tensors).map(FileTensor::bytes).sum();
    let index = json!({ "metadata": { "total_size": size }, "weight_map": map });
    let mut text = Written::default();
    serde_json::to_writer_pretty(&mut text, &index)
        .map_err(io::Error::from)
        .and_then(|()| text.write_all(b"\n"))
        .map_err(|error| Error::io("an index of weight files", error))?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_files_of_the_same_variant_are_known() {
        let (plain, fp16) =
            (WeightNames::new(None).unwrap(), WeightNames::new(Some("fp16")).unwrap());
        for (rest, of_plain, of_fp16) in [
            (".safetensors", true, false),
            (".fp16.safetensors", false, true),
            ("-00001-of-00003.safetensors", true, false),
            (".fp16-00001-of-00003.safetensors", false, true),
            (".safetensors.index.json", true, false),
            (".safetensors.index.fp16.json", false, true),
            ("-1-of-3.safetensors", false, false),
            ("-x-00001-of-00003.safetensors", false, false),
            (".bin", false, false),
            ("_ema.safetensors", false, false),
        ] {
            let name = format!("{STEM}{rest}");
            assert_eq!((plain.has(&name), fp16.has(&name)), (of_plain, of_fp16), "{name}");
        }
        for wrong in ["", "a/b", "..\\x", "x-00001-of-00002", "a b"] {
            assert!(WeightNames::new(Some(wrong)).is_err(), "{wrong:?}");
        }
    }
}
