//! Random operations on tables and rows.

use proptest::{collection::vec, prelude::*};

use super::{
    Answer,
    values::{Filler, condition, expiry, filler, float, integer},
};
use crate::{
    Column, Error, Row, Store, Table, Value,
    store::{Cell, ColumnType, Condition, Expiry, Schema, TableSpec, Ttl},
};

const NAMES: [&str; 4] = ["a", "b", "c", "~hidden"];

/// The schemas, of which a table has one.
fn spec(number: usize) -> TableSpec {
    let spec = |rows, key_bytes, columns: &[Column]| TableSpec { rows, key_bytes, columns: columns.to_vec() };
    let (int, float, string) = (Column::int, Column::float, Column::string);
    match number % 5 {
        0 => spec(1, 64, &[int("n")]),
        1 => spec(4, 64, &[string("s", 1), float("x"), int("n")]),
        2 => spec(9, 1024, &[string("long", 300), string("s", 7), int("n"), int("m")]),
        3 => spec(17, 8, &[int("a"), string("b", 30), float("c"), string("d", 8), float("e")]),
        _ => spec(40, 64, &[float("x"), string("s", 3000)]),
    }
}

#[derive(Debug, Clone)]
pub(super) enum TableOp {
    /// Makes a table of a name with a schema, or finds it.
    Make(usize, usize),
    /// Finds a table.
    Find(usize),
    Drop(usize),
    List,
}

pub(super) fn table_op() -> impl Strategy<Value = TableOp> {
    let name = || 0..NAMES.len();
    prop_oneof![
        6 => (name(), 0..5_usize).prop_map(|(name, spec)| TableOp::Make(name, spec)),
        1 => name().prop_map(TableOp::Find),
        2 => name().prop_map(TableOp::Drop),
        1 => Just(TableOp::List),
    ]
}

impl TableOp {
    /// Carries it out; a table that was found or made joins the handles.
    pub(super) fn apply(&self, store: &Store, handles: &mut Vec<Table>) -> Answer {
        let mut keep = |table| handles.push(table);
        match *self {
            Self::Make(name, number) if Schema::is_hidden(NAMES[name]) => {
                store.hidden(NAMES[name], spec(number)).map(&mut keep).into()
            }
            Self::Make(name, number) => {
                let made = store.make_spec(NAMES[name], spec(number));
                made.map(|(table, made)| (keep(table), made).1).into()
            }
            Self::Find(name) => store.table(NAMES[name]).map(&mut keep).into(),
            Self::Drop(name) => store.drop_table(NAMES[name]).into(),
            Self::List => listed(store).into(),
        }
    }
}

impl TableOp {
    /// Gets the handle that the operation would have added to the others, if they are fewer than `wanted`.
    pub(super) fn find(&self, store: &Store, handles: &mut Vec<Table>, wanted: usize) {
        if handles.len() < wanted {
            self.apply(store, handles);
        }
    }
}

/// Names and counts of the tables.
fn listed(store: &Store) -> Result<Vec<(String, u64)>, Error> {
    let tables = store.tables()?;
    Ok(tables.into_iter().map(|info| (info.schema.table().to_owned(), info.count)).collect())
}

/// A value for a column that is known only when a table is.
#[derive(Debug, Clone)]
pub(super) struct AnyCell {
    column: usize,
    int: i64,
    float: f64,
    text: Filler,
    /// Whether it has the type of the next column rather than of its own.
    odd: bool,
}

fn any_cell() -> impl Strategy<Value = AnyCell> {
    (0..8_usize, integer(), float(), filler(0..400_usize), proptest::bool::weighted(0.03))
        .prop_map(|(column, int, float, text, odd)| AnyCell { column, int, float, text, odd })
}

impl AnyCell {
    /// Column and value for a table of this schema; a text is at times a byte too long.
    fn of(&self, schema: &Schema) -> (usize, Value) {
        let columns = schema.columns();
        let column = self.column % columns.len();
        let value = match columns[(column + usize::from(self.odd)) % columns.len()].kind {
            ColumnType::Int => Value::Int(self.int),
            ColumnType::Float => Value::Float(self.float),
            ColumnType::String(size) => {
                let mut text = self.text.bytes();
                text.truncate(text.len() % (usize::from(size) + 2));
                Value::Bytes(text)
            }
        };
        (column, value)
    }
}

#[derive(Debug, Clone)]
pub(super) enum RowOp {
    Get(usize),
    GetMany(Vec<usize>),
    Set(usize, Vec<AnyCell>, Expiry, Condition),
    SetMany(Vec<(usize, Vec<AnyCell>)>),
    Add(usize, AnyCell),
    /// Takes one, or a number, from a column.
    Release(usize, AnyCell, bool),
    /// Compares with the row as it is, but for the first cells; then sets the second.
    Cas(usize, Vec<AnyCell>, Vec<AnyCell>),
    Delete(usize),
    Take(usize),
    Ttl(usize),
    Expire(usize, Expiry),
    Count,
    Scan(usize),
    /// Deletes what a scan returns while it goes on.
    ScanAndDelete(usize),
    Clear,
}

pub(super) fn row_op() -> impl Strategy<Value = RowOp> {
    let key = || 0..24_usize;
    let cells = || vec(any_cell(), 0..4);
    prop_oneof![
        4 => key().prop_map(RowOp::Get),
        2 => vec(key(), 0..8).prop_map(RowOp::GetMany),
        12 => (key(), cells(), expiry(), condition()).prop_map(|(key, cells, e, c)| RowOp::Set(key, cells, e, c)),
        4 => vec((key(), cells()), 0..8).prop_map(RowOp::SetMany),
        8 => (key(), any_cell()).prop_map(|(key, cell)| RowOp::Add(key, cell)),
        4 => (key(), any_cell(), any::<bool>()).prop_map(|(key, cell, all)| RowOp::Release(key, cell, all)),
        4 => (key(), vec(any_cell(), 0..2), cells()).prop_map(|(key, odd, set)| RowOp::Cas(key, odd, set)),
        5 => key().prop_map(RowOp::Delete),
        2 => key().prop_map(RowOp::Take),
        2 => key().prop_map(RowOp::Ttl),
        3 => (key(), expiry().prop_filter("keeping is no change", |e| *e != Expiry::Keep))
            .prop_map(|(key, expiry)| RowOp::Expire(key, expiry)),
        2 => Just(RowOp::Count),
        2 => (0..5_usize).prop_map(RowOp::Scan),
        1 => (1..5_usize).prop_map(RowOp::ScanAndDelete),
        1 => Just(RowOp::Clear),
    ]
}

/// Row keys: mostly short ones, some that only some tables or none can hold.
fn key(number: usize) -> Vec<u8> {
    match number {
        19 => b"a\0".to_vec(),
        20 => vec![0xff; 8],
        21 => vec![0; 64],
        22 => vec![b'k'; 65],
        23 => vec![],
        _ => format!("k{number}").into_bytes(),
    }
}

/// Cells for a table of this schema, owned.
fn cells(schema: &Schema, cells: &[AnyCell]) -> Vec<(usize, Value)> {
    cells.iter().map(|cell| cell.of(schema)).collect()
}

fn borrowed(cells: &[(usize, Value)]) -> Vec<Cell<'_>> {
    cells.iter().map(|(column, value)| (*column, value.as_ref())).collect()
}

impl RowOp {
    pub(super) fn apply(&self, table: &Table) -> Answer {
        let schema = table.schema();
        match self {
            Self::Get(number) => table.get(key(*number)).into(),
            Self::GetMany(numbers) => {
                let keys: Vec<_> = numbers.iter().map(|number| key(*number)).collect();
                table.mget(&keys.iter().map(Vec::as_slice).collect::<Vec<_>>()).into()
            }
            Self::Set(number, set, expiry, condition) => {
                table.write(&key(*number), &borrowed(&cells(schema, set)), *expiry, *condition).into()
            }
            Self::SetMany(rows) => {
                let rows: Vec<_> = rows.iter().map(|(number, set)| (key(*number), cells(schema, set))).collect();
                table.mset(&rows.iter().map(|(key, set)| (key.as_slice(), borrowed(set))).collect::<Vec<_>>()).into()
            }
            Self::Add(number, cell) => {
                let (column, by) = cell.of(schema);
                table.add_cell(&key(*number), column, by.as_ref()).into()
            }
            Self::Release(number, cell, all) => {
                let column = cell.of(schema).0;
                let held = table.get(key(*number)).ok().flatten().map(|row| row.get(column).to_value());
                let by = match held {
                    Some(Value::Int(held)) if *all => held,
                    _ => 1,
                };
                table.release(key(*number), column, by).into()
            }
            Self::Cas(number, odd, set) => cas(table, &key(*number), odd, set).into(),
            Self::Delete(number) => table.delete(key(*number)).into(),
            Self::Take(number) => table.getdel(key(*number)).into(),
            Self::Ttl(number) => table.ttl(&key(*number)).into(),
            Self::Expire(number, expiry) => table.expire(&key(*number), *expiry).into(),
            Self::Count => table.count().into(),
            Self::Scan(count) => scan(table, *count, false).into(),
            Self::ScanAndDelete(count) => scan(table, *count, true).into(),
            Self::Clear => table.clear().into(),
        }
    }
}

fn cas(table: &Table, key: &[u8], odd: &[AnyCell], set: &[AnyCell]) -> Result<Option<bool>, Error> {
    let schema = table.schema();
    let row = table.get(key)?.unwrap_or_else(|| table.row());
    let odd = cells(schema, odd);
    let mut expect: Vec<Cell<'_>> = (0..schema.columns().len()).map(|column| (column, row.get(column))).collect();
    for (column, value) in &odd {
        expect[*column].1 = value.as_ref();
    }
    table.cas(key, &expect, &borrowed(&cells(schema, set)))
}

/// All rows, by key.
fn scan(table: &Table, count: usize, delete: bool) -> Result<Vec<(Vec<u8>, Row)>, Error> {
    let (mut rows, mut cursor) = (Vec::new(), 0);
    loop {
        let page = table.scan(cursor, count)?;
        for (key, _) in page.rows.iter().filter(|_| delete) {
            table.delete(key)?;
        }
        rows.extend(page.rows);
        cursor = page.cursor;
        if cursor == 0 {
            rows.sort_by(|a, b| a.0.cmp(&b.0));
            return Ok(rows);
        }
    }
}

/// A table's schema, its count, and its rows with their expiries.
#[derive(Debug, PartialEq)]
pub(super) struct Contents {
    table: String,
    spec: TableSpec,
    count: u64,
    rows: Vec<(Vec<u8>, Row, Ttl)>,
}

pub(super) fn contents(store: &Store) -> Vec<Contents> {
    let tables = store.tables().unwrap().into_iter().map(|info| store.table(info.schema.table()).unwrap());
    tables.map(|table| contents_of(&table)).collect()
}

fn contents_of(table: &Table) -> Contents {
    let rows = scan(table, 3, false).unwrap().into_iter();
    let rows = rows.map(|(key, row)| (key.clone(), row, table.ttl(&key).unwrap())).collect();
    let (name, spec) = (table.schema().table().to_owned(), table.schema().spec().clone());
    Contents { table: name, spec, count: table.count().unwrap(), rows }
}
