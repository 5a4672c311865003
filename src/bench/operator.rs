//! An operator and its method.

use crate::kernels::Winograd;
use crate::ops::conv::Geometry;
use crate::ops::conv::winograd::blocking::{Blocking, tiles};

/// One operator of a run.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Its path in the network.
    pub name: String,
    /// Input and output, `height x width x channels`, and the size of the filter.
    pub shape: String,
    /// How it was computed.
    pub method: &'static str,
    /// The time it took.
    pub seconds: f64,
    /// Multiply-adds, counted as a direct convolution.
    pub direct: u64,
    /// Multiply-adds that were really done.
    pub done: u64,
}

/// The method of a convolution, and the multiply-adds that it really does.
pub(super) fn method(geometry: &Geometry) -> (&'static str, u64) {
    let layer = &geometry.layer;
    let Some(Blocking { winograd, .. }) = Blocking::choose(layer, usize::MAX) else {
        return ("direct", geometry.multiply_adds());
    };
    let name = match winograd {
        Winograd::F4 => "F(4,3)",
        Winograd::F6 => "F(6,3)",
        Winograd::F8 => "F(8,3)",
        Winograd::Doubled => "F(5,2)",
        Winograd::Halved => "F(5,3)/2",
    };
    let (down, across) = tiles(winograd, layer.output);
    let products = down * across * winograd.products();
    (name, (products * layer.input.channels * layer.output.channels) as u64)
}
