//! Where log lines go: one write to standard error for each line, as text or as JSON.
//!
//! The level lies in memory that the master shares with its workers, so that one reload changes it for all. Logging must
//! never hold up a process that serves: a line that standard error cannot take at once, because whoever reads it does
//! not, is dropped.

use std::{
    io::{self, IsTerminal, Write},
    sync::Arc,
};

use tracing::{Metadata, level_filters::LevelFilter};
use tracing_subscriber::{Layer, filter::dynamic_filter_fn, layer::SubscriberExt, util::SubscriberInitExt};

use crate::{
    config::Config,
    sys::{poll, shared_byte::SharedByte},
};

/// Longest line, in bytes: what a pipe takes as a whole or not at all.
const MAX_LINE_BYTES: usize = 4096;

/// The level of all log lines, of the master and of every worker.
#[derive(Debug, Clone)]
pub(super) struct LogLevel(Arc<SharedByte>);

impl LogLevel {
    /// Changes the level, for all processes.
    pub(super) fn set(&self, name: &str) {
        self.0.store(rank(name));
    }

    fn allows(&self, metadata: &Metadata<'_>) -> bool {
        let most = match self.0.load() {
            0 => LevelFilter::OFF,
            1 => LevelFilter::ERROR,
            2 => LevelFilter::WARN,
            3 => LevelFilter::INFO,
            4 => LevelFilter::DEBUG,
            _ => LevelFilter::TRACE,
        };
        *metadata.level() <= most
    }
}

fn rank(name: &str) -> u8 {
    ["off", "error", "warn", "info", "debug", "trace"].iter().position(|level| *level == name).unwrap_or(3) as u8
}

/// Sets logging up, for this process and those it forks.
///
/// # Errors
///
/// Where the kernel has no page for the level.
pub(super) fn start(config: &Config) -> io::Result<LogLevel> {
    let level = LogLevel(Arc::new(SharedByte::new(rank(&config.log_level))?));
    let filter = level.clone();
    let filter = dynamic_filter_fn(move |metadata, _| filter.allows(metadata));
    // The layer would otherwise report its own failures to standard error, and panic when that fails too.
    let lines =
        tracing_subscriber::fmt::layer().with_writer(|| StandardError).with_target(false).log_internal_errors(false);
    let lines = if config.log_json {
        lines.json().flatten_event(true).with_span_list(false).boxed()
    } else {
        lines.with_ansi(io::stderr().is_terminal()).boxed()
    };
    // A subscriber that is there already belongs to the program that uses this library, and stays.
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
    Ok(level)
}

struct StandardError;

impl Write for StandardError {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut stderr = io::stderr();
        if poll::is_writable(&stderr) {
            match line.get(..MAX_LINE_BYTES - 1) {
                Some(head) if line.len() > MAX_LINE_BYTES => stderr.write_all(&[head, b"\n"].concat())?,
                _ => stderr.write_all(line)?,
            }
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
