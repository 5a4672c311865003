//! Pictures in memory: their samples, and the conversion to the values of arrays and back.

use image::metadata::Orientation;
use image::{DynamicImage, ImageBuffer, Pixel, Primitive};
use ndarray::Array4;

use crate::memory::room;

/// Rows of samples, channels interleaved.
#[derive(Clone, Debug)]
pub(crate) struct Raster<T> {
    /// Width in pixels.
    pub(crate) width: usize,
    /// Height in pixels.
    pub(crate) height: usize,
    /// Samples per pixel.
    pub(crate) channels: usize,
    /// `height * width * channels` samples.
    pub(crate) data: Vec<T>,
}

/// A picture with 1 channel (grey) or 3 (RGB), in the depth of its file.
pub(crate) enum Picture {
    /// 8 bits or fewer a sample.
    Bits8(Raster<u8>),
    /// 16 bits a sample; unlike Pillow, which keeps the high byte, all of them count.
    Bits16(Raster<u16>),
}

impl Picture {
    /// A picture of `width` x `height` without rows yet, and room for them.
    pub(crate) fn empty(
        [width, height, channels]: [usize; 3],
        is_wide: bool,
    ) -> vaekl::Result<Self> {
        fn raster<T>(width: usize, height: usize, channels: usize) -> vaekl::Result<Raster<T>> {
            let count = width.saturating_mul(height).saturating_mul(channels);
            Ok(Raster { width, height, channels, data: room(count, "a picture")? })
        }
        Ok(match is_wide {
            true => Self::Bits16(raster(width, height, channels)?),
            false => Self::Bits8(raster(width, height, channels)?),
        })
    }

    /// Appends samples of pixels of `colors`: grey or RGB, with alpha or without, which is dropped;
    /// those of 16 bits in big-endian order.
    pub(crate) fn append(&mut self, samples: &[u8], colors: usize) {
        match self {
            Self::Bits8(raster) => {
                let samples = samples.iter().copied();
                append(samples, colors, raster.channels, luma8, &mut raster.data);
            }
            Self::Bits16(raster) => {
                let samples = samples.as_chunks().0.iter().map(|&pair| u16::from_be_bytes(pair));
                append(samples, colors, raster.channels, luma16, &mut raster.data);
            }
        }
    }

    /// A picture of samples of 8 bits, with so many colours, as grey (`channels` 1) or RGB (3).
    pub(crate) fn of_samples(
        samples: Vec<u8>,
        [width, height, colors]: [usize; 3],
        channels: usize,
    ) -> vaekl::Result<Self> {
        if colors == channels {
            return Ok(Self::Bits8(Raster { width, height, channels, data: samples }));
        }
        let mut picture = Self::empty([width, height, channels], false)?;
        picture.append(&samples, colors);
        Ok(picture)
    }

    /// The picture as `orientation` turns it.
    pub(crate) fn turned(self, orientation: Orientation) -> Self {
        fn turn<T: Primitive, P: Pixel<Subpixel = T>>(
            raster: Raster<T>,
            orientation: Orientation,
            image: fn(ImageBuffer<P, Vec<T>>) -> DynamicImage,
            data: fn(DynamicImage) -> Vec<T>,
        ) -> Raster<T> {
            let Raster { width, height, channels, data: samples } = raster;
            // Of at most 2^20 pixels a side, and as many samples as they need.
            let buffer = ImageBuffer::from_raw(width as u32, height as u32, samples);
            let mut image = image(buffer.expect("as many samples as pixels"));
            image.apply_orientation(orientation);
            let (width, height) = (image.width() as usize, image.height() as usize);
            Raster { width, height, channels, data: data(image) }
        }
        if orientation == Orientation::NoTransforms {
            return self;
        }
        match self {
            Self::Bits8(raster) if raster.channels == 1 => {
                Self::Bits8(turn(raster, orientation, DynamicImage::ImageLuma8, |image| {
                    image.into_luma8().into_raw()
                }))
            }
            Self::Bits8(raster) => {
                Self::Bits8(turn(raster, orientation, DynamicImage::ImageRgb8, |image| {
                    image.into_rgb8().into_raw()
                }))
            }
            Self::Bits16(raster) if raster.channels == 1 => {
                Self::Bits16(turn(raster, orientation, DynamicImage::ImageLuma16, |image| {
                    image.into_luma16().into_raw()
                }))
            }
            Self::Bits16(raster) => {
                Self::Bits16(turn(raster, orientation, DynamicImage::ImageRgb16, |image| {
                    image.into_rgb16().into_raw()
                }))
            }
        }
    }

    /// `[1, channels, height, width]` in [0, 1].
    pub(crate) fn to_unit_array(&self) -> vaekl::Result<Array4<f32>> {
        self.array(|unit| unit)
    }

    /// `[1, channels, height, width]` in [-1, 1]: `2 * x - 1` of [`Picture::to_unit_array`], as
    /// diffusers' image processor does.
    pub(crate) fn to_array(&self) -> vaekl::Result<Array4<f32>> {
        self.array(symmetric)
    }

    fn array(&self, value: impl Fn(f32) -> f32) -> vaekl::Result<Array4<f32>> {
        match self {
            Self::Bits8(raster) => array(raster, |sample| value(unit8(sample))),
            Self::Bits16(raster) => array(raster, |sample| value(unit16(sample))),
        }
    }

    /// The values in [-1, 1] in the order of the samples, as many as fit.
    pub(crate) fn write_values(&self, values: &mut [f32]) {
        match self {
            Self::Bits8(raster) => values
                .iter_mut()
                .zip(&raster.data)
                .for_each(|(value, &sample)| *value = symmetric(unit8(sample))),
            Self::Bits16(raster) => values
                .iter_mut()
                .zip(&raster.data)
                .for_each(|(value, &sample)| *value = symmetric(unit16(sample))),
        }
    }

    /// The number of samples.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Bits8(raster) => raster.data.len(),
            Self::Bits16(raster) => raster.data.len(),
        }
    }

    /// Removes all rows, to append others.
    pub(crate) fn clear(&mut self) {
        match self {
            Self::Bits8(raster) => raster.data.clear(),
            Self::Bits16(raster) => raster.data.clear(),
        }
    }
}

fn unit8(sample: u8) -> f32 {
    f32::from(sample) / 255.0
}

fn unit16(sample: u16) -> f32 {
    f32::from(sample) / 65535.0
}

fn symmetric(unit: f32) -> f32 {
    2.0 * unit - 1.0
}

/// Appends pixels of `colors` to `out`, as pixels of `channels`.
fn append<T: Copy>(
    mut samples: impl Iterator<Item = T>,
    colors: usize,
    channels: usize,
    luma: impl Fn([T; 3]) -> T,
    out: &mut Vec<T>,
) {
    while let Some(first) = samples.next() {
        let mut rgb = [first; 3];
        if colors >= 3 {
            let (Some(green), Some(blue)) = (samples.next(), samples.next()) else { return };
            rgb = [first, green, blue];
        }
        if colors.is_multiple_of(2) {
            let _alpha = samples.next();
        }
        match (channels, colors) {
            (1, 3..) => out.push(luma(rgb)),
            (1, _) => out.push(first),
            _ => out.extend(rgb),
        }
    }
}

/// `[1, channels, height, width]` of the samples of `raster`.
fn array<T: Copy>(raster: &Raster<T>, value: impl Fn(T) -> f32) -> vaekl::Result<Array4<f32>> {
    let &Raster { width, height, channels, ref data } = raster;
    let mut values = room(data.len(), "a picture as an array")?;
    for channel in 0..channels {
        values.extend(data.iter().skip(channel).step_by(channels).map(|&sample| value(sample)));
    }
    let shape = (1, channels, height, width);
    Ok(Array4::from_shape_vec(shape, values).expect("as many values as samples"))
}

/// Rec. 601 luminance in Pillow's fixed point.
fn luma(rgb: [u32; 3]) -> u32 {
    (rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16
}

fn luma8(rgb: [u8; 3]) -> u8 {
    luma(rgb.map(u32::from)) as u8
}

fn luma16(rgb: [u16; 3]) -> u16 {
    luma(rgb.map(u32::from)) as u16
}

/// The 8-bit sample of a value in [-1, 1], clamped; diffusers' `postprocess`.
pub(crate) fn to_sample(value: f32) -> u8 {
    ((value * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}
