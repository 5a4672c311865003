#![forbid(unsafe_code)]
//! A file of named tensors that need not be a model.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use ndarray::ArrayD;

use super::contents::Contents;
use super::file;
use super::format;
use super::limits::MOST_EXPANDED;
use super::raw_tensors::RawTensors;
use super::scales;
use super::tensor::Tensor;
use crate::base::buffer::Bytes;
use crate::base::encoding::Encoding;
use crate::base::error::{Error, ErrorKind, Result};

/// The named tensors of a file, of any format that [`Model::open`](crate::Model::open) reads: of
/// latents, for example. The format is told by the contents, not by the file's name.
///
/// ```
/// use vaekl::{Encoding, TensorFile};
///
/// let file = TensorFile::open("cli/model/diffusion_pytorch_model.safetensors")?;
/// let name = "decoder.conv_in.bias";
/// assert!(file.names().any(|found| found == name));
/// assert_eq!(file.encoding(name), Some(Encoding::F16));
/// assert_eq!(file.to_f32(name)?.shape(), file.shape(name).unwrap());
/// # Ok::<(), vaekl::Error>(())
/// ```
pub struct TensorFile {
    source: String,
    raw: RawTensors,
}

impl fmt::Debug for TensorFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.names().collect();
        f.debug_struct("TensorFile").field("source", &self.source).field("names", &names).finish()
    }
}

impl TensorFile {
    /// Opens a file. Elements are read when [`TensorFile::to_f32`] asks for them.
    ///
    /// # Errors
    /// `Io` if the file cannot be read, `Format` if it is of no format or corrupt, `Unsupported` if
    /// it is of a format that is not read. The message names the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        // Not mapped: a file that another program rewrites is an error, not the end of the process.
        Self::parse(&file::open(path, false)?, path.display().to_string())
    }

    /// Opens the bytes of a file, which are shared, not copied.
    ///
    /// # Errors
    /// Those of [`TensorFile::open`].
    pub fn from_bytes(bytes: impl AsRef<[u8]> + Send + Sync + 'static) -> Result<Self> {
        Self::parse(&Contents::Memory(Bytes::new(bytes)), "file in memory".into())
    }

    fn parse(contents: &Contents, source: String) -> Result<Self> {
        let parsed = format::parse(contents).and_then(|(mut raw, _)| {
            scales::apply(&mut raw)?;
            Ok(raw)
        });
        let raw = parsed.map_err(|error| error.within(&source))?;
        Ok(Self { source, raw })
    }

    /// Names of the tensors, in alphabetical order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.raw.tensors.keys().map(String::as_str)
    }

    /// Lengths of the axes of the tensor `name`; `None` if there is none.
    pub fn shape(&self, name: &str) -> Option<&[usize]> {
        Some(&self.raw.tensors.get(name)?.shape)
    }

    /// The element type of the tensor `name`; `None` if there is none.
    pub fn encoding(&self, name: &str) -> Option<Encoding> {
        Some(self.raw.tensors.get(name)?.dtype)
    }

    /// What the file says of itself, by key: the `__metadata__` of safetensors.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.raw.metadata
    }

    /// The tensors with elements that are not read, such as integers: their type as the format
    /// calls it, by name. [`TensorFile::names`] has the others.
    pub fn unreadable(&self) -> &BTreeMap<String, String> {
        &self.raw.unsupported
    }

    /// The elements of the tensor `name` in row-major order, rounded to f32 if they are wider.
    ///
    /// # Errors
    /// `InvalidArgument` if there is no tensor of that name, `Io` if the file cannot be read,
    /// `Format` if elements are corrupt, `Unsupported` if more than 2^24 elements share their
    /// memory, as those of `torch.Tensor.expand` do. The message names file and tensor.
    pub fn to_f32(&self, name: &str) -> Result<ArrayD<f32>> {
        let values = self.tensor(name).and_then(|tensor| {
            if tensor.shares_elements() && tensor.len() > MOST_EXPANDED {
                let what = format!("tensor {name}: elements share memory: save a clone of it");
                return Err(Error::new(ErrorKind::Unsupported, what));
            }
            let values = tensor.to_f32()?;
            Ok(ArrayD::from_shape_vec(&tensor.shape[..], values).expect("as long as the shape"))
        });
        values.map_err(|error| error.within(&self.source))
    }

    fn tensor(&self, name: &str) -> Result<&Tensor> {
        self.raw.tensors.get(name).ok_or_else(|| match self.raw.unsupported.get(name) {
            Some(dtype) => Error::invalid(format!("tensor {name}: floats expected, {dtype} found")),
            None => Error::invalid(format!("there is no tensor {name}")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(tensor: Tensor) -> TensorFile {
        let mut raw = RawTensors::default();
        raw.tensors.insert("x".into(), tensor);
        raw.unsupported.insert("i".into(), "I64".into());
        TensorFile { source: "file".into(), raw }
    }

    fn floats(count: u8) -> Contents {
        let bytes: Vec<u8> = (0..count).flat_map(|value| f32::from(value).to_le_bytes()).collect();
        Contents::Memory(Bytes::new(bytes))
    }

    #[test]
    fn elements_come_in_row_major_order() {
        let transposed =
            Tensor::strided("x".into(), Encoding::F32, vec![3, 2], &[1, 3], floats(6)).unwrap();
        let array = file(transposed).to_f32("x").unwrap();
        assert_eq!(array.shape(), [3, 2]);
        assert_eq!(array.into_raw_vec_and_offset().0, [0.0, 3.0, 1.0, 4.0, 2.0, 5.0]);
    }

    #[test]
    fn a_few_bytes_are_not_a_large_tensor() {
        let shape = vec![1 << 20, 1 << 20];
        let expanded =
            Tensor::strided("x".into(), Encoding::F32, shape, &[0, 0], floats(1)).unwrap();
        let error = file(expanded).to_f32("x").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(error.message(), "file: tensor x: elements share memory: save a clone of it");
        let small = Tensor::strided("x".into(), Encoding::F32, vec![2, 3], &[0, 0], floats(1));
        assert_eq!(file(small.unwrap()).to_f32("x").unwrap().len(), 6);
    }

    #[test]
    fn what_is_not_there_is_said() {
        let file = file(Tensor::new("x".into(), Encoding::F32, vec![1], floats(1)).unwrap());
        for (name, part) in
            [("y", "file: there is no tensor y"), ("i", "tensor i: floats expected, I64 found")]
        {
            let error = file.to_f32(name).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(part), "{error}");
        }
        assert_eq!((file.shape("y"), file.encoding("i")), (None, None));
        assert!(TensorFile::open("nowhere.pt").unwrap_err().message().contains("nowhere.pt"));
    }
}
