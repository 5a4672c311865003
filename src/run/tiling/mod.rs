//! Tiles: their places in a picture, and their plans.

pub(super) mod diffusers;
pub(super) mod exact;
mod grid;
pub(super) mod seamless;
