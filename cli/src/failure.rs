//! Why a command ends early: one line for a person, an exit code for a script.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;

use vaekl::{ErrorKind, visible};

/// `Result` with a [`Failure`].
pub(crate) type Result<T> = std::result::Result<T, Failure>;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The command line asks for something that makes no sense: exit code 2.
    Usage(String),
    /// The work failed: exit code 1.
    Failed(String),
    /// An error of the library: exit code 1.
    Library(vaekl::Error),
    /// Ctrl-C: exit code 130, as a shell reports a death by SIGINT.
    Cancelled,
}

impl Failure {
    /// `path: what went wrong`.
    pub(crate) fn at(path: &Path, what: impl fmt::Display) -> Self {
        Self::Failed(format!("{}: {what}", path.display()))
    }

    /// Prints the one line and returns the exit code of the process.
    pub(crate) fn tell(&self) -> u8 {
        // A closed stderr leaves nobody to tell.
        let _ = writeln!(io::stderr(), "vaekl: {self}");
        self.exit_code()
    }

    fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 2,
            Self::Failed(_) | Self::Library(_) => 1,
            Self::Cancelled => 130,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = match self {
            Self::Usage(message) | Self::Failed(message) => message,
            Self::Library(error) => error.message(),
            Self::Cancelled => "cancelled",
        };
        // File names and foreign error messages may hold anything; an error is one line.
        f.write_str(&visible(message.trim()))
    }
}

impl From<vaekl::Error> for Failure {
    fn from(error: vaekl::Error) -> Self {
        match error.kind() {
            ErrorKind::Cancelled => Self::Cancelled,
            _ => Self::Library(error),
        }
    }
}

/// Adds the path to an input/output error.
pub(crate) trait AtPath<T> {
    /// Names `path` in the error.
    fn at(self, path: &Path) -> Result<T>;
}

impl<T> AtPath<T> for io::Result<T> {
    fn at(self, path: &Path) -> Result<T> {
        self.map_err(|error| Failure::at(path, error))
    }
}
