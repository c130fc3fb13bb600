//! Clients at work while processes are killed, stopped and continued; then the verdict.
//!
//! A scene is repeated in rounds, each with a server, a segment and clients of its own. In every round one thread is
//! the bad luck: it picks a process, and kills it, or stops it for some milliseconds and then continues or kills it. Half of the library
//! processes besides stop themselves at a named point inside a write, and are then continued or killed.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use nix::{
    sys::{
        signal::Signal,
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};
use store_master::shm::CRASH_POINTS;

use super::{
    calls::Way,
    client::{Caller, Pace, work},
    history::{Tally, check_logs},
    http::OverHttp,
    log::{Board, Log},
    resp::OverResp,
};
use crate::harness::{Random, Server, segment_name, signal, wait_until};

/// Who takes part.
#[derive(Clone, Copy)]
struct Cast {
    name: &'static str,
    /// Library processes, which are killed.
    library: usize,
    /// Clients of either protocol, whose workers are killed.
    resp: usize,
    http: usize,
    workers: &'static str,
    /// Calls of a round.
    calls: u64,
    /// Between two strokes of bad luck: up to twice as long.
    calm_ms: u64,
    /// Of the library processes.
    pace: Pace,
}

const LIBRARY: Cast = Cast {
    name: "library",
    library: 5,
    resp: 0,
    http: 0,
    workers: "1",
    calls: 150_000,
    calm_ms: 4,
    pace: Pace { burst: 64, tick_us: 1000 },
};

const RESP: Cast = Cast {
    name: "resp",
    library: 0,
    resp: 6,
    http: 0,
    workers: "4",
    calls: 30_000,
    calm_ms: 25,
    pace: Pace { burst: 64, tick_us: 0 },
};

const HTTP: Cast = Cast { name: "http", resp: 0, http: 6, ..RESP };

const MIXTURE: Cast = Cast {
    name: "mixture",
    library: 3,
    resp: 3,
    http: 3,
    workers: "4",
    calls: 40_000,
    calm_ms: 10,
    pace: Pace { burst: 6, tick_us: 500 },
};

/// A round ends after this time, or when all calls are made.
const ROUND: Duration = Duration::from_millis(1500);
/// A client that takes longer to end hangs.
const HANG: Duration = Duration::from_secs(15);

#[test]
fn what_library_processes_see_has_an_order() {
    play(LIBRARY);
}

#[test]
fn what_resp_clients_see_has_an_order() {
    play(RESP);
}

#[test]
fn what_http_clients_see_has_an_order() {
    play(HTTP);
}

#[test]
fn what_clients_of_all_ways_see_together_has_an_order() {
    play(MIXTURE);
}

/// Seconds that each scene records: a quarter of `IT_LINEAR_SECONDS`, else of 20.
fn seconds() -> Duration {
    let given = std::env::var("IT_LINEAR_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs_f64(given.unwrap_or(20.0) / 4.0)
}

/// What bad luck did.
#[derive(Debug, Default, Clone, Copy)]
struct Strokes {
    kills: usize,
    /// Of the kills, those of a process that was stopped, by itself or from outside.
    of_stopped: usize,
    stops: usize,
    /// Library processes that stopped themselves inside a write.
    at_points: usize,
}

fn play(cast: Cast) {
    let mut random = Random::new();
    let (mut tally, mut strokes, mut recorded, mut rounds) = (Tally::default(), Strokes::default(), Duration::ZERO, 0);
    while recorded < seconds() {
        let mut round = Round::open(cast, (random.next() & !1) | (rounds % 2));
        let started = Instant::now();
        let end = started + ROUND.min(seconds() - recorded);
        while Instant::now() < end && !round.board.is_over() {
            thread::sleep(Duration::from_micros(random.below(2000 * cast.calm_ms as usize) as u64));
            round.stroke(&mut random);
        }
        recorded += started.elapsed();
        strokes = strokes.plus(round.strokes);
        tally.add(round.close());
        rounds += 1;
    }
    eprintln!("{}: {rounds} rounds, {:.1} s recorded, {strokes:?}, {tally:?}", cast.name, recorded.as_secs_f64());
    assert!(tally.operations > 200, "hardly anything was recorded");
    assert!(100 * tally.undecided <= tally.histories, "too few histories were decided");
    assert!(strokes.kills > 0 && tally.unknown > 0, "the kills missed the clients");
    // Nobody is stopped for as long as `--lock-wait`, and the dead hold nothing.
    assert_eq!(tally.refused, 0, "somebody waited in vain for what nobody holds");
    assert!(tally.overlapping > 100, "the clients hardly met");
}

impl Strokes {
    fn plus(self, other: Self) -> Self {
        Self {
            kills: self.kills + other.kills,
            of_stopped: self.of_stopped + other.of_stopped,
            stops: self.stops + other.stops,
            at_points: self.at_points + other.at_points,
        }
    }
}

struct Round {
    cast: Cast,
    server: Server,
    segment: String,
    board: Board,
    seed: u64,
    /// The folder of board and logs.
    folder: PathBuf,
    logs: Vec<PathBuf>,
    /// The library processes.
    actors: Vec<Child>,
    threads: Vec<JoinHandle<()>>,
    strokes: Strokes,
}

impl Round {
    fn open(cast: Cast, seed: u64) -> Self {
        let segment = segment_name(&format!("linear-{}", cast.name));
        let tables = ["cells:16384:n=int", "rows:16384:a=int,b=int,s=string(60)", "accounts:16384:n=int"];
        let mut args = vec!["--workers", cast.workers, "--segment", &segment, "--memory", "128mb"];
        args.extend(["--counters", "16384"]);
        tables.iter().for_each(|table| args.extend(["--table", *table]));
        let server = Server::start(&args);
        let folder = PathBuf::from("/dev/shm").join(format!("{segment}.logs"));
        fs::create_dir(&folder).expect("a folder for the logs");
        let board = Board::make(&folder.join("board"), seed, cast.calls).expect("the board");
        let (logs, actors, threads) = (Vec::new(), Vec::new(), Vec::new());
        let strokes = Strokes::default();
        let mut round = Self { cast, server, segment, board, seed, folder, logs, actors, threads, strokes };
        (0..cast.resp).for_each(|_| round.thread(OverResp::new(round.server.resp())));
        (0..cast.http).for_each(|_| round.thread(OverHttp::new(round.server.http())));
        (0..cast.library).for_each(|_| round.actor(None));
        round
    }

    /// Makes the log of a client.
    fn next_log(&mut self, way: Way) -> Log {
        let path = self.folder.join(format!("log{}", self.logs.len()));
        let log = Log::make(&path, way).expect("a log");
        self.logs.push(path);
        log
    }

    /// Starts a client of a protocol.
    fn thread<C: Caller + Send + 'static>(&mut self, mut caller: C) {
        let (board, pace) = (Board::open(&self.folder.join("board")).expect("the board"), self.cast.pace);
        let mut log = self.next_log(C::WAY);
        self.threads.push(thread::spawn(move || work(&mut caller, &board, &mut log, pace)));
    }

    /// Starts a library process, which stops itself at `point`.
    fn actor(&mut self, point: Option<&str>) {
        self.next_log(Way::Library);
        let mut command = Command::new(env!("CARGO_BIN_EXE_linear-client"));
        command.arg(&self.segment).arg(self.folder.join("board")).args(self.logs.last());
        command.args([self.cast.pace.burst.to_string(), self.cast.pace.tick_us.to_string()]);
        if let Some(point) = point {
            command.env("STORE_MASTER_STOP_AT", point);
        }
        self.actors.push(command.spawn().expect("the client starts"));
    }

    /// Bad luck for one of the processes; and whoever has stopped itself meanwhile is continued or killed.
    fn stroke(&mut self, random: &mut Random) {
        self.look_after_actors(random);
        let workers = if self.threads.is_empty() { Vec::new() } else { self.server.workers() };
        let actors: Vec<i32> = self.actors.iter().map(|actor| actor.id() as i32).collect();
        let candidates =
            if actors.is_empty() || !workers.is_empty() && random.below(2) == 0 { workers } else { actors };
        let Some(victim) = random.choose(&candidates) else { return };
        let stop = random.below(3) == 0;
        if stop {
            signal(victim, Signal::SIGSTOP);
            self.strokes.stops += 1;
            thread::sleep(Duration::from_micros(random.below(10_000) as u64));
        }
        if stop && random.below(2) == 0 {
            signal(victim, Signal::SIGCONT);
        } else {
            self.kill(victim, stop);
        }
    }

    fn kill(&mut self, victim: i32, stopped: bool) {
        signal(victim, Signal::SIGKILL);
        self.strokes.kills += 1;
        self.strokes.of_stopped += usize::from(stopped);
    }

    /// Replaces library processes that have ended.
    fn look_after_actors(&mut self, random: &mut Random) {
        for actor in std::mem::take(&mut self.actors) {
            match look(&actor) {
                WaitStatus::StillAlive => self.actors.push(actor),
                WaitStatus::Stopped(..) => {
                    self.strokes.at_points += 1;
                    if random.below(2) == 0 {
                        self.kill(actor.id() as i32, true);
                    } else {
                        signal(actor.id() as i32, Signal::SIGCONT);
                    }
                    self.actors.push(actor);
                }
                status => {
                    must_be_well(status);
                    self.actor(random.choose(CRASH_POINTS).filter(|_| random.below(2) == 0));
                }
            }
        }
    }

    /// Lets everybody end, and checks what they saw.
    fn close(mut self) -> Tally {
        self.board.stop();
        let ended = wait_until(HANG, || {
            self.actors.iter().for_each(|actor| signal(actor.id() as i32, Signal::SIGCONT));
            self.actors.retain(|actor| match look(actor) {
                WaitStatus::StillAlive | WaitStatus::Stopped(..) => true,
                status => {
                    must_be_well(status);
                    false
                }
            });
            self.actors.is_empty() && self.threads.iter().all(JoinHandle::is_finished)
        });
        assert!(ended, "{} library processes and some of the clients hang", self.actors.len());
        self.threads.drain(..).for_each(|thread| thread.join().expect("a client failed"));
        check_logs(&self.logs, self.seed)
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        self.board.stop();
        for actor in &self.actors {
            signal(actor.id() as i32, Signal::SIGKILL);
            waitpid(Pid::from_raw(actor.id() as i32), None).ok();
        }
        fs::remove_dir_all(&self.folder).ok();
    }
}

/// What a child is at now.
fn look(child: &Child) -> WaitStatus {
    let flags = WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG;
    waitpid(Pid::from_raw(child.id() as i32), Some(flags)).expect("it is a child")
}

/// A library process ends by a kill, or when there is nothing more to do.
fn must_be_well(status: WaitStatus) {
    let well = matches!(status, WaitStatus::Exited(_, 0) | WaitStatus::Signaled(_, Signal::SIGKILL, _));
    assert!(well, "a library process failed: {status:?}");
}
