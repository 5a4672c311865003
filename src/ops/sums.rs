//! Sums over a part of an activation, for statistics that no operator gathered as it stored.

use std::ops::ControlFlow;

use crate::base::alloc;
use crate::base::buffer::Elements;
use crate::base::error::Result;
use crate::base::shape::Region;
use crate::kernels::{AffineAct, Kernels, Sum};
use crate::ops::exec::Exec;

/// Pixels that are summed at a time.
const PIXELS: usize = 64;

/// Name of lists of sums, for messages.
const SUMS: &str = "sums";

/// Bytes at most that [`group_sums`] allocates for `height` rows of `channels` channels.
pub(crate) fn bookkeeping(height: usize, channels: usize, groups: usize, threads: usize) -> usize {
    let (pixel, sum) = (PIXELS * size_of::<f32>(), size_of::<Sum>());
    // Beside its two lists, a worker takes their headers.
    let worker = channels.saturating_mul(pixel + sum).saturating_add(48);
    let sums = height.saturating_add(1).saturating_mul(groups).saturating_mul(sum);
    sums.saturating_add(threads.saturating_mul(worker))
}

/// An activation in memory.
#[derive(Clone, Copy)]
pub(crate) struct Picture<'a> {
    pub(crate) values: Elements<'a>,
    pub(crate) width: usize,
    pub(crate) channels: usize,
    /// Values from one pixel to the next.
    pub(crate) pitch: usize,
}

/// The sums of each of `groups` groups of channels over `region`. Rows are added in order, for any
/// number of threads.
///
/// # Errors
/// `OutOfMemory`.
pub(crate) fn group_sums(
    exec: Exec<'_>,
    picture: Picture<'_>,
    region: &Region,
    groups: usize,
) -> Result<Vec<Sum>> {
    let Exec { threads, kernels } = exec;
    let channels = picture.channels;
    let mut rows = alloc::filled(Sum::default(), region.height * groups, SUMS)?;
    let items = region.rows().zip(rows.chunks_exact_mut(groups));
    let worker = |_| {
        let line = alloc::filled(0.0, PIXELS * channels, "a worker's pixels")?;
        Ok((line, alloc::filled(Sum::default(), channels, SUMS)?))
    };
    let mut workers = alloc::try_collected((0..threads.count()).map(worker), "workers")?;
    let _ = threads.run(&mut workers, items, &mut |_| ControlFlow::Continue(()), |worker, item| {
        let ((line, sums), (y, groups)) = (worker, item);
        sums.fill(Sum::default());
        for first in region.columns().step_by(PIXELS) {
            let count = PIXELS.min(region.left + region.width - first);
            picture.load(kernels, y, first, count, line);
            for pixel in line[..count * channels].chunks_exact(channels) {
                for (sum, &value) in sums.iter_mut().zip(pixel) {
                    let value = f64::from(value);
                    *sum = *sum + Sum { sum: value, square: value * value };
                }
            }
        }
        group(sums, groups);
    });
    merge(&rows, groups)
}

/// Computes the sums of each group from those of its channels.
pub(crate) fn group(channels: &[Sum], groups: &mut [Sum]) {
    let per_group = channels.len() / groups.len();
    for (group, channels) in groups.iter_mut().zip(channels.chunks_exact(per_group)) {
        *group = channels.iter().fold(Sum::default(), |total, &channel| total + channel);
    }
}

/// Adds up the sums of `groups` groups of each part, in the order of the parts.
///
/// # Errors
/// `OutOfMemory`.
pub(crate) fn merge(parts: &[Sum], groups: usize) -> Result<Vec<Sum>> {
    let mut total = alloc::filled(Sum::default(), groups, SUMS)?;
    for part in parts.chunks_exact(groups) {
        for (total, &sum) in total.iter_mut().zip(part) {
            *total = *total + sum;
        }
    }
    Ok(total)
}

impl Picture<'_> {
    /// The values of `count` pixels of row `y` from column `x` on.
    fn load(&self, kernels: &Kernels, y: usize, x: usize, count: usize, to: &mut [f32]) {
        let Self { values, width, channels, pitch } = *self;
        let first = (y * width + x) * pitch;
        let job = AffineAct {
            src: values.slice(first..first + (count - 1) * pitch + channels),
            src_stride: pitch,
            pixels: count,
            channels,
            affine: None,
            act: None,
            dst_stride: channels,
        };
        kernels.affine_act(&job, to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Level;
    use crate::kernels::threads::Threads;

    #[test]
    fn sums_are_those_of_the_region_whatever_the_threads() {
        let (height, width, pitch, channels) = (5, 150, 7, 6);
        let values: Vec<f32> = (0..height * width * pitch).map(|i| (i % 23) as f32 - 9.0).collect();
        let region = Region { top: 1, left: 3, height: 3, width: 146 };
        let mut expected = [Sum::default(); 2];
        for y in region.rows() {
            for x in region.columns() {
                for c in 0..channels {
                    let value = f64::from(values[(y * width + x) * pitch + c]);
                    let sum = Sum { sum: value, square: value * value };
                    expected[c / 3] = expected[c / 3] + sum;
                }
            }
        }
        for level in Level::available() {
            let kernels = Kernels::new(level).unwrap();
            for count in 1..4 {
                let threads = Threads::new(count).unwrap();
                let exec = Exec { threads: &threads, kernels: &kernels };
                let picture = Picture { values: Elements::F32(&values), width, channels, pitch };
                // Sums of whole numbers are exact.
                let found = group_sums(exec, picture, &region, 2).unwrap();
                assert_eq!(found, expected, "{level:?}, {count} threads");
            }
        }
    }
}
