//! Vectors whose allocation can fail: for what a file chooses the size of.

use vaekl::{Error, ErrorKind, Result};

/// An empty vector with room for `length` items of `what`.
pub(crate) fn room<T>(length: usize, what: &str) -> Result<Vec<T>> {
    let mut items = Vec::new();
    items.try_reserve_exact(length).map_err(|_| {
        let bytes = length.saturating_mul(size_of::<T>());
        let message = format!("{what}: {bytes} bytes could not be allocated");
        Error::new(ErrorKind::OutOfMemory, message)
    })?;
    Ok(items)
}

/// A vector of `length` times `value`.
pub(crate) fn filled<T: Clone>(value: T, length: usize, what: &str) -> Result<Vec<T>> {
    let mut items = room(length, what)?;
    items.resize(length, value);
    Ok(items)
}
