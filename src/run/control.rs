#![forbid(unsafe_code)]
//! What stops a call that has begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::session::Session;
use crate::base::error::{Error, ErrorKind, Result};

/// Stops the calls that it was given to, from any thread; clones are the same token. A cancelled
/// token stays so: who wants to go on gives the session a new one.
#[derive(Clone, Debug, Default)]
pub struct CancelToken(Arc<AtomicBool>);

impl CancelToken {
    /// A token that is not cancelled.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the calls under this token to stop; one in progress returns `Cancelled` within a
    /// fraction of a second.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Refuses to go on under a cancelled token.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_cancelled() {
            return Err(Error::new(ErrorKind::Cancelled, "cancelled"));
        }
        Ok(())
    }
}

impl Session {
    /// Puts the calls from now on under `token`: cancelling it stops the one in progress, and those
    /// that begin later return `Cancelled` at once, until the session has another token.
    ///
    /// ```
    /// use std::time::Duration;
    /// use ndarray::Array4;
    /// use vaekl::{CancelToken, ErrorKind, Model, Session, SessionOptions};
    ///
    /// let model = Model::open("models/default")?;
    /// let mut session = Session::new(&model, &SessionOptions::default())?;
    /// let token = CancelToken::new();
    /// session.set_cancel_token(token.clone());
    /// std::thread::spawn(move || {
    ///     std::thread::sleep(Duration::from_millis(30));
    ///     token.cancel();
    /// });
    /// let latents = Array4::zeros((64, model.config().latent_channels, 64, 64));
    /// let error = session.decode(latents.view()).unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::Cancelled);
    /// # Ok::<(), vaekl::Error>(())
    /// ```
    pub fn set_cancel_token(&mut self, token: CancelToken) {
        self.cancel = token;
    }
}
