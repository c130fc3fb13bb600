//! Dialogues about counters.

use crate::command::testing::{Server, check};

#[test]
fn counters_count() {
    check(
        &Server::new(),
        &[
            ("COUNTER.GET c", "$-1"),
            ("COUNTER.INCR c", ":1"),
            ("COUNTER.INCR c 41", ":42"),
            ("COUNTER.DECR c", ":41"),
            ("COUNTER.DECR c -9", ":50"),
            ("COUNTER.GET c", ":50"),
            ("COUNTER.SET c -7", "+OK"),
            ("COUNTER.GET c", ":-7"),
            ("COUNTER.RESET c", "+OK"),
            ("COUNTER.GET c", ":0"),
            ("COUNTER.CAS c 1 2", ":0"),
            ("COUNTER.CAS c 0 2", ":1"),
            ("COUNTER.CAS fresh 0 5", ":1"),
            ("COUNTER.LIST", "*4 $1 c :2 $5 fresh :5"),
            ("COUNTER.DEL c", ":1"),
            ("COUNTER.DEL c", ":0"),
            ("COUNTER.GET c", "$-1"),
        ],
    );
}

#[test]
fn counters_have_bounds() {
    check(
        &Server::new(),
        &[
            ("COUNTER.INCRBOUND c 2 5", ":2"),
            ("COUNTER.INCRBOUND c 3 5", ":5"),
            ("COUNTER.INCRBOUND c 1 5", "-BOUND the counter would pass 5; it was left as it is"),
            ("COUNTER.DECRBOUND c 5 0", ":0"),
            ("COUNTER.DECRBOUND c 1 0", "-BOUND the counter would pass 0; it was left as it is"),
            ("COUNTER.INCRBOUND c 0 5", "-ERR the step must be at least 1"),
            ("COUNTER.DECRBOUND c -1 0", "-ERR the step must be at least 1"),
            ("COUNTER.GET c", ":0"),
        ],
    );
}

#[test]
fn counters_do_not_wrap() {
    check(
        &Server::new(),
        &[
            ("COUNTER.SET c 9223372036854775807", "+OK"),
            ("COUNTER.INCR c", "-OVERFLOW the result would overflow"),
            ("COUNTER.DECR c -9223372036854775808", "-OVERFLOW the result would overflow"),
            ("COUNTER.GET c", ":9223372036854775807"),
            ("COUNTER.INCR c x", "-ERR value is not an integer or out of range"),
            ("COUNTER.INCR c 1 2", "-ERR wrong number of arguments for 'counter.incr' command"),
            ("COUNTER.INCR \"\"", "-ERR a key or name has at least one byte"),
        ],
    );
    let name = "c".repeat(256);
    assert!(Server::new().run(&format!("COUNTER.INCR {name}")).starts_with("-TOOLONG "));
}

#[test]
fn a_list_is_a_map_in_resp3() {
    let server = Server::new();
    server.run("COUNTER.INCR c");
    assert_eq!(server.run3("COUNTER.LIST"), "%1 $1 c :1");
}
