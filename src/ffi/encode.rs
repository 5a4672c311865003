use ndarray::{Array4, ArrayView4};

use super::args;
use super::guard::guard;
use super::latents::Latents;
use super::pixels::ImageView;
use super::status::{vaekl_error, vaekl_status};
use super::turn::{enter, vaekl_session};
use super::types::{vaekl_image, vaekl_latent};
use crate::base::alloc;
use crate::base::error::{Error, Result};
use crate::latents::{DiagonalGaussian, Encoded, Generator};
use crate::model::Config;
use crate::run::Session;

/// Which value of the posterior to return.
pub type vaekl_posterior = u32;
/// The mean.
pub const VAEKL_POSTERIOR_MODE: vaekl_posterior = 0;
/// A sample: mean + std * N(0,1), drawn from `seed` for the whole batch as torch.randn does on a
/// CPU.
pub const VAEKL_POSTERIOR_SAMPLE: vaekl_posterior = 1;
/// Mean and log-variance: 2 * latent_channels channels, VAEKL_LATENT_RAW only.
pub const VAEKL_POSTERIOR_MOMENTS: vaekl_posterior = 2;

/// Encodes a batch. `image` points to one image per latent of `out`. A latent has the image's width
/// and height divided by `downscale`; each halving drops an odd last row or column, or keeps it if
/// the model has no posterior (vaekl_model_info: posterior). Such a model gives its latents for
/// VAEKL_POSTERIOR_MODE and _SAMPLE. Only VAEKL_POSTERIOR_SAMPLE reads `seed`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn vaekl_encode(
    session: *mut vaekl_session,
    image: *const vaekl_image,
    posterior: vaekl_posterior,
    seed: u64,
    out: *const vaekl_latent,
    error: *mut vaekl_error,
) -> vaekl_status {
    // SAFETY: all pointers by the contract of the header.
    let body = |session: &mut Session| unsafe {
        let latents = Latents::new(&args::copy(out, "out")?, "out")?;
        let wanted = Wanted::new(posterior, seed)?;
        let config = session.model().config().clone();
        let latents = wanted.check(latents, &config)?;
        let pictures = pictures(image, &latents, &config)?;
        let encoded = encode(session, &pictures)?;
        wanted.write(encoded, &latents, &config)
    };
    // SAFETY: as above.
    unsafe { guard(error, || enter(session, body)) }
}

/// The value of the posterior that the caller wants.
enum Wanted {
    Mode,
    Sample { seed: u64 },
    Moments,
}

impl Wanted {
    fn new(posterior: vaekl_posterior, seed: u64) -> Result<Self> {
        match posterior {
            VAEKL_POSTERIOR_MODE => Ok(Self::Mode),
            VAEKL_POSTERIOR_SAMPLE => Ok(Self::Sample { seed }),
            VAEKL_POSTERIOR_MOMENTS => Ok(Self::Moments),
            other => Err(args::unknown("posterior", "a VAEKL_POSTERIOR constant", other)),
        }
    }

    /// `out` as the latents, or the moments, of a model.
    fn check(&self, out: Latents, config: &Config) -> Result<Latents> {
        if !matches!(self, Self::Moments) {
            return out.of_model(config, "out");
        }
        if config.family.tiny().is_some() {
            return Err(Error::invalid(format!(
                "posterior: VAEKL_POSTERIOR_MODE expected of an {}, which has no posterior",
                config.family.name()
            )));
        }
        if out.scaled {
            return Err(Error::invalid("out.scale: VAEKL_LATENT_RAW expected for moments"));
        }
        out.expect_channels(2 * config.latent_channels, "out")?;
        Ok(out)
    }

    /// # Safety
    /// The memory behind `out` is valid for writes.
    unsafe fn write(&self, encoded: Encoded, out: &Latents, config: &Config) -> Result<()> {
        let values = match (self, encoded) {
            (Self::Sample { seed }, Encoded::Posterior(posterior)) => {
                posterior.try_sample(&mut Generator::new(*seed))?
            }
            (Self::Moments, Encoded::Posterior(posterior)) => copy(posterior.moments())?,
            (Self::Mode, Encoded::Posterior(posterior)) => copy(posterior.mode())?,
            (_, Encoded::Latents(latents)) => latents,
        };
        // SAFETY: by the caller's contract.
        unsafe { out.write(values, config) }
    }
}

/// The input images of a batch, checked.
///
/// # Safety
/// `image` is NULL or points to an image per latent.
unsafe fn pictures(
    image: *const vaekl_image,
    out: &Latents,
    config: &Config,
) -> Result<Vec<ImageView>> {
    args::pointer(image, "image")?;
    let one = |b: usize| {
        let name = if out.batch == 1 { "image".to_owned() } else { format!("image[{b}]") };
        // SAFETY: there is an image for each latent of the batch.
        let view = unsafe { args::copy(image.add(b), &name) }?;
        let pixels = ImageView::new(&view, config.in_channels, &name)?;
        let factor = config.downscale();
        let (width, height) =
            (config.encoded_length(pixels.width()), config.encoded_length(pixels.height()));
        if width == 0 || height == 0 {
            return Err(Error::invalid(format!(
                "{name}: at least {factor}x{factor} pixels expected, {}x{} found",
                pixels.width(),
                pixels.height()
            )));
        }
        out.expect_size(width, height, "out")?;
        Ok(pixels)
    };
    alloc::try_collected((0..out.batch).map(one), "images")
}

/// The posterior of the pictures, or their latents.
///
/// # Safety
/// The memory behind the pictures is valid for reads.
unsafe fn encode(session: &mut Session, pictures: &[ImageView]) -> Result<Encoded> {
    // The results one after the other, in one array.
    let (mut values, mut posterior, mut shape) = (Vec::new(), true, (0, 0, 0, 0));
    for picture in pictures {
        let mut fill = |y: usize, row: &mut [f32]| {
            // SAFETY: by the caller's contract.
            unsafe { picture.read_row(y, row) };
            Ok(())
        };
        let mut add = |one: ArrayView4<'_, f32>| {
            let (batch, channels, height, width) = one.dim();
            shape = (shape.0 + batch, channels, height, width);
            if values.is_empty() {
                let all = one.len().saturating_mul(pictures.len());
                values = alloc::with_capacity(all, "the results of a batch")?;
            }
            values.extend(one.iter());
            Ok::<_, Error>(())
        };
        match session.encode_rows(picture.height(), picture.width(), &mut fill)?.encoded {
            Encoded::Posterior(one) => add(one.moments())?,
            Encoded::Latents(one) => {
                posterior = false;
                add(one.view())?;
            }
        }
    }
    let all = Array4::from_shape_vec(shape, values)
        .map_err(|error| Error::internal(format!("the results of a batch: {error}")))?;
    if posterior {
        return Ok(Encoded::Posterior(DiagonalGaussian::new(all)?));
    }
    Ok(Encoded::Latents(all))
}

/// A copy of an array.
fn copy(values: ArrayView4<'_, f32>) -> Result<Array4<f32>> {
    alloc::array(values.dim(), "latents", |index| values[index])
}
