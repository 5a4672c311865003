use std::ffi::c_void;
use std::ops::ControlFlow;

use ndarray::Axis;

use super::args;
use super::element::Element;
use super::guard::guard;
use super::latents::Latents;
use super::pixels::ImageView;
use super::status::{vaekl_error, vaekl_status};
use super::turn::{enter, vaekl_session};
use super::types::{vaekl_dtype, vaekl_image, vaekl_latent};
use crate::base::alloc;
use crate::base::buffer::AlignedBuf;
use crate::base::error::{Error, Result};
use crate::model::Config;
use crate::run::Session;

/// Decodes a batch. `out` points to one image per latent, each `downscale` times the latent's width
/// and height. If a latent fails or is cancelled, the images before it are complete and those after
/// it untouched. Its own is untouched if the error comes before the work (arguments, state, memory,
/// budget), and without tiles after any error but one: VAEKL_ERR_IO, if the result does not fit the
/// budget and the scratch file cannot be read back. In tiles rows are written as they are made: an
/// error in the work leaves an unspecified number of them in its image.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_decode(
    session: *mut vaekl_session,
    latent: *const vaekl_latent,
    out: *const vaekl_image,
    error: *mut vaekl_error,
) -> vaekl_status {
    // SAFETY: all pointers by the contract of the header.
    let body = |session: &mut Session| unsafe {
        let latents = input(latent, session.model().config())?;
        let pictures = pictures(out, &latents, session.model().config())?;
        latents.check_finite("latent")?;
        for (b, picture) in pictures.iter().enumerate() {
            let model = session.model().clone();
            let mut rows = latents.rows(b, model.config())?;
            let mut on_row = |y: usize, row: &[f32]| picture.write_row(y, row);
            session.decode_to(latents.size(), &mut rows, &mut on_row)?;
        }
        Ok(())
    };
    // SAFETY: as above.
    unsafe { guard(error, || enter(session, body)) }
}

/// Decodes one latent like vaekl_decode, and keeps `picture` where `mask` is 0. Both have the size
/// of the result. A mask has one channel: 1 where the model draws, 0 where it keeps, or any value
/// between; of a mask in U8, 255 is 1. `out` may be `picture`. Only for a model whose
/// vaekl_model_info has `masks`, without tiles. Takes more memory than vaekl_plan_decode tells, and
/// keeps within memory_budget too.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_decode_masked(
    session: *mut vaekl_session,
    latent: *const vaekl_latent,
    picture: *const vaekl_image,
    mask: *const vaekl_image,
    out: *const vaekl_image,
    error: *mut vaekl_error,
) -> vaekl_status {
    // SAFETY: all pointers by the contract of the header.
    let body = |session: &mut Session| unsafe {
        // What the model cannot do is told before what is wrong with the rest.
        session.model().masked_decoder()?;
        let config = session.model().config().clone();
        let latents = input(latent, &config)?;
        latents.expect_batch_of_one("latent")?;
        let (width, height) = picture_size(&latents, &config)?;
        let given = |image: *const vaekl_image, channels, name| {
            let view = ImageView::new(&args::copy(image, name)?, channels, name)?;
            view.expect(width, height, name)?;
            Ok::<_, Error>(view)
        };
        let picture = given(picture, config.out_channels, "picture")?;
        let mask = given(mask, 1, "mask")?;
        let out = given(out, config.out_channels, "out")?;
        latents.check_finite("latent")?;
        let latent = latents.read(0, &config)?;
        // The latent, twice if it is folded, and picture, mask and result in f32.
        let of_latent = latent.len().saturating_mul(2 * size_of::<f32>());
        let bytes = width
            .saturating_mul(height)
            .saturating_mul(size_of::<f32>() * (2 * config.out_channels + 1))
            .saturating_add(of_latent);
        session.set_memory_reserved(bytes as u64);
        // Before anything of this size is allocated.
        let made = session.check_masked(latent.dim()).and_then(|()| {
            let (picture, mask) = (picture.planes("picture")?, mask.fractions("mask")?);
            session.decode_masked(latent.view(), picture.view(), mask.view())
        });
        session.set_memory_reserved(0);
        let made = made?;
        let picture = made.sample.index_axis(Axis(0), 0);
        let mut row = alloc::filled(0.0, width * config.out_channels, "a row")?;
        for y in 0..height {
            for (x, pixel) in row.chunks_exact_mut(config.out_channels).enumerate() {
                for (c, value) in pixel.iter_mut().enumerate() {
                    *value = picture[(c, y, x)];
                }
            }
            out.write_row(y, &row);
        }
        Ok(())
    };
    // SAFETY: as above.
    unsafe { guard(error, || enter(session, body)) }
}

/// Receives `count` rows of HWC pixels from row `y` on, `row_stride` bytes apart; top to bottom,
/// each row once. `rows` is valid during the call only. Return 0 to go on, non-zero to cancel.
pub type vaekl_rows_fn = Option<
    unsafe extern "C" fn(
        user: *mut c_void,
        y: u32,
        count: u32,
        rows: *const c_void,
        row_stride: usize,
    ) -> i32,
>;

/// Decodes one latent and passes the picture to `on_rows`, as `dtype`, on the calling thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_decode_rows(
    session: *mut vaekl_session,
    latent: *const vaekl_latent,
    dtype: vaekl_dtype,
    on_rows: vaekl_rows_fn,
    user: *mut c_void,
    error: *mut vaekl_error,
) -> vaekl_status {
    // SAFETY: all pointers by the contract of the header.
    let body = |session: &mut Session| unsafe {
        let on_rows = on_rows.ok_or_else(|| Error::invalid("on_rows: NULL"))?;
        let latents = input(latent, session.model().config())?;
        latents.expect_batch_of_one("latent")?;
        let mut rows = RowBuffer::new(dtype, &latents, session.model().config())?;
        let model = session.model().clone();
        let mut of_latent = latents.rows(0, model.config())?;
        session.decode_rows_of(latents.size(), &mut of_latent, &mut |y, row| {
            let bytes = rows.fill(row);
            match on_rows(user, y as u32, 1, bytes.as_ptr().cast(), bytes.len()) {
                0 => ControlFlow::Continue(()),
                _ => ControlFlow::Break(()),
            }
        })?;
        Ok(())
    };
    // SAFETY: as above.
    unsafe { guard(error, || enter(session, body)) }
}

/// The latents to decode.
///
/// # Safety
/// `latent` is NULL or points to a view whose memory is valid for reads.
pub(super) unsafe fn input(latent: *const vaekl_latent, config: &Config) -> Result<Latents> {
    // SAFETY: by the caller's contract.
    let latents = Latents::new(&unsafe { args::copy(latent, "latent") }?, "latent")?;
    latents.of_model(config, "latent")
}

/// The output images of a batch of latents, checked.
///
/// # Safety
/// `out` is NULL or points to an image per latent.
unsafe fn pictures(
    out: *const vaekl_image,
    latents: &Latents,
    config: &Config,
) -> Result<Vec<ImageView>> {
    args::pointer(out, "out")?;
    let (width, height) = picture_size(latents, config)?;
    let one = |b: usize| {
        let name = if latents.batch == 1 { "out".to_owned() } else { format!("out[{b}]") };
        // SAFETY: there is an image for each latent of the batch.
        let view = unsafe { args::copy(out.add(b), &name) }?;
        let pixels = ImageView::new(&view, config.out_channels, &name)?;
        pixels.expect(width, height, &name)?;
        Ok(pixels)
    };
    alloc::try_collected((0..latents.batch).map(one), "images")
}

/// Width and height of the picture a latent decodes to.
fn picture_size(latents: &Latents, config: &Config) -> Result<(usize, usize)> {
    let scale = |n: usize| n.checked_mul(config.downscale()).filter(|&n| n <= u32::MAX as usize);
    let (height, width) = latents.size();
    scale(width).zip(scale(height)).ok_or_else(|| {
        Error::invalid(format!("latent: {width}x{height} (width x height) is too large"))
    })
}

/// One row of pixels in the callback's dtype.
struct RowBuffer {
    bytes: AlignedBuf,
    element: Element,
}

impl RowBuffer {
    fn new(dtype: vaekl_dtype, latents: &Latents, config: &Config) -> Result<Self> {
        let element = Element::of_image(dtype, "rows")?;
        let (width, _) = picture_size(latents, config)?;
        let bytes = AlignedBuf::zeroed(width * config.out_channels * element.size(), "a row")?;
        Ok(Self { bytes, element })
    }

    fn fill(&mut self, row: &[f32]) -> &[u8] {
        let size = self.element.size();
        for (to, &value) in self.bytes.chunks_exact_mut(size).zip(row) {
            // SAFETY: `to` is one element of the aligned buffer.
            unsafe { self.element.store(to.as_mut_ptr(), value) }
        }
        &self.bytes
    }
}
