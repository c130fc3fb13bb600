//! Deaths of real processes, each at a chosen place. `steps` kills at every instruction that matters.
//!
//! The program has no test harness of its own language's: it forks, so it must have one thread.

mod steps;

use std::process::ExitCode;

const USAGE: &str = "usage: crash steps [--full | --reduced] [--only NAME] [--jobs N] [--shard I/N]";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((command, rest)) if command == "steps" => steps::main(rest),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
