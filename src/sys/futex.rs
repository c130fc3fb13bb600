//! Sleeping on a word that several processes share.

use std::{sync::atomic::AtomicU32, time::Duration};

use rustix::{
    fs::Timespec,
    io::Errno,
    thread::futex::{self, Flags},
};

/// Sleeps while `word` is `expected`, at most for `timeout`; false if that was over. Wakes without a reason at times; look again.
pub fn wait(word: &AtomicU32, expected: u32, timeout: Duration) -> bool {
    let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: i64::from(timeout.subsec_nanos()) };
    // Every outcome (woken, changed, timed out, interrupted) asks the caller to look at the word again.
    futex::wait(word, Flags::empty(), expected, Some(&timeout)) != Err(Errno::TIMEDOUT)
}

/// Wakes all who sleep on `word`.
pub fn wake_all(word: &AtomicU32) {
    // Miri's futexes are of one process; in its tests nobody sleeps.
    if cfg!(miri) {
        return;
    }
    // Waking cannot fail on a mapped word, and there is nobody to tell.
    let _ = futex::wake(word, Flags::empty(), i32::MAX as u32);
}
