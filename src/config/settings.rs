//! What the program was asked to do: plain, validated settings.

use std::{net::SocketAddr, num::NonZero, path::PathBuf, str::FromStr, time::Duration};

use super::{ConfigError, Layers, Origin, parse_size, parse_table_spec};
use crate::store::{
    Policy, TableSpec,
    limits::{MAX_TABLES, MAX_VALUE_BYTES, MAX_WORKERS},
};

/// Longest time that a timeout can be set to, in seconds: a day.
const MAX_TIMEOUT_SECS: u64 = 86_400;
/// Most clients that can be asked for; the kernel's own limit on open files lies near it.
const MAX_CLIENTS: usize = 1_000_000;
/// Most counters and keys that can be asked for; memory runs out long before.
const MAX_CELLS: u64 = 1 << 32;
/// Longest segment name, in bytes: a file name in /dev/shm with room for a suffix.
const MAX_SEGMENT_NAME_BYTES: usize = 200;
/// Longest password, in bytes.
const MAX_PASSWORD_BYTES: usize = 512;
/// Longest path of a unix socket, in bytes: what fits a socket address.
const MAX_UNIX_PATH_BYTES: usize = 107;
/// Largest `--output-limit`, in bytes.
const MAX_OUTPUT_LIMIT: u64 = 1 << 40;

/// All settings of one run, validated. Made once at start; nothing changes it afterwards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Worker processes to fork.
    pub workers: usize,
    /// Where HTTP is served; port 0 is any free port.
    pub http: Option<SocketAddr>,
    /// Where RESP is served; port 0 is any free port.
    pub resp: Option<SocketAddr>,
    /// Unix socket on which RESP is served too.
    pub resp_unix: Option<PathBuf>,
    /// Bytes of the segment.
    pub memory: u64,
    /// Name of the segment; anonymous without one.
    pub segment: Option<String>,
    /// Permission bits of a named segment.
    pub segment_mode: u32,
    /// Whether what a named segment held before is thrown away.
    pub fresh: bool,
    /// Tables to make at start.
    pub tables: Vec<(String, TableSpec)>,
    /// Bytes in use above which keys are evicted; 0: the whole segment.
    pub max_memory: u64,
    /// What goes when memory runs short.
    pub policy: Policy,
    /// Counters that fit.
    pub counters: u64,
    /// Keys that fit the key-value space; 0: as many as `memory` / 64.
    pub max_keys: u64,
    /// Clients that may be connected at once, over all workers.
    pub max_clients: usize,
    /// Longest value in bytes.
    pub max_value: usize,
    /// After how long a silent client is disconnected; never without.
    pub idle_timeout: Option<Duration>,
    /// Longest wait for what a stopped process holds.
    pub lock_wait: Duration,
    /// Longest wait for running requests at the end.
    pub drain_timeout: Duration,
    /// The password of RESP `AUTH` and of HTTP `Authorization: Bearer`.
    pub requirepass: Option<String>,
    /// Host names, in lower case, that HTTP requests may name beside IP addresses and `localhost`.
    pub hosts: Vec<String>,
    /// Origins, in lower case, that HTTP requests may carry.
    pub allow_origins: Vec<String>,
    /// Whether `/metrics` needs no password.
    pub metrics_open: bool,
    /// Whether addresses that other machines can reach may be bound without a password.
    pub insecure_bind: bool,
    /// Whether workers that crash may leave a core file.
    pub core_dumps: bool,
    /// `off`, `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
    /// Whether log lines are JSON.
    pub log_json: bool,
    /// Bytes of replies that one client may leave unread before it is disconnected.
    pub output_limit: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: std::thread::available_parallelism().map_or(1, NonZero::get).min(MAX_WORKERS),
            http: Some(SocketAddr::from(([127, 0, 0, 1], 8080))),
            resp: Some(SocketAddr::from(([127, 0, 0, 1], 6380))),
            resp_unix: None,
            memory: 256 << 20,
            segment: None,
            segment_mode: 0o600,
            fresh: false,
            tables: Vec::new(),
            max_memory: 0,
            policy: Policy::NoEviction,
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

impl Config {
    /// The settings that all layers together give, with the defaults where none says anything.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Invalid`] and [`ConfigError::Conflict`], with what is wrong and how to mend it.
    pub fn from_layers(layers: &Layers) -> Result<Self, ConfigError> {
        let default = Self::default();
        let one = Reader(layers);
        let config = Self {
            workers: one.read("workers", |t| number(t, 1, MAX_WORKERS))?.unwrap_or(default.workers),
            http: one.read("http", listener)?.unwrap_or(default.http),
            resp: one.read("resp", listener)?.unwrap_or(default.resp),
            resp_unix: one.read("resp-unix", unix_path)?.flatten(),
            memory: one.read("memory", parse_size)?.unwrap_or(default.memory),
            segment: one.read("segment", segment_name)?,
            segment_mode: one.read("segment-mode", mode)?.unwrap_or(default.segment_mode),
            fresh: one.read("fresh", flag)?.unwrap_or(default.fresh),
            tables: one.list("table", parse_table_spec)?,
            max_memory: one.read("maxmemory", size_or_none)?.unwrap_or(default.max_memory),
            policy: one.read("maxmemory-policy", policy)?.unwrap_or(default.policy),
            counters: one.read("counters", |t| number(t, 1, MAX_CELLS))?.unwrap_or(default.counters),
            max_keys: one.read("max-keys", |t| number(t, 0, MAX_CELLS))?.unwrap_or(default.max_keys),
            max_clients: one.read("max-clients", |t| number(t, 1, MAX_CLIENTS))?.unwrap_or(default.max_clients),
            max_value: one.read("max-value", |t| size(t, 1, MAX_VALUE_BYTES as u64))?.unwrap_or(default.max_value),
            idle_timeout: one.read("idle-timeout", seconds)?.filter(|timeout| !timeout.is_zero()),
            lock_wait: one.read("lock-wait", milliseconds)?.unwrap_or(default.lock_wait),
            drain_timeout: one.read("drain-timeout", seconds)?.unwrap_or(default.drain_timeout),
            requirepass: one.read("requirepass", password)?,
            hosts: one.list("host", host)?,
            allow_origins: one.list("allow-origin", origin)?,
            metrics_open: one.read("metrics-open", flag)?.unwrap_or(default.metrics_open),
            insecure_bind: one.read("insecure-bind", flag)?.unwrap_or(default.insecure_bind),
            core_dumps: one.read("core-dumps", flag)?.unwrap_or(default.core_dumps),
            log_level: one.read("log-level", log_level)?.unwrap_or(default.log_level),
            log_json: one.read("log-format", log_format)?.unwrap_or(default.log_json),
            output_limit: one
                .read("output-limit", |t| size(t, 4096, MAX_OUTPUT_LIMIT))?
                .unwrap_or(default.output_limit),
        };
        config.check()?;
        Ok(config)
    }

    /// What no single setting can know: whether they go together.
    fn check(&self) -> Result<(), ConfigError> {
        let conflict = |why: String| Err(ConfigError::Conflict(why));
        if self.http.is_none() && self.resp.is_none() && self.resp_unix.is_none() {
            return conflict("nothing to listen on; give --http, --resp or --resp-unix an address".to_owned());
        }
        if let (Some(http), Some(resp)) = (self.http, self.resp)
            && http == resp
            && http.port() != 0
        {
            return conflict(format!("--http and --resp are both {http}; give one of them another port"));
        }
        if let Some((option, address)) = self.exposed() {
            return conflict(format!(
                "--{option} {address} can be reached from other machines and there is no password; \
                 set --requirepass (better: {}), bind 127.0.0.1 instead, or say --insecure-bind if the network is safe",
                super::variable("requirepass")
            ));
        }
        if self.fresh && self.segment.is_none() {
            return conflict(
                "--fresh is about a named segment; give it a name with --segment or leave --fresh away".to_owned(),
            );
        }
        if self.tables.len() > MAX_TABLES {
            return conflict(format!("{} tables; a store has at most {MAX_TABLES}", self.tables.len()));
        }
        for (i, (name, spec)) in self.tables.iter().enumerate() {
            if self.tables[..i].iter().any(|(other, with)| other == name && with != spec) {
                return conflict(format!("--table {name} is given twice with different schemas; rename one of them"));
            }
        }
        Ok(())
    }

    /// The option and the address that other machines can reach although nothing protects it.
    fn exposed(&self) -> Option<(&'static str, SocketAddr)> {
        if self.requirepass.is_some() || self.insecure_bind {
            return None;
        }
        [("http", self.http), ("resp", self.resp)]
            .into_iter()
            .filter_map(|(option, address)| Some((option, address?)))
            .find(|(_, address)| !address.ip().to_canonical().is_loopback())
    }
}

/// Reads settings from the layers and says, for what is wrong, where it stands.
struct Reader<'a>(&'a Layers);

impl Reader<'_> {
    fn read<T>(&self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Option<T>, ConfigError> {
        Ok(self.list(name, parse)?.pop())
    }

    fn list<T>(&self, name: &'static str, parse: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, ConfigError> {
        let Some(given) = self.0.get(name) else { return Ok(Vec::new()) };
        let invalid = |origin: &Origin, why| ConfigError::Invalid { name, origin: origin.clone(), why };
        given.values.iter().map(|text| parse(text).map_err(|why| invalid(&given.origin, why))).collect()
    }
}

fn number<T: FromStr + PartialOrd + std::fmt::Display>(text: &str, min: T, max: T) -> Result<T, String> {
    match text.parse() {
        Ok(n) if n >= min && n <= max => Ok(n),
        _ => Err(format!("'{text}' is not a whole number from {min} to {max}")),
    }
}

fn size(text: &str, min: u64, max: u64) -> Result<usize, String> {
    let bytes = parse_size(text)?;
    if bytes < min || bytes > max {
        return Err(format!("'{text}' is {bytes} bytes, must be {min} to {max}"));
    }
    usize::try_from(bytes).map_err(|_| format!("'{text}' is more than this machine can address"))
}

/// A size that may be 0.
fn size_or_none(text: &str) -> Result<u64, String> {
    if text == "0" { Ok(0) } else { parse_size(text) }
}

fn policy(text: &str) -> Result<Policy, String> {
    let names = || Policy::ALL.map(Policy::name).join(", ");
    Policy::by_name(text).ok_or_else(|| format!("'{text}' is not a policy; write one of {}", names()))
}

fn seconds(text: &str) -> Result<Duration, String> {
    number(text, 0, MAX_TIMEOUT_SECS).map(Duration::from_secs).map_err(|why| format!("{why} (seconds)"))
}

fn milliseconds(text: &str) -> Result<Duration, String> {
    number(text, 0, MAX_TIMEOUT_SECS * 1000).map(Duration::from_millis).map_err(|why| format!("{why} (milliseconds)"))
}

fn flag(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Ok(true),
        "false" | "no" | "off" | "0" => Ok(false),
        _ => Err(format!("'{text}' is neither true nor false")),
    }
}

fn listener(text: &str) -> Result<Option<SocketAddr>, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric.parse().map(Some).map_err(|_| {
        format!(
            "'{text}' is not an address; write IP:PORT such as 127.0.0.1:8080, 0.0.0.0:8080 or [::1]:8080, or 'off'"
        )
    })
}

fn unix_path(text: &str) -> Result<Option<PathBuf>, String> {
    if text.eq_ignore_ascii_case("off") {
        return Ok(None);
    }
    if text.is_empty() || text.len() > MAX_UNIX_PATH_BYTES || text.contains('\0') {
        return Err(format!("'{text}' is not a socket's path; write 1 to {MAX_UNIX_PATH_BYTES} bytes, or 'off'"));
    }
    Ok(Some(text.into()))
}

fn segment_name(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if text.is_empty() || text.len() > MAX_SEGMENT_NAME_BYTES || text.starts_with('.') || !text.bytes().all(allowed) {
        return Err(format!(
            "'{text}' is not a segment's name; write 1 to {MAX_SEGMENT_NAME_BYTES} of A-Z a-z 0-9 _ . - with no dot in front"
        ));
    }
    Ok(text.to_owned())
}

fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(bits) if bits <= 0o777 && bits & 0o600 == 0o600 && bits & 0o111 == 0 => Ok(bits),
        _ => Err(format!("'{text}' is not a mode for a segment; write octal such as 0600, 0640 or 0660")),
    }
}

fn password(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > MAX_PASSWORD_BYTES || text.chars().any(char::is_control) {
        return Err(format!(
            "a password has 1 to {MAX_PASSWORD_BYTES} bytes and no control characters; leave the option away for none"
        ));
    }
    Ok(text.to_owned())
}

fn host(text: &str) -> Result<String, String> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if text.is_empty() || text.len() > 253 || !text.bytes().all(allowed) {
        return Err(format!("'{text}' is not a host name; write it without scheme and port, such as store.example"));
    }
    Ok(text.to_ascii_lowercase())
}

fn origin(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).unwrap_or_default();
    if rest.is_empty() || rest.len() > 300 || !rest.bytes().all(|b| b.is_ascii_graphic() && !b"/?#@*".contains(&b)) {
        return Err(format!(
            "'{text}' is not an origin; write scheme, host and port only, such as https://app.example:8443"
        ));
    }
    Ok(text.to_ascii_lowercase())
}

fn log_level(text: &str) -> Result<String, String> {
    let level = text.to_ascii_lowercase();
    if !["off", "error", "warn", "info", "debug", "trace"].contains(&level.as_str()) {
        return Err(format!("'{text}' is not a log level; write off, error, warn, info, debug or trace"));
    }
    Ok(level)
}

fn log_format(text: &str) -> Result<bool, String> {
    match text {
        "json" => Ok(true),
        "text" => Ok(false),
        _ => Err(format!("'{text}' is not a log format; write text or json")),
    }
}

#[cfg(test)]
mod tests;
