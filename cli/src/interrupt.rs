//! Ctrl-C, and the other polite requests to end: SIGTERM and SIGHUP.

use vaekl::CancelToken;

use crate::failure::{Failure, Result};
use crate::output;

/// The token that Ctrl-C cancels: stops sessions that have it, and is checked between the steps of
/// a command.
pub(crate) struct Interrupt(CancelToken);

impl Interrupt {
    /// Takes over Ctrl-C: the process then ends by returning [`Failure::Cancelled`], so that
    /// temporary files are removed on the way. If that takes too long, as in a read that waits for
    /// a pipe, a second Ctrl-C ends the process at once.
    pub(crate) fn install() -> Result<Self> {
        let token = CancelToken::new();
        let interrupt = Self(token.clone());
        ctrlc::set_handler(move || {
            if token.is_cancelled() {
                output::abandon(&Failure::Cancelled);
            }
            token.cancel();
        })
        .map_err(|error| Failure::Failed(format!("cannot handle Ctrl-C: {error}")))?;
        Ok(interrupt)
    }

    /// The token of this process, for a session.
    pub(crate) fn token(&self) -> CancelToken {
        self.0.clone()
    }

    /// Fails if Ctrl-C was pressed; called between the steps of a command.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.is_cancelled() { Err(Failure::Cancelled) } else { Ok(()) }
    }
}
