//! Random numbers that a child and its parent do not share.

use std::cell::Cell;

/// xorshift64*: enough to choose by.
pub(crate) struct Random(Cell<u64>);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        let random = Self(Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
        // Neighbouring seeds begin alike.
        for _ in 0..4 {
            random.next();
        }
        random
    }

    pub(crate) fn next(&self) -> u64 {
        let mut x = self.0.get();
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.0.set(x);
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `bound`.
    pub(crate) fn below(&self, bound: u64) -> u64 {
        (self.next() >> 16) % bound
    }

    /// True in one of so many cases.
    pub(crate) fn one_in(&self, cases: u64) -> bool {
        self.below(cases) == 0
    }
}
