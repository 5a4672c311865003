//! The one error type: a kind a program can act on, and a sentence a person can.

use std::borrow::Cow;
use std::fmt;

/// `Result` with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, as far as a program can act on it. The C interface has one status per kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument is out of range, of the wrong shape or inconsistent with another.
    InvalidArgument,
    /// Opening, reading or mapping a file failed.
    Io,
    /// A file is not what it claims to be, or is corrupt.
    Format,
    /// The tensors or the configuration do not make an `AutoencoderKL`.
    Model,
    /// Valid, but this build cannot do it.
    Unsupported,
    /// Memory could not be had.
    OutOfMemory,
    /// No plan fits the memory budget.
    Budget,
    /// The caller asked to stop.
    Cancelled,
    /// An accelerator failed.
    Device,
    /// The object is not in a state that allows the call.
    State,
    /// The arithmetic produced NaN or infinity; nothing was returned as a picture.
    NonFinite,
    /// A defect of this library.
    Internal,
}

/// An error: its [`ErrorKind`] and a message that names the file, tensor or argument, with what was
/// expected and what was found.
#[derive(Clone, Debug)]
pub struct Error {
    kind: ErrorKind,
    message: Cow<'static, str>,
}

impl Error {
    /// Makes an error of `kind`.
    pub fn new(kind: ErrorKind, message: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, message: message.into() }
    }

    /// The kind, for a program.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The message, for a person: one line, no trailing period.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Puts `what` and a colon before the message, as "model.safetensors: header is truncated".
    #[must_use]
    pub fn within(self, what: impl fmt::Display) -> Self {
        Self { kind: self.kind, message: format!("{what}: {}", self.message).into() }
    }

    pub(crate) fn invalid(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::InvalidArgument, message)
    }

    pub(crate) fn io(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(ErrorKind::Io, message)
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

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
