//! Winograd convolution: filters, inputs and outputs between the picture and the points, where a
//! convolution is one small matrix product at each point.
//!
//! A tile is a square of inputs, neighbours overlapping by a filter less one; all channels of a
//! value lie side by side. Two-dimensional transforms run over columns, then rows, a vector of
//! channels at a time.

mod filters;
mod tiles;
mod transform;
mod variant;

pub(crate) use tiles::TileShape;
pub(crate) use variant::Winograd;
