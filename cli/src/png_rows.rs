//! Png pictures row by row, so that they are never whole in memory.

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use png::{BitDepth, ColorType, Transformations};
use vaekl::ErrorKind;

use crate::coded::check_size;
use crate::failure::{AtPath, Failure, Result};
use crate::limits::MOST_PNG_BESIDE;
use crate::memory::filled;
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

/// Opens a png and reads its header. What it says besides is passed over, in whatever length:
/// texts, colour profiles.
pub(crate) fn reader(path: &Path) -> Result<png::Reader<BufReader<File>>> {
    let broken = |error| Failure::from(unreadable(error).within(path.display()));
    let file = BufReader::new(File::open(path).at(path)?);
    let mut decoder = png::Decoder::new_with_limits(file, png::Limits { bytes: MOST_PNG_BESIDE });
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    // Palettes and fewer than 8 bits as samples of 8.
    decoder.set_transformations(Transformations::EXPAND);
    let (width, height) = decoder.read_header_info().map_err(broken)?.size();
    check_size((width, height)).map_err(|message| Failure::at(path, message))?;
    decoder.set_limits(png::Limits { bytes: MOST_PNG_BESIDE + width as usize * WIDEST });
    decoder.read_info().map_err(broken)
}

/// Bytes of the widest pixel: four samples of 16 bits.
const WIDEST: usize = 8;

/// Reads all rows as grey (`channels` 1) or RGB (3). Errors do not name the file.
pub(crate) fn read(
    reader: &mut png::Reader<BufReader<File>>,
    channels: usize,
) -> vaekl::Result<Picture> {
    let (width, height) = reader.info().size();
    let (color, depth) = reader.output_color_type();
    let size = [width as usize, height as usize, channels];
    let mut picture = Picture::empty(size, depth == BitDepth::Sixteen)?;
    if reader.info().interlaced {
        let size = reader.output_buffer_size().unwrap_or(usize::MAX);
        let mut samples = filled(0, size, "an interlaced picture")?;
        reader.next_frame(&mut samples).map_err(unreadable)?;
        picture.append(&samples, color.samples());
    } else {
        while let Some(row) = reader.next_row().map_err(unreadable)? {
            if picture.len() == size.iter().product::<usize>() {
                return Err(wrong("cannot read the picture: too many rows"));
            }
            picture.append(row.data(), color.samples());
        }
    }
    if picture.len() != size.iter().product::<usize>() {
        return Err(wrong("cannot read the picture: too few rows"));
    }
    Ok(picture)
}

fn wrong(what: &'static str) -> vaekl::Error {
    vaekl::Error::new(ErrorKind::Format, what)
}

/// A png of any depth and colour type whose rows are read one by one, top to bottom.
pub(crate) struct PngReader {
    path: PathBuf,
    /// Channels to return: 1 for grey, 3 for RGB.
    channels: usize,
    reader: png::Reader<BufReader<File>>,
    /// Index of the next row.
    next: usize,
    /// A row as a picture.
    row: Picture,
}

impl PngReader {
    /// Opens the picture; `None` if it is interlaced.
    pub(crate) fn open(path: &Path, channels: usize) -> Result<Option<Self>> {
        let reader = reader(path)?;
        if reader.info().interlaced {
            return Ok(None);
        }
        let width = reader.info().width as usize;
        let is_wide = reader.output_color_type().1 == BitDepth::Sixteen;
        let row = Picture::empty([width, 1, channels], is_wide)
            .map_err(|error| error.within(path.display()))?;
        Ok(Some(Self { path: path.to_owned(), channels, reader, next: 0, row }))
    }

    /// Reads row `y` as interleaved values in [-1, 1]: rows in order, or again from the first.
    /// Errors do not name the file; the caller does.
    pub(crate) fn read(&mut self, y: usize, values: &mut [f32]) -> vaekl::Result<()> {
        if y < self.next {
            let again = Self::open(&self.path, self.channels).ok().flatten();
            *self = again.ok_or_else(|| wrong("the file has changed"))?;
        }
        let (color, _) = self.reader.output_color_type();
        let row = self.reader.next_row().map_err(unreadable)?;
        let row = row.ok_or_else(|| wrong("cannot read the picture"))?;
        self.row.clear();
        self.row.append(row.data(), color.samples());
        self.next = y + 1;
        // The checksums come after the last row.
        if self.next == self.reader.info().height as usize {
            let end = self.reader.next_row().map_err(unreadable)?;
            if end.is_some() {
                return Err(wrong("cannot read the picture: too many rows"));
            }
        }
        if self.row.len() != values.len() {
            return Err(wrong("the file has changed"));
        }
        self.row.write_values(values);
        Ok(())
    }
}

fn unreadable(error: png::DecodingError) -> vaekl::Error {
    vaekl::Error::io("cannot read the picture", error.into())
}
