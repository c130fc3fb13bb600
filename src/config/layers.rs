//! Where settings come from, and which source wins: file < environment < command line.
//!
//! A layer holds text, as the operator wrote it; only [`Config`](super::Config) knows what it means. A list in a higher
//! layer replaces the whole list of a lower one.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
};

use super::{ConfigError, file};

/// Every setting, by the name of its option.
pub const NAMES: [&str; 28] = [
    "workers",
    "http",
    "resp",
    "resp-unix",
    "memory",
    "segment",
    "segment-mode",
    "fresh",
    "table",
    "counters",
    "max-keys",
    "maxmemory",
    "maxmemory-policy",
    "max-clients",
    "max-value",
    "output-limit",
    "idle-timeout",
    "lock-wait",
    "drain-timeout",
    "requirepass",
    "host",
    "allow-origin",
    "metrics-open",
    "insecure-bind",
    "core-dumps",
    "log-level",
    "log-format",
    "config",
];

/// The settings that may be given several times; in an environment variable `;` stands between them.
pub const LISTS: [&str; 3] = ["table", "host", "allow-origin"];

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The settings file.
    File(PathBuf),
    /// An environment variable.
    Environment,
    /// The command line.
    CommandLine,
}

/// The values of one setting, and where they came from.
#[derive(Debug, Clone)]
pub(super) struct Given {
    pub(super) values: Vec<String>,
    pub(super) origin: Origin,
}

/// What all sources say, the strongest one kept.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    given: BTreeMap<&'static str, Given>,
}

/// The environment variable of a setting: `STORE_MASTER_MAX_CLIENTS` for `max-clients`.
#[must_use]
pub fn variable(name: &str) -> String {
    format!("STORE_MASTER_{}", name.replace('-', "_").to_ascii_uppercase())
}

impl Layers {
    /// Collects all sources. `command_line` yields an option's name and its values; `environment` looks a variable up;
    /// the settings file is the one that either of them names.
    ///
    /// # Errors
    ///
    /// [`ConfigError::File`] if the file cannot be read or has names or values that no setting has;
    /// [`ConfigError::Invalid`] if a variable is not UTF-8.
    pub fn collect(
        command_line: impl IntoIterator<Item = (&'static str, Vec<String>)>,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let mut upper = Self::default();
        upper.read_environment(environment)?;
        upper.put(Origin::CommandLine, command_line);
        let mut layers = Self::default();
        if let Some(path) = upper.given.remove("config").and_then(|given| given.values.into_iter().next_back()) {
            layers.put(Origin::File(path.clone().into()), file::read(Path::new(&path))?);
        }
        layers.given.append(&mut upper.given);
        Ok(layers)
    }

    fn put(&mut self, origin: Origin, settings: impl IntoIterator<Item = (&'static str, Vec<String>)>) {
        for (name, values) in settings {
            self.given.insert(name, Given { values, origin: origin.clone() });
        }
    }

    /// An empty variable counts as one that is not set.
    fn read_environment(&mut self, environment: impl Fn(&str) -> Option<OsString>) -> Result<(), ConfigError> {
        for name in NAMES {
            let Some(value) = environment(&variable(name)).filter(|value| !value.is_empty()) else { continue };
            let text = value.into_string().map_err(|_| ConfigError::Invalid {
                name,
                origin: Origin::Environment,
                why: "is not UTF-8 text".to_owned(),
            })?;
            self.put(Origin::Environment, [(name, split(name, text))]);
        }
        Ok(())
    }

    pub(super) fn get(&self, name: &str) -> Option<&Given> {
        self.given.get(name)
    }
}

fn split(name: &str, text: String) -> Vec<String> {
    if !LISTS.contains(&name) {
        return vec![text];
    }
    text.split(';').map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect()
}
