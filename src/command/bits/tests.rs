//! Dialogues about bits; the replies are those of Redis.

use crate::command::testing::{Server, check};

#[test]
fn single_bits() {
    check(
        &Server::new(),
        &[
            ("SETBIT a 7 1", ":0"),
            ("SETBIT a 7 1", ":1"),
            ("GETBIT a 7", ":1"),
            ("GETBIT a 1000000", ":0"),
            ("STRLEN a", ":1"),
            ("SETBIT a 23 0", ":0"),
            ("STRLEN a", ":3"),
            ("SETBIT a 0 2", "-ERR bit is not an integer or out of range"),
            ("SETBIT a -1 1", "-ERR bit offset is not an integer or out of range"),
            ("SETBIT a 99999999999 1", "-ERR bit offset is not an integer or out of range"),
            ("GETBIT a x", "-ERR bit offset is not an integer or out of range"),
        ],
    );
}

#[test]
fn counts_and_places() {
    check(
        &Server::new(),
        &[
            ("SET a foobar", "+OK"),
            ("BITCOUNT a", ":26"),
            ("BITCOUNT a 0 0", ":4"),
            ("BITCOUNT a 1 1 BYTE", ":6"),
            ("BITCOUNT a 5 30 BIT", ":17"),
            ("BITCOUNT a -2 -5", ":0"),
            ("BITCOUNT a 0", "-ERR syntax error"),
            ("BITCOUNT a 0 0 NIBBLE", "-ERR syntax error"),
            ("BITPOS a 1", ":1"),
            ("BITPOS a 0", ":0"),
            ("BITPOS a 1 4", ":33"),
            ("BITPOS a 1 -1 -1 BIT", ":-1"),
            ("BITPOS none 1", ":-1"),
            ("BITPOS none 0", ":0"),
            ("BITPOS a 2", "-ERR The bit argument must be 1 or 0."),
        ],
    );
}

#[test]
fn the_first_clear_bit_may_lie_behind_the_end() {
    let server = Server::new();
    server.run("SET a 1");
    for bit in 0..24 {
        server.run(&format!("SETBIT a {bit} 1"));
    }
    check(
        &server,
        &[
            ("BITPOS a 0", ":24"),
            ("BITPOS a 0 1", ":24"),
            ("BITPOS a 0 0 -1", ":-1"),
            ("BITPOS a 0 3", ":-1"),
            ("BITCOUNT a", ":24"),
            ("BITCOUNT a 3 17 BIT", ":15"),
        ],
    );
}

#[test]
fn values_are_combined() {
    check(
        &Server::new(),
        &[
            ("MSET a abcdef b abd c g", "+OK"),
            ("BITOP AND r a b", ":6"),
            ("BITCOUNT r", ":8"),
            ("BITOP OR r a b c", ":6"),
            ("GETRANGE r 3 -1", "$3 def"),
            ("BITOP XOR r a a", ":6"),
            ("BITCOUNT r", ":0"),
            ("BITOP NOT r a", ":6"),
            ("BITOP NOT r r", ":6"),
            ("GET r", "$6 abcdef"),
            ("BITOP AND r none", ":0"),
            ("EXISTS r", ":0"),
            ("BITOP NOT r a b", "-ERR BITOP NOT must be called with a single source key."),
            ("BITOP NAND r a b", "-ERR syntax error"),
            ("BITOP DIFF r a b", ":6"),
            ("BITOP DIFF1 r a b", ":6"),
            ("BITOP ANDOR r a b c", ":6"),
            ("BITOP ONE r a b b", ":6"),
            ("BITCOUNT r 0 1", ":0"),
            ("BITOP DIFF r a", "-ERR BITOP DIFF must be called with at least two source keys."),
        ],
    );
}

#[test]
fn more_keys_than_can_be_locked_are_combined_in_a_transaction() {
    let server = Server::new();
    let names: String = (0..200).map(|i| format!(" k{i}")).collect();
    server.run("MSET k0 a k70 b k199 dd h x");
    check(
        &server,
        &[
            (&format!("BITOP OR r{names}"), ":2"),
            ("GET r", "$2 gd"),
            (&format!("BITOP XOR k70{names} k70"), ":2"),
            (&format!("BITOP AND r{names}"), ":2"),
            ("GETRANGE r 0 0", "$1 \0"),
            ("HSET h2 f v", ":1"),
            (&format!("BITOP OR r{names} h2"), "-WRONGTYPE Operation against a key holding the wrong kind of value"),
            ("MULTI", "+OK"),
            (&format!("BITOP OR r{names}"), "+QUEUED"),
            ("EXEC", "*1 :2"),
            (&format!("BITOP DIFF r {}", "none ".repeat(90)), ":0"),
            ("EXISTS r", ":0"),
        ],
    );
}

/// The watcher of a key that was absent was told of a change, and the key was there afterwards.
#[test]
fn a_bitfield_whose_writes_all_fail_writes_nothing() {
    check(
        &Server::new(),
        &[
            ("WATCH a", "+OK"),
            ("BITFIELD a OVERFLOW FAIL SET u1 0 5 GET u8 0 INCRBY u2 70 9", "*3 $-1 :0 $-1"),
            ("EXISTS a", ":0"),
            ("MULTI", "+OK"),
            ("PING", "+QUEUED"),
            ("EXEC", "*1 +PONG"),
            ("SET a x", "+OK"),
            ("BITFIELD a OVERFLOW FAIL INCRBY u8 64 900", "*1 $-1"),
            ("STRLEN a", ":1"),
            ("BITFIELD a OVERFLOW FAIL INCRBY u8 64 900 INCRBY u8 8 1", "*2 $-1 :1"),
            ("STRLEN a", ":9"),
        ],
    );
}

#[test]
fn integers_of_any_width() {
    check(
        &Server::new(),
        &[
            ("BITFIELD a INCRBY i5 100 1 GET u4 0", "*2 :1 :0"),
            ("BITFIELD a SET u8 #1 255 GET u8 8", "*2 :0 :255"),
            ("BITFIELD a INCRBY u8 8 1", "*1 :0"),
            ("BITFIELD a OVERFLOW SAT INCRBY u8 8 -1", "*1 :0"),
            ("BITFIELD a OVERFLOW FAIL INCRBY u8 8 -1 OVERFLOW WRAP INCRBY u8 8 -1", "*2 $-1 :255"),
            ("BITFIELD a SET i64 0 -1 GET i64 0 GET u63 1", "*3 :71776119061217280 :-1 :9223372036854775807"),
            (
                "BITFIELD a GET u64 0",
                "-ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
            ),
            ("BITFIELD a OVERFLOW NOPE", "-ERR Invalid OVERFLOW type specified"),
            ("BITFIELD a GET u8", "-ERR syntax error"),
            ("BITFIELD_RO a GET u8 0", "*1 :255"),
            ("BITFIELD_RO a SET u8 0 1", "-ERR BITFIELD_RO only supports the GET subcommand"),
            ("BITFIELD a", "*0"),
        ],
    );
}
