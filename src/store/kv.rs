//! The words of the key-value space: expiry, conditions, outcomes. Times are milliseconds of the Unix clock.

use std::borrow::Cow;

use super::{
    Error, Result,
    limits::{DATABASES, MAX_BATCH_ROWS, MAX_KV_KEY_BYTES},
};

/// When a key that is written expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Expiry {
    /// Never: an earlier expiry is taken away.
    #[default]
    Never,
    /// As it was.
    Keep,
    /// At this time, in milliseconds since the epoch. A time that has passed deletes the key.
    At(u64),
}

impl Expiry {
    /// The expiry after this was applied to something whose expiry was `current`.
    #[must_use]
    pub fn after(self, current: Option<u64>) -> Option<u64> {
        match self {
            Self::Never => None,
            Self::Keep => current,
            Self::At(at_ms) => Some(at_ms),
        }
    }

    /// Whether what has this expiry is gone at `now_ms`: from the very millisecond on.
    #[must_use]
    pub fn has_passed(expires_at: Option<u64>, now_ms: u64) -> bool {
        expires_at.is_some_and(|at_ms| at_ms <= now_ms)
    }
}

/// Whether a write goes ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Condition {
    /// In any case.
    #[default]
    Always,
    /// Only if the key is absent (`NX`).
    IfAbsent,
    /// Only if the key is present (`XX`).
    IfPresent,
}

impl Condition {
    /// Whether a write to something that is or is not there goes ahead.
    #[must_use]
    pub fn allows(self, present: bool) -> bool {
        match self {
            Self::Always => true,
            Self::IfAbsent => !present,
            Self::IfPresent => present,
        }
    }
}

/// The options of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetOptions {
    /// New expiry.
    pub expiry: Expiry,
    /// Condition.
    pub condition: Condition,
    /// Give back the value before (`GET`); [`crate::store::Error::WrongKind`] if it is no string.
    pub get: bool,
}

/// What a set did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SetOutcome {
    /// False if the condition refused it.
    pub written: bool,
    /// The value before, if it was asked for and there was one.
    pub previous: Option<Vec<u8>>,
}

/// What a change is shown of a key that is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Current<'a> {
    /// The type of its value.
    pub kind: KvType,
    /// The value; empty if it is no string, or if the change did not ask for it.
    pub value: &'a [u8],
    /// When it expires.
    pub expires_at: Option<u64>,
}

impl<'a> Current<'a> {
    /// The value, which must be a string.
    ///
    /// # Errors
    ///
    /// [`Error::WrongKind`].
    pub fn string(self) -> Result<&'a [u8]> {
        match self.kind {
            KvType::String => Ok(self.value),
            KvType::Hash => Err(Error::WrongKind),
        }
    }
}

/// The value of a key that may be absent, which must be a string.
///
/// # Errors
///
/// [`Error::WrongKind`].
pub fn string_of(current: Option<Current<'_>>) -> Result<Option<&[u8]>> {
    current.map(Current::string).transpose()
}

/// What a change makes of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Update<'v> {
    /// It stays as it is.
    Leave,
    /// It gets this string and expiry, whatever it was.
    Set(Cow<'v, [u8]>, Expiry),
    /// It is deleted.
    Delete,
}

/// Says what becomes of a key.
pub type Decide<'d, 'v> = dyn FnMut(Option<Current<'_>>) -> Result<Update<'v>> + 'd;

/// Says what becomes of a key, by what others hold and by what it is itself; its own value need not be shown.
pub type Derive<'d> = dyn for<'s> FnMut(&[Option<Current<'s>>], Option<Current<'s>>) -> Result<Update<'s>> + 'd;

/// Which expiries an `EXPIRE` may replace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExpireRule {
    /// Any.
    #[default]
    Always,
    /// Only if there is none (`NX`).
    IfNone,
    /// Only if there is one (`XX`).
    IfSome,
    /// Only if the new one is later; none counts as infinitely late (`GT`).
    IfLater,
    /// Only if the new one is earlier; none counts as infinitely late (`LT`).
    IfEarlier,
    /// `XX` and `GT` together.
    IfSomeAndLater,
    /// `XX` and `LT` together.
    IfSomeAndEarlier,
}

impl ExpireRule {
    /// Whether the expiry `current` may become `new_at_ms`. What is missing never gets one.
    #[must_use]
    pub fn allows(self, current: Ttl, new_at_ms: u64) -> bool {
        let (has_one, current_ms) = match current {
            Ttl::Missing => return false,
            Ttl::Never => (false, None),
            Ttl::At(at_ms) => (true, Some(at_ms)),
        };
        let later = current_ms.is_some_and(|at_ms| new_at_ms > at_ms);
        let earlier = current_ms.is_none_or(|at_ms| new_at_ms < at_ms);
        match self {
            Self::Always => true,
            Self::IfNone => !has_one,
            Self::IfSome => has_one,
            Self::IfLater => later,
            Self::IfEarlier => earlier,
            Self::IfSomeAndLater => has_one && later,
            Self::IfSomeAndEarlier => has_one && earlier,
        }
    }
}

/// The expiry of something that may be absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ttl {
    /// There is no such key or row.
    Missing,
    /// It never expires.
    Never,
    /// It expires at this time, in milliseconds since the epoch.
    At(u64),
}

impl Ttl {
    /// The expiry of something that is there.
    #[must_use]
    pub fn present(expires_at: Option<u64>) -> Self {
        expires_at.map_or(Self::Never, Self::At)
    }
}

/// The type of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvType {
    /// A byte string.
    String,
    /// Fields with values.
    Hash,
}

/// What a key was when it was asked for: [`KvBackend::is_untouched`](super::KvBackend::is_untouched) tells whether that still holds. What the
/// numbers mean is the backend's own affair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version(pub(crate) [u64; 5]);

/// One page of a scan over keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanPage {
    /// Where the next page starts; 0: there is none.
    pub cursor: u64,
    /// Keys, in no order.
    pub keys: Vec<Vec<u8>>,
}

/// Checks that there is such a database and that the key is not too long.
///
/// # Errors
///
/// [`Error::Invalid`], [`Error::KeyTooLong`].
pub(crate) fn check(db: u8, key: &[u8]) -> Result<()> {
    if usize::from(db) >= DATABASES {
        return Err(Error::Invalid(format!("database {db} does not exist, must be 0..{DATABASES}")));
    }
    if key.len() > MAX_KV_KEY_BYTES {
        return Err(Error::KeyTooLong { len: key.len(), max: MAX_KV_KEY_BYTES });
    }
    Ok(())
}

/// Refuses more keys than one step can lock.
pub(crate) fn check_few(keys: usize) -> Result<()> {
    if keys > MAX_BATCH_ROWS {
        return Err(Error::TooLarge { what: "keys in one step", len: keys, max: MAX_BATCH_ROWS });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_follows_what_was_asked_for() {
        assert_eq!(Expiry::Never.after(Some(5)), None);
        assert_eq!(Expiry::Keep.after(Some(5)), Some(5));
        assert_eq!(Expiry::Keep.after(None), None);
        assert_eq!(Expiry::At(9).after(Some(5)), Some(9));
    }

    #[test]
    fn what_expires_now_is_gone() {
        assert!(Expiry::has_passed(Some(10), 10));
        assert!(!Expiry::has_passed(Some(11), 10));
        assert!(!Expiry::has_passed(None, u64::MAX));
    }

    #[test]
    fn conditions_look_at_presence_alone() {
        assert!(Condition::Always.allows(true) && Condition::Always.allows(false));
        assert!(Condition::IfAbsent.allows(false) && !Condition::IfAbsent.allows(true));
        assert!(Condition::IfPresent.allows(true) && !Condition::IfPresent.allows(false));
    }

    #[test]
    fn expire_rules_count_no_expiry_as_infinitely_late() {
        use ExpireRule::{Always, IfEarlier, IfLater, IfNone, IfSome, IfSomeAndEarlier, IfSomeAndLater};
        // The current expiry, the new one, and the rules that let it through.
        let cases: [(Ttl, u64, &[ExpireRule]); 5] = [
            (Ttl::Missing, 5, &[]),
            (Ttl::Never, 5, &[Always, IfNone, IfEarlier]),
            (Ttl::At(5), 6, &[Always, IfSome, IfLater, IfSomeAndLater]),
            (Ttl::At(5), 5, &[Always, IfSome]),
            (Ttl::At(5), 4, &[Always, IfSome, IfEarlier, IfSomeAndEarlier]),
        ];
        for (current, new, allowed) in cases {
            for rule in [Always, IfNone, IfSome, IfLater, IfEarlier, IfSomeAndLater, IfSomeAndEarlier] {
                assert_eq!(rule.allows(current, new), allowed.contains(&rule), "{rule:?} {current:?} -> {new}");
            }
        }
    }
}
