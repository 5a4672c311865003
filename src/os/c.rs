//! What the C interface asks of the system: the number of an error, the path in a C string.

use std::io::{Error, ErrorKind};
use std::path::PathBuf;

/// The number of C's `errno.h` for an error: the system's own on Unix; otherwise the number of the
/// error's kind, or 0 for a kind without one. The numbers are the same on Linux, on Apple's systems
/// and in Windows' C library.
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

/// The path in a C string: any bytes on Unix, UTF-8 elsewhere; `None` for other bytes.
#[cfg(unix)]
pub(crate) fn path_of(bytes: &[u8]) -> Option<PathBuf> {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    Some(PathBuf::from(OsStr::from_bytes(bytes)))
}

/// The path in a C string: any bytes on Unix, UTF-8 elsewhere; `None` for other bytes.
#[cfg(not(unix))]
pub(crate) fn path_of(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}
