//! Validated settings: from file, environment and command line to one [`Config`] that the rest of the program only reads.

mod error;
mod file;
mod layers;
mod settings;
mod size;
mod table_spec;

pub use error::ConfigError;
pub use layers::{LISTS, Layers, NAMES, Origin, variable};
pub use settings::Config;
pub use size::parse_size;
pub use table_spec::parse_table_spec;
