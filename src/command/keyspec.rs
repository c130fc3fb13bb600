//! Where the keys of a command are among its arguments, and what it does with them.
//!
//! COMMAND INFO shows this, COMMAND GETKEYS follows it, and permissions are checked by it. Nothing here looks at keys themselves.

use super::{Args, parse_int};

/// What a command does with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Access {
    /// `RO`, `RW`, `OW` (overwrites) or `RM` (removes), then what happens to the value, as COMMAND INFO shows them.
    pub(crate) flags: &'static [&'static str],
    /// The client learns something of the value.
    pub(crate) reads: bool,
    /// The value is made, changed or deleted.
    pub(crate) writes: bool,
    /// Whoever listens is told if there is no such key.
    pub(crate) tells_misses: bool,
}

/// What only reads tells of what it does not find.
const fn access(flags: &'static [&'static str], reads: bool, writes: bool) -> Access {
    Access { flags, reads, writes, tells_misses: !writes }
}

impl Access {
    /// The same, telling of a key that is not there although it may be written.
    pub(crate) const fn telling_misses(self) -> Self {
        Self { tells_misses: true, ..self }
    }

    /// The same, telling of nothing.
    pub(crate) const fn in_silence(self) -> Self {
        Self { tells_misses: false, ..self }
    }
}

/// Returns the value or a part of it.
pub(crate) const RO_ACCESS: Access = access(&["RO", "access"], true, false);
/// Says something about the key that is not its value.
pub(crate) const RO: Access = access(&["RO"], false, false);
/// Changes the value and tells something of it.
pub(crate) const RW_ACCESS_UPDATE: Access = access(&["RW", "access", "update"], true, true);
/// Changes the value, or what belongs to it.
pub(crate) const RW_UPDATE: Access = access(&["RW", "update"], false, true);
/// Adds to the value.
pub(crate) const RW_INSERT: Access = access(&["RW", "insert"], false, true);
/// Takes from the value.
pub(crate) const RW_DELETE: Access = access(&["RW", "delete"], false, true);
/// Takes from the value and tells something of it.
pub(crate) const RW_ACCESS_DELETE: Access = access(&["RW", "access", "delete"], true, true);
/// Replaces the value, whatever it was.
pub(crate) const OW_UPDATE: Access = access(&["OW", "update"], false, true);
/// Makes the value if there is none.
pub(crate) const OW_INSERT: Access = access(&["OW", "insert"], false, true);
/// Deletes the key.
pub(crate) const RM_DELETE: Access = access(&["RM", "delete"], false, true);
/// As [`RW_ACCESS_UPDATE`]; the arguments say what it really is.
pub(crate) const RW_VARIABLE: Access = access(&["RW", "access", "update", "variable_flags"], true, true);
/// The argument is no key, but clients of a cluster route by it.
pub(crate) const NOT_KEY: Access = access(&["not_key"], false, false).in_silence();

/// How the keys go on from the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Find {
    /// Up to `last`, counted from the first if it is not negative, else from the end; every `step`-th.
    Range {
        /// The last.
        last: i64,
        /// Arguments from one to the next.
        step: i64,
    },
    /// The first argument says how many there are; they follow it, every `step`-th.
    Counted {
        /// Arguments from one to the next.
        step: i64,
    },
}

/// One run of keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KeySpec {
    /// The argument where it begins.
    pub(crate) begin: usize,
    pub(crate) find: Find,
    pub(crate) access: Access,
}

impl KeySpec {
    /// One key.
    pub(crate) const fn one(begin: usize, access: Access) -> Self {
        Self { begin, find: Find::Range { last: 0, step: 1 }, access }
    }

    /// All arguments from one on.
    pub(crate) const fn rest(begin: usize, access: Access) -> Self {
        Self { begin, find: Find::Range { last: -1, step: 1 }, access }
    }

    /// A count, then so many keys, every `step`-th argument.
    pub(crate) const fn counted(begin: usize, step: i64, access: Access) -> Self {
        Self { begin, find: Find::Counted { step }, access }
    }

    /// The run of first key, last key and step, as [`super::table::Command::keys`] has them.
    pub(crate) const fn of_range((first, last, step): (i64, i64, i64), access: Access) -> Self {
        let last = if last < 0 { last } else { last - first };
        Self { begin: first as usize, find: Find::Range { last, step }, access }
    }

    /// Where its keys are in a request; `None` if there are not as many arguments as it says.
    pub(crate) fn places(&self, args: &Args<'_>) -> Option<impl Iterator<Item = usize> + use<>> {
        let (first, end, step) = match self.find {
            Find::Range { last, step } => {
                let last = if last < 0 { args.len() as i64 + last } else { self.begin as i64 + last };
                (self.begin, last + 1, step)
            }
            Find::Counted { step } => {
                let count = parse_int(args.get(self.begin)).filter(|&count| count > 0)?;
                let first = self.begin + 1;
                (first, count.checked_mul(step)?.checked_add(first as i64)?, step)
            }
        };
        let is_there = first < args.len() && end <= args.len() as i64 && end > first as i64;
        is_there.then(|| (first..end as usize).step_by(step.max(1) as usize))
    }
}

/// SET reads only if it is asked to return what was there, or to compare with it.
pub(crate) fn access_of_set(args: &Args<'_>) -> Access {
    let reads = (3..args.len()).any(|at| ["GET", "IFEQ", "IFNE"].iter().any(|word| args.is(at, word)));
    if reads { RW_ACCESS_UPDATE.telling_misses() } else { OW_UPDATE }
}

/// BITFIELD writes unless all that it does is to get.
pub(crate) fn access_of_bitfield(args: &Args<'_>) -> Access {
    let writes = (2..args.len()).any(|at| args.is(at, "SET") || args.is(at, "INCRBY"));
    if writes { RW_ACCESS_UPDATE } else { RO_ACCESS }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(spec: KeySpec, words: &str) -> Option<Vec<usize>> {
        let mut bytes = Vec::new();
        let ranges: Vec<_> = words
            .split_whitespace()
            .map(|word| {
                bytes.extend_from_slice(word.as_bytes());
                bytes.len() - word.len()..bytes.len()
            })
            .collect();
        spec.places(&Args::new(&bytes, &ranges)).map(Iterator::collect)
    }

    #[test]
    fn ranges_end_where_they_say() {
        assert_eq!(places(KeySpec::one(1, RO), "get a"), Some(vec![1]));
        assert_eq!(places(KeySpec::one(2, RO), "get a"), None);
        assert_eq!(places(KeySpec::rest(1, RO), "del a b c"), Some(vec![1, 2, 3]));
        let mset = KeySpec::of_range((1, -1, 2), OW_UPDATE);
        assert_eq!(places(mset, "mset a 1 b 2"), Some(vec![1, 3]));
        assert_eq!(places(KeySpec::of_range((1, 2, 1), RO), "lcs a b len"), Some(vec![1, 2]));
        assert_eq!(places(KeySpec::rest(1, RO), "unsubscribe"), None);
    }

    #[test]
    fn a_count_is_believed_only_as_far_as_there_are_arguments() {
        let spec = KeySpec::counted(1, 2, OW_UPDATE);
        assert_eq!(places(spec, "msetex 2 a 1 b 2 NX"), Some(vec![2, 4]));
        for wrong in
            ["msetex 3 a 1 b 2", "msetex 0 a 1", "msetex -1 a 1", "msetex x a 1", "msetex 9223372036854775807 a 1"]
        {
            assert_eq!(places(spec, wrong), None, "{wrong}");
        }
    }
}
