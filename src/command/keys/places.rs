//! Commands that copy or move keys, between databases too.

use crate::command::{
    Class, Reply,
    call::Call,
    keyspec::{KeySpec, OW_UPDATE, RO_ACCESS, RW_ACCESS_UPDATE},
    parse_int,
    refusal::{Answer, NOT_AN_INTEGER, Refusal, SYNTAX, refuse},
    table::{Command, DELETE_FAST, WRITE},
    whole,
};
use crate::store::{Expiry, KvType, Update, limits::DATABASES};

const SAME: &str = "ERR source and destination objects are the same";
const NO_SUCH_DATABASE: &str = "ERR DB index is out of range";

pub(crate) const COMMANDS: &[Command] = &[
    Command::new("copy", -3, copy)
        .flags(WRITE)
        .keys(1, 2, 1)
        .specs(&[KeySpec::one(1, RO_ACCESS), KeySpec::one(2, OW_UPDATE)])
        .complexity("O(N) with N being the length of the value")
        .docs("6.2.0", "source destination [DB destination-db] [REPLACE]", "Copies a key, with its value and expiry."),
    Command::new("move", 3, move_to).flags(DELETE_FAST).keys(1, 1, 1).access(RW_ACCESS_UPDATE).docs(
        "1.0.0",
        "key db",
        "Moves a key to another database.",
    ),
    Command::new("swapdb", 3, swapdb).group("server").flags(DELETE_FAST).categories(&["keyspace", "dangerous"]).docs(
        "4.0.0",
        "index1 index2",
        "Swaps two databases.",
    ),
];

/// Argument `index` as a database.
pub(crate) fn database(call: &Call<'_, '_>, index: usize) -> Answer<u8> {
    let number = parse_int(call.arg(index)).ok_or(Refusal::from(NOT_AN_INTEGER))?;
    if i32::try_from(number).is_err() {
        return refuse(format!("ERR value is out of range, value must between {} and {}", i32::MIN, i32::MAX));
    }
    match usize::try_from(number) {
        Ok(db) if db < DATABASES => Ok(db as u8),
        _ => refuse(NO_SUCH_DATABASE),
    }
}

fn copy(call: &mut Call<'_, '_>) -> Answer {
    let (mut db, mut replace) = (call.db(), false);
    let mut at = 3;
    while at < call.args.len() {
        if call.args.is(at, "REPLACE") {
            replace = true;
        } else if call.args.is(at, "DB") && at + 1 < call.args.len() {
            at += 1;
            db = database(call, at)?;
        } else {
            return refuse(SYNTAX);
        }
        at += 1;
    }
    let (from, to) = (call.key(1)?, call.key(2)?);
    if db == call.db() && from == to {
        return refuse(SAME);
    }
    let (mut copied, mut is_hash) = (false, false);
    call.kv().derive(&[(call.db(), from)], (db, to), &mut |sources, target| {
        let source = sources[0].filter(|_| replace || target.is_none());
        is_hash = source.is_some_and(|source| source.kind == KvType::Hash);
        copied = source.is_some();
        match source.filter(|_| !is_hash) {
            Some(source) => {
                let expiry = source.expires_at.map_or(Expiry::Never, Expiry::At);
                Ok(Update::Set(source.string()?.into(), expiry))
            }
            None => Ok(Update::Leave),
        }
    })?;
    if is_hash {
        copied = copy_whole(call, from, (db, to), replace)?;
    }
    if copied {
        call.count_writes(1);
        call.notify_in(db, Class::Generic, "copy_to", to);
    }
    Ok(Reply::flag(copied))
}

/// Copies a value of any type, in a transaction of its own: it has parts, which are read and written one by one.
fn copy_whole(call: &Call<'_, '_>, from: &[u8], to: (u8, &[u8]), replace: bool) -> Answer<bool> {
    whole::atomically(call, || {
        let value = whole::read(call, call.db(), from)?;
        let Some(value) = value.filter(|_| replace || matches!(call.kv().exists(to.0, to.1), Ok(false))) else {
            return Ok(false);
        };
        whole::write(call, to.0, to.1, &value, whole::expiry_of(call, call.db(), from)?)?;
        Ok(true)
    })
}

fn move_to(call: &mut Call<'_, '_>) -> Answer {
    let db = database(call, 2)?;
    if db == call.db() {
        return refuse(SAME);
    }
    let moved = call.kv().move_to(call.db(), call.key(1)?, db)?;
    if moved {
        call.count_writes(1);
        call.notify(Class::Generic, "move_from", call.key(1)?);
        call.notify_in(db, Class::Generic, "move_to", call.key(1)?);
    }
    Ok(Reply::flag(moved))
}

fn swapdb(call: &mut Call<'_, '_>) -> Answer {
    let index = |at: usize, wrong: &'static str| {
        let number = parse_int(call.arg(at)).and_then(|number| i32::try_from(number).ok());
        number.ok_or(Refusal::from(wrong))
    };
    let indexes = [index(1, "ERR invalid first DB index")?, index(2, "ERR invalid second DB index")?];
    let [one, other] = indexes.map(|number| u8::try_from(number).ok().filter(|&db| usize::from(db) < DATABASES));
    let (Some(one), Some(other)) = (one, other) else { return refuse(NO_SUCH_DATABASE) };
    call.kv().swap(one, other)?;
    call.count_writes(1);
    // Whoever caches keys of the two, or watches them, begins anew.
    if one != other {
        call.notify_flush(None);
    }
    Ok(Reply::OK)
}

#[cfg(test)]
mod tests {
    use crate::command::testing::{Server, check};

    #[test]
    fn keys_are_copied_with_their_expiry() {
        check(
            &Server::new(),
            &[
                ("SET a 1 EX 100", "+OK"),
                ("COPY a b", ":1"),
                ("TTL b", ":100"),
                ("COPY a b", ":0"),
                ("COPY none b REPLACE", ":0"),
                ("SET a 2", "+OK"),
                ("COPY a b REPLACE", ":1"),
                ("TTL b", ":-1"),
                ("COPY a a", "-ERR source and destination objects are the same"),
                ("COPY a a DB 3", ":1"),
                ("COPY a a DB 16", "-ERR DB index is out of range"),
                ("COPY a a DB", "-ERR syntax error"),
                ("SELECT 3", "+OK"),
                ("GET a", "$1 2"),
            ],
        );
    }

    #[test]
    fn databases_are_swapped() {
        check(
            &Server::new(),
            &[
                ("SET a 1", "+OK"),
                ("SWAPDB 0 3", "+OK"),
                ("GET a", "$-1"),
                ("SELECT 3", "+OK"),
                ("GET a", "$1 1"),
                ("SWAPDB x 3", "-ERR invalid first DB index"),
                ("SWAPDB 0 99999999999", "-ERR invalid second DB index"),
                ("SWAPDB 0 16", "-ERR DB index is out of range"),
                ("SWAPDB -1 0", "-ERR DB index is out of range"),
            ],
        );
    }

    #[test]
    fn keys_move_between_databases() {
        check(
            &Server::new(),
            &[
                ("SET a 1", "+OK"),
                ("MOVE a 0", "-ERR source and destination objects are the same"),
                ("MOVE a 16", "-ERR DB index is out of range"),
                ("MOVE a x", "-ERR value is not an integer or out of range"),
                ("MOVE a 9", ":1"),
                ("MOVE a 9", ":0"),
                ("SET a 2", "+OK"),
                ("MOVE a 9", ":0"),
                ("SELECT 9", "+OK"),
                ("GET a", "$1 1"),
            ],
        );
    }
}
