//! ACL LOG: what was refused, to whom and how often; one list for all workers, in a hidden table.
//!
//! It is a help for people, not a part of the checks: what cannot be written down is refused all the same.

use crate::{
    command::Reply,
    store::{Column, Condition, Expiry, Result, Row, Store, Table, TableSpec, ValueRef},
};

/// Entries that are kept at most.
pub(super) const MAX_ENTRIES: usize = 128;
/// The same again within so many milliseconds is the same entry.
const GROUPED_MS: u64 = 60_000;
/// The row that counts entries.
const NEXT: &[u8] = b"next";

mod column {
    pub(super) const COUNT: usize = 0;
    pub(super) const CREATED: usize = 1;
    pub(super) const UPDATED: usize = 2;
    pub(super) const REASON: usize = 3;
    pub(super) const CONTEXT: usize = 4;
    pub(super) const OBJECT: usize = 5;
    pub(super) const USER: usize = 6;
    pub(super) const CLIENT: usize = 7;
    /// Bytes of the last four.
    pub(super) const OBJECT_BYTES: usize = 128;
    pub(super) const USER_BYTES: usize = 120;
    pub(super) const CLIENT_BYTES: usize = 768;
}

/// Something that was refused.
pub(super) struct Entry<'a> {
    pub(super) reason: &'static str,
    pub(super) context: &'static str,
    pub(super) object: &'a [u8],
    pub(super) user: &'a [u8],
    /// The client, as CLIENT LIST shows it.
    pub(super) client: &'a str,
}

/// The list.
pub(super) struct Log {
    table: Table,
}

impl Log {
    /// Makes the table, or finds it.
    pub(super) fn open(store: &Store) -> Result<Self> {
        let ints = ["count", "created", "updated"].map(Column::int);
        let texts = [
            ("reason", 16),
            ("context", 16),
            ("object", column::OBJECT_BYTES),
            ("username", column::USER_BYTES),
            ("client-info", column::CLIENT_BYTES),
        ];
        let texts = texts.map(|(name, bytes)| Column::string(name, bytes as u16));
        // Two workers may find at once that there is room for one more.
        let rows = 2 * MAX_ENTRIES as u64;
        let columns = ints.into_iter().chain(texts).collect();
        Ok(Self { table: store.hidden("~acl-log", TableSpec { rows, key_bytes: 8, columns })? })
    }

    /// Notes that something was refused; `max` entries are kept.
    pub(super) fn add(&self, entry: &Entry<'_>, now_ms: u64, max: usize) -> Result<()> {
        let entries = self.read()?;
        let is_same = |(_, row): &&(u64, Row)| {
            int(row, column::UPDATED).abs_diff(now_ms as i64) <= GROUPED_MS
                && text(row, column::REASON) == entry.reason.as_bytes()
                && text(row, column::CONTEXT) == entry.context.as_bytes()
                && text(row, column::OBJECT) == cut(entry.object, column::OBJECT_BYTES)
                && text(row, column::USER) == cut(entry.user, column::USER_BYTES)
        };
        let now = ValueRef::Int(now_ms as i64);
        let client = ValueRef::Bytes(cut(entry.client.as_bytes(), column::CLIENT_BYTES));
        if let Some((id, _)) = entries.iter().find(is_same) {
            let key = id.to_be_bytes();
            let cells = [(column::UPDATED, now), (column::CLIENT, client)];
            if self.table.write(&key, &cells, Expiry::Keep, Condition::IfPresent)? {
                self.table.incr(key, "count", 1)?;
            }
            return Ok(());
        }
        let keep = max.min(MAX_ENTRIES);
        for (id, _) in entries.iter().skip(keep.saturating_sub(1)) {
            self.table.delete(id.to_be_bytes())?;
        }
        if keep == 0 {
            return Ok(());
        }
        let id = self.table.incr(NEXT, "count", 1)? - 1;
        let cells = [
            (column::COUNT, ValueRef::Int(1)),
            (column::CREATED, now),
            (column::UPDATED, now),
            (column::REASON, ValueRef::Bytes(entry.reason.as_bytes())),
            (column::CONTEXT, ValueRef::Bytes(entry.context.as_bytes())),
            (column::OBJECT, ValueRef::Bytes(cut(entry.object, column::OBJECT_BYTES))),
            (column::USER, ValueRef::Bytes(cut(entry.user, column::USER_BYTES))),
            (column::CLIENT, client),
        ];
        self.table.write(&id.to_be_bytes(), &cells, Expiry::Keep, Condition::Always).map(drop)
    }

    /// The entries, those that were changed last before the others.
    fn read(&self) -> Result<Vec<(u64, Row)>> {
        let (mut entries, mut cursor) = (Vec::new(), 0);
        loop {
            let page = self.table.scan(cursor, 2 * MAX_ENTRIES)?;
            for (key, row) in page.rows {
                if let Ok(id) = <[u8; 8]>::try_from(key.as_slice()) {
                    entries.push((u64::from_be_bytes(id), row));
                }
            }
            cursor = page.cursor;
            if cursor == 0 {
                break;
            }
        }
        entries.sort_by_key(|(id, row)| std::cmp::Reverse((int(row, column::UPDATED), *id)));
        Ok(entries)
    }

    /// The last `count` entries, as ACL LOG shows them.
    pub(super) fn shown(&self, count: usize, now_ms: u64) -> Result<Vec<Reply>> {
        let entries = self.read()?;
        Ok(entries.iter().take(count).map(|(id, row)| shown(*id, row, now_ms)).collect())
    }

    /// Forgets all entries; the numbers go on.
    pub(super) fn reset(&self) -> Result<()> {
        for (id, _) in self.read()? {
            self.table.delete(id.to_be_bytes())?;
        }
        Ok(())
    }
}

fn shown(id: u64, row: &Row, now_ms: u64) -> Reply {
    let bytes = |index| Reply::Bulk(text(row, index).to_vec());
    let created = int(row, column::CREATED);
    Reply::Map(vec![
        (Reply::Text("count"), Reply::Int(int(row, column::COUNT))),
        (Reply::Text("reason"), bytes(column::REASON)),
        (Reply::Text("context"), bytes(column::CONTEXT)),
        (Reply::Text("object"), bytes(column::OBJECT)),
        (Reply::Text("username"), bytes(column::USER)),
        (Reply::Text("age-seconds"), Reply::Double((now_ms as i64 - created).max(0) as f64 / 1000.0)),
        (Reply::Text("client-info"), bytes(column::CLIENT)),
        (Reply::Text("entry-id"), Reply::Int(id as i64)),
        (Reply::Text("timestamp-created"), Reply::Int(created)),
        (Reply::Text("timestamp-last-updated"), Reply::Int(int(row, column::UPDATED))),
    ])
}

fn cut(bytes: &[u8], max: usize) -> &[u8] {
    &bytes[..bytes.len().min(max)]
}

fn int(row: &Row, index: usize) -> i64 {
    match row.get(index) {
        ValueRef::Int(n) => n,
        _ => 0,
    }
}

fn text(row: &Row, index: usize) -> &[u8] {
    match row.get(index) {
        ValueRef::Bytes(bytes) => bytes,
        _ => &[],
    }
}
