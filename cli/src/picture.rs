//! Pictures in files: png, jpeg and webp.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::metadata::Orientation;
use image::{
    DynamicImage, ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, ImageFormat,
    ImageReader, Limits,
};
use ndarray::{Array4, ArrayView3};

use crate::failure::{AtPath, Failure, Result};
use crate::output::{Format, Target};
use crate::png_rows::{self, PngReader, PngRows};
use crate::resize;

/// Pixels a picture may have: 16384 x 16384. An encoder needs about 1 kB for each, so more is a
/// slip or an attack, and is refused by the header alone.
const MAX_PIXELS: u64 = 1 << 28;

/// Samples in rows, channels interleaved.
#[derive(Clone, Debug)]
pub(crate) struct Raster<T> {
    /// Pixels of a row.
    pub(crate) width: usize,
    /// Rows.
    pub(crate) height: usize,
    /// Samples of a pixel.
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

/// A picture file whose header is read.
pub(crate) struct PictureFile<'a> {
    path: &'a Path,
    format: ImageFormat,
    decoder: Box<dyn ImageDecoder>,
    orientation: Orientation,
}

impl<'a> PictureFile<'a> {
    /// Opens a picture of any depth and colour type.
    pub(crate) fn open(path: &'a Path) -> Result<Self> {
        let file = BufReader::new(File::open(path).at(path)?);
        let reader = ImageReader::new(file).with_guessed_format().at(path)?;
        let Some(format) = reader.format() else {
            return Err(Failure::at(path, "not a png, jpeg or webp picture"));
        };
        let mut file = reader.into_inner();
        if !is_whole(format, &mut file).at(path)? {
            return Err(Failure::at(path, "cannot read the picture: the file is cut off"));
        }
        file.rewind().at(path)?;
        let mut reader = ImageReader::with_format(file, format);
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(MAX_PIXELS * 8);
        reader.limits(limits);
        let mut decoder = reader.into_decoder().map_err(|error| broken(path, error))?;
        let (width, height) = decoder.dimensions();
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 || pixels > MAX_PIXELS {
            let range = format!("expected 1 to {MAX_PIXELS} pixels");
            return Err(Failure::at(path, format!("picture of {width}x{height}, {range}")));
        }
        let orientation = decoder.orientation().map_err(|error| broken(path, error))?;
        Ok(Self { path, format, decoder: Box::new(decoder), orientation })
    }

    /// Width and height in pixels of the upright picture.
    pub(crate) fn size(&self) -> (usize, usize) {
        let (width, height) = self.decoder.dimensions();
        let (width, height) = (width as usize, height as usize);
        // The upper half of the eight orientations lies on its side.
        if self.orientation.to_exif() > 4 { (height, width) } else { (width, height) }
    }

    /// A reader of the rows one by one, where the file has them in that order.
    pub(crate) fn rows(&self, channels: usize) -> Result<Option<PngReader>> {
        if self.format != ImageFormat::Png || self.orientation != Orientation::NoTransforms {
            return Ok(None);
        }
        PngReader::open(self.path, channels)
    }

    /// Reads the pixels, turned upright by the EXIF orientation, as grey (`channels` 1) or RGB (3).
    /// Alpha is dropped, as by Pillow's `convert("RGB")`.
    pub(crate) fn read(self, channels: usize) -> Result<Picture> {
        let mut image =
            DynamicImage::from_decoder(self.decoder).map_err(|error| broken(self.path, error))?;
        image.apply_orientation(self.orientation);
        Ok(Picture::of_image(image, channels))
    }
}

fn broken(path: &Path, error: ImageError) -> Failure {
    Failure::at(path, format!("cannot read the picture: {error}"))
}

/// Whether the file has its end. The decoders of jpeg and webp make up the pixels that are missing;
/// that of png does not.
fn is_whole(format: ImageFormat, file: &mut BufReader<File>) -> io::Result<bool> {
    let whole = match format {
        ImageFormat::Jpeg => jpeg_end(file),
        ImageFormat::WebP => webp_end(file),
        _ => Ok(()),
    };
    match whole {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        whole => whole.map(|()| true),
    }
}

/// Finds the end-of-image marker, by way of all others: the thumbnail in a segment has an end of its
/// own, and phones append more after that of the picture.
fn jpeg_end(file: &mut BufReader<File>) -> io::Result<()> {
    let mut byte = [0];
    loop {
        // Nothing between two segments, the coded pixels after a start of scan.
        file.skip_until(0xff)?;
        // A marker may have any number of 0xff before it.
        while {
            file.read_exact(&mut byte)?;
            byte == [0xff]
        } {}
        match byte[0] {
            // A coded 0xff, and the markers without a segment: TEM, RST0 to RST7, SOI.
            0x00 | 0x01 | 0xd0..=0xd8 => {}
            0xd9 => return Ok(()),
            _ => {
                let mut length = [0; 2];
                file.read_exact(&mut length)?;
                file.seek_relative(i64::from(u16::from_be_bytes(length)).max(2) - 2)?;
            }
        }
    }
}

/// Goes to the last byte of `"RIFF" u32 length "WEBP" ...`, whose length is that of what follows it.
fn webp_end(file: &mut BufReader<File>) -> io::Result<()> {
    let mut header = [0; 8];
    file.read_exact(&mut header)?;
    let [.., a, b, c, d] = header;
    file.seek_relative(i64::from(u32::from_le_bytes([a, b, c, d])) - 1)?;
    file.read_exact(&mut [0])
}

impl Picture {
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

    /// Resamples to `width` x `height`.
    pub(crate) fn resized(self, width: usize, height: usize) -> Self {
        match self {
            Self::Bits8(raster) => Self::Bits8(resize::lanczos(raster, width, height)),
            Self::Bits16(raster) => Self::Bits16(resize::lanczos(raster, width, height)),
        }
    }

    /// `[1, channels, height, width]` in [-1, 1].
    pub(crate) fn to_array(&self) -> Array4<f32> {
        match self {
            Self::Bits8(raster) => normalised(raster, |sample| f32::from(sample) / 255.0),
            Self::Bits16(raster) => normalised(raster, |sample| f32::from(sample) / 65535.0),
        }
    }
}

/// In the order of diffusers' image processor: to [0, 1], then `2 * x - 1`.
fn normalised<T: Copy>(raster: &Raster<T>, to_unit: impl Fn(T) -> f32) -> Array4<f32> {
    let &Raster { width, height, channels, ref data } = raster;
    Array4::from_shape_fn((1, channels, height, width), |(_, c, y, x)| {
        2.0 * to_unit(data[(y * width + x) * channels + c]) - 1.0
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

/// Writes `[channels, height, width]` in [-1, 1] as an 8-bit picture, grey or RGB.
pub(crate) fn write(target: &mut Target, array: ArrayView3<'_, f32>) -> Result<()> {
    let (channels, height, width) = array.dim();
    let color = if channels == 1 { ExtendedColorType::L8 } else { ExtendedColorType::Rgb8 };
    let interleaved = array.permuted_axes([1, 2, 0]);
    let format = target.format();
    if format == Format::Png {
        return target.write(|file| {
            let mut png = png_rows::begin(file, [channels, height, width])?;
            let mut rows = PngRows::new(&mut png)?;
            let mut values = Vec::with_capacity(width * channels);
            for row in interleaved.outer_iter() {
                values.clear();
                values.extend(row.iter().copied());
                rows.row(&values)?;
            }
            rows.finish()?;
            Ok(png.finish()?)
        });
    }
    let samples: Vec<u8> = interleaved.iter().map(|&value| to_sample(value)).collect();
    let (width, height) = (width as u32, height as u32);
    target.write(|file| {
        match format {
            Format::Jpeg => {
                JpegEncoder::new_with_quality(file, 95).write_image(&samples, width, height, color)
            }
            _ => WebPEncoder::new_lossless(file).write_image(&samples, width, height, color),
        }
        .map_err(io::Error::other)
    })
}
