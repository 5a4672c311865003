//! Floor 5: what the network is written against.
//!
//! A [`Backend`] owns activations, known outside as [`Slot`]s, and runs fused operators on them. A
//! [`Machine`] says what each operator needs. The planner runs the network on the
//! [`Recorder`](recorder::Recorder), which computes nothing: it asks the machine, and writes down
//! what is allocated and for how long. The run asks the same machine, so that an estimate cannot
//! drift from it. [`Cpu`](cpu::Cpu) computes, on the processor.
//!
//! A further backend is a `Backend` and its `Machine`; what they have to know is in this file.

pub(crate) mod cpu;
pub(crate) mod recorder;
mod statistics;
mod workspace;

pub(crate) use statistics::{Reduced, Shared, Statistics};
pub(crate) use workspace::{Entry, Layout, Tail};

use std::ops::Range;

use crate::base::error::{Error, Result};
pub(crate) use crate::base::shape::Region;
use crate::base::shape::Shape;
use crate::base::storage::Storage;
pub(crate) use crate::kernels::Act;
pub(crate) use crate::ops::attention::Algorithm;
pub(crate) use crate::ops::conv::{Filter, Resample};

/// An activation held by a backend. Not `Clone`: whoever holds it frees it.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: usize,
    pub(crate) shape: Shape,
    pub(crate) dtype: Storage,
    /// Values from a pixel to the next: the channels, or more after [`Backend::conv_in_place`].
    pub(crate) pitch: usize,
    /// Whether it is in the scratch file.
    pub(crate) stored: bool,
    /// The activation whose memory it has, and its first byte there: another one's after
    /// [`Backend::split`].
    home: (usize, usize),
}

impl Slot {
    fn new(id: usize, shape: Shape, dtype: Storage, stored: bool) -> Self {
        Self { id, shape, dtype, pitch: shape.channels, stored, home: (id, 0) }
    }

    /// Bytes from a pixel to the next.
    fn pixel_bytes(&self) -> usize {
        self.pitch * self.dtype.size()
    }

    /// Bytes of a pixel, where it is in the scratch file.
    fn staged(&self) -> usize {
        if self.stored { self.pixel_bytes() } else { 0 }
    }

    /// Bytes of its memory.
    pub(crate) fn bytes(&self) -> Result<usize> {
        Shape { channels: self.pitch, ..self.shape }.bytes(self.dtype)
    }

    /// Its memory as that of two activations: the shortcut's, and then the convolution's, which has
    /// the id `id`. Both have half of its channels.
    fn split(self, id: usize) -> Result<SplitSlots> {
        let channels = self.shape.channels / 2;
        let shape = Shape { channels, ..self.shape };
        let (dtype, stored, home) = (self.dtype, self.stored, self.home);
        let shortcut = Self { shape, pitch: channels, ..self };
        let home = (home.0, home.1 + shortcut.bytes()?);
        let conv = Self { id, shape, dtype, pitch: channels, stored, home };
        Ok(SplitSlots { conv, shortcut })
    }

    /// The same memory with fewer channels of each pixel.
    fn narrowed(self, channels: usize) -> Result<Self> {
        if channels > self.pitch {
            let (pitch, id) = (self.pitch, self.id);
            return Err(Error::internal(format!(
                "{channels} channels in place of the {pitch} of activation {id}"
            )));
        }
        Ok(Self { shape: Shape { channels, ..self.shape }, ..self })
    }

    /// The same memory with the pixels of `region` only, close together.
    fn cropped(self, region: &Region) -> Result<Self> {
        let Shape { height, width, channels } = self.shape;
        if self.stored || region.rows().end > height || region.columns().end > width {
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
    /// What follows the normalisation; attention has nothing.
    pub(crate) act: Option<Act>,
    /// What of the input is the tile itself, without the halo that its neighbours have too; `None`
    /// where all is.
    pub(crate) core: Option<Region>,
}

/// One fused operator: `normalise -> activate -> resample -> convolve -> + bias (-> + residual)`,
/// then store and gather the statistics that the next GroupNorm needs.
#[derive(Clone, Copy)]
pub(crate) struct Conv<'a> {
    /// One filter bank, or several of one kernel size whose outputs stand side by side.
    pub(crate) filters: &'a [Filter<'a>],
    pub(crate) norm: Option<Norm<'a>>,
    pub(crate) resample: Resample,
    /// Add what the output slot holds already: the residual, in place.
    pub(crate) residual: bool,
    /// Groups of the GroupNorm that reads the output; 1 where none does, for the check of
    /// finiteness.
    pub(crate) groups: usize,
}

impl Conv<'_> {
    /// The shape of what it makes of an input of the shape `input`.
    pub(crate) fn output(&self, input: Shape) -> Shape {
        let (height, width) = match self.resample {
            Resample::Keep => (input.height, input.width),
            Resample::Double => (input.height * 2, input.width * 2),
            Resample::Halve => (input.height / 2, input.width / 2),
        };
        Shape::new(height, width, self.filters.iter().map(|filter| filter.out_channels).sum())
    }
}

/// Rows of `channels` values inside a slot, beginning at channel `first` of each pixel.
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

/// How a run saves memory. The results are the same bits with any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Strategy {
    /// Bytes of an activation from which on it goes to the scratch file.
    pub(crate) stored: usize,
    /// Bytes of filters and inputs that a convolution may keep transformed, and of keys and values
    /// that an attention may keep packed.
    pub(crate) kept: usize,
    /// Whether a ResNet block that halves the channels works in place of its input, for a few
    /// percent of the time.
    pub(crate) forked: bool,
}

impl Strategy {
    /// The fastest.
    pub(crate) const IN_MEMORY: Self = Self { stored: usize::MAX, kept: usize::MAX, forked: false };

    fn stores(&self, bytes: usize) -> bool {
        bytes >= self.stored
    }
}

/// What an operator needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Demand {
    /// Bytes of scratch memory while it runs.
    pub(crate) scratch: usize,
    /// Multiply-adds, counted as those of direct convolutions.
    pub(crate) multiply_adds: u64,
}

/// What tells the needs of each operator without running it.
pub(crate) trait Machine {
    /// Of a convolution into `out`, or in place of its input.
    fn conv(
        &self,
        conv: &Conv<'_>,
        input: &Slot,
        out: Option<&Slot>,
        strategy: Strategy,
    ) -> Result<Demand>;

    /// Of [`Backend::split`]; `None` where the two run one by one.
    fn split(
        &self,
        conv: &Conv<'_>,
        shortcut: &Conv<'_>,
        slot: &Slot,
        strategy: Strategy,
    ) -> Result<Option<Demand>>;

    /// Of an attention into `out`.
    fn attention(
        &self,
        attention: &Attention<'_>,
        out: &Slot,
        strategy: Strategy,
    ) -> Result<Demand>;
}

/// The outputs of two convolutions of one input.
pub(crate) struct SplitSlots {
    pub(crate) conv: Slot,
    pub(crate) shortcut: Slot,
}

/// What can run the network.
///
/// A plan numbers its entries in the order in which a run asks for them: an activation by `alloc`,
/// and the scratch memory of an operator. A split in place is an entry of no bytes, for the output
/// that has no memory of its own, and then its scratch memory. `free` and `crop` make none; who
/// holds a slot passes it on or frees it. Statistics of a GroupNorm come from [`Statistics`], out
/// of the sums that operators gathered.
pub(crate) trait Backend {
    /// Makes an activation with undefined contents.
    fn alloc(&mut self, shape: Shape, dtype: Storage) -> Result<Slot>;

    /// Ends an activation's life; its memory may be used again at once.
    fn free(&mut self, slot: Slot);

    /// Fills an activation: `row(y, bytes)` writes row `y` as it is stored, each once, top to
    /// bottom.
    fn upload(
        &mut self,
        slot: &Slot,
        row: &mut dyn FnMut(usize, &mut [u8]) -> Result<()>,
    ) -> Result<()>;

    /// Writes the pixels `columns` of row `y`, as they are stored, to `pixels`.
    fn download(
        &mut self,
        slot: &Slot,
        y: usize,
        columns: Range<usize>,
        pixels: &mut [u8],
    ) -> Result<()>;

    /// Runs `conv` on `input` into `out`, which is another slot.
    fn conv(&mut self, conv: &Conv<'_>, input: &Slot, out: &Slot) -> Result<()>;

    /// Runs a 1x1 convolution to no more channels than a pixel has room for, over its own input:
    /// the largest activations of a decoder are not there twice.
    fn conv_in_place(&mut self, conv: &Conv<'_>, slot: Slot) -> Result<Slot>;

    /// Runs a 3x3 convolution and a 1x1 convolution of one input, which is needed no more. The
    /// output of the second has no more channels than the input, and may take its place.
    fn split(&mut self, conv: &Conv<'_>, shortcut: &Conv<'_>, slot: Slot) -> Result<SplitSlots>;

    /// [`Backend::split`] one by one.
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

    /// Leaves the pixels of `region` only.
    fn crop(&mut self, slot: Slot, region: &Region) -> Result<Slot>;

    /// Runs attention into `out`, which is none of the operands.
    fn attention(&mut self, attention: &Attention<'_>, out: &Slot) -> Result<()>;
}
