//! Dialogues about clients.

use crate::command::{
    Args, Message, Outcome, Session, execute,
    testing::{Server, check},
};

/// Another client of the worker.
fn neighbour(server: &Server, addr: &str, name: &str) -> Session {
    let other = crate::command::Clients::open(&server.store, 0).unwrap();
    let mut session = Session::new(other.next_id(), addr.to_owned(), "10.0.0.1:2".to_owned(), false);
    session.name = name.to_owned();
    other.register(&mut session, server.now_ms.get() - 5000);
    session
}

#[test]
fn filters_choose_who_is_listed() {
    let server = Server::new();
    server.run("CLIENT SETNAME me");
    let far = neighbour(&server, "[::9]:5", "far");
    let id = far.id;
    let names = |filter: &str| {
        let list = server.run(&format!("CLIENT LIST {filter}"));
        (list.contains(" name=me "), list.contains(" name=far "))
    };
    for (filter, shown) in [
        ("", (true, true)),
        ("SKIPME YES", (false, true)),
        (&format!("ID {id}"), (false, true)),
        (&format!("ID 7 {id} TYPE normal"), (true, true)),
        (&format!("ID 7 ID {id}"), (true, true)),
        (&format!("NOT-ID {id}"), (true, false)),
        ("TYPE normal", (true, true)),
        ("NOT-TYPE normal", (false, false)),
        ("TYPE pubsub", (false, false)),
        ("USER default", (true, true)),
        ("ADDR [::9]:5", (false, true)),
        ("LADDR 10.0.0.1:2", (false, true)),
        ("IP ::9", (false, true)),
        ("NOT-IP ::9", (true, false)),
        ("MAXAGE 5", (false, true)),
        ("IDLE 5", (false, true)),
        ("IDLE 6", (false, false)),
        ("NAME far", (false, true)),
        ("NAME me NAME far", (false, true)),
        ("NAME me ADDR [::9]:5", (false, false)),
        ("NOT-NAME far", (true, false)),
        ("FLAGS N", (true, true)),
        ("FLAGS x", (false, false)),
        ("NOT-FLAGS x", (true, true)),
        ("DB 0", (true, true)),
        ("NOT-DB 0", (false, false)),
        ("LIB-NAME x", (false, false)),
        ("NOT-LIB-VER x", (true, true)),
        ("CAPA r", (false, false)),
        ("NOT-CAPA r", (true, true)),
    ] {
        assert_eq!(names(filter), shown, "{filter}");
    }
    check(
        &server,
        &[
            ("CLIENT LIST ID 10 wrong", "-ERR syntax error"),
            ("CLIENT LIST ID str", "-ERR syntax error"),
            ("CLIENT LIST ID -1", "-ERR client-id should be greater than 0"),
            ("CLIENT LIST TYPE wrong", "-ERR Unknown client type 'wrong'"),
            ("CLIENT LIST USER wrong", "-ERR No such user 'wrong'"),
            ("CLIENT LIST SKIPME maybe", "-ERR syntax error"),
            ("CLIENT LIST MAXAGE str", "-ERR value is not an integer or out of range"),
            ("CLIENT LIST MAXAGE -1", "-ERR maxage should be greater than 0"),
            ("CLIENT LIST FLAGS NZ", "-ERR Unknown flags found in the provided filter: NZ"),
            ("CLIENT LIST DB 16", "-ERR DB number should be between 0 and 15"),
            ("CLIENT CAPA redirect unknown", "+OK"),
        ],
    );
    assert_eq!(names("CAPA r"), (true, false));
}

#[test]
fn clients_are_closed_by_filter_or_address() {
    let server = Server::new();
    let far = neighbour(&server, "10.0.0.9:1", "far");
    check(
        &server,
        &[
            ("CLIENT KILL", "-ERR wrong number of arguments for 'client|kill' command"),
            ("CLIENT KILL 10.0.0.9:2", "-ERR No such client"),
            ("CLIENT KILL ID 0", "-ERR client-id should be greater than 0"),
            ("CLIENT KILL ID 7", ":0"),
            ("CLIENT KILL USER nobody", "-ERR No such user 'nobody'"),
            ("CLIENT KILL NAME far IDLE 100", ":0"),
        ],
    );
    assert_eq!(server.run("CLIENT KILL 10.0.0.9:1"), "+OK");
    let letter = server.state.bus.next().unwrap();
    assert_eq!(Message::decode(&letter.bytes), Some(Message::Kill { clients: &far.id.to_le_bytes() }));
    assert!(server.state.bus.next().is_none());
    assert_eq!(server.run("CLIENT LIST NAME far"), "$0 ", "who is being closed is listed no longer");
    assert_eq!(server.run("CLIENT KILL ID 7 SKIPME no"), ":1");
    assert!(server.session.borrow().close_after_reply);
}

#[test]
fn replies_are_kept_back_if_nobody_wants_them() {
    let server = Server::new();
    check(
        &server,
        &[
            ("CLIENT REPLY SKIP", ""),
            ("PING", ""),
            ("PING", "+PONG"),
            ("CLIENT REPLY OFF", ""),
            ("PING", ""),
            ("NONSENSE", ""),
            ("CLIENT REPLY SKIP", ""),
            ("CLIENT REPLY ON", "+OK"),
            ("PING", "+PONG"),
            ("CLIENT REPLY SKIP", ""),
            ("CLIENT REPLY ON", "+OK"),
            ("CLIENT REPLY maybe", "-ERR syntax error"),
        ],
    );
}

#[test]
fn commands_that_change_nothing_here_answer_as_usual() {
    check(
        &Server::new(),
        &[
            ("CLIENT UNBLOCK 7", ":0"),
            ("CLIENT UNBLOCK x", "-ERR value is not an integer or out of range"),
            ("CLIENT UNBLOCK 7 WHY", "-ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR"),
            ("CLIENT IMPORT-SOURCE ON", "+OK"),
            ("CLIENT IMPORT-SOURCE x", "-ERR syntax error"),
            ("CLIENT MAINT_NOTIFICATIONS ON", "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP."),
        ],
    );
}

/// Whether a request is held back.
fn is_held(server: &Server, words: &[&[u8]]) -> bool {
    let bytes = words.concat();
    let mut at = 0;
    let ranges: Vec<_> = words
        .iter()
        .map(|word| {
            at += word.len();
            at - word.len()..at
        })
        .collect();
    let outcome = execute(&Args::new(&bytes, &ranges), &mut server.session.borrow_mut(), &server.env());
    outcome == Outcome::Paused
}

#[test]
fn a_pause_holds_commands_back() {
    let server = Server::new();
    check(
        &server,
        &[
            ("CLIENT PAUSE x", "-ERR timeout is not an integer or out of range"),
            ("CLIENT PAUSE -1", "-ERR timeout is negative"),
            ("CLIENT PAUSE 9223372036854775807", "-ERR timeout is out of range"),
            ("CLIENT PAUSE 1 SOME", "-ERR CLIENT PAUSE mode must be WRITE or ALL"),
            ("CLIENT PAUSE 1000 WRITE", "+OK"),
            ("GET a", "$-1"),
            ("SET a", "-ERR wrong number of arguments for 'set' command"),
        ],
    );
    assert!(is_held(&server, &[b"SET", b"a", b"1"]) && !is_held(&server, &[b"PING"]));
    let other = crate::command::Settings::open(&server.store, &server.config).unwrap();
    assert!(other.pause().lasts(server.now_ms.get()));
    server.run("CLIENT UNPAUSE");
    assert_eq!(server.run("SET a 1"), "+OK");
    other.refresh().unwrap();
    assert!(!other.pause().lasts(server.now_ms.get()));
    server.run("CLIENT PAUSE 1000000");
    assert!(is_held(&server, &[b"PING"]));
    assert_eq!(server.run("CLIENT UNPAUSE"), "+OK", "however long the pause was to be");
    server.run("CLIENT PAUSE 1000");
    assert!(is_held(&server, &[b"PING"]));
    server.now_ms.set(server.now_ms.get() + 1000);
    assert_eq!(server.run("PING"), "+PONG");
}
