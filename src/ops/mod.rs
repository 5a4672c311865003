#![forbid(unsafe_code)]
//! Floor 4: the operators of the network, over blocks of a picture.
//!
//! An operator decides how the work is cut into blocks, which bytes of scratch memory each worker
//! needs, and which kernels run; it knows nothing of slots or of the network.

pub(crate) mod attention;
pub(crate) mod conv;
pub(crate) mod exec;
pub(crate) mod place;
pub(crate) mod sums;
