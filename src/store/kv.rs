//! The words of the key-value space: expiry, conditions, outcomes. Times are milliseconds of the Unix clock.

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

/// The type of a key's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvType {
    /// A byte string.
    String,
}

/// One page of a scan over keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanPage {
    /// Where the next page starts; 0: there is none.
    pub cursor: u64,
    /// Keys, in no order.
    pub keys: Vec<Vec<u8>>,
}
