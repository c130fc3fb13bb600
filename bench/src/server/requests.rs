//! What is asked for: commands about keys that are drawn anew each time, made into batches beforehand.

use std::rc::Rc;

use super::{
    load::{Batch, Batches},
    wire::{command, words},
};

/// Keys that are asked for, where nothing else is said.
pub(super) const KEYS: u32 = 100_000;
/// Bytes of a key.
const KEY_BYTES: usize = 16;
/// Requests made before a measurement. They are many more than the keys that a processor's nearest caches hold.
const MADE: usize = 1 << 16;
/// Bytes of requests that are made at most, but for [`FEWEST`] batches.
const MADE_BYTES: usize = 16 << 20;
const FEWEST: usize = 256;

/// Numbers below a bound that look random, the same in every run.
pub(super) struct Numbers {
    state: u64,
    bound: u32,
}

impl Numbers {
    pub(super) fn below(bound: u32) -> Self {
        Self { state: 1, bound }
    }

    pub(super) fn draw(&mut self) -> u32 {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.state >> 33) * u64::from(self.bound)) >> 31) as u32
    }
}

/// Key number `n`, of sixteen bytes.
pub(super) fn key(n: u32) -> String {
    format!("key:{n:012}")
}

/// One request, which may be of several commands, about key number `n`.
pub(super) type Request = fn(n: u32, value: &[u8]) -> Vec<u8>;

/// A kind of request.
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) ours: Request,
    pub(super) theirs: Request,
    /// Commands in one request.
    pub(super) commands: usize,
}

/// A request that is the same to both sides.
pub(super) const fn same(name: &'static str, request: Request, commands: usize) -> Kind {
    Kind { name, ours: request, theirs: request, commands }
}

pub(super) fn get(n: u32, _: &[u8]) -> Vec<u8> {
    command(&[b"GET", key(n).as_bytes()])
}

pub(super) fn set(n: u32, value: &[u8]) -> Vec<u8> {
    command(&[b"SET", key(n).as_bytes(), value])
}

pub(super) fn incr(n: u32, _: &[u8]) -> Vec<u8> {
    command(&[b"INCR", format!("n:{n}").as_bytes()])
}

pub(super) fn hget(n: u32, _: &[u8]) -> Vec<u8> {
    command(&[b"HGET", format!("hash:{n}").as_bytes(), b"text"])
}

/// Sets a key as memcached wants it.
pub(super) fn memcached_set(n: u32, value: &[u8]) -> Vec<u8> {
    [format!("set {} 0 0 {}\r\n", key(n), value.len()).as_bytes(), value, b"\r\n"].concat()
}

pub(super) fn memcached_get(n: u32, _: &[u8]) -> Vec<u8> {
    format!("get {}\r\n", key(n)).into_bytes()
}

/// Batches of `pipeline` requests of `commands` each, about keys below `keys`.
pub(super) fn batches_below(
    keys: u32,
    request: Request,
    commands: usize,
    pipeline: usize,
    value: &[u8],
) -> Rc<Batches> {
    let mut numbers = Numbers::below(keys);
    let bytes = request(0, value).len() * pipeline;
    // The more keys there are the more are asked for.
    let made = MADE.max(keys as usize / 8) / pipeline;
    let batch = |_| Batch {
        bytes: (0..pipeline).flat_map(|_| request(numbers.draw(), value)).collect(),
        requests: pipeline,
        replies: pipeline * commands,
    };
    Batches::new((0..made.min(MADE_BYTES / bytes).max(FEWEST)).map(batch).collect())
}

/// The same about the usual keys.
pub(super) fn batches(request: Request, commands: usize, pipeline: usize, value: &[u8]) -> Rc<Batches> {
    batches_below(KEYS, request, commands, pipeline, value)
}

/// Batches that ask for every key below `keys` once, [`AT_ONCE`] at a time.
pub(super) fn one_of_each(keys: u32, request: Request, value: &[u8]) -> impl Iterator<Item = Batch> {
    let mut template = Template::new(request, value);
    (0..keys).step_by(AT_ONCE).map(move |first| template.about(first, AT_ONCE.min((keys - first) as usize)))
}

const AT_ONCE: usize = 1000;

/// Requests that differ in the number of the key alone: to write that anew is much less than to make them.
struct Template {
    bytes: Vec<u8>,
    /// Bytes of one request.
    len: usize,
    /// Where the key stands in each of them.
    key_at: usize,
}

impl Template {
    fn new(request: Request, value: &[u8]) -> Self {
        let one = request(0, value);
        let zero = key(0);
        let key_at = one.windows(zero.len()).position(|window| window == zero.as_bytes()).expect("it is about a key");
        Self { bytes: one.repeat(AT_ONCE), len: one.len(), key_at }
    }

    /// So many requests, about key `first` and the following ones.
    fn about(&mut self, first: u32, count: usize) -> Batch {
        for (number, request) in (first..).zip(self.bytes.chunks_exact_mut(self.len)) {
            write_key(&mut request[self.key_at..][..KEY_BYTES], number);
        }
        Batch { bytes: self.bytes[..self.len * count].to_vec(), requests: count, replies: count }
    }
}

/// Writes the digits of [`key`] over those of another one.
fn write_key(key: &mut [u8], mut number: u32) {
    for digit in key.iter_mut().rev().take(10) {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

/// Batches that write keys `0..keys`, each with a value, a number and a hash of two fields; and, to ours, a row of the table `users`.
pub(super) fn filling(keys: u32, ours: bool) -> impl Iterator<Item = Batch> {
    let table = words(&format!("TABLE.MAKE users {keys} KEYBYTES 16 n int text string 54"));
    let batch = move |start| {
        let (mut bytes, mut replies) = (Vec::new(), 0);
        for n in start..keys.min(start + 1000) {
            let text = "x".repeat(54);
            bytes.extend(set(n, &[b'v'; 64]));
            bytes.extend(words(&format!("SET n:{n} {n}")));
            bytes.extend(words(&format!("HSET hash:{n} n {n} text {text}")));
            replies += 3;
            if ours {
                bytes.extend(words(&format!("TABLE.SET users {} n {n} text {text}", key(n))));
                replies += 1;
            }
        }
        Batch { bytes, requests: 1, replies }
    };
    ours.then(|| Batch::one(table)).into_iter().chain((0..keys).step_by(1000).map(batch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_below_their_bound() {
        let mut numbers = Numbers::below(1000);
        let drawn: Vec<u32> = (0..10_000).map(|_| numbers.draw()).collect();
        assert!(drawn.iter().all(|&n| n < 1000) && drawn.iter().any(|&n| n > 900));
    }

    #[test]
    fn every_key_is_asked_for_once() {
        let all: Vec<Batch> = one_of_each(1500, set, b"value").collect();
        assert_eq!(all.iter().map(|batch| batch.replies).collect::<Vec<_>>(), [1000, 500]);
        let bytes: Vec<u8> = all.into_iter().flat_map(|batch| batch.bytes).collect();
        assert!(bytes == (0..1500).flat_map(|n| set(n, b"value")).collect::<Vec<_>>());
    }

    #[test]
    fn filling_counts_its_replies() {
        let all: Vec<Batch> = filling(1500, true).collect();
        assert_eq!(all.iter().map(|batch| batch.replies).collect::<Vec<_>>(), [1, 4000, 2000]);
        assert_eq!(filling(1500, false).map(|batch| batch.replies).sum::<usize>(), 4500);
    }
}
