//! Floor 7: running the network. A file imports only from the files below it:
//!
//! | file | what it does |
//! |---|---|
//! | `stream` | a picture whose rows are taken one by one |
//! | `session` | the face: shapes, batches, options |
//! | `rows` | makes the rows of a call out of a runner: whole, or tile by tile |
//! | `scheme` | decides once how a call is worked on: whole or in tiles |
//! | `tiling` | where tiles are, and their plans |
//! | `runner` | executes one planned run |
//! | `budget` | the strategy of a run that keeps a memory budget |
//! | `plan`, `resources`, `options`, `outputs`, `control`, `planes` | what these are made of |

pub(crate) mod budget;
mod control;
mod options;
mod outputs;
mod plan;
mod planes;
pub(crate) mod resources;
mod rows;
mod runner;
mod scheme;
mod session;
pub(crate) mod stream;
#[cfg(test)]
mod tests;
mod tiling;

pub use control::{CancelToken, Progress};
pub use options::{Attention, SessionOptions, Tiling};
pub use outputs::{DecoderOutput, EncoderOutput};
pub use plan::{Plan, memory_available, memory_in_use};
pub use scheme::{plan_decode, plan_encode};
pub use session::Session;
pub use stream::RowStream;
