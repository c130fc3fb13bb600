//! Dialogues about hashes; the replies are those of Redis 7.

use crate::{
    command::testing::{Server, check},
    config::Config,
};

#[test]
fn fields_are_set_read_and_deleted() {
    check(
        &Server::new(),
        &[
            ("HSET h a 1 b 2", ":2"),
            ("HSET h a 3 c 4 c 5", ":1"),
            ("HMSET h d 6", "+OK"),
            ("HSETNX h a 9", ":0"),
            ("HSETNX h e 9", ":1"),
            ("HGET h a", "$1 3"),
            ("HGET h none", "$-1"),
            ("HGET none a", "$-1"),
            ("HMGET h a none c", "*3 $1 3 $-1 $1 5"),
            ("HMGET none a b", "*2 $-1 $-1"),
            ("HLEN h", ":5"),
            ("HLEN none", ":0"),
            ("HEXISTS h b", ":1"),
            ("HEXISTS h z", ":0"),
            ("HSTRLEN h a", ":1"),
            ("HSTRLEN h z", ":0"),
            ("HDEL h a a z", ":1"),
            ("HDEL h b c d e", ":4"),
            ("EXISTS h", ":0"),
            ("TYPE h", "+none"),
            ("HGETALL h", "*0"),
            ("HSET h a", "-ERR wrong number of arguments for 'hset' command"),
            ("HSET h a 1 b", "-ERR wrong number of arguments for 'hset' command"),
            ("HMSET h a 1 b", "-ERR wrong number of arguments for 'hmset' command"),
            ("HSET h f v", ":1"),
            ("HGETALL h", "*2 $1 f $1 v"),
            ("HKEYS h", "*1 $1 f"),
            ("HVALS h", "*1 $1 v"),
            ("TYPE h", "+hash"),
            ("OBJECT ENCODING h", "$8 listpack"),
        ],
    );
}

#[test]
fn numbers_in_fields_are_added_to() {
    check(
        &Server::new(),
        &[
            ("HINCRBY h n 5", ":5"),
            ("HINCRBY h n -7", ":-2"),
            ("HINCRBY h n x", "-ERR value is not an integer or out of range"),
            ("HSET h text abc max 9223372036854775807", ":2"),
            ("HINCRBY h text 1", "-ERR hash value is not an integer"),
            ("HINCRBY h max 1", "-ERR increment or decrement would overflow"),
            ("HGET h max", "$19 9223372036854775807"),
            ("HINCRBYFLOAT h f 1.5", "$3 1.5"),
            ("HINCRBYFLOAT h f 1.5", "$1 3"),
            ("HINCRBYFLOAT h text 1", "-ERR hash value is not a float"),
            ("HINCRBYFLOAT h f inf", "-ERR value is NaN or Infinity"),
            ("HINCRBYFLOAT h f x", "-ERR value is not a valid float"),
        ],
    );
}

#[test]
fn other_types_are_left_alone() {
    const WRONG: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    let server = Server::new();
    server.run("SET s text");
    server.run("HSET h f v");
    for command in [
        "HSET s f v",
        "HSETNX s f v",
        "HGET s f",
        "HMGET s f",
        "HGETALL s",
        "HKEYS s",
        "HVALS s",
        "HLEN s",
        "HEXISTS s f",
        "HSTRLEN s f",
        "HDEL s f",
        "HINCRBY s f 1",
        "HINCRBYFLOAT s f 1",
        "HSCAN s 0",
        "HRANDFIELD s",
        "HGETDEL s FIELDS 1 f",
        "GET h",
        "GETSET h v",
        "GETDEL h",
        "GETEX h",
        "APPEND h v",
        "STRLEN h",
        "INCR h",
        "INCRBYFLOAT h 1",
        "SETRANGE h 0 v",
        "GETRANGE h 0 1",
        "SET h v GET",
        "SETBIT h 0 1",
    ] {
        assert_eq!(server.run(command).trim(), WRONG, "{command}");
    }
    check(
        &server,
        &[
            ("GET s", "$4 text"),
            ("HGET h f", "$1 v"),
            ("MGET s h", "*2 $4 text $-1"),
            ("EXPIRE h 100", ":1"),
            ("HSET h g w", ":1"),
            ("TTL h", ":100"),
            ("RENAME h k", "+OK"),
            ("HGET k g", "$1 w"),
            ("SET k v", "+OK"),
            ("GET k", "$1 v"),
        ],
    );
}

#[test]
fn fields_are_scanned_and_chosen() {
    let server = Server::new();
    check(
        &server,
        &[
            ("HSET h a 1", ":1"),
            ("HSCAN h 0", "*2 $1 0 *2 $1 a $1 1"),
            ("HSCAN h 0 NOVALUES", "*2 $1 0 *1 $1 a"),
            ("HSCAN h 0 MATCH b*", "*2 $1 0 *0"),
            ("HSCAN none 0", "*2 $1 0 *0"),
            ("HSCAN h 0 COUNT 0", "-ERR syntax error"),
            ("HSCAN h x", "-ERR invalid cursor"),
            ("HRANDFIELD h", "$1 a"),
            ("HRANDFIELD none", "$-1"),
            ("HRANDFIELD h 5", "*1 $1 a"),
            ("HRANDFIELD h -3", "*3 $1 a $1 a $1 a"),
            ("HRANDFIELD h 1 WITHVALUES", "*2 $1 a $1 1"),
            ("HRANDFIELD none 3", "*0"),
            ("HRANDFIELD h 0", "*0"),
            (
                "HRANDFIELD h -9223372036854775808",
                "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
            ),
            ("HRANDFIELD h -4611686018427387904 WITHVALUES", "-ERR value is out of range"),
            ("HRANDFIELD h x", "-ERR value is not an integer or out of range"),
            ("HGETDEL h FIELDS 2 a b", "*2 $1 1 $-1"),
            ("EXISTS h", ":0"),
            ("HGETDEL h FIELDS 2 a", "-ERR The `numfields` parameter must match the number of arguments"),
        ],
    );
}

// A field that is named again and again, or drawn, once made a reply of any size out of a request of 40 bytes.
#[test]
fn no_reply_is_larger_than_a_client_may_leave_unread() {
    let server = Server::with(Config { output_limit: 5000, ..Config::default() });
    let value = "v".repeat(2000);
    server.run(&format!("HSET h f {value} g {value}"));
    server.run(&format!("SET s {value}"));
    const VALUES: &str = "-ERR the values are too large for one reply (5000 bytes at most)";
    const FIELDS: &str = "-ERR the fields are too large for one reply (5000 bytes at most)";
    check(
        &server,
        &[
            ("MGET s s s", VALUES),
            ("HMGET h f f f", VALUES),
            ("HRANDFIELD h -3 WITHVALUES", FIELDS),
            ("HRANDFIELD h -6000", FIELDS),
            ("HSET h k 1", ":1"),
            ("HSET h l 2", ":1"),
        ],
    );
    assert!(server.run("HMGET h f g").starts_with("*2 $2000 v"));
    assert!(server.run("HRANDFIELD h -3").starts_with("*3 $1 "));
    assert!(server.run("HRANDFIELD h 4 WITHVALUES").starts_with("*8 $1 "));
    server.run(&format!("HSET h m {value}"));
    check(&server, &[("HGETDEL h FIELDS 3 f g m", VALUES), ("HLEN h", ":5"), ("HRANDFIELD h 5 WITHVALUES", FIELDS)]);
    assert!(server.run("HGETDEL h FIELDS 4 f g f g").starts_with("*4 $2000 v"));
    check(&server, &[("HLEN h", ":3")]);
}
