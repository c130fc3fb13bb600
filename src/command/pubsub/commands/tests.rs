//! Dialogues of one client of one worker.

use crate::command::testing::{Server, check};

#[test]
fn a_client_subscribes_and_unsubscribes() {
    check(
        &Server::new(),
        &[
            ("subscribe a b a", "*3 $9 subscribe $1 a :1 *3 $9 subscribe $1 b :2 *3 $9 subscribe $1 a :2"),
            ("psubscribe a*", "*3 $10 psubscribe $2 a* :3"),
            ("ssubscribe s", "*3 $10 ssubscribe $1 s :1"),
            ("subscribe b c", "*3 $9 subscribe $1 b :3 *3 $9 subscribe $1 c :4"),
            ("unsubscribe b x", "*3 $11 unsubscribe $1 b :3 *3 $11 unsubscribe $1 x :3"),
            ("unsubscribe", "*3 $11 unsubscribe $1 a :2 *3 $11 unsubscribe $1 c :1"),
            ("unsubscribe", "*3 $11 unsubscribe $-1 :1"),
            ("punsubscribe", "*3 $12 punsubscribe $2 a* :0"),
            ("punsubscribe", "*3 $12 punsubscribe $-1 :0"),
            ("sunsubscribe s s", "*3 $12 sunsubscribe $1 s :0 *3 $12 sunsubscribe $1 s :0"),
            ("subscribe", "-ERR wrong number of arguments for 'subscribe' command"),
        ],
    );
}

#[test]
fn who_listens_in_resp2_may_do_little_else() {
    let refused = "only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";
    let (get, list) =
        (format!("-ERR Can't execute 'get': {refused}"), format!("-ERR Can't execute 'client|list': {refused}"));
    check(
        &Server::new(),
        &[
            ("ssubscribe s", "*3 $10 ssubscribe $1 s :1"),
            ("get x", &get),
            ("client list", &list),
            ("ping", "*2 $4 pong $0 "),
            ("ping x", "*2 $4 pong $1 x"),
            ("ping x y", "-ERR wrong number of arguments for 'ping' command"),
            ("nope", "-ERR unknown command 'nope', with args beginning with: "),
            ("reset", "+RESET"),
            ("ping", "+PONG"),
            ("get x", "$-1"),
            ("pubsub shardchannels", "*0"),
        ],
    );
}

#[test]
fn who_listens_in_resp3_may_do_everything() {
    let server = Server::new();
    assert_eq!(server.run3("subscribe a"), ">3 $9 subscribe $1 a :1");
    assert_eq!(server.run3("get x"), "_");
    assert_eq!(server.run3("ping"), "+PONG");
    assert_eq!(server.run3("unsubscribe"), ">3 $11 unsubscribe $1 a :0");
    assert_eq!(server.run3("unsubscribe"), ">3 $11 unsubscribe _ :0");
}

#[test]
fn publish_counts_those_who_hear() {
    let server = Server::new();
    assert_eq!(server.run("publish a 1"), ":0");
    for line in ["subscribe a", "psubscribe a*", "psubscribe ?", "ssubscribe a"] {
        server.run3(line);
    }
    assert_eq!(server.run3("publish a 1"), ":3");
    assert_eq!(server.run3("publish ab 1"), ":1");
    assert_eq!(server.run3("publish b 1"), ":1");
    assert_eq!(server.run3("spublish a 1"), ":1");
    assert_eq!(server.run3("spublish b 1"), ":0");
    assert_eq!(server.run3("pubsub numsub a b"), "*4 $1 a :1 $1 b :0");
    assert_eq!(server.run3("pubsub shardnumsub a"), "*2 $1 a :1");
    assert_eq!(server.run3("pubsub numpat"), ":2");
    assert_eq!(server.run3("pubsub channels"), "*1 $1 a");
    assert_eq!(server.run3("pubsub channels b*"), "*0");
    assert_eq!(server.run3("punsubscribe ?"), ">3 $12 punsubscribe $1 ? :2");
    assert_eq!(server.run3("publish a 1"), ":2");
    assert_eq!(server.run3("reset"), "+RESET");
    assert_eq!(server.run3("publish a 1"), ":0");
    assert_eq!(server.run3("pubsub numpat"), ":0");
    assert_eq!(server.run3("pubsub channels"), "*0");
}

#[test]
fn names_and_messages_have_their_bounds() {
    let server = Server::new();
    let longest = "c".repeat(255);
    assert!(server.run3(&format!("subscribe {longest}")).starts_with(">3"));
    let refused = server.run3(&format!("subscribe x {longest}c"));
    assert!(refused.starts_with("-TOOLONG"), "{refused}");
    assert_eq!(server.run3("pubsub numsub x"), "*2 $1 x :0");
    assert_eq!(server.run3(&format!("publish {longest}c x")), ":0");
    let too_long = server.run3(&format!("publish a {}", "m".repeat(40_000)));
    assert!(too_long.ends_with("is too many for bytes of a message (32758 at most)"), "{too_long}");
}

#[test]
fn pubsub_explains_itself() {
    let server = Server::new();
    assert!(server.run("pubsub help").contains("SHARDNUMSUB"));
    assert_eq!(server.run("pubsub nope"), "-ERR unknown subcommand 'nope'. Try PUBSUB HELP.");
    assert_eq!(server.run("pubsub numsub"), "*0");
}
