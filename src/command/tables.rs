//! Commands on tables.
//!
//! A table has typed columns, and RESP has only bytes, so a value is read as what its column holds: an int column takes
//! `1` and `1.0`, a float column any finite number, a string column the bytes as they are.

use super::{
    Args, Reply,
    call::Call,
    expiry::{self, Clock},
    keys,
    number::parse_integral,
    parse_float, parse_int,
    refusal::{Answer, NOT_AN_INTEGER, Refusal, SYNTAX, refuse, wrong_arity},
    table::{Command, DELETE, DELETE_ALONE, DELETE_FAST, READ, READ_FAST, WRITE, WRITE_ALONE, WRITE_FAST},
};
use crate::store::{
    Cell, Column, ColumnType, Condition, Error, Expiry, Row, Schema, Table, TableSpec, Value, ValueRef,
    limits::{DEFAULT_KEY_BYTES, MAX_BATCH_ROWS, MAX_COLUMNS},
};

/// Rows that TABLE.SCAN returns unless it is told otherwise.
const DEFAULT_SCAN_COUNT: usize = 10;
/// Bytes of rows that one TABLE.SCAN returns at most, whatever it is told.
const MAX_SCAN_BYTES: usize = 8 << 20;

pub(crate) const COMMANDS: &[Command] = &[
    command("table.make", -5, make).flags(WRITE_ALONE).docs(
        "0.1.0",
        "table rows [KEYBYTES key-bytes] (column type [size])...",
        "Makes a table with a fixed number of rows and typed columns: int, float, string and its size.",
    ),
    command("table.drop", 2, drop_table).flags(DELETE_ALONE).docs(
        "0.1.0",
        "table",
        "Drops a table and frees its memory.",
    ),
    command("table.clear", 2, clear).flags(DELETE).docs("0.1.0", "table", "Deletes every row of a table."),
    command("table.info", 2, info).flags(READ_FAST).docs("0.1.0", "table", "Describes a table."),
    command("table.list", 1, list).flags(READ).docs("0.1.0", "", "Returns the names of all tables that may be read."),
    command("table.set", -5, set).flags(WRITE_FAST).docs(
        "0.1.0",
        "table row (column value)... [EX seconds | PX milliseconds] [NX | XX]",
        "Writes columns of a row; the others keep their value.",
    ),
    command("table.mset", -5, mset).flags(WRITE).docs(
        "0.1.0",
        "table numrows (row numcolumns (column value)...)...",
        "Writes several rows in one atomic step.",
    ),
    command("table.get", -3, get).flags(READ_FAST).docs(
        "0.1.0",
        "table row [column...]",
        "Returns a row, or some of its columns.",
    ),
    command("table.mget", -3, mget).flags(READ).docs("0.1.0", "table row...", "Returns several rows of one instant."),
    command("table.del", -3, del).flags(DELETE_FAST).docs("0.1.0", "table row...", "Deletes rows."),
    command("table.getdel", 3, getdel).flags(DELETE_FAST).docs("0.1.0", "table row", "Returns a row and deletes it."),
    command("table.exists", 3, exists).flags(READ_FAST).docs("0.1.0", "table row", "Says whether a row exists."),
    command("table.count", 2, count).flags(READ_FAST).docs("0.1.0", "table", "Returns the number of rows."),
    command("table.incr", -4, incr).flags(WRITE_FAST).docs(
        "0.1.0",
        "table row column [increment]",
        "Adds to a number column; a missing row is made.",
    ),
    command("table.decr", -4, decr).flags(WRITE_FAST).docs(
        "0.1.0",
        "table row column [decrement]",
        "Takes from a number column; a missing row is made.",
    ),
    command("table.cas", -9, cas).flags(WRITE_FAST).docs(
        "0.1.0",
        "table row EXPECT numcolumns [(column value)...] SET numcolumns (column value)...",
        "Writes columns if others have the expected values, in one step.",
    ),
    command("table.scan", -3, scan).flags(READ).docs(
        "0.1.0",
        "table cursor [COUNT count]",
        "Returns the next rows of an iteration.",
    ),
    command("table.expire", 4, expire).flags(DELETE_FAST).docs(
        "0.1.0",
        "table row seconds",
        "Lets a row expire after some seconds.",
    ),
    command("table.pexpire", 4, pexpire).flags(DELETE_FAST).docs(
        "0.1.0",
        "table row milliseconds",
        "Lets a row expire after some milliseconds.",
    ),
    command("table.persist", 3, persist).flags(DELETE_FAST).docs(
        "0.1.0",
        "table row",
        "Takes the expiry of a row away.",
    ),
    command("table.ttl", 3, ttl).flags(READ_FAST).docs(
        "0.1.0",
        "table row",
        "Returns the seconds until a row expires.",
    ),
    command("table.pttl", 3, pttl).flags(READ_FAST).docs(
        "0.1.0",
        "table row",
        "Returns the milliseconds until a row expires.",
    ),
];

const fn command(name: &'static str, arity: i64, handler: super::table::Handler) -> Command {
    Command::new(name, arity, handler).group("table")
}

/// Runs `with` on the table that the first argument names.
fn on_table<T>(call: &mut Call<'_, '_>, mut with: impl FnMut(&mut Call<'_, '_>, &Table) -> Answer<T>) -> Answer<T> {
    let (env, name) = (call.env, call.arg(1));
    env.state.table(env.store, name, |table| with(call, table))
}

/// Argument `index` as a name; what is not UTF-8 is no name that could exist.
fn name(call: &Call<'_, '_>, index: usize) -> String {
    call.text(index)
}

/// Column and value from their texts.
fn cell<'a>(schema: &Schema, column: &[u8], text: &'a [u8]) -> Answer<Cell<'a>> {
    let index = column_index(schema, column)?;
    Ok((index, value(schema, index, text)?))
}

fn column_index(schema: &Schema, column: &[u8]) -> Answer<usize> {
    match std::str::from_utf8(column) {
        Ok(column) => Ok(schema.column(column)?),
        Err(_) => {
            let (table, column) = (schema.table().to_owned(), String::from_utf8_lossy(column).into_owned());
            Err(Error::UnknownColumn { table, column }.into())
        }
    }
}

/// The text as the value of column `index`.
fn value<'a>(schema: &Schema, index: usize, text: &'a [u8]) -> Answer<ValueRef<'a>> {
    let value = match schema.columns()[index].kind {
        ColumnType::Int => parse_integral(text).map(ValueRef::Int),
        ColumnType::Float => parse_float(text).filter(|x| x.is_finite()).map(ValueRef::Float),
        ColumnType::String(_) => Some(ValueRef::Bytes(text)),
    };
    value.ok_or_else(|| schema.wrong_type(index).into())
}

/// Column and value pairs: `count` of them from argument `first` on.
fn cells<'a>(args: &Args<'a>, schema: &Schema, first: usize, count: usize) -> Answer<Vec<Cell<'a>>> {
    (0..count).map(|pair| cell(schema, args.get(first + 2 * pair), args.get(first + 2 * pair + 1))).collect()
}

/// Argument `index` as the number of pairs that follow it; they must be there.
fn pairs(args: &Args<'_>, index: usize) -> Answer<usize> {
    let count =
        parse_int(args.get(index)).and_then(|n| usize::try_from(n).ok()).ok_or(Refusal::from(NOT_AN_INTEGER))?;
    if count > args.len().saturating_sub(index + 1) / 2 {
        return Err(SYNTAX.into());
    }
    Ok(count)
}

fn make(call: &mut Call<'_, '_>) -> Answer {
    let spec = spec(call)?;
    let name = name(call, 1);
    call.env.store.make_spec(&name, spec)?;
    Ok(Reply::OK)
}

/// Rows, key size and columns behind `TABLE.MAKE t`.
///
/// `KEYBYTES` with a number behind it is the option; a column of that name is followed by a type.
fn spec(call: &Call<'_, '_>) -> Answer<TableSpec> {
    let rows = u64::try_from(call.int(2)?).map_err(|_| Refusal::from(NOT_AN_INTEGER))?;
    let mut key_bytes = DEFAULT_KEY_BYTES as u16;
    let mut at = 3;
    if call.args.is(3, "KEYBYTES")
        && let Some(bytes) = parse_int(call.arg(4))
    {
        key_bytes = u16::try_from(bytes).map_err(|_| Refusal::from("ERR KEYBYTES is out of range"))?;
        at = 5;
    }
    let mut columns = Vec::new();
    while at < call.args.len() && columns.len() <= MAX_COLUMNS {
        let (kind, taken) = column_type(call, at + 1)?;
        columns.push(Column { name: name(call, at), kind });
        at += 1 + taken;
    }
    Ok(TableSpec { rows, key_bytes, columns })
}

/// The type at argument `index`, and how many arguments it takes.
fn column_type(call: &Call<'_, '_>, index: usize) -> Answer<(ColumnType, usize)> {
    if call.args.is(index, "int") {
        return Ok((ColumnType::Int, 1));
    }
    if call.args.is(index, "float") {
        return Ok((ColumnType::Float, 1));
    }
    if !call.args.is(index, "string") {
        let column = call.text(index - 1);
        return refuse(format!("ERR column '{column}': the type must be int, float or string and its size"));
    }
    let size = parse_int(call.arg(index + 1)).and_then(|size| u16::try_from(size).ok());
    match size {
        Some(size) => Ok((ColumnType::String(size), 2)),
        None => refuse(format!("ERR column '{}': string needs a size in bytes, 1..=65535", call.text(index - 1))),
    }
}

fn drop_table(call: &mut Call<'_, '_>) -> Answer {
    let name = name(call, 1);
    call.env.state.forget(&name);
    if !call.env.store.drop_table(&name)? {
        return Err(Error::TableNotFound(name).into());
    }
    Ok(Reply::OK)
}

fn clear(call: &mut Call<'_, '_>) -> Answer {
    on_table(call, |call, table| {
        table.clear()?;
        call.count_writes(1);
        Ok(Reply::OK)
    })
}

fn info(call: &mut Call<'_, '_>) -> Answer {
    let info = on_table(call, |_, table| Ok(table.info()?))?;
    let schema = &info.schema;
    let columns = schema
        .columns()
        .iter()
        .map(|column| (Reply::from(column.name.as_str()), Reply::from(column.kind.to_string().as_str())));
    Ok(Reply::Map(vec![
        (Reply::Text("name"), Reply::from(schema.table())),
        (Reply::Text("rows"), Reply::Int(schema.spec().rows as i64)),
        (Reply::Text("key_bytes"), Reply::Int(i64::from(schema.spec().key_bytes))),
        (Reply::Text("columns"), Reply::Map(columns.collect())),
        (Reply::Text("count"), Reply::Int(info.count as i64)),
        (Reply::Text("bytes"), Reply::Int(info.bytes as i64)),
    ]))
}

fn list(call: &mut Call<'_, '_>) -> Answer {
    let mut tables = call.env.store.tables()?;
    tables.retain(|info| call.may_read("table.list", info.schema.table().as_bytes()));
    Ok(Reply::Array(tables.iter().map(|info| Reply::from(info.schema.table())).collect()))
}

/// What stands behind `TABLE.SET t key`.
struct Written<'a> {
    cells: Vec<Cell<'a>>,
    expiry: Expiry,
    condition: Condition,
}

/// Reads columns and options. A word that is exactly the name of a column is that column; so a table with a column `EX` is
/// given its time by `ex`.
fn written<'a>(call: &Call<'a, '_>, schema: &Schema) -> Answer<Written<'a>> {
    let mut written = Written { cells: Vec::new(), expiry: Expiry::Keep, condition: Condition::Always };
    let mut at = 3;
    while at < call.args.len() {
        let is_column = std::str::from_utf8(call.arg(at)).is_ok_and(|word| schema.column(word).is_ok());
        let condition = match (call.args.is(at, "NX"), call.args.is(at, "XX")) {
            (true, _) => Condition::IfAbsent,
            (_, true) => Condition::IfPresent,
            _ => Condition::Always,
        };
        let clock = Clock::option(call.arg(at)).filter(|clock| matches!(clock, Clock::InSeconds | Clock::InMillis));
        if !is_column && condition != Condition::Always {
            if written.condition != Condition::Always && written.condition != condition {
                return refuse(SYNTAX);
            }
            written.condition = condition;
            at += 1;
        } else if !is_column && let Some(clock) = clock {
            if at + 1 >= call.args.len() || written.expiry != Expiry::Keep {
                return refuse(SYNTAX);
            }
            written.expiry = expiry::positive(call, at + 1, clock)?;
            at += 2;
        } else if at + 1 >= call.args.len() {
            column_index(schema, call.arg(at))?;
            return refuse(format!("ERR column '{}' has no value", call.text(at)));
        } else {
            written.cells.push(cell(schema, call.arg(at), call.arg(at + 1))?);
            at += 2;
        }
    }
    Ok(written)
}

fn set(call: &mut Call<'_, '_>) -> Answer {
    on_table(call, |call, table| {
        let Written { cells, expiry, condition } = written(call, table.schema())?;
        let done = table.write(call.arg(2), &cells, expiry, condition)?;
        call.count_writes(usize::from(done));
        Ok(if done { Reply::OK } else { Reply::Null })
    })
}

fn mset(call: &mut Call<'_, '_>) -> Answer {
    on_table(call, |call, table| {
        let rows = rows(&call.args, table.schema())?;
        table.mset(&rows)?;
        call.count_writes(rows.len());
        Ok(Reply::OK)
    })
}

type Rows<'a> = Vec<(&'a [u8], Vec<Cell<'a>>)>;

/// The rows behind `TABLE.MSET t`: their number, then for each its key, the number of its columns, and these.
fn rows<'a>(args: &Args<'a>, schema: &Schema) -> Answer<Rows<'a>> {
    let count = parse_int(args.get(2)).and_then(|n| usize::try_from(n).ok()).ok_or(Refusal::from(NOT_AN_INTEGER))?;
    if count == 0 {
        return refuse(SYNTAX);
    }
    if count > MAX_BATCH_ROWS {
        return Err(Error::TooLarge { what: "rows in one batch", len: count, max: MAX_BATCH_ROWS }.into());
    }
    let mut rows = Vec::with_capacity(count);
    let mut at = 3;
    for _ in 0..count {
        if at + 1 >= args.len() {
            return refuse(SYNTAX);
        }
        let columns = pairs(args, at + 1)?;
        rows.push((args.get(at), cells(args, schema, at + 2, columns)?));
        at += 2 + 2 * columns;
    }
    if at == args.len() { Ok(rows) } else { refuse(SYNTAX) }
}

fn get(call: &mut Call<'_, '_>) -> Answer {
    on_table(call, |call, table| {
        let columns =
            call.args.from(3).map(|column| column_index(table.schema(), column)).collect::<Answer<Vec<_>>>()?;
        let mut row = table.row();
        let hit = table.read(call.arg(2), &mut row)?;
        call.count_read(hit);
        Ok(match (hit, columns.is_empty()) {
            (false, _) => Reply::Null,
            (true, true) => Reply::Row(row),
            (true, false) => Reply::Array(columns.iter().map(|&index| value_reply(row.get(index))).collect()),
        })
    })
}

fn value_reply(value: ValueRef<'_>) -> Reply {
    match value {
        ValueRef::Int(n) => Reply::Int(n),
        ValueRef::Float(x) => Reply::Double(x),
        ValueRef::Bytes(bytes) => Reply::Bulk(bytes.to_vec()),
    }
}

fn row_or_null(row: Option<Row>) -> Reply {
    row.map_or(Reply::Null, Reply::Row)
}

fn mget(call: &mut Call<'_, '_>) -> Answer {
    on_table(call, |call, table| {
        let keys: Vec<&[u8]> = call.args.from(2).collect();
        let rows = table.mget(&keys)?;
        call.count_reads(rows.len(), rows.iter().flatten().count());
        Ok(Reply::Array(rows.into_iter().map(row_or_null).collect()))
    })
}

fn del(call: &mut Call<'_, '_>) -> Answer {
    on_table(call, |call, table| {
        let keys: Vec<&[u8]> = call.args.from(2).collect();
        keys.iter().try_for_each(|key| table.schema().check_key(key))?;
        let deleted = call.tally(&keys, |call, key| {
            let deleted = table.delete(key)?;
            call.count_writes(usize::from(deleted));
            Ok(deleted)
        })?;
        Ok(Reply::Int(deleted))
    })
}

fn getdel(call: &mut Call<'_, '_>) -> Answer {
    on_table(call, |call, table| {
        let row = table.getdel(call.arg(2))?;
        call.count_read(row.is_some());
        call.count_writes(usize::from(row.is_some()));
        Ok(row_or_null(row))
    })
}

fn exists(call: &mut Call<'_, '_>) -> Answer {
    on_table(call, |call, table| {
        let hit = !matches!(table.ttl(call.arg(2))?, crate::store::Ttl::Missing);
        call.count_read(hit);
        Ok(Reply::flag(hit))
    })
}

fn count(call: &mut Call<'_, '_>) -> Answer {
    on_table(call, |_, table| Ok(Reply::Int(table.count()? as i64)))
}

fn incr(call: &mut Call<'_, '_>) -> Answer {
    add(call, false)
}

fn decr(call: &mut Call<'_, '_>) -> Answer {
    add(call, true)
}

fn add(call: &mut Call<'_, '_>, negative: bool) -> Answer {
    if call.args.len() > 5 {
        let name = call.text(0).to_ascii_lowercase();
        return wrong_arity(&name);
    }
    on_table(call, |call, table| {
        let column = column_index(table.schema(), call.arg(3))?;
        let by = if call.args.len() == 5 { call.arg(4) } else { b"1" };
        let by = match value(table.schema(), column, by)? {
            ValueRef::Int(n) if negative => ValueRef::Int(n.checked_neg().ok_or(Error::Overflow)?),
            ValueRef::Float(x) if negative => ValueRef::Float(-x),
            other => other,
        };
        let sum = table.add_cell(call.arg(2), column, by)?;
        call.count_writes(1);
        Ok(match sum {
            Value::Int(n) => Reply::Int(n),
            Value::Float(x) => Reply::Double(x),
            Value::Bytes(bytes) => Reply::Bulk(bytes),
        })
    })
}

fn cas(call: &mut Call<'_, '_>) -> Answer {
    on_table(call, |call, table| {
        let (args, schema) = (&call.args, table.schema());
        if !args.is(3, "EXPECT") {
            return refuse(SYNTAX);
        }
        let expected = pairs(args, 4)?;
        let behind = 5 + 2 * expected;
        if !args.is(behind, "SET") {
            return refuse(SYNTAX);
        }
        let changed = pairs(args, behind + 1)?;
        if behind + 2 + 2 * changed != args.len() || changed == 0 {
            return refuse(SYNTAX);
        }
        let expect = cells(args, schema, 5, expected)?;
        let set = cells(args, schema, behind + 2, changed)?;
        let done = table.cas(call.arg(2), &expect, &set)? == Some(true);
        call.count_writes(usize::from(done));
        Ok(Reply::flag(done))
    })
}

fn scan(call: &mut Call<'_, '_>) -> Answer {
    let cursor = keys::cursor(call, 2)?;
    let count = match call.args.len() {
        3 => DEFAULT_SCAN_COUNT,
        5 if call.args.is(3, "COUNT") => keys::count(call, 4)?,
        _ => return refuse(SYNTAX),
    };
    let page = on_table(call, |_, table| {
        let fitting = MAX_SCAN_BYTES / (table.schema().image_bytes() + usize::from(table.schema().spec().key_bytes));
        Ok(table.scan(cursor, count.min(fitting))?)
    })?;
    let rows = page.rows.into_iter().flat_map(|(key, row)| [Reply::Bulk(key), Reply::Row(row)]);
    Ok(Reply::Array(vec![Reply::Bulk(page.cursor.to_string().into_bytes()), Reply::Array(rows.collect())]))
}

fn expire(call: &mut Call<'_, '_>) -> Answer {
    set_expiry(call, Clock::InSeconds)
}

fn pexpire(call: &mut Call<'_, '_>) -> Answer {
    set_expiry(call, Clock::InMillis)
}

fn set_expiry(call: &mut Call<'_, '_>, clock: Clock) -> Answer {
    let expiry = expiry::any(call, 3, clock)?;
    change_expiry(call, expiry)
}

fn persist(call: &mut Call<'_, '_>) -> Answer {
    change_expiry(call, Expiry::Never)
}

fn change_expiry(call: &mut Call<'_, '_>, expiry: Expiry) -> Answer {
    on_table(call, |call, table| {
        let changed = table.expire(call.arg(2), expiry)?;
        call.count_writes(usize::from(changed));
        Ok(Reply::flag(changed))
    })
}

fn ttl(call: &mut Call<'_, '_>) -> Answer {
    time_left(call, Clock::InSeconds)
}

fn pttl(call: &mut Call<'_, '_>) -> Answer {
    time_left(call, Clock::InMillis)
}

fn time_left(call: &mut Call<'_, '_>, clock: Clock) -> Answer {
    on_table(call, |call, table| {
        let ttl = table.ttl(call.arg(2))?;
        Ok(Reply::Int(expiry::remaining(ttl, clock, call.env.now_ms)))
    })
}

#[cfg(test)]
mod tests;
