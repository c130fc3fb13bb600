//! Dialogues about keys; the replies are those of Redis 7.

use crate::command::testing::{Server, check};

#[test]
fn keys_are_deleted_and_counted() {
    check(
        &Server::new(),
        &[
            ("MSET a 1 b 2 c 3", "+OK"),
            ("EXISTS a a none", ":2"),
            ("TOUCH a b", ":2"),
            ("DBSIZE", ":3"),
            ("DEL a none a", ":1"),
            ("UNLINK b c", ":2"),
            ("DBSIZE", ":0"),
            ("TYPE a", "+none"),
            ("SET a 1", "+OK"),
            ("TYPE a", "+string"),
            ("DEL", "-ERR wrong number of arguments for 'del' command"),
        ],
    );
}

#[test]
fn expiries_follow_their_rules() {
    check(
        &Server::new(),
        &[
            ("EXPIRE a 10", ":0"),
            ("TTL a", ":-2"),
            ("SET a 1", "+OK"),
            ("PTTL a", ":-1"),
            ("EXPIRE a 10 XX", ":0"),
            ("EXPIRE a 10 GT", ":0"),
            ("EXPIRE a 100 NX", ":1"),
            ("EXPIRE a 10 NX", ":0"),
            ("EXPIRE a 200 gt", ":1"),
            ("EXPIRE a 100 GT", ":0"),
            ("EXPIRE a 50 LT", ":1"),
            ("EXPIRE a 40 XX LT", ":1"),
            ("TTL a", ":40"),
            ("PEXPIRE a 1400", ":1"),
            ("TTL a", ":1"),
            ("EXPIREAT a 33177117420", ":1"),
            ("EXPIRETIME a", ":33177117420"),
            ("PEXPIREAT a 33177117420123", ":1"),
            ("PEXPIRETIME a", ":33177117420123"),
            ("PERSIST a", ":1"),
            ("PERSIST a", ":0"),
            ("EXPIRETIME a", ":-1"),
            ("EXPIRETIME none", ":-2"),
            ("EXPIRE a 10 NX GT", "-ERR NX and XX, GT or LT options at the same time are not compatible"),
            ("EXPIRE a 10 GT LT", "-ERR GT and LT options at the same time are not compatible"),
            ("EXPIRE a 10 FOO", "-ERR Unsupported option FOO"),
            ("EXPIRE a x", "-ERR value is not an integer or out of range"),
            ("EXPIRE a 9223372036854775807", "-ERR invalid expire time in 'expire' command"),
            ("PEXPIRE a 9223372036854775807", "-ERR invalid expire time in 'pexpire' command"),
            ("EXPIRE a -1", ":1"),
            ("EXISTS a", ":0"),
            ("SET a 1", "+OK"),
            ("EXPIREAT a -5", ":1"),
            ("EXISTS a", ":0"),
        ],
    );
}

#[test]
fn keys_are_renamed() {
    check(
        &Server::new(),
        &[
            ("RENAME a b", "-ERR no such key"),
            ("SET a 1 EX 100", "+OK"),
            ("RENAME a a", "+OK"),
            ("RENAMENX a a", ":0"),
            ("RENAME a b", "+OK"),
            ("TTL b", ":100"),
            ("SET c 1", "+OK"),
            ("RENAMENX b c", ":0"),
            ("RENAMENX b d", ":1"),
            ("EXISTS a b c d", ":2"),
        ],
    );
}

#[test]
fn keys_are_searched() {
    let server = Server::new();
    for i in 0..100 {
        server.run(&format!("SET key:{i} x"));
    }
    check(
        &server,
        &[
            ("KEYS key:7", "*1 $5 key:7"),
            ("KEYS none*", "*0"),
            ("SCAN 0 MATCH none* COUNT 1000", "*2 $1 0 *0"),
            ("SCAN 0 MATCH key:7 COUNT 1000 TYPE string", "*2 $1 0 *1 $5 key:7"),
            ("SCAN 0 TYPE hash COUNT 1000", "*2 $1 0 *0"),
            ("SCAN x", "-ERR invalid cursor"),
            ("SCAN 0 COUNT 0", "-ERR syntax error"),
            ("SCAN 0 COUNT x", "-ERR value is not an integer or out of range"),
            ("SCAN 0 MATCH", "-ERR syntax error"),
            ("SCAN 0 FOO x", "-ERR syntax error"),
        ],
    );
    assert!(server.run("KEYS key:*").starts_with("*100 "));
    assert!(server.run("RANDOMKEY").contains("key:"));
    let (mut cursor, mut seen) = ("0".to_owned(), 0);
    loop {
        let page = server.run(&format!("SCAN {cursor} COUNT 7"));
        let words: Vec<&str> = page.split(' ').collect();
        seen += words[3][1..].parse::<usize>().unwrap();
        cursor = words[2].to_owned();
        if cursor == "0" {
            break;
        }
    }
    assert_eq!(seen, 100);
}

#[test]
fn databases_are_apart() {
    check(
        &Server::new(),
        &[
            ("SET a 0", "+OK"),
            ("SELECT 1", "+OK"),
            ("GET a", "$-1"),
            ("SET a 1", "+OK"),
            ("SET b 1", "+OK"),
            ("DBSIZE", ":2"),
            ("FLUSHDB", "+OK"),
            ("DBSIZE", ":0"),
            ("SELECT 0", "+OK"),
            ("DBSIZE", ":1"),
            ("FLUSHALL ASYNC", "+OK"),
            ("DBSIZE", ":0"),
            ("RANDOMKEY", "$-1"),
            ("FLUSHALL FOO", "-ERR syntax error"),
            ("SELECT 16", "-ERR DB index is out of range"),
            ("SELECT x", "-ERR value is not an integer or out of range"),
        ],
    );
}

#[test]
fn flushall_leaves_tables_and_counters() {
    check(
        &Server::new(),
        &[
            ("TABLE.MAKE t 10 n int", "+OK"),
            ("TABLE.SET t a n 1", "+OK"),
            ("COUNTER.INCR c", ":1"),
            ("FLUSHALL", "+OK"),
            ("TABLE.COUNT t", ":1"),
            ("COUNTER.GET c", ":1"),
        ],
    );
}

#[test]
fn a_waiting_request_goes_on_where_it_stopped() {
    use crate::{
        command::{Args, call::Call, refusal::Refusal},
        store::Error,
    };
    let server = Server::new();
    let env = server.env();
    let mut session = server.session.borrow_mut();
    let mut stuck = true;
    let mut asked = Vec::new();
    let keys: [&[u8]; 3] = [b"a", b"b", b"c"];
    for attempt in 0..2 {
        let mut call = Call { args: Args::new(&[], &[]), session: &mut session, env: &env };
        let sum = call.tally(&keys, |_, key| {
            asked.push(key[0]);
            if key == b"b" && std::mem::take(&mut stuck) { Err(Error::Busy.into()) } else { Ok(true) }
        });
        match attempt {
            0 => assert!(matches!(sum, Err(Refusal::Store(Error::Busy)))),
            _ => assert_eq!(sum.unwrap(), 3),
        }
    }
    assert_eq!(asked, b"abbc");
    assert_eq!(session.progress.done, 0);
}

#[test]
fn a_request_that_is_given_up_leaves_no_trace() {
    use crate::command::{Args, Reply, busy, session::Progress};
    let server = Server::new();
    let mut session = server.session.borrow_mut();
    let args = Args::new(b"del", std::slice::from_ref(&(0..3)));
    let Reply::Error(text) = busy(&args, &mut session, &server.env()) else { panic!("an error") };
    assert!(text.starts_with("BUSY ") && text.contains("nothing was written"), "{text}");
    session.progress = Progress { done: 2, sum: 1 };
    let Reply::Error(text) = busy(&args, &mut session, &server.env()) else { panic!("an error") };
    assert!(text.starts_with("BUSY ") && text.contains("first 2 keys were done"), "{text}");
    assert_eq!(session.progress, Progress::default());
}
