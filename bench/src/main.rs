//! Measures store-master beside its rivals. `scripts/bench` runs everything and writes the record.

mod companion;
mod crew;
mod library;
mod parts;
mod plot;
mod report;
mod scaling;
mod server;
mod ticks;
mod turns;

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Parser, Subcommand, builder::PossibleValuesParser};

use self::report::{Section, markdown, record};

/// Measures store-master beside its rivals, always two things in turns.
#[derive(Parser)]
struct Arguments {
    /// Writes what was found to FOLDER as well: LATEST.md, LATEST.json and plots.
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
        #[arg(long, default_value_t = LIBRARY_ROUNDS)]
        rounds: usize,
        /// Rows of the largest table.
        #[arg(long, default_value_t = MOST_ROWS)]
        largest: u32,
        /// Only this part.
        #[arg(long, value_parser = PossibleValuesParser::new(library::part_names()))]
        only: Option<String>,
    },
    /// The server beside redis-server and others.
    Server {
        /// Rounds of each pair.
        #[arg(long, default_value_t = SERVER_ROUNDS)]
        rounds: usize,
        /// Keys where many are.
        #[arg(long, default_value_t = MANY_KEYS)]
        keys: u32,
        /// Only this part.
        #[arg(long, value_parser = PossibleValuesParser::new(server::part_names()))]
        only: Option<String>,
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
    /// Answers every HTTP request on a port of the loopback interface with the same body: a rival of the server.
    #[command(hide = true)]
    Constant { port: u16, body: String },
}

const LIBRARY_ROUNDS: usize = 11;
const SERVER_ROUNDS: usize = 5;
const MOST_ROWS: u32 = 10_000_000;
const MANY_KEYS: u32 = 5_000_000;

/// Everything. The library first: it forks, and the server's load has threads.
fn all() -> Vec<Section> {
    let library = library::all(library::Extent { rounds: LIBRARY_ROUNDS, largest: MOST_ROWS }, None);
    let server = server::all(server::Extent { rounds: SERVER_ROUNDS, keys: MANY_KEYS }, None);
    [library, server].concat()
}

/// Does what is asked for, prints what was found, and writes it where it is to be kept.
fn run(arguments: Arguments) -> io::Result<()> {
    let sections = match arguments.what {
        What::All => all(),
        What::Library { rounds, largest, only } => library::all(library::Extent { rounds, largest }, only.as_deref()),
        What::Server { rounds, keys, only } => server::all(server::Extent { rounds, keys }, only.as_deref()),
        What::Loop { operation, times, hot } => {
            library::repeat(&operation, times, hot);
            return Ok(());
        }
        What::Constant { port, body } => return server::serve_constant(port, body),
    };
    io::stdout().write_all(markdown(&sections).as_bytes())?;
    arguments.record.map_or(Ok(()), |folder| record(&folder, &sections))
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("store-master-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
