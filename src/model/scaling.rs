#![forbid(unsafe_code)]
//! Converts between raw latents and those of the diffusion model.

use ndarray::ArrayViewMut4;

use crate::base::alloc;
use crate::base::error::{Error, Result};

/// The scaling of a configuration: a factor, and one offset or the statistics of each channel.
pub(super) struct Scaling<'a> {
    /// `latent_channels`.
    pub(super) channels: usize,
    /// Side of the patches that `mean` and `std` are of; 1 if they are of channels.
    pub(super) patch: usize,
    /// `scaling_factor`.
    pub(super) factor: f64,
    /// `shift_factor`.
    pub(super) shift: Option<f64>,
    /// `latents_mean`.
    pub(super) mean: Option<&'a [f64]>,
    /// `latents_std`.
    pub(super) std: Option<&'a [f64]>,
}

impl Scaling<'_> {
    /// # Errors
    /// `Model`, naming the field, with expected and found.
    pub(super) fn validate(&self) -> Result<()> {
        let wrong = |message: String| Err(Error::model(message));
        if !self.factor.is_finite() || self.factor == 0.0 {
            return wrong(format!(
                "scaling_factor: a finite number other than 0 expected, {} found",
                self.factor
            ));
        }
        if self.shift.is_some_and(|shift| !shift.is_finite()) {
            return wrong("shift_factor: a finite number expected".into());
        }
        for (field, values) in [("latents_mean", self.mean), ("latents_std", self.std)] {
            let Some(values) = values else { continue };
            let expected = self.channels * self.patch * self.patch;
            if values.len() != expected {
                return wrong(format!(
                    "{field}: {expected} numbers expected ({}), {} found",
                    if self.patch > 1 { "for each channel of a patch" } else { "latent_channels" },
                    values.len()
                ));
            }
            if values.iter().any(|v| !v.is_finite() || (field == "latents_std" && *v <= 0.0)) {
                return wrong(format!("{field}: finite numbers (positive for std) expected"));
            }
        }
        if self.mean.is_some() != self.std.is_some() {
            return wrong("latents_mean and latents_std: both or neither expected".into());
        }
        Ok(())
    }

    /// Scales raw latents, in place.
    ///
    /// # Errors
    /// `InvalidArgument` if the second axis is not `channels` long.
    pub(super) fn apply(&self, latents: ArrayViewMut4<'_, f32>) -> Result<()> {
        self.map_channels(latents, |x, (offset, factor)| (x - offset) * factor)
    }

    /// The inverse of [`Scaling::apply`].
    ///
    /// # Errors
    /// `InvalidArgument` if the second axis is not `channels` long.
    pub(super) fn undo(&self, latents: ArrayViewMut4<'_, f32>) -> Result<()> {
        self.map_channels(latents, |x, (offset, factor)| x / factor + offset)
    }

    /// [`Scaling::undo`] of the value at row `y`, column `x` of channel `c`.
    #[cfg(feature = "capi")]
    pub(super) fn undone(&self, value: f32, [c, y, x]: [usize; 3]) -> f32 {
        let place = y % self.patch * self.patch + x % self.patch;
        let (offset, factor) = self.statistics(c * self.patch * self.patch + place);
        (f64::from(value) / factor + offset) as f32
    }

    /// Maps each value with its channel's offset and factor.
    fn map_channels(
        &self,
        mut latents: ArrayViewMut4<'_, f32>,
        map: impl Fn(f64, (f64, f64)) -> f64,
    ) -> Result<()> {
        let (_, found, height, width) = latents.dim();
        let (expected, patch) = (self.channels, self.patch);
        if found != expected {
            return Err(Error::invalid(format!(
                "latents: {expected} channels expected, {found} found"
            )));
        }
        if !height.is_multiple_of(patch) || !width.is_multiple_of(patch) {
            return Err(Error::invalid(format!(
                "latents: sides that are multiples of {patch} expected, {width}x{height} found"
            )));
        }
        let places = patch * patch;
        let statistics = (0..expected * places).map(|index| self.statistics(index));
        let statistics = alloc::collected(statistics, "statistics of latents")?;
        for ((_, c, y, x), value) in latents.indexed_iter_mut() {
            let place = y % patch * patch + x % patch;
            *value = map(f64::from(*value), statistics[c * places + place]) as f32;
        }
        Ok(())
    }

    /// Offset and factor of a channel, or of a channel of a patch.
    fn statistics(&self, index: usize) -> (f64, f64) {
        match (self.mean, self.std) {
            (Some(mean), Some(std)) => (mean[index], self.factor / std[index]),
            _ => (self.shift.unwrap_or(0.0), self.factor),
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;

    #[test]
    fn scaling_and_its_inverse() {
        let mut scaling = Scaling {
            channels: 4,
            patch: 1,
            factor: 0.5,
            shift: Some(0.25),
            mean: None,
            std: None,
        };
        let original = Array4::from_shape_fn((1, 4, 2, 2), |(_, c, y, x)| (c + y * x) as f32);
        let mut latents = original.clone();
        scaling.apply(latents.view_mut()).unwrap();
        assert_eq!(latents[(0, 3, 1, 1)], (4.0 - 0.25) * 0.5);
        scaling.undo(latents.view_mut()).unwrap();
        assert_eq!(latents, original);
        scaling.mean = Some(&[0.0, 1.0, 2.0, 3.0]);
        scaling.std = Some(&[1.0, 2.0, 4.0, 8.0]);
        scaling.apply(latents.view_mut()).unwrap();
        assert_eq!(latents[(0, 3, 1, 1)], (4.0 - 3.0) * 0.5 / 8.0);
        let error = scaling.apply(Array4::zeros((1, 3, 1, 1)).view_mut()).unwrap_err();
        assert!(error.message().contains("4 channels expected, 3 found"));
    }
}
