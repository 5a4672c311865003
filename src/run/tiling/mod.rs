//! Tiles: where they are in a picture, and what they need.

pub(super) mod diffusers;
mod grid;
pub(super) mod seamless;
