//! Arrays in files: `.npy`, `.npz`, `.safetensors`, and files of PyTorch.
//!
//! | file | what it does |
//! |---|---|
//! | `picture_array` | arrays that stand for pictures, in `.npy` and `.safetensors` |
//! | `container` | the named arrays of a file of any format |
//! | `pick` | which of them is meant |
//! | `npz`, `npy`, `safetensors` | the formats |
//! | `directory` | what a `.npz` says of its entries, checked first |
//! | `element` | the types of elements |

mod container;
mod directory;
mod element;
mod npy;
mod npz;
mod pick;
mod picture_array;
mod safetensors;

pub(crate) use container::{Container, ContainerFormat};
pub(crate) use npy::write as write_npy;
pub(crate) use npz::write as write_npz;
pub(crate) use pick::{Entry, alternatives, pick};
pub(crate) use picture_array::{open, open_mask, write};
pub(crate) use safetensors::write as write_safetensors;
