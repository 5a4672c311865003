//! The number of C's `errno.h` for an error of the system.

use std::io::{Error, ErrorKind};

/// The system's own number on Unix; where there is none, the number of the error's kind, 0 where
/// that has none. The numbers are those of Linux, of Apple's systems and of Windows' C library
/// alike.
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
