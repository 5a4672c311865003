use std::ffi::{CStr, c_char};

use crate::arch::Level;
use crate::base::error::{Error, ErrorKind};
use crate::os;

/// Result of a call: 0 or VAEKL_END is success, negative is an error. Values are frozen; new ones
/// are appended.
pub type vaekl_status = i32;

/// Success.
pub const VAEKL_OK: vaekl_status = 0;
/// The end of a stream: no rows are left. Not an error.
pub const VAEKL_END: vaekl_status = 1;
/// An argument is wrong: NULL, a bad size, an unknown constant, a non-finite input.
pub const VAEKL_ERR_INVALID_ARGUMENT: vaekl_status = -1;
/// A file could not be opened, read, written or mapped.
pub const VAEKL_ERR_IO: vaekl_status = -2;
/// The file is not a checkpoint, or is corrupt.
pub const VAEKL_ERR_FORMAT: vaekl_status = -3;
/// The tensors or the configuration are not those of an autoencoder that is opened.
pub const VAEKL_ERR_MODEL: vaekl_status = -4;
/// Valid, but not supported by this build.
pub const VAEKL_ERR_UNSUPPORTED: vaekl_status = -5;
/// Out of memory.
pub const VAEKL_ERR_OUT_OF_MEMORY: vaekl_status = -6;
/// No plan fits memory_budget.
pub const VAEKL_ERR_BUDGET: vaekl_status = -7;
/// Cancelled by a callback or by vaekl_session_cancel.
pub const VAEKL_ERR_CANCELLED: vaekl_status = -8;
/// An accelerator failed.
pub const VAEKL_ERR_DEVICE: vaekl_status = -9;
/// The session is in use by another call, poisoned, or of the process that this one was forked
/// from.
pub const VAEKL_ERR_STATE: vaekl_status = -10;
/// A bug in the library: a panic was caught.
pub const VAEKL_ERR_INTERNAL: vaekl_status = -11;
/// The computation gave NaN or infinity.
pub const VAEKL_ERR_NON_FINITE: vaekl_status = -12;

/// Why a call failed: 512 bytes, owned by the caller, written only when the call fails. The layout
/// is frozen.
#[repr(C)]
pub struct vaekl_error {
    /// The status that the call returned.
    pub status: vaekl_status,
    /// One line of UTF-8, NUL-terminated, that names the file, tensor or argument.
    pub message: [c_char; 504],
    /// The system's errno (ENOENT, EACCES, ...) for VAEKL_ERR_IO, if it gave one; otherwise 0.
    pub os_error: i32,
}

const _: () = assert!(size_of::<vaekl_error>() == 512 && align_of::<vaekl_error>() == 4);

impl vaekl_error {
    /// `error` in the form of C: a message that is too long is cut between two characters.
    pub(super) fn new(error: &Error) -> Self {
        let os_error = error.io_error().map_or(0, os::c::errno);
        let mut out = Self { status: status_of(error.kind()), os_error, message: [0; 504] };
        // It has no NUL, which would end it early: a message is visible.
        let text = error.message();
        let end = text.floor_char_boundary_at(out.message.len() - 1);
        for (to, from) in out.message.iter_mut().zip(&text.as_bytes()[..end]) {
            *to = from.cast_signed() as c_char;
        }
        out
    }
}

/// `str::floor_char_boundary`, which is newer than the oldest supported compiler.
trait FloorCharBoundary {
    fn floor_char_boundary_at(&self, most: usize) -> usize;
}

impl FloorCharBoundary for str {
    fn floor_char_boundary_at(&self, most: usize) -> usize {
        let most = most.min(self.len());
        (0..=most).rev().find(|&at| self.is_char_boundary(at)).unwrap_or(0)
    }
}

pub(super) fn status_of(kind: ErrorKind) -> vaekl_status {
    match kind {
        ErrorKind::InvalidArgument => VAEKL_ERR_INVALID_ARGUMENT,
        ErrorKind::Io => VAEKL_ERR_IO,
        ErrorKind::Format => VAEKL_ERR_FORMAT,
        ErrorKind::Model => VAEKL_ERR_MODEL,
        ErrorKind::Unsupported => VAEKL_ERR_UNSUPPORTED,
        ErrorKind::OutOfMemory => VAEKL_ERR_OUT_OF_MEMORY,
        ErrorKind::Budget => VAEKL_ERR_BUDGET,
        ErrorKind::Cancelled => VAEKL_ERR_CANCELLED,
        ErrorKind::Device => VAEKL_ERR_DEVICE,
        ErrorKind::State => VAEKL_ERR_STATE,
        ErrorKind::NonFinite => VAEKL_ERR_NON_FINITE,
        ErrorKind::Internal => VAEKL_ERR_INTERNAL,
    }
}

/// The name of a status.
fn name_of(status: vaekl_status) -> &'static CStr {
    match status {
        VAEKL_OK => c"VAEKL_OK",
        VAEKL_END => c"VAEKL_END",
        VAEKL_ERR_INVALID_ARGUMENT => c"VAEKL_ERR_INVALID_ARGUMENT",
        VAEKL_ERR_IO => c"VAEKL_ERR_IO",
        VAEKL_ERR_FORMAT => c"VAEKL_ERR_FORMAT",
        VAEKL_ERR_MODEL => c"VAEKL_ERR_MODEL",
        VAEKL_ERR_UNSUPPORTED => c"VAEKL_ERR_UNSUPPORTED",
        VAEKL_ERR_OUT_OF_MEMORY => c"VAEKL_ERR_OUT_OF_MEMORY",
        VAEKL_ERR_BUDGET => c"VAEKL_ERR_BUDGET",
        VAEKL_ERR_CANCELLED => c"VAEKL_ERR_CANCELLED",
        VAEKL_ERR_DEVICE => c"VAEKL_ERR_DEVICE",
        VAEKL_ERR_STATE => c"VAEKL_ERR_STATE",
        VAEKL_ERR_INTERNAL => c"VAEKL_ERR_INTERNAL",
        VAEKL_ERR_NON_FINITE => c"VAEKL_ERR_NON_FINITE",
        _ => c"unknown vaekl_status",
    }
}

/// Version of the loaded library: MAJOR<<16 | MINOR<<8 | PATCH.
#[unsafe(no_mangle)]
pub extern "C" fn vaekl_version() -> u32 {
    const VERSION: u32 = number(env!("CARGO_PKG_VERSION_MAJOR")) << 16
        | number(env!("CARGO_PKG_VERSION_MINOR")) << 8
        | number(env!("CARGO_PKG_VERSION_PATCH"));
    VERSION
}

const fn number(digits: &str) -> u32 {
    match u32::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("a version is made of numbers"),
    }
}

/// Version of the loaded library as text, such as "0.1.0". Static.
#[unsafe(no_mangle)]
pub extern "C" fn vaekl_version_string() -> *const c_char {
    concat!(env!("CARGO_PKG_VERSION"), "\0").as_ptr().cast()
}

/// Name of a status, such as "VAEKL_ERR_IO". Static; never NULL, even for an unknown value.
#[unsafe(no_mangle)]
pub extern "C" fn vaekl_status_name(status: vaekl_status) -> *const c_char {
    name_of(status).as_ptr()
}

/// Instruction set of new sessions: "avx512", "avx2" or "portable". The environment variable
/// VAEKL_CPU can lower it; "invalid" if VAEKL_CPU names no level of this architecture. Static.
#[unsafe(no_mangle)]
pub extern "C" fn vaekl_cpu_level() -> *const c_char {
    let name = match Level::detect() {
        Ok(level) => level.c_name(),
        Err(_) => c"invalid",
    };
    name.as_ptr()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(error: &vaekl_error) -> &str {
        // SAFETY: the array ends in a NUL, by `vaekl_error::new`.
        unsafe { CStr::from_ptr(error.message.as_ptr()) }.to_str().unwrap()
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = "\u{20ac}".repeat(200);
        let error = vaekl_error::new(&Error::model(long.clone()));
        assert_eq!((error.status, error.os_error), (VAEKL_ERR_MODEL, 0));
        // 503 bytes hold 167 characters of three bytes and two more; shifted by two they hold as
        // many exactly.
        assert_eq!(text(&error), &long[..501]);
        let error = vaekl_error::new(&Error::model(format!("xx{long}")));
        assert_eq!(text(&error).len(), 503);
    }

    #[test]
    fn an_error_has_the_systems_number() {
        use std::io;
        let error = Error::io("a.json", io::Error::from_raw_os_error(13)).within("model");
        let error = vaekl_error::new(&error);
        assert_eq!((error.status, error.os_error), (VAEKL_ERR_IO, 13));
        assert!(text(&error).starts_with("model: a.json: "), "{}", text(&error));
        let error = vaekl_error::new(&Error::io("weights", io::ErrorKind::NotFound.into()));
        assert_eq!((error.status, error.os_error), (VAEKL_ERR_IO, 2));
    }

    #[test]
    fn a_nul_does_not_end_a_message() {
        assert_eq!(
            text(&vaekl_error::new(&Error::model("tensor \"a\0b\""))),
            "tensor \"a\\u{0}b\""
        );
    }

    #[test]
    fn names_belong_to_values() {
        for status in VAEKL_ERR_NON_FINITE..=VAEKL_END {
            assert!(name_of(status).to_str().unwrap().starts_with("VAEKL_"), "{status}");
        }
        assert_eq!(name_of(i32::MIN), c"unknown vaekl_status");
    }
}
