#![forbid(unsafe_code)]
//! What systems tell of memory.

/// What this process may still take, in bytes; `None` is no limit, or one that is not told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Headroom {
    /// Memory.
    pub(crate) memory: Option<u64>,
    /// Addresses, whether memory is behind them or not.
    pub(crate) address_space: Option<u64>,
}
