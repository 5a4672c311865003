#![forbid(unsafe_code)]
//! Exact tiles: of a network whose rest has neither statistics nor attention, such as a tiny
//! autoencoder's. Each tile has a halo of all that its values depend on, and begins where the
//! squares begin that convolutions compute at a time: so its values are those of the whole picture,
//! to the bit (`model/halo.rs`).

use super::grid::{check_count, counted};
use crate::backend::{LOCAL_GRID, Strategy};
use crate::base::buffer::align_up;
use crate::base::error::{Error, Result};
use crate::model::network::{Direction, Network, Part};
use crate::model::window::{Span, Window};
use crate::run::budget::{Call, Planned, in_memory};
use crate::run::plan::Plan;
use crate::run::resources::{Least, Resources};

/// Sides of a tile in latents to try if the budget chooses the size.
const SIDES: [usize; 12] = [256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 4];
/// The longest tile to try, in its height.
const LONGEST: usize = 8;

/// The grid on the front's output, or on the input of a network without front. Lengths are in its
/// pixels.
#[derive(Clone, Copy, Debug)]
pub(in crate::run) struct ExactGrid {
    height: usize,
    width: usize,
    /// Rows and columns of a tile; the last tiles may be smaller.
    side: (usize, usize),
    halo: usize,
}

/// A call in exact tiles: the grid, with the plan of each run.
pub(in crate::run) struct ExactTiles {
    pub(in crate::run) grid: ExactGrid,
    pub(in crate::run) plan: Plan,
    /// The run on the whole picture before the tiles, if the network has a front.
    pub(in crate::run) front: Option<Planned>,
    tiles: Vec<(Window, Planned)>,
}

impl ExactGrid {
    /// The start of each tile along a side, with its span.
    fn cut(
        length: usize,
        side: usize,
        halo: usize,
    ) -> impl ExactSizeIterator<Item = (usize, Span)> {
        (0..length).step_by(side).map(move |start| {
            let end = length.min(start + side);
            let (before, after) = (start.min(halo), (length - end).min(halo));
            (start, Span { before, length: end - start, after })
        })
    }

    /// The start of each row of tiles, with its span.
    pub(in crate::run) fn rows(&self) -> impl ExactSizeIterator<Item = (usize, Span)> + use<> {
        Self::cut(self.height, self.side.0, self.halo)
    }

    /// The start of each column of tiles, with its span.
    pub(in crate::run) fn columns(&self) -> impl ExactSizeIterator<Item = (usize, Span)> + use<> {
        Self::cut(self.width, self.side.1, self.halo)
    }

    /// The distinct windows, each with its number of tiles.
    fn windows(&self) -> Vec<(Window, u64)> {
        let spans = |(_, span): (usize, Span)| span;
        let (rows, columns) = (counted(self.rows().map(spans)), counted(self.columns().map(spans)));
        let pairs = rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column)));
        pairs.map(|(&(rows, n), &(columns, m))| (Window { rows, columns }, n * m)).collect()
    }

    /// The window with the most pixels.
    fn largest(&self) -> (Window, u64) {
        let longest = |spans: Vec<Span>| spans.into_iter().max_by_key(|span| span.total());
        let rows = longest(self.rows().map(|(_, span)| span).collect());
        let columns = longest(self.columns().map(|(_, span)| span).collect());
        let empty = Span { before: 0, length: 0, after: 0 };
        let (rows, columns) = (rows.unwrap_or(empty), columns.unwrap_or(empty));
        (Window { rows, columns }, 1)
    }

    /// The run on a tile of `window`.
    pub(in crate::run) fn tile<'n>(&self, network: &'n Network<'n>, window: Window) -> Call<'n> {
        let (height, width) = (window.rows.total(), window.columns.total());
        Call { network, part: Part::Rest(Some(window)), height, width }
    }

    /// Where what begins at `start` begins in the output.
    pub(in crate::run) fn output(&self, network: &Network<'_>, start: usize) -> usize {
        match network.direction() {
            Direction::Decode => start * (network.downscale() / network.front_scale()),
            Direction::Encode => start / network.downscale(),
        }
    }

    /// Values of the output rows in memory at a time, and of the input rows.
    fn row_values(&self, call: &Call<'_>) -> u64 {
        let network = call.network;
        let outputs = match network.direction() {
            Direction::Decode => self.output(network, self.side.0),
            Direction::Encode => self.side.0.div_ceil(network.downscale()),
        };
        let outputs = outputs * network.output_length(call.width) * network.out_channels();
        let inputs = if network.has_front() {
            0
        } else {
            (self.side.0 + 2 * self.halo).min(self.height) * self.width * network.in_channels()
        };
        (outputs + inputs) as u64
    }
}

/// The sides of tiles to try for a call, in latents, rows and columns, by how much of the work is
/// done twice.
///
/// # Errors
/// `InvalidArgument` for an overlap, or for a size that the squares do not divide.
pub(in crate::run) fn sides(call: &Call<'_>, resources: Resources) -> Result<Vec<(usize, usize)>> {
    let options = resources.tiles;
    if options.overlap != 0 {
        return Err(Error::invalid(format!(
            "tile overlap: 0 expected with seamless tiles, {} found",
            options.overlap
        )));
    }
    if !options.size.is_multiple_of(LOCAL_GRID) {
        return Err(Error::invalid(format!(
            "tile size: a multiple of {LOCAL_GRID} expected of this model, {} found",
            options.size
        )));
    }
    if options.size != 0 {
        return Ok(vec![(options.size, options.size)]);
    }
    if !resources.limited() {
        let size = call.network.sample_latents().next_multiple_of(LOCAL_GRID).max(LOCAL_GRID);
        return Ok(vec![(size, size)]);
    }
    let pairs = SIDES.iter().flat_map(|&rows| {
        let columns = SIDES.iter().rev().filter(move |&&side| side >= rows);
        columns.take_while(move |&&side| side <= LONGEST * rows).map(move |&side| (rows, side))
    });
    let mut pairs: Vec<(usize, usize)> = pairs.collect();
    // A tile and its halo by the tile, for a halo of 64 latents; only the order matters.
    let twice = |side: usize| (side + 64) as f64 / side as f64;
    pairs.sort_by(|a, b| (twice(a.0) * twice(a.1)).total_cmp(&(twice(b.0) * twice(b.1))));
    Ok(pairs)
}

impl ExactTiles {
    /// The error for limits that no tiles of `sides` keep; `least` is the least that any need.
    pub(in crate::run) fn refusal(
        call: &Call<'_>,
        sides: &[(usize, usize)],
        resources: Resources,
        least: Least,
    ) -> Error {
        let with = |leaner: Resources| {
            let (resources, mut least) = (leaner.unkept(), Least::NONE);
            let leanest = &sides[sides.len().saturating_sub(1)..];
            Self::search(call, leanest, resources, &mut least).ok().map(|_| least)
        };
        resources.refusal(" in exact tiles", least, with)
    }

    /// The tiles with the least work done twice that fit the limits; if none do, the least that any
    /// need.
    ///
    /// # Errors
    /// `InvalidArgument` if all `sides` give too many tiles.
    pub(in crate::run) fn search(
        call: &Call<'_>,
        sides: &[(usize, usize)],
        resources: Resources,
        least: &mut Least,
    ) -> Result<Option<Self>> {
        let strategies = in_memory(resources);
        let leanest = strategies[strategies.len() - 1];
        let mut front = None;
        if call.network.has_front() {
            let mut fits = None;
            for planned in (Call { part: Part::Front, ..*call }).plans(resources)? {
                let planned = planned?;
                *least = least.with(&planned.plan);
                if resources.allow(&planned.plan) {
                    fits = Some(planned);
                    break;
                }
            }
            let Some(planned) = fits else { return Ok(None) };
            front = Some(planned);
            *least = Least::NONE;
        }
        let mut too_many = None;
        for &side in sides {
            let grid = match grid(call, side) {
                Ok(grid) => grid,
                Err(error) => {
                    too_many = Some(error);
                    continue;
                }
            };
            for strategy in [Strategy::IN_MEMORY, leanest] {
                // The largest window tells most of what the others need.
                for windows in [vec![grid.largest()], grid.windows()] {
                    let all = windows.len() > 1;
                    let (plan, tiles) =
                        plan(call, &grid, windows, front.as_ref(), resources, strategy)?;
                    if !resources.allow(&plan) {
                        *least = least.with(&plan);
                        break;
                    }
                    if all || plan.tiles_x * plan.tiles_y == 1 {
                        return Ok(Some(Self { grid, plan, front, tiles }));
                    }
                }
            }
        }
        match too_many {
            Some(error) if least.peak == Least::NONE.peak => Err(error),
            _ => Ok(None),
        }
    }

    /// The plan of a tile of `window`.
    pub(in crate::run) fn planned(&self, window: Window) -> Result<&Planned> {
        let tile = self.tiles.iter().find(|(other, _)| *other == window);
        let (_, planned) = tile.ok_or_else(|| Error::internal("a tile that is not in the plan"))?;
        Ok(planned)
    }
}

/// The grid of tiles of `side` latents.
///
/// # Errors
/// `InvalidArgument` if it would have too many.
fn grid(call: &Call<'_>, side: (usize, usize)) -> Result<ExactGrid> {
    let Call { network, height, width, .. } = *call;
    let scale = match network.direction() {
        Direction::Decode => network.front_scale(),
        Direction::Encode => network.downscale(),
    };
    let (height, width) = match network.direction() {
        Direction::Decode => (height * scale, width * scale),
        Direction::Encode => (height, width),
    };
    let side = (side.0.saturating_mul(scale), side.1.saturating_mul(scale));
    check_count(height, side.0)?;
    check_count(width, side.1)?;
    let side = (side.0.min(height.max(1)), side.1.min(width.max(1)));
    Ok(ExactGrid { height, width, side, halo: network.halo() })
}

/// The plan of the whole call by a strategy, and of each of `windows`.
fn plan(
    call: &Call<'_>,
    grid: &ExactGrid,
    windows: Vec<(Window, u64)>,
    front: Option<&Planned>,
    resources: Resources,
    strategy: Strategy,
) -> Result<(Plan, Vec<(Window, Planned)>)> {
    let (mut workspace, mut beside, mut multiply_adds) = (0, 0, 0_u64);
    let mut tiles = Vec::new();
    for (window, count) in windows {
        let tile = grid.tile(call.network, window).by(resources, strategy)?;
        workspace = workspace.max(tile.plan.workspace_bytes);
        beside = beside.max(tile.plan.peak_bytes - tile.plan.workspace_bytes);
        let work = tile.plan.multiply_adds.saturating_mul(count);
        multiply_adds = multiply_adds.saturating_add(work);
        tiles.push((window, tile));
    }
    beside += grid.row_values(call) * size_of::<f32>() as u64;
    let mut scratch_bytes = 0;
    if let Some(Planned { plan, output, resident, .. }) = front {
        workspace += if output.spilled { 0 } else { align_up(output.bytes) as u64 };
        workspace = workspace.max(plan.workspace_bytes);
        beside = (beside + *resident as u64).max(plan.peak_bytes - plan.workspace_bytes);
        multiply_adds = multiply_adds.saturating_add(plan.multiply_adds);
        scratch_bytes = plan.scratch_bytes;
    }
    let per_latent = match call.network.direction() {
        Direction::Decode => call.network.front_scale(),
        Direction::Encode => call.network.downscale(),
    };
    let plan = Plan {
        workspace_bytes: workspace,
        scratch_bytes,
        peak_bytes: workspace + beside,
        multiply_adds,
        exact: true,
        tiles_x: grid.columns().len(),
        tiles_y: grid.rows().len(),
        tile_size: grid.side.0.max(grid.side.1).div_ceil(per_latent),
    };
    Ok((plan, tiles))
}
