//! Commands on the bits of a value: single ones, counts, places, and operations on whole values.
//!
//! Bit 0 is the highest bit of the first byte. A value goes on with zeros behind its end.

pub(super) mod bitfield;

use std::borrow::Cow;

use super::{
    Class, Reply,
    call::Call,
    keyspec::{KeySpec, OW_UPDATE, RO_ACCESS},
    parse_int,
    refusal::{Answer, Refusal, SYNTAX, refuse},
    table::{Command, READ, READ_FAST, WRITE},
    whole,
};
use crate::store::{Expiry, Result, Update, limits::MAX_BATCH_ROWS, string_of};

const NOT_A_BIT: &str = "ERR bit is not an integer or out of range";
const NOT_AN_OFFSET: &str = "ERR bit offset is not an integer or out of range";

pub(crate) const COMMANDS: &[Command] = &[
    command("setbit", 4, setbit)
        .flags(WRITE)
        .keys(1, 1, 1)
        .complexity("O(N) with N being the length of the value")
        .docs("2.2.0", "key offset value", "Sets or clears one bit of a value and returns what it was."),
    command("getbit", 3, getbit)
        .flags(READ_FAST)
        .keys(1, 1, 1)
        .complexity("O(N) with N being the length of the value")
        .docs("2.2.0", "key offset", "Returns one bit of a value."),
    command("bitcount", -2, bitcount).flags(READ).keys(1, 1, 1).complexity("O(N)").docs(
        "2.6.0",
        "key [start end [BYTE | BIT]]",
        "Counts the bits that are set in a value.",
    ),
    command("bitpos", -3, bitpos).flags(READ).keys(1, 1, 1).complexity("O(N)").docs(
        "2.8.7",
        "key bit [start [end [BYTE | BIT]]]",
        "Finds the first bit of a value that is set, or clear.",
    ),
    command("bitop", -4, bitop)
        .flags(WRITE)
        .keys(2, -1, 1)
        .specs(&[KeySpec::one(2, OW_UPDATE), KeySpec::rest(3, RO_ACCESS)])
        .complexity("O(N)")
        .docs(
            "2.6.0",
            "(AND | OR | XOR | NOT | DIFF | DIFF1 | ANDOR | ONE) destkey key...",
            "Combines values bit by bit and stores the result.",
        ),
];

const fn command(name: &'static str, arity: i64, handler: super::table::Handler) -> Command {
    Command::new(name, arity, handler).group("bitmap")
}

/// Argument `index` as the number of a bit, which must lie within the largest value.
pub(crate) fn offset(call: &Call<'_, '_>, index: usize) -> Answer<u64> {
    let max = call.env.config.max_value as i64;
    parse_int(call.arg(index))
        .filter(|&offset| within(offset, max))
        .map(|offset| offset as u64)
        .ok_or(NOT_AN_OFFSET.into())
}

/// As [`offset`], with `#n` for the `n`-th of numbers of `width` bits.
pub(crate) fn offset_of(call: &Call<'_, '_>, index: usize, width: u32) -> Answer<u64> {
    let Some(number) = call.arg(index).strip_prefix(b"#") else { return offset(call, index) };
    let max = call.env.config.max_value as i64;
    let offset = parse_int(number).and_then(|number| number.checked_mul(i64::from(width)));
    offset.filter(|&offset| within(offset, max)).map(|offset| offset as u64).ok_or(NOT_AN_OFFSET.into())
}

fn within(offset: i64, max_bytes: i64) -> bool {
    offset >= 0 && offset >> 3 < max_bytes
}

fn bit_of(value: &[u8], offset: u64) -> bool {
    value.get((offset >> 3) as usize).is_some_and(|byte| byte >> (7 - (offset & 7)) & 1 == 1)
}

fn setbit(call: &mut Call<'_, '_>) -> Answer {
    let offset = offset(call, 2)?;
    let on = match parse_int(call.arg(3)) {
        Some(bit @ (0 | 1)) => bit == 1,
        _ => return refuse(NOT_A_BIT),
    };
    let (byte, mask) = ((offset >> 3) as usize, 0x80_u8 >> (offset & 7));
    let (mut before, mut changes) = (false, false);
    call.kv().update(call.db(), call.key(1)?, &mut |current| {
        let value = string_of(current)?.unwrap_or_default();
        before = bit_of(value, offset);
        changes = before != on || byte >= value.len();
        if !changes {
            return Ok(Update::Leave);
        }
        let mut value = grown(value, byte + 1);
        value[byte] = if on { value[byte] | mask } else { value[byte] & !mask };
        Ok(Update::Set(value.into(), Expiry::Keep))
    })?;
    if changes {
        call.count_writes(1);
        call.notify(Class::String, "setbit", call.key(1)?);
    }
    Ok(Reply::flag(before))
}

/// A copy that has `len` bytes at least.
pub(crate) fn grown(value: &[u8], len: usize) -> Vec<u8> {
    let mut copy = Vec::with_capacity(value.len().max(len));
    copy.extend_from_slice(value);
    copy.resize(value.len().max(len), 0);
    copy
}

fn getbit(call: &mut Call<'_, '_>) -> Answer {
    let offset = offset(call, 2)?;
    let value = read(call)?;
    Ok(Reply::flag(bit_of(&value.unwrap_or_default(), offset)))
}

/// The value of the first key.
fn read(call: &mut Call<'_, '_>) -> Answer<Option<Vec<u8>>> {
    let mut value = Vec::new();
    let hit = call.kv().get(call.db(), call.key(1)?, &mut value)?;
    call.count_read(hit);
    Ok(hit.then_some(value))
}

/// Whether argument `index` says that a range is of bits.
fn in_bits(call: &Call<'_, '_>, index: usize) -> Answer<bool> {
    match index >= call.args.len() || call.args.is(index, "BYTE") {
        true => Ok(false),
        false if call.args.is(index, "BIT") => Ok(true),
        false => refuse(SYNTAX),
    }
}

/// The bits of a value of `len` bytes that `start..=end` are, bits or bytes of which negative ones count from the end.
fn bit_range(len: usize, start: i64, end: i64, in_bits: bool) -> Option<(u64, u64)> {
    let total = if in_bits { 8 * len as i64 } else { len as i64 };
    let from_end = |at: i64| if at < 0 { at.saturating_add(total).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(total - 1));
    let bits = |(start, end): (i64, i64)| if in_bits { (start, end) } else { (8 * start, 8 * end + 7) };
    // Only a range within the value is short enough to be counted in bits.
    (start <= end).then(|| bits((start, end))).map(|(start, end)| (start as u64, end as u64))
}

fn bitcount(call: &mut Call<'_, '_>) -> Answer {
    let range = match call.args.len() {
        2 => None,
        4 | 5 => {
            let (start, end) = (call.int(2)?, call.int(3)?);
            Some((start, end, in_bits(call, 4)?))
        }
        _ => return refuse(SYNTAX),
    };
    let value = read(call)?.unwrap_or_default();
    let (start, end, in_bits) = range.unwrap_or((0, -1, false));
    if start < 0 && end < 0 && start > end {
        return Ok(Reply::Int(0));
    }
    let count = bit_range(value.len(), start, end, in_bits).map_or(0, |(start, end)| ones(&value, start, end));
    Ok(Reply::Int(count as i64))
}

/// How many bits of `start..=end` are set; all of them lie within the value.
fn ones(value: &[u8], start: u64, end: u64) -> u64 {
    let (first, last) = ((start >> 3) as usize, (end >> 3) as usize);
    let (words, rest) = value[first..=last].as_chunks::<8>();
    let whole: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    let whole = whole + rest.iter().map(|byte| u64::from(byte.count_ones())).sum::<u64>();
    let before = value[first] & !(0xff >> (start & 7));
    let behind = (u16::from(value[last]) << ((end & 7) + 1)) as u8;
    whole - u64::from(before.count_ones()) - u64::from(behind.count_ones())
}

fn bitpos(call: &mut Call<'_, '_>) -> Answer {
    let bit = match call.int(2)? {
        bit @ (0 | 1) => bit == 1,
        _ => return refuse("ERR The bit argument must be 1 or 0."),
    };
    let mut range = (0, -1, false);
    if call.args.len() > 3 {
        if call.args.len() > 6 {
            return refuse(SYNTAX);
        }
        range.0 = call.int(3)?;
        range.2 = in_bits(call, 5)?;
        if call.args.len() > 4 {
            range.1 = call.int(4)?;
        }
    }
    let Some(value) = read(call)? else { return Ok(Reply::Int(if bit { -1 } else { 0 })) };
    let Some((start, end)) = bit_range(value.len(), range.0, range.1, range.2) else { return Ok(Reply::Int(-1)) };
    let found = find(&value, bit, start, end);
    // Without an end of its own the range goes on behind the value, where all bits are clear.
    let open_end = !bit && call.args.len() < 5;
    Ok(Reply::Int(found.map_or(if open_end { end as i64 + 1 } else { -1 }, |at| at as i64)))
}

/// The first bit of `start..=end` that is `bit`; all of them lie within the value.
fn find(value: &[u8], bit: bool, start: u64, end: u64) -> Option<u64> {
    let skipped = if bit { 0 } else { 0xff };
    let mut byte = (start >> 3) as usize;
    // Of the first byte, the bits before the range count as others.
    let mut looked = if bit { value[byte] } else { !value[byte] } & (0xff >> (start & 7));
    while looked == 0 && byte < (end >> 3) as usize {
        byte += 1;
        byte += value[byte..=(end >> 3) as usize].iter().take_while(|&&other| other == skipped).count();
        let other = *value.get(byte).filter(|_| byte <= (end >> 3) as usize)?;
        looked = if bit { other } else { !other };
    }
    let at = 8 * byte as u64 + u64::from(looked.leading_zeros());
    (looked != 0 && at <= end).then_some(at)
}

/// How values are combined.
#[derive(Clone, Copy, PartialEq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
    /// The first without the others.
    Diff,
    /// The others without the first.
    Diff1,
    /// The first with any of the others.
    AndOr,
    /// What exactly one has.
    One,
}

impl Operation {
    fn of(word: &[u8]) -> Option<Self> {
        let all = [
            ("AND", Self::And),
            ("OR", Self::Or),
            ("XOR", Self::Xor),
            ("NOT", Self::Not),
            ("DIFF", Self::Diff),
            ("DIFF1", Self::Diff1),
            ("ANDOR", Self::AndOr),
            ("ONE", Self::One),
        ];
        all.into_iter().find_map(|(name, it)| word.eq_ignore_ascii_case(name.as_bytes()).then_some(it))
    }

    /// Combines values, all of which go on with zeros up to the longest.
    fn combine(self, values: &[&[u8]]) -> Vec<u8> {
        let len = values.iter().map(|value| value.len()).max().unwrap_or(0);
        let (first, others) = values.split_first().map_or((&[][..], values), |(first, others)| (*first, others));
        match self {
            Self::Not => first.iter().map(|byte| !byte).collect(),
            Self::And => others.iter().fold(grown(first, len), |sum, other| and(sum, other)),
            Self::Or => fold(first, others, len, |a, b| a | b),
            Self::Xor => fold(first, others, len, |a, b| a ^ b),
            Self::Diff => pair(grown(first, len), &any(others, len), |first, any| first & !any),
            Self::Diff1 => pair(grown(first, len), &any(others, len), |first, any| !first & any),
            Self::AndOr => pair(grown(first, len), &any(others, len), |first, any| first & any),
            Self::One => one(values, len),
        }
    }
}

/// What both have.
fn and(mut sum: Vec<u8>, other: &[u8]) -> Vec<u8> {
    sum.iter_mut().zip(other).for_each(|(sum, other)| *sum &= other);
    let common = sum.len().min(other.len());
    sum[common..].fill(0);
    sum
}

/// What any of them has.
fn any(values: &[&[u8]], len: usize) -> Vec<u8> {
    fold(&[], values, len, |a, b| a | b)
}

fn fold(first: &[u8], others: &[&[u8]], len: usize, with: impl Fn(u8, u8) -> u8) -> Vec<u8> {
    others.iter().fold(grown(first, len), |sum, other| pair(sum, other, &with))
}

/// Combines bytes that both have; what the shorter one lacks leaves the longer as it is.
fn pair(mut sum: Vec<u8>, other: &[u8], with: impl Fn(u8, u8) -> u8) -> Vec<u8> {
    sum.iter_mut().zip(other).for_each(|(sum, other)| *sum = with(*sum, *other));
    sum
}

fn one(values: &[&[u8]], len: usize) -> Vec<u8> {
    let (mut once, mut twice) = (vec![0; len], vec![0; len]);
    for value in values {
        for ((once, twice), byte) in once.iter_mut().zip(&mut twice).zip(*value) {
            *twice |= *once & byte;
            *once |= byte;
        }
    }
    pair(once, &twice, |once, twice| once & !twice)
}

fn bitop(call: &mut Call<'_, '_>) -> Answer {
    let operation = Operation::of(call.arg(1)).ok_or(Refusal::from(SYNTAX))?;
    if operation == Operation::Not && call.args.len() != 4 {
        return refuse("ERR BITOP NOT must be called with a single source key.");
    }
    if matches!(operation, Operation::Diff | Operation::Diff1 | Operation::AndOr) && call.args.len() < 5 {
        let name = call.text(1).to_ascii_uppercase();
        return refuse(format!("ERR BITOP {name} must be called with at least two source keys."));
    }
    let (target, sources) = (call.key(2)?, call.keys(3, 1)?);
    let (len, existed) = if sources.len() < MAX_BATCH_ROWS {
        combine_in_one_step(call, operation, target, &sources)?
    } else {
        whole::atomically(call, || combine_one_by_one(call, operation, target, &sources))?
    };
    call.count_writes(usize::from(len > 0 || existed));
    if len > 0 {
        call.notify(Class::String, "set", target);
    } else if existed {
        call.notify(Class::Generic, "del", target);
    }
    Ok(Reply::Int(len as i64))
}

/// Locks all keys together. The length of the result, and whether the target was there before.
fn combine_in_one_step(
    call: &Call<'_, '_>,
    operation: Operation,
    target: &[u8],
    sources: &[&[u8]],
) -> Result<(usize, bool)> {
    let places: Vec<(u8, &[u8])> = sources.iter().map(|&key| (call.db(), key)).collect();
    let (mut len, mut existed) = (0, false);
    call.kv().derive(&places, (call.db(), target), &mut |shown, before| {
        existed = before.is_some();
        let mut values = Vec::with_capacity(shown.len());
        for &source in shown {
            values.push(string_of(source)?.unwrap_or_default());
        }
        let result = operation.combine(&values);
        len = result.len();
        Ok(update_to(result))
    })?;
    Ok((len, existed))
}

/// The same for more keys than one step can lock; to be called within a transaction.
fn combine_one_by_one(
    call: &Call<'_, '_>,
    operation: Operation,
    target: &[u8],
    sources: &[&[u8]],
) -> Result<(usize, bool)> {
    let mut values = vec![Vec::new(); sources.len()];
    for (key, value) in sources.iter().zip(&mut values) {
        call.kv().get(call.db(), key, value)?;
    }
    let result = operation.combine(&values.iter().map(Vec::as_slice).collect::<Vec<_>>());
    let (len, mut existed) = (result.len(), false);
    call.kv().update(call.db(), target, &mut |current| {
        existed = current.is_some();
        Ok(update_to(&result))
    })?;
    Ok((len, existed))
}

/// What becomes of the target.
fn update_to<'r>(result: impl Into<Cow<'r, [u8]>>) -> Update<'r> {
    let result = result.into();
    if result.is_empty() { Update::Delete } else { Update::Set(result, Expiry::Never) }
}

#[cfg(test)]
mod tests;
