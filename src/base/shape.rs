//! The shape of an activation, with checked arithmetic.

use std::fmt;
use std::ops::Range;

use super::error::{Error, Result};
use super::storage::Storage;

/// The shape of one picture's activation: `height` rows of `width` pixels of `channels` values,
/// channels last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Shape {
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) channels: usize,
}

/// A rectangle of an activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Region {
    pub(crate) top: usize,
    pub(crate) left: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
}

impl Region {
    pub(crate) fn rows(&self) -> Range<usize> {
        self.top..self.top + self.height
    }

    pub(crate) fn columns(&self) -> Range<usize> {
        self.left..self.left + self.width
    }
}

/// More bytes than any processor addresses, yet few enough that sums and small multiples of smaller
/// sizes never overflow.
const ADDRESS_SPACE: usize = if usize::BITS == 64 { 1 << 48 } else { usize::MAX / 8 };

impl Shape {
    pub(crate) const fn new(height: usize, width: usize, channels: usize) -> Self {
        Self { height, width, channels }
    }

    pub(crate) fn pixels(self) -> usize {
        self.height * self.width
    }

    pub(crate) fn len(self) -> usize {
        self.pixels() * self.channels
    }

    /// Size of the activation in bytes, stored as `dtype`.
    ///
    /// # Errors
    /// `InvalidArgument` if the size does not fit the address space.
    pub(crate) fn bytes(self, dtype: Storage) -> Result<usize> {
        self.height
            .checked_mul(self.width)
            .and_then(|n| n.checked_mul(self.channels))
            .and_then(|n| n.checked_mul(dtype.size()))
            .filter(|&n| n <= ADDRESS_SPACE)
            .ok_or_else(|| {
                Error::invalid(format!(
                    "an activation of {self} {dtype} does not fit the address space"
                ))
            })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.height, self.width, self.channels)
    }
}
