//! Rounds of random commands, and the fewest of them that still make a difference.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    compare::Compare,
    exceptions::{self, Case},
    peer::{Peer, Redis},
    raw, shapes,
};
use crate::harness::{Random, Server};

/// Commands of one round.
const ROUND: usize = 300;
/// Commands that are sent at once.
const PIPELINE: usize = 20;
/// Commands of one run unless `DIFFERENTIAL_COMMANDS` says otherwise.
const COMMANDS: usize = 6000;
/// Differences after which a run is over.
const ENOUGH: usize = 25;

type Words = Vec<Vec<u8>>;
type Asked = (Words, Compare);
/// How often each reason excused a difference.
type Excused = BTreeMap<&'static str, usize>;

/// The two servers.
struct Pair {
    ours: Peer,
    theirs: Peer,
}

/// Replies that are not the same.
struct Difference {
    /// Which command of the round they came after.
    at: usize,
    /// The command that they answer: this one, or one of the transaction that it ended.
    words: Words,
    ours: Vec<u8>,
    theirs: Vec<u8>,
}

#[test]
fn replies_are_those_of_redis() {
    let count = std::env::var("DIFFERENTIAL_COMMANDS").ok().and_then(|text| text.parse().ok()).unwrap_or(COMMANDS);
    let server = Server::start(&["--workers", "2", "--max-value", "1mb", "--memory", "128mb"]);
    let redis = Redis::start();
    let mut pair = Pair { ours: Peer::open(server.resp()), theirs: Peer::open(redis.addr) };
    let mut random = Random::new();
    let (mut differences, mut excused, mut sent) = (BTreeMap::new(), Excused::new(), 0);
    while sent < count && differences.len() < ENOUGH {
        let resp3 = random.below(2) == 0;
        let mut commands: Vec<Asked> = (0..ROUND).map(|_| shapes::choose(&mut random)).collect();
        unnest(&mut commands);
        sent += ROUND;
        if let Some(found) = pair.play(resp3, &commands, &mut excused) {
            commands.truncate(found.at + 1);
            let found = pair.shrink(resp3, &mut commands, found);
            differences.entry(found.what()).or_insert_with(|| found.describe(&commands));
        }
    }
    eprintln!("{sent} commands");
    excused.iter().for_each(|(why, count)| eprintln!("{count:6} x {why}"));
    let all: Vec<String> = differences.into_values().collect();
    assert!(all.is_empty(), "{} differences:\n{}", all.len(), all.join("\n"));
}

/// Keeps MULTI and WATCH out of transactions: there they spoil ours alone, and afterwards nothing is the same. And databases are
/// not swapped while keys are watched: what was only in between, before a swap or after, is no change to us.
fn unnest(commands: &mut [Asked]) {
    let (mut open, mut watching) = (false, false);
    for (words, _) in commands {
        let is = |name: &[u8]| words[0].eq_ignore_ascii_case(name);
        if open && (is(b"MULTI") || is(b"WATCH")) || watching && is(b"SWAPDB") {
            words[0] = b"PING".to_vec();
        } else if is(b"WATCH") {
            watching = true;
        } else if is(b"MULTI") && words.len() == 1 {
            open = true;
        } else if (is(b"EXEC") || is(b"DISCARD")) && words.len() == 1 {
            (open, watching) = (false, false);
        }
    }
}

impl Pair {
    /// A command to both, whose replies are nobody's business.
    fn prepare(&mut self, words: &[&str]) {
        self.ours.run(words);
        self.theirs.run(words);
    }

    /// Sends commands to empty servers; the first difference.
    fn play(&mut self, resp3: bool, commands: &[Asked], excused: &mut Excused) -> Option<Difference> {
        self.prepare(&["RESET"]);
        self.prepare(&["FLUSHALL"]);
        self.prepare(&["HELLO", if resp3 { "3" } else { "2" }]);
        let mut judge = Judge { queue: Vec::new(), excused };
        for (number, batch) in commands.chunks(PIPELINE).enumerate() {
            let words: Vec<_> = batch.iter().map(|(words, _)| words).collect();
            self.ours.send(&words).unwrap();
            self.theirs.send(&words).unwrap();
            let mut first = None;
            for (place, (words, compare)) in batch.iter().enumerate() {
                let theirs = self.theirs.read().unwrap();
                let ours = self.ours.read().unwrap_or_else(|error| panic!("{}: {error}", shown(words)));
                if first.is_none() {
                    let at = number * PIPELINE + place;
                    let found = judge.difference(words, *compare, &ours, &theirs);
                    first = found.map(|(words, [ours, theirs])| Difference { at, words, ours, theirs });
                }
            }
            if first.is_some() {
                return first;
            }
        }
        None
    }

    /// Takes away what the difference that the last command makes does not need.
    fn shrink(&mut self, resp3: bool, commands: &mut Vec<Asked>, mut found: Difference) -> Difference {
        for at in (0..commands.len() - 1).rev() {
            let kept = commands.remove(at);
            match self.play(resp3, commands, &mut Excused::new()) {
                Some(other) if other.at == commands.len() - 1 && other.words == found.words => found = other,
                _ => commands.insert(at, kept),
            }
        }
        found
    }
}

/// Judges replies, those of a transaction one by one.
struct Judge<'a> {
    /// What was queued since MULTI.
    queue: Vec<Asked>,
    excused: &'a mut Excused,
}

impl Judge<'_> {
    /// The command whose replies differ, and these.
    fn difference(
        &mut self,
        words: &Words,
        compare: Compare,
        ours: &[u8],
        theirs: &[u8],
    ) -> Option<(Words, [Vec<u8>; 2])> {
        let is = |name: &[u8]| words[0].eq_ignore_ascii_case(name);
        if ours == b"+QUEUED\r\n" && theirs == ours {
            self.queue.push((words.clone(), compare));
            return None;
        }
        let queue = if is(b"EXEC") || is(b"DISCARD") { std::mem::take(&mut self.queue) } else { Vec::new() };
        let all = vec![(words.clone(), compare)];
        let (asked, ours, theirs) = match (raw::items(ours), raw::items(theirs)) {
            (Some(ours), Some(theirs)) if is(b"EXEC") && ours.len() == queue.len() && theirs.len() == queue.len() => {
                (queue, ours, theirs)
            }
            _ => (all, vec![ours.to_vec()], vec![theirs.to_vec()]),
        };
        let replies = ours.into_iter().zip(theirs);
        let mut each = asked.into_iter().zip(replies);
        let found = each.find(|((words, compare), (ours, theirs))| !self.same(words, *compare, ours, theirs));
        found.map(|((words, _), (ours, theirs))| (words, [ours, theirs]))
    }

    fn same(&mut self, words: &[Vec<u8>], compare: Compare, ours: &[u8], theirs: &[u8]) -> bool {
        let reason = || exceptions::reason(&Case { words, ours, theirs });
        compare.same(ours, theirs)
            || reason().is_some_and(|why| {
                *self.excused.entry(why).or_default() += 1;
                true
            })
    }
}

impl Difference {
    /// What it is about, so that many of a kind are one.
    fn what(&self) -> String {
        let name = String::from_utf8_lossy(&self.words[0]).to_ascii_uppercase();
        let kind = |reply: &[u8]| {
            let shown = reply.escape_ascii().to_string();
            shown.chars().take(if reply.starts_with(b"-") { 30 } else { 1 }).collect::<String>()
        };
        format!("{name} {} {}", kind(&self.ours), kind(&self.theirs))
    }

    fn describe(&self, commands: &[Asked]) -> String {
        let mut text = String::new();
        for (words, _) in commands {
            writeln!(text, "    {}", shown(words)).unwrap();
        }
        writeln!(text, "  > {}", shown(&self.words)).unwrap();
        writeln!(text, "  ours:   {:.300}", self.ours.escape_ascii().to_string()).unwrap();
        writeln!(text, "  theirs: {:.300}", self.theirs.escape_ascii().to_string()).unwrap();
        text
    }
}

fn shown(words: &[Vec<u8>]) -> String {
    let quoted = words.iter().map(|word| {
        let text = word.escape_ascii().to_string();
        if text.len() > 80 { format!("\"{}...({} bytes)\"", &text[..60], word.len()) } else { format!("\"{text}\"") }
    });
    quoted.collect::<Vec<_>>().join(" ")
}
