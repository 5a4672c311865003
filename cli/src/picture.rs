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
use ndarray::ArrayView3;

use crate::failure::{AtPath, Failure, Result};
use crate::output::{Format, Target};
use crate::png_rows::{self, PngReader, PngRows};
use crate::raster::{Picture, to_sample};

/// Limit of pixels in a picture: 16384 x 16384. An encode needs about 1 kB for each, so a larger
/// picture is a mistake or an attack, and is refused by its header alone.
const MAX_PIXELS: u64 = 1 << 28;

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
        // Orientations 5 to 8 swap width and height.
        if self.orientation.to_exif() > 4 { (height, width) } else { (width, height) }
    }

    /// A reader of rows one by one, if the file stores them in that order.
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

/// Whether the file is complete. The decoders of jpeg and webp invent missing pixels; that of png
/// does not.
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

/// Finds the end-of-image marker by walking all others: a thumbnail in a segment has its own, and
/// phones append data after the picture's.
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

/// Goes to the last byte of `"RIFF" u32 length "WEBP" ...`; the length counts the bytes after it.
fn webp_end(file: &mut BufReader<File>) -> io::Result<()> {
    let mut header = [0; 8];
    file.read_exact(&mut header)?;
    let [.., a, b, c, d] = header;
    file.seek_relative(i64::from(u32::from_le_bytes([a, b, c, d])) - 1)?;
    file.read_exact(&mut [0])
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
