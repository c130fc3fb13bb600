//! Dialogues about the connection; the replies are those of Redis 7.

use crate::{
    command::{
        Session,
        testing::{Server, check},
    },
    config::Config,
};

fn with_password() -> Server {
    Server::with(Config { requirepass: Some("secret".to_owned()), ..Config::default() })
}

const NOAUTH: &str = "-NOAUTH Authentication required.";
const WRONGPASS: &str = "-WRONGPASS invalid username-password pair or user is disabled.";

#[test]
fn the_first_words() {
    check(
        &Server::new(),
        &[
            ("PING", "+PONG"),
            ("ping hello", "$5 hello"),
            ("PING a b", "-ERR wrong number of arguments for 'ping' command"),
            ("ECHO hi", "$2 hi"),
            ("", ""),
            ("foo", "-ERR unknown command 'foo', with args beginning with: "),
            ("foo a b", "-ERR unknown command 'foo', with args beginning with: 'a' 'b' "),
            ("GET", "-ERR wrong number of arguments for 'get' command"),
            ("CLIENT", "-ERR wrong number of arguments for 'client' command"),
            ("CLIENT MAINT_NOTIFICATIONS ON", "-ERR unknown subcommand 'MAINT_NOTIFICATIONS'. Try CLIENT HELP."),
            ("CLIENT ID x", "-ERR wrong number of arguments for 'client|id' command"),
        ],
    );
}

#[test]
fn long_unknown_commands_are_cut() {
    let server = Server::new();
    let reply = server.run(&format!("{} {} b", "x".repeat(200), "y".repeat(200)));
    let expected =
        format!("-ERR unknown command '{}', with args beginning with: '{}' ", "x".repeat(128), "y".repeat(128));
    assert_eq!(reply, expected);
}

#[test]
fn nothing_is_answered_before_the_password() {
    let server = with_password();
    check(
        &server,
        &[
            ("PING", NOAUTH),
            ("GET a", NOAUTH),
            ("GET", "-ERR wrong number of arguments for 'get' command"),
            ("foo", "-ERR unknown command 'foo', with args beginning with: "),
            ("AUTH wrong", WRONGPASS),
            ("AUTH secre", WRONGPASS),
            ("AUTH secretsecret", WRONGPASS),
            ("AUTH \"\"", WRONGPASS),
            ("AUTH alice secret", WRONGPASS),
            ("GET a", NOAUTH),
            ("AUTH secret", "+OK"),
            ("GET a", "$-1"),
            ("AUTH wrong", WRONGPASS),
            ("GET a", "$-1"),
            ("RESET", "+RESET"),
            ("GET a", NOAUTH),
            ("AUTH default secret", "+OK"),
            ("AUTH a b c", "-ERR syntax error"),
        ],
    );
    assert_eq!(server.store.statistics().sum(crate::store::Stat::AuthFailures), 6);
}

#[test]
fn a_password_may_be_given_for_nothing() {
    let server = Server::new();
    assert!(server.run("AUTH x").starts_with("-ERR AUTH <password> called without any password configured"));
    check(&server, &[("AUTH default x", "+OK"), ("AUTH bob x", WRONGPASS)]);
}

#[test]
fn hello_chooses_the_protocol() {
    let server = Server::new();
    let greeting = |head: &str, proto: i64| {
        format!(
            "{head} $6 server $5 redis $7 version $5 7.4.0 $5 proto :{proto} $2 id :7 $4 mode $10 standalone $4 role $6 \
             master $7 modules *0"
        )
    };
    assert_eq!(server.run("HELLO"), greeting("*14", 2));
    assert_eq!(server.run("HELLO 3"), greeting("%7", 3));
    assert_eq!(server.run("GET a"), "_");
    assert_eq!(server.run("HELLO"), greeting("%7", 3));
    assert_eq!(server.run("HELLO 2 SETNAME bob AUTH default x"), greeting("*14", 2));
    check(
        &server,
        &[
            ("CLIENT GETNAME", "$3 bob"),
            ("HELLO 4", "-NOPROTO unsupported protocol version"),
            ("HELLO x", "-ERR Protocol version is not an integer or out of range"),
            ("HELLO 3 FOO", "-ERR Syntax error in HELLO option 'FOO'"),
            ("HELLO 3 AUTH x", "-ERR Syntax error in HELLO option 'AUTH'"),
            ("HELLO 3 SETNAME \"a b\"", "-ERR Client names cannot contain spaces, newlines or special characters."),
            ("GET a", "$-1"),
        ],
    );
}

#[test]
fn hello_may_bring_the_password() {
    let server = with_password();
    assert!(server.run("HELLO 3").starts_with("-NOAUTH HELLO must be called with the client already authenticated"));
    check(&server, &[("HELLO 3 AUTH default no", WRONGPASS), ("GET a", NOAUTH)]);
    assert!(server.run("HELLO 3 AUTH default secret").starts_with("%7 "));
    check(&server, &[("GET a", "_")]);
}

#[test]
fn quit_and_web_pages_end_the_connection() {
    for (request, reply) in [("QUIT", "+OK"), ("POST / HTTP/1.1", ""), ("Host: evil", "")] {
        let server = with_password();
        check(&server, &[(request, reply)]);
        assert!(server.session.borrow().close_after_reply, "{request}");
    }
}

#[test]
fn clients_describe_themselves() {
    let server = Server::new();
    check(
        &server,
        &[
            ("CLIENT ID", ":7"),
            ("CLIENT GETNAME", "$-1"),
            ("CLIENT SETNAME worker-1", "+OK"),
            ("CLIENT GETNAME", "$8 worker-1"),
            ("CLIENT SETNAME \"a b\"", "-ERR Client names cannot contain spaces, newlines or special characters."),
            ("CLIENT SETINFO LIB-NAME redis-py", "+OK"),
            ("CLIENT SETINFO lib-ver 8.1.0", "+OK"),
            ("CLIENT SETINFO LIB-VER \"a b\"", "-ERR lib-ver cannot contain spaces, newlines or special characters."),
            ("CLIENT SETINFO FOO x", "-ERR Unrecognized option 'FOO'"),
            ("CLIENT NO-EVICT ON", "+OK"),
            ("CLIENT NO-TOUCH maybe", "-ERR syntax error"),
            ("SELECT 3", "+OK"),
        ],
    );
    let info = server.run("CLIENT INFO");
    for part in ["id=7 addr=127.0.0.1:5000 laddr=127.0.0.1:6380 ", " name=worker-1 ", " flags=e ", " db=3 "] {
        assert!(info.contains(part), "{info}");
    }
    for part in [" cmd=client|info ", " resp=2 ", " lib-name=redis-py ", " lib-ver=8.1.0 "] {
        assert!(info.contains(part), "{info}");
    }
    check(
        &server,
        &[("CLIENT SETNAME \"\"", "+OK"), ("CLIENT GETNAME", "$-1"), ("RESET", "+RESET"), ("CLIENT GETNAME", "$-1")],
    );
}

#[test]
fn the_clients_of_all_workers_are_listed() {
    let server = Server::new();
    let other = crate::command::Clients::open(&server.store, 1).unwrap();
    let mut far = Session::new(other.next_id(), "10.0.0.9:1".to_owned(), "10.0.0.1:2".to_owned(), false);
    far.name = "far".to_owned();
    other.register(&mut far, server.now_ms.get() - 5000);
    let list = server.run("CLIENT LIST");
    assert!(list.contains("addr=10.0.0.9:1") && list.contains("name=far age=5 idle=5"), "{list}");
    assert!(list.contains("id=7 ") && list.contains("worker=1"), "{list}");
    let one = server.run(&format!("CLIENT LIST ID {}", far.id));
    assert!(one.contains("name=far") && !one.contains("id=7 "), "{one}");
    check(
        &server,
        &[
            ("CLIENT LIST TYPE pubsub", "$0 "),
            ("CLIENT LIST TYPE foo", "-ERR Unknown client type 'foo'"),
            ("CLIENT LIST ID x", "-ERR syntax error"),
            ("CLIENT LIST FOO", "-ERR syntax error"),
        ],
    );
    assert!(server.run3("CLIENT LIST").starts_with('='));
    let next = other.next_id();
    assert_eq!(next, server.state.clients.next_id() - 1, "numbers are shared and grow");
    // A new process of worker 1 starts with an empty house.
    crate::command::Clients::open(&server.store, 1).unwrap().purge().unwrap();
    assert!(!server.run("CLIENT LIST").contains("name=far"));
    other.register(&mut far, 1);
    other.remove(far.id);
    assert!(!server.run("CLIENT LIST").contains("name=far"));
}

#[test]
fn a_change_of_a_client_is_seen_by_the_other_workers() {
    let server = Server::new();
    server.run("CLIENT SETNAME me");
    let other = crate::command::Clients::open(&server.store, 1).unwrap();
    let lines: Vec<String> = other.list().unwrap().iter().map(|client| client.line(server.now_ms.get())).collect();
    assert!(lines.len() == 1 && lines[0].contains(" name=me "), "{lines:?}");
}
