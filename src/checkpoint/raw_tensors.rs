#![forbid(unsafe_code)]
//! The tensors of files, counted as they come.

use std::collections::BTreeMap;

use super::limits::{MOST_FACTS, MOST_FACTS_BYTES, MOST_NAME, MOST_NAMES, MOST_TENSORS};
use super::tensor::Tensor;
use super::text::shortened;
use crate::base::error::{Error, Result};

/// Tensors in the file's form, before their names are sorted.
#[derive(Default)]
pub(super) struct RawTensors {
    pub(super) tensors: BTreeMap<String, Tensor>,
    /// Tensors with an element type that weights cannot have, by name, with the type's name.
    pub(super) unsupported: BTreeMap<String, String>,
    /// What the file says of itself, by key.
    pub(super) metadata: BTreeMap<String, String>,
    counted: Names,
    /// Bytes of `metadata`.
    described: usize,
}

/// Names of tensors so far. Formats whose tensors are many before the first is made count their
/// names by themselves.
#[derive(Clone, Copy, Default)]
pub(super) struct Names {
    count: usize,
    bytes: usize,
}

impl Names {
    /// Counts one more.
    ///
    /// # Errors
    /// `Format` if it is too long, or there are too many.
    pub(super) fn add(&mut self, name: &str) -> Result<()> {
        let length = name.len();
        if length > MOST_NAME {
            let name = shortened(name);
            return Err(Error::format(format!(
                "tensor {name}: a name of at most {MOST_NAME} bytes expected, {length} found"
            )));
        }
        (self.count, self.bytes) = (self.count + 1, self.bytes + length);
        if self.count > MOST_TENSORS {
            return Err(Error::format(format!("more than {MOST_TENSORS} tensors")));
        }
        if self.bytes > MOST_NAMES {
            let message = format!("tensors with names of over {MOST_NAMES} bytes together");
            return Err(Error::format(message));
        }
        Ok(())
    }
}

impl RawTensors {
    /// Adds a tensor.
    ///
    /// # Errors
    /// `Format` if there is one of that name, or beyond the limits.
    pub(super) fn add(&mut self, name: String, tensor: Tensor) -> Result<()> {
        self.count(&name)?;
        self.tensors.insert(name, tensor);
        Ok(())
    }

    /// Adds a tensor with an element type that weights cannot have.
    ///
    /// # Errors
    /// Those of [`RawTensors::add`].
    pub(super) fn add_unsupported(&mut self, name: String, dtype: String) -> Result<()> {
        self.count(&name)?;
        self.unsupported.insert(name, dtype);
        Ok(())
    }

    /// Adds what the file says of itself; a later text for a key counts.
    ///
    /// # Errors
    /// `Format` beyond the limits.
    pub(super) fn describe(&mut self, key: String, text: String) -> Result<()> {
        self.described += key.len() + text.len();
        if self.metadata.len() >= MOST_FACTS || self.described > MOST_FACTS_BYTES {
            return Err(Error::format(format!(
                "metadata of at most {MOST_FACTS} entries and {MOST_FACTS_BYTES} bytes expected"
            )));
        }
        self.metadata.insert(key, text);
        Ok(())
    }

    fn count(&mut self, name: &str) -> Result<()> {
        if self.tensors.contains_key(name) || self.unsupported.contains_key(name) {
            let name = shortened(name);
            return Err(Error::format(format!("corrupt: two tensors with the name {name}")));
        }
        self.counted.add(name)
    }
}
