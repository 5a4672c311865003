#![forbid(unsafe_code)]
//! Vectors and text whose allocation can fail.
//!
//! The standard library ends the process where the system has no more memory. What is larger than
//! 4 KiB, or of a size that a file or a caller chooses, is allocated here instead.

use std::io;

use ndarray::Array4;

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
    let bytes = length.saturating_mul(size_of::<T>());
    items.try_reserve_exact(length).map_err(|_| out_of_memory(what, bytes))?;
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

/// A vector of `items`, the first error of which is returned.
///
/// # Errors
/// That of an item; `OutOfMemory`, naming `what`.
pub(crate) fn try_collected<T>(
    items: impl IntoIterator<Item = Result<T>>,
    what: &str,
) -> Result<Vec<T>> {
    let items = items.into_iter();
    let mut vector = with_capacity(items.size_hint().0, what)?;
    for item in items {
        push(&mut vector, item?, what)?;
    }
    Ok(vector)
}

/// A copy of `items`.
///
/// # Errors
/// `OutOfMemory`, naming `what`.
pub(crate) fn copied<T: Copy>(items: &[T], what: &str) -> Result<Vec<T>> {
    let mut copy = with_capacity(items.len(), what)?;
    copy.extend_from_slice(items);
    Ok(copy)
}

/// Makes `items` of `length`, those that are new of `value`. Memory for no more than these is
/// taken.
///
/// # Errors
/// `OutOfMemory`, naming `what`; `items` is as before.
pub(crate) fn resize<T: Clone>(
    items: &mut Vec<T>,
    length: usize,
    value: T,
    what: &str,
) -> Result<()> {
    let more = length.saturating_sub(items.len());
    let bytes = length.saturating_mul(size_of::<T>());
    items.try_reserve_exact(more).map_err(|_| out_of_memory(what, bytes))?;
    items.resize(length, value);
    Ok(())
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

/// An array `[batch, channels, height, width]` of what `value` gives for each index.
///
/// # Errors
/// `OutOfMemory`, naming `what`.
pub(crate) fn array(
    shape: (usize, usize, usize, usize),
    what: &str,
    value: impl FnMut((usize, usize, usize, usize)) -> f32,
) -> Result<Array4<f32>> {
    let (batch, channels, height, width) = shape;
    let bytes = [batch, channels, height, width].iter().fold(4_usize, |n, &m| n.saturating_mul(m));
    let mut values = with_capacity(bytes / 4, what)?;
    values.extend(ndarray::indices(shape).into_iter().map(value));
    Array4::from_shape_vec(shape, values).map_err(|_| out_of_memory(what, bytes))
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

/// Bytes that grow with what is written to them; a write fails where the system has no more memory.
#[derive(Debug, Default)]
pub(crate) struct Written(Vec<u8>);

impl Written {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.try_reserve(bytes.len()).map_err(|_| io::ErrorKind::OutOfMemory)?;
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
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
