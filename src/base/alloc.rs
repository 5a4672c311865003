#![forbid(unsafe_code)]
#![allow(dead_code)]
//! Vectors and text whose allocation can fail.
//!
//! The standard library ends the process where the system has no more memory. What is larger than
//! 4 KiB, or of a size that a file or a caller chooses, is allocated here instead.

use super::error::{Error, ErrorKind, Result};

/// The error for `bytes` of `what` that the system does not give.
pub(crate) fn out_of_memory(what: &str, bytes: usize) -> Error {
    let message = format!("{what}: {bytes} bytes could not be allocated");
    Error::new(ErrorKind::OutOfMemory, message)
}

/// An empty vector with room for `length` items.
///
/// # Errors
/// `OutOfMemory`, naming `what`.
pub(crate) fn with_capacity<T>(length: usize, what: &str) -> Result<Vec<T>> {
    let mut items = Vec::new();
    reserve(&mut items, length, what)?;
    Ok(items)
}

/// A vector of `length` times `value`.
///
/// # Errors
/// `OutOfMemory`, naming `what`.
pub(crate) fn filled<T: Clone>(value: T, length: usize, what: &str) -> Result<Vec<T>> {
    let mut items = with_capacity(length, what)?;
    items.resize(length, value);
    Ok(items)
}

/// A vector of `items`.
///
/// # Errors
/// `OutOfMemory`, naming `what`.
pub(crate) fn collected<T>(items: impl IntoIterator<Item = T>, what: &str) -> Result<Vec<T>> {
    let items = items.into_iter();
    let mut vector = with_capacity(items.size_hint().0, what)?;
    for item in items {
        push(&mut vector, item, what)?;
    }
    Ok(vector)
}

/// Adds `item` to `items`.
///
/// # Errors
/// `OutOfMemory`, naming `what`; `items` is as before.
pub(crate) fn push<T>(items: &mut Vec<T>, item: T, what: &str) -> Result<()> {
    if items.len() == items.capacity() {
        reserve(items, 1, what)?;
    }
    items.push(item);
    Ok(())
}

/// Makes room in `items` for `more`.
///
/// # Errors
/// `OutOfMemory`, naming `what`; `items` is as before.
pub(crate) fn reserve<T>(items: &mut Vec<T>, more: usize, what: &str) -> Result<()> {
    let bytes = items.len().saturating_add(more).saturating_mul(size_of::<T>());
    items.try_reserve(more).map_err(|_| out_of_memory(what, bytes))
}

/// A copy of `text`.
///
/// # Errors
/// `OutOfMemory`, naming `what`.
pub(crate) fn text(text: &str, what: &str) -> Result<String> {
    let mut copy = String::new();
    copy.try_reserve_exact(text.len()).map_err(|_| out_of_memory(what, text.len()))?;
    copy.push_str(text);
    Ok(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_system_has_is_an_error_that_names_it() {
        let error = filled(0u64, usize::MAX / 16, "a list").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
        assert!(error.message().starts_with("a list: "), "{error}");
        assert!(with_capacity::<u64>(usize::MAX, "a list").is_err());
        let mut items = vec![1u64];
        assert!(reserve(&mut items, usize::MAX / 8, "a list").is_err());
        assert_eq!(items, [1]);
    }

    #[test]
    fn items_come_in_order() {
        assert_eq!(collected((0..9).filter(|item| item % 2 == 0), "").unwrap(), [0, 2, 4, 6, 8]);
        assert_eq!(filled('a', 3, "").unwrap(), ['a'; 3]);
        assert_eq!(text("ä", "").unwrap(), "ä");
    }
}
