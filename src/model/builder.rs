#![forbid(unsafe_code)]
//! Takes the tensors that a parameter tree requires from a checkpoint, and checks their shapes.

use std::collections::{BTreeMap, BTreeSet};

use super::weights::{Conv, Norm};
use crate::base::encoding::Encoding;
use crate::base::error::{Error, Result};
use crate::checkpoint::{Checkpoint, Tensor};

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
        let gamma = self.vector(&format!("{name}.weight"), channels)?;
        let beta = self.vector(&format!("{name}.bias"), channels)?;
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
        Ok(Conv { bias, ..self.plain_conv(name, from, to, kernel)? })
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
        let (name, bias) = (name.to_owned(), vec![0.0; to]);
        Ok(Conv { name, weight, bias, in_channels: from, out_channels: to, kernel })
    }

    /// The values of a tensor `[length]`.
    pub(super) fn vector(&mut self, name: &str, length: usize) -> Result<Vec<f32>> {
        let tensor = self.take(name, &[&[length]])?;
        tensor.to_f32().map_err(|error| error.within(&self.checkpoint.source))
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
