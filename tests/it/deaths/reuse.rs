//! Ids that come again: in a PID namespace of the test's own, where the next id can be chosen, a process dies in the middle of
//! a write and another one that writes gets its id at once.

use std::{fs, process::Command};

use nix::sys::signal::Signal;

use super::{
    scene::{HANG, Scene, needs_namespaces},
    victim::{End, Victim},
};
use crate::harness::{Reply, children, run, signal, state, wait_until};

/// The id that processes of the namespace get again and again.
const ID: i32 = 5000;
const POINTS: [(&str, i64); 4] = [("group-locked", 100), ("before-commit", 100), ("committed", 99), ("row-odd", 99)];

fn scene(test: &str) -> Scene {
    needs_namespaces();
    Scene::with(test, &[], &["unshare", "-p", "-f", "--kill-child", "--mount-proc"])
}

/// A victim at its point, whose main thread has the id in the namespace.
fn victim(scene: &Scene, operation: &str, point: &str, death: &str) -> Victim {
    let script = "echo $1 > /proc/sys/kernel/ns_last_pid; shift; \"$@\"; exit $?";
    let before = (ID - 1).to_string();
    let program = [Victim::PROGRAM, &scene.segment, operation, point, death, "main"];
    let inside = scene.inside();
    let mut command = Command::new(&inside[0]);
    let victim = Victim::spawn(command.args(&inside[1..]).args(["sh", "-c", script, "sh", &before]).args(program));
    victim.expect(&format!("at {point}"));
    assert_eq!(id_inside(&victim), ID, "the id was not free");
    victim
}

/// The id that a victim has in its namespace: `nsenter` made a shell, and that the victim.
fn id_inside(victim: &Victim) -> i32 {
    let [shell] = children(victim.pid())[..] else { panic!("no shell") };
    let [process] = children(shell)[..] else { panic!("no victim") };
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let ids = status.lines().find_map(|line| line.strip_prefix("NStgid:")).expect("NStgid");
    ids.split_whitespace().last().unwrap().parse().unwrap()
}

/// What a shell makes of an abort.
const ABORTED: End = End::Code(128 + Signal::SIGABRT as i32);

/// The server is stopped while the id changes hands, so that nobody has recovered the dead one before.
#[test]
fn a_dead_owner_is_not_taken_for_the_living_one_of_its_id() {
    let mut scene = scene("reuse");
    for (point, left) in POINTS {
        let what = format!("the id is used again after a death at {point}");
        scene.reset();
        let mut dead = victim(&scene, "transfer", point, "abort");
        let server = [&scene.server.workers()[..], &[scene.server.pid()]].concat();
        server.iter().for_each(|&pid| signal(pid, Signal::SIGSTOP));
        assert!(wait_until(HANG, || server.iter().all(|&pid| state(pid) == Some('T'))));
        assert_eq!(dead.dies(), ABORTED, "{what}");
        let mut living = victim(&scene, "key", "row-locked", "go-on");
        server.iter().for_each(|&pid| signal(pid, Signal::SIGCONT));
        for account in ["a", "b"] {
            let locked = scene.redis.run(&format!("TABLE.INCR accounts {account} n 0"));
            assert!(locked.error().is_none(), "{what}: {locked:?}");
        }
        assert_eq!(scene.account(), left, "{what}");
        let held = scene.redis.run("EXPIRE key 100000");
        assert_eq!(held.error(), Some("BUSY"), "{what}: the lock of one who lives was taken away: {held:?}");
        living.go();
        living.expect("survived");
        assert_eq!(living.end(), End::Code(0));
        scene.examine(&what);
        assert_eq!(scene.redis.run("STRLEN key"), Reply::Int(100_000), "{what}");
    }
}

/// The same slot and the same id, death after death: recovery frees what the last owner held and nothing of the next.
#[test]
fn an_id_that_dies_again_and_again() {
    let mut scene = scene("again");
    for round in 0..3 {
        for (point, left) in POINTS {
            let what = format!("death {round} at {point}");
            scene.reset();
            assert_eq!(victim(&scene, "transfer", point, "abort").dies(), ABORTED, "{what}");
            scene.examine(&what);
            assert_eq!(scene.account(), left, "{what}");
        }
    }
}

/// From outside of the namespace nobody gets in: ids there mean others.
#[test]
fn another_namespace_is_refused() {
    let scene = scene("outside");
    let refused = run(Victim::PROGRAM, &[&scene.segment, "transfer", "committed", "abort", "main"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("another PID namespace"), "{refused:?}");
    scene.check("after a refusal");
}
