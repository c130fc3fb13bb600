//! The wall clock.

use std::{
    cell::Cell,
    time::{SystemTime, UNIX_EPOCH},
};

thread_local! {
    /// In microseconds; 0: the clock is not held.
    static HELD: Cell<u64> = const { Cell::new(0) };
}

/// While it lives, it stays as late in its thread as it was: what is done in one go is done at one time, and the clock is
/// read once for it. Not to be kept while the thread waits.
#[derive(Debug)]
pub struct Held(());

impl Held {
    /// Holds the clock of this thread.
    #[must_use]
    pub fn new() -> Self {
        HELD.set(read());
        Self(())
    }
}

impl Default for Held {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.set(0);
    }
}

/// Milliseconds since the Unix epoch; 0 for a clock that stands before it.
#[must_use]
#[inline]
pub fn now_ms() -> u64 {
    now_us() / 1000
}

/// Microseconds since the Unix epoch.
#[must_use]
#[inline]
pub fn now_us() -> u64 {
    match HELD.get() {
        0 => read(),
        held => held,
    }
}

fn read() -> u64 {
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
