//! When two replies count as the same.

use super::raw;

/// How replies of a command are compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Compare {
    /// Byte for byte.
    Exact,
    /// Integers that differ by so much at most: times, which the two servers take one after the other.
    Near(i64),
    /// Lists in any order.
    Unordered,
    /// Only whether there is something, because which is chance.
    Presence,
}

impl Compare {
    pub(super) fn same(self, ours: &[u8], theirs: &[u8]) -> bool {
        if ours == theirs {
            return true;
        }
        match self {
            Self::Exact => false,
            Self::Near(by) => match (raw::integer(ours), raw::integer(theirs)) {
                (Some(ours), Some(theirs)) => ours > 0 && theirs > 0 && ours.abs_diff(theirs) <= by as u64,
                _ => false,
            },
            Self::Unordered => sorted(ours) == sorted(theirs),
            Self::Presence if ours.starts_with(b"-") => false,
            Self::Presence => {
                ours.first() == theirs.first() && (ours.starts_with(b"$-1") == theirs.starts_with(b"$-1"))
            }
        }
    }
}

/// A reply whose lists, and those in them, are in some order that is always the same.
fn sorted(reply: &[u8]) -> Vec<u8> {
    if let Some(mut pairs) = raw::pairs(reply) {
        pairs.sort();
        return pairs.concat();
    }
    let Some(items) = raw::items(reply) else { return reply.to_vec() };
    let mut items: Vec<_> = items.iter().map(|item| sorted(item)).collect();
    items.sort();
    [format!("*{}\r\n", items.len()).into_bytes(), items.concat()].concat()
}
