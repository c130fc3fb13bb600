//! The registry of clients: one row for each connection of each worker, in a hidden table, so that any worker can list them all.
//!
//! It is a courtesy to people who look, not a part of serving: a client whose row could not be written (the
//! table is full, a stopped process holds it) is served all the same and merely not listed. Rows are written when a
//! client connects, when something that others can see changes, and by the worker's tick, not with every command.

use std::cell::{Cell, RefCell};

use super::{Proto, Session};
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

/// The columns, in the order of the schema.
mod column {
    pub(super) const ID: usize = 0;
    pub(super) const WORKER: usize = 1;
    pub(super) const CREATED: usize = 2;
    pub(super) const ACTIVE: usize = 3;
    pub(super) const DB: usize = 4;
    pub(super) const PROTO: usize = 5;
    pub(super) const NO_EVICT: usize = 6;
    pub(super) const NO_TOUCH: usize = 7;
    pub(super) const ADDR: usize = 8;
    pub(super) const LADDR: usize = 9;
    pub(super) const NAME: usize = 10;
    pub(super) const LIB_NAME: usize = 11;
    pub(super) const LIB_VERSION: usize = 12;
    pub(super) const COMMAND: usize = 13;
}

fn spec(rows: u64) -> TableSpec {
    let ints = ["id", "worker", "created", "active", "db", "proto", "no-evict", "no-touch"];
    let texts = [("addr", 110), ("laddr", 110), ("name", 128), ("lib-name", 48), ("lib-ver", 32), ("cmd", 32)];
    let ints = ints.iter().map(|name| Column::int(name));
    let texts = texts.iter().map(|&(name, size)| Column::string(name, size));
    TableSpec { rows, key_bytes: 8, columns: ints.chain(texts).collect() }
}

/// The registry, as one worker holds it.
pub struct Clients {
    table: Table,
    worker: usize,
    /// Clients numbered by this worker alone.
    local_ids: Cell<u64>,
    /// Clients that are gone, but whose row could not be removed yet.
    gone: RefCell<Vec<u64>>,
}

impl Clients {
    /// Opens the registry. Its size follows from that of the segment, so that every start on a segment finds the same.
    ///
    /// # Errors
    ///
    /// [`crate::Error::OutOfMemory`], [`crate::Error::Busy`].
    pub fn open(store: &Store, worker: usize) -> Result<Self> {
        Ok(Self { table: Self::table(store)?, worker, local_ids: Cell::new(0), gone: RefCell::default() })
    }

    /// Makes the registry's table, or finds it.
    pub(super) fn table(store: &Store) -> Result<Table> {
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
        let text = |text: &'_ str, index: usize| -> Vec<u8> { cut(text, self.text_size(index)).to_vec() };
        let texts = [
            (column::ADDR, text(&session.addr, column::ADDR)),
            (column::LADDR, text(&session.laddr, column::LADDR)),
            (column::NAME, text(&session.name, column::NAME)),
            (column::LIB_NAME, text(&session.lib_name, column::LIB_NAME)),
            (column::LIB_VERSION, text(&session.lib_version, column::LIB_VERSION)),
            (column::COMMAND, text(session.last_command, column::COMMAND)),
        ];
        let ints = [
            (column::ID, session.id as i64),
            (column::WORKER, self.worker as i64),
            (column::CREATED, session.created_ms as i64),
            (column::ACTIVE, session.active_ms as i64),
            (column::DB, i64::from(session.db)),
            (column::PROTO, session.proto.number()),
            (column::NO_EVICT, i64::from(session.no_evict)),
            (column::NO_TOUCH, i64::from(session.no_touch)),
        ];
        let cells: Vec<_> = ints
            .iter()
            .map(|&(index, n)| (index, ValueRef::Int(n)))
            .chain(texts.iter().map(|(index, text)| (*index, ValueRef::Bytes(text))))
            .collect();
        // Not listed is all that comes of a failure here.
        let _ = self.table.write(&session.id.to_be_bytes(), &cells, Expiry::Keep, Condition::Always);
    }

    /// Removes a client that is gone.
    pub fn remove(&self, id: u64) {
        if self.table.delete(id.to_be_bytes()).is_err() {
            self.gone.borrow_mut().push(id);
        }
    }

    /// Removes the rows that could not be removed before; called by the worker's tick.
    pub fn tick(&self) {
        self.gone.borrow_mut().retain(|id| self.table.delete(id.to_be_bytes()).is_err());
    }

    /// Every client of every worker, by number.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Busy`].
    pub fn list(&self) -> Result<Vec<ClientInfo>> {
        let mut clients = Vec::new();
        self.each_row(|_, row| clients.push(ClientInfo::of_row(row)))?;
        clients.sort_by_key(|client| client.id);
        clients.dedup_by_key(|client| client.id);
        Ok(clients)
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
#[derive(Debug, Clone)]
pub struct ClientInfo {
    /// Its number.
    pub id: u64,
    /// The worker that serves it.
    pub worker: usize,
    created_ms: u64,
    active_ms: u64,
    db: u8,
    proto: i64,
    no_evict: bool,
    no_touch: bool,
    addr: String,
    laddr: String,
    name: String,
    lib_name: String,
    lib_version: String,
    command: String,
}

impl ClientInfo {
    fn of_row(row: &Row) -> Self {
        Self {
            id: int(row, column::ID) as u64,
            worker: int(row, column::WORKER) as usize,
            created_ms: int(row, column::CREATED) as u64,
            active_ms: int(row, column::ACTIVE) as u64,
            db: int(row, column::DB) as u8,
            proto: int(row, column::PROTO),
            no_evict: int(row, column::NO_EVICT) != 0,
            no_touch: int(row, column::NO_TOUCH) != 0,
            addr: text(row, column::ADDR),
            laddr: text(row, column::LADDR),
            name: text(row, column::NAME),
            lib_name: text(row, column::LIB_NAME),
            lib_version: text(row, column::LIB_VERSION),
            command: text(row, column::COMMAND),
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
            proto: if session.proto == Proto::Resp3 { 3 } else { 2 },
            no_evict: session.no_evict,
            no_touch: session.no_touch,
            addr: session.addr.clone(),
            laddr: session.laddr.clone(),
            name: session.name.clone(),
            lib_name: session.lib_name.clone(),
            lib_version: session.lib_version.clone(),
            command: session.last_command.to_owned(),
        }
    }

    /// The line of CLIENT LIST. Fields that this program has no use for stand at the values that tools expect of an idle client.
    #[must_use]
    pub fn line(&self, now_ms: u64) -> String {
        let seconds_since = |then: u64| now_ms.saturating_sub(then) / 1000;
        let flags = match (self.no_evict, self.no_touch) {
            (false, false) => "N",
            (true, false) => "e",
            (false, true) => "T",
            (true, true) => "eT",
        };
        format!(
            "id={} addr={} laddr={} fd=0 name={} age={} idle={} flags={flags} db={} sub=0 psub=0 ssub=0 multi=-1 watch=0 \
             qbuf=0 qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=0 tot-mem=0 events=r cmd={} \
             user=default redir=-1 resp={} lib-name={} lib-ver={} worker={}\n",
            self.id,
            self.addr,
            self.laddr,
            self.name,
            seconds_since(self.created_ms),
            seconds_since(self.active_ms),
            self.db,
            self.command,
            self.proto,
            self.lib_name,
            self.lib_version,
            self.worker,
        )
    }
}
