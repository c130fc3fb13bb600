//! Measures store-master beside its rivals. `scripts/bench` runs everything and writes the record.

mod companion;
mod library;
mod report;
mod server;
mod turns;

use std::{fs, io::Write, path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};

use self::report::{Section, json, markdown};

/// Measures store-master beside its rivals, always two things in turns.
#[derive(Parser)]
struct Arguments {
    /// Writes what was found to FOLDER/LATEST.md and FOLDER/LATEST.json as well.
    #[arg(long, value_name = "FOLDER", global = true)]
    record: Option<PathBuf>,
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Everything.
    All,
    /// The library beside maps of one process and tables that processes share.
    Library {
        /// Rounds of each pair.
        #[arg(long, default_value_t = 11)]
        rounds: usize,
        /// Rows of the largest table.
        #[arg(long, default_value_t = 10_000_000)]
        largest: u32,
        /// Only this part: one, sizes, two, batches or bounds.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// The server beside redis-server.
    Server {
        /// Rounds of each pair.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Only this part: commands, sizes, others, latency, fan-out or delivery.
        #[arg(long, default_value = "")]
        only: String,
    },
    /// One operation of the library over and over, for a profiler.
    Loop {
        /// Which one.
        #[arg(value_parser = library::OPERATIONS)]
        operation: String,
        /// How often.
        times: u64,
        /// One key over and over.
        #[arg(long)]
        hot: bool,
    },
}

fn library(rounds: usize, largest: u32, only: &str) -> Vec<Section> {
    library::all(library::Extent { rounds, largest }, only)
}

fn server(rounds: usize, only: &str) -> Vec<Section> {
    server::all(server::Extent { rounds }, only)
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let sections = match arguments.what {
        // The library first: it forks, and the server's load has threads.
        What::All => [library(11, 10_000_000, ""), server(5, "")].concat(),
        What::Library { rounds, largest, only } => library(rounds, largest, &only),
        What::Server { rounds, only } => server(rounds, &only),
        What::Loop { operation, times, hot } => {
            library::repeat(&operation, times, hot);
            return ExitCode::SUCCESS;
        }
    };
    let text = markdown(&sections);
    let printed = std::io::stdout().write_all(text.as_bytes());
    let written = printed.and_then(|()| {
        let Some(folder) = arguments.record else { return Ok(()) };
        fs::create_dir_all(&folder)?;
        fs::write(folder.join("LATEST.md"), text)?;
        fs::write(folder.join("LATEST.json"), json(&sections))
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("the record could not be written: {error}");
            ExitCode::FAILURE
        }
    }
}
