//! Kills at every instruction that matters.
//!
//! A child does one operation under `ptrace`, instruction by instruction. Each step that changes a byte of the segment is a place at
//! which a kill may leave something new behind, and so are both sides of each system call. The child is killed at each of them,
//! again and again from the same start, and a survivor, a process of its own, must find the state before the operation or
//! the one after it, everything sound, and a store that works. From each different segment that a kill
//! left, recovery is stepped and killed in the same way; and each operation is killed while a rival stands in the middle of
//! something.
//!
//! `operations` and `states` are the tables to extend. `cases` says what is run, `kills` and `rivals` run it, `trace` finds the
//! places, `tracer` is the only one that knows `ptrace`, `ground` the only one that writes bytes of a segment.

mod cases;
mod child;
mod contents;
mod ground;
mod kills;
mod operations;
mod options;
mod report;
mod rivals;
mod states;
mod survivor;
mod trace;
mod tracer;

use std::process::ExitCode;

/// Runs what the arguments ask for.
pub(crate) fn main(arguments: &[String]) -> ExitCode {
    match options::parse(arguments) {
        Ok(options) => cases::run_all(&options),
        Err(error) => {
            eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}
