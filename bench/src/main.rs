//! Measures store-master beside its rivals. `scripts/bench` runs everything and writes the record.

mod companion;
mod library;
mod report;
mod server;
mod turns;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::{library::Extent, report::Section};

/// Measures store-master beside its rivals, always two things in turns.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// The library beside maps of one process and tables that processes share.
    Library {
        /// Rounds of each pair.
        #[arg(long, default_value_t = 11)]
        rounds: usize,
        /// Rows of the largest table.
        #[arg(long, default_value_t = 10_000_000)]
        largest: u32,
    },
    /// The server beside redis-server.
    Server {
        /// Rounds of each pair.
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// Only sections whose title has this in it.
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

fn main() -> ExitCode {
    let sections: Vec<Section> = match Arguments::parse().what {
        What::Library { rounds, largest } => library::all(Extent { rounds, largest }),
        What::Server { rounds, only } => server::all(server::Extent { rounds }, &only),
        What::Loop { operation, times, hot } => {
            library::repeat(&operation, times, hot);
            Vec::new()
        }
    };
    for section in &sections {
        println!("{}", section.markdown());
    }
    ExitCode::SUCCESS
}
