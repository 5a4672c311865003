#![forbid(unsafe_code)]
//! Takes the tensors that a parameter tree requires from a checkpoint, and checks their shapes.

use std::collections::{BTreeMap, BTreeSet};

use super::weights::{Conv, Norm};
use crate::base::alloc;
use crate::base::encoding::Encoding;
use crate::base::error::{Error, Result};
use crate::base::weight::WeightSource;
use crate::checkpoint::{Checkpoint, Tensor};

/// The most that a norm multiplies by or adds. A normalised value is no larger than the square root
/// of their number, so that none becomes infinite: an activation function would hide one.
const MOST_OF_NORM: f32 = 1e28;

/// Takes tensors by name and counts them.
pub(super) struct Builder<'a> {
    checkpoint: &'a Checkpoint,
    /// The family, for messages.
    family: &'static str,
    used: BTreeSet<String>,
}

/// Totals of the tree.
#[derive(Default)]
pub(super) struct Totals {
    pub(super) tensors: usize,
    pub(super) parameters: u64,
    pub(super) bytes: u64,
    pub(super) dtypes: BTreeMap<Encoding, usize>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(checkpoint: &'a Checkpoint, family: &'static str) -> Self {
        Self { checkpoint, family, used: BTreeSet::new() }
    }

    /// Whether the tensor `name` was taken.
    pub(super) fn used(&self, name: &str) -> bool {
        self.used.contains(name)
    }

    /// Totals of the tensors taken.
    pub(super) fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for tensor in self.used.iter().filter_map(|name| self.checkpoint.tensors.get(name)) {
            totals.tensors += 1;
            totals.parameters += tensor.len() as u64;
            totals.bytes += tensor.contents.len();
            *totals.dtypes.entry(tensor.dtype).or_default() += 1;
        }
        totals
    }

    /// The tensors taken, under diffusers' names.
    pub(super) fn tensors(&self) -> BTreeMap<String, Tensor> {
        let tensors = self.checkpoint.tensors.iter();
        // One by one: collected, they would be in a vector first, whose allocation cannot fail.
        let mut taken = BTreeMap::new();
        for (name, tensor) in tensors.filter(|(name, _)| self.used.contains(*name)) {
            taken.insert(name.clone(), tensor.clone());
        }
        taken
    }

    pub(super) fn norm(&mut self, name: &str, channels: usize) -> Result<Norm> {
        let gamma = self.norm_vector(&format!("{name}.weight"), channels)?;
        let beta = self.norm_vector(&format!("{name}.bias"), channels)?;
        Ok(Norm { name: name.to_owned(), gamma, beta })
    }

    pub(super) fn conv(
        &mut self,
        name: &str,
        from: usize,
        to: usize,
        kernel: usize,
    ) -> Result<Conv> {
        let bias = self.vector(&format!("{name}.bias"), to)?;
        let conv = self.plain_conv(name, from, to, kernel)?;
        Ok(Conv { bias, ..conv })
    }

    /// A convolution without a bias.
    pub(super) fn plain_conv(
        &mut self,
        name: &str,
        from: usize,
        to: usize,
        kernel: usize,
    ) -> Result<Conv> {
        let tensor = format!("{name}.weight");
        // A 1x1 convolution and a linear layer are the same, and files of all ages hold either
        // form.
        let weight = if kernel == 1 {
            self.take(&tensor, &[&[to, from, 1, 1], &[to, from, 1], &[to, from]])?
        } else {
            self.take(&tensor, &[&[to, from, kernel, kernel]])?
        };
        let (name, bias) = (name.to_owned(), alloc::filled(0.0, to, "biases")?);
        Ok(Conv { name, weight, bias, in_channels: from, out_channels: to, kernel })
    }

    /// The values of a tensor `[length]`: a bias, a norm's factors or its offsets. An activation
    /// function may hide that one of them is not finite, so that no result would tell.
    pub(super) fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>> {
        let tensor = self.take(name, &[&[length]])?;
        let values = tensor.to_f32().map_err(|error| error.within(&self.checkpoint.source))?;
        tensor.release();
        match values.iter().position(|value| !value.is_finite()) {
            Some(at) => Err(self.wrong_value(name, "finite numbers", values[at], at)),
            None => Ok(values),
        }
    }

    /// The values of a norm's tensor.
    fn norm_vector(&mut self, name: &str, channels: usize) -> Result<Vec<f32>> {
        let values = self.vector(name, channels)?;
        match values.iter().position(|value| value.abs() > MOST_OF_NORM) {
            Some(at) => {
                let expected = format!("numbers up to {MOST_OF_NORM:e}");
                Err(self.wrong_value(name, &expected, values[at], at))
            }
            None => Ok(values),
        }
    }

    /// The error for the value `found` at `at` of the tensor `name`.
    pub(super) fn wrong_value(&self, name: &str, expected: &str, found: f32, at: usize) -> Error {
        let (source, family) = (&self.checkpoint.source, self.family);
        let tensor = self.checkpoint.tensors.get(name).map_or(name, |tensor| &tensor.name);
        Error::model(format!(
            "{source}: tensor {tensor} of an {family}: {expected} expected, {found} found at {at}"
        ))
    }

    /// The tensor `name`, in one of `shapes`.
    fn take(&mut self, name: &str, shapes: &[&[usize]]) -> Result<Tensor> {
        let source = &self.checkpoint.source;
        let Some(tensor) = self.checkpoint.tensors.get(name) else {
            return Err(Error::model(format!(
                "{source}: tensor {name} {:?} is missing, which an {} has",
                shapes[0], self.family
            )));
        };
        if !shapes.contains(&&tensor.shape[..]) {
            return Err(Error::model(format!(
                "{source}: tensor {}: {:?} expected, {:?} found",
                tensor.name, shapes[0], tensor.shape
            )));
        }
        self.used.insert(name.to_owned());
        Ok(tensor.clone())
    }
}
