//! Ctrl-C, and the other polite requests to end: SIGTERM and SIGHUP.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use vaekl::{AtomicFile, CancelToken};

use crate::failure::{Failure, Result};

/// The token that Ctrl-C cancels: stops sessions that have it, and is checked between the steps of
/// a command.
pub(crate) struct Interrupt {
    token: CancelToken,
    /// Whether nothing asks the token, so that the first Ctrl-C ends the process.
    at_once: Arc<AtomicBool>,
}

impl Interrupt {
    /// Takes over Ctrl-C: the process then ends by returning [`Failure::Cancelled`], so that
    /// unfinished outputs are removed on the way. If that takes too long, as in a read that waits
    /// for a pipe, a second Ctrl-C ends the process at once.
    ///
    /// The second value says why Ctrl-C is left to the system, where no thread can be had for it.
    pub(crate) fn install() -> Result<(Self, Option<io::Error>)> {
        let (token, at_once) = (CancelToken::new(), Arc::new(AtomicBool::new(false)));
        let interrupt = Self { token: token.clone(), at_once: at_once.clone() };
        // Asked first: the handler stays installed where its own thread cannot be had.
        match thread::Builder::new().spawn(|| ()).map(thread::JoinHandle::join) {
            Ok(_) => {}
            Err(error) => return Ok((interrupt, Some(error))),
        }
        ctrlc::set_handler(move || {
            if token.is_cancelled() || at_once.load(Ordering::SeqCst) {
                end();
            }
            token.cancel();
        })
        .map_err(|error| Failure::Failed(format!("cannot handle Ctrl-C: {error}")))?;
        Ok((interrupt, None))
    }

    /// The token of this process, for a session.
    pub(crate) fn token(&self) -> CancelToken {
        self.token.clone()
    }

    /// Fails if Ctrl-C was pressed; called between the steps of a command.
    pub(crate) fn check(&self) -> Result<()> {
        if self.token.is_cancelled() { Err(Failure::Cancelled) } else { Ok(()) }
    }

    /// Does `work` that does not ask the token: Ctrl-C ends the process meanwhile.
    pub(crate) fn at_once<T>(&self, work: impl FnOnce() -> T) -> Result<T> {
        self.at_once.store(true, Ordering::SeqCst);
        self.check()?;
        let done = work();
        self.at_once.store(false, Ordering::SeqCst);
        Ok(done)
    }
}

/// Removes all unfinished outputs and ends the process. Other threads may still run, but none of
/// them makes or names a file from here on.
fn end() -> ! {
    AtomicFile::abandon();
    std::process::exit(Failure::Cancelled.tell().into())
}
