//! Tiles: their places in a picture, and their plans.

pub(super) mod diffusers;
mod grid;
pub(super) mod seamless;
