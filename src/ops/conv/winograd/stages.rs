//! The stages that both orders have: filters, inputs and products, each transformed.

use std::ops::Range;

use super::blocking::Blocking;
use super::grid::Grid;
use super::slice::Slice;
use super::strides::{input_point, input_tile, product_point, slice_pixel};
use crate::base::alloc;
use crate::base::error::Result;
use crate::kernels::{Gemm, Init, Panels, Prefetch, TileShape, Winograd};
use crate::ops::conv::layer::Layer;
use crate::ops::conv::run::Run;

/// Input channels transformed at a time: their band stays in the second-level cache.
const CHUNK: usize = 128;

/// Values of the largest block of a layer, by stage.
pub(super) struct Sizes {
    pub(super) band: usize,
    pub(super) inputs: usize,
    pub(super) products: usize,
    pub(super) pixels: usize,
}

impl Sizes {
    pub(super) fn new(blocking: &Blocking, layer: &Layer, panels: Panels) -> Self {
        let (winograd, grid, cut) = (blocking.winograd, blocking.largest(), blocking.blocks());
        Self {
            band: grid.band(0..CHUNK).len(),
            inputs: winograd.points() * input_point(layer.input.channels, grid.tiles()),
            products: winograd.points() * product_point(panels, grid.tiles()),
            pixels: cut.rows * cut.columns * slice_pixel(panels),
        }
    }
}

/// Values of a row of transformed columns of filters, for a panel and `channels` input channels.
pub(super) fn column_row(panels: Panels, channels: usize) -> usize {
    panels.values(3 * channels)
}

/// A Winograd convolution at work: its stages, one by one.
pub(super) struct Stages<'r> {
    pub(super) run: Run<'r>,
    pub(super) blocking: &'r Blocking,
    pub(super) winograd: Winograd,
    pub(super) panels: Panels,
    pub(super) slices: Vec<Slice>,
    pub(super) sizes: Sizes,
    bias: Vec<f32>,
}

impl<'r> Stages<'r> {
    /// # Errors
    /// `OutOfMemory`.
    pub(super) fn new(run: Run<'r>, blocking: &'r Blocking) -> Result<Self> {
        let panels = run.panels();
        Ok(Self {
            run,
            blocking,
            winograd: blocking.winograd,
            panels,
            slices: alloc::collected(Slice::all(run.layer, panels), "slices")?,
            sizes: Sizes::new(blocking, run.layer, panels),
            bias: run.bias()?,
        })
    }

    pub(super) fn in_channels(&self) -> usize {
        self.run.layer.input.channels
    }

    /// Transforms the columns of the filters of a panel of a slice, those of `channels`, into rows
    /// `row_stride` apart.
    pub(super) fn filter_columns(
        &self,
        slice: &Slice,
        panel: usize,
        channels: Range<usize>,
        row_stride: usize,
        dst: &mut [f32],
    ) {
        let Some(filter) = self.run.operands.filters.first() else { return };
        let (kernels, index) = (self.run.exec.kernels, slice.first_panel + panel);
        let filter = filter.pack();
        kernels.winograd_filter_columns(self.winograd, &filter, index, channels, row_stride, dst);
    }

    /// Loads the tiles of `grid` and transforms them, `[point][tile][in_channel]`, a chunk of
    /// channels at a time by way of `scratch`.
    pub(super) fn inputs(
        &self,
        grid: &Grid,
        scratch: &mut [f32],
        staging: &mut [u8],
        dst: &mut [f32],
    ) -> Result<()> {
        let in_channels = self.in_channels();
        let pixels = self.run.pixels(&grid.band(0..in_channels), &[], staging)?;
        for first in (0..in_channels).step_by(CHUNK) {
            let band = grid.band(first..in_channels.min(first + CHUNK));
            self.run.load(&band, pixels, scratch);
            let shape = TileShape {
                down: grid.down,
                across: grid.across,
                row_stride: band.row_stride(),
                pixel_stride: band.pixel_stride,
                tile_stride: input_tile(in_channels),
                point_stride: input_point(in_channels, grid.tiles()),
                channels: band.pixel_stride,
            };
            let kernels = self.run.exec.kernels;
            kernels.winograd_input(self.winograd, &shape, scratch, &mut dst[first..]);
        }
        Ok(())
    }

    /// Multiplies the tiles of `grid` by the filters of a slice at one point, and asks `prefetch`.
    pub(super) fn multiply(
        &self,
        grid: &Grid,
        slice: &Slice,
        inputs: &[f32],
        filters: &[u8],
        prefetch: Prefetch<'_>,
        products: &mut [f32],
    ) {
        let in_channels = self.in_channels();
        let gemm = Gemm {
            a: inputs,
            a_stride: input_tile(in_channels),
            rows: grid.tiles(),
            taps: &[0],
            depth: in_channels,
            b: filters,
            columns: slice.channels.len(),
            init: Init::Zero,
            c_stride: slice_pixel(self.panels),
            prefetch,
        };
        self.run.exec.kernels.gemm(&gemm, products);
    }

    /// Transforms the products of a phase of a slice into its pixels, and adds the bias.
    pub(super) fn pixels(
        &self,
        grid: &Grid,
        slice: &Slice,
        phase: usize,
        products: &[f32],
        pixels: &mut [f32],
    ) {
        let bias = &self.bias[slice.channels.start..][..self.panels.filled(slice.channels.len())];
        let stride = slice_pixel(self.panels);
        let row_stride = grid.across * self.winograd.outputs() * stride;
        let (apart, (down_by, right_by)) = self.winograd.phase(phase);
        let shape = TileShape {
            down: grid.down,
            across: grid.across,
            row_stride: apart * row_stride,
            pixel_stride: apart * stride,
            tile_stride: stride,
            point_stride: product_point(self.panels, grid.tiles()),
            channels: bias.len(),
        };
        let pixels = &mut pixels[down_by * row_stride + right_by * stride..];
        let kernels = self.run.exec.kernels;
        kernels.winograd_output(self.winograd, &shape, products, bias, pixels);
    }
}
