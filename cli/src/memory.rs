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

/// Fails where the system does not give `bytes` for `what` now. To be asked before code of other
/// crates takes as much: an allocation that fails there ends the process.
pub(crate) fn trial(bytes: u64, what: &str) -> Result<()> {
    room::<u8>(usize::try_from(bytes).unwrap_or(usize::MAX), what).map(drop)
}

/// A vector of `length` times `value`.
pub(crate) fn filled<T: Clone>(value: T, length: usize, what: &str) -> Result<Vec<T>> {
    let mut items = room(length, what)?;
    items.resize(length, value);
    Ok(items)
}
