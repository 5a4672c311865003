//! Floor 5: bytes to named tensors.
//!
//! A [`Checkpoint`] is the contents of a diffusers folder, a single file or bytes in memory:
//! tensors under diffusers' names of today ([`keys`]), still in the file's own type and memory, and
//! the text of the configuration if there is one. From the top:
//!
//! | file | what it does |
//! |---|---|
//! | `open` | the checkpoint: a folder, a file or bytes, with its names understood |
//! | `tensor_file` | a file of tensors that need not be a model, for callers |
//! | `folder` | diffusers' folders: configuration, variants, shards |
//! | `safetensors`, `format` | the format that is read; what a file of another one is told |
//! | `keys` | the names of all layouts |
//! | `mmap`, `text` | files in memory: weights mapped, small texts read |
//! | `tensor` | what all of these are about |

mod contents;
mod dequantise;
mod file;
mod folder;
mod format;
mod keys;
mod open;
mod safetensors;
mod tensor;
mod tensor_file;
mod text;

pub(crate) use keys::KeyLayout;
pub(crate) use open::Checkpoint;
pub(crate) use tensor::Tensor;
pub use tensor_file::TensorFile;
pub(crate) use text::read_text;
