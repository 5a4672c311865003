//! The cut of a Winograd convolution, and its order.

use super::grid::Grid;
use super::strides::{SLICE, input_tile};
use crate::base::shape::Shape;
use crate::kernels::Winograd;
use crate::ops::conv::blocks::{Block, Cut, even};
use crate::ops::conv::layer::{Layer, Resample};

/// Tiles of a block: two register tiles of the widest kernel. Half as many would keep the block's
/// points in the second-level cache, but the filters are then read twice as often, which costs
/// more.
const BLOCK_TILES: usize = 26;
/// Tiles of a block side by side.
const BLOCK_ACROSS: usize = 13;
/// Blocks that a picture is cut into at least, while they have `BLOCK_TILES / 2` tiles.
const BLOCKS: usize = 12;
/// Output channels multiplied together.
const PANEL: usize = 32;
/// Cost of transforming one value, per point, in multiply-adds.
const TRANSFORM: f64 = 32.0;
/// Cost of transforming one filter value, per point, in multiply-adds: it goes to memory and back.
const FILTER: f64 = 32.0;

/// The largest transformed picture that is kept whole, in values: 20 MiB, about the third-level
/// cache that a core complex can spare.
const MAX_INPUT_POINTS: usize = 5 << 20;
/// The least number of filter slices of a layer whose picture is kept, so that all workers have
/// some.
const SLICES: usize = 8;

/// The variant of a local convolution: the one with the smallest tiles, since a tile of a picture
/// needs a halo of whole ones.
const LOCAL: Winograd = Winograd::F4;
/// Outputs of its tiles in each direction.
pub(crate) const LOCAL_OUTPUTS: usize = LOCAL.outputs();
/// Input channels from which it is faster than the direct convolution.
const LOCAL_CHANNELS: usize = 8;

/// The cut of a Winograd convolution.
#[derive(Clone, Debug)]
pub(crate) struct Blocking {
    pub(crate) winograd: Winograd,
    pub(super) order: Order,
    /// Tiles of a block.
    down: usize,
    across: usize,
    /// Blocks whose transformed inputs are kept at a time, if input-stationary.
    pub(super) strip: usize,
    /// The number of times that each row and column of the input is repeated before the variant
    /// applies: 1 but for a variant of the doubled picture.
    repeat: usize,
}

/// The operand that is transformed first and stays, while the other passes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    WeightStationary,
    InputStationary,
}

impl Blocking {
    /// The cheapest variant, if the filters are 3x3 and it costs less than the direct convolution.
    /// `packed_limit` limits the bytes kept transformed.
    pub(crate) fn choose(layer: &Layer, packed_limit: usize) -> Option<Self> {
        if layer.kernel != 3 {
            return None;
        }
        if layer.local {
            return Self::choose_local(layer, packed_limit);
        }
        let (in_channels, output) = (layer.input.channels, layer.output);
        // The last panel is multiplied as a whole.
        let out_channels = output.channels.next_multiple_of(PANEL) as f64;
        let both = in_channels as f64 * out_channels;
        let direct = 9.0 * (output.pixels() as f64 + FILTER) * both;
        let cost = |winograd: Winograd| {
            let (down, across) = tiles(winograd, output);
            let tiles = (down * across) as f64;
            let multiplied =
                winograd.products() as f64 * tiles + winograd.filters() as f64 * FILTER;
            let transformed = winograd.points() as f64
                * (in_channels as f64 + winograd.phases() as f64 * out_channels);
            both * multiplied + tiles * transformed * TRANSFORM
        };
        let variants: &[Winograd] = match layer.resample {
            Resample::Keep => &[Winograd::F8, Winograd::F6, Winograd::F4],
            Resample::Double => &[Winograd::Doubled],
            Resample::Halve => &[Winograd::Halved],
            Resample::HalvePadded => return None,
        };
        let (winograd, cost) = variants
            .iter()
            .map(|&winograd| (winograd, cost(winograd)))
            .min_by(|a, b| a.1.total_cmp(&b.1))?;
        (cost < direct).then(|| Self::new(winograd, layer, 1, packed_limit))
    }

    /// The variant whose tiles are the same in the whole picture and in any part of it that begins
    /// at a multiple of [`LOCAL_OUTPUTS`]. Channels alone decide whether it is used, as parts of a
    /// picture differ in size.
    fn choose_local(layer: &Layer, packed_limit: usize) -> Option<Self> {
        let repeat = layer.repeat();
        let halves = matches!(layer.resample, Resample::Halve | Resample::HalvePadded);
        let few = layer.input.channels < LOCAL_CHANNELS;
        (!halves && !few).then(|| Self::new(LOCAL, layer, repeat, packed_limit))
    }

    fn new(winograd: Winograd, layer: &Layer, repeat: usize, packed_limit: usize) -> Self {
        let (in_channels, output) = (layer.input.channels, layer.output);
        let (down, across) = tiles(winograd, output);
        let most = (down * across / BLOCKS).clamp(BLOCK_TILES / 2, BLOCK_TILES);
        let block_across = even(across, BLOCK_ACROSS.min(most));
        let block_down = even(down, (most / block_across).max(1));
        let (points, block) = (winograd.points(), block_down * block_across);
        let inputs = |tiles: usize| tiles * points * input_tile(in_channels);
        let filters = winograd.filters() * in_channels * output.channels.next_multiple_of(SLICE);
        let order = if inputs(down * across) <= MAX_INPUT_POINTS
            && output.channels >= SLICES * SLICE
            || filters * size_of::<f32>() > packed_limit
        {
            Order::InputStationary
        } else {
            Order::WeightStationary
        };
        // With a block's inputs its outputs are kept.
        let outputs = block * winograd.outputs().pow(2) * output.channels.next_multiple_of(SLICE);
        let strip = (packed_limit / ((inputs(block) + outputs) * size_of::<f32>())).max(1);
        Self { winograd, order, down: block_down, across: block_across, strip, repeat }
    }

    /// The blocks of output pixels.
    pub(super) fn blocks(&self) -> Cut {
        let outputs = self.winograd.outputs();
        let (rows, columns) = (self.down * outputs, self.across * outputs);
        Cut { rows, columns, origin: self.winograd.origin() }
    }

    /// The tiles of the largest block.
    pub(super) fn largest(&self) -> Grid {
        let Self { winograd, down, across, repeat, .. } = *self;
        Grid { winograd, repeat, top: 0, left: 0, above: 0, before: 0, down, across }
    }

    /// The tiles of `block`.
    pub(super) fn grid(&self, block: &Block) -> Grid {
        Grid::new(self.winograd, self.repeat, block)
    }
}

/// Tiles that cover the picture, down and across.
pub(crate) fn tiles(winograd: Winograd, output: Shape) -> (usize, usize) {
    let tiles = |length: usize| (length + winograd.origin()).div_ceil(winograd.outputs());
    (tiles(output.height), tiles(output.width))
}
