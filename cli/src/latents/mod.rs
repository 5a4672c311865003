//! Latents in files, and what the files say of them.
//!
//! | file | what it does |
//! |---|---|
//! | `read` | a file of any format to latents `[batch, channels, h, w]` |
//! | `write` | latents to a file that says what they are |
//! | `format` | the formats, by extension |
//! | `choose` | which array of a file is the latents |
//! | `shape` | `[channels, h, w]`, a single frame, FLUX's packed latents |
//! | `label` | what latents are: raw, scaled or moments, and whose |
//! | `agree` | whether a label fits the open model |

mod agree;
mod choose;
mod format;
mod label;
mod read;
mod shape;
mod write;

pub(crate) use format::LatentsFormat;
pub(crate) use label::{Kind, Label};
pub(crate) use read::{LatentsFile, Request, open, read};
pub(crate) use write::{Written, write};
