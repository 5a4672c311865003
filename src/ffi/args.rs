//! Turns pointers and integers of C into checked Rust values.

use std::ffi::{CStr, c_char};
use std::path::PathBuf;

use crate::base::error::{Error, Result};
use crate::base::storage::Storage;
use crate::os;

use super::types::{VAEKL_DTYPE_BF16, VAEKL_DTYPE_F16, VAEKL_DTYPE_F32, vaekl_dtype};

/// Refuses NULL and a misaligned address.
pub(super) fn pointer<T>(pointer: *const T, name: &str) -> Result<()> {
    if pointer.is_null() {
        return Err(Error::invalid(format!("{name}: NULL")));
    }
    if !pointer.is_aligned() {
        let align = align_of::<T>();
        return Err(Error::invalid(format!(
            "{name}: an address aligned to {align} bytes expected, {pointer:p} found"
        )));
    }
    Ok(())
}

/// An object of this library, or an error that names the argument.
///
/// # Safety
/// `object` is NULL or points to a `T` that outlives `'a` and changes only through itself.
pub(super) unsafe fn object<'a, T>(object: *const T, name: &str) -> Result<&'a T> {
    pointer(object, name)?;
    // SAFETY: not NULL and aligned, the rest by the caller's contract.
    Ok(unsafe { &*object })
}

/// A copy of the caller's struct, so that later changes to it do not matter.
///
/// # Safety
/// `view` is NULL or points to a `T`.
pub(super) unsafe fn copy<T: Copy>(view: *const T, name: &str) -> Result<T> {
    pointer(view, name)?;
    // SAFETY: not NULL and aligned, the rest by the caller's contract.
    Ok(unsafe { view.read() })
}

/// Bytes of the longest string that a caller may pass: that of Linux' longest path. Copies of it
/// are made where a failed allocation ends the process.
const MOST_TEXT: usize = 4095;

/// A string of at most [`MOST_TEXT`] bytes.
///
/// # Safety
/// `string` is NUL-terminated, and outlives `'a` unchanged.
unsafe fn bounded<'a>(string: *const c_char, name: &str) -> Result<&'a CStr> {
    // SAFETY: by the caller's contract.
    let string = unsafe { CStr::from_ptr(string) };
    match string.count_bytes() {
        ..=MOST_TEXT => Ok(string),
        found => {
            let expected = format!("{name}: at most {MOST_TEXT} bytes expected, {found} found");
            Err(Error::invalid(expected))
        }
    }
}

/// A string that may be missing.
///
/// # Safety
/// `string` is NULL or NUL-terminated, and outlives `'a` unchanged.
pub(super) unsafe fn text<'a>(string: *const c_char, name: &str) -> Result<Option<&'a str>> {
    if string.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, the rest by the caller's contract.
    let string = unsafe { bounded(string, name) }?;
    let not_utf8 = |_| Error::invalid(format!("{name}: UTF-8 expected, {string:?} found"));
    string.to_str().map(Some).map_err(not_utf8)
}

/// A path that may be missing: any bytes where the system allows them, UTF-8 elsewhere.
///
/// # Safety
/// `string` is NULL or NUL-terminated.
pub(super) unsafe fn path(string: *const c_char, name: &str) -> Result<Option<PathBuf>> {
    if string.is_null() {
        return Ok(None);
    }
    // SAFETY: not NULL, the rest by the caller's contract.
    let string = unsafe { bounded(string, name) }?;
    let not_utf8 = || Error::invalid(format!("{name}: UTF-8 expected, {string:?} found"));
    os::c::path_of(string.to_bytes()).map(Some).ok_or_else(not_utf8)
}

/// `bytes`, if that many from `address` on can be one object; `None` means a number that
/// overflowed.
pub(super) fn span(address: usize, bytes: Option<usize>) -> Option<usize> {
    bytes.filter(|&bytes| bytes <= isize::MAX as usize && address.checked_add(bytes).is_some())
}

/// The dtype of latents, weights or activations.
pub(super) fn float_dtype(dtype: vaekl_dtype, name: &str) -> Result<Storage> {
    match dtype {
        VAEKL_DTYPE_F32 => Ok(Storage::F32),
        VAEKL_DTYPE_F16 => Ok(Storage::F16),
        VAEKL_DTYPE_BF16 => Ok(Storage::Bf16),
        other => Err(unknown(name, "VAEKL_DTYPE_F32, _F16 or _BF16", other)),
    }
}

/// A 0 or a 1.
pub(super) fn flag(value: u32, name: &str) -> Result<bool> {
    match value {
        0 | 1 => Ok(value == 1),
        other => Err(unknown(name, "0 or 1", other)),
    }
}

/// The error for an integer that is none of the expected constants.
pub(super) fn unknown(name: &str, expected: &str, found: u32) -> Error {
    Error::invalid(format!("{name}: {expected} expected, {found} found"))
}
