//! Tables: make, list, drop; and what concerns many rows: pages, batches, count, clear.

use std::borrow::Cow;

use super::{
    call::Call,
    error::{Failure, Refusal, bad, refusal},
    json::{self, Ints, Json, Members, Object},
    response::Response,
    rows::{GivenCells, borrowed, cells_of, row_object},
};
use crate::store::{
    Cell, Column, ColumnType, Error, Made, Row, TableInfo, TableSpec,
    limits::{DEFAULT_KEY_BYTES, MAX_BATCH_ROWS},
};

/// `POST /tables`
pub(super) fn make(call: &Call<'_>) -> Result<Response, Failure> {
    let mut members = call.members()?;
    let name = members.need("name")?.text("name")?;
    let rows = members.need("rows")?.size("rows")?;
    let columns = members.need("columns")?.list("columns")?;
    let key_bytes = match members.take("key_bytes") {
        None => DEFAULT_KEY_BYTES as u16,
        Some(json) => small(&json, "key_bytes")?,
    };
    members.finish()?;
    let columns = columns.into_iter().map(column).collect::<Result<_, _>>()?;
    let (table, made) = call.store().make_spec(&name, TableSpec { rows, key_bytes, columns })?;
    let mut out = Vec::with_capacity(256);
    push_info(&mut out, &table.info()?);
    let status = if made == Made::New { 201 } else { 200 };
    Ok(Response::json(status, out).with("location", format!("/tables/{name}")))
}

fn column(json: Json<'_>) -> Result<Column, Refusal> {
    let Json::Object(mut members) = json else { return Err(bad("a column must be an object")) };
    let name = members.need("name")?.text("name")?.into_owned();
    let kind = match members.need("type")?.text("type")?.as_ref() {
        "int" => ColumnType::Int,
        "float" => ColumnType::Float,
        "string" => ColumnType::String(small(&members.need("size")?, "size")?),
        other => return Err(bad(format!("column '{name}': type '{other}' must be int, float or string"))),
    };
    members.finish()?;
    Ok(Column { name, kind })
}

fn small(json: &Json<'_>, name: &str) -> Result<u16, Refusal> {
    u16::try_from(json.size(name)?).map_err(|_| bad(format!("member '{name}' must be at most {}", u16::MAX)))
}

/// `GET /tables`
pub(super) fn list(call: &Call<'_>) -> Result<Response, Failure> {
    let tables = call.store().tables()?;
    let mut out = Vec::with_capacity(64 + tables.len() * 256);
    out.extend_from_slice(b"{\"tables\":[");
    for (i, info) in tables.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        push_info(&mut out, info);
    }
    out.extend_from_slice(b"]}");
    Ok(Response::json(200, out))
}

/// `GET /tables/{t}`
pub(super) fn info(call: &Call<'_>, table: &str) -> Result<Response, Failure> {
    let mut out = Vec::with_capacity(256);
    push_info(&mut out, &call.store().table(table)?.info()?);
    Ok(Response::json(200, out))
}

fn push_info(out: &mut Vec<u8>, info: &TableInfo) {
    let mut members = Members::open(out);
    json::push_text(members.name("name"), info.schema.table());
    json::push_count(members.name("rows"), info.schema.spec().rows);
    json::push_count(members.name("key_bytes"), u64::from(info.schema.spec().key_bytes));
    push_columns(members.name("columns"), info.schema.columns());
    json::push_count(members.name("count"), info.count);
    json::push_count(members.name("bytes"), info.bytes);
    members.close();
}

fn push_columns(out: &mut Vec<u8>, columns: &[Column]) {
    out.push(b'[');
    for (i, column) in columns.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let mut members = Members::open(out);
        json::push_text(members.name("name"), &column.name);
        let kind = members.name("type");
        match column.kind {
            ColumnType::Int => json::push_text(kind, "int"),
            ColumnType::Float => json::push_text(kind, "float"),
            ColumnType::String(size) => {
                json::push_text(kind, "string");
                json::push_count(members.name("size"), u64::from(size));
            }
        }
        members.close();
    }
    out.push(b']');
}

/// `DELETE /tables/{t}`
pub(super) fn drop(call: &Call<'_>, table: &str) -> Result<Response, Failure> {
    if !call.store().drop_table(table)? {
        return Err(Error::TableNotFound(table.to_owned()).into());
    }
    call.count_writes(1);
    Ok(Response::no_content())
}

/// `GET /tables/{t}/count`
pub(super) fn count(call: &Call<'_>, table: &str) -> Result<Response, Failure> {
    let count = call.store().table(table)?.count()?;
    Ok(Response::json(200, format!("{{\"count\":{count}}}").into_bytes()))
}

/// `DELETE /tables/{t}/rows`
pub(super) fn clear(call: &Call<'_>, table: &str) -> Result<Response, Failure> {
    call.store().table(table)?.clear()?;
    call.count_writes(1);
    Ok(Response::no_content())
}

/// `GET /tables/{t}/rows`
pub(super) fn page(call: &Call<'_>, table: &str) -> Result<Response, Failure> {
    let page = call.store().table(table)?.scan(call.query.cursor, call.query.page_rows())?;
    call.count_read(!page.rows.is_empty());
    let mut out = Vec::with_capacity(64 + page.rows.len() * 128);
    let mut members = Members::open(&mut out);
    let cursor = members.name("cursor");
    match page.cursor {
        0 => cursor.extend_from_slice(b"null"),
        next => json::push_text(cursor, itoa::Buffer::new().format(next)),
    }
    let rows: Vec<_> = page.rows.iter().map(|(key, row)| (key.as_slice(), Some(row))).collect();
    push_rows(&mut members, &rows, call.query.ints);
    members.close();
    Ok(Response::json(200, out))
}

/// `POST /tables/{t}/mget`
pub(super) fn mget(call: &Call<'_>, table: &str) -> Result<Response, Failure> {
    let mut members = call.members()?;
    let keys = members.need("keys")?.list("keys")?;
    members.finish()?;
    batch_fits(keys.len())?;
    let mut distinct: Vec<Cow<'_, [u8]>> = Vec::with_capacity(keys.len());
    for key in keys {
        let key = key.key()?;
        if !distinct.contains(&key) {
            distinct.push(key);
        }
    }
    let keys: Vec<&[u8]> = distinct.iter().map(AsRef::as_ref).collect();
    let rows = call.store().table(table)?.mget(&keys)?;
    rows.iter().for_each(|row| call.count_read(row.is_some()));
    let rows: Vec<_> = keys.into_iter().zip(rows.iter().map(Option::as_ref)).collect();
    let mut out = Vec::with_capacity(64 + rows.len() * 128);
    let mut members = Members::open(&mut out);
    push_rows(&mut members, &rows, call.query.ints);
    members.close();
    Ok(Response::json(200, out))
}

/// Writes the member `rows`, and `binary` if some keys are not UTF-8.
fn push_rows(members: &mut Members<'_>, rows: &[(&[u8], Option<&Row>)], ints: Ints) {
    let mut binary = Vec::new();
    let mut object = Members::open(members.name("rows"));
    for &(key, row) in rows {
        match std::str::from_utf8(key) {
            Ok(key) => push_optional_row(object.name(key), row, ints),
            Err(_) => binary.push((key, row)),
        }
    }
    object.close();
    if binary.is_empty() {
        return;
    }
    let out = members.name("binary");
    for (i, &(key, row)) in binary.iter().enumerate() {
        out.push(if i == 0 { b'[' } else { b',' });
        let mut entry = Members::open(out);
        json::push_bytes(entry.name("key"), key);
        push_optional_row(entry.name("row"), row, ints);
        entry.close();
    }
    out.push(b']');
}

fn push_optional_row(out: &mut Vec<u8>, row: Option<&Row>, ints: Ints) {
    match row {
        Some(row) => json::push_row(out, row, ints),
        None => out.extend_from_slice(b"null"),
    }
}

/// `POST /tables/{t}/mset`
pub(super) fn mset(call: &Call<'_>, table: &str) -> Result<Response, Failure> {
    let mut members = call.members()?;
    let rows = members.take("rows").map_or(Ok(Object::default()), |rows| rows.object("rows"))?.members();
    let binary = members.take("binary").map_or(Ok(Vec::new()), |binary| binary.list("binary"))?;
    members.finish()?;
    batch_fits(rows.len() + binary.len())?;
    let table = call.store().table(table)?;
    let mut given: Vec<(Cow<'_, [u8]>, GivenCells<'_>)> = Vec::with_capacity(rows.len() + binary.len());
    for (key, row) in rows {
        let key = match key {
            Cow::Borrowed(key) => Cow::Borrowed(key.as_bytes()),
            Cow::Owned(key) => Cow::Owned(key.into_bytes()),
        };
        given.push((key, cells_of(row_object(row)?, table.schema(), call.query.ints)?));
    }
    for entry in binary {
        let mut entry = row_object(entry)?;
        let (key, row) = (entry.need("key")?.key()?, entry.need("row")?);
        entry.finish()?;
        given.push((key, cells_of(row_object(row)?, table.schema(), call.query.ints)?));
    }
    let batch: Vec<(&[u8], Vec<Cell<'_>>)> = given.iter().map(|(key, cells)| (key.as_ref(), borrowed(cells))).collect();
    table.mset(&batch)?;
    call.count_writes(batch.len());
    Ok(Response::no_content())
}

fn batch_fits(rows: usize) -> Result<(), Refusal> {
    if rows > MAX_BATCH_ROWS {
        let message = format!("{rows} rows are too many for one request ({MAX_BATCH_ROWS} at most)");
        return Err(refusal(413, "too_large", message));
    }
    Ok(())
}
