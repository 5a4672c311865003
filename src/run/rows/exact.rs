#![forbid(unsafe_code)]
//! The rows of a call, computed in exact tiles.
//!
//! ```text
//! front, if the network has one: on the whole picture
//! for each row of tiles
//!     read the input rows that it needs, unless there is a front
//!     for each tile, with its halo: the rest
//! ```

use super::tile::lay;
use crate::backend::Statistics;
use crate::base::alloc;
use crate::base::error::Result;
use crate::model::Model;
use crate::model::network::{Direction, Network, Part};
use crate::model::window::Span;
use crate::run::budget::Call;
use crate::run::control::Meter;
use crate::run::planes::{Fill, finite, input_name};
use crate::run::runner::{Io, Made, Pick, RunInput, Runner};
use crate::run::tiling::exact::ExactTiles;
use crate::run::tiling::grid::Place;

/// Name of input rows, for messages.
const STRIP: &str = "input rows of tiles";

/// The rows of a call, computed one row of tiles at a time.
pub(super) struct ExactRows {
    direction: Direction,
    height: usize,
    width: usize,
    input: TileInput,
    meter: Meter,
    /// Output rows of the last row of tiles, of `length` values each, the current one, and the
    /// output row of the next.
    rows: Vec<f32>,
    length: usize,
    at: usize,
    y: usize,
    /// Number of rows of tiles computed.
    made: usize,
}

/// What the tiles are cut out of.
enum TileInput {
    /// The front's output, pinned.
    Front(Made),
    /// Rows of the call's input, from row `first` on.
    Strip { values: Vec<f32>, first: usize },
}

impl ExactRows {
    /// Runs the front on the input of `fill`, if the network has one.
    pub(super) fn begin(
        runner: &mut Runner,
        call: &Call<'_>,
        tiles: &ExactTiles,
        fill: &mut Fill<'_>,
    ) -> Result<Self> {
        let network = call.network;
        let mut meter = Meter::new(tiles.plan.multiply_adds);
        let input = match &tiles.front {
            Some(planned) => {
                let front = Call { part: Part::Front, ..*call };
                let (input, statistics) = (RunInput::Rows(fill), Statistics::Own);
                let io = Io { input, masked: None, statistics, meter: &mut meter };
                let made = runner.run(&front, planned, io)?;
                TileInput::Front(runner.pin(made)?)
            }
            None => {
                let rows = tiles.grid.tiles.rows().map(|(_, span)| span.total()).max().unwrap_or(0);
                let room = rows * call.width * network.in_channels();
                TileInput::Strip { values: alloc::with_capacity(room, STRIP)?, first: 0 }
            }
        };
        Ok(Self {
            direction: network.direction(),
            height: call.height,
            width: call.width,
            input,
            meter,
            rows: Vec::new(),
            length: network.output_length(call.width) * network.out_channels(),
            at: 0,
            y: 0,
            made: 0,
        })
    }

    /// Goes to the next row. `fill` is asked for each input row once, top to bottom.
    pub(super) fn advance(
        &mut self,
        model: &Model,
        runner: &mut Runner,
        tiles: &ExactTiles,
        fill: &mut Fill<'_>,
    ) -> Result<Option<usize>> {
        self.at += self.length;
        if self.at >= self.rows.len() {
            let Some((top, rows)) = tiles.grid.tiles.rows().nth(self.made) else { return Ok(None) };
            let network = model.network(self.direction)?;
            self.read(&network, top - rows.before, rows.total(), fill)?;
            self.row_of_tiles(&network, runner, tiles, (top, rows))?;
            (self.made, self.at) = (self.made + 1, 0);
        }
        self.y += 1;
        Ok(Some(self.y - 1))
    }

    pub(super) fn row(&self) -> &[f32] {
        &self.rows[self.at..self.at + self.length]
    }

    /// Whether the input is still read.
    pub(super) fn reads(&self) -> bool {
        matches!(self.input, TileInput::Strip { .. })
    }

    /// Reads input rows so that the strip has `count` from row `top` on, and drops those above.
    fn read(
        &mut self,
        network: &Network<'_>,
        top: usize,
        count: usize,
        fill: &mut Fill<'_>,
    ) -> Result<()> {
        let TileInput::Strip { values, first } = &mut self.input else { return Ok(()) };
        let channels = network.in_channels();
        let row = self.width * channels;
        let filled = *first + values.len() / row;
        values.drain(..(top - *first).min(filled - *first) * row);
        *first = top;
        let end = (top + count).min(self.height);
        alloc::resize(values, (end - top) * row, 0.0, STRIP)?;
        let mut fill = finite(input_name(self.direction), channels, fill);
        for y in filled..end {
            fill(y, &mut values[(y - top) * row..][..row])?;
        }
        Ok(())
    }

    /// Runs the rest of the network on a tile.
    fn tile(
        &mut self,
        network: &Network<'_>,
        runner: &mut Runner,
        tiles: &ExactTiles,
        place: Place,
    ) -> Result<Made> {
        let window = place.window();
        let (top, left) = place.first();
        let (call, planned) = (tiles.grid.tiles.tile(network, window), tiles.planned(window)?);
        let (statistics, meter) = (Statistics::Own, &mut self.meter);
        match &self.input {
            TileInput::Front(front) => {
                let row = |y: usize| top + y;
                let column = |x: usize| left + x;
                let pick = Pick { row: &row, column: &column, width: window.columns.total() };
                let input = RunInput::Pinned(front, pick);
                runner.run(&call, planned, Io { input, masked: None, statistics, meter })
            }
            TileInput::Strip { values, first } => {
                let channels = network.in_channels();
                let mut fill = |y: usize, row: &mut [f32]| {
                    let at = ((top - first + y) * self.width + left) * channels;
                    row.copy_from_slice(&values[at..][..row.len()]);
                    Ok(())
                };
                let input = RunInput::Rows(&mut fill);
                runner.run(&call, planned, Io { input, masked: None, statistics, meter })
            }
        }
    }

    /// Computes the output rows of the tiles with rows `rows`.
    fn row_of_tiles(
        &mut self,
        network: &Network<'_>,
        runner: &mut Runner,
        tiles: &ExactTiles,
        rows: (usize, Span),
    ) -> Result<()> {
        for columns in tiles.grid.tiles.columns() {
            let place = Place { rows, columns };
            let made = self.tile(network, runner, tiles, place)?;
            let core = network.picture_window(place.window()).core();
            let values = core.height * self.length;
            alloc::resize(&mut self.rows, values, 0.0, "rows of tiles")?;
            let left = tiles.grid.output(columns.0);
            lay(runner, &made, core, self.rows.chunks_exact_mut(self.length), left)?;
        }
        Ok(())
    }
}
