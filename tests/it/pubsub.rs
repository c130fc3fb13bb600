//! Publish and subscribe over several workers: RESP2, RESP3 and HTTP.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::Duration,
};

use crate::harness::{Reply, Resp, Server, wait_until};

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
    listeners.drain(..5).for_each(|mut listener| drop(listener.run("RESET")));
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
