//! Floor 6: running the network. Plans, sessions, progress and cancelling.

mod budget;
mod options;
mod plan;
mod session;
mod stream;

pub use options::{Attention, SessionOptions};
pub use plan::{Plan, plan_decode, plan_encode};
pub use session::{AutoencoderKlOutput, CancelHandle, DecoderOutput, Progress, Session};
pub use stream::RowStream;
pub(crate) use stream::Rows;
#[cfg(feature = "bench")]
pub(crate) use {
    budget::Planned,
    plan::{Direction, network, planned},
};
