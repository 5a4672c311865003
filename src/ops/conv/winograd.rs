#![forbid(unsafe_code)]
//! Winograd convolution of 3x3 filters, all stages of a block of tiles while they are in cache.
//!
//! ```text
//! transform the filters                                    `[slice][point][panel][in_channel][nr]`
//! for each block of tiles                                  (an item)
//!     for each chunk of input channels
//!         load the band of these channels, transform it    `[point][tile][in_channel]`
//!     for each slice of output channels
//!         for each point
//!             products = tiles * panels                    (one GEMM)
//!         transform the products, store them
//! ```
//!
//! A block has enough tiles that the filters, which are read once for each block, come from memory
//! slower than they are multiplied. The grid of tiles is anchored at the picture's origin; those that
//! reach over its end compute what is not stored.

use std::ops::ControlFlow;

use super::band::Band;
use super::{Geometry, Item, Job, Resample, Scratch, even, floats};
use crate::base::shape::Shape;
use crate::kernels::threads::Threads;
use crate::kernels::{Gemm, Init, Kernels, Sum, Tiles, Winograd};

/// Tiles of a block: two register tiles of the widest kernel. Twice as many halve how often the filters
/// are read, but then the block's points leave the second-level cache, which costs 10 % more.
const BLOCK_TILES: usize = 26;
/// Tiles of a block side by side.
const BLOCK_ACROSS: usize = 13;
/// Blocks that a picture is cut into at least, while they have `BLOCK_TILES / 2` tiles.
const BLOCKS: usize = 12;
/// Input channels transformed at a time: their band stays in the second-level cache.
const CHUNK: usize = 128;
/// Output channels of a slice: their products stay in the second-level cache.
const SLICE: usize = 32;
/// Output channels that are multiplied together.
const PANEL: usize = 32;
/// What the transform of a value among the points costs, in multiply-adds.
const TRANSFORM: f64 = 32.0;
/// What the transform of a filter's value among the points costs, in multiply-adds: it goes to memory
/// and comes back.
const FILTER: f64 = 32.0;

/// How a Winograd convolution is cut.
#[derive(Clone, Debug)]
pub(super) struct Blocking {
    winograd: Winograd,
    /// Tiles of a block.
    down: usize,
    across: usize,
}

impl Blocking {
    /// The variant that costs least, if any costs less than the direct convolution.
    pub(super) fn choose(in_channels: usize, output: Shape, resample: Resample) -> Option<Self> {
        // The last panel is multiplied as a whole.
        let out_channels = output.channels.next_multiple_of(PANEL) as f64;
        let in_channels = in_channels as f64;
        let both = in_channels * out_channels;
        let direct = 9.0 * (output.pixels() as f64 + FILTER) * both;
        let cost = |winograd: Winograd| {
            let (down, across) = grid(winograd, output);
            let (tiles, products) = ((down * across) as f64, winograd.products() as f64);
            let transformed =
                winograd.points() as f64 * (in_channels + winograd.phases() as f64 * out_channels);
            products * both * (tiles + FILTER) + tiles * transformed * TRANSFORM
        };
        let variants: &[Winograd] = match resample {
            Resample::Keep => &[Winograd::F6, Winograd::F4],
            Resample::Double => &[Winograd::Doubled],
            Resample::Halve => &[],
        };
        let (winograd, cost) = variants
            .iter()
            .map(|&winograd| (winograd, cost(winograd)))
            .min_by(|a, b| a.1.total_cmp(&b.1))?;
        (cost < direct).then(|| Self::new(winograd, output))
    }

    fn new(winograd: Winograd, output: Shape) -> Self {
        let (down, across) = grid(winograd, output);
        let tiles = (down * across / BLOCKS).clamp(BLOCK_TILES / 2, BLOCK_TILES);
        let block_across = even(across, BLOCK_ACROSS.min(tiles));
        Self { winograd, down: even(down, (tiles / block_across).max(1)), across: block_across }
    }

    /// Output rows and columns of a block.
    pub(super) fn block(&self) -> (usize, usize) {
        (self.down * self.winograd.outputs(), self.across * self.winograd.outputs())
    }

    /// Rows and columns of the first block that lie before the picture.
    pub(super) fn origin(&self) -> usize {
        self.winograd.origin()
    }
}

/// Tiles that cover the picture, down and across.
fn grid(winograd: Winograd, output: Shape) -> (usize, usize) {
    let tiles = |length: usize| (length + winograd.origin()).div_ceil(winograd.outputs());
    (tiles(output.height), tiles(output.width))
}

/// A slice of output channels, cut into panels.
struct Slice {
    first: usize,
    channels: usize,
    panels: usize,
}

impl Slice {
    fn all(channels: usize, nr: usize) -> impl Iterator<Item = Self> {
        (0..channels).step_by(SLICE).map(move |first| {
            let channels = SLICE.min(channels - first);
            Self { first, channels, panels: channels.div_ceil(nr) }
        })
    }

    /// Values from a point of the filters to the next: an odd number of cache lines, so that the points
    /// of a value do not meet in one set of a cache.
    fn point_stride(&self, in_channels: usize, nr: usize) -> usize {
        odd_lines(self.panels * nr * in_channels)
    }

    /// Values of the slice's filters.
    fn values(&self, winograd: Winograd, in_channels: usize, nr: usize) -> usize {
        winograd.products() * self.point_stride(in_channels, nr)
    }
}

fn odd_lines(values: usize) -> usize {
    let lines = values.div_ceil(16);
    16 * (lines + usize::from(lines.is_multiple_of(2)))
}

/// The parts of a worker's scratch memory, in values.
struct Parts {
    band: usize,
    inputs: usize,
    products: usize,
    pixels: usize,
}

/// Strides of the transformed inputs of a block: from a tile to the next, from a point to the next.
fn input_strides(in_channels: usize, tiles: usize) -> (usize, usize) {
    let tile = odd_lines(in_channels);
    (tile, odd_lines(tiles * tile))
}

/// Strides of the products of a block with a slice, likewise.
fn product_strides(slice: &Slice, tiles: usize, nr: usize) -> (usize, usize) {
    let tile = slice.panels * nr;
    (tile, odd_lines(tiles * tile))
}

impl Geometry {
    pub(super) fn winograd_scratch(&self, blocking: &Blocking, nr: usize) -> Scratch {
        let filters = Slice::all(self.output.channels, nr)
            .map(|slice| slice.values(blocking.winograd, self.input.channels, nr))
            .sum();
        let Parts { band, inputs, products, pixels } = self.parts(blocking, nr);
        Scratch { filters: floats(filters), worker: floats(band + inputs + products + pixels) }
    }

    #[cfg(feature = "bench")]
    pub(super) fn winograd_method(&self, blocking: &Blocking) -> (&'static str, u64) {
        let (down, across) = grid(blocking.winograd, self.output);
        let products = down * across * blocking.winograd.products();
        let name = match blocking.winograd {
            Winograd::F4 => "F(4,3)",
            Winograd::F6 => "F(6,3)",
            Winograd::Doubled => "F(5,2)",
        };
        (name, (products * self.input.channels * self.output.channels) as u64)
    }

    fn parts(&self, blocking: &Blocking, nr: usize) -> Parts {
        let Blocking { winograd, down, across } = *blocking;
        let slice = Slice { first: 0, channels: SLICE, panels: SLICE.div_ceil(nr) };
        let tiles = down * across;
        let (rows, columns) = blocking.block();
        Parts {
            band: winograd_band(blocking, 0, 0, down, across, 0..CHUNK).len(),
            inputs: winograd.points() * input_strides(self.input.channels, tiles).1,
            products: winograd.points() * product_strides(&slice, tiles, nr).1,
            pixels: rows * columns * slice.panels * nr,
        }
    }
}

/// What `down` rows of `across` tiles read of some channels, from tile row `top` and tile column `left`.
fn winograd_band(
    blocking: &Blocking,
    top: usize,
    left: usize,
    down: usize,
    across: usize,
    channels: std::ops::Range<usize>,
) -> Band {
    let (step, inputs) = (blocking.winograd.step(), blocking.winograd.inputs());
    let reach = |tiles: usize| (tiles - 1) * step + inputs;
    Band {
        top: top * step,
        left: left * step,
        repeat: 1,
        rows: reach(down),
        columns: reach(across),
        // Whole vectors of the widest set; what lies beyond the channels is transformed and never read.
        pixel_stride: channels.len().next_multiple_of(16),
        channels,
    }
}

impl Job<'_> {
    /// Transforms the filters, a slice an item.
    pub(super) fn winograd_filters(
        &self,
        blocking: &Blocking,
        threads: &Threads,
        kernels: &Kernels,
        dst: &mut [f32],
    ) {
        let (nr, in_channels) = (kernels.nr(), self.geometry.input.channels);
        let mut rest = dst;
        let mut items = Vec::new();
        for slice in Slice::all(self.geometry.output.channels, nr) {
            let values = slice.values(blocking.winograd, in_channels, nr);
            let (part, tail) = rest.split_at_mut(values);
            items.push((slice, part));
            rest = tail;
        }
        let Some(filter) = self.filters.first() else { return };
        let pack = filter.pack();
        let mut workers = vec![(); threads.count()];
        let _ = threads.run(
            &mut workers,
            items,
            &mut |_| ControlFlow::Continue(()),
            |(), (slice, part)| {
                let stride = slice.point_stride(in_channels, nr);
                for panel in 0..slice.panels {
                    let (index, at) = (slice.first / nr + panel, panel * in_channels * nr);
                    let part = &mut part[at..];
                    kernels.winograd_filters(blocking.winograd, &pack, index, stride, part);
                }
            },
        );
    }

    pub(super) fn winograd_block(
        &self,
        blocking: &Blocking,
        kernels: &Kernels,
        filters: &[f32],
        bias: &[f32],
        scratch: &mut [f32],
        item: Item<'_>,
    ) {
        let (geometry, winograd, nr) = (&self.geometry, blocking.winograd, kernels.nr());
        let (in_channels, out_channels) = (geometry.input.channels, geometry.output.channels);
        let parts = geometry.parts(blocking, nr);
        let (band, scratch) = scratch.split_at_mut(parts.band);
        let (inputs, scratch) = scratch.split_at_mut(parts.inputs);
        let (products, pixels) = scratch.split_at_mut(parts.products);

        // The first tile of the block, and its outputs that lie before the picture.
        let (outputs, origin) = (winograd.outputs(), winograd.origin());
        let first = |at: usize| ((at + origin) / outputs, (at + origin) % outputs);
        let ((top, above), (left, before)) =
            (first(item.block.rows.start), first(item.block.columns.start));
        let down = (above + item.block.rows.len()).div_ceil(outputs);
        let across = (before + item.block.columns.len()).div_ceil(outputs);
        let tiles = down * across;
        let (tile_stride, point_stride) = input_strides(in_channels, tiles);
        for first in (0..in_channels).step_by(CHUNK) {
            let channels = first..in_channels.min(first + CHUNK);
            let loaded = winograd_band(blocking, top, left, down, across, channels);
            self.load(kernels, &loaded, &[], band);
            let shape = Tiles {
                down,
                across,
                row_stride: loaded.row_stride(),
                pixel_stride: loaded.pixel_stride,
                tile_stride,
                point_stride,
                channels: loaded.pixel_stride,
            };
            kernels.winograd_input(winograd, &shape, band, &mut inputs[first..]);
        }

        let mut sums = vec![Sum::default(); out_channels];
        let mut rows = item.rows;
        let mut filters = filters;
        for slice in Slice::all(out_channels, nr) {
            let filter_stride = slice.point_stride(in_channels, nr);
            let (product_tile, product_point) = product_strides(&slice, tiles, nr);
            let row_stride = across * outputs * product_tile;
            for phase in 0..winograd.phases() {
                for point in 0..winograd.points() {
                    if winograd.shared(phase, point) {
                        continue;
                    }
                    let gemm = Gemm {
                        a: &inputs[point * point_stride..],
                        a_stride: tile_stride,
                        rows: tiles,
                        taps: &[0],
                        depth: in_channels,
                        b: filters,
                        panels: slice.panels,
                        init: Init::Zero,
                        c_stride: product_tile,
                    };
                    kernels.gemm(&gemm, &mut products[point * product_point..]);
                    filters = &filters[filter_stride..];
                }
                let (apart, (down_by, right_by)) = winograd.phase(phase);
                let shape = Tiles {
                    down,
                    across,
                    row_stride: apart * row_stride,
                    pixel_stride: apart * product_tile,
                    tile_stride: product_tile,
                    point_stride: product_point,
                    channels: product_tile,
                };
                let (bias, at) =
                    (&bias[slice.first..], down_by * row_stride + right_by * product_tile);
                kernels.winograd_output(winograd, &shape, products, bias, &mut pixels[at..]);
            }
            for (row, out) in rows.iter_mut().enumerate() {
                let at = (above + row) * row_stride + before * product_tile;
                let channels = slice.first..slice.first + slice.channels;
                self.store(kernels, (&pixels[at..], product_tile), channels, out, &mut sums);
            }
        }
        self.group(&sums, item.sums);
    }
}
