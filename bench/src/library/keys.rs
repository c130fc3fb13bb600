//! Which keys a bench asks for, and in which order.

/// A key: sixteen bytes, made without the cost of formatting a number.
pub(crate) type Key = [u8; 16];

/// The key of row `i`.
#[inline(always)]
pub(crate) fn key(i: u32) -> Key {
    let mut key = *b"key:............";
    key[12..].copy_from_slice(&i.to_be_bytes());
    key
}

/// How often which key is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// Every key as often as the others.
    Uniform,
    /// The n-th most popular key 1/n^0.99 times as often as the first, as in YCSB.
    Zipf,
    /// One key alone.
    Hot,
}

impl Spread {
    /// The word in tables.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Zipf => "Zipf",
            Self::Hot => "one hot key",
        }
    }
}

/// Row numbers in an order that no prefetcher knows.
pub(crate) struct Order {
    state: u64,
    rows: u64,
    /// Every `step`-th row from `first` on: what one of several processes has for itself.
    step: u64,
    first: u64,
    list: Vec<u32>,
    at: usize,
}

/// Length of a list of drawn rows.
const DRAWN: usize = 1 << 16;

impl Order {
    /// An order over `rows` rows.
    pub(crate) fn new(spread: Spread, rows: u32, seed: u64) -> Self {
        let mut order = Self { state: seed | 1, rows: u64::from(rows), step: 1, first: 0, list: Vec::new(), at: 0 };
        match spread {
            Spread::Uniform => {}
            Spread::Hot => order.list = vec![rows / 2],
            Spread::Zipf => order.list = order.zipf(rows),
        }
        order
    }

    /// Every `of`-th row only, from row `number` on: what one of so many processes has for itself.
    pub(crate) fn part(rows: u32, number: u32, of: u32, seed: u64) -> Self {
        let mut order = Self::new(Spread::Uniform, rows / of, seed);
        (order.step, order.first) = (u64::from(of), u64::from(number));
        order
    }

    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.state >> 33
    }

    fn zipf(&mut self, rows: u32) -> Vec<u32> {
        let mut sum = 0.0;
        let sums: Vec<f64> = (1..=rows)
            .map(|rank| {
                sum += f64::from(rank).powf(-0.99);
                sum
            })
            .collect();
        (0..DRAWN)
            .map(|_| {
                let drawn = self.random() as f64 / (1_u64 << 31) as f64 * sum;
                let rank = sums.partition_point(|&sum| sum < drawn) as u64;
                // Popular rows must not lie side by side.
                (rank.wrapping_mul(0x9e37_79b9_7f4a_7c15) % u64::from(rows)) as u32
            })
            .collect()
    }

    /// The next row.
    #[inline(always)]
    pub(crate) fn next_row(&mut self) -> u32 {
        if self.list.is_empty() {
            return (((self.random() * self.rows) >> 31) * self.step + self.first) as u32;
        }
        let row = self.list[self.at];
        self.at = if self.at + 1 == self.list.len() { 0 } else { self.at + 1 };
        row
    }

    /// The next key.
    #[inline(always)]
    pub(crate) fn next_key(&mut self) -> Key {
        key(self.next_row())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stay_in_their_range() {
        for spread in [Spread::Uniform, Spread::Zipf, Spread::Hot] {
            let mut order = Order::new(spread, 1000, 7);
            assert!((0..10_000).all(|_| order.next_row() < 1000));
        }
        let mut third = Order::part(1000, 2, 3, 7);
        assert!((0..10_000).map(|_| third.next_row()).all(|row| row < 1000 && row % 3 == 2));
    }

    #[test]
    fn a_zipf_order_prefers_few_rows() {
        let mut order = Order::new(Spread::Zipf, 10_000, 7);
        let mut times = vec![0_u32; 10_000];
        (0..DRAWN).for_each(|_| times[order.next_row() as usize] += 1);
        times.sort_unstable_by(|a, b| b.cmp(a));
        assert!(times[..100].iter().sum::<u32>() > DRAWN as u32 / 3);
    }
}
