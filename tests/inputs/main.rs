//! The fuzz targets on inputs that any toolchain can make: the corpus that is kept with the code, and seeded random changes of it.
//!
//! `scripts/fuzz` runs the same targets guided by coverage, which finds more; this finds what came back.
//! `INPUTS=100000 cargo test --test inputs` tries so many inputs for each target, instead of as many as take a moment.

#[path = "../../fuzz/targets/mod.rs"]
mod targets;

use std::{
    fs,
    panic::{self, AssertUnwindSafe},
    path::Path,
    time::{Duration, Instant},
};

/// Longest time for one input: beyond it something hangs.
const LIMIT: Duration = Duration::from_secs(20);

/// Random numbers by xorshift: good enough to choose by.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// An input: random bytes, or one of the corpus with some of its bytes changed, left out, or followed by another.
    fn input(&mut self, corpus: &[Vec<u8>]) -> Vec<u8> {
        let mut input = match corpus.len() {
            0 => Vec::new(),
            len => corpus[self.below(len)].clone(),
        };
        if input.is_empty() || self.below(3) == 0 {
            return (0..self.below(400)).map(|_| self.next() as u8).collect();
        }
        for _ in 0..1 + self.below(6) {
            let at = self.below(input.len());
            match self.below(4) {
                0 => input.truncate(at + 1),
                1 => input.extend_from_slice(&corpus[self.below(corpus.len())]),
                2 => input[at] ^= 1 << self.below(8),
                _ => input[at] = self.next() as u8,
            }
        }
        input
    }
}

/// The files that are kept for a target, in the order of their names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut files: Vec<_> =
        fs::read_dir(folder).expect("the seeds are there").map(|file| file.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).expect("a readable file")).collect()
}

fn try_all(target: &str, run: fn(&[u8]), usual: usize) {
    let corpus = corpus(target);
    assert!(!corpus.is_empty(), "{target} has seeds");
    let inputs = std::env::var("INPUTS").ok().map_or(usual, |inputs| inputs.parse().expect("INPUTS is a number"));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let random = std::iter::repeat_with(|| random.input(&corpus)).take(inputs);
    for input in corpus.iter().cloned().chain(random) {
        let start = Instant::now();
        if let Err(cause) = panic::catch_unwind(AssertUnwindSafe(|| run(&input))) {
            let file = std::env::temp_dir().join(format!("store-master-{target}-{}", std::process::id()));
            fs::write(&file, &input).expect("the temporary folder can be written");
            eprintln!("{target} fails for the input in {}", file.display());
            panic::resume_unwind(cause);
        }
        assert!(start.elapsed() < LIMIT, "{target} took {:?} for {input:?}", start.elapsed());
    }
}

#[test]
fn the_parser_does_not_mind_how_bytes_are_cut() {
    try_all("resp_parser", targets::resp_parser::run, 10_000);
}

#[test]
fn every_http_request_is_answered() {
    try_all("http_routes", targets::http_routes::run, 3000);
}

#[test]
fn a_segment_of_any_contents_is_refused_or_used() {
    try_all("segment_open", targets::segment_open::run, 200);
}

#[test]
fn the_shared_store_agrees_with_the_oracle() {
    try_all("operations", targets::operations::run, 100);
}
