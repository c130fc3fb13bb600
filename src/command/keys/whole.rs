//! Values of any type as a whole: read, and written in the place of whatever a key held.

use crate::command::{
    call::Call,
    rdb,
    refusal::{Answer, Refusal, refuse},
};
use crate::store::{Error, ExpireRule, Expiry, FieldUpdate, KvType, Result, SetOptions, Ttl};

/// Reads the value of a key; it must not be longer than a reply may be.
pub(crate) fn read(call: &Call<'_, '_>, db: u8, key: &[u8]) -> Result<Option<rdb::Value>> {
    match call.kv().kind(db, key)? {
        None => Ok(None),
        Some(KvType::String) => {
            let mut value = Vec::new();
            Ok(call.kv().get(db, key, &mut value)?.then_some(rdb::Value::String(value)))
        }
        Some(KvType::Hash) => {
            let max = call.env.config.output_limit;
            let pairs = call.kv().pairs(db, key, max)?;
            let pairs = pairs.ok_or(Error::TooLarge { what: "bytes of a hash", len: max + 1, max })?;
            // It may have gone since it was looked for.
            Ok((!pairs.is_empty()).then_some(rdb::Value::Hash(pairs)))
        }
    }
}

/// Replaces what a key holds. To be called within [`atomically`].
pub(crate) fn write(call: &Call<'_, '_>, db: u8, key: &[u8], value: &rdb::Value, expiry: Expiry) -> Result<()> {
    match value {
        rdb::Value::String(value) => {
            call.kv().set(db, key, value, SetOptions { expiry, ..SetOptions::default() })?;
        }
        rdb::Value::Hash(pairs) => {
            call.kv().delete(db, key)?;
            let fields: Vec<&[u8]> = pairs.iter().map(|(field, _)| field.as_slice()).collect();
            let set = &mut |at: usize, _: Option<&[u8]>| Ok(FieldUpdate::Set(pairs[at].1.as_slice().into()));
            call.kv().change_fields(db, key, &fields, false, set)?;
            if expiry != Expiry::Never {
                call.kv().expire(db, key, expiry, ExpireRule::Always)?;
            }
        }
    }
    Ok(())
}

/// The expiry that a key has, as one to give to another.
pub(crate) fn expiry_of(call: &Call<'_, '_>, db: u8, key: &[u8]) -> Result<Expiry> {
    Ok(match call.kv().ttl(db, key)? {
        Ttl::At(at_ms) => Expiry::At(at_ms),
        Ttl::Missing | Ttl::Never => Expiry::Never,
    })
}

/// Runs `body` in a transaction of its own, or as a part of that of the EXEC at hand: if it is refused, nothing of it has happened.
pub(crate) fn atomically<T>(call: &Call<'_, '_>, body: impl FnOnce() -> Result<T>) -> Answer<T> {
    match call.env.store.atomically(body) {
        Err(Error::TooLarge { what: "bytes of a hash", max, .. }) => {
            refuse(format!("ERR the hash is too large for that ({max} bytes at most)"))
        }
        done => done.map_err(Refusal::from),
    }
}
