//! Commands that go ahead only if a value is what the client believes it to be.

use crate::command::{
    Class, Reply,
    call::Call,
    keyspec::RW_ACCESS_DELETE,
    refusal::{Answer, SYNTAX, refuse, wrong_arity},
    table::{Command, DELETE_FAST},
};
use crate::store::{Result, SetOptions, SetOutcome, Update, string_of};

pub(crate) const COMMANDS: &[Command] = &[
    Command::new("delifeq", 3, delifeq).group("string").flags(DELETE_FAST).keys(1, 1, 1).access(RW_ACCESS_DELETE).docs(
        "9.0.0",
        "key value",
        "Deletes a key if it has this value.",
    ),
    Command::new("delex", -2, delex).group("string").flags(DELETE_FAST).keys(1, 1, 1).access(RW_ACCESS_DELETE).docs(
        "8.4.0",
        "key [IFEQ value | IFNE value]",
        "Deletes a key if it has this value, or another one.",
    ),
];

/// What a value must be.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Comparison<'a> {
    /// This; what is absent is not.
    Equal(&'a [u8]),
    /// Something else; what is absent is.
    Differs(&'a [u8]),
}

impl<'a> Comparison<'a> {
    /// The comparison that argument `index` and the one behind it ask for.
    pub(crate) fn at(call: &Call<'a, '_>, index: usize) -> Option<Self> {
        let value = call.args.from(index + 1).next()?;
        match () {
            () if call.args.is(index, "IFEQ") => Some(Self::Equal(value)),
            () if call.args.is(index, "IFNE") => Some(Self::Differs(value)),
            () => None,
        }
    }

    fn holds(self, value: Option<&[u8]>) -> bool {
        match self {
            Self::Equal(wanted) => value == Some(wanted),
            Self::Differs(unwanted) => value != Some(unwanted),
        }
    }
}

/// Sets the value of a key if it is as expected; the options' own condition is not looked at.
pub(crate) fn set_if(
    call: &Call<'_, '_>,
    key: &[u8],
    value: &[u8],
    comparison: Comparison<'_>,
    options: SetOptions,
) -> Result<SetOutcome> {
    let mut outcome = SetOutcome::default();
    call.kv().update(call.db(), key, &mut |current| {
        let before = string_of(current)?;
        outcome = SetOutcome { written: comparison.holds(before), previous: None };
        if options.get {
            outcome.previous = before.map(<[u8]>::to_vec);
        }
        Ok(if outcome.written { Update::Set(value.into(), options.expiry) } else { Update::Leave })
    })?;
    Ok(outcome)
}

fn delifeq(call: &mut Call<'_, '_>) -> Answer {
    delete_if(call, Comparison::Equal(call.arg(2)))
}

fn delex(call: &mut Call<'_, '_>) -> Answer {
    match call.args.len() {
        2 => {
            let deleted = call.kv().delete(call.db(), call.key(1)?)?;
            tell(call, deleted)
        }
        4 => match Comparison::at(call, 2) {
            Some(comparison) => delete_if(call, comparison),
            None => refuse(SYNTAX),
        },
        _ => wrong_arity("delex"),
    }
}

fn delete_if(call: &mut Call<'_, '_>, comparison: Comparison<'_>) -> Answer {
    let mut deleted = false;
    call.kv().update(call.db(), call.key(1)?, &mut |current| {
        let value = string_of(current)?;
        deleted = value.is_some() && comparison.holds(value);
        Ok(if deleted { Update::Delete } else { Update::Leave })
    })?;
    tell(call, deleted)
}

fn tell(call: &Call<'_, '_>, deleted: bool) -> Answer {
    if deleted {
        call.count_writes(1);
        call.notify(Class::Generic, "del", call.key(1)?);
    }
    Ok(Reply::flag(deleted))
}

#[cfg(test)]
mod tests {
    use crate::command::testing::{Server, check};

    #[test]
    fn a_key_is_deleted_if_it_has_the_value() {
        check(
            &Server::new(),
            &[
                ("DELIFEQ a 1", ":0"),
                ("SET a 1", "+OK"),
                ("DELIFEQ a 2", ":0"),
                ("DELIFEQ a 1", ":1"),
                ("SET a 1", "+OK"),
                ("DELEX a IFNE 1", ":0"),
                ("DELEX a IFEQ 2", ":0"),
                ("DELEX a IFNE 2", ":1"),
                ("DELEX a IFNE 2", ":0"),
                ("DELEX a", ":0"),
                ("DELEX a IF 2", "-ERR syntax error"),
                ("DELEX a IFEQ", "-ERR wrong number of arguments for 'delex' command"),
            ],
        );
    }

    #[test]
    fn set_compares_first() {
        check(
            &Server::new(),
            &[
                ("SET a 1 IFEQ x", "$-1"),
                ("EXISTS a", ":0"),
                ("SET a 1 IFNE x", "+OK"),
                ("SET a 2 IFEQ 1", "+OK"),
                ("SET a 3 IFEQ 1", "$-1"),
                ("SET a 3 IFEQ 1 GET", "$1 2"),
                ("SET a 3 IFEQ 2 GET EX 100", "$1 2"),
                ("TTL a", ":100"),
                ("SET a 4 IFEQ 3 KEEPTTL", "+OK"),
                ("TTL a", ":100"),
                ("SET a 4 IFEQ 4 NX", "-ERR syntax error"),
                ("SET a 4 XX IFEQ 4", "-ERR syntax error"),
                ("SET a 4 IFEQ", "-ERR syntax error"),
            ],
        );
    }
}
