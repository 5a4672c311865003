//! Blends one activation into another by a mask, in place, pixel after pixel.

use std::ops::{ControlFlow, Range};

use crate::base::alloc;
use crate::base::buffer::{Elements, ElementsMut};
use crate::base::error::Result;
use crate::base::shape::Shape;
use crate::kernels::{AffineAct, Epilogue, Kernels, Store, Sum};
use crate::ops::exec::Exec;
use crate::ops::place::{Place, Source, Target};
use crate::ops::sums::{group, merge};

/// Pixels of a row that are blended at a time.
const PIXELS: usize = 64;

/// `x * mask + other * (1 - mask)`, in place of `x`.
pub(crate) struct Blend<'a> {
    /// The shape of both activations.
    pub(crate) shape: Shape,
    /// Values from one pixel to the next in `x`, and in `other`.
    pub(crate) pitch: usize,
    pub(crate) other_pitch: usize,
    pub(crate) other: Source<'a>,
    /// The mask, with `step` of its pixels for each of the activations' in each direction, of which
    /// the first counts.
    pub(crate) mask: Source<'a>,
    pub(crate) step: usize,
    /// Groups of channels to sum over.
    pub(crate) groups: usize,
}

/// The memory of a worker.
struct Worker {
    x: Vec<f32>,
    other: Vec<f32>,
    mask: Vec<f32>,
    /// Bytes out of the scratch file, as much as an activation's pixels or a mask's row need.
    staging: Vec<u8>,
    sums: Vec<Sum>,
}

/// Bytes that a worker stages of pixels `widest` values apart.
fn staged(widest: usize) -> usize {
    PIXELS * widest * size_of::<f32>()
}

/// Bytes at most that a blend of pixels `widest` values apart allocates with `threads` workers.
pub(crate) fn bookkeeping(shape: Shape, widest: usize, groups: usize, threads: usize) -> usize {
    let Shape { height, channels, .. } = shape;
    let (pixels, sum) = (PIXELS * (2 * channels + 1) * size_of::<f32>(), size_of::<Sum>());
    let worker = pixels + 2 * staged(widest) + channels * sum + size_of::<Worker>();
    let sums = height.saturating_add(1).saturating_mul(groups * sum);
    sums.saturating_add(threads.saturating_mul(worker))
}

impl Blend<'_> {
    /// Blends into `x`. Returns the sums of each group of the stored values, or `None` if `tick`
    /// (rows done, of how many) said to stop. Rows are summed in order, for any number of threads.
    ///
    /// # Errors
    /// `Io` if the scratch file fails, `OutOfMemory`.
    pub(crate) fn run(
        &self,
        exec: Exec<'_>,
        x: Target<'_>,
        tick: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Option<Vec<Sum>>> {
        let Shape { height, width, .. } = self.shape;
        let mut sums = alloc::filled(Sum::default(), height * self.groups, "sums")?;
        let workers = (0..exec.threads.count()).map(|_| self.worker());
        let mut workers = alloc::try_collected(workers, "workers")?;
        let row = width * self.pitch;
        let mut rest = x;
        let rows = (0..height).map(move |y| match &mut rest {
            Place::Memory(x) => {
                let (row, tail) = x.take().split_at(row);
                *x = tail;
                (y, Place::Memory(row))
            }
            Place::File(region, dtype) => (y, Place::File(region.clone(), *dtype)),
        });
        let items = rows.zip(sums.chunks_exact_mut(self.groups));
        let mut tick = |done| tick(done, height);
        let flow = exec.threads.try_run(&mut workers, items, &mut tick, |worker, item| {
            let (((y, row), groups), (worker, staging)) = (item, worker);
            self.row(exec.kernels, worker, staging, (y, row))?;
            group(&worker.sums, groups);
            Ok(())
        })?;
        if flow.is_break() {
            return Ok(None);
        }
        merge(&sums, self.groups).map(Some)
    }

    /// Bytes of what a worker stages.
    fn staged(&self) -> usize {
        staged(self.pitch.max(self.other_pitch).max(self.step))
    }

    /// A worker, and bytes for pixels of `x` out of the scratch file.
    fn worker(&self) -> Result<(Worker, Vec<u8>)> {
        let (channels, bytes, what) = (self.shape.channels, self.staged(), "a worker's pixels");
        let worker = Worker {
            x: alloc::filled(0.0, PIXELS * channels, what)?,
            other: alloc::filled(0.0, PIXELS * channels, what)?,
            mask: alloc::filled(0.0, PIXELS, what)?,
            staging: alloc::filled(0, bytes, what)?,
            sums: alloc::filled(Sum::default(), channels, what)?,
        };
        Ok((worker, alloc::filled(0, bytes, what)?))
    }

    fn row(
        &self,
        kernels: &Kernels,
        worker: &mut Worker,
        staging: &mut [u8],
        (y, mut row): (usize, Target<'_>),
    ) -> Result<()> {
        worker.sums.fill(Sum::default());
        let width = self.shape.width;
        for first in (0..width).step_by(PIXELS) {
            let columns = first..width.min(first + PIXELS);
            match &mut row {
                Place::Memory(row) => {
                    self.pixels(kernels, worker, y, columns, row.tail(first * self.pitch))?;
                }
                Place::File(region, dtype) => {
                    let size = self.pitch * dtype.size();
                    let part = &mut staging[..columns.len() * size];
                    let at = ((y * width + first) * size) as u64;
                    region.read(at, part)?;
                    self.pixels(kernels, worker, y, columns, ElementsMut::new(*dtype, part))?;
                    region.write(at, part)?;
                }
            }
        }
        Ok(())
    }

    /// Blends into the pixels `columns` of row `y`, which begin at `x`.
    fn pixels(
        &self,
        kernels: &Kernels,
        worker: &mut Worker,
        y: usize,
        columns: Range<usize>,
        mut x: ElementsMut<'_>,
    ) -> Result<()> {
        let Shape { width, channels, .. } = self.shape;
        let (count, first) = (columns.len(), y * width + columns.start);
        let Worker { x: blended, other, mask, staging, sums, .. } = worker;
        let load = |src, src_stride, to: &mut [f32]| {
            let (affine, act, dst_stride) = (None, None, channels);
            let job =
                AffineAct { src, src_stride, pixels: count, channels, affine, act, dst_stride };
            kernels.affine_act(&job, to);
        };
        load(x.shared(), self.pitch, blended);
        let values = first * self.other_pitch..(first + count) * self.other_pitch;
        load(self.other.read(values, staging)?, self.other_pitch, other);
        let at = (y * width * self.step + columns.start) * self.step;
        let values = self.mask.read(at..at + (count - 1) * self.step + 1, staging)?;
        if let Elements::F32(values) = values {
            for (to, from) in mask.iter_mut().zip(values.iter().step_by(self.step)) {
                *to = *from;
            }
        }
        let pixels = blended.chunks_exact_mut(channels).zip(other.chunks_exact(channels));
        for ((pixel, other), &mask) in pixels.zip(&mask[..count]) {
            for (x, &other) in pixel.iter_mut().zip(other) {
                *x = *x * mask + other * (1.0 - mask);
            }
        }
        let store = Store {
            acc: blended,
            acc_stride: channels,
            pixels: count,
            channels,
            residual: false,
            epilogue: Epilogue::None,
            stream: false,
            dst_stride: self.pitch,
        };
        kernels.store(&store, x.tail(0), Some(sums));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Level;
    use crate::base::error::ErrorKind;
    use crate::base::scratch_file::ScratchFile;
    use crate::base::storage::Storage;

    /// A worker may begin another row before the others know that one has failed.
    #[test]
    fn a_scratch_file_that_fails_is_an_error_in_every_row() {
        let kernels = Kernels::new(Level::Portable).unwrap();
        let values = [0.5; 16];
        let blend = Blend {
            shape: Shape::new(1, 8, 2),
            pitch: 2,
            other_pitch: 2,
            other: Place::Memory(Elements::F32(&values)),
            mask: Place::Memory(Elements::F32(&values)),
            step: 1,
            groups: 1,
        };
        let file = ScratchFile::create(&std::env::temp_dir(), 64).unwrap();
        let (mut worker, mut staging) = blend.worker().unwrap();
        for _ in 0..2 {
            // Behind the end of the file.
            let x = Place::File(file.region(1 << 20..1 << 21), Storage::F32);
            let error = blend.row(&kernels, &mut worker, &mut staging, (0, x)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io, "{error}");
        }
    }
}
