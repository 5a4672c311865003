#![forbid(unsafe_code)]
//! Named tensors of a checkpoint, still in the file's own type and place.

use std::borrow::Cow;

use half::{bf16, f16};

use super::contents::Contents;
use super::dequantise::dequantise;
use super::limits::{MOST_AXES, MOST_SPARSE};
use crate::base::alloc;
use crate::base::encoding::Encoding;
use crate::base::error::{Error, Result};
use crate::base::weight::{DenseWeight, WeightMemory, WeightSource};

/// A tensor in the file's form: little-endian elements, possibly unaligned.
#[derive(Clone)]
pub(crate) struct Tensor {
    /// The name in the file, for messages.
    pub(crate) name: String,
    pub(crate) dtype: Encoding,
    pub(crate) shape: Vec<usize>,
    pub(crate) contents: Contents,
    /// Distance of neighbours along each axis in elements; `None` for row-major order. Only for
    /// encodings without blocks; [`Tensor::strided`] checks them.
    strides: Option<Vec<usize>>,
    /// The factor of each element, beside it in the file.
    pub(crate) scale: Option<f32>,
}

impl Tensor {
    /// A tensor in row-major order.
    ///
    /// # Errors
    /// `Format` if `contents` do not have the size that shape and type give.
    pub(crate) fn new(
        name: String,
        dtype: Encoding,
        shape: Vec<usize>,
        contents: Contents,
    ) -> Result<Self> {
        let expected = count(&shape).and_then(|elements| dtype.bytes(elements));
        if expected.map(|bytes| bytes as u64) != Some(contents.len()) {
            let (size, found) =
                (expected.map_or("too many".into(), |b| b.to_string()), contents.len());
            let shape = &shape[..shape.len().min(MOST_AXES)];
            return Err(Error::format(format!(
                "tensor {name}: {size} bytes expected for {shape:?} of {dtype}, {found} found"
            )));
        }
        Ok(Self { name, dtype, shape, contents, strides: None, scale: None })
    }

    /// A tensor whose neighbours along axis `i` are `strides[i]` elements apart in `contents`,
    /// which begin with its first element.
    ///
    /// # Errors
    /// `Format` if an element lies outside `contents`, or the encoding has blocks.
    pub(crate) fn strided(
        name: String,
        dtype: Encoding,
        shape: Vec<usize>,
        strides: &[usize],
        contents: Contents,
    ) -> Result<Self> {
        let wrong = |what: &str| Err(Error::format(format!("tensor {name}: {what}")));
        let (1, size) = dtype.block() else { return wrong("strides of quantised blocks") };
        if strides.len() != shape.len() {
            return wrong("as many strides as axes expected");
        }
        let Some(elements) = count(&shape) else { return wrong("the shape overflows") };
        let last = shape.iter().zip(strides).try_fold(0_usize, |last, (&side, &stride)| {
            last.checked_add(side.saturating_sub(1).checked_mul(stride)?)
        });
        let end = last.and_then(|last| last.checked_add(1)?.checked_mul(size));
        let bytes = if elements == 0 { Some(0) } else { end };
        let contents = match bytes.and_then(|bytes| contents.slice(0..bytes as u64)) {
            Some(contents) => contents,
            None => return wrong("elements outside its storage"),
        };
        // Along an axis of one element the distance does not matter, and files have any.
        let differ = shape.iter().zip(strides).zip(row_major(&shape));
        let differ = differ.filter(|((side, _), _)| **side > 1).any(|((_, a), b)| *a != b);
        let strides = (elements > 0 && differ).then(|| strides.to_vec());
        if strides.is_none() {
            return Self::new(name, dtype, shape, contents);
        }
        Ok(Self { name, dtype, shape, contents, strides, scale: None })
    }

    /// This tensor with its axes in another order: axis `i` is the old axis `order[i]`.
    ///
    /// # Errors
    /// Those of [`Tensor::strided`].
    pub(crate) fn permuted(self, order: &[usize]) -> Result<Self> {
        let old = self.strides.unwrap_or_else(|| row_major(&self.shape));
        let shape = order.iter().map(|&axis| self.shape[axis]).collect();
        let strides: Vec<usize> = order.iter().map(|&axis| old[axis]).collect();
        let permuted = Self::strided(self.name, self.dtype, shape, &strides, self.contents)?;
        Ok(Self { scale: self.scale, ..permuted })
    }

    /// Number of elements.
    pub(crate) fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether elements share bytes of the file, as along an axis of stride 0: a few bytes may then
    /// be more elements than any memory has.
    pub(crate) fn shares_elements(&self) -> bool {
        let bytes = self.dtype.bytes(self.len());
        bytes.is_none_or(|bytes| bytes as u64 > self.contents.len())
    }

    /// Whether the file has the elements themselves in row-major order, so that their bytes can be
    /// copied.
    pub(crate) fn is_plain(&self) -> bool {
        self.strides.is_none() && self.scale.is_none() && self.dtype.dense().is_some()
    }

    /// The elements as f32, in row-major order, rounded if the type is wider.
    ///
    /// # Errors
    /// `Io` if the file cannot be read, `Format` if elements are corrupt; the message names the
    /// tensor.
    pub(crate) fn to_f32(&self) -> Result<Vec<f32>> {
        /// Elements that are read at a time where they are in a file.
        const PART: usize = 64 << 10;
        let mut values = alloc::filled(0.0, self.len(), &self.name)?;
        if !self.is_plain() || !matches!(self.contents, Contents::File { .. }) {
            self.load(&mut values)?;
            return Ok(values);
        }
        let mut at = 0;
        for part in values.chunks_mut(PART) {
            let end = at + (part.len() * self.dtype.block().1) as u64;
            let contents = self.contents.slice(at..end).expect("in bounds");
            Self { shape: vec![part.len()], contents, ..self.clone() }.load(part)?;
            at = end;
        }
        Ok(values)
    }

    /// The bytes of the elements in the file's type, in row-major order. Not for blocks.
    pub(super) fn row_major_bytes(&self) -> Result<Cow<'_, [u8]>> {
        let (_, size) = self.dtype.block();
        let span = self.contents.len();
        // Read from a file, a few elements far apart would cost all that lies between them.
        if !self.contents.is_memory()
            && span > MOST_SPARSE
            && span / 16 > (self.len() * size) as u64
        {
            return Err(Error::format(format!(
                "{} elements in {span} bytes, which are not mapped",
                self.len()
            )));
        }
        let bytes = self.contents.read()?;
        let Some(strides) = &self.strides else { return Ok(bytes) };
        Ok(Cow::Owned(match size {
            1 => gather::<1>(&bytes, &self.shape, strides)?,
            2 => gather::<2>(&bytes, &self.shape, strides)?,
            4 => gather::<4>(&bytes, &self.shape, strides)?,
            _ => gather::<8>(&bytes, &self.shape, strides)?,
        }))
    }
}

impl WeightSource for Tensor {
    fn dense(&self) -> Option<DenseWeight<'_>> {
        match (&self.contents, self.dtype.dense()) {
            (Contents::Memory(bytes), Some(dtype)) if self.is_plain() => {
                Some(DenseWeight { bytes, dtype })
            }
            _ => None,
        }
    }

    fn len(&self) -> usize {
        Tensor::len(self)
    }

    fn load(&self, out: &mut [f32]) -> Result<()> {
        let within = |error: Error| error.within(format!("tensor {}", self.name));
        let bytes = self.row_major_bytes().map_err(within)?;
        match self.dtype {
            Encoding::F32 => elements(&bytes, out, f32::from_le_bytes),
            Encoding::F16 => elements(&bytes, out, |b| f16::from_le_bytes(b).to_f32()),
            Encoding::Bf16 => elements(&bytes, out, |b| bf16::from_le_bytes(b).to_f32()),
            Encoding::F64 => elements(&bytes, out, |b| f64::from_le_bytes(b) as f32),
            quantised => dequantise(quantised, &bytes, out),
        }
        if let Some(scale) = self.scale {
            out.iter_mut().for_each(|value| *value *= scale);
        }
        // Only a corrupt file has such: quantising gives finite values.
        if (self.scale.is_some() || self.dtype.dense().is_none())
            && let Some(at) = out.iter().position(|value| !value.is_finite())
        {
            let message = format!("element {at} is not finite ({})", self.dtype);
            return Err(within(Error::format(message)));
        }
        Ok(())
    }

    fn memory(&self) -> WeightMemory {
        let (resident, read) = (self.contents.resident(), self.contents.passing());
        let passing = match self.dense() {
            Some(_) => read,
            // The f32 values, and the elements in row-major order if they are not.
            None => {
                let strided = self.strides.is_some() as usize * self.dtype.block().1 * self.len();
                read + self.len() * size_of::<f32>() + strided
            }
        };
        WeightMemory { passing, resident }
    }

    fn release(&self) {
        self.contents.release();
    }
}

/// Number of elements; `None` if the sides that are not 0 multiply to more than the address space
/// has, or there are too many axes, which no array may have.
pub(super) fn count(shape: &[usize]) -> Option<usize> {
    if shape.len() > MOST_AXES {
        return None;
    }
    let sides = shape.iter().try_fold(1_usize, |n, &side| n.checked_mul(side.max(1)))?;
    isize::try_from(sides).ok()?;
    Some(if shape.contains(&0) { 0 } else { sides })
}

/// Strides of a tensor in row-major order.
fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1_usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        // Only that of an empty tensor overflows, which has no element to find.
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

/// The elements of `N` bytes that lie `strides` apart in `bytes`, in row-major order.
fn gather<const N: usize>(bytes: &[u8], shape: &[usize], strides: &[usize]) -> Result<Vec<u8>> {
    /// Neighbours in `bytes` that are copied at a time: a cache line that is read once. One at a
    /// time would read each line of a large kernel as often as it has elements.
    const LINE: usize = 16;
    let (elements, len) = (bytes.as_chunks::<N>().0, shape.iter().product::<usize>());
    let mut out = alloc::filled(0, len * N, "elements in row-major order")?;
    // Strides of an empty tensor may have overflowed.
    if len == 0 {
        return Ok(out);
    }
    let (places, gathered) = (row_major(shape), out.as_chunks_mut::<N>().0);
    let near = (0..shape.len()).min_by_key(|&axis| strides[axis]).expect("a tensor has an axis");
    for first in (0..shape[near]).step_by(LINE) {
        let line = first..shape[near].min(first + LINE);
        let (mut index, mut from, mut to) = (vec![0; shape.len()], 0, 0);
        for _ in 0..len / shape[near] {
            for i in line.clone() {
                gathered[to + i * places[near]] = elements[from + i * strides[near]];
            }
            for axis in (0..shape.len()).rev().filter(|&axis| axis != near) {
                index[axis] += 1;
                from += strides[axis];
                to += places[axis];
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
                from -= strides[axis] * shape[axis];
                to -= places[axis] * shape[axis];
            }
        }
    }
    Ok(out)
}

fn elements<const N: usize>(bytes: &[u8], out: &mut [f32], read: impl Fn([u8; N]) -> f32) {
    for (value, &element) in out.iter_mut().zip(bytes.as_chunks().0) {
        *value = read(element);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::Bytes;

    /// Elements that are their place in the file.
    fn numbered(shape: &[usize]) -> Tensor {
        let bytes: Vec<u8> =
            (0..shape.iter().product()).flat_map(|i: usize| (i as f32).to_le_bytes()).collect();
        let contents = Contents::Memory(Bytes::new(bytes));
        Tensor::new("numbers".into(), Encoding::F32, shape.to_vec(), contents).unwrap()
    }

    #[test]
    fn sides_that_no_array_has_are_refused_even_without_elements() {
        let empty = || Contents::Memory(Bytes::new(Vec::new()));
        for shape in [[0, 1 << 32, 1 << 31], [1 << 62, 0, 2], [usize::MAX, 1, 0]] {
            let plain = Tensor::new("x".into(), Encoding::F32, shape.to_vec(), empty());
            let strided =
                Tensor::strided("x".into(), Encoding::F32, shape.into(), &[0; 3], empty());
            assert!(plain.is_err() && strided.is_err(), "{shape:?}");
        }
        Tensor::new("x".into(), Encoding::F32, vec![0, 1 << 20, 3], empty()).unwrap();
    }

    #[test]
    fn axes_in_another_order() {
        // More than a line of neighbours, and not a whole number of lines.
        let (h, w, from, to) = (3, 2, 5, 37);
        let tensor = numbered(&[h, w, from, to]).permuted(&[3, 2, 0, 1]).unwrap();
        assert_eq!(tensor.shape, [to, from, h, w]);
        assert!(tensor.dense().is_none() && !tensor.is_plain());
        let mut expected = Vec::new();
        for o in 0..to {
            for i in 0..from {
                for y in 0..h {
                    expected.extend((0..w).map(|x| (((y * w + x) * from + i) * to + o) as f32));
                }
            }
        }
        assert_eq!(tensor.to_f32().unwrap(), expected);
        // Back in the order of the file, it is plain again.
        let tensor = tensor.permuted(&[2, 3, 1, 0]).unwrap();
        assert!(tensor.is_plain());
    }

    #[test]
    fn steps_repeats_and_empty_tensors() {
        let contents = numbered(&[12]).contents;
        let strided = |shape: &[usize], strides: &[usize]| {
            let (name, contents) = ("numbers".into(), contents.clone());
            Tensor::strided(name, Encoding::F32, shape.to_vec(), strides, contents)
        };
        let values = |shape, strides| strided(shape, strides).unwrap().to_f32().unwrap();
        assert_eq!(values(&[2, 3], &[6, 2]), [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(values(&[2, 2], &[0, 11]), [0.0, 11.0, 0.0, 11.0]);
        assert!(values(&[0, usize::MAX / 8, 4], &[1, 2, 3]).is_empty());
        assert!(strided(&[2, 2], &[0, 12]).is_err());
        let scaled = Tensor { scale: Some(0.5), ..strided(&[3], &[5]).unwrap() };
        assert_eq!(scaled.to_f32().unwrap(), [0.0, 2.5, 5.0]);
        let infinite = Tensor { scale: Some(f32::MAX), ..strided(&[3], &[5]).unwrap() };
        let message = infinite.to_f32().unwrap_err().message().to_owned();
        assert!(message.contains("tensor numbers: element 1 is not finite"), "{message}");
    }
}
