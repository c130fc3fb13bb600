//! Publish and subscribe: several clients of both servers do the same, and must be answered and told the same.
//!
//! After each command every client asks for an echo: what comes before it is what the command brought about. Redis has no order among the
//! messages that one client gets of one command, by several patterns, nor among its channels when it leaves all; so these are compared
//! in any order.

use super::{
    peer::{Peer, Redis},
    raw,
};
use crate::harness::{Random, Server};

const CLIENTS: usize = 5;
/// Commands of a round, in which some clients speak RESP3.
const ROUND: usize = 250;
const ROUNDS: usize = 4;
/// Commands that are shown with a difference.
const SHOWN: usize = 60;

/// Not the empty one, which no star matches in Redis 7.0.
const CHANNELS: &[&[u8]] = &[b"a", b"b", b"news.1", b"news.2", b"h[llo", b"\xff\x00c"];
const PATTERNS: &[&[u8]] = &[b"*", b"news.*", b"news.?", b"?", b"[a-b]", b"h\\[*", b"", b"[^a]", b"a"];

type Words = Vec<Vec<u8>>;
type Frames = Vec<Vec<u8>>;

/// One client, once at each server.
struct Client {
    ours: Peer,
    theirs: Peer,
}

/// What came until the echo.
fn until_echo(peer: &mut Peer, echo: &str) -> Frames {
    peer.send(&[&vec!["PING", echo]]).unwrap();
    let mut frames = Vec::new();
    loop {
        let frame = peer.read().unwrap();
        if frame.windows(echo.len()).any(|bytes| bytes == echo.as_bytes()) {
            return frames;
        }
        frames.push(frame);
    }
}

impl Client {
    fn send(&mut self, words: &Words) {
        self.ours.send(&[words]).unwrap();
        self.theirs.send(&[words]).unwrap();
    }

    /// What each of the servers has said since the last time.
    fn heard(&mut self, echo: &str) -> [Frames; 2] {
        [until_echo(&mut self.ours, echo), until_echo(&mut self.theirs, echo)]
    }
}

/// Frames in an order that is always the same; of several replies to one who leaves, channels and counts each by itself.
fn plain(frames: Frames) -> Frames {
    let mut parts: Frames = frames.into_iter().flat_map(parts).collect();
    parts.sort();
    parts
}

/// A frame; of a reply that ends a subscription its channel, and how many are left; of a list without order its sorted items.
fn parts(frame: Vec<u8>) -> Frames {
    let mark = frame[..1].to_vec();
    let array = if mark == b">" { [b"*", &frame[1..]].concat() } else { frame.clone() };
    let Some(mut items) = raw::items(&array) else { return vec![frame] };
    let kind = items.first().cloned().unwrap_or_default();
    if kind.ends_with(b"unsubscribe\r\n") && items.len() == 3 {
        let count = items.pop().unwrap_or_default();
        return vec![[mark.clone(), items.concat()].concat(), [mark, kind, count].concat()];
    }
    if mark == b"*" && !kind.ends_with(b"message\r\n") {
        items.sort();
    }
    vec![[mark, items.concat()].concat()]
}

fn some(from: &[&[u8]], random: &mut Random, least: usize) -> Words {
    (0..least + random.below(3)).map(|_| from[random.below(from.len())].to_vec()).collect()
}

/// A random command.
fn choose(random: &mut Random) -> Words {
    let channel = |random: &mut Random| CHANNELS[random.below(CHANNELS.len())].to_vec();
    let (name, arguments): (&str, Words) = match random.below(22) {
        0..3 => ("SUBSCRIBE", some(CHANNELS, random, 1)),
        3..5 => ("UNSUBSCRIBE", some(CHANNELS, random, 0)),
        5..8 => ("PSUBSCRIBE", some(PATTERNS, random, 1)),
        8 => ("PUNSUBSCRIBE", some(PATTERNS, random, 0)),
        9 => ("SSUBSCRIBE", some(CHANNELS, random, 1)),
        10 => ("SUNSUBSCRIBE", some(CHANNELS, random, 0)),
        11..16 => ("PUBLISH", vec![channel(random), vec![b'm'; random.below(300)]]),
        16 => ("SPUBLISH", vec![channel(random), b"to a shard".to_vec()]),
        17 => ("PUBSUB", [vec![b"NUMSUB".to_vec()], some(CHANNELS, random, 0)].concat()),
        18 => ("PUBSUB", vec![b"NUMPAT".to_vec()]),
        19 => ("PUBSUB", [vec![b"CHANNELS".to_vec()], some(PATTERNS, random, 0)].concat()),
        20 => ("PUBSUB", [vec![b"SHARDNUMSUB".to_vec()], some(CHANNELS, random, 0)].concat()),
        _ => {
            let other = ["GET", "RESET", "SUBSCRIBE", "PUBLISH", "PSUBSCRIBE"][random.below(5)];
            (other, some(CHANNELS, random, 0))
        }
    };
    [vec![name.into()], arguments].concat()
}

fn shown(words: &Words) -> String {
    words.iter().map(|word| format!("\"{}\"", word.escape_ascii())).collect::<Vec<_>>().join(" ")
}

#[test]
fn subscribers_hear_what_those_of_redis_hear() {
    let (server, redis) = (Server::start(&["--workers", "3"]), Redis::start());
    let mut random = Random::new();
    for round in 0..ROUNDS {
        let connect = || Client { ours: Peer::open(server.resp()), theirs: Peer::open(redis.addr) };
        let mut clients: Vec<Client> = (0..CLIENTS).map(|_| connect()).collect();
        for client in &mut clients[..round + 1] {
            client.send(&vec![b"HELLO".to_vec(), b"3".to_vec()]);
            client.heard("greeted");
        }
        let mut done = Vec::new();
        for step in 0..ROUND {
            let (who, words) = (random.below(CLIENTS), choose(&mut random));
            done.push(format!("{who}: {}", shown(&words)));
            clients[who].send(&words);
            // Whoever asked first, so that it has happened before the others look.
            for at in std::iter::once(who).chain((0..CLIENTS).filter(|&at| at != who)) {
                let [ours, theirs] = clients[at].heard(&format!("echo-{round}-{step}"));
                let [our, their] = [plain(ours.clone()), plain(theirs.clone())];
                let last = || done[done.len().saturating_sub(SHOWN)..].join("\n");
                assert_eq!(
                    our.len(),
                    their.len(),
                    "{}\nclient {at}:\n  ours {}\n  theirs {}",
                    last(),
                    shown(&ours),
                    shown(&theirs)
                );
                assert!(our == their, "{}\nclient {at}:\n  ours {}\n  theirs {}", last(), shown(&ours), shown(&theirs));
            }
        }
        leave(&mut clients);
    }
}

/// Ends all subscriptions, so that the next round begins without any.
fn leave(clients: &mut [Client]) {
    for client in clients {
        client.send(&vec![b"RESET".to_vec()]);
        client.heard("gone");
    }
}
