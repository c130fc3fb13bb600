//! Dialogues about tables.

use crate::command::testing::{Server, check};

fn people() -> Server {
    let server = Server::new();
    check(&server, &[("TABLE.MAKE t 3 name string 8 score int rate float", "+OK")]);
    server
}

#[test]
fn tables_are_made_described_and_dropped() {
    let server = people();
    check(
        &server,
        &[
            ("TABLE.MAKE t 3 name string 8 score int rate float", "+OK"),
            (
                "TABLE.MAKE t 4 name string 8 score int rate float",
                "-TABLEEXISTS table 't' exists with another schema; drop it first or use its schema",
            ),
            ("TABLE.MAKE u 10 KEYBYTES 100 KeyBytes INT", "+OK"),
            ("TABLE.MAKE v 10 KEYBYTES int", "+OK"),
            ("TABLE.LIST", "*3 $1 t $1 u $1 v"),
            ("TABLE.DROP u", "+OK"),
            ("TABLE.DROP u", "-NOTABLE no table named 'u'; make it first"),
            ("TABLE.SET u a KeyBytes 1", "-NOTABLE no table named 'u'; make it first"),
            ("TABLE.LIST", "*2 $1 t $1 v"),
            ("TABLE.MAKE w x n int", "-ERR value is not an integer or out of range"),
            ("TABLE.MAKE w -1 n int", "-ERR value is not an integer or out of range"),
            ("TABLE.MAKE w 1 n", "-ERR wrong number of arguments for 'table.make' command"),
            ("TABLE.MAKE w 1 n string", "-ERR column 'n': string needs a size in bytes, 1..=65535"),
            ("TABLE.MAKE w 1 n blob", "-ERR column 'n': the type must be int, float or string and its size"),
            ("TABLE.MAKE w 1 n int m", "-ERR column 'm': the type must be int, float or string and its size"),
            ("TABLE.MAKE ~clients 1 n int", "-ERR table name '~clients' must be 1..=64 of A-Z a-z 0-9 _ . -"),
            ("TABLE.INFO ~clients", "-NOTABLE no table named '~clients'; make it first"),
            ("TABLE.DROP ~clients", "-NOTABLE no table named '~clients'; make it first"),
        ],
    );
    let info = server.run("TABLE.INFO t");
    assert!(
        info.starts_with(
            "*12 $4 name $1 t $4 rows :3 $9 key_bytes :64 $7 columns *6 $4 name $9 string(8) $5 score $3 int $4 rate \
             $5 float $5 count :0 $5 bytes :"
        ),
        "{info}"
    );
    assert!(server.run3("TABLE.INFO t").starts_with("%6 "));
}

#[test]
fn rows_are_written_and_read() {
    let server = people();
    check(
        &server,
        &[
            ("TABLE.GET t a", "$-1"),
            ("TABLE.SET t a name alice score 100", "+OK"),
            ("TABLE.GET t a", "*6 $4 name $5 alice $5 score :100 $4 rate $1 0"),
            ("TABLE.SET t a rate 1.5", "+OK"),
            ("TABLE.GET t a rate name score", "*3 $3 1.5 $5 alice :100"),
            ("TABLE.GET t none rate", "$-1"),
            ("TABLE.GET t a nope", "-NOCOLUMN table 't' has no column 'nope'"),
            ("TABLE.GET t none nope", "-NOCOLUMN table 't' has no column 'nope'"),
            ("TABLE.SET t b name bob NX", "+OK"),
            ("TABLE.SET t b name bob NX", "$-1"),
            ("TABLE.SET t c name carl XX", "$-1"),
            ("TABLE.SET t b score 1.0 XX", "+OK"),
            ("TABLE.COUNT t", ":2"),
            ("TABLE.EXISTS t a", ":1"),
            ("TABLE.EXISTS t c", ":0"),
            (
                "TABLE.MGET t a c b",
                "*3 *6 $4 name $5 alice $5 score :100 $4 rate $3 1.5 $-1 *6 $4 name $3 bob $5 score :1 $4 rate $1 0",
            ),
            ("TABLE.GETDEL t b", "*6 $4 name $3 bob $5 score :1 $4 rate $1 0"),
            ("TABLE.GETDEL t b", "$-1"),
            ("TABLE.DEL t a b a", ":1"),
            ("TABLE.COUNT t", ":0"),
            ("TABLE.SET t a score 1", "+OK"),
            ("TABLE.CLEAR t", "+OK"),
            ("TABLE.COUNT t", ":0"),
        ],
    );
    server.run("TABLE.SET t a name alice score 1 rate 2.5");
    assert_eq!(server.run3("TABLE.GET t a"), "%3 $4 name $5 alice $5 score :1 $4 rate ,2.5");
    assert_eq!(server.run3("TABLE.GET t a rate"), "*1 ,2.5");
    assert_eq!(server.run3("TABLE.GET t b"), "_");
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_written() {
    let server = people();
    check(
        &server,
        &[
            ("TABLE.SET t a score 1.5", "-WRONGTYPE column 'score' holds int"),
            ("TABLE.SET t a score x", "-WRONGTYPE column 'score' holds int"),
            ("TABLE.SET t a rate nan", "-WRONGTYPE column 'rate' holds float (finite)"),
            ("TABLE.SET t a rate inf", "-WRONGTYPE column 'rate' holds float (finite)"),
            (
                "TABLE.SET t a score 1 name 123456789",
                "-TOOLONG value of 9 bytes is too long for column 'name' (8 bytes at most)",
            ),
            ("TABLE.SET t a score 1 nope 2", "-NOCOLUMN table 't' has no column 'nope'"),
            ("TABLE.SET t a score 1 name", "-ERR column 'name' has no value"),
            ("TABLE.SET t \"\" score 1", "-ERR a key or name has at least one byte"),
            ("TABLE.INCR t a name", "-WRONGTYPE column 'name' holds string(8)"),
            ("TABLE.COUNT t", ":0"),
            ("TABLE.SET t a score 1", "+OK"),
            ("TABLE.SET t b score 1", "+OK"),
            ("TABLE.SET t c score 1", "+OK"),
            (
                "TABLE.SET t d score 1",
                "-TABLEFULL table 't' is full: all 3 rows are in use; delete rows or make it larger",
            ),
        ],
    );
    let key = "k".repeat(65);
    assert!(server.run(&format!("TABLE.SET t {key} score 1")).starts_with("-TOOLONG key of 65 bytes"));
}

#[test]
fn columns_may_be_called_like_options() {
    check(
        &Server::new(),
        &[
            ("TABLE.MAKE t 3 EX int NX int", "+OK"),
            ("TABLE.SET t a EX 5 NX 6 ex 100 nx", "+OK"),
            ("TABLE.GET t a", "*4 $2 EX :5 $2 NX :6"),
            ("TABLE.TTL t a", ":100"),
        ],
    );
}

#[test]
fn numbers_are_added_in_place() {
    let server = people();
    check(
        &server,
        &[
            ("TABLE.INCR t a score", ":1"),
            ("TABLE.INCR t a score 41", ":42"),
            ("TABLE.DECR t a score 2.0", ":40"),
            ("TABLE.INCR t a score 1.5", "-WRONGTYPE column 'score' holds int"),
            ("TABLE.INCR t a rate 1.5", "$3 1.5"),
            ("TABLE.DECR t a rate", "$3 0.5"),
            ("TABLE.INCR t a rate inf", "-WRONGTYPE column 'rate' holds float (finite)"),
            ("TABLE.SET t a score 9223372036854775807 rate 1e308", "+OK"),
            ("TABLE.INCR t a score", "-OVERFLOW the result would overflow"),
            ("TABLE.INCR t a rate 1e308", "-OVERFLOW the result would overflow"),
            ("TABLE.DECR t b score -9223372036854775808", "-OVERFLOW the result would overflow"),
            ("TABLE.INCR t a score 1 2", "-ERR wrong number of arguments for 'table.incr' command"),
            ("TABLE.GET t a score", "*1 :9223372036854775807"),
            ("TABLE.EXISTS t b", ":0"),
        ],
    );
    assert_eq!(server.run3("TABLE.INCR t c rate 2.5"), ",2.5");
}

#[test]
fn several_rows_are_written_at_once() {
    let server = people();
    check(
        &server,
        &[
            ("TABLE.MSET t 2 a 2 name alice score 1 b 1 score 2", "+OK"),
            (
                "TABLE.MGET t a b",
                "*2 *6 $4 name $5 alice $5 score :1 $4 rate $1 0 *6 $4 name $0  $5 score :2 $4 rate $1 0",
            ),
            ("TABLE.MSET t 2 c 1 score 1 d 1 score x", "-WRONGTYPE column 'score' holds int"),
            ("TABLE.EXISTS t c", ":0"),
            ("TABLE.MSET t 2 c 1 score 1", "-ERR syntax error"),
            ("TABLE.MSET t 2 c 1 score 1 d", "-ERR syntax error"),
            ("TABLE.MSET t 1 c 2 score 1", "-ERR syntax error"),
            ("TABLE.MSET t 1 c 2 score 1 x", "-ERR syntax error"),
            ("TABLE.MSET t 1 c 1 score 1 x", "-ERR syntax error"),
            ("TABLE.MSET t 0 c 1 score 1", "-ERR syntax error"),
            ("TABLE.MSET t 65 c 1 score 1", "-ERR 65 is too many for rows in one batch (64 at most)"),
            ("TABLE.MSET t 1 c 99999999999 score 1", "-ERR syntax error"),
            ("TABLE.EXISTS t c", ":0"),
        ],
    );
    let keys = (0..65).map(|i| format!("k{i}")).collect::<Vec<_>>().join(" ");
    assert_eq!(server.run(&format!("TABLE.MGET t {keys}")), "-ERR 65 is too many for rows in one batch (64 at most)");
}

#[test]
fn rows_are_compared_and_set() {
    check(
        &people(),
        &[
            ("TABLE.CAS t a EXPECT 1 score 0 SET 1 score 1", ":0"),
            ("TABLE.SET t a name alice score 1", "+OK"),
            ("TABLE.CAS t a EXPECT 1 score 0 SET 1 score 2", ":0"),
            ("TABLE.CAS t a EXPECT 2 score 1 name alice SET 2 score 2 rate 1", ":1"),
            ("TABLE.CAS t a EXPECT 0 SET 2 score 3 rate 1", ":1"),
            ("TABLE.GET t a score rate", "*2 :3 $1 1"),
            ("TABLE.CAS t a EXPECT 1 score 3 SET 0 x", "-ERR syntax error"),
            ("TABLE.CAS t a EXPECT 2 score 1 SET 1 score", "-ERR syntax error"),
            ("TABLE.CAS t a EXPECTED 1 score 1 SET 1 score 1", "-ERR syntax error"),
            ("TABLE.CAS t a EXPECT 1 score 1 SET 1 score 1 2", "-ERR syntax error"),
            ("TABLE.CAS t a EXPECT x score 1 SET 1 score 1", "-ERR value is not an integer or out of range"),
            ("TABLE.CAS t a EXPECT 1 nope 1 SET 1 score 1", "-NOCOLUMN table 't' has no column 'nope'"),
        ],
    );
}

#[test]
fn rows_are_iterated() {
    let server = people();
    check(
        &server,
        &[
            ("TABLE.SCAN t 0", "*2 $1 0 *0"),
            ("TABLE.SET t a score 1", "+OK"),
            ("TABLE.SCAN t 0 COUNT 10", "*2 $1 0 *2 $1 a *6 $4 name $0  $5 score :1 $4 rate $1 0"),
            ("TABLE.SCAN t x", "-ERR invalid cursor"),
            ("TABLE.SCAN t 0 COUNT 0", "-ERR syntax error"),
            ("TABLE.SCAN t 0 FOO 1", "-ERR syntax error"),
            ("TABLE.SCAN t 0 COUNT", "-ERR syntax error"),
        ],
    );
    assert_eq!(server.run3("TABLE.SCAN t 0"), "*2 $1 0 *2 $1 a %3 $4 name $0  $5 score :1 $4 rate ,0");
}

#[test]
fn rows_expire() {
    check(
        &people(),
        &[
            ("TABLE.EXPIRE t a 10", ":0"),
            ("TABLE.TTL t a", ":-2"),
            ("TABLE.SET t a score 1", "+OK"),
            ("TABLE.TTL t a", ":-1"),
            ("TABLE.PERSIST t a", ":0"),
            ("TABLE.EXPIRE t a 10", ":1"),
            ("TABLE.TTL t a", ":10"),
            ("TABLE.SET t a score 2", "+OK"),
            ("TABLE.PTTL t a", ":10000"),
            ("TABLE.PEXPIRE t a 2500", ":1"),
            ("TABLE.TTL t a", ":3"),
            ("TABLE.PERSIST t a", ":1"),
            ("TABLE.TTL t a", ":-1"),
            ("TABLE.SET t a score 3 EX 10", "+OK"),
            ("TABLE.TTL t a", ":10"),
            ("TABLE.SET t a score 3 EX 0", "-ERR invalid expire time in 'table.set' command"),
            ("TABLE.SET t a score 3 EX", "-ERR syntax error"),
            ("TABLE.SET t a score 3 EX 1 PX 1", "-ERR syntax error"),
            ("TABLE.EXPIRE t a 9223372036854775807", "-ERR invalid expire time in 'table.expire' command"),
            ("TABLE.EXPIRE t a 0", ":1"),
            ("TABLE.EXISTS t a", ":0"),
        ],
    );
}

#[test]
fn a_table_that_was_made_again_is_found() {
    let server = people();
    check(&server, &[("TABLE.SET t a score 1", "+OK")]);
    // Another worker drops the table and makes one of the same name; this one still holds a handle of the first.
    server.store.drop_table("t").unwrap();
    check(&server, &[("TABLE.GET t a", "-NOTABLE no table named 't'; make it first")]);
    server.store.make("t", 2, &[crate::Column::int("x")]).unwrap();
    check(&server, &[("TABLE.SET t a x 5", "+OK"), ("TABLE.GET t a", "*2 $1 x :5")]);
    server.store.drop_table("t").unwrap();
    server.store.make("t", 2, &[crate::Column::int("y")]).unwrap();
    check(&server, &[("TABLE.SET t a y 6", "+OK"), ("TABLE.GET t a", "*2 $1 y :6")]);
}

#[test]
fn hits_and_misses_are_counted() {
    use crate::store::Stat;
    let server = people();
    server.run("TABLE.SET t a score 1");
    server.run("TABLE.GET t a");
    server.run("TABLE.MGET t a b");
    let count = |stat| server.store.statistics().sum(stat);
    assert_eq!((count(Stat::Reads), count(Stat::Hits), count(Stat::Misses), count(Stat::Writes)), (3, 2, 1, 1));
}
