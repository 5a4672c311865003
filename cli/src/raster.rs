//! Pictures in memory: their samples, and the conversion to the values of arrays and back.

use image::DynamicImage;
use ndarray::Array4;

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
    /// Takes the samples of `image` as grey (`channels` 1) or RGB (3), without its alpha.
    pub(crate) fn of_image(image: DynamicImage, channels: usize) -> Self {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let color = image.color();
        let luminance = channels == 1 && color.has_color();
        if color.bytes_per_pixel() > color.channel_count() {
            let data = match (channels, luminance) {
                (1, true) => image.into_rgb16().chunks_exact(3).map(luma16).collect(),
                (1, false) => image.into_luma16().into_raw(),
                _ => image.into_rgb16().into_raw(),
            };
            Self::Bits16(Raster { width, height, channels, data })
        } else {
            let data = match (channels, luminance) {
                (1, true) => image.into_rgb8().chunks_exact(3).map(luma8).collect(),
                (1, false) => image.into_luma8().into_raw(),
                _ => image.into_rgb8().into_raw(),
            };
            Self::Bits8(Raster { width, height, channels, data })
        }
    }

    /// `[1, channels, height, width]` in [0, 1].
    pub(crate) fn to_unit_array(&self) -> Array4<f32> {
        match self {
            Self::Bits8(raster) => array(raster, |sample| f32::from(sample) / 255.0),
            Self::Bits16(raster) => array(raster, |sample| f32::from(sample) / 65535.0),
        }
    }

    /// `[1, channels, height, width]` in [-1, 1]: `2 * x - 1` of [`Picture::to_unit_array`], as
    /// diffusers' image processor does.
    pub(crate) fn to_array(&self) -> Array4<f32> {
        let mut array = self.to_unit_array();
        array.mapv_inplace(|unit| 2.0 * unit - 1.0);
        array
    }
}

/// `[1, channels, height, width]` of the samples of `raster`.
fn array<T: Copy>(raster: &Raster<T>, value: impl Fn(T) -> f32) -> Array4<f32> {
    let &Raster { width, height, channels, ref data } = raster;
    Array4::from_shape_fn((1, channels, height, width), |(_, c, y, x)| {
        value(data[(y * width + x) * channels + c])
    })
}

/// Rec. 601 luminance in Pillow's fixed point.
fn luma(rgb: [u32; 3]) -> u32 {
    (rgb[0] * 19595 + rgb[1] * 38470 + rgb[2] * 7471 + 0x8000) >> 16
}

fn luma8(rgb: &[u8]) -> u8 {
    luma([rgb[0].into(), rgb[1].into(), rgb[2].into()]) as u8
}

fn luma16(rgb: &[u16]) -> u16 {
    luma([rgb[0].into(), rgb[1].into(), rgb[2].into()]) as u16
}

/// The 8-bit sample of a value in [-1, 1], clamped; diffusers' `postprocess`.
pub(crate) fn to_sample(value: f32) -> u8 {
    ((value * 0.5 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8
}
