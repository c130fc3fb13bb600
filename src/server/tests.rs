//! A worker on a thread of its own, over a store in memory, spoken to over real sockets.

use std::{
    cell::RefCell,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::OwnedFd,
        unix::net::{UnixListener, UnixStream},
    },
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::runtime::LocalOptions;

use super::{Worker, hub::Hub, post, roster::Roster, run};
use crate::{
    backend::{Limits, MemoryStore},
    command::{Session, WorkerState},
    config::Config,
    store::{Backend, Bus, KvBackend, Made, Result, Stat, Statistics, Store, TableBackend, TableInfo, TableSpec},
    sys::clock::now_ms,
};

/// How long a test waits before it calls something hung.
const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    http: SocketAddr,
    resp: SocketAddr,
    store: Store,
    stuck: Arc<AtomicBool>,
    shutdown: Option<UnixStream>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl Server {
    fn start() -> Self {
        Self::with(Config::default())
    }

    fn with(config: Config) -> Self {
        let stuck = Arc::new(AtomicBool::new(false));
        let store =
            Store::on(Arc::new(Sticky { store: MemoryStore::new(Limits::default()), stuck: Arc::clone(&stuck) }));
        let listen = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let (http, resp) = (listen(), listen());
        let (shutdown, watched) = UnixStream::pair().expect("a socket pair");
        let addr = |listener: &TcpListener| listener.local_addr().expect("an address");
        let (http_addr, resp_addr) = (addr(&http), addr(&resp));
        let worker = Worker {
            bells: Vec::new(),
            index: 0,
            workers: 1,
            store: store.clone(),
            http: Some(http),
            resp: Some(resp),
            resp_unix: config.resp_unix.as_ref().map(|path| UnixListener::bind(path).expect("a free path")),
            config: Arc::new(config),
            opened: Box::new(|| {}),
            shutdown: OwnedFd::from(watched),
        };
        let thread = Some(std::thread::spawn(move || run(worker)));
        Self { http: http_addr, resp: resp_addr, store, stuck, shutdown: Some(shutdown), thread }
    }

    fn stat(&self, stat: Stat) -> u64 {
        self.store.statistics().sum(stat)
    }

    #[track_caller]
    fn wait_for(&self, what: &str, condition: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !condition(self) {
            assert!(start.elapsed() < PATIENCE, "{what}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Asks the worker to stop.
    fn ask_to_stop(&mut self) {
        drop(self.shutdown.take());
    }

    /// Waits for the worker's end.
    fn join(&mut self) {
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic").expect("a clean end");
        }
    }

    fn resp(&self) -> Client {
        Client::to(self.resp)
    }

    fn http(&self) -> Client {
        Client::to(self.http)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ask_to_stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Client {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
}

/// A response as it came.
struct Response {
    status: u16,
    headers: String,
    body: Vec<u8>,
}

impl Client {
    fn to(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("connected");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        let reader = BufReader::new(stream.try_clone().expect("a second handle"));
        Self { stream, reader }
    }

    fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).expect("sent");
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).expect("a line");
        line.trim_end().to_owned()
    }

    /// The line that answers a command.
    fn ask(&mut self, command: &str) -> String {
        self.send(format!("{command}\r\n"));
        self.line()
    }

    fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.reader.read_exact(&mut bytes).expect("enough bytes");
        bytes
    }

    /// Whether the server has hung up, without a further word.
    fn is_closed(&mut self) -> bool {
        matches!(self.reader.read(&mut [0; 1]), Ok(0) | Err(_))
    }

    fn request(&mut self, method: &str, path: &str, headers: &str, body: &[u8]) -> Response {
        let head =
            format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n{headers}\r\n", body.len());
        self.send([head.as_bytes(), body].concat());
        self.response(method)
    }

    fn response(&mut self, method: &str) -> Response {
        let status = self.line().split(' ').nth(1).expect("a status").parse().expect("a number");
        let mut headers = String::new();
        loop {
            match self.line() {
                end if end.is_empty() => break,
                line => headers.push_str(&format!("{line}\n")),
            }
        }
        let len = headers.lines().find_map(|line| line.strip_prefix("content-length: ")).map(str::parse);
        let len = len.transpose().expect("a number").unwrap_or(0);
        let body = if method == "HEAD" { Vec::new() } else { self.bytes(len) };
        Response { status, headers, body }
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let server = Server::start();
    let mut client = server.resp();
    let many: String = (0..5000).map(|i| format!("*2\r\n$4\r\nECHO\r\n$4\r\n{i:04}\r\n")).collect();
    client.send(many);
    for i in 0..5000 {
        assert_eq!((client.line(), client.line()), ("$4".into(), format!("{i:04}")));
    }
    assert_eq!(client.ask("PING"), "+PONG");
    assert!(server.stat(Stat::BytesIn) > 100_000 && server.stat(Stat::BytesOut) > 40_000);
    assert_eq!(server.stat(Stat::Commands), 5001);
}

#[test]
fn a_unix_socket_speaks_resp() {
    let path = std::env::temp_dir().join(format!("store-master-test-{}.sock", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let server = Server::with(Config { resp_unix: Some(path.clone()), ..Config::default() });
    let mut client = UnixStream::connect(&path).expect("connected");
    client.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    client.write_all(b"PING\r\nQUIT\r\n").expect("sent");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer and an end");
    assert_eq!(answer, "+PONG\r\n+OK\r\n");
    drop(server);
    std::fs::remove_file(&path).expect("the socket was there");
}

#[test]
fn requests_may_arrive_in_any_pieces() {
    let server = Server::start();
    let mut client = server.resp();
    let request = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\nabc\r\n*2\r\n$3\r\nGET\r\n$1\r\nk\r\n";
    for byte in request {
        client.send([*byte]);
    }
    assert_eq!((client.line(), client.line(), client.line()), ("+OK".into(), "$3".into(), "abc".into()));
}

#[test]
fn large_values_pass() {
    let server = Server::start();
    let mut client = server.resp();
    let value: Vec<u8> = (0..10_000_000u32).map(|i| (i * 7) as u8).collect();
    client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n", value.len()));
    client.send(&value);
    client.send("\r\n*1\r\n$4\r\nPING\r\n");
    assert_eq!((client.line(), client.line()), ("+OK".into(), "+PONG".into()));
    client.send("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n*1\r\n$4\r\nPING\r\n");
    assert_eq!(client.line(), format!("${}", value.len()));
    assert!(client.bytes(value.len()) == value);
    assert_eq!((client.line(), client.line()), (String::new(), "+PONG".into()));
    let mut http = server.http();
    let response = http.request("GET", "/kv/k", "", b"");
    assert!(response.status == 200 && response.body == value);
}

#[test]
fn malformed_requests_are_told_and_closed() {
    let server = Server::start();
    let mut client = server.resp();
    client.send("*1\r\n$4\r\nPING\r\n*1\r\n!4\r\n");
    assert_eq!(client.line(), "+PONG");
    assert!(client.line().starts_with("-ERR Protocol error"));
    assert!(client.is_closed());
    assert_eq!(server.stat(Stat::ProtocolErrors), 1);
    let mut client = server.resp();
    client.send("POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET a b\r\n");
    assert!(client.is_closed());
    let mut client = server.resp();
    assert_eq!(client.ask("QUIT"), "+OK");
    assert!(client.is_closed());
    server.wait_for("all clients are gone", |server| server.stat(Stat::Clients) == 0);
}

/// The connection was closed with what the client had sent still unread, for which its kernel threw the error away.
#[test]
fn a_client_that_is_still_sending_reads_why_it_is_closed() {
    let server = Server::with(Config { max_value: 100_000, ..Config::default() });
    let mut client = server.resp();
    client.send("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$900000000\r\n");
    for _ in 0..100 {
        // Nobody who only writes looks for a reply.
        client.send([b'v'; 10_000]);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(client.line().starts_with("-ERR Protocol error: invalid bulk length"));
    assert!(client.is_closed());
}

#[test]
fn a_silent_client_holds_nobody_up() {
    let server = Server::start();
    let (mut half, mut head, mut body) = (server.resp(), server.http(), server.http());
    half.send("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100\r\nabc");
    head.send("GET /healthz HTTP/1.1\r\nhos");
    body.send("PUT /kv/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\nabc");
    for _ in 0..10 {
        assert_eq!(server.resp().ask("PING"), "+PONG");
        assert_eq!(server.http().request("GET", "/healthz", "", b"").status, 200);
    }
}

#[test]
fn a_client_that_writes_all_before_it_reads_is_served() {
    let server = Server::start();
    let mut client = server.resp();
    let value = "v".repeat(10_000);
    assert_eq!(client.ask(&format!("SET k {value}")), "+OK");
    // 20 MB of replies, far more than all socket buffers hold.
    let requests = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".repeat(2000) + &"*1\r\n$4\r\nPING\r\n".repeat(500_000);
    client.send(requests);
    for _ in 0..2000 {
        assert_eq!((client.line(), client.line().len()), ("$10000".into(), 10_000));
    }
    for _ in 0..500_000 {
        assert_eq!(client.line(), "+PONG");
    }
    assert_eq!(server.stat(Stat::OutputClosed), 0);
}

#[test]
fn a_client_that_never_reads_is_closed() {
    let server = Server::with(Config { output_limit: 4 << 20, ..Config::default() });
    let mut client = server.resp();
    assert_eq!(client.ask(&format!("SET k {}", "v".repeat(60_000))), "+OK");
    let requests = "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n".repeat(1000);
    // The write itself may be cut off.
    let _ = client.stream.write_all(requests.as_bytes());
    server.wait_for("the client is closed", |server| server.stat(Stat::OutputClosed) == 1);
    server.wait_for("the client is gone", |server| server.stat(Stat::Clients) == 0);
    assert_eq!(server.resp().ask("PING"), "+PONG");
}

/// The limit on messages, 32 MiB, cut long replies off at the next tick.
#[test]
fn long_replies_that_are_read_late_arrive_whole() {
    let server = Server::start();
    let mut client = server.resp();
    let len = 14_000_000;
    client.send(format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${len}\r\n{}\r\nMGET k k k\r\n", "v".repeat(len)));
    assert_eq!((client.line(), client.line()), ("+OK".into(), "*3".into()));
    std::thread::sleep(Duration::from_millis(1500));
    for _ in 0..3 {
        assert_eq!((client.line(), client.line().len()), (format!("${len}"), len));
    }
    assert_eq!(client.ask("PING"), "+PONG");
    assert_eq!(server.stat(Stat::OutputClosed), 0);
}

/// All that one read had brought was executed at once, however long it took.
#[test]
fn a_pipeline_of_slow_commands_lets_others_have_their_turn() {
    const SLOW: u64 = 2000;
    let server = Server::start();
    let mut slow = server.resp();
    for key in ["a", "b"] {
        assert_eq!(slow.ask(&format!("SET {key} {}", key.repeat(1000))), "+OK");
    }
    slow.send("LCS a b LEN\r\n".repeat(SLOW as usize));
    assert_eq!(slow.line(), ":0");
    let mut other = server.resp();
    for _ in 0..10 {
        assert_eq!(other.ask("PING"), "+PONG");
    }
    let executed = server.stat(Stat::Commands);
    assert!(executed < SLOW, "{executed} commands were executed first");
}

/// `hyper` asks for no event while the socket takes none, so nobody told it that there would be none.
#[test]
fn an_http_client_that_takes_no_events_is_disconnected() {
    let server = Server::start();
    let mut stalled = server.http();
    stalled.send("GET /channels/news/events HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert_eq!(stalled.line(), "HTTP/1.1 200 OK");
    let mut publisher = server.resp();
    let message = format!("PUBLISH news {}", "m".repeat(8_000));
    let published = (0..20_000).map(|_| publisher.ask(&message)).take_while(|hearers| hearers == ":1").count();
    assert!((2_000..20_000).contains(&published), "{published} messages were published while it listened");
    server.wait_for("its place is free", |server| server.stat(Stat::Clients) == 1);
    assert_eq!(server.stat(Stat::OutputClosed), 1);
}

/// Only sessions were looked at when users changed.
#[test]
fn http_clients_listen_for_as_long_as_they_may() {
    for (change, ends) in [
        ("ACL SETUSER default resetchannels", true),
        ("ACL SETUSER default off", true),
        ("ACL SETUSER default resetpass >secret", true),
        ("ACL SETUSER other on nopass", false),
    ] {
        let server = Server::start();
        let mut listener = server.http();
        listener.send("GET /watch HTTP/1.1\r\nhost: localhost\r\n\r\n");
        assert_eq!(listener.line(), "HTTP/1.1 200 OK");
        assert_eq!(server.resp().ask(change), "+OK");
        server.wait_for(change, |server| server.stat(Stat::Clients) == u64::from(!ends));
    }
}

/// Whoever executed a command when the word of a change came was passed over, and forgotten.
#[test]
fn a_client_at_work_is_looked_at_later_when_users_change() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build_local(LocalOptions::default());
    runtime.expect("a runtime").block_on(async {
        let store = Store::on(Arc::new(MemoryStore::new(Limits::default())));
        let config = Arc::new(Config::default());
        let state = WorkerState::open(&store, &config, 0, now_ms()).expect("opened");
        let hub = Rc::new(Hub::new(0, 1, store, config, state));
        hub.count(Stat::Clients);
        let session = Rc::new(RefCell::new(Session::new(1, "addr".into(), "laddr".into(), false)));
        Roster::seat(&hub, Some(Rc::clone(&session)), |place| async move {
            let _place = place;
            std::future::pending::<()>().await;
        });
        hub.state.acl.put_changed_back();
        let at_work = session.borrow_mut();
        post::expel(&hub);
        assert!(hub.state.acl.has_changed(), "not everybody was looked at");
        drop(at_work);
        post::expel(&hub);
        assert!(!hub.state.acl.has_changed());
    });
}

#[test]
fn a_client_that_takes_its_own_channels_away_is_disconnected() {
    let server = Server::start();
    let mut bob = server.resp();
    assert_eq!(bob.ask("ACL SETUSER bob on nopass allcommands allkeys allchannels"), "+OK");
    assert_eq!(bob.ask("AUTH bob any"), "+OK");
    bob.send("HELLO 3\r\nSUBSCRIBE news\r\nACL SETUSER bob resetchannels\r\n");
    while bob.line() != "+OK" {}
    assert!(bob.is_closed());
    server.wait_for("it is gone", |server| server.stat(Stat::Clients) == 0);
}

#[test]
fn too_many_clients_are_turned_away() {
    let server = Server::with(Config { max_clients: 2, ..Config::default() });
    let (mut first, mut second) = (server.resp(), server.http());
    assert_eq!(first.ask("PING"), "+PONG");
    assert_eq!(second.request("GET", "/healthz", "", b"").status, 200);
    let mut third = server.resp();
    assert_eq!(third.line(), "-ERR max number of clients reached");
    assert!(third.is_closed());
    let mut fourth = server.http();
    let refused = fourth.request("GET", "/healthz", "", b"");
    assert_eq!(refused.status, 503);
    assert!(refused.headers.contains("x-store-worker: 0/"), "{}", refused.headers);
    assert_eq!(server.stat(Stat::Rejected), 2);
    drop(first);
    server.wait_for("a place is free", |server| server.stat(Stat::Clients) == 1);
    assert_eq!(server.resp().ask("PING"), "+PONG");
}

#[test]
fn a_request_that_must_wait_steps_aside() {
    let server = Server::start();
    let mut waiting = server.resp();
    server.stuck.store(true, Ordering::Relaxed);
    waiting.send("PING\r\nCOUNTER.INCR c\r\nPING\r\n");
    assert_eq!(waiting.line(), "+PONG");
    let mut http = server.http();
    http.send("POST /counters/c/incr HTTP/1.1\r\nhost: localhost\r\n\r\n");
    server.wait_for("both are parked", |server| server.stat(Stat::Parked) == 2);
    assert_eq!(server.resp().ask("PING"), "+PONG");
    server.stuck.store(false, Ordering::Relaxed);
    assert!([":1", ":2"].contains(&waiting.line().as_str()));
    assert_eq!(waiting.line(), "+PONG");
    assert_eq!(http.response("POST").status, 200);
    assert_eq!(server.store.counter("c").and_then(|c| c.get()), Ok(Some(2)));
    assert_eq!((server.stat(Stat::Parked), server.stat(Stat::Busy)), (2, 0));
}

#[test]
fn a_wait_that_is_too_long_ends_with_busy() {
    let server = Server::with(Config { lock_wait: Duration::from_millis(50), ..Config::default() });
    server.stuck.store(true, Ordering::Relaxed);
    let mut client = server.resp();
    client.send("COUNTER.INCR c\r\nPING\r\n");
    assert!(client.line().starts_with("-BUSY "));
    assert_eq!(client.line(), "+PONG");
    let mut http = server.http();
    let busy = http.request("POST", "/counters/c/incr", "", b"");
    assert_eq!(busy.status, 503);
    assert!(busy.headers.contains("retry-after: "), "{}", busy.headers);
    assert!(String::from_utf8_lossy(&busy.body).contains("\"busy\""));
    assert_eq!(server.stat(Stat::Busy), 2);
    server.stuck.store(false, Ordering::Relaxed);
    assert_eq!(client.ask("COUNTER.GET c"), "$-1");
}

#[test]
fn http_keeps_the_connection_and_names_the_worker() {
    let server = Server::start();
    let mut client = server.http();
    for i in 1..=3 {
        let response = client.request("POST", "/counters/c/incr", "", b"");
        assert_eq!((response.status, response.body), (200, format!("{{\"value\":{i}}}").into_bytes()));
        assert!(
            response.headers.contains(&format!("x-store-worker: 0/{}", std::process::id())),
            "{}",
            response.headers
        );
        assert!(response.headers.contains("content-type: application/json"), "{}", response.headers);
    }
    let head = client.request("HEAD", "/counters/c", "", b"");
    assert_eq!(head.status, 200);
    let done = client.request("PUT", "/kv/a%2Fb", "", b"value");
    assert_eq!((done.status, done.body.len()), (204, 0));
    client.send(
        "PUT /kv/c HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
    );
    assert_eq!(client.response("PUT").status, 204);
    assert_eq!(client.request("GET", "/kv/c", "", b"").body, b"abcde");
    assert_eq!(server.stat(Stat::HttpRequests), 7);
    assert_eq!(server.stat(Stat::Connections), 1);
}

#[test]
fn contradictory_heads_are_refused() {
    let server = Server::start();
    for (head, status) in [
        ("GET /healthz HTTP/1.1\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: localhost\r\n\r\n", 400),
        ("GET /healthz HTTP/1.1\r\nhost: evil.example\r\n\r\n", 403),
        ("GET http://evil.example/healthz HTTP/1.1\r\nhost: localhost\r\n\r\n", 403),
        ("GET /healthz HTTP/1.1\r\nhost: localhost\r\norigin: http://evil.example\r\n\r\n", 403),
        ("GET /healthz HTTP/1.0\r\n\r\n", 200),
    ] {
        let mut client = server.http();
        client.send(head);
        assert_eq!(client.response("GET").status, status, "{head}");
    }
    server.wait_for("all clients are gone", |server| server.stat(Stat::Clients) == 0);
}

#[test]
fn what_is_no_request_gets_an_error_like_all_others() {
    let server = Server::start();
    let long = format!("GET /{} HTTP/1.1\r\nhost: localhost\r\n\r\n", "x".repeat(70_000));
    let many = format!("GET / HTTP/1.1\r\nhost: localhost\r\n{}\r\n", "a: b\r\n".repeat(200));
    let large = format!("GET / HTTP/1.1\r\nhost: localhost\r\na: {}\r\n\r\n", "b".repeat(300_000));
    let bad = "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\nNONSENSE\r\n\r\n".to_owned();
    let smuggled = "GET / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n".to_owned();
    for (request, status) in [(long, 414), (many, 431), (large, 431), (smuggled, 400), (bad, 400)] {
        let mut client = server.http();
        let _ = client.stream.write_all(request.as_bytes());
        let mut response = client.response("GET");
        if response.status == 200 {
            response = client.response("GET");
        }
        assert_eq!(response.status, status);
        assert!(response.headers.contains("x-store-worker: 0/"), "{}", response.headers);
        assert!(response.body.starts_with(b"{\"error\":{\"code\":"));
        assert!(client.is_closed());
    }
    assert_eq!(server.stat(Stat::ProtocolErrors), 5);
}

#[test]
fn a_new_client_goes_to_a_worker_that_has_fewer_and_turns() {
    let store = Store::on(Arc::new(MemoryStore::new(Limits { workers: 3, ..Limits::default() })));
    let config = Arc::new(Config::default());
    let state = WorkerState::open(&store, &config, 1, now_ms()).expect("opened");
    let hub = Hub::new(1, 3, store.clone(), config, state);
    let set = |worker, clients, heartbeat| {
        store.statistics().select(Some(worker));
        store.statistics().set(Stat::Clients, clients);
        store.statistics().set(Stat::Heartbeat, heartbeat);
    };
    set(1, 5, now_ms());
    assert!(hub.clients_above_the_least() == 0, "the others never turned");
    set(0, 5, now_ms());
    assert!(hub.clients_above_the_least() == 0, "as many as the other");
    set(2, 4, now_ms());
    assert!(hub.clients_above_the_least() > 0);
    set(2, 4, now_ms() - 5000);
    assert!(hub.clients_above_the_least() == 0, "the one with fewer has stopped");
}

#[test]
fn origins_that_are_allowed_may_read_the_answer() {
    let server = Server::with(Config { allow_origins: vec!["https://app.example".into()], ..Config::default() });
    let mut client = server.http();
    let response = client.request("GET", "/kv/none", "origin: https://app.example\r\n", b"");
    assert_eq!(response.status, 404);
    assert!(response.headers.contains("access-control-allow-origin: https://app.example"), "{}", response.headers);
    let preflight = client.request("OPTIONS", "/kv/none", "origin: https://app.example\r\n", b"");
    assert!(
        preflight.status == 204 && preflight.headers.contains("access-control-allow-methods: GET, HEAD, PUT, DELETE")
    );
}

/// CLIENT PAUSE is to give an operator a store that nobody changes, and HTTP went on writing.
#[test]
fn a_pause_holds_back_http_too() {
    let server = Server::start();
    let (mut admin, mut writer, mut reader) = (server.resp(), server.http(), server.http());
    assert_eq!(admin.ask("CLIENT PAUSE 100000 WRITE"), "+OK");
    writer.send("PUT /kv/k HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nv");
    server.wait_for("it is held back", |server| server.stat(Stat::Held) == 1);
    assert_eq!(reader.request("GET", "/kv/k", "", b"").status, 404);
    assert_eq!(admin.ask("CLIENT UNPAUSE"), "+OK");
    assert_eq!((writer.response("PUT").status, server.stat(Stat::Held)), (204, 0));
    assert_eq!(admin.ask("CLIENT PAUSE 300 ALL"), "+OK");
    let paused = Instant::now();
    assert_eq!(reader.request("GET", "/healthz", "", b"").status, 200);
    assert_eq!(reader.request("GET", "/kv/k", "", b"").body, b"v");
    assert!(paused.elapsed() >= Duration::from_millis(250));
}

#[test]
fn a_key_that_http_makes_is_said_to_be_new() {
    let server = Server::start();
    let (mut listener, mut http) = (server.resp(), server.http());
    assert_eq!(listener.ask("CONFIG SET notify-keyspace-events KAn"), "+OK");
    listener.send("SUBSCRIBE __keyspace@0__:k\r\n");
    (0..6).for_each(|_| drop(listener.line()));
    for _ in 0..2 {
        assert_eq!(http.request("PUT", "/kv/k", "", b"v").status, 204);
    }
    for event in ["new", "set", "set"] {
        let message: Vec<String> = (0..7).map(|_| listener.line()).collect();
        assert_eq!(message[6], event);
    }
}

#[test]
fn bodies_that_are_too_large_are_refused_whole() {
    let server = Server::with(Config { max_value: 100_000, ..Config::default() });
    let mut client = server.http();
    assert_eq!(client.request("PUT", "/kv/k", "", &[b'v'; 100_000]).status, 204);
    let refused = client.request("PUT", "/kv/k", "", &[b'v'; 5_000_000]);
    assert_eq!(refused.status, 413);
    assert!(String::from_utf8_lossy(&refused.body).contains("too_large"));
    assert_eq!(client.request("GET", "/kv/k", "", b"").body.len(), 100_000);
    client.send("PUT /kv/k HTTP/1.1\r\nhost: localhost\r\nexpect: 100-continue\r\ncontent-length: 100001\r\n\r\n");
    assert_eq!(client.response("PUT").status, 413);
    let mut client = server.http();
    let chunk = format!("{:x}\r\n{}\r\n", 60_000, "v".repeat(60_000));
    let chunks = format!("{chunk}{chunk}0\r\n\r\n");
    client.send(format!("PUT /kv/k HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n{chunks}"));
    assert_eq!(client.response("PUT").status, 413);
}

#[test]
fn idle_clients_are_closed() {
    let server = Server::with(Config { idle_timeout: Some(Duration::from_secs(1)), ..Config::default() });
    let (mut resp, mut http) = (server.resp(), server.http());
    assert_eq!(resp.ask("PING"), "+PONG");
    assert_eq!(http.request("GET", "/healthz", "", b"").status, 200);
    assert!(resp.is_closed() && http.is_closed());
    assert_eq!(server.stat(Stat::IdleClosed), 2);
    server.wait_for("both are gone", |server| server.stat(Stat::Clients) == 0);
}

#[test]
fn a_stop_closes_the_idle_and_finishes_what_runs() {
    let mut server = Server::start();
    let (mut idle, mut idle_http) = (server.resp(), server.http());
    assert_eq!(idle.ask("PING"), "+PONG");
    assert_eq!(idle_http.request("GET", "/healthz", "", b"").status, 200);
    server.stuck.store(true, Ordering::Relaxed);
    let (mut running, mut running_http) = (server.resp(), server.http());
    running.send("COUNTER.INCR c\r\n");
    running_http.send("POST /counters/c/incr HTTP/1.1\r\nhost: localhost\r\n\r\n");
    server.wait_for("both are parked", |server| server.stat(Stat::Parked) == 2);
    server.ask_to_stop();
    assert!(idle.is_closed() && idle_http.is_closed());
    server.stuck.store(false, Ordering::Relaxed);
    assert!(running.line().starts_with(':'));
    let response = running_http.response("POST");
    assert_eq!(response.status, 200);
    assert!(response.headers.contains("connection: close"), "{}", response.headers);
    assert!(running.is_closed() && running_http.is_closed());
    server.join();
    assert_eq!(server.stat(Stat::Clients), 0);
    assert!(TcpStream::connect(server.resp).is_err());
}

#[test]
fn a_stop_takes_no_longer_than_it_may() {
    let mut server = Server::with(Config { drain_timeout: Duration::from_millis(100), ..Config::default() });
    server.stuck.store(true, Ordering::Relaxed);
    let mut client = server.resp();
    client.send("COUNTER.INCR c\r\n");
    server.wait_for("it is parked", |server| server.stat(Stat::Parked) == 1);
    let start = Instant::now();
    server.ask_to_stop();
    server.join();
    assert!(start.elapsed() < Duration::from_secs(3));
    assert!(client.is_closed());
    assert_eq!(server.stat(Stat::Clients), 0);
}

#[test]
fn a_worker_announces_itself_and_beats() {
    let server = Server::start();
    assert_eq!(server.resp().ask("PING"), "+PONG");
    let read = |stat| server.store.statistics().worker(0, stat);
    assert_eq!((read(Stat::Starts), read(Stat::Pid)), (1, u64::from(std::process::id())));
    assert!(read(Stat::StartedAt) > 1_600_000_000);
    let beat = read(Stat::Heartbeat);
    server.wait_for("the next beat", |_| read(Stat::Heartbeat) > beat);
}

/// A store in memory whose counters can be held as if by a stopped process.
struct Sticky {
    store: MemoryStore,
    stuck: Arc<AtomicBool>,
}

impl Sticky {
    fn free(&self) -> Result<&MemoryStore> {
        if self.stuck.load(Ordering::Relaxed) { Err(crate::Error::Busy) } else { Ok(&self.store) }
    }
}

impl Backend for Sticky {
    fn make(&self, name: &str, spec: TableSpec) -> Result<(Arc<dyn TableBackend>, Made)> {
        self.store.make(name, spec)
    }
    fn table(&self, name: &str) -> Result<Arc<dyn TableBackend>> {
        self.store.table(name)
    }
    fn tables(&self) -> Result<Vec<TableInfo>> {
        self.store.tables()
    }
    fn drop_table(&self, name: &str) -> Result<bool> {
        self.store.drop_table(name)
    }
    fn counter_get(&self, name: &[u8]) -> Result<Option<i64>> {
        self.free()?.counter_get(name)
    }
    fn counter_add(&self, name: &[u8], by: i64, bound: Option<i64>) -> Result<Option<i64>> {
        self.free()?.counter_add(name, by, bound)
    }
    fn counter_set(&self, name: &[u8], value: i64) -> Result<()> {
        self.free()?.counter_set(name, value)
    }
    fn counter_cas(&self, name: &[u8], expected: i64, new: i64) -> Result<(bool, i64)> {
        self.free()?.counter_cas(name, expected, new)
    }
    fn counter_delete(&self, name: &[u8]) -> Result<bool> {
        self.free()?.counter_delete(name)
    }
    fn counters(&self) -> Result<Vec<(Vec<u8>, i64)>> {
        self.free()?.counters()
    }
    fn kv(&self) -> &dyn KvBackend {
        self.store.kv()
    }
    fn gather_departures(&self) {
        self.store.gather_departures();
    }
    fn take_departures(&self) -> Option<crate::store::Departures> {
        self.store.take_departures()
    }
    fn random(&self) -> u64 {
        self.store.random()
    }
    fn interest(&self) -> crate::store::Interest<'_> {
        self.store.interest()
    }
    fn interest_hash(&self, key: &[u8]) -> u64 {
        self.store.interest_hash(key)
    }
    fn bus(&self) -> &dyn Bus {
        self.store.bus()
    }

    fn statistics(&self) -> &dyn Statistics {
        self.store.statistics()
    }
    fn transact(&self, body: &mut dyn FnMut() -> bool) -> Result<()> {
        self.free()?.transact(body)
    }
    fn sweep(&self) -> usize {
        self.store.sweep()
    }
    fn set_memory_limit(&self, limit: crate::store::MemoryLimit) {
        self.store.set_memory_limit(limit);
    }
    fn make_room(&self) -> Result<()> {
        self.store.make_room()
    }
    fn memory_use(&self) -> crate::store::MemoryUse {
        self.store.memory_use()
    }
    fn count_use(&self, wanted: bool) {
        self.store.count_use(wanted);
    }
    fn memory(&self) -> (u64, u64) {
        self.store.memory()
    }
}
