//! Turns results and panics into statuses.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::args;
use super::status::{VAEKL_OK, status_of, vaekl_error, vaekl_status};
use crate::base::error::{Error, Result};

/// Runs the body of a C function and returns its status. An error is written to `error` unless that
/// is NULL; a panic becomes an `Internal` error.
///
/// # Safety
/// `error` is NULL or points to a `vaekl_error` the caller owns.
pub(super) unsafe fn guard(
    error: *mut vaekl_error,
    body: impl FnOnce() -> Result<()>,
) -> vaekl_status {
    // A panic can leave only a session inconsistent, and that is poisoned and not used again.
    let outcome = catch_unwind(AssertUnwindSafe(body));
    match outcome.unwrap_or_else(|panic| Err(of_panic(&*panic))) {
        Ok(()) => VAEKL_OK,
        Err(found) => {
            if !error.is_null() {
                // SAFETY: not NULL, and the caller's by contract; written as bytes, so that even a
                // misaligned one will do.
                unsafe { error.write_unaligned(vaekl_error::new(&found)) }
            }
            status_of(found.kind())
        }
    }
}

/// Like [`guard`], for a function with one output, which is written on success only.
///
/// # Safety
/// `error` is NULL or points to a `vaekl_error` the caller owns; `out` is NULL or valid for a
/// write.
pub(super) unsafe fn guard_out<T>(
    error: *mut vaekl_error,
    out: *mut T,
    body: impl FnOnce() -> Result<T>,
) -> vaekl_status {
    let body = || {
        args::pointer(out, "out")?;
        let value = body()?;
        // SAFETY: not NULL and aligned, as just checked, and valid by the caller's contract.
        unsafe { out.write(value) }
        Ok(())
    };
    // SAFETY: `error` by the caller's contract.
    unsafe { guard(error, body) }
}

/// Frees an object made by `Box::into_raw`; NULL is accepted.
///
/// # Safety
/// `object` is NULL or came from `Box::into_raw`, and is not used after.
pub(super) unsafe fn free<T>(object: *mut T) {
    if !object.is_null() {
        // SAFETY: by the caller's contract.
        let object = unsafe { Box::from_raw(object) };
        // A panic in a destructor must not reach C; the rest of the object leaks.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(object)));
    }
}

fn of_panic(panic: &(dyn Any + Send)) -> Error {
    let text = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a panic without a message");
    Error::internal(format!("a defect of the library: {text}"))
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;
    use std::mem::zeroed;
    use std::ptr::null_mut;

    use super::super::status::{VAEKL_ERR_INTERNAL, VAEKL_ERR_INVALID_ARGUMENT};
    use super::*;

    #[test]
    fn a_panic_becomes_a_status() {
        // SAFETY: a vaekl_error is made of integers.
        let mut error: vaekl_error = unsafe { zeroed() };
        // SAFETY: `error` is ours.
        let status = unsafe { guard(&mut error, || panic!("number {}", 7)) };
        assert_eq!((status, error.status), (VAEKL_ERR_INTERNAL, VAEKL_ERR_INTERNAL));
        // SAFETY: NUL-terminated by `guard`.
        let message = unsafe { CStr::from_ptr(error.message.as_ptr()) };
        assert_eq!(message, c"a defect of the library: number 7");
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { guard(null_mut(), || panic!()) }, VAEKL_ERR_INTERNAL);
    }

    #[test]
    fn an_output_is_written_on_success_only() {
        let mut out = 5;
        // SAFETY: `out` is ours, `error` may be NULL.
        let status = unsafe { guard_out(null_mut(), &mut out, || Err(Error::invalid("no"))) };
        assert_eq!((status, out), (VAEKL_ERR_INVALID_ARGUMENT, 5));
        // SAFETY: as above.
        let status = unsafe { guard_out(null_mut(), &mut out, || Ok(6)) };
        assert_eq!((status, out), (VAEKL_OK, 6));
        // SAFETY: NULL is allowed, and is an error before the body runs.
        let status = unsafe { guard_out(null_mut(), null_mut::<u8>(), || unreachable!()) };
        assert_eq!(status, VAEKL_ERR_INVALID_ARGUMENT);
    }
}
