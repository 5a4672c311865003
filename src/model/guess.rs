#![forbid(unsafe_code)]
//! A guess about a configuration.

use std::fmt;

/// A guess about a configuration, displayed as `what = value: reason`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Guess {
    /// The field of the configuration, or `preset` for all fields that a model family sets.
    pub what: &'static str,
    /// The guessed value.
    pub value: String,
    /// The reason.
    pub reason: String,
}

impl Guess {
    pub(super) fn new(what: &'static str, value: impl ToString, reason: impl Into<String>) -> Self {
        Self { what, value: value.to_string(), reason: reason.into() }
    }
}

impl fmt::Display for Guess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}: {}", self.what, self.value, self.reason)
    }
}
