//! Dialogues about values; the replies are those of Redis 7.

use crate::command::testing::{Server, check};

#[test]
fn set_and_get() {
    check(
        &Server::new(),
        &[
            ("GET a", "$-1"),
            ("SET a 1", "+OK"),
            ("GET a", "$1 1"),
            ("SET a 2 NX", "$-1"),
            ("SET a 2 XX", "+OK"),
            ("SET a 3 GET", "$1 2"),
            ("SET none 3 XX GET", "$-1"),
            ("SET a 4 NX GET", "$1 3"),
            ("SET a 4 EX 10 EX 20", "+OK"),
            ("TTL a", ":20"),
            ("SET a 5 KEEPTTL", "+OK"),
            ("TTL a", ":20"),
            ("SET a 6", "+OK"),
            ("TTL a", ":-1"),
            ("SET a 7 PXAT 1", "+OK"),
            ("EXISTS a", ":0"),
            ("SET a", "-ERR wrong number of arguments for 'set' command"),
            ("SET a 1 NX XX", "-ERR syntax error"),
            ("SET a 1 EX", "-ERR syntax error"),
            ("SET a 1 EX 10 PX 10", "-ERR syntax error"),
            ("SET a 1 KEEPTTL EX 10", "-ERR syntax error"),
            ("SET a 1 EX 10 KEEPTTL", "-ERR syntax error"),
            ("SET a 1 EX x", "-ERR value is not an integer or out of range"),
            ("SET a 1 EX 0", "-ERR invalid expire time in 'set' command"),
            ("SET a 1 EX 9223372036854775807", "-ERR invalid expire time in 'set' command"),
            ("SET a 1 PX 9223372036854775807", "-ERR invalid expire time in 'set' command"),
            ("EXISTS a", ":0"),
        ],
    );
}

#[test]
fn the_older_forms_of_set() {
    check(
        &Server::new(),
        &[
            ("SETNX a 1", ":1"),
            ("SETNX a 2", ":0"),
            ("SETEX a 10 v", "+OK"),
            ("PTTL a", ":10000"),
            ("PSETEX a 5500 v", "+OK"),
            ("TTL a", ":6"),
            ("SETEX a 0 v", "-ERR invalid expire time in 'setex' command"),
            ("PSETEX a -1 v", "-ERR invalid expire time in 'psetex' command"),
            ("GETSET a w", "$1 v"),
            ("TTL a", ":-1"),
            ("GETDEL a", "$1 w"),
            ("GETDEL a", "$-1"),
        ],
    );
}

#[test]
fn getex_changes_the_expiry() {
    check(
        &Server::new(),
        &[
            ("GETEX a", "$-1"),
            ("SET a 1", "+OK"),
            ("GETEX a EX 100", "$1 1"),
            ("TTL a", ":100"),
            ("GETEX a", "$1 1"),
            ("TTL a", ":100"),
            ("GETEX a PERSIST", "$1 1"),
            ("TTL a", ":-1"),
            ("GETEX a EX", "-ERR syntax error"),
            ("GETEX a KEEPTTL", "-ERR syntax error"),
            ("GETEX a EX 0", "-ERR invalid expire time in 'getex' command"),
            ("GETEX a EXAT 1", "$1 1"),
            ("EXISTS a", ":0"),
        ],
    );
}

#[test]
fn parts_of_values() {
    check(
        &Server::new(),
        &[
            ("APPEND a hello", ":5"),
            ("APPEND a world", ":10"),
            ("STRLEN a", ":10"),
            ("STRLEN b", ":0"),
            ("GETRANGE a 0 4", "$5 hello"),
            ("GETRANGE a -5 -1", "$5 world"),
            ("GETRANGE a -100 100", "$10 helloworld"),
            ("GETRANGE a 5 4", "$0 "),
            ("GETRANGE a -1 -5", "$0 "),
            ("GETRANGE a 0 -100", "$1 h"),
            ("GETRANGE b 0 -1", "$0 "),
            ("SUBSTR a 1 2", "$2 el"),
            ("GETRANGE a x 1", "-ERR value is not an integer or out of range"),
        ],
    );
}

#[test]
fn numbers_do_not_wrap() {
    check(
        &Server::new(),
        &[
            ("INCR n", ":1"),
            ("INCRBY n 10", ":11"),
            ("DECRBY n 3", ":8"),
            ("DECR n", ":7"),
            ("INCRBY n 1.5", "-ERR value is not an integer or out of range"),
            ("SET n 9223372036854775807", "+OK"),
            ("INCR n", "-ERR increment or decrement would overflow"),
            ("GET n", "$19 9223372036854775807"),
            ("DECRBY n -9223372036854775808", "-ERR decrement would overflow"),
            ("SET n x", "+OK"),
            ("INCR n", "-ERR value is not an integer or out of range"),
            ("INCRBYFLOAT n 1", "-ERR value is not a valid float"),
            ("SET n 10.50", "+OK"),
            ("INCRBYFLOAT n 0.1", "$4 10.6"),
            ("INCRBYFLOAT n inf", "-ERR increment would produce NaN or Infinity"),
            ("INCRBYFLOAT n nan", "-ERR value is not a valid float"),
        ],
    );
}

#[test]
fn several_keys_at_once() {
    check(
        &Server::new(),
        &[
            ("MSET a 1 b 2 a 3", "+OK"),
            ("MGET a none b", "*3 $1 3 $-1 $1 2"),
            ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command"),
            ("MSETNX c 1 a 2", ":0"),
            ("EXISTS c", ":0"),
            ("MSETNX c 1 d 2", ":1"),
            ("MSETNX c", "-ERR wrong number of arguments for 'msetnx' command"),
        ],
    );
}

#[test]
fn values_and_keys_have_a_limit() {
    let server = Server::with(crate::config::Config { max_value: 10, ..Default::default() });
    let long = "x".repeat(11);
    let too_long = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    check(
        &server,
        &[
            (&format!("SET a {long}"), too_long),
            (&format!("MSET b 1 a {long}"), too_long),
            ("EXISTS a b", ":0"),
            ("APPEND a 123456", ":6"),
            ("APPEND a 123456", too_long),
            ("GET a", "$6 123456"),
        ],
    );
}

#[test]
fn a_reply_has_a_limit() {
    let server = Server::with(crate::config::Config { output_limit: 1000, ..Default::default() });
    server.run(&format!("SET a {}", "x".repeat(10)));
    let many = |keys: usize| server.run(&format!("MGET {}", "a ".repeat(keys)));
    assert!(many(100).starts_with("*100 $10 xxxxxxxxxx "));
    let refusal = "-ERR the values are too large for one reply (1000 bytes at most)";
    assert_eq!(many(101), refusal);
    server.run(&format!("SET long {}", "x".repeat(501)));
    assert!(server.run("MGET long").starts_with("*1 $501 "));
    assert_eq!(server.run("MGET long long"), refusal, "few keys can have long values");
}

#[test]
fn resp3_has_a_null_of_its_own() {
    let server = Server::new();
    assert_eq!(server.run3("GET a"), "_");
    assert_eq!(server.run3("MGET a"), "*1 _");
}

#[test]
fn reads_and_writes_are_counted() {
    use crate::store::Stat;
    let server = Server::new();
    check(&server, &[("SET a 1", "+OK"), ("GET a", "$1 1"), ("MGET a b", "*2 $1 1 $-1"), ("DEL a b", ":1")]);
    server.run("GET");
    let count = |stat| server.store.statistics().sum(stat);
    assert_eq!((count(Stat::Reads), count(Stat::Hits), count(Stat::Misses)), (3, 2, 1));
    assert_eq!((count(Stat::Writes), count(Stat::Commands), count(Stat::Errors)), (2, 5, 1));
}
