//! Random keys, values and expiries, from few enough to meet again.

use proptest::prelude::*;

use crate::store::{Condition, Expiry};

/// Bytes, told so briefly that a failing case can be read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Filler {
    len: usize,
    seed: u8,
}

impl Filler {
    pub(super) fn bytes(self) -> Vec<u8> {
        (0..self.len).map(|i| (i as u8).wrapping_mul(29).wrapping_add(self.seed)).collect()
    }
}

/// Bytes of these lengths.
pub(super) fn filler(lens: impl Strategy<Value = usize>) -> impl Strategy<Value = Filler> {
    (lens, 0..8_u8).prop_map(|(len, seed)| Filler { len, seed })
}

pub(super) fn condition() -> impl Strategy<Value = Condition> {
    prop_oneof![4 => Just(Condition::Always), 1 => Just(Condition::IfAbsent), 1 => Just(Condition::IfPresent)]
}

/// An expiry that lies far ahead or long ago, or none.
pub(super) fn expiry() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        3 => Just(Expiry::Never),
        2 => Just(Expiry::Keep),
        3 => expiry_at(),
    ]
}

pub(super) fn expiry_at() -> impl Strategy<Value = Expiry> {
    prop_oneof![
        4 => (0..3_u64).prop_map(|ms| Expiry::At(4_000_000_000_000 + ms)),
        1 => (0..2_u64).prop_map(Expiry::At),
    ]
}

/// Integers: small ones and those at the ends.
pub(super) fn integer() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => -20..20_i64,
        1 => Just(i64::MAX),
        1 => Just(i64::MIN),
        1 => any::<i64>(),
    ]
}

/// Floats, of which some are not finite.
pub(super) fn float() -> impl Strategy<Value = f64> {
    prop_oneof![
        8 => (-40..40_i32).prop_map(|quarters| f64::from(quarters) / 4.0),
        2 => (-40..40_i32).prop_map(|tenths| f64::from(tenths) / 10.0),
        1 => Just(f64::MAX),
        1 => Just(-0.0),
        1 => any::<f64>(),
    ]
}
