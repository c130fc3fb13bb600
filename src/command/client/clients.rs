//! The registry of clients: one row for each connection of each worker, in a hidden table, so that any worker can list them all.
//!
//! It is a courtesy to people who look, not a part of serving: a client whose row could not be written (the
//! table is full, a stopped process holds it) is served all the same and merely not listed. Rows are written when a
//! client connects, when something that others can see changes, and by the worker's tick, not with every command.

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
};

use crate::command::{Session, Traffic, session::Standing};
use crate::store::{Column, Condition, Expiry, Result, Row, Store, Table, TableSpec, ValueRef};

/// Bytes of the segment for each row of the registry.
const SEGMENT_BYTES_PER_ROW: u64 = 32 * 1024;
/// Rows of the smallest and of the largest registry.
const MIN_ROWS: u64 = 64;
const MAX_ROWS: u64 = 10_240;
/// Rows that one step of a listing reads.
const PAGE_ROWS: usize = 512;
/// Where a worker's own numbering starts that it uses while the shared one is out of reach.
const LOCAL_ID_SHIFT: u32 = 40;
/// The row that counts client numbers; the rows of clients have keys of eight bytes.
const COUNTER_KEY: &[u8] = b"next";

/// The columns, in the order of the schema: numbers, then texts.
mod column {
    pub(in crate::command) const ID: usize = 0;
    pub(in crate::command) const WORKER: usize = 1;
    pub(in crate::command) const CREATED: usize = 2;
    pub(in crate::command) const ACTIVE: usize = 3;
    pub(in crate::command) const DB: usize = 4;
    pub(in crate::command) const PROTO: usize = 5;
    pub(in crate::command) const CAN_REDIRECT: usize = 6;
    pub(in crate::command) const COMMANDS: usize = 7;
    pub(in crate::command) const INPUT: usize = 8;
    pub(in crate::command) const OUTPUT: usize = 9;
    pub(in crate::command) const WAITING: usize = 10;
    pub(in crate::command) const PENDING: usize = 11;
    pub(in crate::command) const CHANNELS: usize = 12;
    pub(in crate::command) const PATTERNS: usize = 13;
    pub(in crate::command) const SHARD_CHANNELS: usize = 14;
    pub(in crate::command) const QUEUED: usize = 15;
    pub(in crate::command) const WATCHED: usize = 16;
    pub(in crate::command) const REDIRECT: usize = 17;
    pub(in crate::command) const ADDR: usize = 18;
    pub(in crate::command) const LADDR: usize = 19;
    pub(in crate::command) const NAME: usize = 20;
    pub(in crate::command) const LIB_NAME: usize = 21;
    pub(in crate::command) const LIB_VERSION: usize = 22;
    pub(in crate::command) const COMMAND: usize = 23;
    pub(in crate::command) const FLAGS: usize = 24;
    pub(in crate::command) const USER: usize = 25;
    /// Not 0: somebody has ended the client, which is not listed any more. Not written with the others.
    pub(in crate::command) const KILLED: usize = 26;
}

fn spec(rows: u64) -> TableSpec {
    let ints = [
        "id",
        "worker",
        "created",
        "active",
        "db",
        "proto",
        "can-redirect",
        "commands",
        "input",
        "output",
        "waiting",
        "pending",
        "channels",
        "patterns",
        "shard-channels",
        "queued",
        "watched",
        "redirect",
    ];
    let texts = [
        ("addr", 110),
        ("laddr", 110),
        ("name", 128),
        ("lib-name", 48),
        ("lib-ver", 32),
        ("cmd", 32),
        ("flags", 16),
        ("user", 64),
    ];
    let ints = ints.iter().map(|name| Column::int(name));
    let texts = texts.iter().map(|&(name, size)| Column::string(name, size));
    TableSpec { rows, key_bytes: 8, columns: ints.chain(texts).chain([Column::int("killed")]).collect() }
}

/// The registry, as one worker holds it.
pub struct Clients {
    table: Table,
    worker: usize,
    /// Clients numbered by this worker alone.
    local_ids: Cell<u64>,
    /// Clients that are gone, but whose row could not be removed yet.
    gone: RefCell<VecDeque<u64>>,
    /// Somebody may have been killed whom this worker has not heard of.
    unheard: Cell<bool>,
}

impl Clients {
    /// Opens the registry. Its size follows from that of the segment, so that every start on a segment finds the same.
    ///
    /// # Errors
    ///
    /// [`crate::Error::OutOfMemory`], [`crate::Error::Busy`].
    pub fn open(store: &Store, worker: usize) -> Result<Self> {
        let (local_ids, gone, unheard) = (Cell::new(0), RefCell::default(), Cell::new(false));
        Ok(Self { table: Self::table(store)?, worker, local_ids, gone, unheard })
    }

    /// Makes the registry's table, or finds it.
    pub(in crate::command) fn table(store: &Store) -> Result<Table> {
        let rows = (store.memory().0 / SEGMENT_BYTES_PER_ROW).clamp(MIN_ROWS, MAX_ROWS);
        store.hidden("~clients", spec(rows))
    }

    /// Removes the rows that an earlier process of this worker left behind.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Busy`].
    pub fn purge(&self) -> Result<()> {
        let mut left = Vec::new();
        self.each_row(|key, row| {
            if int(row, column::WORKER) == self.worker as i64 {
                left.push(key.to_vec());
            }
        })?;
        left.iter().try_for_each(|key| self.table.delete(key).map(drop))
    }

    /// A number for a new client, greater than those before it.
    #[must_use]
    pub fn next_id(&self) -> u64 {
        if let Ok(id) = self.table.incr(COUNTER_KEY, "id", 1) {
            return id.unsigned_abs();
        }
        self.local_ids.set(self.local_ids.get() + 1);
        (self.worker as u64 + 1) << LOCAL_ID_SHIFT | self.local_ids.get()
    }

    /// Enters a client that has just connected.
    pub fn register(&self, session: &mut Session, now_ms: u64) {
        session.touch(now_ms);
        self.update(session);
    }

    /// Writes down what is known about a client now.
    pub fn update(&self, session: &Session) {
        let info = ClientInfo::of_session(session, self.worker);
        let texts = [
            (column::ADDR, &info.addr),
            (column::LADDR, &info.laddr),
            (column::NAME, &info.name),
            (column::LIB_NAME, &info.lib_name),
            (column::LIB_VERSION, &info.lib_version),
            (column::COMMAND, &info.command),
            (column::FLAGS, &info.flags),
            (column::USER, &info.user),
        ];
        let numbers = info.numbers();
        let ints = numbers.iter().enumerate().map(|(index, &n)| (index, ValueRef::Int(n)));
        let texts = texts.iter().map(|&(index, text)| (index, ValueRef::Bytes(cut(text, self.text_size(index)))));
        let cells: Vec<_> = ints.chain(texts).collect();
        // Not listed is all that comes of a failure here.
        let _ = self.table.write(&session.id.to_be_bytes(), &cells, Expiry::Keep, Condition::Always);
    }

    /// Removes a client that is gone.
    pub fn remove(&self, id: u64) {
        if self.table.delete(id.to_be_bytes()).is_err() {
            self.gone.borrow_mut().push_back(id);
        }
    }

    /// Removes the rows that could not be removed before, up to the first that still cannot, which goes last. Called by the worker's tick.
    pub fn tick(&self) {
        let mut gone = self.gone.borrow_mut();
        while let Some(id) = gone.pop_front() {
            if self.table.delete(id.to_be_bytes()).is_err() {
                gone.push_back(id);
                return;
            }
        }
    }

    /// Marks a client as killed, so that it is listed no more and its worker finds it even if the message that names it is lost.
    pub(in crate::command) fn kill(&self, id: u64) {
        // If a stopped process holds the row, the message has to do.
        let _ = self.table.write(
            &id.to_be_bytes(),
            &[(column::KILLED, ValueRef::Int(1))],
            Expiry::Keep,
            Condition::IfPresent,
        );
    }

    /// Messages were lost, perhaps one that named clients of this worker which were killed.
    pub fn note_lost(&self) {
        self.unheard.set(true);
    }

    /// The clients of this worker that were killed, if it may not have heard so. One look at a flag mostly.
    pub fn take_unheard(&self) -> Vec<u64> {
        let mut killed = Vec::new();
        if self.unheard.get() {
            let read = self.each_row(|_, row| {
                if int(row, column::KILLED) != 0 && int(row, column::WORKER) == self.worker as i64 {
                    killed.push(int(row, column::ID).unsigned_abs());
                }
            });
            // What a stopped process holds is looked at again when this is next asked.
            self.unheard.set(read.is_err());
        }
        killed
    }

    /// Every client of every worker, by number.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Busy`].
    pub fn list(&self) -> Result<Vec<ClientInfo>> {
        let mut clients = Vec::new();
        self.each_row(|_, row| {
            if int(row, column::KILLED) == 0 {
                clients.push(ClientInfo::of_row(row));
            }
        })?;
        clients.sort_by_key(|client| client.id);
        clients.dedup_by_key(|client| client.id);
        Ok(clients)
    }

    /// The worker of a client; `None` if there is no such client.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Busy`].
    pub fn worker_of(&self, id: u64) -> Result<Option<usize>> {
        let row = self.table.get(id.to_be_bytes())?;
        let alive = row.filter(|row| int(row, column::KILLED) == 0);
        Ok(alive.and_then(|row| usize::try_from(int(&row, column::WORKER)).ok()))
    }

    /// This worker's index.
    pub(crate) fn worker(&self) -> usize {
        self.worker
    }

    fn each_row(&self, mut with: impl FnMut(&[u8], &Row)) -> Result<()> {
        let mut cursor = 0;
        loop {
            let page = self.table.scan(cursor, PAGE_ROWS)?;
            for (key, row) in page.rows.iter().filter(|(key, _)| key.len() == 8) {
                with(key, row);
            }
            cursor = page.cursor;
            if cursor == 0 {
                return Ok(());
            }
        }
    }

    fn text_size(&self, index: usize) -> usize {
        match self.table.schema().columns()[index].kind {
            crate::store::ColumnType::String(size) => usize::from(size),
            _ => 0,
        }
    }
}

/// The first `max` bytes of a text.
fn cut(text: &str, max: usize) -> &[u8] {
    &text.as_bytes()[..text.len().min(max)]
}

fn int(row: &Row, index: usize) -> i64 {
    match row.get(index) {
        ValueRef::Int(n) => n,
        _ => 0,
    }
}

fn text(row: &Row, index: usize) -> String {
    match row.get(index) {
        ValueRef::Bytes(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        _ => String::new(),
    }
}

/// What the registry knows about a client.
#[derive(Debug, Clone, Default)]
pub struct ClientInfo {
    /// Its number.
    pub id: u64,
    /// The worker that serves it.
    pub worker: usize,
    created_ms: u64,
    active_ms: u64,
    pub(in crate::command) db: u8,
    proto: i64,
    can_redirect: bool,
    commands: u64,
    traffic: Traffic,
    standing: Standing,
    pub(in crate::command) addr: String,
    pub(in crate::command) laddr: String,
    pub(in crate::command) name: String,
    pub(in crate::command) lib_name: String,
    pub(in crate::command) lib_version: String,
    command: String,
    /// Letters for what it is doing.
    pub(in crate::command) flags: String,
    pub(in crate::command) user: String,
}

impl ClientInfo {
    /// The values of the columns of numbers, in their order.
    fn numbers(&self) -> [i64; column::ADDR] {
        [
            self.id as i64,
            self.worker as i64,
            self.created_ms as i64,
            self.active_ms as i64,
            i64::from(self.db),
            self.proto,
            i64::from(self.can_redirect),
            self.commands as i64,
            self.traffic.input as i64,
            self.traffic.output as i64,
            self.traffic.waiting as i64,
            self.traffic.pending as i64,
            self.standing.channels as i64,
            self.standing.patterns as i64,
            self.standing.shard_channels as i64,
            self.standing.queued,
            self.standing.watched as i64,
            self.standing.redirect,
        ]
    }

    fn of_row(row: &Row) -> Self {
        let number = |index| int(row, index);
        let size = |index| int(row, index).unsigned_abs();
        Self {
            id: size(column::ID),
            worker: size(column::WORKER) as usize,
            created_ms: size(column::CREATED),
            active_ms: size(column::ACTIVE),
            db: size(column::DB) as u8,
            proto: number(column::PROTO),
            can_redirect: number(column::CAN_REDIRECT) != 0,
            commands: size(column::COMMANDS),
            traffic: Traffic {
                input: size(column::INPUT),
                output: size(column::OUTPUT),
                waiting: size(column::WAITING),
                pending: size(column::PENDING),
            },
            standing: Standing {
                channels: size(column::CHANNELS) as usize,
                patterns: size(column::PATTERNS) as usize,
                shard_channels: size(column::SHARD_CHANNELS) as usize,
                queued: number(column::QUEUED),
                watched: size(column::WATCHED) as usize,
                redirect: number(column::REDIRECT),
            },
            addr: text(row, column::ADDR),
            laddr: text(row, column::LADDR),
            name: text(row, column::NAME),
            lib_name: text(row, column::LIB_NAME),
            lib_version: text(row, column::LIB_VERSION),
            command: text(row, column::COMMAND),
            flags: text(row, column::FLAGS),
            user: text(row, column::USER),
        }
    }

    /// What a client's own worker knows about it.
    #[must_use]
    pub fn of_session(session: &Session, worker: usize) -> Self {
        Self {
            id: session.id,
            worker,
            created_ms: session.created_ms,
            active_ms: session.active_ms,
            db: session.db,
            proto: session.proto.number(),
            can_redirect: session.can_redirect,
            commands: session.commands,
            traffic: session.traffic,
            standing: session.standing(),
            addr: session.addr.clone(),
            laddr: session.laddr.clone(),
            name: session.name.clone(),
            lib_name: session.lib_name.clone(),
            lib_version: session.lib_version.clone(),
            command: session.last_command.to_owned(),
            flags: session.flags(),
            user: session.user_name().to_owned(),
        }
    }

    /// Seconds since it connected.
    pub(in crate::command) fn age_secs(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.created_ms) / 1000
    }

    /// Seconds since its last command.
    pub(in crate::command) fn idle_secs(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.active_ms) / 1000
    }

    /// Its address without the port, nor the brackets around one of six parts.
    pub(in crate::command) fn ip(&self) -> &str {
        let ip = self.addr.rsplit_once(':').map_or(self.addr.as_str(), |(ip, _)| ip);
        ip.strip_prefix('[').and_then(|ip| ip.strip_suffix(']')).unwrap_or(ip)
    }

    /// Letters for its capabilities.
    pub(in crate::command) fn capa(&self) -> &'static str {
        if self.can_redirect { "r" } else { "" }
    }

    /// `pubsub` or `normal`.
    pub(in crate::command) fn kind(&self) -> &'static str {
        if self.flags.contains('P') { "pubsub" } else { "normal" }
    }

    /// The line of CLIENT LIST. Fields that this program has no use for stand at the values that tools expect of an idle client.
    #[must_use]
    pub fn line(&self, now_ms: u64) -> String {
        let (traffic, standing) = (&self.traffic, &self.standing);
        format!(
            "id={} addr={} laddr={} fd=0 name={} age={} idle={} flags={} capa={} db={} sub={} psub={} ssub={} multi={} \
             watch={} qbuf={} qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl={} oll=0 omem={} tot-mem={} events=r \
             cmd={} user={} redir={} resp={} lib-name={} lib-ver={} tot-net-in={} tot-net-out={} tot-cmds={} worker={}\n",
            self.id,
            self.addr,
            self.laddr,
            self.name,
            self.age_secs(now_ms),
            self.idle_secs(now_ms),
            self.flags,
            self.capa(),
            self.db,
            standing.channels,
            standing.patterns,
            standing.shard_channels,
            standing.queued,
            standing.watched,
            traffic.waiting,
            traffic.pending,
            traffic.pending,
            traffic.waiting + traffic.pending,
            self.command,
            self.user,
            standing.redirect,
            self.proto,
            self.lib_name,
            self.lib_version,
            traffic.input,
            traffic.output,
            self.commands,
            self.worker,
        )
    }
}
