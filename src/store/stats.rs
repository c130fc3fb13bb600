//! Counts of what the workers did. They live with the data, one set of cells for each worker index, and
//! outlive the worker that wrote them.

use super::tally::Tally;

/// Declares the statistics once: the enum, their names and their help texts.
macro_rules! stats {
    ($($variant:ident $kind:ident $name:literal $help:literal;)*) => {
        /// One statistic.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Stat { $(#[doc = $help] $variant,)* }

        impl Stat {
            /// Every statistic, in the order of its cells.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Name in `snake_case`, without prefix and `_total`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),* }
            }

            /// What it counts, in a sentence.
            #[must_use]
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => $help),* }
            }

            /// True if it only ever grows; false if it is a level.
            #[must_use]
            pub fn is_total(self) -> bool {
                match self { $(Self::$variant => stats!(@total $kind)),* }
            }

            /// Whether its sum over workers means anything.
            #[must_use]
            pub fn adds_up(self) -> bool {
                !matches!(self, Self::Pid | Self::StartedAt | Self::Heartbeat)
            }
        }
    };
    (@total total) => { true };
    (@total level) => { false };
}

stats! {
    Starts total "worker_starts" "Processes that have served as this worker.";
    Pid level "worker_pid" "Process id of the worker.";
    StartedAt level "worker_started_at_seconds" "Unix time at which the worker started.";
    Heartbeat level "worker_heartbeat_milliseconds" "Unix time, in milliseconds, at which the worker last turned its loop.";
    Connections total "connections" "Connections accepted.";
    Clients level "connected_clients" "Connections open now.";
    Rejected total "rejected_connections" "Connections refused because of --max-clients.";
    Commands total "commands" "Commands executed over RESP.";
    HttpRequests total "http_requests" "Requests answered over HTTP.";
    Reads total "reads" "Rows, counters and values read.";
    Hits total "keyspace_hits" "Reads that found what they looked for.";
    Misses total "keyspace_misses" "Reads that found nothing.";
    Writes total "writes" "Rows, counters and values written or deleted.";
    Expired total "expired" "Rows and keys freed because their time had passed.";
    Errors total "errors" "Requests answered with an error.";
    Busy total "busy" "Requests given up because a stopped process held what they needed.";
    Parked total "parked" "Times a request stepped aside to wait while others were served.";
    ProtocolErrors total "protocol_errors" "Connections closed because of malformed input.";
    AuthFailures total "auth_failures" "Wrong passwords.";
    DeniedCommands total "denied_commands" "Requests refused because the user may not use the command.";
    DeniedKeys total "denied_keys" "Requests refused because the user may not use a key.";
    DeniedChannels total "denied_channels" "Requests refused because the user may not use a channel.";
    BytesIn total "input_bytes" "Bytes read from clients.";
    BytesOut total "output_bytes" "Bytes written to clients.";
    IdleClosed total "idle_closed" "Connections closed because of --idle-timeout.";
    TrackingClients level "tracking_clients" "Clients that are told when keys change.";
    TrackingKeys level "tracking_keys" "Keys whose readers are told when they change.";
    TrackingItems level "tracking_items" "Pairs of such a key and a reader.";
    TrackingPrefixes level "tracking_prefixes" "Prefixes of keys whose followers are told of changes.";
    BusLost total "bus_overruns" "Times a worker was so far behind with messages of another that some were lost and its subscribers disconnected.";
    Held level "blocked_clients" "Clients whose request CLIENT PAUSE holds back.";
    OutputClosed total "output_limit_closed" "Connections closed because the client did not read its replies.";
}

/// The cells of all workers.
pub trait Statistics: Send + Sync {
    /// How many workers there are.
    fn workers(&self) -> usize;
    /// Adds to a cell of the calling worker's own set.
    fn add(&self, stat: Stat, by: u64);
    /// Takes away from a level of the calling worker's own set.
    fn sub(&self, stat: Stat, by: u64);
    /// Sets a level of the calling worker's own set.
    fn set(&self, stat: Stat, value: u64);
    /// A cell of worker `index`.
    fn worker(&self, index: usize, stat: Stat) -> u64;
    /// The sum over all workers and, for totals, over library processes.
    fn sum(&self, stat: Stat) -> u64;
    /// The set that the calling process writes from now on: a worker's index, or `None` for the shared one of library processes.
    fn select(&self, worker: Option<usize>);
    /// Sets a total back to 0, for all workers.
    fn reset(&self, stat: Stat);
    /// What a worker counts of its commands.
    fn tally(&self, worker: usize) -> Tally<'_>;
    /// Dead processes whose slots were recovered, over the life of the segment.
    fn recoveries(&self) -> u64;
}
