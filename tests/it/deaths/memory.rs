//! Out of memory: killed by the kernel in a control group whose limit is reached, or by a failed allocation.
//!
//! The kernel may take the private pages of a process that it kills for its memory before it looks at the locks which that
//! process holds; the lists of those locks therefore lie in the segment. Here the writer holds row locks when the kernel chooses it.
//!
//! Where no control group can be made (it takes root and a memory controller of version 1 or 2), the tests limit the
//! address space (RLIMIT_AS) instead; they print which of the two they used.

use nix::sys::signal::Signal;
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::{
    control_group::ControlGroup,
    scene::{HANG, Scene, TRANSFER},
    victim::{End, Victim},
};
use crate::{
    harness::{Resp, Server, alive, encode, wait_until},
    load::{Load, TABLES, audit},
};

/// What a group may take beyond what its members had when they came into it, in bytes.
const LIMIT: u64 = 8 << 20;
const POINTS: [(&str, i64); 3] = [("before-commit", 100), ("committed", 99), ("row-odd", 99)];

fn group(test: &str) -> Option<ControlGroup> {
    match ControlGroup::limited(LIMIT) {
        Ok(group) => {
            eprintln!("{test}: in a control group of {LIMIT} bytes");
            Some(group)
        }
        Err(error) => {
            eprintln!("{test}: by RLIMIT_AS, because no control group with a memory limit can be made here: {error}");
            None
        }
    }
}

/// A second thread takes the memory, so that the kernel kills the process while its first one is in the middle of a write.
#[test]
fn a_writer_killed_for_its_memory_leaves_no_lock() {
    let mut scene = Scene::new("memory");
    for who in ["other", "leader"] {
        for (point, left) in POINTS {
            let what = format!("out of memory by {who} at {point}");
            scene.reset();
            let Some(group) = group("writer") else {
                let mut victim = scene.victim("transfer", point, "address-space", who);
                assert_eq!(victim.dies(), End::Signal(Signal::SIGABRT as i32), "{what}");
                scene.examine(&what);
                continue;
            };
            let before = scene.server.stats()["recoveries"].as_u64().unwrap();
            let mut victim = scene.victim("transfer", point, "memory", who);
            group.add(victim.pid());
            assert_eq!(victim.dies(), End::Signal(Signal::SIGKILL as i32), "{what}");
            assert!(group.kills() >= 1, "{what}: it was not the kernel that killed it");
            scene.examine(&what);
            assert_eq!(scene.account(), left, "{what}");
            // The writer's slot, and that of the thread that took the memory.
            let recovered = || scene.server.stats()["recoveries"].as_u64().unwrap() >= before + 2;
            assert!(wait_until(HANG, recovered), "{what}: the slots of the dead were not marked");
        }
    }
}

#[test]
fn a_failed_allocation_leaves_no_lock() {
    let mut scene = Scene::new("allocation");
    for who in ["other", "leader"] {
        for (point, left) in POINTS {
            let what = format!("no address space, by {who} at {point}");
            scene.reset();
            let mut victim = scene.victim("transfer", point, "address-space", who);
            assert_eq!(victim.dies(), End::Signal(Signal::SIGABRT as i32), "{what}");
            scene.examine(&what);
            assert_eq!(scene.account(), left, "{what}");
        }
    }
}

/// A worker that is in the middle of a write when another process of its group takes the memory: the kernel is told to
/// choose the worker.
#[test]
fn a_worker_chosen_by_the_kernel_leaves_no_lock() {
    let mut scene = Scene::new("chosen");
    for (point, left) in POINTS {
        let what = format!("a worker, out of memory at {point}");
        scene.reconnect();
        scene.reset();
        let worker = scene.stop_in_mid_write(&TRANSFER, point, &[]);
        match group("chosen") {
            Some(group) => {
                std::fs::write(format!("/proc/{worker}/oom_score_adj"), "1000").unwrap();
                group.add(worker);
                let mut hog = Victim::start(&["-", "none", "-", "memory", "-"]);
                hog.expect("at none");
                group.add(hog.pid());
                hog.go();
                assert!(wait_until(HANG, || !alive(worker)), "{what}: the kernel does not choose it");
                assert_eq!(hog.end(), End::Signal(Signal::SIGKILL as i32));
                assert_eq!(group.kills(), 2, "{what}");
            }
            // Nothing but a limit of its own ends a process that is stopped.
            None => crate::harness::signal(worker, Signal::SIGKILL),
        }
        scene.redis = scene.client_of(|other| other != worker);
        scene.examine(&what);
        assert_eq!(scene.account(), left, "{what}");
        assert!(wait_until(HANG, || scene.server.workers().len() == 2), "{what}: no replacement");
    }
}

/// Clients ask for much and read nothing, each within `--output-limit`, until the worker has no memory left; others write meanwhile.
#[test]
fn a_worker_out_of_memory_loses_nothing() {
    let server = Server::start(&[&["--workers", "2"], &TABLES[..]].concat());
    let mut redis = server.redis();
    redis.cmd(&["SET", "large", &"x".repeat(4 << 20)]);
    // The kernel looks for memory everywhere before it kills, and the worker stands still meanwhile.
    let load = Load::start(&server, 2 * HANG, 0);
    for _ in 0..2 {
        let worker = server.workers()[0];
        let group = group("worker");
        match &group {
            Some(group) => group.add(worker),
            None => limit_address_space(worker),
        }
        let mut greedy: Vec<Resp> = Vec::new();
        let dead = wait_until(HANG, || {
            let mut client = server.redis();
            client.send(&encode(&["GET", "large"]).repeat(4)).ok();
            greedy.push(client);
            !alive(worker)
        });
        assert!(dead, "the worker lives with {} clients that read nothing", greedy.len());
        if let Some(group) = group {
            assert!(group.kills() >= 1, "it was not the kernel that killed it");
        }
        assert!(wait_until(HANG, || server.workers().len() == 2), "no replacement");
        assert!(load.healthy(), "a client gave up");
    }
    let before = load.answers();
    assert!(wait_until(HANG, || load.answers() > before + 100), "the load does not go on");
    let books = load.finish();
    assert!(books.broken > 0, "the worker served nobody");
    redis = server.redis();
    redis.run("DEL large");
    audit(&server, &books, 0);
}

fn limit_address_space(pid: i32) {
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).unwrap();
    let pages: u64 = statm.split(' ').next().unwrap().parse().unwrap();
    let limit = Some(pages * 4096 + LIMIT);
    prlimit(Pid::from_raw(pid), Resource::As, Rlimit { current: limit, maximum: limit }).unwrap();
}
