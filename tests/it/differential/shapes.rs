//! The commands that are sent: a row for each shape.
//!
//! A shape is words: `{name}` stands for words of that generator, `?` in front of a word makes it optional, `*` behind it lets it
//! come one to three times, and of words with `|` between them one is taken.

use super::{
    compare::Compare::{self, Exact, Near, Presence, Unordered},
    values,
};
use crate::harness::Random;

/// How often it is sent, what, and how its replies are compared.
pub(super) struct Shape {
    pub(super) weight: usize,
    pub(super) words: &'static str,
    pub(super) compare: Compare,
}

const fn row(weight: usize, words: &'static str) -> Shape {
    Shape { weight, words, compare: Exact }
}

const fn like(weight: usize, words: &'static str, compare: Compare) -> Shape {
    Shape { weight, words, compare }
}

/// Milliseconds that the servers' clocks may be apart by when they carry a command out.
const APART: i64 = 2_000;

pub(super) const SHAPES: &[Shape] = &[
    // Strings.
    row(20, "SET {key} {value} ?NX|XX ?GET ?{expiry}"),
    row(10, "SET {key} {value}"),
    row(4, "SET {key} {value} ?KEEPTTL ?GET ?XX ?{expiry}"),
    row(3, "SET {key} {int}"),
    row(12, "GET {key}"),
    row(3, "SETNX {key} {value}"),
    row(3, "SETEX {key} {seconds} {value}"),
    row(3, "PSETEX {key} {millis} {value}"),
    row(3, "GETSET {key} {value}"),
    row(2, "GETDEL {key}"),
    row(4, "GETEX {key} ?PERSIST ?{expiry}"),
    row(6, "GETRANGE {key} {index} {index}"),
    row(2, "SUBSTR {key} {index} {index}"),
    row(6, "SETRANGE {key} {offset} {value}"),
    row(3, "STRLEN {key}"),
    row(6, "APPEND {key} {value}"),
    row(4, "INCR|DECR {key}"),
    row(4, "INCRBY|DECRBY {key} {int}"),
    row(2, "INCRBY|DECRBY {key} {small}"),
    row(10, "INCRBYFLOAT {key} {float}"),
    row(4, "MGET {key}*"),
    row(3, "MSET {key} {value} ?{key} ?{value}"),
    row(3, "MSETNX {key} {value} ?{key} ?{value}"),
    row(4, "LCS {key} {key} ?LEN ?IDX ?WITHMATCHLEN"),
    row(2, "LCS {key} {key} IDX MINMATCHLEN {int} ?WITHMATCHLEN"),
    // Bits.
    row(6, "SETBIT {key} {offset} {bit}"),
    row(4, "GETBIT {key} {offset}"),
    row(6, "BITCOUNT {key} {bitrange}"),
    row(6, "BITPOS {key} {bit} {bitrange}"),
    row(8, "BITOP AND|OR|XOR|NOT|and|NAND {key} {key}*"),
    row(3, "BITOP NOT {key} {key}"),
    row(5, "BITFIELD {key} GET {type} {fieldoffset}"),
    row(6, "BITFIELD {key} SET {type} {fieldoffset} {int} GET {type} {fieldoffset}"),
    row(6, "BITFIELD {key} ?OVERFLOW ?WRAP|SAT INCRBY {type} {fieldoffset} {int}"),
    row(4, "BITFIELD {key} OVERFLOW WRAP|SAT|x INCRBY {type} {fieldoffset} {small} SET {type} {fieldoffset} {small}"),
    // With a write that cannot fail and reaches as far as the others: when all fail, only Redis makes room for them.
    row(
        4,
        "BITFIELD {key} SET i64 512 {small} OVERFLOW FAIL INCRBY {type} {fieldoffset} {small} SET {type} {fieldoffset} {int}",
    ),
    row(3, "BITFIELD_RO {key} ?GET ?{type} ?{fieldoffset}"),
    // Keys.
    row(3, "DEL {key}*"),
    row(1, "UNLINK {key}*"),
    row(2, "EXISTS|TOUCH {key}*"),
    row(2, "TYPE {key}"),
    row(3, "EXPIRE {key} {seconds} ?NX|XX|GT|LT|gt|x ?XX|NX|LT"),
    row(3, "PEXPIRE {key} {millis} ?NX|XX|GT|LT"),
    row(3, "EXPIREAT {key} {second} ?NX|XX|GT|LT"),
    row(3, "PEXPIREAT {key} {milli} ?NX|XX|GT|LT"),
    row(2, "PERSIST {key}"),
    like(2, "TTL {key}", Near(APART / 1000)),
    like(2, "PTTL {key}", Near(APART)),
    like(2, "EXPIRETIME {key}", Near(APART / 1000)),
    like(2, "PEXPIRETIME {key}", Near(APART)),
    row(3, "RENAME|RENAMENX {key} {key}"),
    row(5, "COPY {key} {key} ?REPLACE"),
    row(2, "COPY {key} {key} DB {db} ?REPLACE"),
    row(2, "MOVE {key} {db}"),
    like(1, "RANDOMKEY", Presence),
    like(2, "KEYS {pattern}", Unordered),
    like(2, "SCAN {int} MATCH x{pattern} COUNT {count} ?TYPE ?string|hash", Presence),
    like(2, "SCAN 0 COUNT 2000 ?MATCH ?{pattern} ?TYPE ?string|hash|x", Unordered),
    row(1, "DBSIZE"),
    row(1, "SELECT {db}"),
    row(2, "SELECT 0|0|0|1|2"),
    row(2, "SWAPDB {db} {db}"),
    row(1, "SWAPDB 0 1|2|9"),
    row(1, "FLUSHDB ?SYNC|ASYNC|x"),
    row(2, "OBJECT ENCODING {key}"),
    row(1, "OBJECT REFCOUNT {key}"),
    row(1, "OBJECT x|ENCODING {key}*"),
    row(2, "DUMP {key}"),
    row(2, "RESTORE {key} {millis} {value} ?REPLACE ?ABSTTL ?IDLETIME ?{int} ?FREQ ?{int}"),
    // Hashes.
    row(14, "HSET|HMSET {hash} {field} {value} ?{field} ?{value} ?{field} ?{value}"),
    row(3, "HSETNX {hash} {field} {value}"),
    row(5, "HGET|HSTRLEN|HEXISTS {hash} {field}"),
    row(3, "HMGET {hash} {field}*"),
    row(4, "HDEL {hash} {field}*"),
    row(2, "HLEN {hash}"),
    like(2, "HKEYS|HVALS {hash}", Unordered),
    like(3, "HGETALL {hash}", Unordered),
    row(4, "HINCRBY {hash} {field} {int}"),
    row(6, "HINCRBYFLOAT {hash} {field} {float}"),
    like(1, "HRANDFIELD {hash}", Presence),
    like(1, "HRANDFIELD {hash} 0|x ?WITHVALUES", Presence),
    row(1, "HSCAN {hash} {int} MATCH x{pattern} COUNT 1000"),
    row(4, "COPY {hash} {hash} ?REPLACE"),
    row(2, "RENAME {hash} {hash}"),
    row(1, "GET|STRLEN|INCR|APPEND|SETBIT {hash} ?1 ?1"),
    row(1, "BITOP OR {key} {hash} {key}"),
    row(1, "LCS {key} {hash}"),
    // Transactions.
    row(6, "MULTI"),
    row(8, "EXEC"),
    row(1, "DISCARD"),
    row(3, "WATCH {key}*"),
    row(1, "UNWATCH"),
    // The connection.
    row(1, "PING ?{value}"),
    row(1, "ECHO {value}"),
    row(1, "nosuch ?{value}"),
];

/// One command, and how its replies are compared.
pub(super) fn choose(random: &mut Random) -> (Vec<Vec<u8>>, Compare) {
    let total: usize = SHAPES.iter().map(|shape| shape.weight).sum();
    let mut at = random.below(total);
    let found = SHAPES.iter().find(|shape| {
        let here = at < shape.weight;
        at = at.wrapping_sub(shape.weight);
        here
    });
    let shape = found.expect("weights add up");
    let mut words = Vec::new();
    shape.words.split(' ').for_each(|word| fill(word, random, &mut words));
    match random.below(60) {
        // Some with a word too few or too many, or in lower case.
        0 => drop(words.pop().filter(|_| words.len() > 1)),
        1 => words.push(b"x".to_vec()),
        2 => words[0].make_ascii_lowercase(),
        _ => {}
    }
    if words.is_empty() {
        words.push(b"PING".to_vec());
    }
    (words, shape.compare)
}

fn fill(word: &str, random: &mut Random, out: &mut Vec<Vec<u8>>) {
    let word = match word.strip_prefix('?') {
        Some(_) if random.below(2) == 0 => return,
        Some(word) => word,
        None => word,
    };
    let (word, times) = match word.strip_suffix('*') {
        Some(word) if word.ends_with('}') => (word, 1 + random.below(3)),
        _ => (word, 1),
    };
    for _ in 0..times {
        let one: Vec<&str> = word.split('|').collect();
        let one = one[random.below(one.len())];
        match one.find('{') {
            // What stands in front of the braces is glued to the first word.
            Some(brace) => {
                let first = out.len();
                values::generate(one[brace + 1..].trim_end_matches('}'), random, out);
                if let Some(word) = out.get_mut(first) {
                    word.splice(..0, one[..brace].bytes());
                }
            }
            None => out.push(one.into()),
        }
    }
}
