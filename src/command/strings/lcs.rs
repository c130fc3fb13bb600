//! LCS: the longest common subsequence of two values.
//!
//! The table of lengths has a cell for each pair of bytes, and filling it holds the worker up: [`MAX_CELLS`] bounds both.

use crate::command::{
    Reply,
    call::Call,
    refusal::{Answer, SYNTAX, refuse},
    table::{Command, READ},
};
use crate::store::KvType;

/// The most cells of the table: 64 MiB, about 50 ms.
const MAX_CELLS: usize = 1 << 24;

pub(crate) const COMMANDS: &[Command] = &[Command::new("lcs", -3, lcs)
    .group("string")
    .flags(READ)
    .keys(1, 2, 1)
    .complexity("O(N*M) with N and M being the lengths of the values")
    .docs(
        "7.0.0",
        "key1 key2 [LEN] [IDX] [MINMATCHLEN min-match-len] [WITHMATCHLEN]",
        "Returns the longest common subsequence of two values.",
    )];

#[derive(Default)]
struct Options {
    len: bool,
    idx: bool,
    min_len: i64,
    with_len: bool,
}

fn options(call: &Call<'_, '_>) -> Answer<Options> {
    let mut options = Options::default();
    let mut at = 3;
    while at < call.args.len() {
        if call.args.is(at, "IDX") {
            options.idx = true;
        } else if call.args.is(at, "LEN") {
            options.len = true;
        } else if call.args.is(at, "WITHMATCHLEN") {
            options.with_len = true;
        } else if call.args.is(at, "MINMATCHLEN") && at + 1 < call.args.len() {
            at += 1;
            options.min_len = call.int(at)?.max(0);
        } else {
            return refuse(SYNTAX);
        }
        at += 1;
    }
    if options.idx && options.len {
        return refuse("ERR If you want both the length and indexes, please just use IDX.");
    }
    Ok(options)
}

fn lcs(call: &mut Call<'_, '_>) -> Answer {
    let keys = call.keys(1, 1)?;
    let values = call.kv().mget(call.db(), &keys[..2])?;
    for (key, value) in keys.iter().zip(&values) {
        // What is no string reads as nothing.
        if value.is_none() && call.kv().kind(call.db(), key)?.is_some_and(|kind| kind != KvType::String) {
            return refuse("ERR The specified keys must contain string values");
        }
    }
    call.count_reads(2, values.iter().flatten().count());
    let options = options(call)?;
    let [a, b] = [0, 1].map(|i| values[i].as_deref().unwrap_or_default());
    if (a.len() + 1).saturating_mul(b.len() + 1) > MAX_CELLS {
        return refuse(format!("ERR the values are too long for LCS (their lengths multiply to {MAX_CELLS} at most)"));
    }
    if options.len {
        return Ok(Reply::Int(common_len(a, b) as i64));
    }
    let table = Table::new(a, b);
    let len = table.at(a.len(), b.len());
    let runs = table.runs(a, b);
    if !options.idx {
        let text = runs.iter().rev().flat_map(|run| &a[run.a..run.a + run.len]);
        return Ok(Reply::Bulk(text.copied().collect()));
    }
    let runs = runs.iter().filter(|run| run.len as i64 >= options.min_len);
    let matches = runs.map(|run| run.reply(options.with_len)).collect();
    Ok(Reply::Map(vec![
        (Reply::Text("matches"), Reply::Array(matches)),
        (Reply::Text("len"), Reply::Int(i64::from(len))),
    ]))
}

/// Bytes that both values have one behind the other.
struct Run {
    a: usize,
    b: usize,
    len: usize,
}

impl Run {
    fn reply(&self, with_len: bool) -> Reply {
        let range =
            |start: usize| Reply::Array(vec![Reply::Int(start as i64), Reply::Int((start + self.len - 1) as i64)]);
        let mut items = vec![range(self.a), range(self.b)];
        if with_len {
            items.push(Reply::Int(self.len as i64));
        }
        Reply::Array(items)
    }
}

/// How long the longest common subsequence is: a bit for each byte of the shorter value, and for each byte of the longer one an addition of
/// all of them (H. Hyyrö, 2004). A bit is clear where a row of the [`Table`] goes up by one.
fn common_len(a: &[u8], b: &[u8]) -> usize {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    let words = short.len().div_ceil(64);
    // Where each byte stands in the shorter value.
    let mut places = vec![0_u64; 256 * words];
    for (at, &byte) in short.iter().enumerate() {
        places[usize::from(byte) * words + at / 64] |= 1 << (at % 64);
    }
    let mut row = vec![u64::MAX; words];
    for &byte in long {
        let mut carry = false;
        for (bits, places) in row.iter_mut().zip(&places[usize::from(byte) * words..]) {
            let met = *bits & places;
            let sum;
            (sum, carry) = bits.carrying_add(met, carry);
            *bits = sum | (*bits & !met);
        }
    }
    row.iter().map(|bits| bits.count_zeros() as usize).sum()
}

/// For each pair of beginnings of two values, how long the longest common subsequence is.
struct Table {
    lens: Vec<u32>,
    columns: usize,
}

impl Table {
    fn new(a: &[u8], b: &[u8]) -> Self {
        let columns = b.len() + 1;
        let mut lens = vec![0_u32; (a.len() + 1) * columns];
        for (i, x) in a.iter().enumerate() {
            let (above, row) = lens[i * columns..].split_at_mut(columns);
            let (mut left, mut corner) = (0, 0);
            for ((y, &up), cell) in b.iter().zip(&above[1..]).zip(&mut row[1..columns]) {
                left = if x == y { corner + 1 } else { up.max(left) };
                corner = up;
                *cell = left;
            }
        }
        Self { lens, columns }
    }

    fn at(&self, i: usize, j: usize) -> u32 {
        self.lens[i * self.columns + j]
    }

    /// The runs that the subsequence consists of, the last one first.
    fn runs(&self, a: &[u8], b: &[u8]) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        let (mut i, mut j) = (a.len(), b.len());
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                match runs.last_mut() {
                    Some(run) if run.a == i && run.b == j => *run = Run { a: i - 1, b: j - 1, len: run.len + 1 },
                    _ => runs.push(Run { a: i - 1, b: j - 1, len: 1 }),
                }
                (i, j) = (i - 1, j - 1);
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        runs
    }
}

#[cfg(test)]
mod tests {
    use super::{Table, common_len};
    use crate::command::testing::{Server, check};

    proptest::proptest! {
        #[test]
        fn the_length_is_what_the_table_says(
            a in proptest::collection::vec(0_u8..4, 0..200),
            b in proptest::collection::vec(0_u8..4, 0..200),
        ) {
            let len = Table::new(&a, &b).at(a.len(), b.len());
            proptest::prop_assert_eq!(common_len(&a, &b), len as usize);
        }
    }

    #[test]
    fn lcs_answers_text_length_and_runs() {
        check(
            &Server::new(),
            &[
                ("MSET a ohmytext b mynewtext", "+OK"),
                ("LCS a b", "$6 mytext"),
                ("LCS a b LEN", ":6"),
                ("LCS a none", "$0 "),
                ("LCS a b IDX", "*4 $7 matches *2 *2 *2 :4 :7 *2 :5 :8 *2 *2 :2 :3 *2 :0 :1 $3 len :6"),
                ("LCS a b IDX MINMATCHLEN 4 WITHMATCHLEN", "*4 $7 matches *1 *3 *2 :4 :7 *2 :5 :8 :4 $3 len :6"),
                ("LCS a b IDX LEN", "-ERR If you want both the length and indexes, please just use IDX."),
                ("LCS a b MINMATCHLEN", "-ERR syntax error"),
            ],
        );
    }

    #[test]
    fn values_that_are_too_long_are_refused() {
        let server = Server::new();
        server.run("SETRANGE a 5000 x");
        assert!(server.run("LCS a a LEN").starts_with("-ERR the values are too long"));
    }
}
