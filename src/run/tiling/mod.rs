//! Tiles: their places in a picture, and their plans.

pub(super) mod diffusers;
pub(super) mod exact;
pub(super) mod grid;
pub(super) mod seamless;
