//! Commands on parts of a value.

use crate::command::{
    Class, Reply,
    bits::grown,
    call::Call,
    keyspec::RW_UPDATE,
    refusal::{Answer, VALUE_TOO_LONG, refuse},
    table::{Command, WRITE},
};
use crate::store::{Error, Expiry, Update, string_of};

pub(crate) const COMMANDS: &[Command] = &[Command::new("setrange", 4, setrange)
    .group("string")
    .flags(WRITE)
    .keys(1, 1, 1)
    .access(RW_UPDATE)
    .complexity("O(N) with N being the length of the value")
    .docs(
        "2.2.0",
        "key offset value",
        "Overwrites a part of the value of a key; what lies before it is filled up with zeros.",
    )];

fn setrange(call: &mut Call<'_, '_>) -> Answer {
    let Ok(offset) = usize::try_from(call.int(2)?) else { return refuse("ERR offset is out of range") };
    let (part, max) = (call.arg(3), call.env.config.max_value);
    let mut len = 0;
    let written = call.kv().update(call.db(), call.key(1)?, &mut |current| {
        let value = string_of(current)?.unwrap_or_default();
        len = value.len();
        if part.is_empty() {
            return Ok(Update::Leave);
        }
        let end = offset.saturating_add(part.len());
        if end > max {
            return Err(Error::TooLarge { what: "value", len: end, max });
        }
        let mut value = grown(value, end);
        value[offset..end].copy_from_slice(part);
        len = value.len();
        Ok(Update::Set(value.into(), Expiry::Keep))
    });
    match written {
        Err(Error::TooLarge { .. }) => return refuse(VALUE_TOO_LONG),
        written => written?,
    }
    if !part.is_empty() {
        call.count_writes(1);
        call.notify(Class::String, "setrange", call.key(1)?);
    }
    Ok(Reply::Int(len as i64))
}
