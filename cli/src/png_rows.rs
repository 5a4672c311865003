//! Png pictures row by row, so that they are never whole in memory.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageBuffer};
use png::{BitDepth, ColorType, Transformations};
use vaekl::ErrorKind;

use crate::failure::{AtPath, Result};
use crate::raster::{Picture, to_sample};

/// Begins an 8-bit png, grey or RGB, of `[channels, height, width]`. End it with
/// [`png::Writer::finish`]: the encoder swallows errors when it is dropped.
pub(crate) fn begin<W: Write>(
    out: W,
    [channels, height, width]: [usize; 3],
) -> io::Result<png::Writer<W>> {
    let side = |length: usize| u32::try_from(length).map_err(io::Error::other);
    let mut encoder = png::Encoder::new(out, side(width)?, side(height)?);
    let grey = channels == 1;
    encoder.set_color(if grey { ColorType::Grayscale } else { ColorType::Rgb });
    encoder.set_depth(BitDepth::Eight);
    Ok(encoder.write_header()?)
}

/// Writes the pixels of a png row by row.
pub(crate) struct PngRows<'a, W: Write> {
    stream: png::StreamWriter<'a, W>,
    samples: Vec<u8>,
}

impl<'a, W: Write> PngRows<'a, W> {
    /// The pixels of `png`, which [`begin`] began.
    pub(crate) fn new(png: &'a mut png::Writer<W>) -> io::Result<Self> {
        Ok(Self { stream: png.stream_writer()?, samples: Vec::new() })
    }

    /// Writes the next row, interleaved values in [-1, 1].
    pub(crate) fn row(&mut self, values: &[f32]) -> io::Result<()> {
        self.samples.clear();
        self.samples.extend(values.iter().map(|&value| to_sample(value)));
        self.stream.write_all(&self.samples)
    }

    /// Ends the pixels, after all rows are written.
    pub(crate) fn finish(self) -> io::Result<()> {
        Ok(self.stream.finish()?)
    }
}

/// A png of any depth and colour type whose rows are read one by one, top to bottom.
pub(crate) struct PngReader {
    path: PathBuf,
    /// Channels to return: 1 for grey, 3 for RGB.
    channels: usize,
    reader: png::Reader<BufReader<File>>,
    /// Index of the next row.
    next: usize,
}

impl PngReader {
    /// Opens the picture; `None` if it is interlaced.
    pub(crate) fn open(path: &Path, channels: usize) -> Result<Option<Self>> {
        let file = BufReader::new(File::open(path).at(path)?);
        // Chunks other than pixels may be large, and are skipped.
        let limits = png::Limits { bytes: 2 << 30 };
        let mut decoder = png::Decoder::new_with_limits(file, limits);
        decoder.set_ignore_text_chunk(true);
        // Palettes and fewer than 8 bits as samples of 8.
        decoder.set_transformations(Transformations::EXPAND);
        let reader =
            decoder.read_info().map_err(|error| unreadable(error).within(path.display()))?;
        if reader.info().interlaced {
            return Ok(None);
        }
        Ok(Some(Self { path: path.to_owned(), channels, reader, next: 0 }))
    }

    /// Reads row `y` as interleaved values in [-1, 1]: rows in order, or again from the first.
    /// Errors do not name the file; the caller does.
    pub(crate) fn read(&mut self, y: usize, values: &mut [f32]) -> vaekl::Result<()> {
        let wrong = |what: &'static str| vaekl::Error::new(ErrorKind::Format, what);
        if y < self.next {
            let again = Self::open(&self.path, self.channels).ok().flatten();
            *self = again.ok_or_else(|| wrong("the file has changed"))?;
        }
        let (color, depth) = self.reader.output_color_type();
        let row = self.reader.next_row().map_err(unreadable)?;
        let image = row.and_then(|row| row_image(row.data(), color, depth));
        let image = image.ok_or_else(|| wrong("cannot read the picture"))?;
        self.next = y + 1;
        // The checksums come after the last row.
        if self.next == self.reader.info().height as usize {
            let end = self.reader.next_row().map_err(unreadable)?;
            if end.is_some() {
                return Err(wrong("cannot read the picture: too many rows"));
            }
        }
        let row = Picture::of_image(image, self.channels).to_array();
        let pixels = row.permuted_axes([0, 2, 3, 1]);
        if pixels.len() != values.len() {
            return Err(wrong("the file has changed"));
        }
        values.iter_mut().zip(&pixels).for_each(|(to, &value)| *to = value);
        Ok(())
    }
}

/// A picture of one row.
fn row_image(bytes: &[u8], color: ColorType, depth: BitDepth) -> Option<DynamicImage> {
    let width = u32::try_from(
        bytes.len() / color.samples() / if depth == BitDepth::Sixteen { 2 } else { 1 },
    );
    let (width, samples) = (width.ok()?, || bytes.to_vec());
    if depth == BitDepth::Sixteen {
        let samples = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
        let samples: Vec<u16> = samples.collect();
        return match color {
            ColorType::Grayscale => {
                ImageBuffer::from_raw(width, 1, samples).map(DynamicImage::ImageLuma16)
            }
            ColorType::GrayscaleAlpha => {
                ImageBuffer::from_raw(width, 1, samples).map(DynamicImage::ImageLumaA16)
            }
            ColorType::Rgb => {
                ImageBuffer::from_raw(width, 1, samples).map(DynamicImage::ImageRgb16)
            }
            ColorType::Rgba => {
                ImageBuffer::from_raw(width, 1, samples).map(DynamicImage::ImageRgba16)
            }
            ColorType::Indexed => None,
        };
    }
    match color {
        ColorType::Grayscale => {
            ImageBuffer::from_raw(width, 1, samples()).map(DynamicImage::ImageLuma8)
        }
        ColorType::GrayscaleAlpha => {
            ImageBuffer::from_raw(width, 1, samples()).map(DynamicImage::ImageLumaA8)
        }
        ColorType::Rgb => ImageBuffer::from_raw(width, 1, samples()).map(DynamicImage::ImageRgb8),
        ColorType::Rgba => ImageBuffer::from_raw(width, 1, samples()).map(DynamicImage::ImageRgba8),
        ColorType::Indexed => None,
    }
}

fn unreadable(error: png::DecodingError) -> vaekl::Error {
    vaekl::Error::io("cannot read the picture", error.into())
}
