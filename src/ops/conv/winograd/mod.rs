#![forbid(unsafe_code)]
//! Winograd convolution of 3x3 filters, on blocks of tiles whose transformed values stay in the caches.
//!
//! Each value of the input, of the filters and of the products is transformed once, and there are two
//! orders to do it in. Where the picture is large, the transformed filters are kept and the blocks of tiles
//! pass by (`blocks`); where the transformed picture is smaller than they are, it is kept and slices of the
//! filters pass by (`slices`).
//!
//! The grid of tiles is anchored at the picture's origin; those that reach over its end compute what is
//! not stored. Blocks depend on the layer's shape alone, never on the machine's caches: the sums of
//! GroupNorm are merged block by block, so that another cut would move their last bits.

mod blocks;
mod slices;

use std::ops::Range;

use super::band::Band;
use super::{Block, Geometry, Job, Resample, Scratch, even};
use crate::base::error::Result;
use crate::base::shape::Shape;
use crate::kernels::{Ahead, Gemm, Init, Kernels, Tiles, Winograd};

/// Tiles of a block: two register tiles of the widest kernel. Half as many would keep the block's points in
/// the second-level cache, but the filters are then read twice as often, which costs more.
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

/// The most values of a transformed picture that is kept whole: 20 MiB, about what a core complex has of
/// third-level cache to spare.
const KEPT: usize = 5 << 20;
/// Slices of filters that a layer has at least where the picture is kept, for all workers to have some.
const SLICES: usize = 8;

/// How a Winograd convolution is cut.
#[derive(Clone, Debug)]
pub(super) struct Blocking {
    winograd: Winograd,
    pub(super) order: Order,
    /// Tiles of a block.
    down: usize,
    across: usize,
    /// Blocks whose transformed inputs are kept at a time where the picture is.
    strip: usize,
}

/// What is transformed first, and kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Filters,
    Picture,
}

impl Blocking {
    /// The variant that costs least, if any costs less than the direct convolution. `kept` bounds the
    /// bytes of what is kept transformed.
    pub(super) fn choose(
        in_channels: usize,
        output: Shape,
        resample: Resample,
        kept: usize,
    ) -> Option<Self> {
        // The last panel is multiplied as a whole.
        let out_channels = output.channels.next_multiple_of(PANEL) as f64;
        let both = in_channels as f64 * out_channels;
        let direct = 9.0 * (output.pixels() as f64 + FILTER) * both;
        let cost = |winograd: Winograd| {
            let (down, across) = grid(winograd, output);
            let tiles = (down * across) as f64;
            let multiplied =
                winograd.products() as f64 * tiles + winograd.filters() as f64 * FILTER;
            let transformed = winograd.points() as f64
                * (in_channels as f64 + winograd.phases() as f64 * out_channels);
            both * multiplied + tiles * transformed * TRANSFORM
        };
        let variants: &[Winograd] = match resample {
            Resample::Keep => &[Winograd::F8, Winograd::F6, Winograd::F4],
            Resample::Double => &[Winograd::Doubled],
            Resample::Halve => &[Winograd::Halved],
        };
        let (winograd, cost) = variants
            .iter()
            .map(|&winograd| (winograd, cost(winograd)))
            .min_by(|a, b| a.1.total_cmp(&b.1))?;
        (cost < direct).then(|| Self::new(winograd, in_channels, output, kept))
    }

    fn new(winograd: Winograd, in_channels: usize, output: Shape, kept: usize) -> Self {
        let (down, across) = grid(winograd, output);
        let tiles = (down * across / BLOCKS).clamp(BLOCK_TILES / 2, BLOCK_TILES);
        let block_across = even(across, BLOCK_ACROSS.min(tiles));
        let block_down = even(down, (tiles / block_across).max(1));
        let (points, block) = (winograd.points(), block_down * block_across);
        let inputs = |tiles: usize| tiles * points * odd_lines(in_channels);
        let filters = winograd.filters() * in_channels * output.channels.next_multiple_of(SLICE);
        let order = if inputs(down * across) <= KEPT && output.channels >= SLICES * SLICE
            || filters * size_of::<f32>() > kept
        {
            Order::Picture
        } else {
            Order::Filters
        };
        // With a block's inputs its outputs are kept.
        let outputs = block * winograd.outputs().pow(2) * output.channels.next_multiple_of(SLICE);
        let strip = (kept / ((inputs(block) + outputs) * size_of::<f32>())).max(1);
        Self { winograd, order, down: block_down, across: block_across, strip }
    }

    /// What a block reads.
    pub(super) fn band(&self, in_channels: usize) -> Band {
        band(self.winograd, (0, 0), (self.down, self.across), 0..in_channels)
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

    /// Where the slice's filters are transformed row by row: values from a row of transformed columns to
    /// the next, those of all columns of all panels, and those of a row of filters.
    fn stages(&self, winograd: Winograd, in_channels: usize, nr: usize) -> (usize, usize, usize) {
        let stride = odd_lines(in_channels * 3 * nr);
        let columns = self.panels * winograd.columns() * stride;
        (stride, columns, winograd.values() * self.point_stride(in_channels, nr))
    }

    /// Values of the slice's filters.
    fn values(&self, winograd: Winograd, in_channels: usize, nr: usize) -> usize {
        winograd.filters() * self.point_stride(in_channels, nr)
    }
}

fn odd_lines(values: usize) -> usize {
    let lines = values.div_ceil(16);
    16 * (lines + usize::from(lines.is_multiple_of(2)))
}

/// The tiles of a block of output pixels.
#[derive(Clone, Copy)]
struct Grid {
    /// The first tile row and column.
    top: usize,
    left: usize,
    /// Outputs of the first tile row and column that lie before the picture.
    above: usize,
    before: usize,
    down: usize,
    across: usize,
}

impl Grid {
    fn new(winograd: Winograd, block: &Block) -> Self {
        let (outputs, origin) = (winograd.outputs(), winograd.origin());
        let tiles = |range: &Range<usize>| {
            let (first, skipped) =
                ((range.start + origin) / outputs, (range.start + origin) % outputs);
            (first, skipped, (skipped + range.len()).div_ceil(outputs))
        };
        let (top, above, down) = tiles(&block.rows);
        let (left, before, across) = tiles(&block.columns);
        Self { top, left, above, before, down, across }
    }

    fn tiles(&self) -> usize {
        self.down * self.across
    }

    /// Where row `row` of the block stands among the pixels of its tiles.
    fn row(&self, winograd: Winograd, row: usize, pixel_stride: usize) -> usize {
        ((self.above + row) * self.across * winograd.outputs() + self.before) * pixel_stride
    }
}

/// Values of the largest block of a layer, by stage.
struct Sizes {
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

/// Values from a pixel (and a tile's product) of a slice to the next.
fn slice_stride(nr: usize) -> usize {
    SLICE.next_multiple_of(nr)
}

impl Geometry {
    pub(super) fn winograd_scratch(&self, blocking: &Blocking, nr: usize) -> Scratch {
        match blocking.order {
            Order::Filters => self.blocks_scratch(blocking, nr),
            Order::Picture => self.slices_scratch(blocking, nr),
        }
    }

    #[cfg(feature = "bench")]
    pub(super) fn winograd_method(&self, blocking: &Blocking) -> (&'static str, u64) {
        let (down, across) = grid(blocking.winograd, self.output);
        let products = down * across * blocking.winograd.products();
        let name = match blocking.winograd {
            Winograd::F4 => "F(4,3)",
            Winograd::F6 => "F(6,3)",
            Winograd::F8 => "F(8,3)",
            Winograd::Doubled => "F(5,2)",
            Winograd::Halved => "F(5,3)/2",
        };
        (name, (products * self.input.channels * self.output.channels) as u64)
    }

    fn sizes(&self, blocking: &Blocking, nr: usize) -> Sizes {
        let Blocking { winograd, down, across, .. } = *blocking;
        let tiles = down * across;
        let (rows, columns) = blocking.block();
        Sizes {
            band: band(winograd, (0, 0), (down, across), 0..CHUNK).len(),
            inputs: winograd.points() * input_strides(self.input.channels, tiles).1,
            products: winograd.points() * odd_lines(tiles * slice_stride(nr)),
            pixels: rows * columns * slice_stride(nr),
        }
    }
}

/// What tiles (down and across) read of some channels, from the tile in row and column `first` on.
fn band(
    winograd: Winograd,
    first: (usize, usize),
    tiles: (usize, usize),
    channels: Range<usize>,
) -> Band {
    let reach = |tiles: usize| (tiles - 1) * winograd.step() + winograd.inputs();
    Band {
        top: first.0 * winograd.step(),
        left: first.1 * winograd.step(),
        repeat: 1,
        rows: reach(tiles.0),
        columns: reach(tiles.1),
        // Whole vectors of the widest set; what lies beyond the channels is transformed and never read.
        pixel_stride: channels.len().next_multiple_of(16),
        channels,
    }
}

impl Job<'_> {
    /// Transforms the columns of the filters of a panel of a slice, those of `channels`.
    fn filter_columns(
        &self,
        winograd: Winograd,
        kernels: &Kernels,
        (slice, panel): (&Slice, usize),
        channels: Range<usize>,
        row_stride: usize,
        dst: &mut [f32],
    ) {
        let Some(filter) = self.filters.first() else { return };
        let at = (slice.first / kernels.nr() + panel, channels);
        kernels.winograd_filter_columns(winograd, &filter.pack(), at, row_stride, dst);
    }

    /// Loads the tiles of `grid` and transforms them, `[point][tile][in_channel]`, a chunk of channels
    /// at a time by way of `scratch`.
    fn transform_inputs(
        &self,
        winograd: Winograd,
        kernels: &Kernels,
        grid: &Grid,
        (scratch, staging): (&mut [f32], &mut [u8]),
        dst: &mut [f32],
    ) -> Result<()> {
        let in_channels = self.geometry.input.channels;
        let (from, tiles) = ((grid.top, grid.left), (grid.down, grid.across));
        let pixels = self.pixels(&band(winograd, from, tiles, 0..in_channels), &[], staging)?;
        let (tile_stride, point_stride) = input_strides(in_channels, grid.tiles());
        for first in (0..in_channels).step_by(CHUNK) {
            let channels = first..in_channels.min(first + CHUNK);
            let band = band(winograd, from, tiles, channels);
            self.load(kernels, &band, pixels, scratch);
            let shape = Tiles {
                down: grid.down,
                across: grid.across,
                row_stride: band.row_stride(),
                pixel_stride: band.pixel_stride,
                tile_stride,
                point_stride,
                channels: band.pixel_stride,
            };
            kernels.winograd_input(winograd, &shape, scratch, &mut dst[first..]);
        }
        Ok(())
    }

    /// Multiplies the tiles of `grid` by the filters of a slice at one point, and asks `ahead`.
    fn multiply(
        &self,
        kernels: &Kernels,
        grid: &Grid,
        slice: &Slice,
        (inputs, filters, ahead): (&[f32], &[f32], Ahead<'_>),
        products: &mut [f32],
    ) {
        let in_channels = self.geometry.input.channels;
        let gemm = Gemm {
            a: inputs,
            a_stride: input_strides(in_channels, grid.tiles()).0,
            rows: grid.tiles(),
            taps: &[0],
            depth: in_channels,
            b: filters,
            panels: slice.panels,
            init: Init::Zero,
            c_stride: slice_stride(kernels.nr()),
            ahead,
        };
        kernels.gemm(&gemm, products);
    }

    /// Transforms the products of a phase of a slice into its pixels, and adds the bias.
    fn transform_products(
        &self,
        winograd: Winograd,
        kernels: &Kernels,
        grid: &Grid,
        (phase, bias): (usize, &[f32]),
        products: &[f32],
        pixels: &mut [f32],
    ) {
        let stride = slice_stride(kernels.nr());
        let row_stride = grid.across * winograd.outputs() * stride;
        let (apart, (down_by, right_by)) = winograd.phase(phase);
        let shape = Tiles {
            down: grid.down,
            across: grid.across,
            row_stride: apart * row_stride,
            pixel_stride: apart * stride,
            tile_stride: stride,
            point_stride: odd_lines(grid.tiles() * stride),
            channels: bias.len(),
        };
        let pixels = &mut pixels[down_by * row_stride + right_by * stride..];
        kernels.winograd_output(winograd, &shape, products, bias, pixels);
    }
}
