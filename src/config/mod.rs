//! Validated settings: plain data, made once before the first fork.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::store::TableSpec;

/// Every setting of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// Forked workers.
    pub workers: usize,
    /// HTTP listener.
    pub http: Option<SocketAddr>,
    /// RESP listener.
    pub resp: Option<SocketAddr>,
    /// RESP over a unix socket.
    pub resp_unix: Option<PathBuf>,
    /// Size of the segment, in bytes.
    pub memory: u64,
    /// Name of the segment; `None` is anonymous.
    pub segment: Option<String>,
    /// File mode of a named segment.
    pub segment_mode: u32,
    /// Replace a named segment of another geometry.
    pub fresh: bool,
    /// Tables to make at start.
    pub tables: Vec<(String, TableSpec)>,
    /// Capacity of the counter region.
    pub counters: u64,
    /// Capacity of the key-value index; 0: memory / 64.
    pub max_keys: u64,
    /// Clients of one server.
    pub max_clients: usize,
    /// Largest value, in bytes.
    pub max_value: usize,
    /// Silence after which a connection is closed.
    pub idle_timeout: Option<Duration>,
    /// Longest wait for what a stopped process holds.
    pub lock_wait: Duration,
    /// Longest drain at a stop.
    pub drain_timeout: Duration,
    /// Password.
    pub requirepass: Option<String>,
    /// Host names accepted over HTTP.
    pub hosts: Vec<String>,
    /// Origins accepted over HTTP.
    pub allow_origins: Vec<String>,
    /// `/metrics` needs no password.
    pub metrics_open: bool,
    /// A non-loopback address needs no password.
    pub insecure_bind: bool,
    /// Workers may dump core.
    pub core_dumps: bool,
    /// Log level.
    pub log_level: String,
    /// Log as JSON.
    pub log_json: bool,
    /// Bytes of unread replies that one client may pile up.
    pub output_limit: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 1,
            http: None,
            resp: Some(SocketAddr::from(([127, 0, 0, 1], 6380))),
            resp_unix: None,
            memory: 256 << 20,
            segment: None,
            segment_mode: 0o600,
            fresh: false,
            tables: Vec::new(),
            counters: 4096,
            max_keys: 0,
            max_clients: 10_000,
            max_value: 16 << 20,
            idle_timeout: None,
            lock_wait: Duration::from_millis(5000),
            drain_timeout: Duration::from_secs(5),
            requirepass: None,
            hosts: Vec::new(),
            allow_origins: Vec::new(),
            metrics_open: false,
            insecure_bind: false,
            core_dumps: false,
            log_level: "info".to_owned(),
            log_json: false,
            output_limit: 64 << 20,
        }
    }
}
