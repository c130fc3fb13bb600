//! Why the program ended otherwise than it was asked to.

use std::fmt;

/// Why the program ended otherwise than it was asked to; the text says what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Failure {
    /// It could not start: what it was asked for is not to be had here.
    Refused(String),
    /// It failed while it ran.
    Failed(String),
}

impl Failure {
    /// The exit code that tells a service manager which of the two it was.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Failed(_) => 1,
            Self::Refused(_) => 2,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) | Self::Failed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Failure {}
