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
//! | `format` | the formats, each known by its first bytes |
//! | `safetensors` | safetensors files |
//! | `pickle`, `zip`, `deflate` | PyTorch's files, and the archives that they are |
//! | `gguf` | GGUF files: versions 2 and 3, blocks of ggml, shapes of ComfyUI-GGUF |
//! | `flax`, `msgpack` | Flax's files, and the format under them |
//! | `keys`, `prefix` | the names of all layouts, and what stands before them |
//! | `relatives` | families that are not opened, known by their tensors |
//! | `hub` | the local cache of the Hugging Face hub |
//! | `scales` | the scales of weights with 8 bits |
//! | `file`, `text` | files: weights mapped or read in parts, small texts read |
//! | `limits` | how much of a file is read |
//! | `tensor` | what all of these are about: strides, scales, elements to `f32` |
//! | `raw_tensors` | the tensors of files, counted as they come |
//! | `dequantise` | elements of 8 bits and quantised blocks to `f32` |
//! | `contents` | bytes wherever they are |
//! | `reader`, `cursor` | numbers out of contents, and out of bytes in memory |
//! | `names_out` | the names and shapes of a layout that is written |
//! | `weight_files`, `write` | what is written: the files of a folder, and the bytes of each |

mod contents;
mod cursor;
mod deflate;
mod dequantise;
mod file;
mod flax;
mod folder;
mod format;
mod gguf;
mod hub;
mod keys;
mod limits;
mod msgpack;
mod names_out;
mod open;
mod pickle;
mod prefix;
mod raw_tensors;
mod reader;
mod relatives;
mod safetensors;
mod scales;
mod tensor;
mod tensor_file;
mod text;
mod weight_files;
mod write;
mod zip;

pub(crate) use folder::CONFIG;
pub(crate) use keys::BATCHES;
pub use keys::KeyLayout;
pub(crate) use limits::MOST_CONFIG;
pub(crate) use names_out::{OriginalNames, original_name, shape_out, state_dict_place};
pub(crate) use open::{CONFIG_KEY, Checkpoint};
pub(crate) use tensor::Tensor;
pub use tensor_file::TensorFile;
pub(crate) use text::{read_text, shortened};
pub(crate) use weight_files::{WeightNames, index};
pub(crate) use write::{FileTensor, write};
