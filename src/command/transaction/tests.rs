//! Transactions as a client sees them.

use std::time::{Duration, UNIX_EPOCH};

use crate::{
    command::{
        Class, Kind, Letter, Message, Proto, Push, Session,
        testing::{Server, check},
    },
    config::Config,
    store::Audience,
};

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

/// A server whose clients may have 1000 bytes of replies pending.
fn server_of_short_replies() -> Server {
    Server::with(Config { output_limit: 1000, ..Config::default() })
}

/// Executes the queued commands of a transaction that is undone, as its replies are too long.
fn exec_too_long(server: &Server) {
    assert_eq!(server.run(&format!("echo {}", "x".repeat(1000))), "+QUEUED");
    assert!(server.run("exec").ends_with("nothing was executed"));
}

/// Puts another client in the place of the one that sends commands.
fn change_clients(server: &Server, client: &mut Session) {
    std::mem::swap(&mut *server.session.borrow_mut(), client);
}

fn client(id: u64) -> Session {
    Session::new(id, "127.0.0.1:5001".to_owned(), "127.0.0.1:6380".to_owned(), false)
}

/// The clients that hear what is published on a channel.
fn hearers(server: &Server, channel: &[u8]) -> Vec<u64> {
    let mut hearers = Vec::new();
    let number = server.state.bus.next_number();
    server.state.pubsub.each_hearer(Kind::Channel, channel, number, &mut |_, clients| hearers.extend(clients));
    hearers
}

/// What was said on the bus: events of keys, by name and key.
fn events_told(server: &Server) -> Vec<String> {
    let event = |letter: Letter| match Message::decode(&letter.bytes) {
        Some(Message::KeyEvent { event, key, .. }) => Some([event, key].map(String::from_utf8_lossy).join(" ")),
        _ => None,
    };
    std::iter::from_fn(|| server.state.bus.next()).filter_map(event).collect()
}

/// The store undid the counts of such a transaction and the client kept its subscription. When it left, it took
/// another's place in the counts, and that one heard nothing any more.
#[test]
fn subscriptions_of_an_undone_transaction_are_undone() {
    let server = server_of_short_replies();
    let mut other = client(8);
    check(&server, &[("subscribe news", "*3 $9 subscribe $4 news :1")]);
    change_clients(&server, &mut other);
    server.run3("subscribe old");
    server.session.borrow_mut().proto = Proto::Resp3;
    for line in ["multi", "subscribe news", "psubscribe n*", "unsubscribe old", "publish news x"] {
        server.run(line);
    }
    exec_too_long(&server);
    assert_eq!(server.session.borrow().subscriptions.counts(), [1, 0, 0]);
    assert_eq!((hearers(&server, b"news"), hearers(&server, b"old")), (vec![7], vec![8]));
    check(
        &server,
        &[
            ("pubsub numsub news old", "*4 $4 news :1 $3 old :1"),
            ("pubsub numpat", ":0"),
            ("unsubscribe news", ">3 $11 unsubscribe $4 news :1"),
            ("publish news x", ":1"),
            ("publish nobody x", ":0"),
            ("publish old x", ":1"),
        ],
    );
    server.state.leave(&mut server.session.borrow_mut());
    assert_eq!((hearers(&server, b"news"), hearers(&server, b"old")), (vec![7], vec![]));
    check(&server, &[("pubsub numsub news old", "*4 $4 news :1 $3 old :0")]);
}

#[test]
fn subscriptions_of_a_transaction_begin_with_its_end() {
    let server = Server::new();
    server.session.borrow_mut().proto = Proto::Resp3;
    for line in ["subscribe old", "multi", "subscribe a b", "unsubscribe a old", "psubscribe p*"] {
        server.run(line);
    }
    assert!(hearers(&server, b"b").is_empty());
    server.run("exec");
    assert_eq!(server.session.borrow().subscriptions.counts(), [1, 1, 0]);
    let heard = [&b"a"[..], b"b", b"old", b"px"].map(|channel| hearers(&server, channel).len());
    assert_eq!(heard, [0, 1, 0, 1]);
}

/// SELECT stayed in force, so that the client's next writes went to another database.
#[test]
fn an_undone_transaction_leaves_the_client_as_it_was() {
    let server = server_of_short_replies();
    server.run("client setname before");
    let queued = [
        "select 5",
        "client setname after",
        "client tracking on",
        "config set notify-keyspace-events KEA",
        "monitor",
        "acl setuser default resetkeys",
    ];
    server.run("multi");
    queued.iter().for_each(|line| assert_eq!(server.run(line), "+QUEUED", "{line}"));
    exec_too_long(&server);
    check(
        &server,
        &[
            ("client getname", "$6 before"),
            ("client getredir", ":-1"),
            ("config get notify-keyspace-events", "*2 $22 notify-keyspace-events $0 "),
            ("set k v", "+OK"),
        ],
    );
    assert_eq!(server.store.kv().exists(0, b"k"), Ok(true));
    assert!(!server.session.borrow().tracks && !server.session.borrow().monitors);
    assert!(server.state.monitors.clients().is_empty() && !server.store.interest().is_listened_to());
}

/// A client that stops to cache keys in such a transaction goes on with it, and cannot know what it has missed.
#[test]
fn an_undone_transaction_leaves_a_client_that_caches_as_it_was() {
    let server = server_of_short_replies();
    for line in ["client tracking on optout", "get k", "multi", "client tracking off"] {
        server.run(line);
    }
    exec_too_long(&server);
    assert_eq!(server.state.tracking.take_news(), [Push { client: 7, redirect: 0, keys: None }]);
    server.run("get k");
    server.state.tracking.key_changed(0, b"k");
    assert_eq!(server.state.tracking.take_news().len(), 1);
    assert!(server.run("client trackinginfo").contains("optout"));
}

/// A transaction that was undone took the word about other clients' changes with it: of DEL with a key behind which it waits, for one.
#[test]
fn an_undone_transaction_keeps_nothing_of_others_from_being_told() {
    let server = server_of_short_replies();
    server.store.interest().join(Audience::Watchers, 0);
    let at_ms = UNIX_EPOCH.elapsed().unwrap().as_millis() + 500;
    let long = format!("echo {}", "x".repeat(1000));
    for line in [&*format!("set gone 1 pxat {at_ms}"), "multi", "set x 1", "get gone", &long] {
        server.run(line);
    }
    events_told(&server);
    while UNIX_EPOCH.elapsed().unwrap().as_millis() <= at_ms {
        std::thread::sleep(Duration::from_millis(20));
    }
    server.state.notices.add(&server.store, 9, 0, Class::Generic, "del", b"a");
    assert!(server.run("exec").ends_with("nothing was executed"));
    assert_eq!(events_told(&server), ["del a", "expired gone"]);
}
