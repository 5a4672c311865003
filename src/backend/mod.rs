//! Floor 5: the interface that the network is written against.
//!
//! A [`Backend`] owns activations, known outside as [`Slot`]s, and runs fused operators on them. A
//! [`Machine`] tells what each operator needs. The planner runs the network on the
//! [`Recorder`](recorder::Recorder), which computes nothing: it asks the machine, and records every
//! allocation with its lifetime. The real run asks the same machine, so the plan and the run cannot
//! disagree. [`Cpu`](cpu::Cpu) computes, on the CPU.
//!
//! A new backend implements `Backend` and `Machine`; this file has all that they need to know.

pub(crate) mod cpu;
pub(crate) mod recorder;
mod statistics;
mod workspace;

pub(crate) use statistics::{Reduced, Shared, Statistics};
pub(crate) use workspace::{Entry, Tail, WorkspaceLayout};

use std::ops::Range;

use crate::base::error::{Error, Result};
pub(crate) use crate::base::shape::Region;
use crate::base::shape::Shape;
use crate::base::storage::Storage;
pub(crate) use crate::kernels::{Act, Epilogue};
pub(crate) use crate::ops::attention::Algorithm;
pub(crate) use crate::ops::conv::LOCAL_GRID;
use crate::ops::conv::Way;
pub(crate) use crate::ops::conv::{LayerFilter, Resample};

/// An activation held by a backend. Not `Clone`: its holder frees it.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: usize,
    pub(crate) shape: Shape,
    pub(crate) dtype: Storage,
    /// Values from one pixel to the next: the channels, or more after [`Backend::conv_in_place`].
    pub(crate) pitch: usize,
    /// Whether it is spilled to the scratch file.
    pub(crate) spilled: bool,
    /// The id of the activation whose memory it uses, and its offset there in bytes. Its own id,
    /// except after [`Backend::split`].
    home: (usize, usize),
}

impl Slot {
    fn new(id: usize, shape: Shape, dtype: Storage, spilled: bool) -> Self {
        Self { id, shape, dtype, pitch: shape.channels, spilled, home: (id, 0) }
    }

    /// Bytes from one pixel to the next.
    fn pixel_bytes(&self) -> usize {
        self.pitch * self.dtype.size()
    }

    /// Bytes of a pixel if it is spilled, otherwise 0.
    fn staged(&self) -> usize {
        if self.spilled { self.pixel_bytes() } else { 0 }
    }

    /// Size of its memory in bytes.
    pub(crate) fn bytes(&self) -> Result<usize> {
        Shape { channels: self.pitch, ..self.shape }.bytes(self.dtype)
    }

    /// Splits its memory into two activations, each with half of its channels: first the
    /// shortcut's, then the convolution's, which gets the id `id`.
    fn split(self, id: usize) -> Result<SplitSlots> {
        let channels = self.shape.channels / 2;
        let shape = Shape { channels, ..self.shape };
        let (dtype, spilled, home) = (self.dtype, self.spilled, self.home);
        let shortcut = Self { shape, pitch: channels, ..self };
        let home = (home.0, home.1 + shortcut.bytes()?);
        let conv = Self { id, shape, dtype, pitch: channels, spilled, home };
        Ok(SplitSlots { conv, shortcut })
    }

    /// This activation with only the first `channels` channels of each pixel.
    fn narrowed(self, channels: usize) -> Result<Self> {
        if channels > self.pitch {
            let (pitch, id) = (self.pitch, self.id);
            return Err(Error::internal(format!(
                "{channels} channels in place of the {pitch} of activation {id}"
            )));
        }
        Ok(Self { shape: Shape { channels, ..self.shape }, ..self })
    }

    /// This activation with only the pixels of `region`, packed.
    fn cropped(self, region: &Region) -> Result<Self> {
        let Shape { height, width, channels } = self.shape;
        if self.spilled || region.rows().end > height || region.columns().end > width {
            let (id, shape) = (self.id, self.shape);
            return Err(Error::internal(format!("{region:?} of activation {id}, {shape}")));
        }
        let shape = Shape::new(region.height, region.width, channels);
        Ok(Self { shape, ..self })
    }
}

/// GroupNorm and activation applied to a convolution's input while it is loaded.
#[derive(Clone, Copy)]
pub(crate) struct Norm<'a> {
    pub(crate) gamma: &'a [f32],
    pub(crate) beta: &'a [f32],
    pub(crate) groups: usize,
    pub(crate) epsilon: f64,
    /// The activation function after the normalisation; none before attention.
    pub(crate) act: Option<Act>,
    /// The region of the tile in the input, without its halo; `None` if the input has no halo.
    pub(crate) core: Option<Region>,
}

/// A map of each value, applied to a convolution's input while it is loaded: `act(x * factor +
/// offset)`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Map {
    pub(crate) factor: f32,
    pub(crate) offset: f32,
    pub(crate) act: Option<Act>,
}

/// What is done to a convolution's input while it is loaded.
#[derive(Clone, Copy)]
pub(crate) enum Prologue<'a> {
    Norm(Norm<'a>),
    Map(Map),
}

/// One fused operator: `prologue -> resample -> convolve -> + bias (-> + residual) -> epilogue`,
/// then store and gather the statistics that the next GroupNorm needs.
#[derive(Clone, Copy)]
pub(crate) struct Conv<'a> {
    /// One filter bank, or several with one kernel size; their outputs are concatenated.
    pub(crate) filters: &'a [LayerFilter<'a>],
    pub(crate) prologue: Option<Prologue<'a>>,
    pub(crate) resample: Resample,
    /// Whether to add the residual, which the output slot already holds.
    pub(crate) residual: bool,
    pub(crate) epilogue: Epilogue,
    /// Whether each value is to be the same, to the bit, in a tile of the picture as in the whole.
    pub(crate) local: bool,
    /// Groups of the GroupNorm that reads the output; 1 if none does, for the check that values are
    /// finite.
    pub(crate) groups: usize,
}

impl Conv<'_> {
    /// The output shape for an input of shape `input`.
    pub(crate) fn output(&self, input: Shape) -> Shape {
        let kernel = self.filters.first().map_or(1, |filter| filter.kernel);
        let output = |length| self.resample.output(length, kernel);
        let (height, width) = (output(input.height), output(input.width));
        Shape::new(height, width, self.filters.iter().map(|filter| filter.out_channels).sum())
    }

    /// How it goes over the picture.
    pub(crate) fn way(&self) -> Way {
        Way { resample: self.resample, local: self.local }
    }
}

/// A view of a slot: `channels` values of each pixel, from channel `first` on.
#[derive(Clone, Copy)]
pub(crate) struct Columns<'a> {
    pub(crate) slot: &'a Slot,
    pub(crate) first: usize,
}

/// Single-head attention over all pixels of a picture: `softmax(q k^T / sqrt(channels)) v`.
#[derive(Clone, Copy)]
pub(crate) struct Attention<'a> {
    pub(crate) name: &'a str,
    pub(crate) query: Columns<'a>,
    pub(crate) key: Columns<'a>,
    pub(crate) value: Columns<'a>,
}

/// Takes another activation where a mask is 0: `x * mask + other * (1 - mask)`.
#[derive(Clone, Copy)]
pub(crate) struct Blend<'a> {
    /// An activation of the same shape.
    pub(crate) other: &'a Slot,
    /// A mask of one channel, `F32`, whose sides are a multiple of the activation's; the first
    /// pixel of each square counts, as in nearest-neighbour interpolation.
    pub(crate) mask: &'a Slot,
    /// Groups of the GroupNorm that reads the result.
    pub(crate) groups: usize,
}

/// How a run saves memory. It never changes a bit of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strategy {
    /// Activations of at least this many bytes are spilled to the scratch file.
    pub(crate) spill_from: usize,
    /// Limit in bytes for the transformed filters and inputs that a convolution keeps, and for the
    /// packed keys and values that an attention keeps.
    pub(crate) packed_limit: usize,
    /// Whether a ResNet block that halves the channels is split in place of its input, which costs
    /// a few percent of the time.
    pub(crate) split_in_place: bool,
}

impl Strategy {
    /// The fastest.
    pub(crate) const IN_MEMORY: Self =
        Self { spill_from: usize::MAX, packed_limit: usize::MAX, split_in_place: false };

    fn spills(&self, bytes: usize) -> bool {
        bytes >= self.spill_from
    }
}

/// The needs of an operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Bytes of scratch memory while it runs.
    pub(crate) scratch: usize,
    /// Bytes at most that it allocates beside: lists, and the sums of its output.
    pub(crate) bookkeeping: usize,
    /// Multiply-adds, counted as those of direct convolutions.
    pub(crate) multiply_adds: u64,
}

/// Tells the needs of each operator without running it.
pub(crate) trait Machine {
    /// The needs of a convolution into `out`, or in place of its input.
    fn conv(
        &self,
        conv: &Conv<'_>,
        input: &Slot,
        out: Option<&Slot>,
        strategy: Strategy,
    ) -> Result<Demand>;

    /// The needs of [`Backend::split`]; `None` if the two run one by one.
    fn split(
        &self,
        conv: &Conv<'_>,
        shortcut: &Conv<'_>,
        slot: &Slot,
        strategy: Strategy,
    ) -> Result<Option<Demand>>;

    /// The needs of an attention into `out`.
    fn attention(
        &self,
        attention: &Attention<'_>,
        out: &Slot,
        strategy: Strategy,
    ) -> Result<Demand>;

    /// The needs of a blend into `slot`.
    fn blend(&self, blend: &Blend<'_>, slot: &Slot) -> Demand;
}

/// The outputs of two convolutions of one input.
pub(crate) struct SplitSlots {
    pub(crate) conv: Slot,
    pub(crate) shortcut: Slot,
}

/// Runs the network.
///
/// A plan numbers its entries in the order of the run: each `alloc` is one, and the scratch memory
/// of each operator is one. A split in place has two: one of no bytes for the output without memory
/// of its own, then its scratch memory. `free` and `crop` have none. The holder of a slot passes it
/// on or frees it. Statistics of a GroupNorm come from [`Statistics`], computed from the sums that
/// operators gather.
pub(crate) trait Backend {
    /// Makes an activation with undefined contents.
    fn alloc(&mut self, shape: Shape, dtype: Storage) -> Result<Slot>;

    /// Ends an activation's life; its memory may be used again at once.
    fn free(&mut self, slot: Slot);

    /// Fills an activation: `row(y, bytes)` writes row `y` in its storage type, each once, top to
    /// bottom.
    fn upload(
        &mut self,
        slot: &Slot,
        row: &mut dyn FnMut(usize, &mut [u8]) -> Result<()>,
    ) -> Result<()>;

    /// Copies the pixels `columns` of row `y`, in their storage type, to `pixels`.
    fn download(
        &mut self,
        slot: &Slot,
        y: usize,
        columns: Range<usize>,
        pixels: &mut [u8],
    ) -> Result<()>;

    /// Runs `conv` on `input` into `out`, a different slot.
    fn conv(&mut self, conv: &Conv<'_>, input: &Slot, out: &Slot) -> Result<()>;

    /// Runs a 1x1 convolution in place of its input, to no more channels than a pixel has room for.
    /// So the largest activations of a decoder exist only once.
    fn conv_in_place(&mut self, conv: &Conv<'_>, slot: Slot) -> Result<Slot>;

    /// Runs a 3x3 and a 1x1 convolution on the same input, and frees the input. The output of the
    /// second has no more channels than the input and may take its place.
    fn split(&mut self, conv: &Conv<'_>, shortcut: &Conv<'_>, slot: Slot) -> Result<SplitSlots>;

    /// Does the work of [`Backend::split`] one by one.
    fn split_apart(
        &mut self,
        conv: &Conv<'_>,
        shortcut: &Conv<'_>,
        slot: Slot,
    ) -> Result<SplitSlots> {
        let out = self.alloc(conv.output(slot.shape), slot.dtype)?;
        self.conv(conv, &slot, &out)?;
        Ok(SplitSlots { conv: out, shortcut: self.conv_in_place(shortcut, slot)? })
    }

    /// Keeps only the pixels of `region`.
    fn crop(&mut self, slot: Slot, region: &Region) -> Result<Slot>;

    /// Runs attention into `out`, a slot other than the operands.
    fn attention(&mut self, attention: &Attention<'_>, out: &Slot) -> Result<()>;

    /// Blends in place.
    fn blend(&mut self, blend: &Blend<'_>, slot: &Slot) -> Result<()>;
}
