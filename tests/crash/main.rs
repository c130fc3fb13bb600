//! Deaths of real processes. One single-threaded program with a `main` of its own, because only such a one may fork.
//!
//! | command | what it does |
//! |---|---|
//! | `steps [--full \| --reduced] ...` | kills operations, and recovery after them, at every instruction that matters |
//! | `storm [--kills N]` | processes at all kinds of operations, N of them killed at random moments |
//! | `stalls [--rounds N] [--bounds]` | how long others wait for a holder that is killed, stopped or descheduled |
//!
//! `steps` and `storm` run the code that users run; `stalls` needs processes that stop at named points, so it is there
//! only with the feature `crash-points`.

#![allow(clippy::print_stdout)]

mod clock;
mod family;
mod random;
mod shared;
#[cfg(feature = "crash-points")]
mod stalls;
mod steps;
mod storm;

use std::{env, process::ExitCode};

const USAGE: &str = "usage: crash steps [--full | --reduced] [--only NAME] [--jobs N] [--shard I/N]
       crash storm [--kills N]
       crash stalls [--rounds N] [--bounds]    (with the feature crash-points)";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let Some((command, rest)) = words.split_first() else {
        return usage();
    };
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let done = match (command.as_str(), rest.as_slice()) {
        ("steps", _) => return steps::main(&words[1..]),
        ("storm", []) => storm::run(50_000),
        ("storm", ["--kills", kills]) => kills.parse().is_ok_and(storm::run),
        #[cfg(feature = "crash-points")]
        ("stalls", []) => stalls::run(200, false),
        #[cfg(feature = "crash-points")]
        ("stalls", ["--rounds", rounds]) => rounds.parse().is_ok_and(|rounds| stalls::run(rounds, false)),
        #[cfg(feature = "crash-points")]
        ("stalls", ["--rounds", rounds, "--bounds"]) => rounds.parse().is_ok_and(|rounds| stalls::run(rounds, true)),
        _ => return usage(),
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}
