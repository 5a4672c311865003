//! The error type: a kind for programs, and a message for people.

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::sync::Arc;

use super::visible::visible;

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Kinds of errors that a program can tell apart. The C interface has one status per kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is out of range, has a wrong shape or contradicts another.
    InvalidArgument,
    /// A file could not be opened, read, written or mapped.
    Io,
    /// A file is not what it claims to be, or is corrupt.
    Format,
    /// The tensors or the configuration are not those of an `AutoencoderKL`.
    Model,
    /// Valid, but not supported by this build.
    Unsupported,
    /// Out of memory.
    OutOfMemory,
    /// No plan fits the memory budget.
    Budget,
    /// The caller asked to stop.
    Cancelled,
    /// An accelerator failed.
    Device,
    /// The object is not in a state that allows the call.
    State,
    /// The computation gave NaN or infinity; no picture was returned.
    NonFinite,
    /// A bug in this library.
    Internal,
}

/// An error: an [`ErrorKind`], and a message that names the file, tensor or argument, with what was
/// expected and what was found.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
    /// The system's error, if it caused this one.
    io: Option<Arc<io::Error>>,
}

impl Error {
    /// Makes an error of `kind`. Use [`Error::io`] for [`ErrorKind::Io`].
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: shown(message.into()), io: None }
    }

    /// Makes an [`ErrorKind::Io`] error: `what` failed because of `error`; see [`Error::io_error`].
    /// One of [`ErrorKind::OutOfMemory`] if that is what the system said.
    pub fn io(what: impl fmt::Display, error: io::Error) -> Self {
        let message = shown(format!("{what}: {error}").into());
        let kind = match error.kind() {
            io::ErrorKind::OutOfMemory => ErrorKind::OutOfMemory,
            _ => ErrorKind::Io,
        };
        Self { kind, message, io: Some(Arc::new(error)) }
    }

    /// The kind, for a program.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message, for a person: one line, no trailing period. What it has of a file is
    /// [`visible`](crate::visible).
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The system's error that caused this one. Every [`ErrorKind::Io`] error of this library has
    /// one.
    ///
    /// ```
    /// let error = vaekl::Model::open("no/such/model").unwrap_err();
    /// assert_eq!(error.io_error().unwrap().kind(), std::io::ErrorKind::NotFound);
    /// ```
    pub fn io_error(&self) -> Option<&io::Error> {
        self.io.as_deref()
    }

    /// Puts `what` and a colon before the message: "model.safetensors: header is truncated".
    #[must_use]
    pub fn within(self, what: impl fmt::Display) -> Self {
        Self { message: shown(format!("{what}: {}", self.message).into()), ..self }
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn format(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Format, message)
    }

    pub(crate) fn model(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Model, message)
    }

    pub(crate) fn internal(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }
}

/// The one place that messages go through: names and values of files may hold anything.
fn shown(message: Cow<'static, str>) -> Cow<'static, str> {
    match visible(&message) {
        Cow::Owned(escaped) => escaped.into(),
        Cow::Borrowed(_) => message,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.io_error().map(|error| error as _)
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;

    use super::*;

    #[test]
    fn no_message_steers_a_terminal() {
        let (name, expected) = ("a\x1b]0;b\n\u{202e}", "a\\u{1b}]0;b\\n\\u{202e}");
        let error = Error::new(ErrorKind::Model, name);
        assert_eq!(error.message(), expected);
        assert_eq!(error.within(name).message(), format!("{expected}: {expected}"));
        let io = || io::Error::other(name);
        assert_eq!(Error::io(name, io()).message(), format!("{expected}: {expected}"));
    }

    #[test]
    fn what_the_system_said_survives() {
        let error = Error::io("a.json", io::ErrorKind::PermissionDenied.into());
        assert_eq!((error.kind(), error.message()), (ErrorKind::Io, "a.json: permission denied"));
        let within = error.clone().within("b");
        assert_eq!(within.message(), "b: a.json: permission denied");
        for error in [error, within] {
            let source: &io::Error = error.source().unwrap().downcast_ref().unwrap();
            assert_eq!(source.kind(), io::ErrorKind::PermissionDenied);
            assert_eq!(error.io_error().unwrap().kind(), source.kind());
        }
        assert!(Error::internal("a defect").source().is_none());
        let error = Error::io("a.json", io::ErrorKind::OutOfMemory.into());
        assert_eq!(error.kind(), ErrorKind::OutOfMemory);
    }
}
