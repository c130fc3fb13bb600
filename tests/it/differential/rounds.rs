//! Rounds of random commands.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    compare::Compare,
    exceptions::{self, Case},
    peer::{Peer, Redis},
    shapes,
};
use crate::harness::{Random, Server};

/// Commands of one round.
const ROUND: usize = 300;
/// Commands of one run unless `DIFFERENTIAL_COMMANDS` says otherwise.
const COMMANDS: usize = 6000;
/// Commands of a round that are shown with a difference: the last that name one of its words.
const SHOWN: usize = 12;
/// Differences after which a run is over.
const ENOUGH: usize = 25;

struct Pair {
    ours: Peer,
    theirs: Peer,
}

impl Pair {
    /// A command to both, whose replies are nobody's business.
    fn prepare(&mut self, words: &[&str]) {
        self.ours.run(words);
        self.theirs.run(words);
    }
}

#[test]
fn replies_are_those_of_redis() {
    let count = std::env::var("DIFFERENTIAL_COMMANDS").ok().and_then(|text| text.parse().ok()).unwrap_or(COMMANDS);
    let server = Server::start(&["--workers", "2", "--max-value", "1mb", "--memory", "128mb"]);
    let redis = Redis::start();
    let mut pair = Pair { ours: Peer::open(server.resp()), theirs: Peer::open(redis.addr) };
    let mut seeds = Random::new();
    let (mut differences, mut excused, mut commands, mut rounds) = (BTreeMap::new(), BTreeMap::new(), 0, 0);
    while commands < count && differences.len() < ENOUGH {
        let seed = seeds.next();
        let (sent, difference) = round(&mut pair, seed, rounds % 2 == 1, &mut excused);
        if let Some((what, text)) = difference {
            differences.entry(what).or_insert(text);
        }
        (commands, rounds) = (commands + sent, rounds + 1);
    }
    eprintln!("{commands} commands in {rounds} rounds");
    excused.iter().for_each(|(why, count)| eprintln!("{count:6} x {why}"));
    let all: Vec<String> = differences.into_values().collect();
    assert!(all.is_empty(), "{} differences:\n{}", all.len(), all.join("\n"));
}

/// Sends commands until replies differ or the round is over: how many, and the difference with what it is about.
fn round(
    pair: &mut Pair,
    seed: u64,
    resp3: bool,
    excused: &mut BTreeMap<&'static str, usize>,
) -> (usize, Option<(String, String)>) {
    let mut random = Random::seeded(seed);
    pair.prepare(&["RESET"]);
    pair.prepare(&["FLUSHALL"]);
    if resp3 {
        pair.prepare(&["HELLO", "3"]);
    }
    let mut history: Vec<Vec<Vec<u8>>> = Vec::new();
    while history.len() < ROUND {
        let (batch, compares): (Vec<_>, Vec<Compare>) =
            (0..1 + random.below(20)).map(|_| shapes::choose(&mut random)).unzip();
        pair.ours.send(&batch).unwrap();
        pair.theirs.send(&batch).unwrap();
        let mut difference = None;
        for (words, compare) in batch.into_iter().zip(compares) {
            let theirs = pair.theirs.read().unwrap();
            let ours = pair.ours.read().unwrap_or_else(|error| panic!("{}: {error}", shown(&words)));
            let same = compare.same(&ours, &theirs);
            if !same && difference.is_none() {
                match exceptions::reason(&Case { words: &words, ours: &ours, theirs: &theirs }) {
                    Some(why) => *excused.entry(why).or_default() += 1,
                    None => difference = Some(describe(&history, &words, &ours, &theirs, seed)),
                }
            }
            history.push(words);
        }
        if difference.is_some() {
            return (history.len(), difference);
        }
    }
    (history.len(), None)
}

/// What differs in a few words, and with all that it takes to repeat it.
fn describe(history: &[Vec<Vec<u8>>], words: &[Vec<u8>], ours: &[u8], theirs: &[u8], seed: u64) -> (String, String) {
    let kin = |other: &&Vec<Vec<u8>>| other[1..].iter().any(|word| words[1..].contains(word));
    let before: Vec<_> = history.iter().filter(kin).collect();
    let mut text = String::new();
    for other in before.iter().rev().take(SHOWN).rev() {
        writeln!(text, "    {}", shown(other)).unwrap();
    }
    let show = |reply: &[u8]| reply.escape_ascii().to_string();
    writeln!(
        text,
        "  > {}\n  ours:   {:.300}\n  theirs: {:.300}\n  (round {seed})",
        shown(words),
        show(ours),
        show(theirs)
    )
    .unwrap();
    let head = |reply: &[u8]| show(reply).chars().take(30).collect::<String>();
    let name = String::from_utf8_lossy(&words[0]).to_ascii_uppercase();
    let kind = |reply: &[u8]| if reply.starts_with(b"-") { head(reply) } else { show(&reply[..1]) };
    (format!("{name} {} {}", kind(ours), kind(theirs)), text)
}

fn shown(words: &[Vec<u8>]) -> String {
    let quoted = words.iter().map(|word| {
        let text = word.escape_ascii().to_string();
        if text.len() > 80 { format!("\"{}...({} bytes)\"", &text[..60], word.len()) } else { format!("\"{text}\"") }
    });
    quoted.collect::<Vec<_>>().join(" ")
}
