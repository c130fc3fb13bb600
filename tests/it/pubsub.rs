//! Publish and subscribe over several workers: RESP2, RESP3 and HTTP.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use nix::sys::signal::Signal;

use crate::harness::{Random, Reply, Resp, Server, encode, signal, wait_until};

const WORKERS: &str = "4";

fn server() -> Server {
    Server::start(&["--workers", WORKERS])
}

fn message(channel: &str, payload: &str) -> Vec<Reply> {
    ["message", channel, payload].map(Reply::bulk).to_vec()
}

/// Clients enough for each worker to have some.
fn clients(server: &Server, count: usize) -> Vec<Resp> {
    (0..count).map(|_| server.redis()).collect()
}

#[test]
fn a_message_reaches_the_subscribers_of_every_worker_once_and_in_order() {
    let server = server();
    let mut subscribers = clients(&server, 12);
    for subscriber in &mut subscribers {
        assert_eq!(subscriber.run("SUBSCRIBE news").items()[2], Reply::Int(1));
    }
    let mut publishers = clients(&server, 4);
    for round in 0..50 {
        for (number, publisher) in publishers.iter_mut().enumerate() {
            assert_eq!(publisher.run(&format!("PUBLISH news {number}-{round}")), Reply::Int(12));
        }
    }
    for subscriber in &mut subscribers {
        let mut next = [0; 4];
        for _ in 0..200 {
            let read = subscriber.read().expect("a message");
            let text = read.items()[2].text();
            let (number, round) = text.split_once('-').expect("of a publisher");
            let number: usize = number.parse().expect("a number");
            assert_eq!(round, next[number].to_string(), "of publisher {number}");
            next[number] += 1;
        }
        assert_eq!(subscriber.run("PING").items()[0], Reply::bulk("pong"));
    }
}

#[test]
fn a_message_that_was_sent_before_a_command_comes_before_its_reply() {
    let server = server();
    let mut subscribers = clients(&server, 8);
    for subscriber in &mut subscribers {
        subscriber.run("HELLO 3");
        subscriber.run("SUBSCRIBE c");
    }
    let mut publisher = server.redis();
    for number in 0..100 {
        assert_eq!(publisher.run(&format!("PUBLISH c {number}")), Reply::Int(8));
        for subscriber in &mut subscribers {
            let read = subscriber.run("GET nothing");
            assert_eq!(read, Reply::Push(message("c", &number.to_string())));
            assert_eq!(subscriber.read().expect("the reply"), Reply::Null);
        }
    }
}

#[test]
fn who_subscribes_hears_nothing_that_was_said_before() {
    let server = server();
    let mut listeners = clients(&server, 4);
    listeners.iter_mut().for_each(|listener| drop(listener.run("SUBSCRIBE c")));
    let mut publisher = server.redis();
    for number in 0..50 {
        publisher.run(&format!("PUBLISH c old{number}"));
        let mut late = server.redis();
        late.run("SUBSCRIBE c");
        publisher.run(&format!("PUBLISH c new{number}"));
        assert_eq!(late.read().expect("a message"), Reply::Array(message("c", &format!("new{number}"))));
    }
}

#[test]
fn counts_are_exact_over_all_workers() {
    let server = server();
    let mut publisher = server.redis();
    let mut listeners = clients(&server, 9);
    for (number, listener) in listeners.iter_mut().enumerate() {
        match number % 3 {
            0 => listener.run("SUBSCRIBE news"),
            1 => listener.run("PSUBSCRIBE n*"),
            _ => listener.run("SSUBSCRIBE news"),
        };
    }
    assert_eq!(publisher.run("PUBLISH news x"), Reply::Int(6));
    assert_eq!(publisher.run("SPUBLISH news x"), Reply::Int(3));
    assert_eq!(publisher.run("PUBLISH none x"), Reply::Int(3));
    assert_eq!(publisher.run("PUBSUB NUMPAT"), Reply::Int(1));
    assert_eq!(publisher.run("PUBSUB NUMSUB news none").items()[1], Reply::Int(3));
    assert_eq!(publisher.run("PUBSUB CHANNELS"), Reply::Array(vec![Reply::bulk("news")]));
    assert!(publisher.run("CLIENT LIST").text().contains("psub=1"));
    // Some go in good order, some just go.
    for mut listener in listeners.drain(..5) {
        listener.send(&encode(&["RESET"])).unwrap();
        // What was published to it comes first.
        while listener.read().expect("an answer") != Reply::Status("RESET".to_owned()) {}
    }
    assert_eq!(publisher.run("PUBLISH news x"), Reply::Int(2));
    drop(listeners);
    assert!(wait_until(Duration::from_secs(5), || publisher.run("PUBLISH news x") == Reply::Int(0)));
    assert_eq!(publisher.run("PUBSUB NUMPAT"), Reply::Int(0));
    assert_eq!(publisher.run("PUBSUB CHANNELS"), Reply::Array(Vec::new()));
}

#[test]
fn messages_may_be_as_long_as_the_rings_allow() {
    let server = Server::start(&["--workers", "3", "--memory", "64mb"]);
    let mut listeners = clients(&server, 3);
    listeners.iter_mut().for_each(|listener| drop(listener.run("SUBSCRIBE c")));
    let mut publisher = server.redis();
    let refused = publisher.cmd(&["PUBLISH", "c", &"x".repeat(1 << 20)]);
    let Reply::Error(text) = &refused else { panic!("{refused:?}") };
    let longest: usize =
        text.rsplit('(').next().and_then(|rest| rest.split(' ').next()?.parse().ok()).expect("a limit");
    for len in [0, 1, 1000, longest] {
        let payload = "m".repeat(len);
        assert_eq!(publisher.cmd(&["PUBLISH", "c", &payload]), Reply::Int(3));
        for listener in &mut listeners {
            assert_eq!(listener.read().expect("a message"), Reply::Array(message("c", &payload)));
        }
    }
}

/// One that does not read is disconnected at its limit, and the others do not notice.
#[test]
fn a_subscriber_that_does_not_read_holds_up_nobody() {
    let server = Server::start(&["--workers", "2", "--memory", "64mb"]);
    let (mut slow, mut others) = (server.redis(), clients(&server, 3));
    slow.run("SUBSCRIBE c");
    others.iter_mut().for_each(|other| drop(other.run("SUBSCRIBE c")));
    let mut publisher = server.redis();
    let payload = "x".repeat(100_000);
    let mut rounds = 0;
    while publisher.cmd(&["PUBLISH", "c", &payload]) == Reply::Int(4) {
        rounds += 1;
        assert!(rounds < 2000, "{rounds} messages are waiting for one that does not read");
        others
            .iter_mut()
            .for_each(|other| assert_eq!(other.read().expect("a message").items()[2].text().len(), 100_000));
    }
    assert!(rounds * 100_000 > 8 << 20, "it was disconnected after {rounds} messages");
    others.iter_mut().for_each(|other| drop(other.read().expect("the last message")));
}

fn events(server: &Server, target: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(server.http()).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
    write!(stream, "GET {target} HTTP/1.1\r\nhost: localhost\r\n\r\n").expect("a socket");
    let mut reader = BufReader::new(stream);
    let head = lines_until(&mut reader, |line| line.is_empty());
    assert!(
        head[0].starts_with("HTTP/1.1 200") && head.contains(&"content-type: text/event-stream".to_owned()),
        "{head:?}"
    );
    lines_until(&mut reader, |line| line == ":");
    reader
}

fn lines_until(reader: &mut BufReader<TcpStream>, is_last: impl Fn(&str) -> bool) -> Vec<String> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).expect("a line") > 0, "the stream has ended after {lines:?}");
        lines.push(line.trim_end().to_owned());
        if is_last(line.trim_end()) {
            return lines;
        }
    }
}

fn next_data(reader: &mut BufReader<TcpStream>) -> String {
    lines_until(reader, |line| line.starts_with("data: ")).pop().expect("the last line")
}

#[test]
fn http_clients_publish_and_listen_with_the_others() {
    let server = server();
    let mut channel: Vec<_> = (0..4).map(|_| events(&server, "/channels/news/events")).collect();
    let mut pattern = events(&server, "/channels/n%2A/events?pattern=1");
    let mut listener = server.redis();
    listener.run("SUBSCRIBE news");
    let answer = server.web().request("POST", "/channels/news", &[], Some(b"hello \"world\"\n"));
    assert_eq!((answer.status, answer.json()["receivers"].as_u64()), (200, Some(6)));
    assert_eq!(listener.read().expect("a message"), Reply::Array(message("news", "hello \"world\"\n")));
    for channel in &mut channel {
        assert_eq!(next_data(channel), r#"data: {"channel":"news","data":"hello \"world\"\n"}"#);
    }
    assert_eq!(next_data(&mut pattern), r#"data: {"channel":"news","pattern":"n*","data":"hello \"world\"\n"}"#);
    assert_eq!(server.redis().run("PUBLISH nobody x"), Reply::Int(1));
    assert!(next_data(&mut pattern).contains("nobody"));
    drop((channel, pattern));
    let mut publisher = server.redis();
    let is_alone = || publisher.run("PUBLISH news x") == Reply::Int(1);
    assert!(wait_until(Duration::from_secs(30), is_alone), "listeners that have hung up are still counted");
}

/// Workers of which one at most is killed or stopped at a time, and who has which connection.
struct Clients<'s> {
    server: &'s Server,
    all: Vec<(Resp, i32)>,
}

impl<'s> Clients<'s> {
    fn new(server: &'s Server, count: usize) -> Self {
        let mut links = clients(server, count);
        links.iter_mut().for_each(|link| drop(link.run("PING")));
        let owners = server.owners(links.iter().map(Resp::stream));
        let all =
            links.into_iter().zip(owners).map(|(link, owner)| (link, owner.expect("a worker serves it"))).collect();
        Self { server, all }
    }

    /// Takes those of one worker away; they are the ones that nothing happens to.
    fn of(&mut self, worker: i32, count: usize) -> Vec<Resp> {
        let mut taken = Vec::new();
        while taken.len() < count
            && let Some(at) = self.all.iter().position(|(_, owner)| *owner == worker)
        {
            taken.push(self.all.swap_remove(at).0);
        }
        assert_eq!(taken.len(), count, "worker {worker} of {:?} has too few clients", self.server.workers());
        taken
    }
}

/// Publishes and reads while `disturb` is busy with the other workers: every message is heard by every subscriber, once and in order.
fn all_messages_arrive(disturb: impl FnOnce(&Server, &[i32]) + Send) {
    let server = Server::start(&["--workers", "4", "--memory", "64mb"]);
    let workers = server.workers();
    let (spared, others) = workers.split_at(2);
    let mut clients = Clients::new(&server, 40);
    let (mut publishers, mut listeners) = (clients.of(spared[0], 2), clients.of(spared[1], 3));
    listeners.extend(clients.of(spared[0], 3));
    listeners.iter_mut().for_each(|listener| drop(listener.run("SUBSCRIBE c")));
    // These are in the way of what happens, and may be lost.
    clients.all.iter_mut().for_each(|(client, _)| drop(client.run("SUBSCRIBE c")));
    let done = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let publishing: Vec<_> = publishers
            .iter_mut()
            .enumerate()
            .map(|(number, publisher)| {
                let done = &done;
                scope.spawn(move || {
                    let mut sent = 0;
                    while !done.load(Ordering::Relaxed) {
                        let heard = publisher.run(&format!("PUBLISH c {number}-{sent}")).int();
                        assert!(heard >= 6, "{heard} heard message {sent}");
                        sent += 1;
                        thread::sleep(Duration::from_micros(200));
                    }
                    sent
                })
            })
            .collect();
        disturb(&server, others);
        done.store(true, Ordering::Relaxed);
        publishing.into_iter().map(|thread| thread.join().expect("a publisher")).collect::<Vec<u64>>()
    });
    for (at, listener) in listeners.iter_mut().enumerate() {
        let mut next = [0, 0];
        for _ in 0..sent.iter().sum() {
            let read =
                listener.read().unwrap_or_else(|error| panic!("listener {at} after {next:?} of {sent:?}: {error}"));
            let text = read.items()[2].text();
            let (number, message) = text.split_once('-').expect("of a publisher");
            let number: usize = number.parse().expect("a number");
            assert_eq!(message, next[number].to_string(), "of publisher {number}, to listener {at}");
            next[number] += 1;
        }
        assert_eq!(listener.run("PING").items()[0], Reply::bulk("pong"));
    }
    assert!(sent.iter().all(|&sent| sent > 100), "only {sent:?} messages were sent");
}

#[test]
fn kills_of_other_workers_lose_no_message() {
    all_messages_arrive(|server, others| {
        let mut random = Random::new();
        let spared: Vec<i32> = server.workers().into_iter().filter(|worker| !others.contains(worker)).collect();
        for _ in 0..30 {
            let victims: Vec<i32> = server.workers().into_iter().filter(|worker| !spared.contains(worker)).collect();
            if let Some(victim) = random.choose(&victims) {
                signal(victim, Signal::SIGKILL);
            }
            thread::sleep(Duration::from_millis(70));
        }
    });
}

#[test]
fn a_stopped_worker_holds_up_no_message() {
    all_messages_arrive(|_, others| {
        for _ in 0..2 {
            signal(others[0], Signal::SIGSTOP);
            thread::sleep(Duration::from_millis(700));
            signal(others[0], Signal::SIGCONT);
            thread::sleep(Duration::from_millis(200));
        }
    });
}

/// What a dead worker's subscribers had counted is gone with them, and a new one's count.
#[test]
fn subscribers_of_a_dead_worker_are_counted_no_more() {
    let server = server();
    let mut publisher = server.redis();
    publisher.run("PING");
    let own = server.owners([publisher.stream()])[0].expect("a worker serves it");
    let mut listeners = Clients::new(&server, 8);
    listeners.all.iter_mut().for_each(|(listener, _)| {
        listener.run("SUBSCRIBE c");
        listener.run("PSUBSCRIBE c*");
    });
    assert_eq!(publisher.run("PUBLISH c x"), Reply::Int(16));
    let left = 2 * listeners.all.iter().filter(|(_, owner)| *owner == own).count() as i64;
    server.workers().into_iter().filter(|worker| *worker != own).for_each(|worker| signal(worker, Signal::SIGKILL));
    let counted = || publisher.run("PUBLISH c x") == Reply::Int(left);
    assert!(wait_until(Duration::from_secs(10), counted), "the dead are still counted");
}

#[test]
fn what_a_transaction_publishes_goes_out_behind_its_reply_or_never() {
    let server = server();
    let (mut own, mut other) = (server.redis(), server.redis());
    own.run("HELLO 3");
    own.run("SUBSCRIBE c d e");
    (0..2).for_each(|_| drop(own.read().expect("a confirmation")));
    other.run("SUBSCRIBE c");
    for command in ["PUBLISH c first", "UNSUBSCRIBE d", "SET k v", "PUBLISH d nobody", "PUBLISH c second"] {
        let queued = if command == "PUBLISH c first" { own.run("MULTI") } else { Reply::ok() };
        assert_eq!((queued, own.run(command).text().as_str()), (Reply::ok(), "QUEUED"));
    }
    let answers = own.run("EXEC");
    let [first, left, set, nobody, second] = answers.items() else { panic!("{answers:?}") };
    assert_eq!((first, set, nobody, second), (&Reply::Int(2), &Reply::ok(), &Reply::Int(0), &Reply::Int(2)));
    assert_eq!(left, &Reply::Push(vec![Reply::bulk("unsubscribe"), Reply::bulk("d"), Reply::Int(2)]));
    for text in ["first", "second"] {
        assert_eq!(own.read().expect("a message"), Reply::Push(message("c", text)));
        assert_eq!(other.read().expect("a message"), Reply::Array(message("c", text)));
    }
    own.run("MULTI");
    own.run("PUBLISH c never");
    own.run("DISCARD");
    assert_eq!(own.run("PUBLISH c third"), Reply::Int(2));
    assert_eq!(other.read().expect("a message"), Reply::Array(message("c", "third")));
}

#[test]
fn confirmations_and_messages_come_even_with_replies_off() {
    let server = server();
    let (mut silent, mut publisher) = (server.redis(), server.redis());
    silent.run("HELLO 3");
    silent.send(b"CLIENT REPLY OFF\r\n").expect("a socket");
    let confirmed = Reply::Push(vec![Reply::bulk("subscribe"), Reply::bulk("c"), Reply::Int(1)]);
    assert_eq!(silent.run("SUBSCRIBE c"), confirmed);
    assert_eq!(publisher.run("PUBLISH c x"), Reply::Int(1));
    silent.send(b"GET nothing\r\n").expect("a socket");
    assert_eq!(silent.read().expect("a message"), Reply::Push(message("c", "x")));
    assert_eq!(silent.run("UNSUBSCRIBE c").items()[0], Reply::bulk("unsubscribe"));
}
