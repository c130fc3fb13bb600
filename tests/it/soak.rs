//! Everything at once, for long: a server of eight workers under load by RESP and HTTP, library processes on the same segment, and
//! random kills and stops of both. At the end the books are compared, and every word of the segment is checked, while it is
//! in use and once more after everybody was killed.
//!
//! `IT_SOAK_SECONDS` says for how long; `scripts/soak` runs it for ten minutes.

use std::{
    fs,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use nix::sys::signal::Signal;

use crate::{
    harness::{Random, Server, run, segment_name, signal, wait_until},
    load::{HANG, Load, TABLES, audit},
};

const WORKERS: usize = 8;
const LIBRARIANS: usize = 4;
/// Longest stop of a process; whoever waits for it waits as long.
const LONGEST_STOP_MS: usize = 300;
/// Longest pause between two blows.
const LONGEST_PAUSE_MS: usize = 100;

/// A library process, its book, and what its predecessors came to.
struct Librarian {
    child: Child,
    segment: String,
    book: String,
    index: usize,
}

impl Librarian {
    fn new(segment: &str, index: usize) -> Self {
        let book = std::env::temp_dir().join(format!("{segment}-{index}")).to_string_lossy().into_owned();
        fs::write(&book, [0; 16]).unwrap();
        Self { child: Self::spawn(segment, &book, index), segment: segment.to_owned(), book, index }
    }

    fn spawn(segment: &str, book: &str, index: usize) -> Child {
        let arguments = [segment, book, &index.to_string(), &LIBRARIANS.to_string()];
        Command::new(env!("CARGO_BIN_EXE_librarian")).args(arguments).spawn().expect("the process starts")
    }

    fn kill(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("librarian {} ended by itself: {status}", self.index);
        }
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn replace(&mut self) {
        self.kill();
        self.child = Self::spawn(&self.segment, &self.book, self.index);
    }

    /// Increments that were begun, and that were acknowledged.
    fn books(&self) -> [u64; 2] {
        let bytes = fs::read(&self.book).unwrap();
        [0, 8].map(|at| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()))
    }
}

impl Drop for Librarian {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
        fs::remove_file(&self.book).ok();
    }
}

/// Blows that were dealt.
#[derive(Default, Debug)]
struct Blows {
    workers: u64,
    librarians: u64,
    stops: u64,
}

#[test]
fn everything_at_once_loses_nothing() {
    let given = std::env::var("IT_SOAK_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let length = Duration::from_secs(given.unwrap_or(20));
    let name = segment_name("soak");
    let workers = WORKERS.to_string();
    let server = Server::start(
        &[&["--workers", &workers, "--segment", &name, "--table", "ledger:64:n=int"], &TABLES[..]].concat(),
    );
    let mut librarians: Vec<Librarian> = (0..LIBRARIANS).map(|index| Librarian::new(&name, index)).collect();
    let load = Load::start(&server, HANG + Duration::from_secs(2), 0);
    let blows = strike_for(length, &server, &load, &mut librarians);
    let books = load.finish();
    librarians.iter_mut().for_each(Librarian::kill);
    let all_back = wait_until(Duration::from_secs(20), || server.workers().len() == WORKERS);
    assert!(all_back, "workers {:?} after the kills", server.workers());
    audit(&server, &books, 0);
    let increments: u64 = librarians.iter().map(|librarian| audit_librarian(&server, librarian)).sum();
    check(&name);
    server.kill_all();
    let checked = check(&name);
    fs::remove_file(format!("/dev/shm/{name}")).unwrap();
    eprintln!(
        "soak: {length:?}, {blows:?}, {} answers of the server, {} connections broken, {increments} rounds of the \
         library processes; {checked}",
        books.answers, books.broken
    );
    assert!(blows.workers > length.as_secs() && blows.librarians > length.as_secs(), "too few kills: {blows:?}");
}

/// Kills and stops at random while the load goes on.
fn strike_for(length: Duration, server: &Server, load: &Load, librarians: &mut [Librarian]) -> Blows {
    let (mut random, mut blows) = (Random::new(), Blows::default());
    let (mut answers, mut since) = (load.answers(), Instant::now());
    let started = Instant::now();
    while started.elapsed() < length {
        assert!(load.healthy(), "a client gave up after {:?}", started.elapsed());
        if load.answers() > answers + 100 {
            (answers, since) = (load.answers(), Instant::now());
        }
        assert!(since.elapsed() < 2 * HANG, "the load does not go on");
        strike(&mut random, server, librarians, &mut blows);
        thread::sleep(Duration::from_millis(random.below(LONGEST_PAUSE_MS) as u64));
    }
    blows
}

fn strike(random: &mut Random, server: &Server, librarians: &mut [Librarian], blows: &mut Blows) {
    let librarian = random.below(LIBRARIANS);
    let worker = random.choose(&server.workers());
    match random.below(20) {
        0..9 => {
            if let Some(worker) = worker {
                signal(worker, Signal::SIGKILL);
                blows.workers += 1;
            }
        }
        9..18 => {
            librarians[librarian].replace();
            blows.librarians += 1;
        }
        what => {
            let victim = if what == 18 { worker } else { Some(librarians[librarian].child.id() as i32) };
            let Some(victim) = victim else { return };
            signal(victim, Signal::SIGSTOP);
            thread::sleep(Duration::from_millis(random.below(LONGEST_STOP_MS) as u64));
            signal(victim, Signal::SIGCONT);
            blows.stops += 1;
        }
    }
}

/// What a library process did is there, and its two rows still come to 0.
fn audit_librarian(server: &Server, librarian: &Librarian) -> u64 {
    let (mut redis, index) = (server.redis(), librarian.index);
    let counted = redis.run(&format!("COUNTER.GET librarian{index}")).int() as u64;
    let [begun, acknowledged] = librarian.books();
    assert!((acknowledged..=begun).contains(&counted), "{acknowledged} acknowledged, {counted} counted, {begun} begun");
    let rows = redis.run(&format!("TABLE.MGET ledger left{index} right{index}"));
    let sum: i64 = rows.items().iter().map(|row| row.field("n").int()).sum();
    assert_eq!(sum, 0, "{rows:?}");
    counted
}

/// Checks every word of the segment with the user's tool; what it says.
fn check(name: &str) -> String {
    let said = run(env!("CARGO_BIN_EXE_store-master"), &["check", "--segment", name]);
    assert_eq!(said.code, Some(0), "{}{}", said.stdout, said.stderr);
    said.stdout.trim().to_owned()
}
