//! No file descriptors: for more clients, for the master's next worker, for a library process.

use std::{fs, thread, time::Duration};

use nix::sys::signal::Signal;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::{
    scene::{HANG, PROMPT, Scene, TRANSFER},
    victim::{End, Victim},
};
use crate::harness::{Reply, Resp, Server, signal, wait_until};

/// Clock ticks of processor time in a second.
const TICKS: u64 = 100;

fn open_files(pid: i32) -> u64 {
    fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count() as u64
}

/// Allows a process this many open files from now on; returns how many it might open before.
fn allow(pid: i32, files: u64) -> u64 {
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let maximum = line.split_whitespace().nth(4).and_then(|limit| limit.parse().ok());
    let limits = Rlimit { current: Some(files), maximum };
    prlimit(Pid::from_raw(pid), Resource::Nofile, limits).unwrap().current.unwrap()
}

/// Processor time that a process has used, in ticks.
fn used(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

/// No worker spins: none of them uses half of a second's processor time, where a loop without a pause would use all that is to be had.
fn nobody_spins(server: &Server, what: &str) {
    let workers = server.workers();
    let before: Vec<u64> = workers.iter().map(|&pid| used(pid)).collect();
    thread::sleep(Duration::from_secs(1));
    for (&pid, before) in workers.iter().zip(before) {
        let ticks = used(pid) - before;
        assert!(ticks < TICKS / 2, "{what}: worker {pid} used {ticks} of {TICKS} ticks with nothing to do");
    }
}

fn is_served(redis: &mut Resp, patience: Duration) -> bool {
    redis.patience(patience);
    redis.try_cmd(&["PING"]).is_ok_and(|answer| answer == Reply::Status("PONG".to_owned()))
}

/// Workers take as many clients as they have descriptors; the others wait at the door and are let in when somebody leaves.
#[test]
fn workers_without_descriptors_serve_those_they_have() {
    let scene = Scene::new("files");
    for pid in scene.server.workers() {
        allow(pid, open_files(pid) + 10);
    }
    let mut clients: Vec<Resp> = (0..40).map(|_| scene.server.redis()).collect();
    let (mut inside, mut waiting) = (Vec::new(), Vec::new());
    for mut client in clients.drain(..) {
        match is_served(&mut client, Duration::from_millis(200)) {
            true => inside.push(client),
            false => waiting.push(client),
        }
    }
    assert!(inside.len() >= 10 && waiting.len() >= 10, "{} are served, {} wait", inside.len(), waiting.len());
    nobody_spins(&scene.server, "clients wait for descriptors");
    assert!(inside.iter_mut().all(|client| is_served(client, PROMPT)), "a client that was served is served no more");
    assert!(scene.server.stderr().contains("cannot accept connections"), "it is not logged");
    drop(inside);
    // Their questions of before are still in the sockets, so the first answer is the one to those.
    waiting.truncate(10);
    for client in &mut waiting {
        client.patience(HANG);
        assert_eq!(client.read().expect("an answer"), Reply::Status("PONG".to_owned()));
    }
}

/// Beyond `--max-clients` everybody is refused in words, and the refused ones that stay cost nothing.
#[test]
fn refused_clients_that_stay_cost_nothing() {
    let server = Server::start(&["--workers", "2", "--max-clients", "10"]);
    let mut clients: Vec<Resp> = (0..60).map(|_| server.redis()).collect();
    let (mut served, mut refused) = (0, 0);
    for client in &mut clients {
        match client.try_cmd(&["PING"]) {
            Ok(Reply::Status(_)) => served += 1,
            Ok(answer) => {
                assert!(matches!(&answer, Reply::Error(text) if text.contains("max number of clients")), "{answer:?}");
                refused += 1;
            }
            // The refusal may be lost when the connection is reset under it.
            Err(error) => {
                let hangs = matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
                assert!(!hangs, "a client is neither served nor refused");
                refused += 1;
            }
        }
    }
    assert_eq!((served, refused), (10, 50));
    nobody_spins(&server, "refused clients stay");
    drop(clients);
    assert!(wait_until(HANG, || is_served(&mut server.redis(), PROMPT)), "places are not given back");
}

/// A master without descriptors cannot make a worker; it recovers the dead one all the same, and goes on when it can.
#[test]
fn a_master_without_descriptors_goes_on_later() {
    let mut scene = Scene::new("master-files");
    let master = scene.server.pid();
    let before = allow(master, open_files(master));
    let worker = scene.stop_in_mid_write(&TRANSFER, "committed", &[]);
    signal(worker, Signal::SIGKILL);
    scene.redis = scene.client_of(|other| other != worker);
    scene.examine("the master has no descriptors");
    assert_eq!(scene.account(), 99);
    let complains = || scene.server.stderr().contains("cannot fork a worker");
    assert!(wait_until(HANG, complains), "the master had a descriptor left: {}", scene.server.stderr());
    assert_eq!(scene.server.workers().len(), 1);
    allow(master, before);
    assert!(wait_until(HANG, || scene.server.workers().len() == 2), "no replacement");
    scene.examine("the master has descriptors again");
}

/// Attaching takes one descriptor, and says so when there is none; writing takes none.
#[test]
fn a_library_process_needs_one_descriptor() {
    let mut scene = Scene::new("library-files");
    let mut victim = Victim::start(&[&scene.segment, "none", "-", "attach", "-"]);
    victim.expect("at none");
    let refusal = victim.line();
    assert!(refusal.starts_with("refused: opening the segment") && refusal.contains("os error 24"), "{refusal}");
    victim.expect("attached");
    assert_eq!(victim.end(), End::Code(0));
    for (operation, point) in [("transfer", "committed"), ("transfer", "group-locked"), ("key", "block-taken")] {
        scene.reset();
        let mut victim = scene.victim(operation, point, "no-files", "main");
        victim.go();
        victim.expect("survived");
        assert_eq!(victim.end(), End::Code(0));
        scene.examine("written without descriptors");
        match operation {
            "transfer" => assert_eq!(scene.account(), 99),
            _ => assert_eq!(scene.redis.run("STRLEN key"), Reply::Int(100_000)),
        }
    }
}
