//! The `store-master` program.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use store_master::{
    cli::{self, Given, Order},
    config::{Config, ConfigError, Layers},
    process,
};

/// The exit code of what the settings or the environment refuse.
const REFUSED: u8 = 2;
/// The exit code of a check that found something.
const UNSOUND: u8 = 1;

// Rust's runtime ignores SIGPIPE from the start: a reader of ours that goes away is an error of a write, not our end.
fn main() -> ExitCode {
    let given = match cli::parse(env::args_os()) {
        Ok(Order::Serve(given)) => given,
        Ok(Order::Check { segment, json, wait }) => return check(&segment, json, wait),
        Err(answer) => {
            // Help goes to standard output, a mistake to standard error; if that is closed there is nobody to tell.
            let _ = answer.print();
            return ExitCode::from(answer.exit_code() as u8);
        }
    };
    let config = match settings(&given) {
        Ok(config) => config,
        Err(error) => return end(&error, REFUSED),
    };
    match process::serve(config, Box::new(move || settings(&given))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => end(&failure, failure.exit_code()),
    }
}

fn check(segment: &str, json: bool, wait: Duration) -> ExitCode {
    match process::check(segment, json, wait) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(UNSOUND),
        Err(failure) => end(&failure, failure.exit_code()),
    }
}

fn settings(given: &Given) -> Result<Config, ConfigError> {
    Config::from_layers(&Layers::collect(given.iter().cloned(), |name| env::var_os(name))?)
}

fn end(why: &dyn std::error::Error, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "store-master: {why}");
    ExitCode::from(code)
}
