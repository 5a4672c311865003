//! Winograd convolution of 3x3 filters, on blocks of tiles whose transformed values stay in the
//! caches.
//!
//! Each value of the input, of the filters and of the products is transformed once, in one of two
//! orders. If the picture is large, the transformed filters stay and the blocks of tiles pass by
//! (`weight_stationary`). If the transformed picture is smaller than the filters, it stays and
//! slices of the filters pass by (`input_stationary`).
//!
//! The grid of tiles is anchored at the picture's origin; values beyond its end are computed but
//! not stored. Blocks depend only on the layer's shape, not on the machine's caches: GroupNorm's
//! sums are merged block by block, so another cut would change their last bits.

pub(crate) mod blocking;
mod grid;
mod input_stationary;
mod slice;
mod stages;
mod strides;
mod weight_stationary;

pub(super) use blocking::Blocking;
use blocking::Order;
use input_stationary::InputStationary;
use slice::Slice;
use stages::Stages;
use weight_stationary::WeightStationary;

use super::band::Band;
use super::blocks::Cut;
use super::layer::Layer;
use super::method::{Method, Work};
use super::run::Run;
use super::worker::{FIXED, Scratch};
use crate::base::error::Result;
use crate::kernels::Panels;

impl Method for Blocking {
    fn cut(&self) -> Cut {
        self.blocks()
    }

    fn band(&self, layer: &Layer) -> Band {
        self.largest().band(0..layer.input.channels)
    }

    fn scratch(&self, layer: &Layer, panels: Panels) -> Scratch {
        match self.order {
            Order::WeightStationary => weight_stationary::scratch(self, layer, panels),
            Order::InputStationary => input_stationary::scratch(self, layer, panels),
        }
    }

    fn by_rows(&self) -> bool {
        self.order == Order::WeightStationary
    }

    fn begin<'r>(&'r self, run: Run<'r>) -> Result<Box<dyn Work + 'r>> {
        let stages = Stages::new(run, self)?;
        Ok(match self.order {
            Order::WeightStationary => Box::new(WeightStationary { stages }),
            Order::InputStationary => Box::new(InputStationary { stages, strip: self.strip }),
        })
    }

    fn bookkeeping(&self, layer: &Layer, panels: Panels, threads: usize) -> usize {
        let slices = Slice::all(layer, panels).count() * size_of::<Slice>();
        let order = match self.order {
            Order::WeightStationary => {
                threads.saturating_mul(weight_stationary::bookkeeping(self, panels))
            }
            Order::InputStationary => input_stationary::bookkeeping(self, layer),
        };
        order.saturating_add(slices + FIXED)
    }
}
