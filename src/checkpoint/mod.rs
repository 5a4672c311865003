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
//! | `format` | the formats, each known by its first bytes |
//! | `safetensors` | safetensors files |
//! | `gguf` | GGUF files: versions 2 and 3, blocks of ggml, shapes of ComfyUI-GGUF |
//! | `flax`, `msgpack` | Flax's files, and the format under them |
//! | `keys` | the names of all layouts |
//! | `scales` | the scales of weights with 8 bits |
//! | `file`, `text` | files: weights mapped or read in parts, small texts read |
//! | `tensor` | what all of these are about: strides, scales, elements to `f32` |
//! | `dequantise` | elements of 8 bits and quantised blocks to `f32` |
//! | `contents`, `cursor` | bytes wherever they are, and a reader of headers among them |

mod contents;
mod cursor;
mod dequantise;
mod file;
mod flax;
mod folder;
mod format;
mod gguf;
mod keys;
mod msgpack;
mod open;
mod safetensors;
mod scales;
mod tensor;
mod text;

pub(crate) use keys::KeyLayout;
pub(crate) use open::Checkpoint;
pub(crate) use tensor::Tensor;
pub(crate) use text::read_text;
