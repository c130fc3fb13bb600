//! Everything that can be read from a store, in a form that can be compared: one line for each thing.

use std::hash::{DefaultHasher, Hash, Hasher};

use store_master::{
    Row, Store,
    store::{Error, KvType, Received, ValueRef},
};

/// Rows and keys of one page of a scan.
const SCAN: usize = 4096;
/// Databases that the operations use.
const USED_DATABASES: u8 = 2;
/// Longest value that is written out.
const SHORT: usize = 40;

fn shown(bytes: &[u8]) -> String {
    if bytes.len() <= SHORT {
        return bytes.escape_ascii().to_string();
    }
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    format!("{} bytes {:x}", bytes.len(), hasher.finish())
}

/// Keys of which a snapshot is taken, of rows and of the key-value space: those that operations name.
const ROWS: [&[u8]; 5] = [b"a", b"b", b"c", b"d", b"new"];
const KEYS: [&[u8]; 7] = [b"small", b"block", b"tree", b"number", b"new", b"new 0", b"new 1"];

/// How closely one looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// Nobody else is at it: everything has to agree.
    Alone,
    /// Somebody may be recovered meanwhile, so that what is read first may be older than what is read next: counts are left
    /// out, and what an iteration found and is gone.
    Amid,
}

/// Reads everything: tables with their counts, rows and expiries, counters, keys with values and expiries.
pub(super) fn read(store: &Store, look: Look) -> Result<String, Error> {
    let mut lines = Vec::new();
    let counted = |count: u64| if look == Look::Alone { format!(" with {count}") } else { String::new() };
    for info in store.tables()? {
        let name = info.schema.table().to_owned();
        lines.push(format!("table {name} of {}{}", info.schema.spec().rows, counted(info.count)));
        match read_rows(store, look, &name, &mut lines) {
            // The drop of one who has died, carried out by a reader.
            Err(Error::TableNotFound(_)) if look == Look::Amid => {}
            read => read?,
        }
    }
    read_messages(store, &mut lines);
    for (name, value) in store.counters()? {
        lines.push(format!("counter {} = {value}", shown(&name)));
    }
    for db in 0..USED_DATABASES {
        let [all, expiring] = [store.kv().len(db)?, store.kv().expiring(db)?].map(counted);
        lines.push(format!("database {db}{all}{expiring}"));
        read_keys(store, look, db, &mut lines)?;
    }
    Ok(lines.join("\n"))
}

/// The messages of every ring.
fn read_messages(store: &Store, lines: &mut Vec<String>) {
    let (bus, mut message) = (store.bus(), Vec::new());
    for ring in 0..bus.workers() {
        let mut cursor = 0;
        while let Received::Message(targets) = bus.receive(ring, &mut cursor, &mut message) {
            lines.push(format!("message of {ring} for {:?}: {}", targets.iter().collect::<Vec<_>>(), shown(&message)));
        }
    }
}

/// Some rows as of one instant, and some keys as of another.
pub(super) fn snapshots(store: &Store) -> Result<[String; 2], Error> {
    let rows: Vec<String> = match store.table("t").and_then(|table| table.mget(&ROWS)) {
        Ok(rows) => rows.iter().map(|row| row.as_ref().map_or("none".to_owned(), cells)).collect(),
        Err(Error::TableNotFound(_)) => Vec::new(),
        Err(error) => return Err(error),
    };
    let keys =
        store.kv().mget(0, &KEYS)?.into_iter().map(|value| value.map_or("none".to_owned(), |value| shown(&value)));
    Ok([rows.join("\n"), keys.collect::<Vec<_>>().join("\n")])
}

pub(super) fn cells(row: &Row) -> String {
    let value = |value: ValueRef<'_>| match value {
        ValueRef::Bytes(bytes) => shown(bytes),
        number => format!("{number:?}"),
    };
    row.iter().map(|(_, cell)| value(cell)).collect::<Vec<_>>().join(" ")
}

fn read_rows(store: &Store, look: Look, name: &str, lines: &mut Vec<String>) -> Result<(), Error> {
    let table = store.table(name)?;
    let mut rows = Vec::new();
    let mut cursor = 0;
    loop {
        let page = table.scan(cursor, SCAN)?;
        for (key, row) in page.rows {
            let differs = look == Look::Alone && table.get(&key)?.as_ref() != Some(&row);
            let twice = if differs { " BUT READS OTHERWISE" } else { "" };
            rows.push(format!("  row {} {}{twice}", shown(&key), cells(&row)));
            rows.push(format!("  row {} expires {:?}", shown(&key), table.ttl(&key)?));
        }
        cursor = page.cursor;
        if cursor == 0 {
            break;
        }
    }
    rows.sort_unstable();
    lines.append(&mut rows);
    Ok(())
}

fn read_keys(store: &Store, look: Look, db: u8, lines: &mut Vec<String>) -> Result<(), Error> {
    let kv = store.kv();
    let mut keys = Vec::new();
    let mut cursor = 0;
    loop {
        let mut page = kv.scan(db, cursor, SCAN)?;
        keys.append(&mut page.keys);
        cursor = page.cursor;
        if cursor == 0 {
            break;
        }
    }
    keys.sort_unstable();
    for key in keys {
        let (there, value) = read_value(store, db, &key)?;
        if there || look == Look::Alone {
            lines.push(format!("  key {db} {} {there} {}", shown(&key), value));
            lines.push(format!("  key {db} {} expires {:?}", shown(&key), kv.ttl(db, &key)?));
        }
    }
    Ok(())
}

/// Whether there is such a key, and its value: of a hash its fields, in order, and their number.
fn read_value(store: &Store, db: u8, key: &[u8]) -> Result<(bool, String), Error> {
    let kv = store.kv();
    if kv.kind(db, key)? != Some(KvType::Hash) {
        let mut value = Vec::new();
        return Ok((kv.get(db, key, &mut value)?, shown(&value)));
    }
    let mut fields = kv.pairs(db, key, usize::MAX)?.unwrap_or_default();
    fields.sort_unstable();
    let text: Vec<_> = fields.iter().map(|(field, value)| format!("{}={}", shown(field), shown(value))).collect();
    Ok((!fields.is_empty(), format!("{} fields: {}", kv.field_count(db, key)?, text.join(" "))))
}

/// The lines in which two states differ.
pub(super) fn difference(expected: &str, seen: &str) -> String {
    let only = |a: &str, b: &str, mark: char| {
        let others: Vec<&str> = b.lines().collect();
        a.lines().filter(|line| !others.contains(line)).map(|line| format!("      {mark} {line}")).collect::<Vec<_>>()
    };
    [only(expected, seen, '-'), only(seen, expected, '+')].concat().join("\n")
}
