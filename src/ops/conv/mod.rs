//! Convolution over blocks of the picture, in one pass from activation to activation.
//!
//! ```text
//! prepare the filters                                      (in parallel)
//! for each block of output pixels                          (in parallel, a block an item)
//!     load its input pixels with their halo into a band:   normalise, activate, repeat, pad
//!     convolve:                                            `direct`, or `winograd` for 3x3 filters
//!     store(results + bias + residual), summing what was stored for the next GroupNorm
//! ```
//!
//! The method and the blocks depend only on the layer's shape, so neither threads nor budgets
//! change a sum.
//!
//! | file | what |
//! |---|---|
//! | `filter`, `layer` | filters as the checkpoint has them; the shape of a convolution |
//! | `blocks`, `worker` | how the output is cut; the memory of the workers |
//! | `run` | a convolution at work: what runs it, its shape, its operands |
//! | `band`, `output` | the way in: what a block reads; the way out: what it stores |
//! | `method` | what a method is, for `direct` and `winograd` |
//! | `geometry` | a layer and the method that is chosen for it |
//! | `job`, `split` | one convolution; two of them in the place of their input |

mod band;
mod blocks;
mod direct;
mod filter;
mod geometry;
mod job;
mod layer;
mod method;
mod output;
mod run;
mod split;
#[cfg(test)]
mod tests;
pub(crate) mod winograd;
mod worker;

pub(crate) use filter::{Filter, LayerFilter};
pub(crate) use geometry::Geometry;
pub(crate) use job::Job;
pub(crate) use layer::{Resample, Way};
pub(crate) use run::{ConvInput, Operands, Prologue};
pub(crate) use split::{Branches, Split, SplitJob};
pub(crate) use winograd::blocking::LOCAL_OUTPUTS as LOCAL_GRID;
