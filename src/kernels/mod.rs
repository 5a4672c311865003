//! Floor 2: arithmetic on slices, and the one parallel primitive.
//!
//! Every kernel is written once over the tokens of `arch::isa` and compiled for each instruction
//! set; [`Kernels`] holds the token of a session. The kernels here know rows, strides and panels,
//! nothing of slots or pictures. Compiled for the portable set, whose vectors have one lane, they
//! are the specification that the others are tested against.

pub(crate) mod convert;
mod gemm;
mod math;
mod norm;
mod pack;
mod panels;
#[cfg(feature = "bench")]
mod peak;
mod softmax;
mod store;
#[cfg(test)]
mod tests;
pub(crate) mod threads;
mod winograd;

pub(crate) use gemm::{Ahead, Gemm, Init};
pub(crate) use math::Act;
pub(crate) use norm::AffineAct;
pub(crate) use pack::PackConv;
pub(crate) use panels::Panels;
pub(crate) use softmax::Softmax;
pub(crate) use store::{Store, Sum};
pub(crate) use winograd::{Tiles, Winograd};

use crate::arch::{Isa, Level};

/// The kernels of one level. Chosen once per session; nothing below asks the processor again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernels {
    isa: Isa,
    level: Level,
}

impl Kernels {
    /// The kernels of `level`, or portable ones where the processor lacks it.
    pub(crate) fn new(level: Level) -> Self {
        match Isa::new(level) {
            Some(isa) => Self { isa, level },
            None => Self { isa: Isa::Scalar(crate::arch::Scalar), level: Level::Portable },
        }
    }

    pub(crate) fn level(&self) -> Level {
        self.level
    }
}
