//! One row: read, write, step, compare-and-set, expiry.

use std::borrow::Cow;

use super::{
    call::Call,
    error::{Failure, Refusal, bad, no_row, refusal},
    json::{self, Given, Ints, Json, Members, Object},
    response::Response,
    route::Direction,
};
use crate::store::{Cell, Condition, Expiry, Schema, Ttl};

/// Column indexes and values as they were sent.
pub(super) type GivenCells<'a> = Vec<(usize, Given<'a>)>;

/// `GET /tables/{t}/rows/{k}`
pub(super) fn get(call: &Call<'_>, table: &str, key: &[u8]) -> Result<Response, Failure> {
    let table = call.store().table(table)?;
    let field = call.query.field.as_deref().map(|field| table.schema().column(field)).transpose()?;
    let row = table.get(key)?;
    call.count_read(row.is_some());
    let row = row.ok_or_else(no_row)?;
    let mut out = Vec::with_capacity(row.words().len() * 8 + 64);
    match field {
        None => json::push_row(&mut out, &row, call.query.ints),
        Some(column) => {
            let mut members = Members::open(&mut out);
            let name = &row.schema().columns()[column].name;
            json::push_value(members.name(name), row.get(column), call.query.ints);
            members.close();
        }
    }
    Ok(Response::json(200, out))
}

/// `PUT /tables/{t}/rows/{k}`
pub(super) fn put(call: &Call<'_>, table: &str, key: &[u8]) -> Result<Response, Failure> {
    let members = call.members()?;
    let table = call.store().table(table)?;
    let given = cells_of(members, table.schema(), call.query.ints)?;
    let expiry = call.query.ttl_ms.map_or(Expiry::Keep, |ms| Expiry::At(call.context.now_ms + ms));
    let condition = call.query.condition;
    if table.write(key, &borrowed(&given), expiry, condition)? {
        call.count_writes(1);
        return Ok(Response::no_content());
    }
    match condition {
        Condition::IfAbsent => Err(refusal(409, "row_exists", "there is a row with this key").into()),
        _ => Err(no_row().into()),
    }
}

/// `DELETE /tables/{t}/rows/{k}`
pub(super) fn delete(call: &Call<'_>, table: &str, key: &[u8]) -> Result<Response, Failure> {
    let deleted = call.store().table(table)?.delete(key)?;
    done(call, deleted)
}

/// `POST /tables/{t}/rows/{k}/incr` and `/decr`
pub(super) fn step(call: &Call<'_>, table: &str, key: &[u8], direction: Direction) -> Result<Response, Failure> {
    let mut members = call.members()?;
    let column = members.need("column")?.text("column")?;
    let by = members.take("by").unwrap_or(Json::Int(1));
    members.finish()?;
    let table = call.store().table(table)?;
    let column = table.schema().column(&column)?;
    let by = by.cell(table.schema(), column, call.query.ints)?;
    let by = if direction == Direction::Down { by.negated()? } else { by };
    let value = table.add_cell(key, column, by.as_ref())?;
    call.count_writes(1);
    Ok(Response::json(200, json::value_body(&value, call.query.ints)))
}

/// `POST /tables/{t}/rows/{k}/cas`
pub(super) fn cas(call: &Call<'_>, table: &str, key: &[u8]) -> Result<Response, Failure> {
    let mut members = call.members()?;
    let expect = members.need("expect")?.object("expect")?;
    let set = members.need("set")?.object("set")?;
    members.finish()?;
    let table = call.store().table(table)?;
    let expect = cells_of(expect, table.schema(), call.query.ints)?;
    let set = cells_of(set, table.schema(), call.query.ints)?;
    match table.cas(key, &borrowed(&expect), &borrowed(&set))? {
        None => Err(no_row().into()),
        Some(false) => Err(refusal(409, "cas_mismatch", "the row is not as expected").into()),
        Some(true) => {
            call.count_writes(1);
            Ok(Response::no_content())
        }
    }
}

/// `POST /tables/{t}/rows/{k}/getdel`
pub(super) fn getdel(call: &Call<'_>, table: &str, key: &[u8]) -> Result<Response, Failure> {
    call.no_members()?;
    let row = call.store().table(table)?.getdel(key)?;
    call.count_read(row.is_some());
    let row = row.ok_or_else(no_row)?;
    call.count_writes(1);
    let mut out = Vec::with_capacity(row.words().len() * 8 + 64);
    json::push_row(&mut out, &row, call.query.ints);
    Ok(Response::json(200, out))
}

/// `POST /tables/{t}/rows/{k}/expire`. A time of 0 deletes the row.
pub(super) fn expire(call: &Call<'_>, table: &str, key: &[u8]) -> Result<Response, Failure> {
    let mut members = call.members()?;
    let ms = members.need("ttl")?.seconds("ttl")?;
    members.finish()?;
    let found = call.store().table(table)?.expire(key, Expiry::At(call.context.now_ms + ms))?;
    done(call, found)
}

/// `POST /tables/{t}/rows/{k}/persist`. A row without expiry is as it was asked to be.
pub(super) fn persist(call: &Call<'_>, table: &str, key: &[u8]) -> Result<Response, Failure> {
    call.no_members()?;
    let table = call.store().table(table)?;
    let found = table.expire(key, Expiry::Never)? || table.ttl(key)? != Ttl::Missing;
    done(call, found)
}

/// `GET /tables/{t}/rows/{k}/ttl`
pub(super) fn ttl(call: &Call<'_>, table: &str, key: &[u8]) -> Result<Response, Failure> {
    let ttl = call.store().table(table)?.ttl(key)?;
    call.count_read(ttl != Ttl::Missing);
    let body = match ttl {
        Ttl::Missing => return Err(no_row().into()),
        Ttl::Never => b"{\"ttl\":null}".to_vec(),
        Ttl::At(ms) => {
            let seconds = ms.saturating_sub(call.context.now_ms) as f64 / 1000.0;
            format!("{{\"ttl\":{}}}", zmij::Buffer::new().format_finite(seconds)).into_bytes()
        }
    };
    Ok(Response::json(200, body))
}

/// The cells that the members of an object name.
pub(super) fn cells_of<'a>(members: Object<'a>, schema: &Schema, ints: Ints) -> Result<GivenCells<'a>, Failure> {
    let cell = |(name, value): (Cow<'a, str>, Json<'a>)| {
        let index = schema.column(&name)?;
        Ok((index, value.cell(schema, index, ints)?))
    };
    members.members().into_iter().map(cell).collect()
}

/// The cells as the store takes them.
pub(super) fn borrowed<'a>(given: &'a GivenCells<'_>) -> Vec<Cell<'a>> {
    given.iter().map(|(index, value)| (*index, value.as_ref())).collect()
}

/// The columns of a row in a batch.
pub(super) fn row_object(value: Json<'_>) -> Result<Object<'_>, Refusal> {
    match value {
        Json::Object(object) => Ok(object),
        _ => Err(bad("a row must be an object of columns")),
    }
}

fn done(call: &Call<'_>, found: bool) -> Result<Response, Failure> {
    if !found {
        return Err(no_row().into());
    }
    call.count_writes(1);
    Ok(Response::no_content())
}
