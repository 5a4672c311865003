#![forbid(unsafe_code)]
//! Floor 4: the operators of the network, over blocks of a picture.
//!
//! An operator divides the work into blocks, sets the scratch memory of each worker and chooses the
//! kernels. It knows nothing of slots or of the network.

pub(crate) mod attention;
pub(crate) mod blend;
pub(crate) mod conv;
pub(crate) mod exec;
pub(crate) mod place;
pub(crate) mod sums;
