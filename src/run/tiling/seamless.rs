#![forbid(unsafe_code)]
//! Seamless tiles: a decode without seams whose large activations exist for one tile at a time.
//!
//! Each tile has a halo of all that its pixels depend on, and all tiles are normalised by the
//! statistics of the whole picture. With exact statistics they would equal the exact picture.
//! `backend/statistics.rs` approximates the statistics by running a reduced picture and all tiles
//! in turn (`rows/seamless.rs`).

use super::grid::{HaloGrid, TILES, check_count, plan_bytes, planned};
use crate::backend::Strategy;
use crate::base::alloc;
use crate::base::buffer::align_up;
use crate::base::error::{Error, Result};
use crate::model::network::{Network, Part};
use crate::model::window::Window;
use crate::run::budget::{Call, Output, Planned, in_memory};
use crate::run::plan::Plan;
use crate::run::resources::{Least, Resources};

/// Sides of a tile in latents to try if the budget chooses the size.
const SIZES: [usize; 14] = [256, 224, 192, 160, 128, 112, 96, 80, 64, 48, 32, 24, 16, 8];

/// Side of the smallest reduced picture whose statistics can stand for the whole.
const SMALLEST: usize = 16;

/// The grid on the front's output. Lengths are in its pixels.
#[derive(Clone, Copy, Debug)]
pub(in crate::run) struct SeamlessGrid {
    pub(in crate::run) tiles: HaloGrid,
    /// The reduced picture has every `step`-th pixel.
    pub(in crate::run) step: usize,
}

/// A decode in seamless tiles: the grid, with the plan of each run.
pub(in crate::run) struct SeamlessTiles {
    pub(in crate::run) grid: SeamlessGrid,
    pub(in crate::run) plan: Plan,
    pub(in crate::run) front: Planned,
    /// The plans of the rest of the network on the reduced picture, and on a tile of each window.
    pub(in crate::run) reduced: Planned,
    tiles: Vec<(Window, Planned)>,
}

impl SeamlessGrid {
    fn new(front: &Output, most: usize, halo: usize) -> Self {
        let (height, width) = (front.shape.height, front.shape.width);
        let even = |length: usize| length.div_ceil(length.div_ceil(most));
        let room = most.max(SMALLEST).saturating_pow(2);
        let small = |step: &usize| height.div_ceil(*step) * width.div_ceil(*step) <= room;
        let step = (1..).find(small).unwrap_or(1);
        let tiles = HaloGrid { height, width, side: (even(height), even(width)), halo };
        Self { tiles, step }
    }

    /// Number of rounds of gathering statistics: the smaller the reduced picture beside the whole,
    /// the more. That keeps the error under about a quarter of a step of 8 bits (58 dB on
    /// photographs, docs/memory.md).
    pub(in crate::run) fn rounds(&self) -> u64 {
        match self.step {
            ..=2 => 1,
            3..=8 => 2,
            _ => 3,
        }
    }

    /// The run on the reduced picture.
    pub(in crate::run) fn reduced<'n>(&self, network: &'n Network<'n>) -> Call<'n> {
        let (height, width) =
            (self.tiles.height.div_ceil(self.step), self.tiles.width.div_ceil(self.step));
        Call { network, part: Part::Rest(None), height, width }
    }
}

/// The tile sides to try for a call, in latents, largest first.
///
/// # Errors
/// `InvalidArgument` if an overlap is set.
pub(in crate::run) fn sizes(call: &Call<'_>, resources: Resources) -> Result<Vec<usize>> {
    let options = resources.tiles;
    if options.overlap != 0 {
        return Err(Error::invalid(format!(
            "tile overlap: 0 expected with seamless tiles, {} found",
            options.overlap
        )));
    }
    Ok(match options.size {
        0 if !resources.budgeted() => vec![call.network.sample_latents().max(1)],
        0 => {
            let longest = call.height.max(call.width);
            let sizes = SIZES.into_iter().filter(|&size| check_count(longest, size).is_ok());
            let sizes: Vec<usize> = sizes.collect();
            if sizes.is_empty() { SIZES[..1].to_vec() } else { sizes }
        }
        size => vec![size],
    })
}

impl SeamlessTiles {
    /// Plans the tiles of a call, with a side from `sizes`.
    ///
    /// # Errors
    /// `InvalidArgument` for too many tiles, `Budget` like [`Call::plan`].
    pub(in crate::run) fn of(
        call: &Call<'_>,
        sizes: &[usize],
        resources: Resources,
    ) -> Result<Self> {
        let mut least = Least::NONE;
        if let Some(found) = Self::search(call, sizes, resources, &mut least)? {
            return Ok(found);
        }
        let with = |leaner: Resources| {
            let (resources, mut least) = (leaner.unkept(), Least::NONE);
            Self::search(call, sizes, resources, &mut least).ok().map(|_| least)
        };
        Err(resources.refusal(" in seamless tiles", least, with))
    }

    /// The fastest front and the largest tiles that fit the limits; if none do, the least that any
    /// need.
    fn search(
        call: &Call<'_>,
        sizes: &[usize],
        resources: Resources,
        least: &mut Least,
    ) -> Result<Option<Self>> {
        let front = Call { part: Part::Front, ..*call };
        let strategies = in_memory(resources);
        // The tiles' plans do not depend on the front's strategy.
        let mut known: Vec<(usize, Strategy, Need)> = Vec::new();
        // The plans of the last of these. Those of all would take more memory than a run.
        let mut last = None;
        for front in front.plans(resources)? {
            let front = front?;
            let (sizes, strategies) = match resources.allow(&front.plan) {
                true => (sizes, &strategies[..]),
                // Only to learn the least need.
                false => (&sizes[sizes.len() - 1..], &strategies[strategies.len() - 1..]),
            };
            for &size in sizes {
                for &strategy in strategies {
                    let same = |(other, by, _): &(usize, Strategy, Need)| {
                        (*other, by.packed_limit) == (size, strategy.packed_limit)
                    };
                    let at = match known.iter().position(same) {
                        Some(at) => at,
                        None => {
                            let grid = grid(call, &front.output, size)?;
                            let rest = Rest::of(call, grid, resources, strategy)?;
                            alloc::push(&mut known, (size, strategy, rest.need), TILES)?;
                            last = Some((known.len() - 1, rest));
                            known.len() - 1
                        }
                    };
                    let (_, strategy, need) = known[at];
                    let (grid, plan) = (need.grid, need.plan(call, &front));
                    if resources.allow(&plan) {
                        let rest = match last.filter(|(of, _)| *of == at) {
                            Some((_, rest)) => rest,
                            None => Rest::of(call, grid, resources, strategy)?,
                        };
                        let Rest { reduced, tiles, .. } = rest;
                        return Ok(Some(Self { grid, plan, front, reduced, tiles }));
                    }
                    *least = least.with(&plan);
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

/// The grid of tiles of at most `size` latents on the front's output.
fn grid(call: &Call<'_>, front: &Output, size: usize) -> Result<SeamlessGrid> {
    let most = size.saturating_mul(call.network.front_scale());
    check_count(front.shape.height.max(front.shape.width), most)?;
    Ok(SeamlessGrid::new(front, most, call.network.halo()))
}

/// The plans of the runs after the front.
struct Rest {
    need: Need,
    reduced: Planned,
    tiles: Vec<(Window, Planned)>,
}

/// What the runs after the front need.
#[derive(Clone, Copy)]
struct Need {
    grid: SeamlessGrid,
    workspace: u64,
    /// Memory of the process in bytes, besides the workspace.
    beside: u64,
    /// Bytes of the plans themselves.
    of_plans: u64,
    multiply_adds: u64,
    /// Bytes of weights that stay resident after a run.
    resident: u64,
}

impl Rest {
    fn of(
        call: &Call<'_>,
        grid: SeamlessGrid,
        resources: Resources,
        strategy: Strategy,
    ) -> Result<Self> {
        let times = grid.rounds() + 1;
        let reduced = grid.reduced(call.network).by(resources, strategy)?;
        let mut need = Need {
            grid,
            workspace: 0,
            beside: 0,
            of_plans: 0,
            multiply_adds: 0,
            resident: reduced.resident as u64,
        };
        need.add(&reduced, times);
        let mut tiles = Vec::new();
        for (window, count) in grid.tiles.windows()? {
            let tile = grid.tiles.tile(call.network, window).by(resources, strategy)?;
            need.add(&tile, count.saturating_mul(times));
            alloc::push(&mut tiles, (window, tile), TILES)?;
        }
        Ok(Self { need, reduced, tiles })
    }
}

impl Need {
    /// Adds `times` runs of `planned`.
    fn add(&mut self, planned: &Planned, times: u64) {
        let plan = &planned.plan;
        self.of_plans += plan_bytes::<Window>(planned);
        self.workspace = self.workspace.max(plan.workspace_bytes);
        self.beside = self.beside.max(plan.peak_bytes - plan.workspace_bytes);
        let work = plan.multiply_adds.saturating_mul(times);
        self.multiply_adds = self.multiply_adds.saturating_add(work);
    }

    /// The plan of the whole call. Front and tiles share one workspace, whose pages stay resident.
    fn plan(&self, call: &Call<'_>, front: &Planned) -> Plan {
        let Call { network, width, .. } = *call;
        let scale = front.output.shape.width / width;
        let row = network.output_length(width) * network.out_channels() * size_of::<f32>();
        let rows = (self.grid.tiles.side.0 * (network.downscale() / scale) * row) as u64;
        let pinned = if front.output.spilled { 0 } else { align_up(front.output.bytes) as u64 };
        let workspace = self.workspace.saturating_add(pinned).max(front.plan.workspace_bytes);
        let of_front = front.plan.peak_bytes - front.plan.workspace_bytes;
        let of_tiles = self.beside.saturating_add(front.resident as u64).saturating_add(rows);
        let beside = of_front.saturating_add(self.resident).max(of_tiles);
        let beside = beside.saturating_add(self.of_plans);
        Plan {
            workspace_bytes: workspace,
            scratch_bytes: front.plan.scratch_bytes,
            peak_bytes: workspace.saturating_add(beside),
            multiply_adds: front.plan.multiply_adds.saturating_add(self.multiply_adds),
            exact: false,
            tiles_x: self.grid.tiles.columns().len(),
            tiles_y: self.grid.tiles.rows().len(),
            tile_size: self.grid.tiles.side.0.max(self.grid.tiles.side.1).div_ceil(scale),
        }
    }
}
