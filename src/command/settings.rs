//! The settings that CONFIG shows, and those that CONFIG SET changes while the server runs.
//!
//! A changed setting is a row of a hidden table, so it holds for every worker and for those that are started later. Each
//! worker keeps a copy that its tick refreshes. A row bears the process id of the master under which it was written:
//! on a segment that outlives its master, the next start begins with its own command line again.

use std::{
    cell::{Cell as Slot, RefCell},
    fmt::Write as _,
    time::Duration,
};

use super::{EventClasses, glob, parse_int};
use crate::{
    config::Config,
    store::{Cell, Column, Condition, Expiry, Result, Store, Table, TableSpec, Value, ValueRef},
};

/// Rows of the table of settings.
const ROWS: u64 = 64;
/// Bytes of a setting's value.
const VALUE_BYTES: u16 = 1024;
/// The row that identifies a run of the server.
const RUN_ID: &[u8] = b"run-id";

const VALUE: usize = 0;
const MASTER: usize = 1;

/// The settings in force.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Current {
    requirepass: Option<String>,
    idle_timeout: Option<Duration>,
    max_clients: usize,
    lock_wait: Duration,
    event_classes: EventClasses,
}

impl Current {
    fn started_with(config: &Config) -> Self {
        Self {
            requirepass: config.requirepass.clone(),
            idle_timeout: config.idle_timeout,
            max_clients: config.max_clients,
            lock_wait: config.lock_wait,
            event_classes: EventClasses::default(),
        }
    }

    /// Changes one setting.
    ///
    /// # Errors
    ///
    /// Why it cannot be changed so.
    fn apply(&mut self, name: &str, value: &str) -> Result<(), Unsettable> {
        let number = |least: i64, most: i64| {
            let number = parse_int(value.as_bytes())
                .ok_or_else(|| Unsettable::Value("argument couldn't be parsed into an integer".to_owned()))?;
            let why = || Unsettable::Value(format!("argument must be between {least} and {most} inclusive"));
            if (least..=most).contains(&number) { Ok(number) } else { Err(why()) }
        };
        match name {
            "requirepass" if value.len() > usize::from(VALUE_BYTES) => {
                return Err(Unsettable::Value(format!("argument must be at most {VALUE_BYTES} bytes long")));
            }
            "requirepass" => self.requirepass = (!value.is_empty()).then(|| value.to_owned()),
            "timeout" => {
                let seconds = number(0, i64::from(i32::MAX))?;
                self.idle_timeout = (seconds > 0).then(|| Duration::from_secs(seconds.unsigned_abs()));
            }
            "maxclients" => self.max_clients = number(1, i64::from(u32::MAX))? as usize,
            "lock-wait" => self.lock_wait = Duration::from_millis(number(0, i64::from(i32::MAX))?.unsigned_abs()),
            "notify-keyspace-events" => {
                let unknown = "Invalid event class character. Use 'Ag$lshzxeKEtmdn'.";
                self.event_classes = EventClasses::parse(value).ok_or(Unsettable::Value(unknown.to_owned()))?;
            }
            // Nothing is ever saved, which is what these values say.
            "save" if value.is_empty() => {}
            "appendonly" if value.eq_ignore_ascii_case("no") => {}
            "save" | "appendonly" => return Err(Unsettable::Value("nothing is written to disk".to_owned())),
            _ => return Err(Unsettable::Immutable),
        }
        Ok(())
    }
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
            master: i64::from(std::os::unix::process::parent_id()),
        };
        settings.refresh()?;
        Ok(settings)
    }

    /// Makes the table of changed settings, or finds it.
    pub(super) fn table(store: &Store) -> Result<Table> {
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
        let mut current = Current::started_with(&self.config);
        for (name, row) in &page.rows {
            let (ValueRef::Bytes(value), ValueRef::Int(master)) = (row.get(VALUE), row.get(MASTER)) else { continue };
            if master == self.master && name != RUN_ID {
                // Only values that were accepted are ever written.
                let _ = current.apply(&String::from_utf8_lossy(name), &String::from_utf8_lossy(value));
            }
        }
        self.put_in_force(current);
        self.version.set(version);
        Ok(())
    }

    /// The shared words say it too, to everybody at once. It is the rows that count: a difference, left by one who died in
    /// between, goes with the next look at them.
    fn put_in_force(&self, current: Current) {
        if self.store.interest().event_classes() != current.event_classes.bits() {
            self.store.interest().set_event_classes(current.event_classes.bits());
        }
        self.current.replace(current);
    }

    /// The password that new connections must give.
    #[must_use]
    pub fn requirepass(&self) -> Option<String> {
        self.current.borrow().requirepass.clone()
    }

    /// Whether new connections must give a password.
    #[must_use]
    pub fn needs_auth(&self) -> bool {
        self.current.borrow().requirepass.is_some()
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

    /// Changes several settings, or none if one of them cannot be changed so; that one's name and the reason are returned.
    pub(crate) fn set(&self, changes: &[(String, String)]) -> Result<Result<(), (String, Unsettable)>> {
        self.refresh()?;
        let mut wanted = self.current.borrow().clone();
        for (name, value) in changes {
            if let Err(why) = wanted.apply(name, value) {
                return Ok(Err((name.clone(), why)));
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
        let mut shown = self.all();
        shown.retain(|(name, _)| patterns.clone().any(|pattern| glob::matches_any_case(pattern, name.as_bytes())));
        shown
    }

    /// Whether there is a setting of this name.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.all().iter().any(|(known, _)| *known == name)
    }

    fn all(&self) -> Vec<(&'static str, String)> {
        let (config, current) = (&self.config, self.current.borrow());
        let path = config.resp_unix.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
        let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs().to_string();
        vec![
            ("appendonly", "no".to_owned()),
            ("bind", config.resp.map(|addr| addr.ip().to_string()).unwrap_or_default()),
            ("client-output-limit", config.output_limit.to_string()),
            ("cluster-enabled", "no".to_owned()),
            ("counters", config.counters.to_string()),
            ("databases", crate::store::limits::DATABASES.to_string()),
            ("drain-timeout", config.drain_timeout.as_secs().to_string()),
            ("lock-wait", current.lock_wait.as_millis().to_string()),
            ("loglevel", config.log_level.clone()),
            ("max-keys", config.max_keys.to_string()),
            ("maxclients", current.max_clients.to_string()),
            ("maxmemory", config.memory.to_string()),
            ("maxmemory-policy", "noeviction".to_owned()),
            ("notify-keyspace-events", current.event_classes.text()),
            ("port", config.resp.map_or(0, |addr| addr.port()).to_string()),
            ("proto-max-bulk-len", config.max_value.to_string()),
            ("requirepass", current.requirepass.clone().unwrap_or_default()),
            ("save", String::new()),
            ("segment", config.segment.clone().unwrap_or_default()),
            ("timeout", seconds(current.idle_timeout)),
            ("unixsocket", path),
            ("workers", config.workers.to_string()),
        ]
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
