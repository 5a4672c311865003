//! Whose turn it is: one call at a time owns a session, and another thread may cancel that call.

use std::cell::UnsafeCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::args;
use crate::base::error::{Error, ErrorKind, Result};
use crate::base::process::Process;
use crate::run::{CancelToken, Session};

/// Runs a model, one call at a time; owns threads and workspace. A child that is forked has none of
/// its threads: there every call on it returns VAEKL_ERR_STATE at once. A new session on the same
/// model works.
pub struct vaekl_session {
    /// The cancel token of the call that owns the session; a stream owns it from opening to
    /// freeing.
    call: Mutex<Option<CancelToken>>,
    /// Set when a call panicked: the session may be inconsistent and is never used again.
    poisoned: AtomicBool,
    /// Bytes of workspace after the last call.
    memory: AtomicU64,
    /// The process that has its threads.
    process: Process,
    /// Whether a call works on it at this moment.
    working: AtomicBool,
    session: UnsafeCell<Session>,
}

impl vaekl_session {
    pub(super) fn new(session: Session) -> Self {
        Self {
            call: Mutex::new(None),
            poisoned: AtomicBool::new(false),
            memory: AtomicU64::new(session.memory() as u64),
            process: Process::current(),
            working: AtomicBool::new(false),
            session: UnsafeCell::new(session),
        }
    }

    /// Cancels the call that owns the session, if any. After a fork there is none, but its lock may
    /// stay locked.
    pub(super) fn cancel(&self) {
        if !self.process.is_current() {
            return;
        }
        if let Some(token) = &*self.call() {
            token.cancel();
        }
    }

    /// Whether a call owns the session, or was at work on it when this process was forked.
    pub(super) fn in_use(&self) -> bool {
        if self.process.is_current() {
            return self.call().is_some();
        }
        self.is_torn() || self.call.try_lock().map_or(true, |call| call.is_some())
    }

    /// Whether this process was forked while a call was at work: that will never end here, and what
    /// it worked on is in no known state.
    fn is_torn(&self) -> bool {
        !self.process.is_current() && self.working.load(Ordering::Relaxed)
    }

    /// Ends the turn of the call that owns the session.
    fn release(&self) {
        if self.process.is_current() {
            *self.call() = None;
        } else if let Ok(mut call) = self.call.try_lock() {
            *call = None;
        }
    }

    /// Bytes of workspace after the last call.
    pub(super) fn memory(&self) -> u64 {
        self.memory.load(Ordering::Relaxed)
    }

    fn call(&self) -> MutexGuard<'_, Option<CancelToken>> {
        self.call.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_poison(&self) -> Result<()> {
        let what = "session: poisoned by a defect of the library in an earlier call";
        match self.poisoned.load(Ordering::Relaxed) {
            true => Err(Error::new(ErrorKind::State, what)),
            false => Ok(()),
        }
    }

    /// Runs `body` on the session; a panic poisons it.
    ///
    /// # Safety
    /// The caller owns the session: nobody else is in this function.
    unsafe fn with<R>(&self, body: impl FnOnce(&mut Session) -> Result<R>) -> Result<R> {
        struct Work<'a>(&'a vaekl_session);
        impl Drop for Work<'_> {
            fn drop(&mut self) {
                if std::thread::panicking() {
                    self.0.poisoned.store(true, Ordering::Relaxed);
                }
                self.0.working.store(false, Ordering::Relaxed);
            }
        }
        self.process.check("session")?;
        self.check_poison()?;
        let _work = Work(self);
        self.working.store(true, Ordering::Relaxed);
        // SAFETY: by the caller's contract this is the only reference.
        let session = unsafe { &mut *self.session.get() };
        let result = body(session);
        self.memory.store(session.memory() as u64, Ordering::Relaxed);
        result
    }
}

/// Ownership of a session, by one call at a time.
struct Turn<'a>(&'a vaekl_session);

impl<'a> Turn<'a> {
    /// Takes the session and gives it this call's cancel token.
    fn take(handle: &'a vaekl_session) -> Result<Self> {
        handle.process.check("session")?;
        let token = CancelToken::new();
        {
            let mut call = handle.call();
            if call.is_some() {
                return Err(Error::new(ErrorKind::State, "session: in use by another call"));
            }
            *call = Some(token.clone());
        }
        let turn = Self(handle);
        turn.with(|session| {
            session.set_cancel_token(token);
            Ok(())
        })?;
        Ok(turn)
    }

    fn with<R>(&self, body: impl FnOnce(&mut Session) -> Result<R>) -> Result<R> {
        // SAFETY: the turn is the right to.
        unsafe { self.0.with(body) }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

/// Runs `body` on the session, or fails with `State` if another call owns it.
///
/// # Safety
/// `session` is NULL or a session that is not freed during the call.
pub(super) unsafe fn enter<R>(
    session: *const vaekl_session,
    body: impl FnOnce(&mut Session) -> Result<R>,
) -> Result<R> {
    // SAFETY: by the caller's contract; what changes in it is what a turn protects.
    Turn::take(unsafe { args::object(session, "session") }?)?.with(body)
}

/// Like [`enter`], but after a success the session stays in use until [`leave`].
///
/// # Safety
/// `session` is NULL or a session that is not freed before [`leave`].
pub(super) unsafe fn occupy<R>(
    session: *const vaekl_session,
    body: impl FnOnce(&mut Session) -> Result<R>,
) -> Result<R> {
    // SAFETY: as in `enter`.
    let turn = Turn::take(unsafe { args::object(session, "session") }?)?;
    let result = turn.with(body)?;
    std::mem::forget(turn);
    Ok(result)
}

/// Runs `body` on a session taken by [`occupy`].
///
/// # Safety
/// `session` came through [`occupy`], and [`leave`] comes later.
pub(super) unsafe fn with_occupied<R>(
    session: *const vaekl_session,
    body: impl FnOnce(&mut Session) -> Result<R>,
) -> Result<R> {
    // SAFETY: a live session, which the holder has.
    unsafe { (*session).with(body) }
}

/// Releases a session taken by [`occupy`].
///
/// # Safety
/// `session` came through [`occupy`], and no [`with_occupied`] is running on it.
pub(super) unsafe fn leave(session: *const vaekl_session) {
    // SAFETY: a live session, whose turn ends here.
    drop(Turn(unsafe { &*session }));
}

/// Whether a call was at work on a session when this process was forked.
///
/// # Safety
/// `session` is a live session.
pub(super) unsafe fn is_torn(session: *const vaekl_session) -> bool {
    // SAFETY: by the caller's contract.
    unsafe { (*session).is_torn() }
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use super::super::guard::guard;
    use super::super::status::{
        VAEKL_ERR_CANCELLED, VAEKL_ERR_INTERNAL, VAEKL_ERR_STATE, VAEKL_OK, vaekl_status,
    };
    use super::*;
    use crate::model::Model;
    use crate::run::SessionOptions;

    fn session() -> vaekl_session {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/cli/model");
        let model = Model::open(path).unwrap();
        vaekl_session::new(Session::new(&model, &SessionOptions::default()).unwrap())
    }

    /// Calls `body` as a function of the header does.
    fn call(session: &vaekl_session, body: &dyn Fn()) -> vaekl_status {
        let body = |_: &mut Session| {
            body();
            Ok(())
        };
        // SAFETY: the session lives as long as the borrow, and errors may be NULL.
        unsafe { guard(ptr::null_mut(), || enter(session, body)) }
    }

    #[test]
    fn a_panic_poisons_the_session_and_not_the_model() {
        let first = session();
        assert_eq!(call(&first, &|| {}), VAEKL_OK);
        assert_eq!(call(&first, &|| panic!("a defect")), VAEKL_ERR_INTERNAL);
        for _ in 0..2 {
            assert_eq!(call(&first, &|| unreachable!()), VAEKL_ERR_STATE);
        }
        assert_eq!(call(&session(), &|| {}), VAEKL_OK);

        // While a stream occupies it too.
        let streamed = session();
        let read = |body: &dyn Fn()| {
            let body = |_: &mut Session| {
                body();
                Ok(())
            };
            // SAFETY: the session is occupied, and errors may be NULL.
            unsafe { guard(ptr::null_mut(), || with_occupied(&raw const streamed, body)) }
        };
        // SAFETY: the session lives until the end of this test.
        unsafe { occupy(&raw const streamed, |_| Ok(())) }.unwrap();
        assert_eq!(read(&|| {}), VAEKL_OK);
        assert_eq!(read(&|| panic!("a defect")), VAEKL_ERR_INTERNAL);
        assert_eq!(read(&|| unreachable!()), VAEKL_ERR_STATE);
        // SAFETY: it was occupied.
        unsafe { leave(&raw const streamed) };
        assert_eq!(call(&streamed, &|| unreachable!()), VAEKL_ERR_STATE);
    }

    /// Each call has its own token, a batch one for all its pictures: a cancel is not lost as a
    /// call begins, nor between pictures, and does not reach a later call.
    #[test]
    fn a_cancel_meets_the_call_in_progress_and_no_other() {
        let session = session();
        let decode = |session: &mut Session| {
            let channels = session.model().config().latent_channels;
            let latents = ndarray::Array3::zeros((channels, 1, 1));
            session.decode_rows(latents.view(), &mut |_, _| std::ops::ControlFlow::Continue(()))
        };
        session.cancel();
        let batch = |cancelled: usize| {
            let mut done = 0;
            let body = |inner: &mut Session| {
                for b in 0..3 {
                    if b == cancelled {
                        session.cancel();
                    }
                    decode(inner)?;
                    done += 1;
                }
                Ok(())
            };
            // SAFETY: the session lives as long as the borrow, and errors may be NULL.
            let status = unsafe { guard(ptr::null_mut(), || enter(&raw const session, body)) };
            (status, done)
        };
        for cancelled in 0..3 {
            assert_eq!(batch(cancelled), (VAEKL_ERR_CANCELLED, cancelled));
            session.cancel();
            assert_eq!(batch(usize::MAX), (VAEKL_OK, 3));
        }
        assert!(!session.in_use());
    }
}
