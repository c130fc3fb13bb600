//! Values go from one server to the other by DUMP and RESTORE.

use super::peer::{Peer, Redis};
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
