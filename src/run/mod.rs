//! Floor 6: running the network. Plans, sessions, progress and cancelling.

mod session;

pub use session::{
    Attention, AutoencoderKlOutput, CancelHandle, DecoderOutput, Progress, Session, SessionOptions,
};
