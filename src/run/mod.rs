//! Floor 6: running the network. Plans, sessions, progress and cancelling.

mod plan;
mod session;

#[cfg(feature = "bench")]
pub(crate) use plan::{Direction, network, planned};
pub use plan::{Plan, plan_decode, plan_encode};
pub use session::{
    Attention, AutoencoderKlOutput, CancelHandle, DecoderOutput, Progress, Session, SessionOptions,
};
