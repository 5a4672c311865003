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
//! | `safetensors`, `format` | the format that is read; what a file of another one is told |
//! | `keys` | the names of all layouts |
//! | `names_out` | the names and shapes of a layout that is written |
//! | `weight_files`, `write` | what is written: the files of a folder, and the bytes of each |
//! | `mmap`, `text` | files in memory: weights mapped, small texts read |
//! | `tensor` | what all of these are about |

mod contents;
mod dequantise;
mod file;
mod folder;
mod format;
mod keys;
mod names_out;
mod open;
mod safetensors;
mod tensor;
mod text;
mod weight_files;
mod write;

pub(crate) use folder::CONFIG;
pub(crate) use keys::KeyLayout;
pub(crate) use names_out::{original_name, shape_out, state_dict_place};
pub(crate) use open::{CONFIG_KEY, Checkpoint};
pub(crate) use tensor::Tensor;
pub(crate) use text::read_text;
pub(crate) use weight_files::{WeightNames, index};
pub(crate) use write::{FileTensor, write};
