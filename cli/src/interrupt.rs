//! Ctrl-C, and the other polite requests to end: SIGTERM and SIGHUP.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use vaekl::CancelHandle;

use crate::failure::{Failure, Result};
use crate::output;

/// Whether Ctrl-C was pressed, and what it stops. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Interrupt(Arc<State>);

#[derive(Default)]
struct State {
    raised: AtomicBool,
    session: Mutex<Option<CancelHandle>>,
}

impl Interrupt {
    /// Takes over Ctrl-C: from now on the process ends by returning [`Failure::Cancelled`], which
    /// lets temporary files be removed on the way. Where that does not come, as in a read that waits
    /// for a pipe, a second Ctrl-C ends it at once.
    pub(crate) fn install() -> Result<Self> {
        let interrupt = Self::default();
        let handler = interrupt.clone();
        ctrlc::set_handler(move || handler.raise())
            .map_err(|error| Failure::Failed(format!("cannot handle Ctrl-C: {error}")))?;
        Ok(interrupt)
    }

    fn raise(&self) {
        if self.0.raised.swap(true, Ordering::SeqCst) {
            output::abandon(&Failure::Cancelled);
        }
        let session = self.0.session.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handle) = &*session {
            handle.cancel();
        }
    }

    /// Whether Ctrl-C was pressed.
    pub(crate) fn raised(&self) -> bool {
        self.0.raised.load(Ordering::SeqCst)
    }

    /// Fails if Ctrl-C was pressed; called between the steps of a command.
    pub(crate) fn check(&self) -> Result<()> {
        if self.raised() { Err(Failure::Cancelled) } else { Ok(()) }
    }

    /// Lets Ctrl-C stop the calls of a session.
    pub(crate) fn stops(&self, handle: CancelHandle) {
        *self.0.session.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
    }
}
