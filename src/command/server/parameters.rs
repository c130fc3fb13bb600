//! The parameters of CONFIG: their names, what they are at first, and which values they take.
//!
//! Most are known because clients, consoles and test suites of Redis ask for them or set them. Such a parameter is
//! checked and remembered, and has no effect; `docs/redis-compatibility.md` lists those. What a parameter that has an
//! effect does is not said here, but in [`crate::command::settings`].

use crate::command::EventClasses;

/// Which values a parameter takes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    /// It is given at the start, or is a fact.
    Fixed,
    /// `yes` or `no`.
    Flag,
    /// An integer between two bounds.
    Number(i64, i64),
    /// Bytes, with a unit if one likes, at least so many.
    Memory(u64),
    /// Bytes, or a percentage of the whole.
    Share,
    /// One of these.
    Choice(&'static [&'static str]),
    /// Any text.
    Text,
    /// Percentages, with blanks between them.
    Percentiles,
    /// Pairs of seconds and changes, with blanks between them.
    Save,
    /// A class of clients, two sizes, and seconds; several times.
    OutputLimits,
    /// Nothing but `no`: what it would switch on does not exist.
    Off(&'static str),
    /// Letters for classes of key events.
    Events,
    /// The port that is listened on.
    Port,
}

/// One parameter.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) name: &'static str,
    /// Its other name, or nothing.
    pub(crate) alias: &'static str,
    /// What it is unless it is given at the start.
    pub(crate) default: &'static str,
    pub(crate) kind: Kind,
    /// Not shown for a pattern, only by its name.
    pub(crate) hidden: bool,
}

const MAX_INT: i64 = i32::MAX as i64;

const fn new(name: &'static str, default: &'static str, kind: Kind) -> Parameter {
    Parameter { name, alias: "", default, kind, hidden: false }
}

const fn fixed(name: &'static str, default: &'static str) -> Parameter {
    new(name, default, Kind::Fixed)
}

const fn flag(name: &'static str, default: &'static str) -> Parameter {
    new(name, default, Kind::Flag)
}

const fn number(name: &'static str, default: &'static str, least: i64, most: i64) -> Parameter {
    new(name, default, Kind::Number(least, most))
}

const fn memory(name: &'static str, default: &'static str) -> Parameter {
    new(name, default, Kind::Memory(0))
}

impl Parameter {
    const fn alias(mut self, alias: &'static str) -> Self {
        self.alias = alias;
        self
    }

    const fn hidden(mut self) -> Self {
        self.hidden = true;
        self
    }

    /// Whether it goes by this name, in any case.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name) || (!self.alias.is_empty() && self.alias.eq_ignore_ascii_case(name))
    }
}

/// The policies of eviction.
const POLICIES: &[&str] = &[
    "volatile-lru",
    "volatile-lfu",
    "volatile-random",
    "volatile-ttl",
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-random",
    "noeviction",
];

const NOTHING_ON_DISK: &str = "nothing is written to disk";
const NO_DEFRAGMENTATION: &str = "there is nothing to defragment";

/// Every parameter, by name.
pub(crate) static PARAMETERS: &[Parameter] = &[
    new("acl-pubsub-default", "resetchannels", Kind::Choice(&["resetchannels", "allchannels"])),
    fixed("aclfile", ""),
    number("acllog-max-len", "128", 0, MAX_INT),
    number("active-expire-effort", "1", 1, 10),
    new("activedefrag", "no", Kind::Off(NO_DEFRAGMENTATION)),
    flag("activerehashing", "yes"),
    flag("aof-use-rdb-preamble", "yes"),
    new("appendfsync", "everysec", Kind::Choice(&["everysec", "always", "no"])),
    fixed("appendfilename", "appendonly.aof"),
    new("appendonly", "no", Kind::Off(NOTHING_ON_DISK)),
    number("auto-aof-rewrite-percentage", "100", 0, MAX_INT),
    fixed("bind", ""),
    number("busy-reply-threshold", "5000", 0, i64::MAX).alias("lua-time-limit"),
    new(
        "client-output-buffer-limit",
        "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60",
        Kind::OutputLimits,
    ),
    fixed("client-output-limit", ""),
    new("client-query-buffer-limit", "1073741824", Kind::Memory(1 << 20)),
    fixed("cluster-enabled", "no"),
    fixed("counters", ""),
    fixed("daemonize", "no"),
    fixed("databases", "16"),
    fixed("dbfilename", "dump.rdb"),
    fixed("dir", "/"),
    fixed("drain-timeout", ""),
    flag("dynamic-hz", "yes"),
    flag("extended-redis-compatibility", "no"),
    number("hash-max-listpack-entries", "512", 0, i64::MAX).alias("hash-max-ziplist-entries"),
    memory("hash-max-listpack-value", "64").alias("hash-max-ziplist-value"),
    memory("hll-sparse-max-bytes", "3000"),
    number("hz", "10", 0, MAX_INT),
    fixed("io-threads", "1"),
    number("key-load-delay", "0", i32::MIN as i64, MAX_INT).hidden(),
    number("latency-monitor-threshold", "0", 0, i64::MAX),
    flag("latency-tracking", "yes"),
    new("latency-tracking-info-percentiles", "50 99 99.9", Kind::Percentiles),
    flag("lazyfree-lazy-eviction", "no"),
    flag("lazyfree-lazy-expire", "no"),
    flag("lazyfree-lazy-server-del", "no"),
    flag("lazyfree-lazy-user-del", "no"),
    flag("lazyfree-lazy-user-flush", "no"),
    number("lfu-decay-time", "1", 0, MAX_INT),
    number("lfu-log-factor", "10", 0, MAX_INT),
    number("list-compress-depth", "0", 0, MAX_INT),
    number("list-max-listpack-size", "-2", i32::MIN as i64, MAX_INT).alias("list-max-ziplist-size"),
    number("lock-wait", "5000", 0, MAX_INT),
    fixed("logfile", ""),
    fixed("loglevel", ""),
    fixed("max-keys", ""),
    number("maxclients", "10000", 1, u32::MAX as i64),
    memory("maxmemory", "0"),
    new("maxmemory-clients", "0", Kind::Share),
    number("maxmemory-eviction-tenacity", "10", 0, 100),
    new("maxmemory-policy", "noeviction", Kind::Choice(POLICIES)),
    number("maxmemory-samples", "5", 1, MAX_INT),
    number("min-replicas-max-lag", "10", 0, MAX_INT).alias("min-slaves-max-lag"),
    number("min-replicas-to-write", "0", 0, 0).alias("min-slaves-to-write"),
    new("notify-keyspace-events", "", Kind::Events),
    fixed("pidfile", ""),
    new("port", "", Kind::Port),
    fixed("proto-max-bulk-len", ""),
    flag("protected-mode", "no"),
    flag("rdbcompression", "yes"),
    memory("repl-backlog-size", "1048576"),
    number("repl-backlog-ttl", "3600", 0, i64::MAX),
    number("repl-diskless-sync-delay", "5", 0, MAX_INT),
    number("repl-ping-replica-period", "10", 1, MAX_INT).alias("repl-ping-slave-period"),
    number("repl-timeout", "60", 1, MAX_INT),
    number("replica-priority", "100", 0, MAX_INT).alias("slave-priority"),
    flag("replica-read-only", "yes").alias("slave-read-only"),
    flag("replica-serve-stale-data", "yes").alias("slave-serve-stale-data"),
    fixed("replicaof", "").alias("slaveof"),
    new("requirepass", "", Kind::Text),
    new("save", "", Kind::Save),
    fixed("segment", ""),
    number("set-max-intset-entries", "512", 0, i64::MAX),
    number("set-max-listpack-entries", "128", 0, i64::MAX),
    memory("set-max-listpack-value", "64"),
    number("shutdown-timeout", "10", 0, MAX_INT),
    number("slowlog-log-slower-than", "10000", -1, i64::MAX),
    number("slowlog-max-len", "128", 0, i64::MAX),
    flag("stop-writes-on-bgsave-error", "yes"),
    memory("stream-node-max-bytes", "4096"),
    number("stream-node-max-entries", "100", 0, i64::MAX),
    number("tcp-backlog", "511", 0, MAX_INT),
    number("tcp-keepalive", "300", 0, MAX_INT),
    number("timeout", "0", 0, MAX_INT),
    number("tracking-table-max-keys", "1000000", 0, i64::MAX),
    fixed("unixsocket", ""),
    fixed("workers", ""),
    number("zset-max-listpack-entries", "128", 0, i64::MAX).alias("zset-max-ziplist-entries"),
    memory("zset-max-listpack-value", "64").alias("zset-max-ziplist-value"),
];

/// The parameter that goes by this name, in any case.
pub(crate) fn find(name: &str) -> Option<&'static Parameter> {
    PARAMETERS.iter().find(|parameter| parameter.is_called(name))
}

impl Kind {
    /// The value as it is shown from now on, or why it cannot be that.
    pub(crate) fn check(self, value: &str) -> Result<String, String> {
        match self {
            Self::Fixed | Self::Port | Self::Text => Ok(value.to_owned()),
            Self::Flag => one_of(value, &["yes", "no"], || "argument must be 'yes' or 'no'".to_owned()),
            Self::Off(why) => match one_of(value, &["yes", "no"], || "argument must be 'yes' or 'no'".to_owned())? {
                on if on == "yes" => Err(why.to_owned()),
                off => Ok(off),
            },
            Self::Choice(names) => {
                let why = || format!("argument(s) must be one of the following: {}", names.join(", "));
                one_of(value, names, why)
            }
            Self::Number(least, most) => number_of(value, least, most),
            Self::Memory(least) => {
                let bytes = bytes_of(value).ok_or("argument must be a memory value")?;
                if bytes < least {
                    return Err(format!("argument must be between {least} and {} inclusive", i64::MAX));
                }
                Ok(bytes.to_string())
            }
            Self::Share => share_of(value),
            Self::Events => match EventClasses::parse(value) {
                Some(classes) => Ok(classes.text()),
                None => Err("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.".to_owned()),
            },
            Self::Percentiles => percentiles_of(value),
            Self::Save => save_of(value),
            Self::OutputLimits => output_limits_of(value),
        }
    }
}

fn one_of(value: &str, names: &[&str], why: impl Fn() -> String) -> Result<String, String> {
    names.iter().find(|name| name.eq_ignore_ascii_case(value)).map(|&name| name.to_owned()).ok_or_else(why)
}

fn number_of(value: &str, least: i64, most: i64) -> Result<String, String> {
    let number =
        crate::command::parse_int(value.as_bytes()).ok_or("argument couldn't be parsed into an integer".to_owned())?;
    if (least..=most).contains(&number) {
        return Ok(number.to_string());
    }
    Err(format!("argument must be between {least} and {most} inclusive"))
}

/// A size with its unit: `64mb` is 64 times 1024 times 1024, `64m` 64 times 1000 times 1000.
fn bytes_of(value: &str) -> Option<u64> {
    const UNITS: [(&str, u64); 8] = [
        ("", 1),
        ("b", 1),
        ("k", 1000),
        ("kb", 1 << 10),
        ("m", 1_000_000),
        ("mb", 1 << 20),
        ("g", 1_000_000_000),
        ("gb", 1 << 30),
    ];
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    let (number, unit) = value.split_at(digits);
    let factor = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?.1;
    number.parse::<u64>().ok()?.checked_mul(factor).filter(|&bytes| i64::try_from(bytes).is_ok())
}

fn share_of(value: &str) -> Result<String, String> {
    let Some(percent) = value.strip_suffix('%') else {
        let bytes = bytes_of(value).ok_or("argument must be a memory or percent value")?;
        return Ok(bytes.to_string());
    };
    match percent.parse::<u64>() {
        Ok(0..=100) => Ok(value.to_owned()),
        Ok(_) => Err("percentage argument must be less or equal to 100".to_owned()),
        Err(_) => Err("argument must be a memory or percent value".to_owned()),
    }
}

fn percentiles_of(value: &str) -> Result<String, String> {
    let is_percentage = |word: &str| word.parse::<f64>().is_ok_and(|percent| (0.0..=100.0).contains(&percent));
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    if words.iter().all(|word| is_percentage(word)) {
        return Ok(words.join(" "));
    }
    Err("latency-tracking-info-percentiles should contain percentiles between 0 and 100".to_owned())
}

fn save_of(value: &str) -> Result<String, String> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    let is_point = |pair: &[&str]| {
        let (seconds, changes) = (pair[0].parse::<i64>(), pair.get(1).map(|word| word.parse::<i64>()));
        matches!((seconds, changes), (Ok(1..), Some(Ok(0..))))
    };
    if words.chunks(2).all(is_point) { Ok(words.join(" ")) } else { Err("Invalid save parameters".to_owned()) }
}

fn output_limits_of(value: &str) -> Result<String, String> {
    let words: Vec<&str> = value.split_ascii_whitespace().collect();
    if words.is_empty() || !words.len().is_multiple_of(4) {
        return Err("Wrong number of arguments in buffer limit configuration.".to_owned());
    }
    let mut shown = Vec::new();
    for limit in words.chunks(4) {
        if !["normal", "slave", "replica", "pubsub"].iter().any(|class| class.eq_ignore_ascii_case(limit[0])) {
            return Err("Invalid client class specified in buffer limit configuration.".to_owned());
        }
        let (Some(hard), Some(soft), Ok(seconds)) = (bytes_of(limit[1]), bytes_of(limit[2]), limit[3].parse::<u32>())
        else {
            return Err("Error in hard, soft or soft_seconds setting in buffer limit configuration.".to_owned());
        };
        shown.push(format!("{} {hard} {soft} {seconds}", limit[0].to_ascii_lowercase()));
    }
    Ok(shown.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_parameter_takes_what_it_is_at_first() {
        for (at, parameter) in PARAMETERS.iter().enumerate() {
            assert!(std::ptr::eq(find(parameter.name).unwrap(), parameter), "{}", parameter.name);
            assert!(PARAMETERS[..at].iter().all(|other| !other.is_called(parameter.name)), "{}", parameter.name);
            if !parameter.default.is_empty() {
                assert_eq!(
                    parameter.kind.check(parameter.default).as_deref(),
                    Ok(parameter.default),
                    "{}",
                    parameter.name
                );
            }
        }
        assert_eq!(find("Hash-Max-Ziplist-Value").unwrap().name, "hash-max-listpack-value");
        assert!(find("").is_none() && find("nothing").is_none());
    }

    #[test]
    fn values_are_checked_and_shown_in_one_form() {
        let check = |name: &str, value: &str| find(name).unwrap().kind.check(value);
        assert_eq!(check("maxmemory", "64MB").unwrap(), "67108864");
        assert_eq!(check("maxmemory", "64m").unwrap(), "64000000");
        assert_eq!(check("maxmemory", "x").unwrap_err(), "argument must be a memory value");
        assert_eq!(check("maxmemory", "99999999999gb").unwrap_err(), "argument must be a memory value");
        assert_eq!(check("activerehashing", "NO").unwrap(), "no");
        assert_eq!(check("appendonly", "yes").unwrap_err(), "nothing is written to disk");
        assert_eq!(check("maxmemory-clients", "200%").unwrap_err(), "percentage argument must be less or equal to 100");
        assert_eq!(check("maxmemory-clients", "5%").unwrap(), "5%");
        assert_eq!(check("save", " 3000  5 ").unwrap(), "3000 5");
        assert_eq!(check("save", "").unwrap(), "");
        for wrong in ["1", "0 1", "a b", "1 -1"] {
            assert_eq!(check("save", wrong).unwrap_err(), "Invalid save parameters", "{wrong}");
        }
        assert!(check("latency-tracking-info-percentiles", "101").is_err());
        assert_eq!(check("client-output-buffer-limit", "Normal 1kb 0 3").unwrap(), "normal 1024 0 3");
        for wrong in ["", "normal 1 2", "else 1 2 3", "normal x 2 3"] {
            assert!(check("client-output-buffer-limit", wrong).is_err(), "{wrong}");
        }
        assert_eq!(check("timeout", "-1").unwrap_err(), "argument must be between 0 and 2147483647 inclusive");
    }
}
