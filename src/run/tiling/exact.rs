#![forbid(unsafe_code)]
//! Exact tiles: of a network whose rest has neither statistics nor attention, such as a tiny
//! autoencoder's. Each tile has a halo of all that its values depend on, and begins where the
//! squares begin that convolutions compute at a time: so its values are those of the whole picture,
//! to the bit (`model/halo.rs`).

use super::grid::{HaloGrid, TILES, check_count, plan_bytes, planned};
use crate::backend::{LOCAL_GRID, Strategy};
use crate::base::alloc;
use crate::base::buffer::align_up;
use crate::base::error::{Error, Result};
use crate::model::network::{Direction, Part};
use crate::model::window::{Span, Window};
use crate::run::budget::{Call, Planned, in_memory};
use crate::run::options::Tiling;
use crate::run::plan::Plan;
use crate::run::resources::{Least, Resources};

/// Sides of a tile in latents to try if the budget chooses the size.
const SIDES: [usize; 12] = [256, 192, 128, 96, 64, 48, 32, 24, 16, 12, 8, 4];
/// The longest tile to try, in its height.
const LONGEST: usize = 8;

/// The grid on the front's output, or on the input of a network without front.
#[derive(Clone, Copy, Debug)]
pub(in crate::run) struct ExactGrid {
    pub(in crate::run) tiles: HaloGrid,
    /// Pixels of the grid for a latent.
    per_latent: usize,
    /// Pixels of the output for a latent.
    output_per_latent: usize,
}

/// A call in exact tiles: the grid, with the plan of each run.
pub(in crate::run) struct ExactTiles {
    pub(in crate::run) grid: ExactGrid,
    pub(in crate::run) plan: Plan,
    /// The run on the whole picture before the tiles, if the network has a front.
    pub(in crate::run) front: Option<Planned>,
    tiles: TilePlans,
}

/// The plan of each size of tiles.
type TilePlans = Vec<(Window, Planned)>;

impl ExactGrid {
    /// The grid of tiles of `side` latents.
    ///
    /// # Errors
    /// `InvalidArgument` if it would have too many.
    fn new(call: &Call<'_>, side: (usize, usize)) -> Result<Self> {
        let Call { network, height, width, .. } = *call;
        let (per_latent, output_per_latent, scale) = match network.direction() {
            Direction::Decode => {
                (network.front_scale(), network.downscale(), network.front_scale())
            }
            Direction::Encode => (network.downscale(), 1, 1),
        };
        let (height, width) = (height * scale, width * scale);
        let side = (side.0.saturating_mul(per_latent), side.1.saturating_mul(per_latent));
        check_count(height, side.0)?;
        check_count(width, side.1)?;
        let (side, halo) = ((side.0.min(height), side.1.min(width)), network.halo());
        Ok(Self { tiles: HaloGrid { height, width, side, halo }, per_latent, output_per_latent })
    }

    /// The window with the most pixels.
    fn largest(&self) -> Result<Window> {
        let empty = || Error::internal("a picture without tiles");
        let longest = |(_, a): &(usize, Span), (_, b): &(usize, Span)| a.total().cmp(&b.total());
        let (_, rows) = self.tiles.rows().max_by(longest).ok_or_else(empty)?;
        let (_, columns) = self.tiles.columns().max_by(longest).ok_or_else(empty)?;
        Ok(Window { rows, columns })
    }

    /// Where what begins at `start` begins in the output.
    pub(in crate::run) fn output(&self, start: usize) -> usize {
        start / self.per_latent * self.output_per_latent
    }

    /// Values of the output rows in memory at a time, and of the input rows.
    fn row_values(&self, call: &Call<'_>) -> u64 {
        let (network, HaloGrid { height, width, side, halo }) = (call.network, self.tiles);
        let outputs = side.0.div_ceil(self.per_latent) * self.output_per_latent;
        let outputs = outputs * network.output_length(call.width) * network.out_channels();
        let inputs = if network.has_front() {
            0
        } else {
            (side.0 + 2 * halo).min(height) * width * network.in_channels()
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
    if options.tiling == Tiling::Seamless && !resources.budgeted() {
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
            Self::search(call, sides, resources, &mut least).ok().map(|_| least)
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
        let (mut grids, mut too_many) = (Vec::new(), None);
        for &side in sides {
            match ExactGrid::new(call, side) {
                Ok(grid) => alloc::push(&mut grids, grid, TILES)?,
                Err(error) => too_many = Some(error),
            }
        }
        let Some(&smallest) = grids.last() else { return too_many.map_or(Ok(None), Err) };
        let leanest = in_memory(resources).pop().unwrap_or(Strategy::IN_MEMORY);
        let strategies = [Strategy::IN_MEMORY, leanest];
        let mut needs = Vec::new();
        if resources.limited() {
            let windows = smallest.tiles.windows()?;
            for strategy in strategies {
                let (need, _) = Need::of(call, smallest, &windows, resources, strategy)?;
                alloc::push(&mut needs, need, TILES)?;
            }
        }
        let mut allowed = |plan: Plan| {
            *least = least.with(&plan);
            resources.allow(&plan)
        };
        let of_front = Call { part: Part::Front, ..*call };
        let fronts = call.network.has_front().then(|| of_front.plans(resources)).transpose()?;
        let without = fronts.is_none().then_some(Ok(None));
        // The fastest front beside which the smallest tiles fit, so that what a refusal names as
        // the least is enough.
        for front in fronts.into_iter().flatten().map(|front| front.map(Some)).chain(without) {
            let front = front?;
            if needs.is_empty() || needs.iter().any(|need| allowed(need.plan(front.as_ref()))) {
                return Self::beside(call, front, &grids, strategies, resources);
            }
        }
        Ok(None)
    }

    /// The tiles of the first of `grids` that fit the limits beside `front`.
    fn beside(
        call: &Call<'_>,
        front: Option<Planned>,
        grids: &[ExactGrid],
        strategies: [Strategy; 2],
        resources: Resources,
    ) -> Result<Option<Self>> {
        for &grid in grids {
            for strategy in strategies {
                // The largest window tells most of what the others need.
                let windows = [(grid.largest()?, 1)];
                let (need, _) = Need::of(call, grid, &windows, resources, strategy)?;
                if !resources.allow(&need.plan(front.as_ref())) {
                    continue;
                }
                let windows = grid.tiles.windows()?;
                let (need, tiles) = Need::of(call, grid, &windows, resources, strategy)?;
                let plan = need.plan(front.as_ref());
                if resources.allow(&plan) {
                    return Ok(Some(Self { grid, plan, front, tiles }));
                }
            }
        }
        Ok(None)
    }

    /// The plan of a tile of `window`.
    pub(in crate::run) fn planned(&self, window: Window) -> Result<&Planned> {
        planned(&self.tiles, window)
    }
}

/// What the tiles of a grid need, whatever the front.
struct Need {
    grid: ExactGrid,
    workspace: u64,
    /// Memory of the process in bytes, besides the workspace.
    beside: u64,
    multiply_adds: u64,
    /// Bytes of weights that stay resident after a run.
    resident: u64,
}

impl Need {
    /// That of `windows`, each so many times, and the plan of each.
    fn of(
        call: &Call<'_>,
        grid: ExactGrid,
        windows: &[(Window, u64)],
        resources: Resources,
        strategy: Strategy,
    ) -> Result<(Self, TilePlans)> {
        let mut need = Self { grid, workspace: 0, beside: 0, multiply_adds: 0, resident: 0 };
        let (mut tiles, mut of_plans) = (Vec::new(), 0);
        for &(window, count) in windows {
            let tile = grid.tiles.tile(call.network, window).by(resources, strategy)?;
            let plan = &tile.plan;
            need.workspace = need.workspace.max(plan.workspace_bytes);
            need.beside = need.beside.max(plan.peak_bytes - plan.workspace_bytes);
            let work = plan.multiply_adds.saturating_mul(count);
            need.multiply_adds = need.multiply_adds.saturating_add(work);
            need.resident = tile.resident as u64;
            of_plans = of_plans.max(plan_bytes::<Window>(&tile));
            alloc::push(&mut tiles, (window, tile), TILES)?;
        }
        // Of all windows, also where only the largest is planned yet.
        of_plans *= grid.tiles.windows()?.len() as u64;
        let rows = grid.row_values(call).saturating_mul(size_of::<f32>() as u64);
        need.beside = need.beside.saturating_add(rows).saturating_add(of_plans);
        Ok((need, tiles))
    }

    /// The plan of the whole call. Front and tiles share one workspace, whose pages stay resident.
    fn plan(&self, front: Option<&Planned>) -> Plan {
        let Self { grid, mut workspace, mut beside, mut multiply_adds, resident } = *self;
        let mut scratch_bytes = 0;
        if let Some(Planned { plan, output, resident: of_front, .. }) = front {
            let pinned = if output.spilled { 0 } else { align_up(output.bytes) as u64 };
            workspace = workspace.saturating_add(pinned).max(plan.workspace_bytes);
            // Either finds the other's weights resident.
            let during = (plan.peak_bytes - plan.workspace_bytes).saturating_add(resident);
            beside = beside.saturating_add(*of_front as u64).max(during);
            multiply_adds = multiply_adds.saturating_add(plan.multiply_adds);
            scratch_bytes = plan.scratch_bytes;
        }
        let side = grid.tiles.side;
        Plan {
            workspace_bytes: workspace,
            scratch_bytes,
            peak_bytes: workspace.saturating_add(beside),
            multiply_adds,
            exact: true,
            tiles_x: grid.tiles.columns().len(),
            tiles_y: grid.tiles.rows().len(),
            tile_size: side.0.max(side.1).div_ceil(grid.per_latent),
        }
    }
}
