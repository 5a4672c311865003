use std::ffi::c_void;
use std::ptr;

use ndarray::Axis;

use super::args;
use super::decode::input;
use super::element::Element;
use super::guard::{free, guard, guard_out};
use super::pixels::ImageView;
use super::status::{VAEKL_END, VAEKL_OK, vaekl_error, vaekl_status};
use super::turn::{is_torn, leave, occupy, vaekl_session, with_occupied};
use super::types::{VAEKL_LAYOUT_HWC, vaekl_dtype, vaekl_image, vaekl_latent};
use crate::base::error::{Error, Result};
use crate::run::Session;
use crate::run::stream::Decoding;

/// The rows of a decode, read by the caller instead of passed to a callback.
pub struct vaekl_stream {
    session: *const vaekl_session,
    dtype: vaekl_dtype,
    decoding: Decoding,
}

/// Starts decoding one latent. The session is in use until the stream is freed. Without tiles all
/// rows are decoded here; in tiles they are as they are read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_stream_open(
    session: *mut vaekl_session,
    latent: *const vaekl_latent,
    dtype: vaekl_dtype,
    out: *mut *mut vaekl_stream,
    error: *mut vaekl_error,
) -> vaekl_status {
    // SAFETY: all pointers by the contract of the header.
    let decode = |session: &mut Session| unsafe {
        Element::of_image(dtype, "rows")?;
        let config = session.model().config();
        let latents = input(latent, config)?;
        latents.expect_batch_of_one("latent")?;
        let latent = latents.read(0, config)?;
        session.begin_decode(latent.index_axis(Axis(0), 0))
    };
    let body = || {
        // SAFETY: as above; the stream leaves the session when it is freed.
        let decoding = unsafe { occupy(session, decode) }?;
        Ok(Box::into_raw(Box::new(vaekl_stream { session, dtype, decoding })))
    };
    // SAFETY: `out` and `error` by the contract of the header.
    unsafe { guard_out(error, out, body) }
}

/// Writes up to `max_rows` HWC rows to `dst`, `row_stride` bytes apart (0 = packed), and their
/// number to `rows_out`. After the last row it writes 0 and returns VAEKL_END. If decoding fails
/// after some rows of a read, the read returns these rows and VAEKL_OK, and the next one the error:
/// no row is lost. Once a read has returned an error of the decoding, all later reads return the
/// same status and message. After an error of an argument the stream goes on where it was. A read
/// that fails writes nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_stream_read(
    stream: *mut vaekl_stream,
    dst: *mut c_void,
    row_stride: usize,
    max_rows: u32,
    rows_out: *mut u32,
    error: *mut vaekl_error,
) -> vaekl_status {
    let mut status = VAEKL_OK;
    let body = || {
        args::pointer(stream, "stream")?;
        args::pointer(dst.cast::<u8>(), "dst")?;
        args::pointer(rows_out, "rows_out")?;
        // SAFETY: not NULL, and a stream that nobody else uses, by the contract of the header.
        let vaekl_stream { session, dtype, decoding } = unsafe { &mut *stream };
        // SAFETY: the stream holds its session.
        let read = unsafe {
            with_occupied(*session, |session| {
                read(session, decoding, (dst, row_stride), max_rows, *dtype)
            })
        }?;
        status = if read == 0 { VAEKL_END } else { VAEKL_OK };
        // SAFETY: not NULL and aligned, and valid by the contract of the header.
        unsafe { rows_out.write(read) };
        Ok(())
    };
    // SAFETY: `error` by the contract of the header.
    match unsafe { guard(error, body) } {
        VAEKL_OK => status,
        failed => failed,
    }
}

/// Writes rows to `dst` and returns their number.
///
/// # Safety
/// `dst` is valid for writes of `max_rows` rows.
unsafe fn read(
    session: &mut Session,
    decoding: &mut Decoding,
    (dst, row_stride): (*mut c_void, usize),
    max_rows: u32,
    dtype: vaekl_dtype,
) -> Result<u32> {
    if max_rows == 0 {
        return Err(Error::invalid("max_rows: 1 or more expected, 0 found"));
    }
    let shape = decoding.shape();
    let view = vaekl_image {
        data: dst,
        width: shape.width as u32,
        height: max_rows.min(shape.height as u32),
        dtype,
        layout: VAEKL_LAYOUT_HWC,
        row_stride,
        plane_stride: 0,
    };
    let pixels = ImageView::new(&view, shape.channels, "dst")?;
    let mut count = 0;
    while count < view.height {
        let row = match session.next_row(decoding) {
            Ok(Some(row)) => row,
            Ok(None) => break,
            // The rows before are the caller's; the decoding returns its error again.
            Err(_) if count > 0 => break,
            Err(error) => return Err(error),
        };
        // SAFETY: `dst` has so many rows, by the caller's contract.
        unsafe { pixels.write_row(count as usize, row) };
        count += 1;
    }
    Ok(count)
}

/// Frees a stream, at its end or before; its session can then take another call. In a forked child
/// it waits for nothing; a stream that was being read at the fork is leaked there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_stream_free(stream: *mut vaekl_stream) {
    // SAFETY: NULL or from vaekl_stream_open, and not used after, by the contract of the header.
    unsafe {
        if args::pointer(stream, "stream").is_ok() {
            let session = ptr::addr_of!((*stream).session).read();
            if is_torn(session) {
                return;
            }
            free(stream);
            leave(session);
        }
    }
}
