//! The settings that CONFIG shows, and those that CONFIG SET changes while the server runs.
//!
//! A changed setting is a row of a hidden table, so it holds for every worker and for those that are started later. Each
//! worker keeps a copy that its tick refreshes. A row bears the process id of the master under which it was written:
//! on a segment that outlives its master, the next start begins with its own command line again.

use std::{
    cell::{Cell as Slot, RefCell},
    collections::BTreeMap,
    fmt::Write as _,
    time::Duration,
};

use crate::command::{
    EventClasses, Pause, glob,
    parameters::{self, Kind, PARAMETERS, Parameter},
};
use crate::{
    config::Config,
    store::{Cell, Column, Condition, Expiry, MemoryLimit, Policy, Result, Store, Table, TableSpec, Value, ValueRef},
};

/// Rows of the table of settings.
const ROWS: u64 = 128;
/// Bytes of a setting's value.
const VALUE_BYTES: u16 = 1024;
/// Keys that a worker keeps for clients that cache them, unless it is told otherwise.
const TRACKING_MAX_KEYS: usize = 1_000_000;
/// Entries of ACL LOG, unless it is told otherwise.
const ACL_LOG_MAX_LEN: usize = 128;
/// The row that identifies a run of the server.
const RUN_ID: &[u8] = b"run-id";
/// The row of CLIENT PAUSE.
const PAUSE: &[u8] = b"pause";

const VALUE: usize = 0;
const MASTER: usize = 1;

/// What the measuring of commands goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Microseconds from which on a command is logged as slow; negative: none is.
    pub slow_micros: i64,
    /// Entries of the log of slow commands.
    pub slow_len: u64,
    /// Milliseconds from which on the moment of a command is kept; 0: none is.
    pub latency_ms: u64,
    /// Whether the times of all commands are sorted into buckets.
    pub tracks_latency: bool,
}

impl Default for Limits {
    fn default() -> Self {
        Self { slow_micros: 10_000, slow_len: 128, latency_ms: 0, tracks_latency: true }
    }
}

/// The settings in force.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Current {
    /// What was changed, as it is shown.
    changed: BTreeMap<&'static str, String>,
    requirepass: Option<String>,
    idle_timeout: Option<Duration>,
    max_clients: usize,
    lock_wait: Duration,
    limits: Limits,
    event_classes: EventClasses,
    tracking_max_keys: usize,
    limit: MemoryLimit,
    acl_log_max_len: usize,
    new_users_hear_all: bool,
}

impl Current {
    fn started_with(config: &Config) -> Self {
        Self {
            changed: BTreeMap::new(),
            requirepass: config.requirepass.clone(),
            idle_timeout: config.idle_timeout,
            max_clients: config.max_clients,
            lock_wait: config.lock_wait,
            limits: Limits::default(),
            event_classes: EventClasses::default(),
            tracking_max_keys: TRACKING_MAX_KEYS,
            limit: MemoryLimit { bytes: config.max_memory, policy: config.policy, ..MemoryLimit::default() },
            acl_log_max_len: ACL_LOG_MAX_LEN,
            new_users_hear_all: false,
        }
    }

    /// Changes one setting.
    ///
    /// # Errors
    ///
    /// Why it cannot be changed so.
    fn apply(&mut self, name: &str, value: &str, config: &Config) -> Result<(), Unsettable> {
        let parameter = parameters::find(name).ok_or(Unsettable::Immutable)?;
        if value.len() > usize::from(VALUE_BYTES) {
            return Err(Unsettable::Value(format!("argument must be at most {VALUE_BYTES} bytes long")));
        }
        let value = parameter.kind.check(value).map_err(Unsettable::Value)?;
        match parameter.kind {
            Kind::Fixed | Kind::Port if value == self.shown(parameter, config) => return Ok(()),
            Kind::Fixed => return Err(Unsettable::Immutable),
            Kind::Port => {
                return Err(Unsettable::Value("Unable to listen on this port; it is bound at the start".into()));
            }
            _ => self.put_into_effect(parameter.name, &value),
        }
        self.changed.insert(parameter.name, value);
        Ok(())
    }

    /// Draws the consequences of a value that was found good.
    fn put_into_effect(&mut self, name: &str, value: &str) {
        let number = || value.parse::<u64>().unwrap_or_default();
        match name {
            "requirepass" => self.requirepass = (!value.is_empty()).then(|| value.to_owned()),
            "timeout" => self.idle_timeout = (number() > 0).then(|| Duration::from_secs(number())),
            "maxclients" => self.max_clients = number() as usize,
            "lock-wait" => self.lock_wait = Duration::from_millis(number()),
            "slowlog-log-slower-than" => self.limits.slow_micros = value.parse().unwrap_or_default(),
            "slowlog-max-len" => self.limits.slow_len = number(),
            "latency-monitor-threshold" => self.limits.latency_ms = number(),
            "latency-tracking" => self.limits.tracks_latency = value == "yes",
            "notify-keyspace-events" => self.event_classes = EventClasses::parse(value).unwrap_or_default(),
            "acl-pubsub-default" => self.new_users_hear_all = value == "allchannels",
            "acllog-max-len" => self.acl_log_max_len = number() as usize,
            "tracking-table-max-keys" => self.tracking_max_keys = number() as usize,
            "maxmemory" => self.limit.bytes = number(),
            "maxmemory-policy" => self.limit.policy = Policy::by_name(value).unwrap_or_default(),
            "lfu-log-factor" => self.limit.lfu_log_factor = number() as u32,
            "lfu-decay-time" => self.limit.lfu_decay_minutes = number() as u32,
            _ => {}
        }
    }

    /// The value of a setting.
    fn shown(&self, parameter: &Parameter, config: &Config) -> String {
        let changed = self.changed.get(parameter.name).cloned();
        changed.or_else(|| started(parameter.name, config)).unwrap_or_else(|| parameter.default.to_owned())
    }
}

/// What a setting was at the start, if that was chosen there.
fn started(name: &str, config: &Config) -> Option<String> {
    Some(match name {
        "bind" => config.resp.map(|addr| addr.ip().to_string()).unwrap_or_default(),
        "client-output-limit" => config.output_limit.to_string(),
        "counters" => config.counters.to_string(),
        "databases" => crate::store::limits::DATABASES.to_string(),
        "drain-timeout" => config.drain_timeout.as_secs().to_string(),
        "lock-wait" => config.lock_wait.as_millis().to_string(),
        "loglevel" => config.log_level.clone(),
        "max-keys" => config.max_keys.to_string(),
        "maxclients" => config.max_clients.to_string(),
        "maxmemory" => config.max_memory.to_string(),
        "maxmemory-policy" => config.policy.name().to_owned(),
        "port" => config.resp.map_or(0, |addr| addr.port()).to_string(),
        "proto-max-bulk-len" => config.max_value.to_string(),
        "requirepass" => config.requirepass.clone().unwrap_or_default(),
        "segment" => config.segment.clone().unwrap_or_default(),
        "timeout" => config.idle_timeout.unwrap_or_default().as_secs().to_string(),
        "unixsocket" => config.resp_unix.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        "workers" => config.workers.to_string(),
        _ => return None,
    })
}

/// Why a setting cannot be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Unsettable {
    /// It is given at the start.
    Immutable,
    /// Not to this value.
    Value(String),
}

/// The settings, as one worker holds them.
pub struct Settings {
    store: Store,
    table: Table,
    config: Config,
    current: RefCell<Current>,
    /// The shared version of the settings when they were last looked at.
    version: Slot<u64>,
    pause: Slot<Pause>,
    limits: Slot<Limits>,
    master: i64,
}

impl Settings {
    /// Opens the table of settings and reads it.
    ///
    /// # Errors
    ///
    /// [`crate::Error::OutOfMemory`], [`crate::Error::Busy`].
    pub fn open(store: &Store, config: &Config) -> Result<Self> {
        let settings = Self {
            store: store.clone(),
            table: Self::table(store)?,
            config: config.clone(),
            current: RefCell::new(Current::started_with(config)),
            version: Slot::new(0),
            pause: Slot::default(),
            limits: Slot::default(),
            master: i64::from(std::os::unix::process::parent_id()),
        };
        settings.refresh()?;
        Ok(settings)
    }

    /// Makes the table of changed settings, or finds it.
    pub(in crate::command) fn table(store: &Store) -> Result<Table> {
        let columns = vec![Column::string("value", VALUE_BYTES), Column::int("master")];
        store.hidden("~config", TableSpec { rows: ROWS, key_bytes: 64, columns })
    }

    /// Takes over what another worker has just changed, before the next requests are executed. One load if nothing was.
    pub fn follow(&self) {
        if self.store.interest().settings_version() != self.version.get() {
            // What a stopped process holds is looked at again with the next tick.
            let _ = self.refresh();
        }
    }

    /// Takes over what other workers changed; called by the worker's tick.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Busy`]; what was known before stays in force.
    pub fn refresh(&self) -> Result<()> {
        let version = self.store.interest().settings_version();
        let page = self.table.scan(0, ROWS as usize)?;
        let (mut current, mut pause) = (Current::started_with(&self.config), Pause::default());
        for (name, row) in &page.rows {
            let (ValueRef::Bytes(value), ValueRef::Int(master)) = (row.get(VALUE), row.get(MASTER)) else { continue };
            let (name, value) = (String::from_utf8_lossy(name), String::from_utf8_lossy(value));
            match name.as_bytes() {
                _ if master != self.master => {}
                RUN_ID => {}
                PAUSE => pause = Pause::of_text(&value),
                // Only values that were accepted are ever written.
                _ => drop(current.apply(&name, &value, &self.config)),
            }
        }
        self.put_in_force(current);
        self.version.set(version);
        self.pause.set(pause);
        Ok(())
    }

    /// The shared words say it too, to everybody at once. It is the rows that count: a difference, left by one who died in
    /// between, goes with the next look at them.
    fn put_in_force(&self, current: Current) {
        if self.store.interest().event_classes() != current.event_classes.bits() {
            self.store.interest().set_event_classes(current.event_classes.bits());
        }
        self.limits.set(current.limits);
        self.store.set_memory_limit(current.limit);
        self.current.replace(current);
    }

    /// The password of the user `default`, unless it was given others.
    #[must_use]
    pub fn requirepass(&self) -> Option<String> {
        self.current.borrow().requirepass.clone()
    }

    /// Whether users that are made may use all channels, `acl-pubsub-default`.
    pub(crate) fn new_users_hear_all(&self) -> bool {
        self.current.borrow().new_users_hear_all
    }

    /// How many entries ACL LOG keeps.
    #[must_use]
    pub fn acl_log_max_len(&self) -> usize {
        self.current.borrow().acl_log_max_len
    }

    /// Silence after which a connection is closed.
    #[must_use]
    pub fn idle_timeout(&self) -> Option<Duration> {
        self.current.borrow().idle_timeout
    }

    /// How many clients may be connected.
    #[must_use]
    pub fn max_clients(&self) -> usize {
        self.current.borrow().max_clients
    }

    /// How long a request waits for what a stopped process holds.
    #[must_use]
    pub fn lock_wait(&self) -> Duration {
        self.current.borrow().lock_wait
    }

    /// What the measuring of commands goes by.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits.get()
    }

    /// Percentiles that INFO shows of the times of commands.
    pub(crate) fn percentiles(&self) -> Vec<f64> {
        let shown = parameters::find("latency-tracking-info-percentiles")
            .map(|parameter| self.current.borrow().shown(parameter, &self.config));
        shown.unwrap_or_default().split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect()
    }

    /// How much memory may be in use, and what goes when it is more.
    #[must_use]
    pub fn limit(&self) -> MemoryLimit {
        self.current.borrow().limit
    }

    /// The last pause of all clients, which may be over.
    #[must_use]
    pub fn pause(&self) -> Pause {
        self.pause.get()
    }

    /// Changes the pause for all workers.
    pub(crate) fn change_pause(&self, change: impl FnOnce(Pause) -> Pause) -> Result<()> {
        self.refresh()?;
        let pause = change(self.pause.get());
        let text = pause.text();
        let cells = [(VALUE, ValueRef::Bytes(text.as_bytes())), (MASTER, ValueRef::Int(self.master))];
        self.table.write(PAUSE, &cells, Expiry::Keep, Condition::Always)?;
        self.pause.set(pause);
        self.store.interest().note_settings();
        Ok(())
    }

    /// How many keys a worker keeps for clients that cache them; 0: no limit.
    #[must_use]
    pub fn tracking_max_keys(&self) -> usize {
        self.current.borrow().tracking_max_keys
    }

    /// Changes several settings, or none if one of them cannot be changed so; that one's name and the reason are returned.
    pub(crate) fn set(&self, changes: &[(&'static str, String)]) -> Result<Result<(), (&'static str, Unsettable)>> {
        self.refresh()?;
        let mut wanted = self.current.borrow().clone();
        for (name, value) in changes {
            if let Err(why) = wanted.apply(name, value, &self.config) {
                return Ok(Err((name, why)));
            }
        }
        let rows: Vec<(&[u8], Vec<Cell<'_>>)> = changes
            .iter()
            .map(|(name, value)| {
                let cells = vec![(VALUE, ValueRef::Bytes(value.as_bytes())), (MASTER, ValueRef::Int(self.master))];
                (name.as_bytes(), cells)
            })
            .collect();
        self.table.mset(&rows)?;
        self.put_in_force(wanted);
        self.store.interest().note_settings();
        Ok(Ok(()))
    }

    /// Names and values of the settings whose name matches one of the patterns, by name.
    pub(crate) fn matching<'p>(&self, patterns: impl Iterator<Item = &'p [u8]> + Clone) -> Vec<(&'static str, String)> {
        let current = self.current.borrow();
        let is_asked = |name: &str, hidden: bool| {
            !name.is_empty()
                && patterns.clone().any(|pattern| {
                    let is_name = pattern.eq_ignore_ascii_case(name.as_bytes());
                    is_name || (!hidden && glob::matches_any_case(pattern, name.as_bytes()))
                })
        };
        let mut shown: Vec<_> = PARAMETERS
            .iter()
            .flat_map(|parameter| [(parameter, parameter.name), (parameter, parameter.alias)])
            .filter(|(parameter, name)| is_asked(name, parameter.hidden))
            .map(|(parameter, name)| (name, current.shown(parameter, &self.config)))
            .collect();
        shown.sort_unstable_by_key(|(name, _)| *name);
        shown
    }

    /// Forty hexadecimal digits that every worker of this master shows: the first that asks draws them.
    pub(crate) fn run_id(&self) -> Result<String> {
        let drawn = random_id();
        let mut cells = [(VALUE, ValueRef::Bytes(drawn.as_bytes())), (MASTER, ValueRef::Int(self.master))];
        self.table.write(RUN_ID, &cells, Expiry::Keep, Condition::IfAbsent)?;
        let Some(row) = self.table.get(RUN_ID)? else { return Ok(drawn) };
        if let Value::Int(master) = row.get(MASTER).to_value()
            && master != self.master
        {
            // An earlier master's: replaced by one of those who find it so.
            cells[1].1 = ValueRef::Int(self.master);
            self.table.cas(RUN_ID, &[(MASTER, ValueRef::Int(master))], &cells)?;
        }
        let row = self.table.get(RUN_ID)?;
        Ok(match row.as_ref().map(|row| row.get(VALUE)) {
            Some(ValueRef::Bytes(id)) => String::from_utf8_lossy(id).into_owned(),
            _ => drawn,
        })
    }
}

fn random_id() -> String {
    let mut bytes = [0; 20];
    // Without randomness the id says little, and nothing depends on it.
    let _ = getrandom::fill(&mut bytes);
    bytes.iter().fold(String::with_capacity(40), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    })
}
