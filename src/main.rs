//! The `store-master` program.

use std::{
    env,
    io::{self, Write},
    process::ExitCode,
};

use store_master::{
    cli::{self, Given},
    config::{Config, ConfigError, Layers},
    process,
};

/// The exit code of what the settings or the environment refuse.
const REFUSED: u8 = 2;

// Rust's runtime ignores SIGPIPE from the start: a reader of ours that goes away is an error of a write, not our end.
fn main() -> ExitCode {
    let given = match cli::parse(env::args_os()) {
        Ok(given) => given,
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

fn settings(given: &Given) -> Result<Config, ConfigError> {
    Config::from_layers(&Layers::collect(given.iter().cloned(), |name| env::var_os(name))?)
}

fn end(why: &dyn std::error::Error, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "store-master: {why}");
    ExitCode::from(code)
}
