//! What the encoder takes and the decoder gives: pictures or arrays, as `[batch, channels, h, w]`.

use std::path::{Path, PathBuf};

use ndarray::{Array4, ArrayView4, Axis, Slice};
use vaekl::Config;

use crate::args::PlannedCall;
use crate::arrays;
use crate::engine::{self, Need};
use crate::failure::{Failure, Result};
use crate::output::{Format, Target};
use crate::picture::{self, PictureFile};
use crate::png_rows::PngReader;
use crate::raster;

/// What the encoder takes.
pub(crate) enum Input {
    Array(Array4<f32>),
    /// The rows of a picture of `height` and `width`.
    Rows(Box<PngReader>, usize, usize),
}

/// Reads what the encoder takes as [`open`], all of it.
pub(crate) fn read(
    path: &Path,
    config: &Config,
    fits: impl FnOnce(&Need) -> Result<()>,
) -> Result<(Array4<f32>, Option<String>)> {
    let (input, remark) = open(path, config, Wanted { rows: false, patch: 1 }, fits)?;
    match input {
        Input::Array(array) => Ok((array, remark)),
        Input::Rows(..) => unreachable!("rows were not asked for"),
    }
}

/// How the encoder's input is wanted.
#[derive(Clone, Copy)]
pub(crate) struct Wanted {
    /// As a reader, if it is a picture whose rows can be read one by one.
    pub(crate) rows: bool,
    /// Side of the patches that the latents are to fill.
    pub(crate) patch: usize,
}

/// Opens the encoder's input: a picture, resized to whole latents or patches if necessary, or an
/// array, unchanged. The second value is a remark for the user.
///
/// `fits` may refuse the size of the input before it is read.
pub(crate) fn open(
    path: &Path,
    config: &Config,
    wanted: Wanted,
    fits: impl FnOnce(&Need) -> Result<()>,
) -> Result<(Input, Option<String>)> {
    let call = PlannedCall::Encode;
    let factor = config.downscale();
    if Format::of(path).is_ok_and(Format::is_array) {
        let file = arrays::open(path, &["image", "sample"])?;
        let remark = check_array(path, config, wanted.patch, file.dims())?;
        let [batch, channels, height, width] = file.dims();
        let arrays = engine::bytes(engine::values(&[batch, channels, height, width]));
        let reading = file.reading_bytes()?;
        fits(&Need { call, batch, height, width, reading, arrays })?;
        return Ok((Input::Array(file.read()?), remark));
    }
    let factor = factor * wanted.patch;
    let channels = config.in_channels;
    if channels != 1 && channels != 3 {
        let what =
            format!("the model takes {channels} channels, which only an array file can hold");
        return Err(Failure::at(path, what));
    }
    let file = PictureFile::open(path)?;
    let (width, height) = file.size();
    let (new_width, new_height) = whole(path, "picture", (width, height), factor)?;
    let whole = (new_width, new_height) == (width, height);
    let rows = if whole && wanted.rows { file.rows(channels)? } else { None };
    let need = match rows {
        Some(_) => Need { call, batch: 1, height, width, reading: 0, arrays: 0 },
        None => {
            let arrays = engine::bytes(engine::values(&[channels, new_height, new_width]));
            // The array is made of the picture, which is resized between two of its own.
            let resized = if whole { 1 } else { 3 };
            let made = arrays.saturating_add(resized * file.picture_bytes(channels));
            let reading = file.reading_bytes(channels).max(made);
            Need { call, batch: 1, height: new_height, width: new_width, reading, arrays }
        }
    };
    fits(&need)?;
    if let Some(rows) = rows {
        return Ok((Input::Rows(Box::new(rows), height, width), None));
    }
    let picture = file.read(channels)?;
    if whole {
        let array = picture.to_array().map_err(|error| error.within(path.display()))?;
        return Ok((Input::Array(array), None));
    }
    let remark = format!(
        "{}: {width}x{height} resized to {new_width}x{new_height}, multiples of {factor}",
        path.display()
    );
    let resized = picture.resized(new_width, new_height).and_then(|picture| picture.to_array());
    let resized = resized.map_err(|error| error.within(path.display()))?;
    Ok((Input::Array(resized), Some(remark)))
}

/// Checks the size of an array; a remark if not all of it is encoded.
fn check_array(
    path: &Path,
    config: &Config,
    patch: usize,
    [_, channels, height, width]: [usize; 4],
) -> Result<Option<String>> {
    let factor = config.downscale();
    let tiny = config.family.tiny().is_some();
    let of_latent = if tiny { 1 } else { factor };
    let (whole_width, whole_height) = whole(path, "array", (width, height), of_latent)?;
    let (rows, columns) = (config.encoded_length(height), config.encoded_length(width));
    if !rows.is_multiple_of(patch) || !columns.is_multiple_of(patch) {
        let what = format!(
            "array of {width}x{height}, which has latents of {columns}x{rows}; multiples of \
             {patch} expected by --patches"
        );
        return Err(Failure::at(path, what));
    }
    if channels != config.in_channels {
        // In the library's words, before anything is read.
        let expected = config.in_channels;
        let what = format!("picture: {expected} channels expected (in_channels), {channels} found");
        return Err(Failure::at(path, what));
    }
    let all = (whole_width, whole_height) == (width, height);
    Ok((!all).then(|| {
        format!(
            "{}: {width}x{height}, of which {whole_width}x{whole_height} are encoded: columns and \
             rows that do not fill a latent of {factor}x{factor} are left out",
            path.display()
        )
    }))
}

/// Width and height without what does not fill a square of `factor` pixels.
fn whole(
    path: &Path,
    what: &str,
    (width, height): (usize, usize),
    factor: usize,
) -> Result<(usize, usize)> {
    if width < factor || height < factor {
        let what = format!("{what} of {width}x{height}, expected at least {factor}x{factor}");
        return Err(Failure::at(path, what));
    }
    Ok((width - width % factor, height - height % factor))
}

/// Where pictures go: one array file for the batch, or a picture file for each.
pub(crate) struct SampleTarget {
    targets: Vec<Target>,
}

impl SampleTarget {
    /// From the target the user named, for pictures `[batch, channels, height, width]`; fails if
    /// the format cannot hold them. A batch of pictures goes to `out_0.png`, `out_1.png`, ...
    pub(crate) fn new(target: Target, shape: [usize; 4]) -> Result<Self> {
        let [batch, channels, height, width] = shape;
        let format = target.format();
        if !format.is_array() {
            if channels != 1 && channels != 3 {
                let what =
                    format!("the model gives {channels} channels; write .npy or .safetensors");
                return Err(Failure::at(target.path(), what));
            }
            let max = format.max_side();
            if width > max || height > max {
                let what =
                    format!("a picture of {width}x{height} exceeds the format's {max}x{max}");
                return Err(Failure::at(target.path(), what));
            }
        }
        let targets = if batch == 1 || format.is_array() {
            vec![target]
        } else {
            (0..batch).map(|i| target.numbered(i)).collect::<Result<_>>()?
        };
        Ok(Self { targets })
    }

    /// Writes pictures of the shape promised to [`SampleTarget::new`].
    pub(crate) fn write(&mut self, samples: ArrayView4<'_, f32>) -> Result<()> {
        match &mut self.targets[..] {
            [target] if target.format().is_array() => arrays::write(target, "sample", samples),
            targets => targets
                .iter_mut()
                .zip(samples.axis_iter(Axis(0)))
                .try_for_each(|(target, sample)| picture::write(target, sample)),
        }
    }

    /// The targets, if they are png pictures, which can be written row by row.
    pub(crate) fn as_png(&mut self) -> Option<&mut [Target]> {
        let png = self.targets.iter().all(|target| target.format() == Format::Png);
        png.then_some(&mut self.targets)
    }

    /// Puts the files in their places and gives these.
    pub(crate) fn commit(self) -> Result<Vec<PathBuf>> {
        let paths = self.targets.iter().map(|target| target.path().to_owned()).collect();
        Target::commit_all(self.targets)?;
        Ok(paths)
    }
}

/// Peak signal-to-noise ratio in dB between two batches as 8-bit samples, infinite for equal ones.
/// The output may be smaller or larger by less than the model's factor on the right and at the
/// bottom, where an array has an odd size: what both have is compared. `None` if the channels
/// differ.
pub(crate) fn psnr(mut input: ArrayView4<'_, f32>, mut output: ArrayView4<'_, f32>) -> Option<f64> {
    if input.dim().1 != output.dim().1 {
        return None;
    }
    for axis in [Axis(2), Axis(3)] {
        let both = Slice::from(..input.len_of(axis).min(output.len_of(axis)));
        input.slice_axis_inplace(axis, both);
        output.slice_axis_inplace(axis, both);
    }
    let squares = input.iter().zip(output.iter()).map(|(&a, &b)| {
        let difference = i64::from(raster::to_sample(a)) - i64::from(raster::to_sample(b));
        (difference * difference) as u64
    });
    let mse = squares.sum::<u64>() as f64 / output.len() as f64;
    Some(10.0 * (255.0 * 255.0 / mse).log10())
}

#[cfg(test)]
mod tests {
    use safetensors::SafeTensors;

    use super::*;
    use crate::raster::Picture;

    /// Picture files, and what Pillow and diffusers make of them.
    fn images() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/images")
    }

    fn rgb(name: &str) -> Picture {
        PictureFile::open(&images().join(name)).unwrap().read(3).unwrap()
    }

    #[test]
    fn pictures_are_read_as_by_pillow() {
        let file = std::fs::read(images().join("expected.safetensors")).unwrap();
        let expected = SafeTensors::deserialize(&file).unwrap();
        for name in ["grey8.png", "lossless.webp", "palette.png", "rgb.png", "rgba.png"] {
            let Picture::Bits8(raster) = rgb(name) else { panic!("{name}: 16 bits") };
            let tensor = expected.tensor(name).unwrap();
            assert_eq!(tensor.shape(), [raster.height, raster.width, raster.channels], "{name}");
            assert!(tensor.data() == raster.data, "{name}");
        }
        // Decoders of jpeg may differ by a few levels.
        let Picture::Bits8(raster) = rgb("orientation6.jpg") else { panic!("16 bits") };
        assert_eq!((raster.width, raster.height), (24, 40));
        let tensor = expected.tensor("orientation6.jpg").unwrap();
        let worst = tensor.data().iter().zip(&raster.data).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(worst.unwrap() <= 3, "{worst:?}");
        // Pillow keeps 8 of the 16 bits: the high byte of colours, and nothing sensible of grey.
        let Picture::Bits16(raster) = rgb("rgb16.png") else { panic!("8 bits") };
        let high: Vec<u8> = raster.data.iter().map(|sample| (sample >> 8) as u8).collect();
        assert!(expected.tensor("rgb16.png").unwrap().data() == high);
        let Picture::Bits16(raster) = rgb("grey16.png") else { panic!("8 bits") };
        let scaled = raster.data.iter().map(|sample| ((u32::from(*sample) + 128) / 257) as u8);
        let scaled: Vec<u8> = scaled.collect();
        assert!(expected.tensor("grey16.png/scaled").unwrap().data() == scaled);
    }

    #[test]
    fn rows_are_those_of_the_whole_picture() {
        for name in ["grey8.png", "grey16.png", "palette.png", "rgb.png", "rgb16.png", "rgba.png"] {
            for channels in [1, 3] {
                let path = images().join(name);
                let file = PictureFile::open(&path).unwrap();
                let (width, height) = file.size();
                let mut rows = file.rows(channels).unwrap().expect(name);
                let array = file.read(channels).unwrap().to_array().unwrap();
                let mut row = vec![0.0; width * channels];
                // Twice: a call that overflows is repeated.
                for y in (0..height).chain(0..height) {
                    rows.read(y, &mut row).unwrap();
                    let whole = array.index_axis(Axis(2), y).index_axis_move(Axis(0), 0);
                    let whole = whole.reversed_axes();
                    assert!(whole.iter().eq(&row), "{name}, {channels} channels, row {y}");
                }
            }
        }
        // A wrong checksum after the last row.
        let mut bytes = std::fs::read(images().join("rgb.png")).unwrap();
        let end = bytes.windows(4).rposition(|name| name == b"IEND").unwrap();
        bytes[end - 6] ^= 1;
        let broken = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(broken.path(), bytes).unwrap();
        let file = PictureFile::open(broken.path()).unwrap();
        let (width, height) = file.size();
        let (mut rows, mut row) = (file.rows(3).unwrap().unwrap(), vec![0.0; 3 * width]);
        let read = (0..height).map(|y| rows.read(y, &mut row)).collect::<vaekl::Result<Vec<_>>>();
        assert!(read.is_err());

        let path = images().join("orientation6.jpg");
        let jpeg = PictureFile::open(&path).unwrap();
        assert!(jpeg.rows(3).unwrap().is_none());
    }

    #[test]
    fn pictures_become_the_arrays_of_diffusers() {
        let file = std::fs::read(images().join("expected.safetensors")).unwrap();
        let expected = SafeTensors::deserialize(&file).unwrap();
        let mut config = Config::default();
        config.family.kl_mut().unwrap().block_out_channels = vec![32; 4];
        for (name, resized) in [("rgb.png", false), ("resize_45x29.png", true)] {
            let (array, remark) = read(&images().join(name), &config, |_| Ok(())).unwrap();
            assert_eq!(remark.is_some(), resized, "{name}");
            let tensor = expected.tensor(&format!("{name}/preprocessed")).unwrap();
            assert_eq!(tensor.shape(), array.shape(), "{name}");
            let bytes: Vec<u8> = array.iter().flat_map(|value| value.to_le_bytes()).collect();
            assert!(tensor.data() == bytes, "{name}");
        }
        let array = rgb("rgb.png").resized(64, 32).unwrap().to_array().unwrap();
        let bytes: Vec<u8> = array.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert!(expected.tensor("rgb.png/preprocessed_64x32").unwrap().data() == bytes);
    }
}
