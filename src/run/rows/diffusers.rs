#![forbid(unsafe_code)]
//! The rows of a picture, computed in diffusers' tiles.
//!
//! ```text
//! for each row of tiles
//!     for each tile                       from every `stride` on, clipped at the picture's end
//!         run the network on it
//!         blend its first rows with the last of the tile above, which is blended already
//!         blend its first columns with the last of the tile on the left, which is blended too
//!     the first `limit` rows and columns of each are the picture
//! ```
//!
//! `AutoencoderTiny` blends otherwise: each tile over all that is there before it, by ramps.

use super::whole::WholeRows;
use crate::backend::Statistics;
use crate::base::alloc;
use crate::base::error::Result;
use crate::model::Model;
use crate::model::network::{Direction, Network, Part};
use crate::run::budget::Call;
use crate::run::control::Meter;
use crate::run::planes::{Fill, finite, input_name};
use crate::run::runner::{Io, RunInput, Runner};
use crate::run::tiling::diffusers::{Blending, DiffusersGrid, DiffusersTiles};

/// Names of values, for messages.
const ROWS: &str = "rows of tiles";
const TILE: &str = "a tile";

/// The rows of a picture, computed one row of tiles at a time.
pub(super) struct DiffusersRows {
    direction: Direction,
    height: usize,
    width: usize,
    meter: Meter,
    /// Input rows of the current row of tiles, from row `first` on.
    strip: Vec<f32>,
    first: usize,
    filled: usize,
    /// The last rows of each tile in the row above.
    above: Vec<DiffusersTile>,
    /// Rows on which later tiles are laid, by [`Blending::Ramps`].
    canvas: Vec<f32>,
    /// Finished rows of `length` values each, the current one, and the picture row of the next.
    rows: Vec<f32>,
    length: usize,
    at: usize,
    y: usize,
}

/// A tile from the network, or the part of it that others blend with.
#[derive(Clone, Default)]
struct DiffusersTile {
    height: usize,
    width: usize,
    channels: usize,
    values: Vec<f32>,
}

impl DiffusersRows {
    pub(super) fn begin(call: &Call<'_>, tiles: &DiffusersTiles) -> Self {
        let Call { network, height, width, .. } = *call;
        Self {
            direction: network.direction(),
            height,
            width,
            meter: Meter::new(tiles.plan.multiply_adds),
            strip: Vec::new(),
            first: 0,
            filled: 0,
            above: Vec::new(),
            canvas: Vec::new(),
            rows: Vec::new(),
            length: network.output_length(width) * network.out_channels(),
            at: 0,
            y: 0,
        }
    }

    /// Goes to the next row. `fill` is asked for each input row once, top to bottom.
    pub(super) fn advance(
        &mut self,
        model: &Model,
        runner: &mut Runner,
        tiles: &DiffusersTiles,
        fill: &mut Fill<'_>,
    ) -> Result<Option<usize>> {
        self.at += self.length;
        if self.at >= self.rows.len() {
            if self.first >= self.height {
                return Ok(None);
            }
            let network = model.network(self.direction)?;
            self.read(&network, &tiles.grid, fill)?;
            self.row_of_tiles(&network, runner, tiles)?;
            (self.at, self.first) = (0, self.first + tiles.grid.stride);
        }
        self.y += 1;
        Ok(Some(self.y - 1))
    }

    pub(super) fn row(&self) -> &[f32] {
        &self.rows[self.at..self.at + self.length]
    }

    /// Reads the input rows of the tiles that begin at row `first`, and drops those above.
    fn read(
        &mut self,
        network: &Network<'_>,
        grid: &DiffusersGrid,
        fill: &mut Fill<'_>,
    ) -> Result<()> {
        let channels = network.in_channels();
        let (row, end) = (self.width * channels, self.height.min(self.first + grid.tile));
        let remaining = self.filled - self.first.min(self.filled);
        let passed = self.strip.len() - remaining * row;
        self.strip.drain(..passed);
        alloc::resize(&mut self.strip, (end - self.first) * row, 0.0, "input rows of tiles")?;
        let mut fill = finite(input_name(self.direction), channels, fill);
        for y in self.filled.max(self.first)..end {
            fill(y, &mut self.strip[(y - self.first) * row..][..row])?;
        }
        self.filled = end;
        Ok(())
    }

    /// Computes the rows of the tiles that begin at input row `first`.
    fn row_of_tiles(
        &mut self,
        network: &Network<'_>,
        runner: &mut Runner,
        tiles: &DiffusersTiles,
    ) -> Result<()> {
        if tiles.grid.blending == Blending::Ramps {
            return self.row_on_canvas(network, runner, tiles);
        }
        let DiffusersGrid { blend, limit, .. } = tiles.grid;
        let mut left = DiffusersTile::default();
        for (index, columns) in tiles.grid.cut(self.width).enumerate() {
            let mut tile = self.tile(network, runner, tiles, columns)?;
            if let Some(above) = self.above.get(index) {
                tile.blend_below(above, blend);
            }
            if index > 0 {
                tile.blend_right(&left, blend);
            }
            let below = tile.part(tile.height.saturating_sub(blend), 0)?;
            match self.above.get_mut(index) {
                Some(above) => *above = below,
                None => alloc::push(&mut self.above, below, TILE)?,
            }
            left = tile.part(0, tile.width.saturating_sub(blend))?;
            let (height, width) = (tile.height.min(limit), tile.width.min(limit));
            alloc::resize(&mut self.rows, height * self.length, 0.0, ROWS)?;
            let to = index * limit * tile.channels..(index * limit + width) * tile.channels;
            let rows = self.rows.chunks_exact_mut(self.length);
            for (row, made) in rows.zip(tile.values.chunks_exact(tile.width * tile.channels)) {
                row[to.clone()].copy_from_slice(&made[..width * tile.channels]);
            }
        }
        Ok(())
    }

    /// Computes the same rows by [`Blending::Ramps`].
    fn row_on_canvas(
        &mut self,
        network: &Network<'_>,
        runner: &mut Runner,
        tiles: &DiffusersTiles,
    ) -> Result<()> {
        let DiffusersGrid { blend, limit, stride, .. } = tiles.grid;
        for (index, columns) in tiles.grid.cut(self.width).enumerate() {
            let tile = self.tile(network, runner, tiles, columns)?;
            let values = self.canvas.len().max(tile.height * self.length);
            alloc::resize(&mut self.canvas, values, 0.0, ROWS)?;
            let ramp = |at: usize, first: bool| {
                if first || blend < 2 { 1.0 } else { (at as f32 / (blend - 1) as f32).min(1.0) }
            };
            let left = index * limit * tile.channels;
            let rows = self.canvas.chunks_exact_mut(self.length);
            let made = tile.values.chunks_exact(tile.width * tile.channels);
            for (y, (row, made)) in rows.zip(made).enumerate() {
                let down = ramp(y, self.first == 0);
                let pixels = row[left..].chunks_exact_mut(tile.channels);
                for (x, (to, from)) in pixels.zip(made.chunks_exact(tile.channels)).enumerate() {
                    let weight = down * ramp(x, index == 0);
                    for (to, &from) in to.iter_mut().zip(from) {
                        *to = weight * from + (1.0 - weight) * *to;
                    }
                }
            }
        }
        let last = self.first + stride >= self.height;
        let done = if last { self.canvas.len() } else { limit * self.length };
        alloc::resize(&mut self.rows, done, 0.0, ROWS)?;
        self.rows.copy_from_slice(&self.canvas[..done]);
        self.canvas.drain(..done);
        Ok(())
    }

    /// Runs the network on the tile of input columns `left` to `right`.
    fn tile(
        &mut self,
        network: &Network<'_>,
        runner: &mut Runner,
        tiles: &DiffusersTiles,
        (left, right): (usize, usize),
    ) -> Result<DiffusersTile> {
        let (row, channels) = (self.width * network.in_channels(), network.in_channels());
        let (strip, height) = (&self.strip, self.strip.len() / row);
        let mut fill = |y: usize, to: &mut [f32]| {
            to.copy_from_slice(&strip[y * row..][left * channels..right * channels]);
            Ok(())
        };
        let width = right - left;
        let call = Call { network, part: Part::Whole, height, width };
        let (input, statistics) = (RunInput::Rows(&mut fill), Statistics::Own);
        let io = Io { input, masked: None, statistics, meter: &mut self.meter };
        let made = runner.run(&call, tiles.planned(height, width)?, io)?;
        let (shape, mut rows) = (made.shape(), WholeRows::of(made)?);
        let mut values = alloc::with_capacity(shape.len(), TILE)?;
        while rows.advance(runner)?.is_some() {
            values.extend_from_slice(rows.row());
        }
        let (height, width, channels) = (shape.height, shape.width, shape.channels);
        Ok(DiffusersTile { height, width, channels, values })
    }
}

impl DiffusersTile {
    /// The part from row `top` and column `left` on.
    fn part(&self, top: usize, left: usize) -> Result<Self> {
        let (height, width, channels) = (self.height - top, self.width - left, self.channels);
        let mut values = alloc::with_capacity(height * width * channels, TILE)?;
        for row in self.values.chunks_exact(self.width * channels).skip(top) {
            values.extend_from_slice(&row[left * channels..]);
        }
        Ok(Self { height, width, channels, values })
    }

    /// Fades from the last rows of the tile above to the first of this one.
    fn blend_below(&mut self, above: &Self, blend: usize) {
        let rows = blend.min(above.height).min(self.height);
        let row = self.width * self.channels;
        let from = above.values.chunks_exact(row).skip(above.height - rows);
        for (y, (to, from)) in self.values.chunks_exact_mut(row).zip(from).enumerate() {
            fade(from, to, y, rows);
        }
    }

    /// Fades from the last columns of the tile on the left to the first of this one.
    fn blend_right(&mut self, left: &Self, blend: usize) {
        let channels = self.channels;
        let columns = blend.min(left.width).min(self.width);
        if columns == 0 {
            return;
        }
        let from = left.values.chunks_exact(left.width * channels);
        for (to, from) in self.values.chunks_exact_mut(self.width * channels).zip(from) {
            let from = from.chunks_exact(channels).skip(left.width - columns);
            for (x, (to, from)) in to.chunks_exact_mut(channels).zip(from).enumerate() {
                fade(from, to, x, columns);
            }
        }
    }
}

fn fade(from: &[f32], to: &mut [f32], at: usize, of: usize) {
    let part = at as f64 / of as f64;
    let (old, new) = ((1.0 - part) as f32, part as f32);
    for (to, &from) in to.iter_mut().zip(from) {
        *to = from * old + *to * new;
    }
}
