#![forbid(unsafe_code)]
//! The inputs of a decode with a mask.

use crate::backend::Slot;

/// The inputs of such a decode besides the latents.
pub(crate) struct Masked {
    /// The picture times (1 - mask), `F32`.
    pub(crate) picture: Slot,
    /// The mask, `F32`, of one channel: 1 where the decoder draws.
    pub(crate) mask: Slot,
}

/// What is left of them.
pub(super) struct Condition {
    pub(super) picture: Option<Slot>,
    pub(super) mask: Option<Slot>,
    /// The activations, highest resolution first.
    pub(super) activations: Vec<Slot>,
}

impl Condition {
    pub(super) fn new(Masked { picture, mask }: Masked) -> Self {
        Self { picture: Some(picture), mask: Some(mask), activations: Vec::new() }
    }
}
