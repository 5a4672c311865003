//! Blends one activation into another by a mask, in place, pixel after pixel.

use std::ops::{ControlFlow, Range};

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
#[derive(Clone)]
struct Worker {
    x: Vec<f32>,
    other: Vec<f32>,
    mask: Vec<f32>,
    /// Bytes out of the scratch file, as much as an activation's pixels or a mask's row need.
    staging: Vec<u8>,
    target: Vec<u8>,
    sums: Vec<Sum>,
}

impl Blend<'_> {
    /// Blends into `x`. Returns the sums of each group of the stored values, or `None` if `tick`
    /// (rows done, of how many) said to stop. Rows are summed in order, for any number of threads.
    ///
    /// # Errors
    /// `Io` if the scratch file fails.
    pub(crate) fn run(
        &self,
        exec: Exec<'_>,
        x: Target<'_>,
        tick: &mut dyn FnMut(usize, usize) -> ControlFlow<()>,
    ) -> Result<Option<Vec<Sum>>> {
        let Shape { height, width, channels } = self.shape;
        let mut sums = vec![Sum::default(); height * self.groups];
        let bytes = PIXELS * self.pitch.max(self.other_pitch).max(self.step) * size_of::<f32>();
        let worker = Worker {
            x: vec![0.0; PIXELS * channels],
            other: vec![0.0; PIXELS * channels],
            mask: vec![0.0; PIXELS],
            staging: vec![0; bytes],
            target: vec![0; bytes],
            sums: vec![Sum::default(); channels],
        };
        let mut workers = vec![worker; exec.threads.count()];
        let rows: Vec<Target<'_>> = match x {
            Place::Memory(x) => {
                let mut rest = Some(x);
                let row = || {
                    let (row, tail) = rest.take()?.split_at(width * self.pitch);
                    rest = Some(tail);
                    Some(Place::Memory(row))
                };
                std::iter::repeat_with(row).take(height).flatten().collect()
            }
            Place::File(region, dtype) => {
                (0..height).map(|_| Place::File(region.clone(), dtype)).collect()
            }
        };
        let items: Vec<_> =
            rows.into_iter().enumerate().zip(sums.chunks_exact_mut(self.groups)).collect();
        let mut tick = |done| tick(done, height);
        let flow = exec.threads.try_run(&mut workers, items, &mut tick, |worker, item| {
            let ((y, row), groups) = item;
            self.row(exec.kernels, worker, y, row)?;
            group(&worker.sums, groups);
            Ok(())
        })?;
        Ok(flow.is_continue().then(|| merge(&sums, self.groups)))
    }

    fn row(
        &self,
        kernels: &Kernels,
        worker: &mut Worker,
        y: usize,
        mut row: Target<'_>,
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
                    let mut bytes = std::mem::take(&mut worker.target);
                    let part = &mut bytes[..columns.len() * size];
                    let at = ((y * width + first) * size) as u64;
                    region.read(at, part)?;
                    self.pixels(kernels, worker, y, columns, ElementsMut::new(*dtype, part))?;
                    region.write(at, part)?;
                    worker.target = bytes;
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
