#![forbid(unsafe_code)]
//! What the benches measure. No part of the interface: it changes with what it measures.
//!
//! | file | what it measures |
//! |---|---|
//! | `peak` | fused multiply-adds, which everything is measured against |
//! | `kernels` | a matrix product, or a pass over a block, on one thread |
//! | `layer` | a convolution, with its error |
//! | `run` | the operators of a decode or an encode |
//! | `compare` | nothing: kernels of every level against the portable ones, for `fuzz/` |
//! | `operator`, `number` | what these are made of |

mod compare;
mod kernels;
mod layer;
mod number;
mod operator;
mod peak;
mod run;

pub use compare::compare;
pub use kernels::{Pass, Product, gemm, pass};
pub use layer::{Layer, layer};
pub use operator::Operator;
pub use peak::peak;
pub use run::operators;
