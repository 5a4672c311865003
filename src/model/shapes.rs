#![forbid(unsafe_code)]
//! The shapes of a checkpoint's tensors, by name.

use std::collections::BTreeMap;

use crate::base::error::{Error, Result};
use crate::checkpoint::Tensor;

/// The shapes of a checkpoint's tensors.
#[derive(Clone, Copy)]
pub(super) struct Shapes<'a>(pub(super) &'a BTreeMap<String, Tensor>);

impl Shapes<'_> {
    /// The first name that begins with `start`.
    pub(super) fn first(&self, start: &str) -> Option<&str> {
        let mut from = self.0.range(start.to_owned()..);
        from.next().map(|(name, _)| &**name).filter(|name| name.starts_with(start))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Length of axis `axis` of a convolution's weight.
    pub(super) fn axis(&self, name: &str, axis: usize) -> Result<usize> {
        let tensor =
            self.0.get(name).ok_or_else(|| Error::model(format!("tensor {name} is missing")))?;
        match tensor.shape.get(axis) {
            Some(&length) if length > 0 => Ok(length),
            _ => Err(Error::model(format!(
                "tensor {}: at least {} axes, none of length 0, expected, {:?} found",
                tensor.name,
                axis + 1,
                tensor.shape
            ))),
        }
    }

    /// The number of tensors `name(0)`, `name(1)`, ... without a gap.
    pub(super) fn count(&self, name: impl Fn(usize) -> String) -> usize {
        (0..).take_while(|&i| self.has(&name(i))).count()
    }
}
