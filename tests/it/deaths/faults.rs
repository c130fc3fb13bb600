//! Deaths by fault, by `exit`, by a panic and by `exec`, and what is no death: `fork`; all in the middle of a write.

use nix::sys::signal::Signal;

use super::{
    scene::{HANG, Scene},
    victim::End,
};
use crate::harness::wait_until;

/// Points of a transfer, and what the account has afterwards: the first two undecided, the others decided.
const POINTS: [(&str, i64); 4] = [("group-locked", 100), ("before-commit", 100), ("committed", 99), ("row-odd", 99)];

/// Which thread dies: the one that writes, or another.
const ALL: [&str; 4] = ["main", "second", "other", "leader"];

/// A death at every point and by every thread leaves the old state or the new one, whichever was decided.
fn every_victim(death: &str, by: &[&str], end: End) {
    let mut scene = Scene::new(death.trim_start_matches('_'));
    for who in by {
        for (point, left) in POINTS {
            let what = format!("{death} by {who} at {point}");
            scene.reset();
            let mut victim = scene.victim("transfer", point, death, who);
            assert_eq!(victim.dies(), end, "{what}");
            scene.examine(&what);
            assert_eq!(scene.account(), left, "{what}");
        }
        let what = format!("{death} by {who} with a block taken");
        let mut victim = scene.victim("key", "block-taken", death, who);
        assert_eq!(victim.dies(), end, "{what}");
        scene.examine(&what);
    }
}

#[test]
fn a_segfault_frees_what_was_held() {
    every_victim("segfault", &ALL, End::Signal(Signal::SIGSEGV as i32));
}

#[test]
fn an_abort_frees_what_was_held() {
    every_victim("abort", &ALL, End::Signal(Signal::SIGABRT as i32));
}

#[test]
fn an_illegal_instruction_frees_what_was_held() {
    every_victim("illegal", &ALL, End::Signal(Signal::SIGILL as i32));
}

#[test]
fn an_exit_without_handlers_frees_what_was_held() {
    every_victim("_exit", &ALL, End::Code(7));
}

/// `exit` runs the destructors of the calling thread and the handlers of `atexit`, and these write to the store.
#[test]
fn an_exit_with_handlers_frees_what_was_held() {
    every_victim("exit", &ALL, End::Code(7));
}

/// A panic unwinds through the write: the panicking thread itself carries out what was decided, and frees what it held.
#[test]
fn a_panic_frees_what_was_held() {
    every_victim("panic", &["main", "leader"], End::Code(101));
    every_victim("panic", &["second"], End::Code(1));
}

/// The process lives on as another program, without the threads and the memory of the first.
#[test]
fn an_exec_frees_what_was_held() {
    let mut scene = Scene::new("exec");
    for who in ALL {
        for (point, left) in POINTS {
            let what = format!("exec by {who} at {point}");
            scene.reset();
            let mut victim = scene.victim("transfer", point, "exec", who);
            victim.go();
            let name = format!("/proc/{}/comm", victim.pid());
            let is_other = || std::fs::read_to_string(&name).is_ok_and(|name| name.trim() == "sleep");
            assert!(wait_until(HANG, is_other), "{what}: it is no other program");
            scene.examine(&what);
            assert_eq!(scene.account(), left, "{what}");
        }
    }
}

/// The child of a process with threads has a slot of its own, cannot write what its parent holds, and does not free it when it ends.
#[test]
fn a_fork_takes_nothing_from_the_parent() {
    let mut scene = Scene::new("fork");
    for who in ["other", "leader"] {
        // At the first point no row is locked yet.
        for &(point, left) in &POINTS[1..] {
            let what = format!("fork by {who} at {point}");
            scene.reset();
            let mut victim = scene.victim("transfer", point, "fork", who);
            victim.go();
            assert_eq!(victim.line(), "done", "{what}");
            let held = scene.redis.run("TABLE.INCR accounts a n 0");
            assert_eq!(held.error(), Some("BUSY"), "{what}: the child freed what its parent holds: {held:?}");
            drop(victim);
            scene.examine(&what);
            assert_eq!(scene.account(), left, "{what}");
        }
    }
}
