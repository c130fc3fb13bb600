//! BITFIELD: integers of any width at any place of a value.

use crate::command::{
    Class, Reply,
    bits::{grown, offset_of},
    call::Call,
    keyspec::access_of_bitfield,
    parse_int,
    refusal::{Answer, Refusal, SYNTAX, VALUE_TOO_LONG, refuse},
    table::{Command, READ_FAST, WRITE},
};
use crate::store::{Expiry, Update, string_of};

pub(crate) const COMMANDS: &[Command] = &[
    Command::new("bitfield", -2, bitfield).group("bitmap").flags(WRITE).keys(1, 1, 1).access_by(access_of_bitfield).complexity("O(1) for each subcommand").docs(
        "3.2.0",
        "key [GET encoding offset | [OVERFLOW <WRAP | SAT | FAIL>] <SET encoding offset value | INCRBY encoding offset increment>]...",
        "Reads, writes and adds to integers of any width in a value.",
    ),
    Command::new("bitfield_ro", -2, bitfield_ro).group("bitmap").flags(READ_FAST).keys(1, 1, 1).docs(
        "6.0.0",
        "key [GET encoding offset]...",
        "Reads integers of any width in a value.",
    ),
];

/// An integer type.
#[derive(Clone, Copy)]
struct Width {
    signed: bool,
    bits: u32,
}

impl Width {
    fn of(word: &[u8]) -> Answer<Self> {
        const WRONG: &str =
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.";
        let (signed, digits) = match word {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => return refuse(WRONG),
        };
        match parse_int(digits) {
            Some(bits) if (1..=63 + i64::from(signed)).contains(&bits) => Ok(Self { signed, bits: bits as u32 }),
            _ => refuse(WRONG),
        }
    }

    /// The smallest and the largest integer.
    fn bounds(self) -> (i128, i128) {
        if self.signed { (-(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1) } else { (0, (1 << self.bits) - 1) }
    }

    /// The integer whose lowest bits these are.
    fn wrapped(self, number: i128) -> i128 {
        let low = number & ((1 << self.bits) - 1);
        if self.signed && low >> (self.bits - 1) == 1 { low - (1 << self.bits) } else { low }
    }

    fn read(self, value: &[u8], offset: u64) -> i128 {
        let bits = (0..u64::from(self.bits)).map(|i| {
            let at = offset + i;
            value.get((at >> 3) as usize).map_or(0, |byte| byte >> (7 - (at & 7)) & 1)
        });
        self.wrapped(bits.fold(0, |number, bit| number << 1 | i128::from(bit)))
    }

    /// Writes into a value that is long enough.
    fn write(self, value: &mut [u8], offset: u64, number: i128) {
        for i in 0..u64::from(self.bits) {
            let at = offset + i;
            let (byte, mask) = (&mut value[(at >> 3) as usize], 0x80_u8 >> (at & 7));
            let on = number >> (u64::from(self.bits) - 1 - i) & 1 == 1;
            *byte = if on { *byte | mask } else { *byte & !mask };
        }
    }
}

/// What becomes of a number that does not fit.
#[derive(Clone, Copy)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Clone, Copy)]
enum Action {
    Get,
    Set(i64),
    Add(i64),
}

/// One of the operations of a BITFIELD.
struct Step {
    width: Width,
    offset: u64,
    action: Action,
    overflow: Overflow,
}

impl Step {
    /// Carries the step out; the reply, or nothing if the number does not fit and that is a failure.
    fn apply(&self, value: &mut [u8]) -> Option<i64> {
        let before = self.width.read(value, self.offset);
        let wanted = match self.action {
            Action::Get => return Some(before as i64),
            // What is written to an unsigned integer is taken as one.
            Action::Set(number) if !self.width.signed => i128::from(number as u64),
            Action::Set(number) => i128::from(number),
            Action::Add(by) => before + i128::from(by),
        };
        let (min, max) = self.width.bounds();
        let after = match self.overflow {
            _ if (min..=max).contains(&wanted) => wanted,
            Overflow::Wrap => self.width.wrapped(wanted),
            Overflow::Saturate => wanted.clamp(min, max),
            Overflow::Fail => return None,
        };
        self.width.write(value, self.offset, after);
        Some(if matches!(self.action, Action::Set(_)) { before } else { after } as i64)
    }

    fn writes(&self) -> bool {
        !matches!(self.action, Action::Get)
    }

    /// Bytes that a value needs for it.
    fn reach(&self) -> usize {
        ((self.offset + u64::from(self.width.bits) - 1) >> 3) as usize + 1
    }
}

/// The operations behind the key.
fn steps(call: &Call<'_, '_>) -> Answer<Vec<Step>> {
    let mut steps = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut at = 2;
    while at < call.args.len() {
        let behind = call.args.len() - at - 1;
        if call.args.is(at, "OVERFLOW") && behind >= 1 {
            overflow = match call.arg(at + 1).to_ascii_uppercase().as_slice() {
                b"WRAP" => Overflow::Wrap,
                b"SAT" => Overflow::Saturate,
                b"FAIL" => Overflow::Fail,
                _ => return refuse("ERR Invalid OVERFLOW type specified"),
            };
            at += 2;
            continue;
        }
        let reads = call.args.is(at, "GET") && behind >= 2;
        let (sets, adds) = (call.args.is(at, "SET") && behind >= 3, call.args.is(at, "INCRBY") && behind >= 3);
        if !(reads || sets || adds) {
            return refuse(SYNTAX);
        }
        let width = Width::of(call.arg(at + 1))?;
        let offset = offset_of(call, at + 2, width.bits)?;
        let action = match (sets, adds) {
            (true, _) => Action::Set(call.int(at + 3)?),
            (_, true) => Action::Add(call.int(at + 3)?),
            _ => Action::Get,
        };
        steps.push(Step { width, offset, action, overflow });
        at += if reads { 3 } else { 4 };
    }
    Ok(steps)
}

fn bitfield(call: &mut Call<'_, '_>) -> Answer {
    let steps = steps(call)?;
    if !steps.iter().any(Step::writes) {
        return read(call, &steps);
    }
    let reach = steps.iter().filter(|step| step.writes()).map(Step::reach).max().unwrap_or(0);
    if reach > call.env.config.max_value {
        return refuse(VALUE_TOO_LONG);
    }
    let (mut replies, mut changed) = (Vec::new(), false);
    call.kv().update(call.db(), call.key(1)?, &mut |current| {
        let before = string_of(current)?.unwrap_or_default();
        let mut value = grown(before, reach);
        let done: Vec<_> = steps.iter().map(|step| step.apply(&mut value)).collect();
        // Room that was made for writes that all failed is no change.
        let wrote = steps.iter().zip(&done).any(|(step, done)| step.writes() && done.is_some());
        changed = wrote && value != before;
        replies = done.into_iter().map(|done| done.map_or(Reply::Null, Reply::Int)).collect();
        Ok(if changed { Update::Set(value.into(), Expiry::Keep) } else { Update::Leave })
    })?;
    if changed {
        call.count_writes(1);
        call.notify(Class::String, "setbit", call.key(1)?);
    }
    Ok(Reply::Array(replies))
}

fn bitfield_ro(call: &mut Call<'_, '_>) -> Answer {
    let steps = steps(call)?;
    if steps.iter().any(Step::writes) {
        return Err(Refusal::from("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    read(call, &steps)
}

fn read(call: &mut Call<'_, '_>, steps: &[Step]) -> Answer {
    let mut value = Vec::new();
    let hit = call.kv().get(call.db(), call.key(1)?, &mut value)?;
    call.count_read(hit);
    Ok(Reply::Array(steps.iter().map(|step| Reply::Int(step.width.read(&value, step.offset) as i64)).collect()))
}
