//! Times as clients give them: in seconds or milliseconds, from now or from the epoch.

use super::{
    call::Call,
    refusal::{Answer, SYNTAX},
};
use crate::store::{Expiry, Ttl};

/// How a time is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// Seconds from now.
    InSeconds,
    /// Milliseconds from now.
    InMillis,
    /// Seconds since the epoch.
    AtSeconds,
    /// Milliseconds since the epoch.
    AtMillis,
}

impl Clock {
    /// The option that gives a time this way.
    pub(crate) fn option(word: &[u8]) -> Option<Self> {
        [("EX", Self::InSeconds), ("PX", Self::InMillis), ("EXAT", Self::AtSeconds), ("PXAT", Self::AtMillis)]
            .into_iter()
            .find_map(|(name, clock)| word.eq_ignore_ascii_case(name.as_bytes()).then_some(clock))
    }

    /// `value` in milliseconds since the epoch; `None` if that does not fit.
    fn deadline(self, value: i64, now_ms: u64) -> Option<i64> {
        let millis = match self {
            Self::InSeconds | Self::AtSeconds => value.checked_mul(1000)?,
            Self::InMillis | Self::AtMillis => value,
        };
        match self {
            Self::InSeconds | Self::InMillis => millis.checked_add(i64::try_from(now_ms).ok()?),
            Self::AtSeconds | Self::AtMillis => Some(millis),
        }
    }
}

/// The expiry that argument `index` gives to something that is written now; it must be positive.
pub(crate) fn positive(call: &Call<'_, '_>, index: usize, clock: Clock) -> Answer<Expiry> {
    let value = call.int(index)?;
    match clock.deadline(value, call.env.now_ms) {
        Some(at) if value > 0 => Ok(Expiry::At(at.unsigned_abs())),
        _ => Err(invalid(call)),
    }
}

/// The expiry that argument `index` gives to something that exists; a time that has passed deletes it.
pub(crate) fn any(call: &Call<'_, '_>, index: usize, clock: Clock) -> Answer<Expiry> {
    let value = call.int(index)?;
    match clock.deadline(value, call.env.now_ms) {
        // Before the epoch is as good as just after it: long ago.
        Some(at) => Ok(Expiry::At(u64::try_from(at).unwrap_or(0).max(1))),
        None => Err(invalid(call)),
    }
}

fn invalid(call: &Call<'_, '_>) -> super::refusal::Refusal {
    let name = String::from_utf8_lossy(call.arg(0)).to_ascii_lowercase();
    format!("ERR invalid expire time in '{name}' command").into()
}

/// The option at `index` and the time behind it, if it is one that gives a time.
pub(crate) fn option(call: &Call<'_, '_>, index: usize) -> Answer<Option<Expiry>> {
    let Some(clock) = Clock::option(call.arg(index)) else { return Ok(None) };
    if index + 1 >= call.args.len() {
        return Err(SYNTAX.into());
    }
    positive(call, index + 1, clock).map(Some)
}

/// The answer of TTL and its kin: -2 if there is nothing, -1 if it never expires.
pub(crate) fn remaining(ttl: Ttl, clock: Clock, now_ms: u64) -> i64 {
    let at = match ttl {
        Ttl::Missing => return -2,
        Ttl::Never => return -1,
        Ttl::At(at) => at,
    };
    let millis = match clock {
        Clock::InSeconds | Clock::InMillis => at.saturating_sub(now_ms),
        Clock::AtSeconds | Clock::AtMillis => at,
    };
    let shown = match clock {
        Clock::InSeconds | Clock::AtSeconds => millis.saturating_add(500) / 1000,
        Clock::InMillis | Clock::AtMillis => millis,
    };
    i64::try_from(shown).unwrap_or(i64::MAX)
}
