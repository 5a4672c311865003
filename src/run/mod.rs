//! Floor 7: running the network. A file imports only from the files below it:
//!
//! | file | what it does |
//! |---|---|
//! | `session` | the face: shapes, batches, options |
//! | `stream` | a picture whose rows are taken one by one |
//! | `rows` | makes the rows of a call out of a runner: whole, or tile by tile |
//! | `scheme` | decides once how a call is worked on: whole or in tiles |
//! | `tiling` | where tiles are, and their plans |
//! | `runner` | executes one planned run |
//! | `budget` | the strategy of a run that keeps a memory budget |
//! | `plan`, `resources`, `options`, `control`, `planes` | what all of these are made of |

mod budget;
mod control;
mod options;
mod plan;
mod planes;
mod resources;
mod rows;
mod runner;
mod scheme;
mod session;
mod stream;
#[cfg(test)]
mod tests;
mod tiling;

pub use control::{CancelToken, Progress};
pub use options::{Attention, SessionOptions, Tiling};
pub use plan::Plan;
pub use scheme::{plan_decode, plan_encode};
pub use session::{AutoencoderKlOutput, DecoderOutput, Session};
pub(crate) use stream::Decoding;
pub use stream::RowStream;
#[cfg(feature = "bench")]
pub(crate) use {budget::Planned, scheme::Request, scheme::planned};
