#![forbid(unsafe_code)]
//! Checks the caller's arrays and converts their planes to interleaved rows and back.

use ndarray::{Array4, ArrayView2, ArrayView3, ArrayViewMut2, Axis};

use crate::base::error::{Error, ErrorKind, Result};
use crate::model::network::Direction;

/// Supplies row `y` of the input as interleaved values: each once, top to bottom, and again from
/// the top if a call begins anew.
pub(super) type Fill<'f> = dyn FnMut(usize, &mut [f32]) -> Result<()> + 'f;

/// Name of a direction's input, for messages.
pub(super) fn input_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Decode => "latents",
        Direction::Encode => "picture",
    }
}

/// The rows of planes `[channels, height, width]`, interleaved.
pub(super) fn rows_of(planes: ArrayView3<'_, f32>) -> impl FnMut(usize, &mut [f32]) -> Result<()> {
    move |y, row| {
        gather(planes.index_axis(Axis(1), y), row);
        Ok(())
    }
}

/// One row of planes `[channels, width]`, interleaved.
fn gather(planes: ArrayView2<'_, f32>, row: &mut [f32]) {
    for (x, pixel) in row.chunks_exact_mut(planes.nrows()).enumerate() {
        for (c, value) in pixel.iter_mut().enumerate() {
            *value = planes[(c, x)];
        }
    }
}

/// The inverse of [`gather`].
pub(super) fn scatter(row: &[f32], mut planes: ArrayViewMut2<'_, f32>) {
    for (x, pixel) in row.chunks_exact(planes.nrows()).enumerate() {
        for (c, &value) in pixel.iter().enumerate() {
            planes[(c, x)] = value;
        }
    }
}

/// A zeroed array `[batch, channels, height, width]` for a result.
///
/// # Errors
/// `OutOfMemory`, naming the array, if memory or address space does not suffice.
pub(super) fn zeros(what: &str, shape: [usize; 4]) -> Result<Array4<f32>> {
    let too_large = || {
        let [batch, channels, height, width] = shape;
        let message =
            format!("{what}: {batch}x{channels}x{height}x{width} values do not fit memory");
        Error::new(ErrorKind::OutOfMemory, message)
    };
    let len = shape.iter().try_fold(1_usize, |len, &n| len.checked_mul(n)).ok_or_else(too_large)?;
    let mut values: Vec<f32> = Vec::new();
    values.try_reserve_exact(len).map_err(|_| too_large())?;
    values.resize(len, 0.0);
    Array4::from_shape_vec(shape, values).map_err(|_| too_large())
}

/// Refuses an input without pixels.
pub(super) fn check_size(direction: Direction, height: usize, width: usize) -> Result<()> {
    if height == 0 || width == 0 {
        let what = input_name(direction);
        return Err(Error::invalid(format!(
            "{what} of {width}x{height} (width x height) have no pixels"
        )));
    }
    Ok(())
}

/// The rows of `fill`; a non-finite value is an error.
pub(super) fn finite(
    what: &'static str,
    channels: usize,
    fill: &mut Fill<'_>,
) -> impl FnMut(usize, &mut [f32]) -> Result<()> {
    move |y, row| {
        fill(y, row)?;
        let Some(at) = row.iter().position(|value| !value.is_finite()) else { return Ok(()) };
        let (x, c, value) = (at / channels, at % channels, row[at]);
        Err(Error::invalid(format!("{what}: {value} at channel {c}, row {y}, column {x}")))
    }
}
