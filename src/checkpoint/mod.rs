//! Floor 5: bytes to named tensors.
//!
//! A [`Checkpoint`] is the contents of a diffusers folder, a single file or bytes in memory:
//! tensors under diffusers' names of today ([`keys`]), still in the file's own type and memory, and
//! the text of the configuration if there is one. From the top:
//!
//! | file | what it does |
//! |---|---|
//! | `open` | the checkpoint: a folder, a file or bytes, with its names understood |
//! | `folder` | diffusers' folders: configuration, variants, shards |
//! | `format` | the formats by their first bytes; what a file of another one is told |
//! | `safetensors`, `pickle` | the formats that are read |
//! | `zip`, `deflate`, `cursor` | what formats consist of: archives, deflated bytes, numbers |
//! | `keys` | the names of all layouts |
//! | `mmap`, `text` | files in memory: weights mapped, small texts read |
//! | `tensor` | what all of these are about |

mod contents;
mod cursor;
mod deflate;
mod dequantise;
mod file;
mod folder;
mod format;
mod hub;
mod keys;
mod open;
mod pickle;
mod prefix;
mod relatives;
mod safetensors;
mod tensor;
mod text;
mod zip;

pub(crate) use keys::KeyLayout;
pub(crate) use open::Checkpoint;
pub(crate) use tensor::Tensor;
pub(crate) use text::read_text;
