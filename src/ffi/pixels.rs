//! A caller's image, checked.

use ndarray::Array4;

use super::args;
use super::element::Element;
use super::types::{VAEKL_LAYOUT_CHW, VAEKL_LAYOUT_HWC, vaekl_image};
use crate::base::error::{Error, ErrorKind, Result};

/// A [`vaekl_image`] whose every element lies within the address space, aligned, and whose rows do
/// not overlap. Strides are in bytes.
#[derive(Debug)]
pub(super) struct ImageView {
    data: *mut u8,
    element: Element,
    width: usize,
    height: usize,
    channels: usize,
    row_stride: usize,
    pixel_stride: usize,
    channel_stride: usize,
}

impl ImageView {
    /// Checks the view passed as the argument `name`, an image with `channels` channels.
    pub(super) fn new(view: &vaekl_image, channels: usize, name: &str) -> Result<Self> {
        let data = view.data.cast::<u8>();
        args::pointer(data, &format!("{name}.data"))?;
        let element = Element::of_image(view.dtype, name)?;
        element.check_multiple(data.addr(), &format!("{name}.data"))?;
        let (width, height) = (view.width as usize, view.height as usize);
        if width == 0 || height == 0 {
            return Err(Error::invalid(format!(
                "{name}: {width}x{height} (width x height) has no pixels"
            )));
        }
        let strides = Strides::new(view, element, channels, name)?;
        args::span(data.addr(), Some(strides.span)).ok_or_else(|| too_large(name))?;
        let Strides { row: row_stride, pixel: pixel_stride, channel: channel_stride, .. } = strides;
        Ok(Self {
            data,
            element,
            width,
            height,
            channels,
            row_stride,
            pixel_stride,
            channel_stride,
        })
    }

    pub(super) fn width(&self) -> usize {
        self.width
    }

    pub(super) fn height(&self) -> usize {
        self.height
    }

    /// Refuses a size other than the result's.
    pub(super) fn expect(&self, width: usize, height: usize, name: &str) -> Result<()> {
        if (self.width, self.height) == (width, height) {
            return Ok(());
        }
        let (found_width, found_height) = (self.width, self.height);
        Err(Error::invalid(format!(
            "{name}: {width}x{height} (width x height) expected, {found_width}x{found_height} found"
        )))
    }

    /// Reads row `y`, interleaved.
    ///
    /// # Safety
    /// The memory behind the view is valid for reads.
    pub(super) unsafe fn read_row(&self, y: usize, row: &mut [f32]) {
        assert!(y < self.height && row.len() == self.width * self.channels);
        for (x, pixel) in row.chunks_exact_mut(self.channels).enumerate() {
            for (c, value) in pixel.iter_mut().enumerate() {
                // SAFETY: x, y and c are within the view, by the assert.
                *value = unsafe { self.element.load(self.at(x, y, c)) };
            }
        }
    }

    /// All values, `[1, channels, height, width]`; one that is not finite is an error.
    ///
    /// # Safety
    /// The memory behind the view is valid for reads.
    pub(super) unsafe fn planes(&self, name: &str) -> Result<Array4<f32>> {
        // SAFETY: by the caller's contract.
        unsafe { self.collect(name, |element, at| element.load(at)) }
    }

    /// All values of a mask, `[1, channels, height, width]`: bytes as parts of 255. One that is not
    /// finite is an error.
    ///
    /// # Safety
    /// The memory behind the view is valid for reads.
    pub(super) unsafe fn fractions(&self, name: &str) -> Result<Array4<f32>> {
        // SAFETY: by the caller's contract.
        unsafe { self.collect(name, |element, at| element.load_fraction(at)) }
    }

    /// # Safety
    /// The memory behind the view is valid for reads by `load`.
    unsafe fn collect(
        &self,
        name: &str,
        load: impl Fn(Element, *const u8) -> f32,
    ) -> Result<Array4<f32>> {
        let (height, width, channels) = (self.height, self.width, self.channels);
        let len = width * height * channels;
        let mut values = Vec::new();
        values.try_reserve_exact(len).map_err(|_| {
            Error::new(ErrorKind::OutOfMemory, format!("{name}: {len} values do not fit memory"))
        })?;
        for c in 0..channels {
            for y in 0..height {
                for x in 0..width {
                    // SAFETY: x, y and c are within the view.
                    let value = load(self.element, unsafe { self.at(x, y, c) });
                    if !value.is_finite() {
                        return Err(Error::invalid(format!(
                            "{name}: {value} at channel {c}, row {y}, column {x}"
                        )));
                    }
                    values.push(value);
                }
            }
        }
        Array4::from_shape_vec((1, channels, height, width), values)
            .map_err(|error| Error::internal(format!("the planes of an image: {error}")))
    }

    /// Writes row `y` from interleaved values.
    ///
    /// # Safety
    /// The memory behind the view is valid for writes.
    pub(super) unsafe fn write_row(&self, y: usize, row: &[f32]) {
        assert!(y < self.height && row.len() == self.width * self.channels);
        for (x, pixel) in row.chunks_exact(self.channels).enumerate() {
            for (c, &value) in pixel.iter().enumerate() {
                // SAFETY: x, y and c are within the view, by the assert.
                unsafe { self.element.store(self.at(x, y, c), value) }
            }
        }
    }

    /// # Safety
    /// `x`, `y` and `c` are within the view.
    unsafe fn at(&self, x: usize, y: usize, c: usize) -> *mut u8 {
        let offset = y * self.row_stride + x * self.pixel_stride + c * self.channel_stride;
        // SAFETY: within the span that `new` checked to lie in the address space.
        unsafe { self.data.add(offset) }
    }
}

/// Strides in bytes, and the length from the first byte to the end of the last element.
struct Strides {
    row: usize,
    pixel: usize,
    channel: usize,
    span: usize,
}

impl Strides {
    fn new(view: &vaekl_image, element: Element, channels: usize, name: &str) -> Result<Self> {
        let (width, height, size) = (view.width as usize, view.height as usize, element.size());
        let planar = match view.layout {
            VAEKL_LAYOUT_HWC => false,
            VAEKL_LAYOUT_CHW => true,
            other => {
                let name = format!("{name}.layout");
                return Err(args::unknown(&name, "VAEKL_LAYOUT_HWC or _CHW", other));
            }
        };
        let pixel = if planar { size } else { channels * size };
        let row_bytes = mul(width, pixel, name)?;
        let row =
            stride(view.row_stride, row_bytes, row_bytes, element, &format!("{name}.row_stride"))?;
        let plane_bytes = add(mul(height - 1, row, name)?, row_bytes, name)?;
        if !planar {
            return Ok(Self { row, pixel, channel: size, span: plane_bytes });
        }
        let name_of_plane = format!("{name}.plane_stride");
        let packed = mul(height, row, name)?;
        let channel = stride(view.plane_stride, packed, plane_bytes, element, &name_of_plane)?;
        let span = add(mul(channels - 1, channel, name)?, plane_bytes, name)?;
        Ok(Self { row, pixel, channel, span })
    }
}

/// A stride as given, or `packed` when it is 0; at least `least`.
fn stride(
    given: usize,
    packed: usize,
    least: usize,
    element: Element,
    name: &str,
) -> Result<usize> {
    if given == 0 {
        return Ok(packed);
    }
    if given < least {
        return Err(Error::invalid(format!(
            "{name}: at least {least} bytes expected, {given} found"
        )));
    }
    element.check_multiple(given, name)?;
    Ok(given)
}

fn mul(a: usize, b: usize, name: &str) -> Result<usize> {
    a.checked_mul(b).ok_or_else(|| too_large(name))
}

fn add(a: usize, b: usize, name: &str) -> Result<usize> {
    a.checked_add(b).ok_or_else(|| too_large(name))
}

fn too_large(name: &str) -> Error {
    Error::invalid(format!("{name}: its size does not fit the address space"))
}

#[cfg(test)]
mod tests {
    use super::super::types::{VAEKL_DTYPE_F32, VAEKL_DTYPE_U8};
    use super::*;

    fn view(
        memory: &mut [f32],
        layout: u32,
        row_stride: usize,
        plane_stride: usize,
    ) -> vaekl_image {
        vaekl_image {
            data: memory.as_mut_ptr().cast(),
            width: 2,
            height: 3,
            dtype: VAEKL_DTYPE_F32,
            layout,
            row_stride,
            plane_stride,
        }
    }

    fn message(view: &vaekl_image) -> String {
        ImageView::new(view, 3, "out").unwrap_err().message().to_owned()
    }

    #[test]
    fn layouts_and_strides_are_one_picture() {
        let row: Vec<f32> = (0..6_u8).map(f32::from).collect();
        for (layout, row_stride, plane_stride) in [
            (VAEKL_LAYOUT_HWC, 0, 0),
            (VAEKL_LAYOUT_HWC, 28, 7),
            (VAEKL_LAYOUT_CHW, 0, 0),
            (VAEKL_LAYOUT_CHW, 12, 44),
        ] {
            let mut memory = [f32::NAN; 64];
            let pixels =
                ImageView::new(&view(&mut memory, layout, row_stride, plane_stride), 3, "out")
                    .unwrap();
            let mut back = vec![0.0; 6];
            for y in 0..3 {
                // SAFETY: 64 values hold the largest of these views.
                unsafe {
                    pixels.write_row(y, &row);
                    pixels.read_row(y, &mut back);
                }
                assert_eq!(back, row);
            }
            assert_eq!(memory.iter().filter(|value| !value.is_nan()).count(), 18, "rows overlap");
        }
    }

    #[test]
    fn a_bad_view_is_named() {
        let mut memory = [0.0; 64];
        let good = view(&mut memory, VAEKL_LAYOUT_HWC, 0, 0);
        assert_eq!(message(&vaekl_image { data: std::ptr::null_mut(), ..good }), "out.data: NULL");
        assert!(message(&vaekl_image { width: 0, ..good }).contains("0x3"));
        assert!(
            message(&vaekl_image { dtype: 9, ..good }).starts_with("out.dtype: VAEKL_DTYPE_F32")
        );
        assert!(message(&vaekl_image { layout: 2, ..good }).ends_with("2 found"));
        assert_eq!(
            message(&vaekl_image { row_stride: 20, ..good }),
            "out.row_stride: at least 24 bytes expected, 20 found"
        );
        assert!(message(&vaekl_image { row_stride: 26, ..good }).contains("a multiple of 4 bytes"));
        let planar = vaekl_image { layout: VAEKL_LAYOUT_CHW, row_stride: 12, ..good };
        assert_eq!(
            message(&vaekl_image { plane_stride: 28, ..planar }),
            "out.plane_stride: at least 32 bytes expected, 28 found"
        );
        let odd = good.data.cast::<u8>().wrapping_add(1).cast();
        assert!(
            message(&vaekl_image { data: odd, ..good }).starts_with("out.data: a multiple of 4")
        );
        assert!(
            ImageView::new(&vaekl_image { data: odd, dtype: VAEKL_DTYPE_U8, ..good }, 3, "out")
                .is_ok()
        );
    }

    #[test]
    fn sizes_that_overflow_are_refused() {
        let mut memory = [0.0; 64];
        let good = view(&mut memory, VAEKL_LAYOUT_CHW, 0, 0);
        let huge = vaekl_image { width: u32::MAX, height: u32::MAX, ..good };
        assert!(message(&huge).contains("address space"));
        assert!(
            message(&vaekl_image { row_stride: usize::MAX - 3, ..good }).contains("address space")
        );
        assert!(
            message(&vaekl_image { plane_stride: usize::MAX - 3, ..good })
                .contains("address space")
        );
    }
}
