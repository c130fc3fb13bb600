//! Why settings were refused, told so that the operator knows what to mend and where it stands.

use std::{fmt, path::PathBuf};

use super::Origin;

/// Why settings were refused. Nothing was started.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read, or is not TOML of names and plain values.
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// One setting has a value that it cannot have.
    Invalid {
        /// The option's name, without dashes in front.
        name: &'static str,
        /// Where the value came from.
        origin: Origin,
        /// What is wrong, and what would be right.
        why: String,
    },
    /// Settings that are fine each alone do not go together.
    Conflict(String),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, why } => write!(f, "{}: {why}", path.display()),
            Self::Invalid { name, origin, why } => match origin {
                Origin::CommandLine => write!(f, "--{name}: {why}"),
                Origin::Environment => write!(f, "{}: {why}", super::variable(name)),
                Origin::File(path) => write!(f, "{name} in {}: {why}", path.display()),
            },
            Self::Conflict(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for ConfigError {}
