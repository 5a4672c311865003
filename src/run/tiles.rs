#![forbid(unsafe_code)]
//! Tiles as diffusers has them (`enable_tiling`): each goes through the network by itself, with statistics
//! and attention of its own, and is blended into the ones above and on its left.
//!
//! What tiles show that the whole picture does not, seams and shifts of colour, is part of it; it is here
//! to give the numbers that diffusers gives.
//!
//! ```text
//! for each row of tiles
//!     for each tile                                   from every `stride` on, clipped at the picture's end
//!         run the network on it
//!         blend its first rows with the last of the tile above, which is blended already
//!         blend its first columns with the last of the tile on the left, likewise
//!     the first `limit` rows and columns of each are the picture
//! ```

use super::budget::Planned;
use super::options::{SessionOptions, Tiling};
use super::plan::{Direction, Plan, check_finite, input_channels};
use super::session::Session;
use super::stream::Fill;
use crate::base::error::{Error, ErrorKind, Result};
use crate::model::{Config, Model};

/// Where tiles are. Lengths are in values of the input (latents or pixels) or of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tiles {
    /// Input rows and columns of a tile.
    tile: usize,
    /// Input rows from a tile to the next.
    stride: usize,
    /// Output rows that two tiles share.
    blend: usize,
    /// Output rows from a tile to the next.
    limit: usize,
}

impl Tiles {
    /// The tiles that `options` ask for, where a picture of this size is cut at all.
    ///
    /// # Errors
    /// `InvalidArgument` for a tile size or an overlap that makes no tiles.
    pub(super) fn of(
        options: &SessionOptions,
        config: &Config,
        direction: Direction,
        (height, width): (usize, usize),
    ) -> Result<Option<Self>> {
        if options.tiling != Tiling::Diffusers {
            return Ok(None);
        }
        let factor = config.downscale();
        let size = match options.tile_size {
            0 => config.sample_size.0 / factor,
            size => size,
        };
        let overlap = if options.tile_overlap == 0 { size / 4 } else { options.tile_overlap };
        if size == 0 || overlap >= size {
            return Err(Error::invalid(format!(
                "tile overlap: less than the tile size of {size} expected, {overlap} found"
            )));
        }
        let (stride, scale) = (size - overlap, |n: usize| n.saturating_mul(factor));
        let tiles = match direction {
            Direction::Decode => {
                Self { tile: size, stride, blend: scale(overlap), limit: scale(stride) }
            }
            Direction::Encode => {
                Self { tile: scale(size), stride: scale(stride), blend: overlap, limit: stride }
            }
        };
        if height <= tiles.tile && width <= tiles.tile {
            return Ok(None);
        }
        check_count(height.max(width), tiles.stride)?;
        let odd = |side: &usize| direction == Direction::Encode && !side.is_multiple_of(factor);
        if [height, width].iter().any(odd) {
            return Err(Error::invalid(format!(
                "tiles need sides that are multiples of {factor}, {width}x{height} found"
            )));
        }
        Ok(Some(tiles))
    }

    /// Where the tiles begin and end along a side.
    fn cut(&self, length: usize) -> impl ExactSizeIterator<Item = (usize, usize)> + use<> {
        let Self { tile, stride, .. } = *self;
        (0..length).step_by(stride).map(move |start| (start, length.min(start + tile)))
    }

    /// The plan of all tiles of a picture, each planned by `plan`.
    pub(super) fn plan(
        &self,
        (height, width): (usize, usize),
        own_bytes: u64,
        mut plan: impl FnMut(usize, usize) -> Result<Planned>,
    ) -> Result<Plan> {
        let sizes = |length: usize| counted(self.cut(length).map(|(start, end)| end - start));
        let mut total: Option<Plan> = None;
        for &(tile_height, rows) in &sizes(height) {
            for &(tile_width, columns) in &sizes(width) {
                let one = plan(tile_height, tile_width)?.plan;
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
        let mut total = total.ok_or_else(|| Error::internal("a picture without tiles"))?;
        total.peak_bytes = total.peak_bytes.saturating_add(own_bytes);
        (total.tiles_x, total.tiles_y) = (self.cut(width).len(), self.cut(height).len());
        (total.tile_size, total.exact) = (self.tile.min(self.limit + self.blend), false);
        Ok(total)
    }

    /// Bytes that are held beside the workspace of a tile: input rows, output rows, and what the next
    /// tiles blend with.
    pub(super) fn own_bytes(&self, model: &Model, direction: Direction, width: usize) -> u64 {
        let (from, to) = (input_channels(model, direction), output_channels(model, direction));
        let (count, side) = (self.cut(width).len(), self.limit + self.blend);
        let product = |factors: [usize; 3]| {
            factors.iter().fold(1_u64, |product, &n| product.saturating_mul(n as u64))
        };
        let values = [
            product([self.tile, width, from]),
            product([self.limit, count * self.limit, to]),
            product([self.blend, count * side, to]),
            // The tile in work, and what of it the next ones below and on the right blend with.
            product([side, side + 2 * self.blend, to]),
        ];
        values.iter().fold(0_u64, |sum, &n| sum.saturating_add(n)).saturating_mul(4)
    }
}

/// The most tiles along a side.
const MOST_TILES: usize = 1 << 16;

/// Refuses tiles that are too small for a picture: `stride` from one to the next along a side of `length`.
pub(super) fn check_count(length: usize, stride: usize) -> Result<()> {
    let count = length.div_ceil(stride);
    if count <= MOST_TILES {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "tile size: at most {MOST_TILES} tiles along a side expected, {count} found"
    )))
}

/// What there is, and how often.
pub(super) fn counted<T: Ord>(all: impl Iterator<Item = T>) -> Vec<(T, u64)> {
    let mut all: Vec<T> = all.collect();
    all.sort_unstable();
    let mut counted: Vec<(T, u64)> = Vec::new();
    for one in all {
        match counted.last_mut() {
            Some((last, count)) if *last == one => *count += 1,
            _ => counted.push((one, 1)),
        }
    }
    counted
}

fn output_channels(model: &Model, direction: Direction) -> usize {
    match direction {
        Direction::Decode => model.config().out_channels,
        Direction::Encode => 2 * model.config().latent_channels,
    }
}

/// A tile as the network gave it, or the part that others blend with.
#[derive(Clone, Default)]
struct Pixels {
    height: usize,
    width: usize,
    values: Vec<f32>,
}

impl Pixels {
    /// Rows and columns from the given ones on.
    fn from(&self, top: usize, left: usize, channels: usize) -> Self {
        let (height, width) = (self.height - top, self.width - left);
        let mut values = Vec::with_capacity(height * width * channels);
        for row in self.values.chunks_exact(self.width * channels).skip(top) {
            values.extend_from_slice(&row[left * channels..]);
        }
        Self { height, width, values }
    }
}

/// The rows of a picture that is made tile by tile.
pub(super) struct TiledRows {
    tiles: Tiles,
    direction: Direction,
    height: usize,
    width: usize,
    /// Input rows that the row of tiles in work reads, those below `first` having passed.
    strip: Vec<f32>,
    first: usize,
    filled: usize,
    /// The last rows of each tile of the row above.
    above: Vec<Pixels>,
    /// Finished rows, the next of them to give, and where that is in the picture.
    rows: Vec<f32>,
    next: usize,
    y: usize,
    /// Whether a row of tiles was begun and not finished.
    failed: bool,
}

/// Refuses to go on after a failure; notes one until it is known that there is none.
pub(super) fn refuse_after(failed: &mut bool) -> Result<()> {
    if std::mem::replace(failed, true) {
        return Err(Error::new(ErrorKind::State, "stream: it has failed before"));
    }
    Ok(())
}

impl TiledRows {
    pub(super) fn new(tiles: Tiles, direction: Direction, height: usize, width: usize) -> Self {
        let (strip, above, rows) = (Vec::new(), Vec::new(), Vec::new());
        let (first, filled, next, y) = (0, 0, 0, 0);
        let failed = false;
        Self { tiles, direction, height, width, strip, first, filled, above, rows, next, y, failed }
    }

    /// The next row and where it is. `fill` is asked for each input row once, top to bottom.
    pub(super) fn next<'r>(
        &'r mut self,
        session: &mut Session,
        fill: &mut Fill<'_>,
    ) -> Result<Option<(usize, &'r [f32])>> {
        if self.next == self.rows.len() {
            if self.first >= self.height {
                return Ok(None);
            }
            refuse_after(&mut self.failed)?;
            self.row_of_tiles(session, fill)?;
            self.failed = false;
            (self.next, self.first) = (0, self.first + self.tiles.stride);
        }
        let length = self.row_length(session.model());
        let row = &self.rows[self.next..self.next + length];
        (self.next, self.y) = (self.next + length, self.y + 1);
        Ok(Some((self.y - 1, row)))
    }

    /// Values of an output row.
    fn row_length(&self, model: &Model) -> usize {
        let factor = model.config().downscale();
        let width = match self.direction {
            Direction::Decode => self.width * factor,
            Direction::Encode => self.width / factor,
        };
        width * output_channels(model, self.direction)
    }

    /// Makes the rows of the tiles that begin at input row `first`.
    fn row_of_tiles(&mut self, session: &mut Session, fill: &mut Fill<'_>) -> Result<()> {
        let Tiles { tile, blend, limit, .. } = self.tiles;
        let from = input_channels(session.model(), self.direction);
        let channels = output_channels(session.model(), self.direction);
        let end = self.height.min(self.first + tile);
        self.read(session, end, fill)?;
        let row = self.width * from;
        let length = self.row_length(session.model());
        let mut left = Pixels::default();
        for (index, (x0, x1)) in self.tiles.cut(self.width).enumerate() {
            let strip = &self.strip;
            let mut fill_tile = |y: usize, to: &mut [f32]| {
                to.copy_from_slice(&strip[y * row..][x0 * from..x1 * from]);
                Ok(())
            };
            let (height, width) = (end - self.first, x1 - x0);
            let mut made = session.tile(self.direction, height, width, &mut fill_tile, channels)?;
            if let Some(above) = self.above.get(index) {
                blend_below(above, &mut made, blend, channels);
            }
            if index > 0 {
                blend_right(&left, &mut made, blend, channels);
            }
            let below = made.from(made.height.saturating_sub(blend), 0, channels);
            match self.above.get_mut(index) {
                Some(above) => *above = below,
                None => self.above.push(below),
            }
            left = made.from(0, made.width.saturating_sub(blend), channels);
            let (height, width) = (made.height.min(limit), made.width.min(limit));
            self.rows.resize(height * length, 0.0);
            let to = index * limit * channels..(index * limit + width) * channels;
            let made = made.values.chunks_exact(made.width * channels);
            for (row, made) in self.rows.chunks_exact_mut(length).zip(made) {
                row[to.clone()].copy_from_slice(&made[..width * channels]);
            }
        }
        Ok(())
    }

    /// Reads input rows up to `end`, and lets go of those above `first`.
    fn read(&mut self, session: &Session, end: usize, fill: &mut Fill<'_>) -> Result<()> {
        let channels = input_channels(session.model(), self.direction);
        let row = self.width * channels;
        let kept = self.filled - self.first.min(self.filled);
        let passed = self.strip.len() - kept * row;
        self.strip.drain(..passed);
        self.strip.resize((end - self.first) * row, 0.0);
        for y in self.filled.max(self.first)..end {
            let to = &mut self.strip[(y - self.first) * row..][..row];
            fill(y, to)?;
            check_finite(self.direction, y, to, channels)?;
        }
        self.filled = end;
        Ok(())
    }
}

/// Fades from the last rows of `above` to the first of `tile`.
fn blend_below(above: &Pixels, tile: &mut Pixels, blend: usize, channels: usize) {
    let rows = blend.min(above.height).min(tile.height);
    let row = tile.width * channels;
    let from = above.values.chunks_exact(row).skip(above.height - rows);
    for (y, (to, from)) in tile.values.chunks_exact_mut(row).zip(from).enumerate() {
        fade(from, to, y, rows);
    }
}

/// Fades from the last columns of `left` to the first of `tile`.
fn blend_right(left: &Pixels, tile: &mut Pixels, blend: usize, channels: usize) {
    let columns = blend.min(left.width).min(tile.width);
    if columns == 0 {
        return;
    }
    let from = left.values.chunks_exact(left.width * channels);
    for (to, from) in tile.values.chunks_exact_mut(tile.width * channels).zip(from) {
        let from = from.chunks_exact(channels).skip(left.width - columns);
        for (x, (to, from)) in to.chunks_exact_mut(channels).zip(from).enumerate() {
            fade(from, to, x, columns);
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

impl Session {
    /// Runs the network on one tile.
    fn tile(
        &mut self,
        direction: Direction,
        height: usize,
        width: usize,
        fill: &mut Fill<'_>,
        channels: usize,
    ) -> Result<Pixels> {
        let mut rows = self.compute(direction, height, width, fill)?;
        let shape = rows.shape();
        let mut values = Vec::with_capacity(shape.height * shape.width * channels);
        while let Some((_, row)) = self.next_row(&mut rows)? {
            values.extend_from_slice(row);
        }
        Ok(Pixels { height: shape.height, width: shape.width, values })
    }
}
