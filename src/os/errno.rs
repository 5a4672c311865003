//! The number of C's `errno.h` for an error of the system.

use std::io::{Error, ErrorKind};

/// The system's own number on Unix; otherwise the number of the error's kind, or 0 for a kind
/// without one. The numbers are the same on Linux, on Apple's systems and in Windows' C library.
pub(crate) fn errno(error: &Error) -> i32 {
    match error.raw_os_error() {
        Some(code) if cfg!(unix) => code,
        _ => match error.kind() {
            ErrorKind::NotFound => 2,
            ErrorKind::PermissionDenied => 13,
            ErrorKind::AlreadyExists => 17,
            ErrorKind::NotADirectory => 20,
            ErrorKind::IsADirectory => 21,
            _ => 0,
        },
    }
}
