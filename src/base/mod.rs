//! Floor 0: what knows nothing of the domain. Errors, element types, shapes and aligned memory.

pub(crate) mod buffer;
pub(crate) mod dtype;
pub(crate) mod error;
pub(crate) mod shape;
