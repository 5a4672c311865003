//! What the encoder takes and the decoder gives: pictures or arrays, as `[batch, channels, h, w]`.

use std::path::{Path, PathBuf};

use ndarray::{Array4, ArrayView4, Axis, Slice};
use vaekl::Config;

use crate::array_file;
use crate::failure::{Failure, Result};
use crate::output::{Format, Target};
use crate::picture::{self, Picture};

/// Reads what the encoder takes: a picture, resized to whole latents if need be, or an array, which
/// is passed as it is. The second value is what to tell the user about it.
pub(crate) fn read(path: &Path, config: &Config) -> Result<(Array4<f32>, Option<String>)> {
    if Format::of(path).is_ok_and(Format::is_array) {
        return Ok((array_file::read(path, &["sample", "image"])?, None));
    }
    let channels = config.in_channels;
    if channels != 1 && channels != 3 {
        let what =
            format!("the model takes {channels} channels, which only an array file can hold");
        return Err(Failure::at(path, what));
    }
    let picture = Picture::read(path, channels)?;
    let (width, height) = picture.size();
    let factor = config.downscale();
    let (new_width, new_height) = (width - width % factor, height - height % factor);
    if new_width == 0 || new_height == 0 {
        let what = format!("picture of {width}x{height}, expected at least {factor}x{factor}");
        return Err(Failure::at(path, what));
    }
    if (new_width, new_height) == (width, height) {
        return Ok((picture.to_array(), None));
    }
    let remark = format!(
        "{}: {width}x{height} resized to {new_width}x{new_height}, multiples of {factor}",
        path.display()
    );
    Ok((picture.resized(new_width, new_height).to_array(), Some(remark)))
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
            [target] if target.format().is_array() => array_file::write(target, "sample", samples),
            targets => targets
                .iter_mut()
                .zip(samples.axis_iter(Axis(0)))
                .try_for_each(|(target, sample)| picture::write(target, sample)),
        }
    }

    /// Puts the files in their places and gives these.
    pub(crate) fn commit(self) -> Result<Vec<PathBuf>> {
        let paths = self.targets.iter().map(|target| target.path().to_owned()).collect();
        self.targets.into_iter().try_for_each(Target::commit)?;
        Ok(paths)
    }
}

/// Peak signal-to-noise ratio in dB between two batches as 8-bit samples, infinite for equal ones.
/// The output may be smaller by less than the model's factor on the right and at the bottom, where
/// an array has an odd size; `None` if the channels differ.
pub(crate) fn psnr(input: ArrayView4<'_, f32>, output: ArrayView4<'_, f32>) -> Option<f64> {
    let (_, channels, height, width) = output.dim();
    if input.dim().1 != channels {
        return None;
    }
    let mut input = input;
    input.slice_axis_inplace(Axis(2), Slice::from(..height));
    input.slice_axis_inplace(Axis(3), Slice::from(..width));
    let squares = input.iter().zip(output.iter()).map(|(&a, &b)| {
        let difference = i64::from(picture::to_sample(a)) - i64::from(picture::to_sample(b));
        (difference * difference) as u64
    });
    let mse = squares.sum::<u64>() as f64 / output.len() as f64;
    Some(10.0 * (255.0 * 255.0 / mse).log10())
}
