//! Floor 1: general tools without knowledge of autoencoders: errors, element types, shapes, aligned
//! memory, scratch files, output files.

pub(crate) mod alloc;
pub(crate) mod atomic_file;
pub(crate) mod buffer;
pub(crate) mod buffered_file;
pub(crate) mod encoding;
pub(crate) mod error;
pub(crate) mod hidden;
pub(crate) mod json;
pub(crate) mod leftovers;
pub(crate) mod new_folder;
pub(crate) mod process;
pub(crate) mod scratch_file;
pub(crate) mod shape;
pub(crate) mod storage;
pub(crate) mod visible;
pub(crate) mod watched_file;
pub(crate) mod weight;
