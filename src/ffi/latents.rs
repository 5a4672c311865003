//! A caller's latents, checked.

use ndarray::{Array4, ArrayView4};

use super::args;
use super::element::Element;
use super::types::{VAEKL_LATENT_RAW, VAEKL_LATENT_SCALED, vaekl_latent};
use crate::base::error::{Error, ErrorKind, Result};
use crate::model::Config;

/// A [`vaekl_latent`] whose every element lies within the address space, aligned.
#[derive(Debug)]
pub(super) struct Latents {
    data: *mut u8,
    element: Element,
    pub(super) batch: usize,
    channels: usize,
    height: usize,
    width: usize,
    pub(super) scaled: bool,
    /// Side of the patches that the latents are folded into; 1 if they are not.
    patch: usize,
}

impl Latents {
    /// Checks the view passed as the argument `name`.
    pub(super) fn new(view: &vaekl_latent, name: &str) -> Result<Self> {
        let data = view.data.cast::<u8>();
        args::pointer(data, &format!("{name}.data"))?;
        let element = Element::of_latent(view.dtype, name)?;
        element.check_multiple(data.addr(), &format!("{name}.data"))?;
        let scaled = match view.scale {
            VAEKL_LATENT_RAW => false,
            VAEKL_LATENT_SCALED => true,
            other => {
                let name = format!("{name}.scale");
                return Err(args::unknown(&name, "VAEKL_LATENT_RAW or _SCALED", other));
            }
        };
        let shape = [view.batch, view.channels, view.height, view.width].map(|n| n as usize);
        let of_shape = |what| {
            let [batch, channels, height, width] = shape;
            Error::invalid(format!("{name}: {batch}x{channels}x{height}x{width} {what}"))
        };
        if shape.contains(&0) {
            return Err(of_shape("has no values"));
        }
        let bytes = shape.iter().try_fold(element.size(), |bytes, &n| bytes.checked_mul(n));
        args::span(data.addr(), bytes)
            .ok_or_else(|| of_shape("values do not fit the address space"))?;
        let [batch, channels, height, width] = shape;
        Ok(Self { data, element, batch, channels, height, width, scaled, patch: 1 })
    }

    /// Refuses a number of channels other than `channels`.
    pub(super) fn expect_channels(&self, channels: usize, name: &str) -> Result<()> {
        let found = self.channels;
        if found == channels {
            return Ok(());
        }
        Err(Error::invalid(format!("{name}.channels: {channels} expected, {found} found")))
    }

    /// These as a model's latents, which may be folded into patches if they are scaled and the
    /// model has such. Sides that patches do not fit are refused here, before any work.
    pub(super) fn of_model(self, config: &Config, name: &str) -> Result<Self> {
        let patch = config.patch_size();
        if patch > 1 && self.scaled && self.channels == config.latent_channels * patch * patch {
            return Ok(Self { patch, ..self });
        }
        self.expect_channels(config.latent_channels, name)?;
        let Self { height, width, .. } = self;
        if self.scaled && !(height.is_multiple_of(patch) && width.is_multiple_of(patch)) {
            return Err(Error::invalid(format!(
                "{name}: sides that are multiples of {patch} expected of scaled latents, \
                 {width}x{height} (width x height) found"
            )));
        }
        Ok(self)
    }

    /// Height and width of the latents, unfolded.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.height.saturating_mul(self.patch), self.width.saturating_mul(self.patch))
    }

    /// Refuses several latents.
    pub(super) fn expect_batch_of_one(&self, name: &str) -> Result<()> {
        match self.batch {
            1 => Ok(()),
            n => Err(Error::invalid(format!("{name}.batch: 1 expected here, {n} found"))),
        }
    }

    /// Refuses a size other than the result's.
    pub(super) fn expect_size(&self, width: usize, height: usize, name: &str) -> Result<()> {
        if self.size() == (height, width) {
            return Ok(());
        }
        let (found_height, found_width) = self.size();
        Err(Error::invalid(format!(
            "{name}: {width}x{height} (width x height) expected, {found_width}x{found_height} found"
        )))
    }

    /// Refuses NaN and infinity in the whole batch, so that they cannot make it fail half-way.
    ///
    /// # Safety
    /// The memory behind the view is valid for reads.
    pub(super) unsafe fn check_finite(&self, name: &str) -> Result<()> {
        for index in 0..self.batch * self.per_latent() {
            // SAFETY: within the view.
            let value = unsafe { self.element.load(self.at(index)) };
            if !value.is_finite() {
                let (rest, x) = (index / self.width, index % self.width);
                let (rest, y) = (rest / self.height, rest % self.height);
                let (b, c) = (rest / self.channels, rest % self.channels);
                return Err(Error::invalid(format!(
                    "{name}: {value} at batch {b}, channel {c}, row {y}, column {x}"
                )));
            }
        }
        Ok(())
    }

    /// Supplies the rows of latent `b` of the batch, raw and interleaved, from the caller's memory:
    /// a copy of them all would be memory that no plan counts.
    ///
    /// # Safety
    /// The memory behind the view is valid for reads as long as the result is used.
    pub(super) unsafe fn rows(
        &self,
        b: usize,
        config: &Config,
    ) -> Result<impl FnMut(usize, &mut [f32]) -> Result<()>> {
        assert!(b < self.batch);
        let unscaled = if self.scaled { Some(config.unscaling()?) } else { None };
        let (patch, channels) = (self.patch, self.channels / (self.patch * self.patch));
        Ok(move |y: usize, row: &mut [f32]| {
            assert!(y < self.size().0 && row.len() == self.size().1 * channels);
            for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
                for (c, value) in pixel.iter_mut().enumerate() {
                    let folded = (c * patch + y % patch) * patch + x % patch;
                    let plane = b * self.channels + folded;
                    let index = (plane * self.height + y / patch) * self.width + x / patch;
                    // SAFETY: within the view, by the asserts.
                    let found = unsafe { self.element.load(self.at(index)) };
                    *value = unscaled.as_ref().map_or(found, |of| of(found, [c, y, x]));
                }
            }
            Ok(())
        })
    }

    /// Latent `b` of the batch, raw, `[1, channels, height, width]`.
    ///
    /// # Safety
    /// The memory behind the view is valid for reads.
    pub(super) unsafe fn read(&self, b: usize, config: &Config) -> Result<Array4<f32>> {
        assert!(b < self.batch);
        let len = self.per_latent();
        let mut values = Vec::new();
        values.try_reserve_exact(len).map_err(|_| {
            Error::new(ErrorKind::OutOfMemory, format!("latents: {len} values do not fit memory"))
        })?;
        // SAFETY: within the view, by the assert.
        values.extend((b * len..(b + 1) * len).map(|i| unsafe { self.element.load(self.at(i)) }));
        let shape = (1, self.channels, self.height, self.width);
        let mut latent = Array4::from_shape_vec(shape, values)
            .map_err(|error| Error::internal(format!("a latent of the batch: {error}")))?;
        if self.patch > 1 {
            latent = config.unpatchify_latents(latent.view())?;
        }
        if self.scaled {
            config.unscale_latents(latent.view_mut())?;
        }
        Ok(latent)
    }

    /// Writes the whole batch of raw latents.
    ///
    /// # Safety
    /// The memory behind the view is valid for writes.
    pub(super) unsafe fn write(&self, mut values: Array4<f32>, config: &Config) -> Result<()> {
        if self.scaled {
            config.scale_latents(values.view_mut())?;
        }
        if self.patch > 1 {
            values = config.patchify_latents(values.view())?;
        }
        // SAFETY: by the caller's contract.
        unsafe { self.write_values(values.view()) };
        Ok(())
    }

    /// # Safety
    /// The memory behind the view is valid for writes.
    unsafe fn write_values(&self, values: ArrayView4<'_, f32>) {
        assert_eq!(values.dim(), (self.batch, self.channels, self.height, self.width));
        for (index, &value) in values.iter().enumerate() {
            // SAFETY: within the view, by the assert; `iter` goes in the order of NCHW.
            unsafe { self.element.store(self.at(index), value) }
        }
    }

    fn per_latent(&self) -> usize {
        self.channels * self.height * self.width
    }

    /// # Safety
    /// `index` is less than the number of values.
    unsafe fn at(&self, index: usize) -> *mut u8 {
        // SAFETY: within the bytes that `new` checked to lie in the address space.
        unsafe { self.data.add(index * self.element.size()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{VAEKL_DTYPE_F16, VAEKL_DTYPE_F32, VAEKL_DTYPE_U8};
    use super::*;

    fn view(memory: &mut [f32]) -> vaekl_latent {
        vaekl_latent {
            data: memory.as_mut_ptr().cast(),
            batch: 2,
            channels: 4,
            height: 3,
            width: 5,
            dtype: VAEKL_DTYPE_F32,
            scale: VAEKL_LATENT_RAW,
        }
    }

    fn message(view: &vaekl_latent) -> String {
        Latents::new(view, "latent").unwrap_err().message().to_owned()
    }

    #[test]
    fn values_survive_the_way_there_and_back() {
        let mut memory = [0.0; 120];
        let latents = Latents::new(&view(&mut memory), "latent").unwrap();
        let values = Array4::from_shape_fn((2, 4, 3, 5), |(b, c, y, x)| {
            (b * 1000 + c * 100 + y * 10 + x) as f32
        });
        // SAFETY: 120 values are what the view has.
        unsafe { latents.write_values(values.view()) };
        // SAFETY: as above.
        let second = unsafe { latents.read(1, &Config::default()) }.unwrap();
        assert_eq!(second, values.slice(ndarray::s![1..2, .., .., ..]));
        // And row by row, scaled or not.
        let config = Config::default();
        for scaled in [false, true] {
            let latents = Latents { scaled, ..Latents::new(&view(&mut memory), "latent").unwrap() };
            // SAFETY: as above.
            let whole = unsafe { latents.read(1, &config) }.unwrap();
            // SAFETY: as above.
            let mut rows = unsafe { latents.rows(1, &config) }.unwrap();
            let mut row = [0.0; 20];
            for y in 0..3 {
                rows(y, &mut row).unwrap();
                for (at, &value) in row.iter().enumerate() {
                    assert_eq!(value, whole[(0, at % 4, y, at / 4)], "{y}, {at}");
                }
            }
        }
    }

    #[test]
    fn a_bad_view_is_named() {
        let mut memory = [0.0; 120];
        let good = view(&mut memory);
        assert_eq!(
            message(&vaekl_latent { data: std::ptr::null_mut(), ..good }),
            "latent.data: NULL"
        );
        assert!(
            message(&vaekl_latent { dtype: VAEKL_DTYPE_U8, ..good }).starts_with("latent.dtype")
        );
        assert!(message(&vaekl_latent { scale: 2, ..good }).ends_with("2 found"));
        assert_eq!(message(&vaekl_latent { batch: 0, ..good }), "latent: 0x4x3x5 has no values");
        let huge = vaekl_latent { width: u32::MAX, height: u32::MAX, ..good };
        assert!(message(&huge).contains("address space"));
        let odd = good.data.cast::<u8>().wrapping_add(1).cast();
        let odd = vaekl_latent { data: odd, dtype: VAEKL_DTYPE_F16, ..good };
        assert!(message(&odd).starts_with("latent.data: a multiple of 2"));
    }

    #[test]
    fn a_value_that_is_not_finite_is_found() {
        let mut memory = [0.0; 120];
        memory[60 + 15 * 2 + 5 + 3] = f32::NEG_INFINITY;
        let latents = Latents::new(&view(&mut memory), "latent").unwrap();
        // SAFETY: 120 values are what the view has.
        let error = unsafe { latents.check_finite("latent") }.unwrap_err();
        assert_eq!(error.message(), "latent: -inf at batch 1, channel 2, row 1, column 3");
    }
}
