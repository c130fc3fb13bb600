//! Deaths of real processes. One single-threaded program with a `main` of its own, because only such a one may fork.
//!
//! `cargo test --features crash-points --test crash -- storm --kills 50000`
//!
//! | command | what it does |
//! |---|---|
//! | `storm [--kills N]` | processes at all kinds of operations, N of them killed at random moments |
//! | `stalls [--rounds N] [--bounds]` | how long others wait for a holder that is killed, stopped or descheduled |
//!
//! Without a command: a short run of each.

#![allow(clippy::print_stdout)]

mod clock;
mod family;
mod random;
mod shared;
mod stalls;
mod storm;

use std::{env, process::ExitCode};

const USAGE: &str = "usage: crash [storm [--kills N] | stalls [--rounds N] [--bounds]]";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        [] => storm::run(2000) && stalls::run(10, false),
        ["storm"] => storm::run(50_000),
        ["storm", "--kills", kills] => kills.parse().is_ok_and(storm::run),
        ["stalls"] => stalls::run(200, false),
        ["stalls", "--bounds"] => stalls::run(200, true),
        ["stalls", "--rounds", rounds] => rounds.parse().is_ok_and(|rounds| stalls::run(rounds, false)),
        ["stalls", "--rounds", rounds, "--bounds"] => rounds.parse().is_ok_and(|rounds| stalls::run(rounds, true)),
        _ => {
            eprintln!("{USAGE}");
            false
        }
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
