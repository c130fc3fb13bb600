//! The wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since the Unix epoch; 0 for a clock that stands before it.
#[must_use]
pub fn now_ms() -> u64 {
    now_us() / 1000
}

/// The same in microseconds.
#[must_use]
pub fn now_us() -> u64 {
    #[cfg(test)]
    if let Some(ms) = set::NOW.get() {
        return 1000 * ms;
    }
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// A clock that a test sets, for its own thread.
#[cfg(test)]
pub(crate) mod set {
    use std::cell::Cell;

    thread_local! {
        pub(super) static NOW: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// From now on it is so late in this thread; with `None`, as late as the wall clock says.
    pub(crate) fn to(ms: Option<u64>) {
        NOW.set(ms);
    }
}
