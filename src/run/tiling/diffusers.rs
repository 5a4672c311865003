#![forbid(unsafe_code)]
//! The tiles of diffusers (`enable_tiling`): each goes through the network by itself, with its own
//! statistics and attention, and is blended into the tiles above and on its left
//! (`rows/diffusers.rs`).
//!
//! Seams and shifts of colour, which the whole picture does not have, are part of it: the aim is to
//! give diffusers' numbers.

use super::grid::{TILES, check_count, counted, plan_bytes};
use crate::base::alloc;
use crate::base::error::{Error, Result};
use crate::base::shape::Shape;
use crate::base::storage::Storage;
use crate::model::Family;
use crate::model::network::{Direction, Network, Part};
use crate::run::budget::{Call, Planned};
use crate::run::plan::Plan;
use crate::run::resources::{Resources, TileOptions};

/// The grid of tiles. Lengths are in values of the input (latents or pixels) or of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::run) struct DiffusersGrid {
    /// Input rows and columns of a tile.
    pub(in crate::run) tile: usize,
    /// Input rows from one tile to the next.
    pub(in crate::run) stride: usize,
    /// Output rows shared by two tiles.
    pub(in crate::run) blend: usize,
    /// Output rows from one tile to the next.
    pub(in crate::run) limit: usize,
    pub(in crate::run) blending: Blending,
}

/// How a tile is blended with those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::run) enum Blending {
    /// `AutoencoderKL`: into the tile above, then into the one on the left, which are blended
    /// already.
    Fades,
    /// `AutoencoderTiny`: over all that is there, by the product of a ramp down and one across.
    Ramps,
}

/// A call in diffusers' tiles: the grid, and the plan for each tile size.
pub(in crate::run) struct DiffusersTiles {
    pub(in crate::run) grid: DiffusersGrid,
    pub(in crate::run) plan: Plan,
    /// Rows and columns of a tile, with its plan.
    planned: Vec<((usize, usize), Planned)>,
}

impl DiffusersGrid {
    /// The tiles of `options`; `None` if an input of this size is not cut.
    ///
    /// # Errors
    /// `InvalidArgument` for an impossible tile size or overlap.
    fn of(call: &Call<'_>, options: TileOptions) -> Result<Option<Self>> {
        let Call { network, height, width, .. } = *call;
        let (factor, direction) = (network.downscale(), network.direction());
        let size = if options.size == 0 { network.sample_latents() } else { options.size };
        let (blending, part) = match network.family() {
            Family::Kl(_) | Family::Flux2(_) => (Blending::Fades, 4),
            Family::Tiny(_) => (Blending::Ramps, 8),
            Family::Asymmetric(_) => {
                return Err(Error::invalid(
                    "tiling: diffusers' AsymmetricAutoencoderKL has no tiles, exact or seamless \
                     expected",
                ));
            }
        };
        let overlap = if options.overlap == 0 { size / part } else { options.overlap };
        if size == 0 || overlap >= size {
            return Err(Error::invalid(format!(
                "tile overlap: less than the tile size of {size} expected, {overlap} found"
            )));
        }
        let (stride, scale) = (size - overlap, |n: usize| n.saturating_mul(factor));
        let grid = match direction {
            Direction::Decode => {
                Self { tile: size, stride, blend: scale(overlap), limit: scale(stride), blending }
            }
            Direction::Encode => {
                let (tile, blend) = (scale(size), overlap);
                Self { tile, stride: scale(stride), blend, limit: stride, blending }
            }
        };
        // A tiny autoencoder's are cut wherever a second one begins.
        let most = if blending == Blending::Ramps { grid.stride } else { grid.tile };
        if height <= most && width <= most {
            return Ok(None);
        }
        check_count(height.max(width), grid.stride)?;
        // An input that is cut is larger than a tile, so its size bounds all lengths of the grid.
        Shape::new(height, width, network.in_channels()).bytes(Storage::F32)?;
        let odd = |side: &usize| direction == Direction::Encode && !side.is_multiple_of(factor);
        if [height, width].iter().any(odd) {
            return Err(Error::invalid(format!(
                "tiles need sides that are multiples of {factor}, {width}x{height} found"
            )));
        }
        Ok(Some(grid))
    }

    /// Start and end of each tile along a side.
    pub(in crate::run) fn cut(
        &self,
        length: usize,
    ) -> impl ExactSizeIterator<Item = (usize, usize)> + use<> {
        let Self { tile, stride, .. } = *self;
        (0..length).step_by(stride).map(move |start| (start, length.min(start + tile)))
    }

    /// Bytes held besides the workspace of a tile: input rows, output rows, and the parts that the
    /// next tiles blend with.
    fn own_bytes(&self, network: &Network<'_>, width: usize) -> u64 {
        let (from, to) = (network.in_channels(), network.out_channels());
        let (count, side) = (self.cut(width).len(), self.limit + self.blend);
        let product = |factors: [usize; 3]| {
            factors.iter().fold(1_u64, |product, &n| product.saturating_mul(n as u64))
        };
        if self.blending == Blending::Ramps {
            // Input rows, output rows that tiles are laid on, those given out, and a tile.
            let (across, row) = (side.saturating_mul(side), network.output_length(width));
            let values = [
                product([self.tile, width, from]),
                product([side + self.limit, row, to]),
                product([across, 1, to]),
            ];
            return values.iter().fold(0_u64, |sum, &n| sum.saturating_add(n)).saturating_mul(4);
        }
        let values = [
            product([self.tile, width, from]),
            product([self.limit, count * self.limit, to]),
            product([self.blend, count * side, to]),
            // The current tile, and the parts of it that the next tiles below and on the right
            // blend with.
            product([side, side + 2 * self.blend, to]),
        ];
        values.iter().fold(0_u64, |sum, &n| sum.saturating_add(n)).saturating_mul(4)
    }
}

/// Bytes for the plans of all sizes of tiles; those of a few sizes seldom take a fifth.
const OF_PLANS: u64 = 64 << 10;

/// The plan of each size of tiles, rows and columns, that of the call, and bytes of the plans.
type Plans = (Vec<((usize, usize), Planned)>, Plan, u64);

impl DiffusersTiles {
    /// The tiles of a call, each planned within `resources`; `None` if it is not cut.
    ///
    /// # Errors
    /// `InvalidArgument` for an impossible tile size or overlap, `Budget`.
    pub(in crate::run) fn of(call: &Call<'_>, resources: Resources) -> Result<Option<Self>> {
        let Some(grid) = DiffusersGrid::of(call, resources.tiles)? else { return Ok(None) };
        let Call { network, height, width, .. } = *call;
        let resources = resources.with_beside(grid.own_bytes(network, width));
        // Beside the plans themselves, whose size is known afterwards.
        let (mut planned, mut plan, of_plans) =
            Self::plan(&grid, call, resources.with_beside(OF_PLANS))?;
        if of_plans > OF_PLANS {
            (planned, plan, _) = Self::plan(&grid, call, resources.with_beside(of_plans))?;
        }
        (plan.tiles_x, plan.tiles_y) = (grid.cut(width).len(), grid.cut(height).len());
        (plan.tile_size, plan.exact) = (grid.tile.min(grid.limit + grid.blend), false);
        Ok(Some(Self { grid, plan, planned }))
    }

    /// The plans of all sizes of tiles, what the call needs beside them, and their own bytes.
    fn plan(grid: &DiffusersGrid, call: &Call<'_>, resources: Resources) -> Result<Plans> {
        let Call { network, height, width, .. } = *call;
        let sizes = |length: usize| counted(grid.cut(length).map(|(start, end)| end - start));
        let mut planned = Vec::new();
        let (mut total, mut of_plans): (Option<Plan>, u64) = (None, 0);
        // The largest first: if no plan fits, the error names the need of that one.
        let (heights, widths) = (sizes(height)?, sizes(width)?);
        for &(height, rows) in heights.iter().rev() {
            for &(width, columns) in widths.iter().rev() {
                let tile = Call { network, part: Part::Whole, height, width }.plan(resources)?;
                let one = tile.plan;
                of_plans += plan_bytes::<(usize, usize)>(&tile);
                alloc::push(&mut planned, ((height, width), tile), TILES)?;
                let work = one.multiply_adds.saturating_mul(rows * columns);
                total = Some(match total {
                    None => Plan { multiply_adds: work, ..one },
                    Some(all) => Plan {
                        workspace_bytes: all.workspace_bytes.max(one.workspace_bytes),
                        scratch_bytes: all.scratch_bytes.max(one.scratch_bytes),
                        peak_bytes: all.peak_bytes.max(one.peak_bytes),
                        multiply_adds: all.multiply_adds.saturating_add(work),
                        ..one
                    },
                });
            }
        }
        let plan = total.ok_or_else(|| Error::internal("a picture without tiles"))?;
        Ok((planned, plan, of_plans))
    }

    /// The plan of a tile of `height` rows of `width`.
    pub(in crate::run) fn planned(&self, height: usize, width: usize) -> Result<&Planned> {
        let tile = self.planned.iter().find(|(size, _)| *size == (height, width));
        let (_, planned) = tile.ok_or_else(|| Error::internal("a tile that is not in the plan"))?;
        Ok(planned)
    }
}
