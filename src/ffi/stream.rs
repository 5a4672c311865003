use std::ffi::c_void;

use super::args;
use super::guard::{free, guard, guard_out};
use super::session::vaekl_session;
use super::status::{vaekl_error, vaekl_status};
use super::types::{vaekl_dtype, vaekl_latent};
use crate::base::error::{Error, ErrorKind, Result};

/// The rows of a decode, pulled: no callback crosses the boundary. VAEKL_ERR_UNSUPPORTED in this
/// version; vaekl_decode_rows gives the same rows.
pub struct vaekl_stream {
    _none: (),
}

fn unsupported<T>() -> Result<T> {
    Err(Error::new(ErrorKind::Unsupported, "streams are not in this build: use vaekl_decode_rows"))
}

/// Opens the rows of one latent. The session is in use until the stream is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_stream_open(
    session: *mut vaekl_session,
    latent: *const vaekl_latent,
    dtype: vaekl_dtype,
    out: *mut *mut vaekl_stream,
    error: *mut vaekl_error,
) -> vaekl_status {
    let body = || {
        let _ = dtype;
        args::pointer(session, "session")?;
        args::pointer(latent, "latent")?;
        unsupported()
    };
    // SAFETY: `out` and `error` by the contract of the header.
    unsafe { guard_out(error, out, body) }
}

/// Writes up to `max_rows` HWC rows to `dst` and their number to `rows_out`; returns VAEKL_END, with 0
/// rows, after the last.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_stream_read(
    stream: *mut vaekl_stream,
    dst: *mut c_void,
    row_stride: usize,
    max_rows: u32,
    rows_out: *mut u32,
    error: *mut vaekl_error,
) -> vaekl_status {
    let body = || {
        let _ = (row_stride, max_rows);
        args::pointer(stream, "stream")?;
        args::pointer(dst.cast::<u8>(), "dst")?;
        args::pointer(rows_out, "rows_out")?;
        unsupported()
    };
    // SAFETY: `error` by the contract of the header.
    unsafe { guard(error, body) }
}

/// Ends a stream, read to the end or not.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_stream_free(stream: *mut vaekl_stream) {
    // SAFETY: NULL or from vaekl_stream_open, and not used after, by the contract of the header.
    unsafe { free(stream) }
}
