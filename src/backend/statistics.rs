#![forbid(unsafe_code)]
//! The source of a run's GroupNorm statistics: its own activations, or, for a tile, the whole
//! picture's.
//!
//! Defect correction finds the statistics of a whole picture without holding its activations. A
//! reduced picture goes through the network with its own statistics. All tiles go through with the
//! same statistics, and those of their activations are gathered. Then the reduced picture goes
//! through again, each statistic corrected by the difference between the gathered one and its own.
//! It models how a change in one layer moves the later layers, so each round about squares the
//! error of the last.

use super::Norm;
use crate::base::alloc;
use crate::base::error::{Error, Result};
use crate::base::shape::{Region, Shape};
use crate::kernels::Sum;

/// Mean and variance of a group of channels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Statistic {
    pub(crate) mean: f64,
    pub(crate) variance: f64,
}

impl Statistic {
    /// The statistic of `count` values with the sums `sum`.
    pub(crate) fn of(sum: Sum, count: f64) -> Self {
        let mean = sum.sum / count;
        Self { mean, variance: (sum.square / count - mean * mean).max(0.0) }
    }
}

/// Corrects a statistic of the reduced picture to the whole picture's: a shift of the mean, in
/// standard deviations, and a factor of the variance.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Correction {
    shift: f64,
    factor: f64,
}

impl Correction {
    /// The correction from `reduced` to `whole`, for a GroupNorm with `epsilon`.
    fn between(reduced: Statistic, whole: Statistic, epsilon: f64) -> Self {
        let variance = reduced.variance + epsilon;
        let shift = (whole.mean - reduced.mean) / variance.sqrt();
        let factor = (whole.variance + epsilon) / variance;
        // Anything beyond means a group without contrast in the reduced picture.
        Self { shift, factor: factor.clamp(1e-3, 1e3) }
    }

    fn apply(self, reduced: Statistic, epsilon: f64) -> Statistic {
        let variance = reduced.variance + epsilon;
        let mean = reduced.mean + self.shift * variance.sqrt();
        Statistic { mean, variance: (variance * self.factor - epsilon).max(0.0) }
    }
}

/// Name of lists of statistics, for messages.
const STATISTICS: &str = "statistics";

/// Statistics for each group of each GroupNorm, in the order of the run.
pub(crate) type PerNorm<T> = Vec<Vec<T>>;

/// The statistics that a run normalises by.
pub(crate) enum Statistics<'s> {
    /// Those of each activation itself.
    Own,
    /// Those of a reduced picture, corrected.
    Reduced(&'s mut Reduced),
    /// Those of the whole picture; the run is one of its tiles.
    Shared(&'s mut Shared),
}

/// The sums of a GroupNorm's input, as far as the backend has them.
pub(super) struct Sums<'s> {
    pub(super) shape: Shape,
    /// The sums of each group, gathered as the input was stored; empty if no operator stored it.
    pub(super) sums: &'s [Sum],
    /// Adds up the values of each group over a part of the input.
    pub(super) over: &'s dyn Fn(&Region) -> Result<Vec<Sum>>,
}

impl Statistics<'_> {
    /// The statistics that `norm` normalises its input by, one for each group.
    pub(super) fn resolve(&mut self, norm: &Norm<'_>, input: &Sums<'_>) -> Result<Vec<Statistic>> {
        let per_group = input.shape.channels / norm.groups;
        let count = |pixels: usize| (pixels * per_group) as f64;
        let own = |sums: &[Sum]| {
            let count = count(input.shape.pixels());
            alloc::collected(sums.iter().map(|&sum| Statistic::of(sum, count)), STATISTICS)
        };
        match self {
            Self::Own => own(input.sums),
            Self::Reduced(reduced) => {
                let own = if input.sums.is_empty() {
                    let Shape { height, width, .. } = input.shape;
                    own(&(input.over)(&Region { top: 0, left: 0, height, width })?)?
                } else {
                    own(input.sums)?
                };
                reduced.next(own, norm.epsilon)
            }
            Self::Shared(shared) => {
                if shared.gathers() {
                    let core = norm.core.ok_or_else(|| Error::internal("a tile without place"))?;
                    shared.gather(&(input.over)(&core)?, count(core.height * core.width))?;
                }
                shared.next()
            }
        }
    }
}

/// The statistics of a reduced picture, recorded as it goes through the network.
#[derive(Default)]
pub(crate) struct Reduced {
    /// Empty at first.
    corrections: PerNorm<Correction>,
    /// The activations' own statistics, with the epsilon of their GroupNorm.
    own: Vec<(Vec<Statistic>, f64)>,
    used: PerNorm<Statistic>,
}

impl Reduced {
    /// The statistics for the next GroupNorm: the activation's own, corrected.
    fn next(&mut self, own: Vec<Statistic>, epsilon: f64) -> Result<Vec<Statistic>> {
        let used = match self.corrections.get(self.used.len()) {
            None => alloc::copied(&own, STATISTICS)?,
            Some(corrections) => {
                let corrected = own.iter().zip(corrections);
                let corrected = corrected.map(|(&own, it)| it.apply(own, epsilon));
                alloc::collected(corrected, STATISTICS)?
            }
        };
        alloc::push(&mut self.own, (own, epsilon), STATISTICS)?;
        alloc::push(&mut self.used, alloc::copied(&used, STATISTICS)?, STATISTICS)?;
        Ok(used)
    }

    /// A copy for the next run of the reduced picture, corrected to the `gathered` statistics of
    /// the whole.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn corrected(&self, gathered: &PerNorm<Statistic>) -> Result<Self> {
        let norms = self.own.iter().zip(gathered);
        let corrections = norms.map(|((own, epsilon), whole)| {
            let groups = own.iter().zip(whole);
            let groups = groups.map(|(&own, &whole)| Correction::between(own, whole, *epsilon));
            alloc::collected(groups, STATISTICS)
        });
        Ok(Self { corrections: alloc::try_collected(corrections, STATISTICS)?, ..Self::default() })
    }

    /// The statistics for the tiles, after a run.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn shared(&self) -> Result<Shared> {
        let used = self.used.iter().map(|norm| alloc::copied(norm, STATISTICS));
        Ok(Shared { used: alloc::try_collected(used, STATISTICS)?, next: 0, gathered: None })
    }
}

/// The statistics that all tiles use, and those gathered from them.
#[derive(Default)]
pub(crate) struct Shared {
    used: PerNorm<Statistic>,
    /// Index of the next GroupNorm.
    next: usize,
    /// For each GroupNorm the sums of its groups, and the number of values in each.
    gathered: Option<Vec<(Vec<Sum>, f64)>>,
}

impl Shared {
    /// These statistics, gathering from now on.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn gathering(self) -> Result<Self> {
        let gathered = alloc::filled((Vec::new(), 0.0), self.used.len(), STATISTICS)?;
        Ok(Self { gathered: Some(gathered), ..self })
    }

    /// Goes back to the first GroupNorm, for another tile.
    pub(crate) fn rewind(&mut self) {
        self.next = 0;
    }

    /// The statistics gathered.
    ///
    /// # Errors
    /// `OutOfMemory`.
    pub(crate) fn statistics(&self) -> Result<PerNorm<Statistic>> {
        let norms = self.gathered.iter().flatten().map(|(sums, count)| {
            alloc::collected(sums.iter().map(|&sum| Statistic::of(sum, *count)), STATISTICS)
        });
        alloc::try_collected(norms, STATISTICS)
    }

    fn gathers(&self) -> bool {
        self.gathered.is_some()
    }

    /// Adds the sums of a tile at the next GroupNorm, over `count` values of each group.
    fn gather(&mut self, sums: &[Sum], count: f64) -> Result<()> {
        let next = self.next;
        if let Some((total, values)) = self.gathered.as_mut().and_then(|all| all.get_mut(next)) {
            alloc::resize(total, sums.len(), Sum::default(), STATISTICS)?;
            for (total, &sum) in total.iter_mut().zip(sums) {
                *total = *total + sum;
            }
            *values += count;
        }
        Ok(())
    }

    fn next(&mut self) -> Result<Vec<Statistic>> {
        let used = self.used.get(self.next);
        self.next += 1;
        let more = || Error::internal("a tile with more GroupNorms than its picture");
        alloc::copied(used.ok_or_else(more)?, STATISTICS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_correction_takes_the_reduced_statistic_to_the_whole() {
        let (reduced, whole) =
            (Statistic { mean: 0.5, variance: 4.0 }, Statistic { mean: -0.25, variance: 9.0 });
        for reduced in [reduced, Statistic { mean: 0.0, variance: 0.02 }] {
            let correction = Correction::between(reduced, whole, 1e-6);
            let found = correction.apply(reduced, 1e-6);
            assert!((found.mean - whole.mean).abs() < 1e-12, "{found:?}");
            assert!((found.variance - whole.variance).abs() < 1e-8, "{found:?}");
        }
    }

    #[test]
    fn tiles_gather_what_the_whole_has() {
        let own = vec![Statistic { mean: 0.0, variance: 1.0 }];
        let mut reduced = Reduced::default();
        assert_eq!(reduced.next(own.clone(), 1e-6).unwrap(), own);
        let mut shared = reduced.shared().unwrap().gathering().unwrap();
        for values in [[1.0, 2.0], [3.0, 6.0]] {
            shared.rewind();
            let [a, b] = values;
            shared.gather(&[Sum { sum: a + b, square: a * a + b * b }], 2.0).unwrap();
            assert_eq!(shared.next().unwrap(), own);
        }
        // 1, 2, 3, 6: the mean is 3, the variance 14 / 4.
        let gathered = shared.statistics().unwrap();
        assert_eq!(gathered, [[Statistic { mean: 3.0, variance: 3.5 }]]);
        let mut again = reduced.corrected(&gathered).unwrap();
        let used = again.next(own, 1e-6).unwrap()[0];
        assert!((used.mean - 3.0).abs() < 1e-5 && (used.variance - 3.5).abs() < 1e-5, "{used:?}");
        assert!(shared.next().is_err());
    }
}
