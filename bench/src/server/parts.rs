//! The parts of the server's measurements.

use super::{commands, http, instructions, large, latency, pubsub, workers};
use crate::{
    companion::pin,
    parts::{Part, names, run},
    report::Section,
};

/// How much is measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Rounds of each pair.
    pub(crate) rounds: usize,
    /// Keys where many are.
    pub(crate) keys: u32,
}

const PARTS: [Part<Extent>; 11] = [
    Part { name: "commands", run: |extent| vec![commands::main_commands(extent)] },
    Part { name: "sizes", run: |extent| vec![commands::values_and_connections(extent)] },
    Part { name: "memcached", run: |extent| vec![commands::beside_memcached(extent)] },
    Part { name: "others", run: |extent| vec![commands::other_commands(extent)] },
    Part { name: "http", run: |extent| vec![http::requests(extent)] },
    Part { name: "latency", run: |extent| vec![latency::against_load(extent)] },
    Part { name: "workers", run: |extent| vec![workers::scaling(extent)] },
    Part { name: "fan-out", run: |extent| vec![pubsub::fan_out(extent)] },
    Part { name: "delivery", run: |extent| vec![pubsub::delivery(extent)] },
    Part { name: "large", run: large::many_keys },
    Part { name: "instructions", run: |extent| vec![instructions::of_requests(extent)] },
];

/// The words that [`all`] takes.
pub(crate) fn part_names() -> Vec<&'static str> {
    names(&PARTS)
}

/// Everything about the server, or what is named by one word.
pub(crate) fn all(extent: Extent, only: Option<&str>) -> Vec<Section> {
    pin(1);
    run(&PARTS, extent, only)
}
