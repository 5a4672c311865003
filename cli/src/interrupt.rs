//! Ctrl-C, and the other polite requests to end: SIGTERM and SIGHUP.

use vaekl::CancelToken;

use crate::failure::{Failure, Result};
use crate::output;

/// What Ctrl-C stops: the sessions that have its token, and what checks it between the steps of a
/// command.
pub(crate) struct Interrupt(CancelToken);

impl Interrupt {
    /// Takes over Ctrl-C: from now on the process ends by returning [`Failure::Cancelled`], which
    /// lets temporary files be removed on the way. Where that does not come, as in a read that
    /// waits for a pipe, a second Ctrl-C ends it at once.
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
