//! Transactions as a client sees them.

use super::super::testing::{Server, check};

#[test]
fn commands_are_queued_and_answered_together() {
    check(
        &Server::new(),
        &[
            ("multi", "+OK"),
            ("set a 1", "+QUEUED"),
            ("incr a", "+QUEUED"),
            ("get a", "+QUEUED"),
            ("exec", "*3 +OK :2 $1 2"),
            ("exec", "-ERR EXEC without MULTI"),
            ("multi", "+OK"),
            ("exec", "*0"),
        ],
    );
}

#[test]
fn a_refused_command_spoils_the_transaction_only_when_it_is_queued() {
    check(
        &Server::new(),
        &[
            ("multi", "+OK"),
            ("get", "-ERR wrong number of arguments for 'get' command"),
            ("set a 1", "+QUEUED"),
            ("exec", "-EXECABORT Transaction discarded because of previous errors."),
            ("get a", "$-1"),
            ("multi", "+OK"),
            ("table.drop t", "-ERR Command not allowed inside a transaction"),
            ("exec", "-EXECABORT Transaction discarded because of previous errors."),
            ("set s text", "+OK"),
            ("multi", "+OK"),
            ("incr s", "+QUEUED"),
            ("set a 1", "+QUEUED"),
            ("exec", "*2 -ERR value is not an integer or out of range +OK"),
            ("get a", "$1 1"),
        ],
    );
}

#[test]
fn what_stands_outside_of_its_place_is_refused() {
    check(
        &Server::new(),
        &[
            ("discard", "-ERR DISCARD without MULTI"),
            ("unwatch", "+OK"),
            ("multi", "+OK"),
            ("multi", "-ERR MULTI calls can not be nested"),
            ("exec", "-EXECABORT Transaction discarded because of previous errors."),
            ("multi", "+OK"),
            ("watch a", "-ERR WATCH inside MULTI is not allowed"),
            ("ping", "+QUEUED"),
            ("exec", "-EXECABORT Transaction discarded because of previous errors."),
            ("multi", "+OK"),
            ("set a 1", "+QUEUED"),
            ("discard", "+OK"),
            ("get a", "$-1"),
            ("multi", "+OK"),
            ("exec x", "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command"),
            ("exec", "-ERR EXEC without MULTI"),
            ("multi", "+OK"),
            ("reset", "+RESET"),
            ("exec", "-ERR EXEC without MULTI"),
        ],
    );
}

#[test]
fn a_touched_key_keeps_exec_from_executing() {
    let server = Server::new();
    check(
        &server,
        &[
            ("set a 1", "+OK"),
            ("watch a b", "+OK"),
            ("get a", "$1 1"),
            ("multi", "+OK"),
            ("set a 2", "+QUEUED"),
            ("exec", "*1 +OK"),
            ("watch a", "+OK"),
            ("set a 2", "+OK"),
            ("multi", "+OK"),
            ("set a 3", "+QUEUED"),
            ("exec", "*-1"),
            ("get a", "$1 2"),
            ("watch a", "+OK"),
            ("set a 4", "+OK"),
            ("unwatch", "+OK"),
            ("multi", "+OK"),
            ("ping", "+QUEUED"),
            ("exec", "*1 +PONG"),
            ("watch b", "+OK"),
            ("set b 1", "+OK"),
            ("del b", ":1"),
            ("multi", "+OK"),
        ],
    );
    assert_eq!(server.run3("exec"), "_");
}

#[test]
fn the_client_list_tells_of_transactions() {
    let server = Server::new();
    check(&server, &[("watch a b", "+OK"), ("multi", "+OK"), ("ping", "+QUEUED")]);
    let line = server.session.borrow().standing();
    assert_eq!((line.queued, line.watched), (1, 2));
}

#[test]
fn a_transaction_is_bounded() {
    let server = Server::new();
    let value = "x".repeat(20_000);
    server.run("multi");
    let refused = (0..10_000).map(|_| server.run(&format!("set a {value}"))).find(|reply| reply != "+QUEUED");
    assert!(refused.is_some_and(|reply| reply.starts_with("-ERR a transaction may hold")));
    assert!(server.run("exec").starts_with("-EXECABORT"));
}
