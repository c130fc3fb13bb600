//! MSETEX: several values with one expiry and one condition, in one step.

use crate::command::{
    Reply,
    call::Call,
    expiry::{self, Clock},
    keyspec::{KeySpec, OW_UPDATE},
    parse_int,
    refusal::{Answer, Refusal, SYNTAX, refuse},
    strings::notify_set,
    table::{Command, WRITE},
};
use crate::store::{Condition, Expiry};

pub(crate) const COMMANDS: &[Command] =
    &[Command::new("msetex", -4, msetex).group("string").flags(WRITE).specs(&[KeySpec::counted(1, 2, OW_UPDATE)]).complexity("O(N) with N being the number of keys").docs(
        "8.4.0",
        "numkeys (key value)... [NX | XX] [EX seconds | PX milliseconds | EXAT unix-time-seconds | PXAT unix-time-milliseconds | KEEPTTL]",
        "Sets the values of several keys, and their expiry, in one step.",
    )];

/// The condition and the expiry behind the pairs.
fn options(call: &Call<'_, '_>, first: usize) -> Answer<(Condition, Expiry)> {
    let (mut condition, mut keep) = (Condition::Always, false);
    let mut time: Option<(Clock, usize)> = None;
    let mut at = first;
    while at < call.args.len() {
        let timed = keep || time.is_some();
        if call.args.is(at, "NX") && condition == Condition::Always {
            condition = Condition::IfAbsent;
        } else if call.args.is(at, "XX") && condition == Condition::Always {
            condition = Condition::IfPresent;
        } else if call.args.is(at, "KEEPTTL") && !timed {
            keep = true;
        } else if let Some(clock) = Clock::option(call.arg(at))
            && !timed
            && at + 1 < call.args.len()
        {
            at += 1;
            time = Some((clock, at));
        } else {
            return refuse(SYNTAX);
        }
        at += 1;
    }
    let expiry = match time {
        Some((clock, at)) => expiry::positive(call, at, clock)?,
        None if keep => Expiry::Keep,
        None => Expiry::Never,
    };
    Ok((condition, expiry))
}

fn msetex(call: &mut Call<'_, '_>) -> Answer {
    let count = parse_int(call.arg(1)).and_then(|count| i32::try_from(count).ok()).filter(|&count| count > 0);
    let count = count.ok_or(Refusal::from("ERR invalid numkeys value"))? as usize;
    let Some(first) = Some(2 + 2 * count).filter(|&first| first <= call.args.len()) else {
        return refuse("ERR wrong number of key-value pairs");
    };
    let (condition, expiry) = options(call, first)?;
    let pairs = (0..count).map(|i| Ok((call.key(2 + 2 * i)?, call.value(3 + 2 * i)?))).collect::<Answer<Vec<_>>>()?;
    let written = call.kv().mset_if(call.db(), &pairs, expiry, condition)?;
    if written {
        call.count_writes(count);
        pairs.iter().for_each(|(key, _)| notify_set(call, key, expiry));
    }
    Ok(Reply::flag(written))
}

#[cfg(test)]
mod tests {
    use crate::command::testing::{Server, check};

    #[test]
    fn several_values_get_one_expiry() {
        check(
            &Server::new(),
            &[
                ("MSETEX 2 a 1 b 2 EX 100", ":1"),
                ("TTL b", ":100"),
                ("MSETEX 2 a 1 c 2 NX", ":0"),
                ("MSETEX 2 a 1 c 2 XX", ":0"),
                ("MSETEX 2 KEEPTTL 1 c 2 NX PX 5000", ":1"),
                ("PTTL KEEPTTL", ":5000"),
                ("MSETEX 1 a 3 KEEPTTL", ":1"),
                ("TTL a", ":100"),
                ("MSETEX 1 a 3", ":1"),
                ("TTL a", ":-1"),
                ("MSETEX 0 a 3", "-ERR invalid numkeys value"),
                ("MSETEX 2147483648 a 3", "-ERR invalid numkeys value"),
                ("MSETEX 2147483647 a 3", "-ERR wrong number of key-value pairs"),
                ("MSETEX 1 a 3 EX", "-ERR syntax error"),
                ("MSETEX 1 a 3 EX 0", "-ERR invalid expire time in 'msetex' command"),
                ("MSETEX 1 a 3 NX XX", "-ERR syntax error"),
                ("MSETEX 1 a 3 EX 1 PX 1", "-ERR syntax error"),
                ("GET a", "$1 3"),
            ],
        );
    }
}
