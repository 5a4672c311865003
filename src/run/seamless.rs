#![forbid(unsafe_code)]
//! Seamless tiles: a decode whose large activations exist for a tile at a time, without seams.
//!
//! A tile has around it all that its pixels depend on, and all tiles are normalised by the statistics of the
//! whole picture. They would then be the exact picture, if those statistics were exact; these are found
//! as `backend/statistics.rs` says, by running a reduced picture and all tiles in turn.
//!
//! ```text
//! front: up to the last attention, in one piece                         -> M, at the latents' resolution
//! statistics = those of M, reduced
//! for each round
//!     for each tile of M, with its halo: the rest of the network by `statistics`, gathering its own
//!     statistics = those of M, reduced, corrected by what was gathered
//! for each tile of M, with its halo: the rest of the network by `statistics`, whose core is the picture
//! ```

use std::ops::Range;

use super::budget::{Call, Output, Planned, in_memory, mebibytes};
use super::execute::checked;
use super::options::{SessionOptions, Tiling};
use super::plan::{Direction, Part, Plan, Resources};
use super::session::Session;
use super::stream::Fill;
use super::tiles::{check_count, counted, refuse_after};
use crate::backend::{Reduced, Shared, Statistics, Strategy};
use crate::base::buffer::{align_up, cast};
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::scratch_file::ScratchFile;
use crate::base::shape::Shape;
use crate::model::window::{Span, Window};
use crate::model::{Model, decoder};

/// Sides of a tile in latents that are tried where the budget chooses.
const SIZES: [usize; 14] = [256, 224, 192, 160, 128, 112, 96, 80, 64, 48, 32, 24, 16, 8];

/// Side of the smallest picture whose statistics stand for a larger one's.
const SMALLEST: usize = 16;

/// A decode in seamless tiles.
pub(crate) struct Seamless {
    front: Planned,
    tiles: Tiles,
    /// How tiles save memory.
    strategy: Strategy,
    plan: Plan,
}

impl Seamless {
    pub(super) fn plan(&self) -> Plan {
        self.plan
    }
}

/// How what the front gave is cut. Lengths are in its pixels.
#[derive(Clone, Copy, Debug)]
struct Tiles {
    height: usize,
    width: usize,
    /// Rows and columns of a tile, but for the last ones.
    side: (usize, usize),
    halo: usize,
    /// Pixels from one of the reduced picture to the next.
    step: usize,
}

impl Tiles {
    fn new(height: usize, width: usize, most: usize, halo: usize) -> Self {
        let even = |length: usize| length.div_ceil(length.div_ceil(most));
        let room = most.max(SMALLEST).saturating_pow(2);
        let small = |step: &usize| height.div_ceil(*step) * width.div_ceil(*step) <= room;
        let step = (1..).find(small).unwrap_or(1);
        Self { height, width, side: (even(height), even(width)), halo, step }
    }

    /// Where tiles begin along a side, each with its span.
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

    fn rows(&self) -> impl ExactSizeIterator<Item = (usize, Span)> + use<> {
        Self::cut(self.height, self.side.0, self.halo)
    }

    fn columns(&self) -> impl ExactSizeIterator<Item = (usize, Span)> + use<> {
        Self::cut(self.width, self.side.1, self.halo)
    }

    /// How often statistics are gathered: more the less the reduced picture has of the whole. That keeps the
    /// error under about a quarter of a step of 8 bits (58 dB on photographs, docs/memory.md).
    fn rounds(&self) -> u64 {
        match self.step {
            ..=2 => 1,
            3..=8 => 2,
            _ => 3,
        }
    }

    /// The windows that there are, and how many tiles have each.
    fn windows(&self) -> Vec<(Window, u64)> {
        let spans = |(_, span): (usize, Span)| span;
        let (rows, columns) = (counted(self.rows().map(spans)), counted(self.columns().map(spans)));
        let pairs = rows.iter().flat_map(|row| columns.iter().map(move |column| (row, column)));
        pairs.map(|(&(rows, n), &(columns, m))| (Window { rows, columns }, n * m)).collect()
    }

    /// The tile of a window.
    fn tile<'m>(&self, model: &'m Model, window: Window) -> Call<'m> {
        let (height, width) = (window.rows.total(), window.columns.total());
        rest(model, Some(window), height, width)
    }

    fn reduced<'m>(&self, model: &'m Model) -> Call<'m> {
        rest(model, None, self.height.div_ceil(self.step), self.width.div_ceil(self.step))
    }
}

fn rest(model: &Model, window: Option<Window>, height: usize, width: usize) -> Call<'_> {
    Call { model, direction: Direction::Decode, part: Part::Rest(window), height, width }
}

impl Call<'_> {
    /// The plan in seamless tiles, where `options` ask for them and the picture is larger than one.
    ///
    /// # Errors
    /// `InvalidArgument` for an overlap, `Budget` as [`Call::plan`].
    pub(super) fn seamless(
        &self,
        options: &SessionOptions,
        resources: Resources,
    ) -> Result<Option<Seamless>> {
        if options.tiling != Tiling::Seamless || self.direction == Direction::Encode {
            return Ok(None);
        }
        if options.tile_overlap != 0 {
            let overlap = options.tile_overlap;
            return Err(Error::invalid(format!(
                "tile overlap: 0 expected with seamless tiles, {overlap} found"
            )));
        }
        let config = self.model.config();
        let sizes = match options.tile_size {
            0 if !resources.limited() => vec![(config.sample_size.0 / config.downscale()).max(1)],
            0 => {
                // What fits in one piece needs no tiles.
                if self.plan(Resources { scratch: false, ..resources }).is_ok() {
                    return Ok(None);
                }
                let longest = self.height.max(self.width);
                let sizes = SIZES.into_iter().filter(|&size| check_count(longest, size).is_ok());
                let sizes: Vec<usize> = sizes.collect();
                if sizes.is_empty() { SIZES[..1].to_vec() } else { sizes }
            }
            size => vec![size],
        };
        if sizes.iter().all(|&size| size >= self.height && size >= self.width) {
            return Ok(None);
        }
        let mut least = (u64::MAX, u64::MAX);
        if let Some(found) = self.search(&sizes, resources, &mut least)? {
            return Ok(Some(found));
        }
        if least.1 > resources.workspace {
            return Err(Error::invalid(format!(
                "workspace: at least {} bytes expected, {} found",
                least.1, resources.workspace
            )));
        }
        let mut hints = String::new();
        let scratch = Resources { scratch: true, ..resources };
        let others =
            [("a scratch folder", Some(scratch)), ("bf16 activations", resources.in_bf16())];
        for (what, other) in others {
            let Some(other) = other else { continue };
            let mut needed = (u64::MAX, u64::MAX);
            self.search(&sizes, Resources { budget: 1, ..other }, &mut needed)?;
            if needed.0 < least.0 {
                hints.push_str(&format!(", {} with {what}", mebibytes(needed.0)));
            }
        }
        let message = format!(
            "a memory budget of {} cannot be kept in seamless tiles: at least {} are needed{hints}",
            mebibytes(resources.budget),
            mebibytes(least.0)
        );
        Err(Error::new(ErrorKind::Budget, message))
    }

    /// The fastest front and the largest tiles that keep the budget; without any, the least bytes of the
    /// process and of the workspace that some need.
    fn search(
        &self,
        sizes: &[usize],
        resources: Resources,
        least: &mut (u64, u64),
    ) -> Result<Option<Seamless>> {
        let front = Call { part: Part::Front, ..*self };
        let strategies = in_memory(resources);
        // Tiles know nothing of the front's strategy.
        let mut known: Vec<((usize, usize), (Tiles, Need))> = Vec::new();
        for front in front.plans(resources)? {
            let front = front?;
            let (sizes, strategies) = match resources.allow(&front.plan) {
                true => (sizes, &strategies[..]),
                // Only for what it would need.
                false => (&sizes[sizes.len() - 1..], &strategies[strategies.len() - 1..]),
            };
            for &size in sizes {
                for &strategy in strategies {
                    let key = (size, strategy.kept);
                    let (tiles, need) = match known.iter().find(|(other, _)| *other == key) {
                        Some((_, found)) => *found,
                        None => {
                            let found = self.tiled(&front.output, size, resources, strategy)?;
                            known.push((key, found));
                            found
                        }
                    };
                    let plan = self.plan_of(&front, &tiles, need);
                    if resources.allow(&plan) {
                        return Ok(Some(Seamless { front, tiles, strategy, plan }));
                    }
                    least.0 = least.0.min(plan.peak_bytes);
                    least.1 = least.1.min(plan.workspace_bytes);
                }
            }
        }
        Ok(None)
    }

    /// Tiles of at most `size` latents of what the front gives, and what they need.
    fn tiled(
        &self,
        front: &Output,
        size: usize,
        resources: Resources,
        strategy: Strategy,
    ) -> Result<(Tiles, Need)> {
        let (model, decoder) = (self.model, self.model.need_decoder()?);
        let most = size.saturating_mul(1 << decoder::front_doublings(decoder));
        check_count(front.shape.height.max(front.shape.width), most)?;
        let tiles = Tiles::new(front.shape.height, front.shape.width, most, decoder::halo(decoder));
        let times = tiles.rounds() + 1;
        let reduced = tiles.reduced(model).by(resources, strategy)?;
        let mut need = Need { held: reduced.held as u64, ..Need::default() };
        need.add(&reduced.plan, times);
        for (window, count) in tiles.windows() {
            let tile = tiles.tile(model, window).by(resources, strategy)?;
            need.add(&tile.plan, count.saturating_mul(times));
        }
        Ok((tiles, need))
    }

    /// The plan of all. Front and tiles have one arena, whose pages stay.
    fn plan_of(&self, front: &Planned, tiles: &Tiles, need: Need) -> Plan {
        let config = self.model.config();
        let scale = front.output.shape.width / self.width;
        let (factor, channels) = (config.downscale(), config.out_channels);
        let row = self.width * factor * channels * size_of::<f32>();
        let rows = (tiles.side.0 * (factor / scale) * row) as u64;
        let workspace =
            (need.workspace + kept(&front.output) as u64).max(front.plan.workspace_bytes);
        let beside = (front.plan.peak_bytes - front.plan.workspace_bytes + need.held)
            .max(need.beside + front.held as u64 + rows);
        Plan {
            workspace_bytes: workspace,
            scratch_bytes: front.plan.scratch_bytes,
            peak_bytes: workspace + beside,
            multiply_adds: front.plan.multiply_adds.saturating_add(need.multiply_adds),
            exact: false,
            tiles_x: tiles.columns().len(),
            tiles_y: tiles.rows().len(),
            tile_size: tiles.side.0.max(tiles.side.1).div_ceil(scale),
        }
    }
}

/// What the runs after the front need.
#[derive(Clone, Copy, Debug, Default)]
struct Need {
    workspace: u64,
    /// Bytes of the process beside the workspace.
    beside: u64,
    /// Bytes of weights that stay resident.
    held: u64,
    multiply_adds: u64,
}

impl Need {
    /// With so many runs of `plan`.
    fn add(&mut self, plan: &Plan, times: u64) {
        self.workspace = self.workspace.max(plan.workspace_bytes);
        self.beside = self.beside.max(plan.peak_bytes - plan.workspace_bytes);
        let work = plan.multiply_adds.saturating_mul(times);
        self.multiply_adds = self.multiply_adds.saturating_add(work);
    }
}

/// Bytes of the arena that what the front gave has while tiles run.
fn kept(front: &Output) -> usize {
    if front.stored { 0 } else { align_up(front.bytes) }
}

/// The rows of a decode in seamless tiles, of which a row is made at a time.
pub(super) struct SeamlessRows {
    tiles: Tiles,
    strategy: Strategy,
    /// What the front gave: in the arena's first bytes, or in the scratch file from a byte on.
    front: Output,
    file: Option<(ScratchFile, Range<usize>)>,
    statistics: Shared,
    /// Picture rows of the row of tiles made last, their length, the next of them to give, and its place.
    rows: Vec<f32>,
    length: usize,
    next: usize,
    y: usize,
    /// Rows of tiles made.
    made: usize,
    /// Whether a row of tiles was begun and not finished.
    failed: bool,
}

impl SeamlessRows {
    /// Runs the front on the latents of `fill`, and finds the statistics.
    pub(super) fn begin(
        session: &mut Session,
        call: Call<'_>,
        seamless: Seamless,
        fill: &mut Fill<'_>,
    ) -> Result<Self> {
        let Seamless { front, tiles, strategy, plan } = seamless;
        let call = Call { part: Part::Front, ..call };
        let file = session.scratch_file(plan.scratch_bytes)?;
        session.reserve(plan.workspace_bytes as usize)?;
        session.count(plan.multiply_adds);
        let channels = session.model().config().latent_channels;
        let mut fill = checked(Direction::Decode, channels, fill);
        let memory = (0, file.as_ref());
        let made = session.execute(call, &front, memory, Statistics::Own, &mut fill)?;
        if !front.output.stored {
            session.move_to_start(made.clone());
        }
        let config = session.model().config();
        let mut rows = Self {
            tiles,
            strategy,
            front: front.output,
            file: file.filter(|_| front.output.stored).map(|file| (file, made)),
            statistics: Shared::default(),
            rows: Vec::new(),
            length: call.width * config.downscale() * config.out_channels,
            next: 0,
            y: 0,
            made: 0,
            failed: false,
        };
        rows.find_statistics(session)?;
        Ok(rows)
    }

    /// The next row and where it is.
    pub(super) fn next(&mut self, session: &mut Session) -> Result<Option<(usize, &[f32])>> {
        if self.next == self.rows.len() {
            let Some((top, rows)) = self.tiles.rows().nth(self.made) else { return Ok(None) };
            refuse_after(&mut self.failed)?;
            self.row_of_tiles(session, top, rows)?;
            self.failed = false;
            (self.made, self.next) = (self.made + 1, 0);
        }
        let row = &self.rows[self.next..self.next + self.length];
        (self.next, self.y) = (self.next + self.length, self.y + 1);
        Ok(Some((self.y - 1, row)))
    }

    fn find_statistics(&mut self, session: &mut Session) -> Result<()> {
        let mut reduced = Reduced::default();
        self.reduce(session, &mut reduced)?;
        for _ in 0..self.tiles.rounds() {
            self.statistics = reduced.shared().gathering();
            for (top, rows) in self.tiles.rows() {
                for (left, columns) in self.tiles.columns() {
                    self.tile(session, (top, left), Window { rows, columns })?;
                }
            }
            reduced = reduced.corrected(&self.statistics.statistics());
            self.reduce(session, &mut reduced)?;
        }
        self.statistics = reduced.shared();
        Ok(())
    }

    /// Runs the rest of the network on the reduced picture.
    fn reduce(&mut self, session: &mut Session, reduced: &mut Reduced) -> Result<()> {
        let model = session.model().clone();
        let call = self.tiles.reduced(&model);
        let (step, middle) = (self.tiles.step, self.tiles.step / 2);
        let Shape { height, width, .. } = self.front.shape;
        let columns: Vec<usize> =
            (0..width).step_by(step).map(|x| (x + middle).min(width - 1)).collect();
        let from = |y: usize| ((y * step + middle).min(height - 1), &columns[..]);
        self.run(session, call, Statistics::Reduced(reduced), &from)?;
        Ok(())
    }

    /// Runs the rest of the network on a tile, whose first pixel is at `(top, left)`.
    fn tile(
        &mut self,
        session: &mut Session,
        (top, left): (usize, usize),
        window: Window,
    ) -> Result<(Output, Range<usize>)> {
        let model = session.model().clone();
        let call = self.tiles.tile(&model, window);
        let (top, left) = (top - window.rows.before, left - window.columns.before);
        let columns: Vec<usize> = (left..left + window.columns.total()).collect();
        let mut statistics = std::mem::take(&mut self.statistics);
        statistics.rewind();
        let by = Statistics::Shared(&mut statistics);
        let made = self.run(session, call, by, &|y| (top + y, &columns[..]));
        self.statistics = statistics;
        made
    }

    /// Runs `call` on pixels of what the front gave: `from` says of which row and columns a row consists.
    fn run<'c>(
        &self,
        session: &mut Session,
        call: Call<'_>,
        statistics: Statistics<'_>,
        from: &dyn Fn(usize) -> (usize, &'c [usize]),
    ) -> Result<(Output, Range<usize>)> {
        let planned = call.by(session.all_resources(), self.strategy)?;
        let kept = kept(&self.front);
        let mut fill = |kept: &[u8], y: usize, to: &mut [u8]| {
            let (y, columns) = from(y);
            self.read(kept, y, columns, to)
        };
        let made = session.execute(call, &planned, (kept, None), statistics, &mut fill)?;
        Ok((planned.output, made))
    }

    /// Reads pixels of row `y` of what the front gave, which is in `kept` if not in the scratch file.
    fn read(&self, kept: &[u8], y: usize, columns: &[usize], to: &mut [u8]) -> Result<()> {
        let Output { shape, dtype, pitch, .. } = self.front;
        let (pixel, stride) = (shape.channels * dtype.size(), pitch * dtype.size());
        let (Some(&first), Some(&last)) = (columns.first(), columns.last()) else { return Ok(()) };
        let at = (y * shape.width + first) * stride;
        let length = (last - first) * stride + pixel;
        let read;
        let row = match &self.file {
            None => &kept[at..at + length],
            Some((file, range)) => {
                let mut bytes = vec![0; length];
                file.part(range.start as u64..range.end as u64).read(at as u64, &mut bytes)?;
                read = bytes;
                &read[..]
            }
        };
        for (to, x) in to.chunks_exact_mut(pixel).zip(columns) {
            to.copy_from_slice(&row[(x - first) * stride..][..pixel]);
        }
        Ok(())
    }

    /// Makes the picture rows of the tiles whose rows are `rows` and begin at `top`.
    fn row_of_tiles(&mut self, session: &mut Session, top: usize, rows: Span) -> Result<()> {
        let channels = session.model().config().out_channels;
        let scale = self.length / channels / self.tiles.width;
        self.rows.resize(rows.length * scale * self.length, 0.0);
        for (left, columns) in self.tiles.columns() {
            let window = Window { rows, columns };
            let (output, made) = self.tile(session, (top, left), window)?;
            let core = decoder::picture_window(session.model().need_decoder()?, window).core();
            let values: &[f32] = cast(&session.workspace()[made]);
            let to = left * scale * channels..(left * scale + core.width) * channels;
            let made = values.chunks_exact(output.shape.width * channels).skip(core.top);
            for (row, made) in self.rows.chunks_exact_mut(self.length).zip(made) {
                row[to.clone()].copy_from_slice(&made[core.left * channels..][..to.len()]);
            }
        }
        Ok(())
    }
}
