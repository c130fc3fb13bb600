//! Several deaths at once: two workers in the middle of a write, one that recovers the other, all of them, the master first,
//! and master and workers in the same instant.

use nix::sys::signal::Signal;

use super::scene::{HANG, Scene, kill_together};
use crate::{
    harness::{Server, alive, segment_name, signal, wait_until},
    load::{self, Load, TABLES, audit, total},
};

const TRANSFER: &str = "TABLE.MSET accounts 2 a 1 n 99 b 1 n 101";
const POINTS: [(&str, i64); 3] = [("before-commit", 100), ("committed", 99), ("row-odd", 99)];
/// A write of a second worker, of another kind than the transfer, and where it stops.
const SECOND: [(&str, &str); 3] = [("SET key new", "before-commit"), ("SET key new", "applied"), ("INCR fresh", "published")];

/// Stops two workers in the middle of a write each; they are the first two of the result, in this order.
fn two_in_mid_write(scene: &Scene, first_at: &str, second: (&str, &str)) -> [i32; 2] {
    let mut client = scene.server.redis();
    let first = scene.stop_worker(&mut client, TRANSFER, first_at);
    let mut client = scene.client_of_another_than(first);
    [first, scene.stop_worker(&mut client, second.0, second.1)]
}

fn all_back(scene: &Scene, workers: usize, what: &str) {
    assert!(wait_until(HANG, || scene.server.workers().len() == workers), "{what}: {:?}", scene.server.workers());
}

#[test]
fn two_workers_killed_at_once_in_mid_write() {
    let mut scene = Scene::with("two", &["--workers", "3"], &[]);
    for ((point, left), second) in POINTS.into_iter().zip(SECOND) {
        let what = format!("two workers at {point} and in {second:?}");
        scene.reset();
        scene.redis.run("DEL fresh");
        let pair = two_in_mid_write(&scene, point, second);
        kill_together(&pair);
        assert!(wait_until(HANG, || !pair.iter().any(|&pid| alive(pid))));
        scene.reconnect();
        scene.examine(&what);
        assert_eq!(scene.account(), left, "{what}");
        all_back(&scene, 3, &what);
    }
}

/// The master is stopped meanwhile, so that it is a worker that recovers the first; it dies in the middle of that.
#[test]
fn a_worker_killed_while_it_recovers_another() {
    let mut scene = Scene::with("recoverer", &["--workers", "3"], &[]);
    for (point, left) in POINTS {
        let what = format!("a worker at {point} and its recoverer");
        scene.reset();
        let mut client = scene.server.redis();
        let first = scene.stop_worker(&mut client, TRANSFER, point);
        scene.server.signal(Signal::SIGSTOP);
        signal(first, Signal::SIGKILL);
        let mut client = scene.client_of_another_than(first);
        let second = scene.stop_worker(&mut client, "TABLE.INCR accounts a n 0", "settling");
        signal(second, Signal::SIGKILL);
        assert!(wait_until(HANG, || !alive(second)));
        // The third worker finishes what two have left, without the master.
        scene.redis = third(&scene, &[first, second]);
        scene.examine(&what);
        assert_eq!(scene.account(), left, "{what}");
        scene.server.signal(Signal::SIGCONT);
        all_back(&scene, 3, &what);
        scene.reconnect();
        scene.examine(&what);
    }
}

/// A connection to a worker that lives: dead ones of a stopped master keep none.
fn third(scene: &Scene, dead: &[i32]) -> crate::harness::Resp {
    let redis = scene.server.redis();
    assert!(!dead.contains(&scene.owner_of(&redis)));
    redis
}

/// The master itself dies in the middle of recovering its only worker: no other is there to do it first.
#[test]
fn a_master_killed_while_it_recovers() {
    let mut scene = Scene::with("master-recovers", &["--workers", "1"], &[]);
    for (point, left) in POINTS {
        let what = format!("a worker at {point}, and the master that recovers it");
        scene.reset();
        let mut client = scene.server.redis();
        let worker = scene.stop_worker(&mut client, TRANSFER, point);
        scene.ticket.put("settling");
        signal(worker, Signal::SIGKILL);
        let master = scene.server.pid();
        let stopped = || crate::harness::state(master) == Some('T');
        assert!(wait_until(HANG, stopped), "{what}: the master does not recover; ticket {}", scene.ticket.is_taken());
        scene = scene.start_again(&["--workers", "1"]);
        scene.examine(&what);
        assert_eq!(scene.account(), left, "{what}");
    }
}

/// Master first, workers first, and all in the same instant; two workers are in the middle of a write each time.
#[test]
fn master_and_workers_killed_in_any_order_in_mid_write() {
    let mut scene = Scene::new("everybody");
    for order in ["master first", "workers first", "together"] {
        for ((point, left), second) in POINTS.into_iter().zip(SECOND) {
            let what = format!("{order}, at {point} and in {second:?}");
            scene.reset();
            scene.redis.run("DEL fresh");
            let pair = two_in_mid_write(&scene, point, second);
            let master = scene.server.pid();
            match order {
                "master first" => {
                    signal(master, Signal::SIGKILL);
                    let follow = || !pair.iter().any(|&pid| alive(pid));
                    assert!(wait_until(HANG, follow), "{what}: stopped workers outlive their master");
                }
                "workers first" => pair.iter().chain([&master]).for_each(|&pid| signal(pid, Signal::SIGKILL)),
                _ => kill_together(&[&pair[..], &[master]].concat()),
            }
            scene = scene.start_again(&["--workers", "2"]);
            scene.examine(&what);
            assert_eq!(scene.account(), left, "{what}");
        }
    }
}

#[test]
fn all_workers_killed_at_once_under_load() {
    let server = Server::start(&[&["--workers", "4"], &TABLES[..]].concat());
    let load = Load::start(&server, load::HANG, 0);
    for _ in 0..4 {
        let before = load.answers();
        assert!(wait_until(HANG, || load.answers() > before + 200), "the load does not go on");
        let workers = server.workers();
        kill_together(&workers);
        let replaced = || server.workers().len() == 4 && !server.workers().iter().any(|pid| workers.contains(pid));
        assert!(wait_until(HANG, replaced), "no replacements");
        assert!(load.healthy(), "a client gave up");
    }
    let books = load.finish();
    assert!(books.broken >= 4, "the kills missed the load");
    audit(&server, &books, 0);
}

#[test]
fn everybody_killed_in_the_same_instant_under_load() {
    let name = segment_name("instant");
    let args = [&["--workers", "4", "--segment", &name], &TABLES[..]].concat();
    let mut from = 0;
    let mut server = Server::start(&args);
    for _ in 0..3 {
        let before = total(&server);
        let load = Load::start(&server, load::HANG, from);
        assert!(wait_until(HANG, || load.answers() > 500), "the load does not begin");
        load.expect_the_end();
        kill_together(&[server.workers(), vec![server.pid()]].concat());
        server.kill_all();
        let books = load.finish();
        from = books.written.iter().map(|written| written.sent).max().unwrap();
        super::scene::is_sound(&name, "left behind");
        server = Server::start(&args);
        audit(&server, &books, before);
        super::scene::is_sound(&name, "started again");
    }
}
