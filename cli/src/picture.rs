//! Pictures in files: png, jpeg and webp.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

use image::codecs::jpeg::{JpegDecoder, JpegEncoder};
use image::codecs::webp::{WebPDecoder, WebPEncoder};
use image::metadata::Orientation;
use image::{
    ExtendedColorType, ImageDecoder, ImageEncoder, ImageError, ImageFormat, ImageResult, Limits,
};
use ndarray::ArrayView3;

use crate::coded::{Facts, Walk, check_size};
use crate::failure::{AtPath, Failure, Result};
use crate::memory::{filled, room, trial};
use crate::output::{Format, Target};
use crate::parts::Parts;
use crate::png_rows::{self, PngReader, PngRows};
use crate::raster::{Picture, to_sample};
use crate::{jpeg, webp};

/// A picture file whose header is read, and nothing of its pixels.
pub(crate) struct PictureFile<'a> {
    path: &'a Path,
    coding: Coding,
    /// Width and height in the file.
    coded_size: (u32, u32),
    orientation: Orientation,
}

/// What is known of a file of each format.
enum Coding {
    Png(Box<png::Reader<BufReader<File>>>),
    Jpeg(Facts),
    WebP(Facts),
}

impl<'a> PictureFile<'a> {
    /// Opens a picture of any depth and colour type.
    pub(crate) fn open(path: &'a Path) -> Result<Self> {
        let mut file = BufReader::new(File::open(path).at(path)?);
        let mut head = Vec::new();
        file.by_ref().take(16).read_to_end(&mut head).at(path)?;
        let coding = match image::guess_format(&head) {
            Ok(ImageFormat::Png) => Coding::Png(Box::new(png_rows::reader(path)?)),
            Ok(ImageFormat::Jpeg) => Coding::Jpeg(walked(path, &mut file, jpeg::walk)?),
            Ok(ImageFormat::WebP) => Coding::WebP(walked(path, &mut file, webp::walk)?),
            _ => return Err(Failure::at(path, "not a png, jpeg or webp picture")),
        };
        let (coded_size, exif) = match &coding {
            Coding::Png(reader) => (reader.info().size(), reader.info().exif_metadata.as_deref()),
            Coding::Jpeg(facts) | Coding::WebP(facts) => (facts.size, facts.exif.as_deref()),
        };
        check_size(coded_size).map_err(|message| Failure::at(path, message))?;
        let orientation = exif.and_then(Orientation::from_exif_chunk);
        let orientation = orientation.unwrap_or(Orientation::NoTransforms);
        Ok(Self { path, coding, coded_size, orientation })
    }

    /// Width and height in pixels of the upright picture.
    pub(crate) fn size(&self) -> (usize, usize) {
        let (width, height) = (self.coded_size.0 as usize, self.coded_size.1 as usize);
        // Orientations 5 to 8 swap width and height.
        if self.orientation.to_exif() > 4 { (height, width) } else { (width, height) }
    }

    /// The most bytes in memory while [`PictureFile::read`] reads `channels`, its result among
    /// them.
    pub(crate) fn reading_bytes(&self, channels: usize) -> u64 {
        let turned = if self.orientation == Orientation::NoTransforms { 1 } else { 2 };
        let picture = turned * self.picture_bytes(channels);
        picture
            + match &self.coding {
                // The decoder's rows; of an interlaced picture all of them.
                Coding::Png(reader) => {
                    let line = reader.output_line_size(self.coded_size.0).unwrap_or(0) as u64;
                    let rows = if reader.info().interlaced { self.coded_size.1 } else { 0 };
                    line * (u64::from(rows) + 4) + (1 << 20)
                }
                Coding::Jpeg(facts) | Coding::WebP(facts) => facts.decoder_bytes(),
            }
    }

    /// Bytes of the picture that [`PictureFile::read`] gives.
    pub(crate) fn picture_bytes(&self, channels: usize) -> u64 {
        let wide = match &self.coding {
            Coding::Png(reader) => reader.output_color_type().1 == png::BitDepth::Sixteen,
            Coding::Jpeg(_) | Coding::WebP(_) => false,
        };
        let pixels = u64::from(self.coded_size.0) * u64::from(self.coded_size.1);
        pixels * channels as u64 * if wide { 2 } else { 1 }
    }

    /// A reader of rows one by one, if the file stores them in that order.
    pub(crate) fn rows(&self, channels: usize) -> Result<Option<PngReader>> {
        match self.coding {
            Coding::Png(_) if self.orientation == Orientation::NoTransforms => {
                PngReader::open(self.path, channels)
            }
            _ => Ok(None),
        }
    }

    /// Reads the pixels, turned upright by the EXIF orientation, as grey (`channels` 1) or RGB (3).
    /// Alpha is dropped, as by Pillow's `convert("RGB")`.
    pub(crate) fn read(self, channels: usize) -> Result<Picture> {
        let Self { path, coding, orientation, .. } = self;
        let picture = match coding {
            Coding::Png(mut reader) => png_rows::read(&mut reader, channels)
                .map_err(|error| Failure::from(error.within(path.display())))?,
            Coding::Jpeg(facts) => decoded(path, facts, channels, JpegDecoder::new)?,
            Coding::WebP(facts) => decoded(path, facts, channels, WebPDecoder::new)?,
        };
        Ok(picture.turned(orientation))
    }
}

fn broken(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::at(path, format!("cannot read the picture: {error}"))
}

/// Walks over a file, which must be complete: the decoders of jpeg and webp invent missing pixels.
fn walked(path: &Path, file: &mut BufReader<File>, walk: Walk) -> Result<Facts> {
    match walk(file) {
        Ok(facts) => facts.map_err(|message| broken(path, message)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Err(broken(path, "the file is cut off"))
        }
        Err(error) => Err(Failure::at(path, error)),
    }
}

/// The picture that a decoder makes of the coded parts of a file, which must be of their size.
fn decoded<D: ImageDecoder>(
    path: &Path,
    facts: Facts,
    channels: usize,
    decoder: impl FnOnce(BufReader<Parts>) -> ImageResult<D>,
) -> Result<Picture> {
    let coded_size = facts.size;
    let wrong = |error: ImageError| broken(path, error);
    trial(facts.decoder_bytes(), "a decoder").map_err(|e| e.within(path.display()))?;
    let room = facts.pixels().saturating_mul(facts.per_pixel).saturating_add(1 << 20);
    let parts = Parts::new(File::open(path).at(path)?, facts.coded).at(path)?;
    let mut decoder = decoder(BufReader::new(parts)).map_err(wrong)?;
    if decoder.dimensions() != coded_size {
        return Err(broken(path, "pictures of different sizes in it"));
    }
    let mut limits = Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(coded_size.0), Some(coded_size.1));
    limits.max_alloc = Some(room);
    decoder.set_limits(limits).map_err(wrong)?;
    let colors = usize::from(decoder.color_type().channel_count());
    let bytes = usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX);
    let mut samples = filled(0, bytes, "a picture").map_err(|e| e.within(path.display()))?;
    decoder.read_image(&mut samples).map_err(wrong)?;
    let (width, height) = (coded_size.0 as usize, coded_size.1 as usize);
    Ok(Picture::of_samples(samples, [width, height, colors], channels)
        .map_err(|error| error.within(path.display()))?)
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
    let named = |error: vaekl::Error| error.within(target.path().display());
    trial(format.writing_bytes([channels, height, width]), "an encoder").map_err(named)?;
    let mut samples = room(interleaved.len(), "a picture").map_err(named)?;
    samples.extend(interleaved.iter().map(|&value| to_sample(value)));
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use image::{DynamicImage, Rgb, RgbImage};

    use super::*;

    /// Where a child finds the path that it reads.
    const TO_READ: &str = "VAEKL_TEST_TO_READ";

    /// Where Linux says what memory a process has; other systems have none.
    const STATUS: &str = "/proc/self/status";

    fn memory(line: &str) -> u64 {
        let status = fs::read_to_string(STATUS).unwrap();
        let found = status.lines().find_map(|found| found.strip_prefix(line)).unwrap();
        found.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
    }

    /// No test, but what a child does, whose peak the kernel knows.
    #[test]
    fn reads_what_it_is_told_to() {
        let Some(path) = std::env::var_os(TO_READ) else { return };
        let path = Path::new(&path);
        let file = PictureFile::open(path).unwrap();
        let (told, result) = (file.reading_bytes(3), file.picture_bytes(3));
        let before = memory("VmRSS:");
        let picture = file.read(3).unwrap();
        let peak = memory("VmHWM:") - before;
        println!("{}: {peak}, {told} told", path.display());
        assert!(peak <= told + (1 << 20), "{peak}, {told} told");
        assert!([1, 2].map(|size| size * picture.len() as u64).contains(&result));
    }

    #[test]
    fn reading_takes_no_more_than_it_says() {
        if !Path::new(STATUS).exists() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        // Noise, which no format makes small.
        let mut state = 1_u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let picture = RgbImage::from_fn(2048, 2048, |_, _| Rgb([noise(), noise(), noise()]));
        let picture = DynamicImage::from(picture);
        let save = |name: &str, picture: &DynamicImage| picture.save(folder.path().join(name));
        save("rgb.png", &picture).unwrap();
        save("rgba16.png", &DynamicImage::from(picture.to_rgba16())).unwrap();
        save("rgb.jpg", &picture).unwrap();
        save("grey.jpg", &DynamicImage::from(picture.to_luma8())).unwrap();
        save("rgb.webp", &picture).unwrap();
        save("rgba.webp", &DynamicImage::from(picture.to_rgba8())).unwrap();
        for entry in fs::read_dir(folder.path()).unwrap() {
            let mut child = Command::new(std::env::current_exe().unwrap());
            child.args(["--exact", "picture::tests::reads_what_it_is_told_to", "--nocapture"]);
            let output = child.env(TO_READ, entry.unwrap().path()).output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            println!("{said}");
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() && said.contains("1 passed"), "{said}{error}");
        }
    }
}
