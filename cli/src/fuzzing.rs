//! The readers of files, for `fuzz/` and the tests of its findings. No part of any interface.
//! Errors are the texts that a person sees.

use std::path::Path;

use ndarray::{Array3, Array4};
use vaekl::{Model, Parts};

use crate::arrays;
use crate::embedded;
use crate::failure::Failure;
use crate::latents::{self, Kind, Label, Request};
use crate::picture::PictureFile;

/// Width and height of a picture, by its header.
pub fn size(path: &Path) -> Result<(usize, usize), String> {
    PictureFile::open(path).map(|file| file.size()).map_err(text)
}

/// A picture as the encoder takes it, `[1, channels, height, width]`.
pub fn picture(path: &Path, channels: usize) -> Result<Array4<f32>, String> {
    let file = PictureFile::open(path).map_err(text)?;
    file.read(channels).map_err(text)?.to_array().map_err(|error| error.to_string())
}

/// The same row by row, `[height, width, channels]`, twice; `None` of a picture that isn't read so.
pub fn rows(path: &Path, channels: usize) -> Result<Option<[Array3<f32>; 2]>, String> {
    let file = PictureFile::open(path).map_err(text)?;
    let (width, height) = file.size();
    let Some(mut reader) = file.rows(channels).map_err(text)? else { return Ok(None) };
    let mut read = || -> vaekl::Result<Array3<f32>> {
        let mut rows = Array3::zeros((height, width, channels));
        for (y, mut row) in rows.outer_iter_mut().enumerate() {
            reader.read(y, row.as_slice_mut().expect("rows of a whole array"))?;
        }
        Ok(rows)
    };
    let first = read().map_err(|error| error.to_string())?;
    let second = read().map_err(|error| error.to_string())?;
    Ok(Some([first, second]))
}

/// An array that stands for a picture.
pub fn array(path: &Path) -> Result<Array4<f32>, String> {
    arrays::open(path, &["image", "sample"]).and_then(|file| file.read()).map_err(text)
}

/// An array that is a mask.
pub fn mask(path: &Path) -> Result<Array4<f32>, String> {
    arrays::open_mask(path, &["mask"]).and_then(|file| file.read()).map_err(text)
}

/// The bytes of `array` as a `.npy` file.
pub fn npy(array: &Array4<f32>) -> Vec<u8> {
    let mut bytes = Vec::new();
    arrays::write_npy(&mut bytes, array.shape(), array.iter().copied()).expect("memory");
    bytes
}

/// The embedded model.
pub fn model() -> Model {
    embedded::open(Parts::Both).expect("the embedded model")
}

/// How latents are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The name of the tensor.
    pub tensor: Option<&'a str>,
    /// Whether they are said to be scaled.
    pub scaled: bool,
    /// Width and height of the picture.
    pub size: Option<(usize, usize)>,
}

/// Latents of a file for `model`.
pub fn latents(path: &Path, model: &Model, wanted: Wanted<'_>) -> Result<Array4<f32>, String> {
    let Wanted { tensor, scaled, size } = wanted;
    let label = Label::of(Kind::Raw, model, None);
    let config = model.config();
    let request = Request { path, tensor, scaled, size, model: &label, config };
    latents::read(&request).map(|(array, ..)| array).map_err(text)
}

fn text(failure: Failure) -> String {
    failure.to_string()
}
