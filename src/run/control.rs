#![forbid(unsafe_code)]
//! Contact with a running call from outside: cancelling and progress.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::base::error::{Error, ErrorKind, Result};

/// Progress of the current picture, in multiply-adds. It restarts with each picture of a batch, and
/// when an overflow of `F16` is repeated in `Bf16`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Multiply-adds done.
    pub done: u64,
    /// Multiply-adds of the whole picture.
    pub total: u64,
}

/// Cancels the calls that have it, from any thread. A token stays cancelled: a call that begins
/// with a cancelled token does no work.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// Makes a token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancels the calls that have this token: they return `Cancelled` within a fraction of a
    /// second.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether [`CancelToken::cancel`] was called.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The callback of [`Session::on_progress`](crate::Session::on_progress).
pub(super) type OnProgress = Box<dyn FnMut(Progress) -> ControlFlow<()> + Send>;

/// The cancel token and the progress callback of later calls.
#[derive(Default)]
pub(super) struct Control {
    pub(super) token: CancelToken,
    pub(super) on_progress: Option<OnProgress>,
}

impl Control {
    /// Fails with `Cancelled` if the token is cancelled.
    pub(super) fn check(&self) -> Result<()> {
        if self.token.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
        }
        Ok(())
    }

    /// Reports progress; `Break` means that the call is to stop.
    pub(super) fn report(&mut self, progress: Progress) -> ControlFlow<()> {
        if self.token.is_cancelled() {
            return ControlFlow::Break(());
        }
        self.on_progress.as_mut().map_or(ControlFlow::Continue(()), |call| call(progress))
    }
}

/// The work of a call, which may be several runs of the network.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meter {
    /// Multiply-adds of the runs that have ended.
    pub(super) done: u64,
    /// Multiply-adds of the whole call.
    pub(super) total: u64,
}

impl Meter {
    pub(super) fn new(total: u64) -> Self {
        Self { done: 0, total }
    }
}
