//! Floor 7: running the network. Plans, sessions, progress and cancelling.

mod budget;
mod execute;
mod options;
mod plan;
mod seamless;
mod session;
mod stream;
mod tiles;

pub use options::{Attention, SessionOptions, Tiling};
pub use plan::{Plan, plan_decode, plan_encode};
pub use session::{AutoencoderKlOutput, CancelHandle, DecoderOutput, Progress, Session};
pub(crate) use stream::Decoding;
pub use stream::RowStream;
#[cfg(feature = "bench")]
pub(crate) use {
    budget::Planned,
    plan::{Direction, Part, network, planned},
};
