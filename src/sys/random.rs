//! Numbers that nobody has to trust: which key to look at, which field to show.

use std::cell::Cell;

thread_local! {
    static STATE: Cell<u64> = const { Cell::new(0) };
}

/// The next one: xorshift, seeded by the system once for each thread.
#[inline]
pub fn quick() -> u64 {
    let mut state = STATE.get();
    if state == 0 {
        state = getrandom::u64().unwrap_or(1) | 1;
    }
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    STATE.set(state);
    // The lowest bits are the least random.
    state >> 11
}

#[cfg(test)]
mod tests {
    use super::quick;

    #[test]
    fn all_remainders_come_about_equally_often() {
        let mut counts = [0_u32; 7];
        (0..70_000).for_each(|_| counts[(quick() % 7) as usize] += 1);
        assert!(counts.iter().all(|count| (9_000..11_000).contains(count)), "{counts:?}");
    }
}
