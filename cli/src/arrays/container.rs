//! The named arrays of a file of any format.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ndarray::Dimension;
use vaekl::{Encoding, TensorFile};

use super::npy::NpyFile;
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

/// An open file of arrays.
pub(crate) struct Container {
    path: PathBuf,
    contents: Contents,
}

enum Contents {
    Npy(Mutex<NpyFile>),
    Npz(Npz),
    Tensors(TensorFile),
}

impl Container {
    /// Opens `path`, whatever its extension. No elements are read.
    pub(crate) fn open(path: &Path, format: ContainerFormat) -> Result<Self> {
        let at = |message: String| Failure::at(path, message);
        let contents = match format {
            ContainerFormat::Npy => {
                let file = File::open(path).at(path)?;
                Contents::Npy(Mutex::new(NpyFile::open(file).at(path)?.map_err(at)?))
            }
            ContainerFormat::Npz => {
                let file = File::open(path).at(path)?;
                Contents::Npz(Npz::open(file).map_err(at)?)
            }
            ContainerFormat::Tensors => Contents::Tensors(TensorFile::open(path)?),
        };
        Ok(Self { path: path.to_owned(), contents })
    }

    /// Its arrays. What is wrong with one is said when it is read.
    pub(crate) fn entries(&self) -> Vec<Entry> {
        match &self.contents {
            Contents::Npy(npy) => {
                let header = &lock(npy).header;
                let shape = header.floats().is_ok().then(|| header.shape.clone());
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

    /// The shape of the array `name`, one of [`Container::entries`]. Fails as [`Container::read`]
    /// does for all that is known without the elements.
    pub(crate) fn shape(&self, name: &str) -> Result<Vec<usize>> {
        let at = |message: String| Failure::at(&self.path, message);
        match &self.contents {
            Contents::Npy(npy) => {
                let npy = lock(npy);
                npy.check().map_err(at)?;
                Ok(npy.header.shape.clone())
            }
            Contents::Npz(npz) => npz.shape(name).map_err(at),
            Contents::Tensors(file) => match (file.unreadable().get(name), file.shape(name)) {
                (Some(found), _) => Err(at(format!("elements are {found}, expected floats"))),
                (None, Some(shape)) => Ok(shape.to_vec()),
                (None, None) => Err(at(format!("there is no tensor {name}"))),
            },
        }
    }

    /// The most bytes in memory while [`Container::read`] reads the array `name`, its values among
    /// them.
    pub(crate) fn reading_bytes(&self, name: &str) -> Result<u64> {
        /// A part of the elements, and what a decompressor works with.
        const PART: u64 = 256 << 10;
        let shape = self.shape(name)?;
        let bytes = |size: u64| shape.iter().fold(size, |n, &side| n.saturating_mul(side as u64));
        Ok(PART.saturating_add(match &self.contents {
            Contents::Npy(_) | Contents::Npz(_) => bytes(4),
            // Compressed or strided elements are read at once, of 8 bytes at most.
            Contents::Tensors(_) => bytes(4 + 8),
        }))
    }

    /// The elements of the array `name`, one of [`Container::entries`]: in C order, as many as its
    /// shape says.
    pub(crate) fn read(&self, name: &str) -> Result<Vec<f32>> {
        let at = |message: String| Failure::at(&self.path, message);
        self.shape(name)?;
        match &self.contents {
            Contents::Npy(npy) => lock(npy).read().map_err(at),
            Contents::Npz(npz) => npz.read(name).map_err(at),
            Contents::Tensors(file) => {
                let array = file.to_f32(name)?;
                if file.encoding(name) == Some(Encoding::F64)
                    && let Some((index, _)) = array.indexed_iter().find(|(_, it)| it.is_infinite())
                {
                    let what = "is infinite, or exceeds the range of f32";
                    return Err(at(format!("the value at {:?} {what}", index.slice())));
                }
                Ok(array.into_raw_vec_and_offset().0)
            }
        }
    }
}

fn lock(npy: &Mutex<NpyFile>) -> MutexGuard<'_, NpyFile> {
    npy.lock().unwrap_or_else(PoisonError::into_inner)
}
