//! The named arrays of a file of any format.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::Dimension;
use vaekl::{Encoding, TensorFile};

use super::npy::{self, Header, RawArray};
use super::npz::Npz;
use super::pick::Entry;
use crate::failure::{AtPath, Failure, Result};

/// What reads a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ContainerFormat {
    /// A NumPy array, which has no name.
    Npy,
    /// NumPy's zip archive of arrays.
    Npz,
    /// A file of tensors that the library reads.
    Tensors,
}

/// An array in memory.
#[derive(Debug)]
pub(crate) struct Array {
    pub(crate) shape: Vec<usize>,
    /// In C order, as many as the shape says.
    pub(crate) values: Vec<f32>,
}

/// An open file of arrays.
pub(crate) struct Container {
    path: PathBuf,
    contents: Contents,
}

enum Contents {
    Npy(Vec<u8>),
    Npz(Npz),
    Tensors(TensorFile),
}

impl Container {
    /// Opens `path`, whatever its extension.
    pub(crate) fn open(path: &Path, format: ContainerFormat) -> Result<Self> {
        let at = |message: String| Failure::at(path, message);
        let contents = match format {
            ContainerFormat::Npy => Contents::Npy(std::fs::read(path).at(path)?),
            ContainerFormat::Npz => {
                let file = std::fs::File::open(path).at(path)?;
                Contents::Npz(Npz::open(file).map_err(at)?)
            }
            ContainerFormat::Tensors => Contents::Tensors(TensorFile::open(path)?),
        };
        Ok(Self { path: path.to_owned(), contents })
    }

    /// Its arrays. What is wrong with one is said when it is read.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        match &self.contents {
            Contents::Npy(bytes) => {
                let header = Header::read(bytes).ok();
                let shape = header.filter(|it| it.floats().is_ok()).map(|header| header.shape);
                vec![Entry { name: String::new(), shape }]
            }
            Contents::Npz(npz) => npz.entries(),
            Contents::Tensors(file) => {
                let readable = file.names().map(|name| Entry {
                    name: name.to_owned(),
                    shape: file.shape(name).map(<[usize]>::to_vec),
                });
                let others = file.unreadable().keys();
                readable
                    .chain(others.map(|name| Entry { name: name.clone(), shape: None }))
                    .collect()
            }
        }
    }

    /// What the file says of itself.
    pub(crate) fn metadata(&self) -> BTreeMap<String, String> {
        match &self.contents {
            Contents::Npy(_) => BTreeMap::new(),
            Contents::Npz(npz) => npz.texts().clone(),
            Contents::Tensors(file) => file.metadata().clone(),
        }
    }

    /// The array `name`, one of [`Container::entries`].
    pub(crate) fn read(&self, name: &str) -> Result<Array> {
        let at = |message: String| Failure::at(&self.path, message);
        match &self.contents {
            Contents::Npy(bytes) => npy::read(bytes).and_then(|raw| floats(&raw)).map_err(at),
            Contents::Npz(npz) => {
                let bytes = npz.read(name).map_err(at)?;
                npy::read(&bytes).and_then(|raw| floats(&raw)).map_err(at)
            }
            Contents::Tensors(file) => {
                if let Some(found) = file.unreadable().get(name) {
                    return Err(at(format!("elements are {found}, expected floats")));
                }
                let array = file.to_f32(name)?;
                let shape = array.shape().to_vec();
                if file.encoding(name) == Some(Encoding::F64)
                    && let Some((index, _)) = array.indexed_iter().find(|(_, it)| it.is_infinite())
                {
                    let what = "is infinite, or exceeds the range of f32";
                    return Err(at(format!("the value at {:?} {what}", index.slice())));
                }
                Ok(Array { shape, values: array.into_raw_vec_and_offset().0 })
            }
        }
    }
}

/// The elements as f32. A number of 64 bits that is none of 32 is an error; infinities in the file
/// are left to the library.
fn floats(raw: &RawArray<'_>) -> std::result::Result<Array, String> {
    let values = raw.dtype.to_f32(raw.data);
    if raw.dtype.size() == size_of::<f64>() {
        let wide = raw.data.as_chunks().0.iter().map(|&bytes| f64::from_le_bytes(bytes));
        let mut pairs = wide.zip(&values).enumerate();
        let lost = pairs.find(|(_, (wide, narrow))| wide.is_finite() && narrow.is_infinite());
        if let Some((at, (wide, _))) = lost {
            let place = place(at, &raw.shape);
            return Err(format!("{wide:e} at {place} exceeds the range of f32"));
        }
    }
    Ok(Array { shape: raw.shape.clone(), values })
}

/// Element `at` of an array of `shape`, for a person.
fn place(at: usize, shape: &[usize]) -> String {
    let mut rest = at;
    let mut index = vec![0; shape.len()];
    for (index, side) in index.iter_mut().zip(shape).rev() {
        (*index, rest) = (rest % side, rest / side);
    }
    match index[..] {
        [b, c, y, x] => format!("batch {b}, channel {c}, row {y}, column {x}"),
        [c, y, x] => format!("batch 0, channel {c}, row {y}, column {x}"),
        _ => format!("{index:?}"),
    }
}
