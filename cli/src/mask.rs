//! What an `AsymmetricAutoencoderKL` draws of a picture, and what it keeps.

use std::path::Path;

use ndarray::Array4;
use vaekl::{Config, Family};

use crate::args::TilingKind;
use crate::arrays;
use crate::failure::{Failure, Result};
use crate::memory::room;
use crate::output::Format;
use crate::picture::PictureFile;

/// The shape of what is decoded, `[batch, channels, height, width]`.
pub(crate) type Shape = [usize; 4];

/// Whether a model takes a mask.
pub(crate) fn takes(config: &Config) -> bool {
    matches!(config.family, Family::Asymmetric(_))
}

/// Fails if the model takes no mask, or is asked for tiles.
pub(crate) fn check(config: &Config, tiling: TilingKind) -> Result<()> {
    if !takes(config) {
        let found = config.family.name();
        let message = format!("--mask: an AsymmetricAutoencoderKL expected, {found} found");
        return Err(Failure::Usage(message));
    }
    if tiling != TilingKind::Exact {
        return Err(Failure::Usage("--mask: --tiling exact expected, tiles found".into()));
    }
    Ok(())
}

/// Reads the mask of pictures of `shape` as `[batch, 1, height, width]`: 1 where the model draws, 0
/// where it keeps the picture. One mask serves all pictures of a batch.
pub(crate) fn read(path: &Path, shape: Shape) -> Result<Array4<f32>> {
    let shape = [shape[0], 1, shape[2], shape[3]];
    let mask = if is_array(path) {
        let file = arrays::open_mask(path, &["mask"])?;
        agree(path, "mask", file.dims(), shape)?;
        file.read()?
    } else {
        let mask = open(path, "mask", shape)?.read(1)?.to_unit_array();
        mask.map_err(|error| error.within(path.display()))?
    };
    let mask = fit(path, mask, shape)?;
    match mask.indexed_iter().find(|(_, value)| !(0.0..=1.0).contains(*value)) {
        Some(((b, _, y, x), value)) => {
            let at = format!("picture {b}, row {y}, column {x}");
            let what = format!("mask of values from 0 to 1 expected, {value} found at {at}");
            Err(Failure::at(path, what))
        }
        None => Ok(mask),
    }
}

/// Reads the picture that is kept outside of a mask, in [-1, 1]. One picture serves a whole batch.
pub(crate) fn read_picture(path: &Path, shape: Shape) -> Result<Array4<f32>> {
    let channels = shape[1];
    let picture = if is_array(path) {
        let file = arrays::open(path, &["image", "sample"])?;
        agree(path, "picture", file.dims(), shape)?;
        file.read()?
    } else if channels == 1 || channels == 3 {
        let picture = open(path, "picture", shape)?.read(channels)?.to_array();
        picture.map_err(|error| error.within(path.display()))?
    } else {
        let what = format!("the model gives {channels} channels, which only an array can hold");
        return Err(Failure::at(path, what));
    };
    fit(path, picture, shape)
}

fn is_array(path: &Path) -> bool {
    Format::of(path).is_ok_and(Format::is_array)
}

/// Opens a picture file of the size in `shape`.
fn open<'p>(path: &'p Path, what: &str, shape: Shape) -> Result<PictureFile<'p>> {
    let file = PictureFile::open(path)?;
    let (width, height) = file.size();
    check_size(path, what, [height, width], shape)?;
    Ok(file)
}

fn check_size(path: &Path, what: &str, found: [usize; 2], shape: Shape) -> Result<()> {
    let ([height, width], [_, _, rows, columns]) = (found, shape);
    if (height, width) == (rows, columns) {
        return Ok(());
    }
    let expected = format!("expected {columns}x{rows}, the size of what is decoded");
    Err(Failure::at(path, format!("{what} of {width}x{height}, {expected}")))
}

/// Fails if an array of these axes is not what is kept, or drawn, of pictures of `shape`.
fn agree(
    path: &Path,
    what: &str,
    [found, channels, height, width]: Shape,
    shape: Shape,
) -> Result<()> {
    let [batch, expected, ..] = shape;
    check_size(path, what, [height, width], shape)?;
    if channels != expected {
        let message = format!("{what} of {channels} channels, expected {expected}");
        return Err(Failure::at(path, message));
    }
    if found != batch && found != 1 {
        let message = format!("{what}s for a batch of {found}, expected 1 or {batch}");
        return Err(Failure::at(path, message));
    }
    Ok(())
}

/// `array` for every picture of the batch.
fn fit(path: &Path, array: Array4<f32>, shape: Shape) -> Result<Array4<f32>> {
    let [batch, channels, height, width] = shape;
    if array.dim().0 == batch {
        return Ok(array);
    }
    let mut values = room(shape.iter().product(), "a picture for each of a batch")
        .map_err(|error| error.within(path.display()))?;
    for _ in 0..batch {
        values.extend(array.iter());
    }
    Ok(Array4::from_shape_vec((batch, channels, height, width), values).expect("of one size"))
}
