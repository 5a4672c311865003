//! Floor 3: arithmetic on slices, and the one parallel primitive.
//!
//! Every kernel is written once over the tokens of `arch::isa` and compiled for each instruction
//! set; [`Kernels`] holds the token of a session. The kernels here know rows, strides and panels,
//! nothing of slots or pictures. Compiled for the portable set, whose vectors have one lane, they
//! are the specification that the others are tested against.

pub(crate) mod convert;
// The portable level, the only one elsewhere, multiplies without register tiles.
#[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
mod gemm;
mod math;
mod norm;
mod pack;
mod panels;
mod pool;
mod softmax;
mod store;
#[cfg(test)]
mod tests;
pub(crate) mod threads;
mod winograd;

pub(crate) use gemm::{Gemm, Init, Prefetch};
pub(crate) use math::Act;
pub(crate) use norm::AffineAct;
pub(crate) use pack::PackConv;
pub(crate) use panels::Panels;
pub(crate) use softmax::Softmax;
pub(crate) use store::{Epilogue, Store, Sum};
pub(crate) use winograd::{TileShape, Winograd};

use crate::arch::{Isa, Level};
use crate::base::error::{Error, ErrorKind, Result};

/// The kernels of one level. Chosen once per session; nothing below asks the processor again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kernels {
    pub(crate) isa: Isa,
    level: Level,
}

impl Kernels {
    /// The kernels of `level`.
    ///
    /// # Errors
    /// `Unsupported` where the processor lacks it.
    pub(crate) fn new(level: Level) -> Result<Self> {
        let lacking = || {
            let message = format!("instruction set {level}: this processor does not have it");
            Error::new(ErrorKind::Unsupported, message)
        };
        Ok(Self { isa: Isa::new(level).ok_or_else(lacking)?, level })
    }

    pub(crate) fn level(&self) -> Level {
        self.level
    }
}
