//! The process that an object belongs to: after a fork the child has a copy without its threads.

use super::error::{Error, ErrorKind, Result};

/// The process that made an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn current() -> Self {
        Self(std::process::id())
    }

    pub(crate) fn is_current(self) -> bool {
        self == Self::current()
    }

    /// # Errors
    /// `State`, naming `what`, in another process than the one that made it.
    pub(crate) fn check(self, what: &str) -> Result<()> {
        let Self(here) = Self::current();
        let Self(made) = self;
        if here == made {
            return Ok(());
        }
        let message = format!(
            "{what}: made in process {made}, used in process {here}, which has none of its \
             threads after a fork; make a session here"
        );
        Err(Error::new(ErrorKind::State, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_process_is_told_to_make_its_own() {
        let here = Process::current();
        assert!(here.is_current() && here.check("session").is_ok());
        let Process(id) = here;
        let other = Process(id.wrapping_add(1));
        assert!(!other.is_current());
        let error = other.check("session").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::State);
        let expected = format!("session: made in process {}, used in process {id}", id + 1);
        assert!(error.message().starts_with(&expected), "{error}");
    }
}
