//! Values go from one server to the other by DUMP and RESTORE.

use super::{
    peer::{Peer, Redis},
    raw,
};
use crate::harness::{Random, Server};

/// The bytes of a bulk reply.
fn contents(reply: &[u8]) -> Vec<u8> {
    let head = reply.iter().position(|&byte| byte == b'\n').expect("a line");
    assert!(reply.starts_with(b"$") && reply.len() > head + 2, "{}", reply.escape_ascii());
    reply[head + 1..reply.len() - 2].to_vec()
}

/// Strings that each way of writing them down occurs among.
fn strings() -> Vec<Vec<u8>> {
    let mut random = Random::new();
    let texts =
        ["", "0", "-1", "127", "128", "-129", "32767", "32768", "-2147483648", "2147483648", "01", "text", "+5"];
    let mut all: Vec<Vec<u8>> = texts.map(Vec::from).to_vec();
    for len in [1, 20, 21, 63, 64, 65, 300, 16_383, 16_384, 70_000, 300_000] {
        // Random bytes, few different ones, and repetitions near and far, which Redis packs.
        all.push((0..len).map(|_| random.next() as u8).collect());
        all.push((0..len).map(|_| b"ab"[random.below(2)]).collect());
        all.push((0..len).map(|i| (i / 3 % 251) as u8).collect());
        all.push(vec![b'x'; len]);
    }
    all
}

#[test]
fn strings_go_both_ways() {
    let server = Server::start(&["--workers", "1"]);
    let redis = Redis::start();
    let (mut ours, mut theirs) = (Peer::open(server.resp()), Peer::open(redis.addr));
    for text in strings() {
        assert_eq!(ours.run(&[&b"SET"[..], b"k", &text]), b"+OK\r\n");
        let dump = contents(&ours.run(&["DUMP", "k"]));
        assert_eq!(theirs.run(&[&b"RESTORE"[..], b"k", b"0", &dump, b"REPLACE"]), b"+OK\r\n");
        assert!(contents(&theirs.run(&["GET", "k"])) == text, "{} bytes to Redis", text.len());
        let dump = contents(&theirs.run(&["DUMP", "k"]));
        assert_eq!(ours.run(&["DEL", "k"]), b":1\r\n");
        assert_eq!(ours.run(&[&b"RESTORE"[..], b"k", b"100000", &dump]), b"+OK\r\n");
        assert!(contents(&ours.run(&["GET", "k"])) == text, "{} bytes from Redis", text.len());
    }
}

/// Fields and values of a reply, in order.
fn pairs_of(reply: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let items = raw::items(reply).expect("an array");
    let mut pairs: Vec<_> = items.chunks(2).map(|pair| (contents(&pair[0]), contents(&pair[1]))).collect();
    pairs.sort();
    pairs
}

#[test]
fn hashes_go_both_ways() {
    let server = Server::start(&["--workers", "1"]);
    let redis = Redis::start();
    let (mut ours, mut theirs) = (Peer::open(server.resp()), Peer::open(redis.addr));
    let strings: Vec<_> = strings().into_iter().filter(|text| text.len() < 20_000).collect();
    // Small enough for Redis to keep it in one piece, of long strings, and of many fields.
    for (fields, longest) in [(1, 64), (20, 64), (60, 20_000), (500, 300)] {
        let fitting: Vec<_> = strings.iter().filter(|text| text.len() <= longest).collect();
        let mut command = vec![b"HSET".to_vec(), b"k".to_vec()];
        for at in 0..fields {
            command.push([format!("{at}-").as_bytes(), &fitting[at % fitting.len()][..]].concat());
            command.push(fitting[at * 7 % fitting.len()].clone());
        }
        let numbers = [b"7".to_vec(), b"-300".to_vec()];
        command.extend(numbers);
        theirs.run(&["DEL", "k"]);
        theirs.run(&command);
        let expected = pairs_of(&theirs.run(&["HGETALL", "k"]));
        let dump = contents(&theirs.run(&["DUMP", "k"]));
        assert_eq!(ours.run(&[&b"RESTORE"[..], b"k", b"0", &dump, b"REPLACE"]), b"+OK\r\n", "{fields} fields");
        assert!(pairs_of(&ours.run(&["HGETALL", "k"])) == expected, "{fields} fields from Redis");
        let dump = contents(&ours.run(&["DUMP", "k"]));
        assert_eq!(theirs.run(&[&b"RESTORE"[..], b"k", b"0", &dump, b"REPLACE"]), b"+OK\r\n", "{fields} fields");
        assert!(pairs_of(&theirs.run(&["HGETALL", "k"])) == expected, "{fields} fields to Redis");
    }
}
