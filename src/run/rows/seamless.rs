#![forbid(unsafe_code)]
//! The rows of a decode, computed in seamless tiles.
//!
//! ```text
//! front: up to the last attention, in one piece               -> M, at the latents' resolution
//! statistics = those of M, reduced
//! for each round
//!     for each tile of M, with its halo: the rest by `statistics`, gathering its own
//!     statistics = those of M, reduced, corrected by what was gathered
//! for each tile of M, with its halo: the rest by `statistics`, whose core is the picture
//! ```

use super::tile::lay;
use crate::backend::{Reduced, Shared, Statistics};
use crate::base::alloc;
use crate::base::error::Result;
use crate::base::shape::Shape;
use crate::model::Model;
use crate::model::network::{Direction, Network, Part};
use crate::model::window::Span;
use crate::run::budget::Call;
use crate::run::control::Meter;
use crate::run::planes::Fill;
use crate::run::runner::{Io, Made, Pick, RunInput, Runner};
use crate::run::tiling::grid::Place;
use crate::run::tiling::seamless::SeamlessTiles;

/// The rows of a picture, computed one row of tiles at a time.
pub(super) struct SeamlessRows {
    /// The front's output, pinned.
    front: Made,
    statistics: Shared,
    meter: Meter,
    /// Picture rows of the last row of tiles, of `length` values each, the current one, and the
    /// picture row of the next.
    rows: Vec<f32>,
    length: usize,
    at: usize,
    y: usize,
    /// Number of rows of tiles computed.
    made: usize,
}

impl SeamlessRows {
    /// Runs the front on the latents of `fill` and computes the statistics.
    pub(super) fn begin(
        runner: &mut Runner,
        call: &Call<'_>,
        tiles: &SeamlessTiles,
        fill: &mut Fill<'_>,
    ) -> Result<Self> {
        let network = call.network;
        let mut meter = Meter::new(tiles.plan.multiply_adds);
        let front = Call { part: Part::Front, ..*call };
        let (input, statistics) = (RunInput::Rows(fill), Statistics::Own);
        let front = runner.run(
            &front,
            &tiles.front,
            Io { input, masked: None, statistics, meter: &mut meter },
        )?;
        let mut rows = Self {
            front: runner.pin(front)?,
            statistics: Shared::default(),
            meter,
            rows: Vec::new(),
            length: network.output_length(call.width) * network.out_channels(),
            at: 0,
            y: 0,
            made: 0,
        };
        rows.find_statistics(network, runner, tiles)?;
        Ok(rows)
    }

    /// Goes to the next row.
    pub(super) fn advance(
        &mut self,
        model: &Model,
        runner: &mut Runner,
        tiles: &SeamlessTiles,
    ) -> Result<Option<usize>> {
        self.at += self.length;
        if self.at >= self.rows.len() {
            let Some((top, rows)) = tiles.grid.tiles.rows().nth(self.made) else { return Ok(None) };
            let network = model.network(Direction::Decode)?;
            self.row_of_tiles(&network, runner, tiles, (top, rows))?;
            (self.made, self.at) = (self.made + 1, 0);
        }
        self.y += 1;
        Ok(Some(self.y - 1))
    }

    pub(super) fn row(&self) -> &[f32] {
        &self.rows[self.at..self.at + self.length]
    }

    fn find_statistics(
        &mut self,
        network: &Network<'_>,
        runner: &mut Runner,
        tiles: &SeamlessTiles,
    ) -> Result<()> {
        let mut reduced = Reduced::default();
        self.reduce(network, runner, tiles, &mut reduced)?;
        for _ in 0..tiles.grid.rounds() {
            self.statistics = reduced.shared()?.gathering()?;
            for rows in tiles.grid.tiles.rows() {
                for columns in tiles.grid.tiles.columns() {
                    self.tile(network, runner, tiles, Place { rows, columns })?;
                }
            }
            reduced = reduced.corrected(&self.statistics.statistics()?)?;
            self.reduce(network, runner, tiles, &mut reduced)?;
        }
        self.statistics = reduced.shared()?;
        Ok(())
    }

    /// Runs the rest of the network on the reduced picture.
    fn reduce(
        &mut self,
        network: &Network<'_>,
        runner: &mut Runner,
        tiles: &SeamlessTiles,
        reduced: &mut Reduced,
    ) -> Result<()> {
        let (step, middle) = (tiles.grid.step, tiles.grid.step / 2);
        let Shape { height, width, .. } = self.front.shape();
        let row = |y: usize| (y * step + middle).min(height - 1);
        let column = |x: usize| (x * step + middle).min(width - 1);
        let pick = Pick { row: &row, column: &column, width: width.div_ceil(step) };
        let (input, statistics) =
            (RunInput::Pinned(&self.front, pick), Statistics::Reduced(reduced));
        let io = Io { input, masked: None, statistics, meter: &mut self.meter };
        runner.run(&tiles.grid.reduced(network), &tiles.reduced, io)?;
        Ok(())
    }

    /// Runs the rest of the network on a tile.
    fn tile(
        &mut self,
        network: &Network<'_>,
        runner: &mut Runner,
        tiles: &SeamlessTiles,
        place: Place,
    ) -> Result<Made> {
        let (window, (top, left)) = (place.window(), place.first());
        let row = |y: usize| top + y;
        let column = |x: usize| left + x;
        let pick = Pick { row: &row, column: &column, width: window.columns.total() };
        self.statistics.rewind();
        let (input, statistics) =
            (RunInput::Pinned(&self.front, pick), Statistics::Shared(&mut self.statistics));
        let io = Io { input, masked: None, statistics, meter: &mut self.meter };
        runner.run(&tiles.grid.tiles.tile(network, window), tiles.planned(window)?, io)
    }

    /// Computes the picture rows of the tiles with rows `rows`.
    fn row_of_tiles(
        &mut self,
        network: &Network<'_>,
        runner: &mut Runner,
        tiles: &SeamlessTiles,
        rows: (usize, Span),
    ) -> Result<()> {
        let channels = network.out_channels();
        let scale = self.length / channels / tiles.grid.tiles.width;
        let values = rows.1.length * scale * self.length;
        alloc::resize(&mut self.rows, values, 0.0, "rows of tiles")?;
        for columns in tiles.grid.tiles.columns() {
            let place = Place { rows, columns };
            let made = self.tile(network, runner, tiles, place)?;
            let core = network.picture_window(place.window()).core();
            lay(runner, &made, core, self.rows.chunks_exact_mut(self.length), columns.0 * scale)?;
        }
        Ok(())
    }
}
