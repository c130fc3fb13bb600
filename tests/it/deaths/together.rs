//! Several deaths at once: two workers in the middle of a write, one that recovers the other, all of them, the master first,
//! and master and workers in the same instant.

use nix::sys::signal::Signal;

use super::scene::{HANG, SET_KEY, Scene, TRANSFER, is_sound, kill_together};
use crate::{
    harness::{Reply, Server, alive, segment_name, signal, state, wait_until},
    load::{self, Load, TABLES, audit, total},
};

const POINTS: [(&str, i64); 3] = [("before-commit", 100), ("committed", 99), ("row-odd", 99)];
/// Where a second worker stops meanwhile.
const SECOND: [&str; 3] = ["before-commit", "committed", "applied"];

/// Stops two workers in the middle of a write each.
fn two_in_mid_write(scene: &Scene, first_at: &str, second_at: &str) -> [i32; 2] {
    let first = scene.stop_in_mid_write(&TRANSFER, first_at, &[]);
    [first, scene.stop_in_mid_write(&SET_KEY, second_at, &[first])]
}

fn all_back(scene: &Scene, workers: usize, what: &str) {
    assert!(wait_until(HANG, || scene.server.workers().len() == workers), "{what}: {:?}", scene.server.workers());
}

#[test]
fn two_workers_killed_at_once_in_mid_write() {
    let mut scene = Scene::with("two", &["--workers", "3"], &[]);
    for ((point, left), second) in POINTS.into_iter().zip(SECOND) {
        let what = format!("two workers at {point} and at {second}");
        scene.reset();
        let pair = two_in_mid_write(&scene, point, second);
        kill_together(&pair);
        assert!(wait_until(HANG, || !pair.iter().any(|&pid| alive(pid))));
        scene.reconnect();
        scene.examine(&what);
        assert_eq!(scene.account(), left, "{what}");
        all_back(&scene, 3, &what);
    }
}

/// Master and third worker are stopped meanwhile, so that it is the second one that recovers the first; it dies in the middle of that.
#[test]
fn a_worker_killed_while_it_recovers_another() {
    let mut scene = Scene::with("recoverer", &["--workers", "3"], &[]);
    for (point, left) in POINTS {
        let what = format!("a worker at {point} and its recoverer");
        scene.reset();
        let first = scene.stop_in_mid_write(&TRANSFER, point, &[]);
        let mut client = scene.client_of(|worker| worker != first);
        let second = scene.owner_of(&client);
        let others = [&scene.server.workers()[..], &[scene.server.pid()]].concat();
        let others: Vec<i32> = others.into_iter().filter(|pid| ![first, second].contains(pid)).collect();
        others.iter().for_each(|&pid| signal(pid, Signal::SIGSTOP));
        signal(first, Signal::SIGKILL);
        assert_eq!(scene.stop_worker(&mut client, "TABLE.INCR accounts a n 0", "settling"), second);
        signal(second, Signal::SIGKILL);
        assert!(wait_until(HANG, || !alive(second)));
        // The third worker finishes what two have left, and the master comes too late.
        others.iter().filter(|&&pid| pid != scene.server.pid()).for_each(|&pid| signal(pid, Signal::SIGCONT));
        scene.reconnect();
        scene.examine(&what);
        assert_eq!(scene.account(), left, "{what}");
        signal(scene.server.pid(), Signal::SIGCONT);
        all_back(&scene, 3, &what);
        scene.reconnect();
        scene.examine(&what);
    }
}

/// The master itself dies in the middle of recovering a library process; the worker is stopped, so that it does not do it first.
#[test]
fn a_master_killed_while_it_recovers() {
    let mut scene = Scene::with("master-recovers", &["--workers", "1"], &[]);
    for (point, left) in POINTS {
        let what = format!("a process at {point}, and the master that recovers it");
        scene.reset();
        let mut victim = scene.victim("transfer", point, "abort", "main");
        signal(scene.server.workers()[0], Signal::SIGSTOP);
        scene.ticket.put("settling", scene.server.pid());
        victim.dies();
        assert!(wait_until(HANG, || state(scene.server.pid()) == Some('T')), "{what}: the master does not recover");
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
            let what = format!("{order}, at {point} and at {second}");
            scene.reset();
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

/// Every writer of the load has written beyond this number: the audit reads what each of them wrote in this run.
fn all_have_written(server: &Server, from: u64) -> bool {
    let mut redis = server.redis();
    (0..4).all(|writer| {
        let row = redis.run(&format!("TABLE.GET agree row{writer} a"));
        let value = redis.run(&format!("GET value{writer}"));
        // The value of a number is written after the row.
        row != Reply::Null && value != Reply::Null && value.text()[..20].parse::<u64>().unwrap() > from
    })
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
        assert!(wait_until(HANG, || all_have_written(&server, from)), "the load does not begin");
        load.expect_the_end();
        kill_together(&[server.workers(), vec![server.pid()]].concat());
        server.kill_all();
        let books = load.finish();
        from = books.written.iter().map(|written| written.sent).max().unwrap();
        is_sound(&name, "left behind");
        server = Server::start(&args);
        audit(&server, &books, before);
        is_sound(&name, "started again");
    }
}
