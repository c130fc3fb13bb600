//! No shared memory: /dev/shm is a small file system of the test's own, in a mount namespace of its own.

use std::{fs, io::Write};

use super::scene::needs_namespaces;
use crate::harness::{Reply, Start, segment_name, wait_until};

/// Runs a command where /dev/shm has this size.
fn small(size: &str, then: &str) -> [String; 6] {
    let script = format!("mount -t tmpfs -o size={size} tmpfs /dev/shm && {then}");
    ["unshare", "-m", "sh", "-c", &script, "sh"].map(str::to_owned)
}

#[test]
fn a_start_without_shared_memory_is_refused_and_leaves_nothing() {
    needs_namespaces();
    let wrapper = small("32m", "{ \"$@\"; code=$?; echo left: $(ls -A /dev/shm); exit $code; }");
    let wrapper = wrapper.each_ref().map(String::as_str);
    for more in [&[][..], &["--fresh"]] {
        let name = segment_name("no-room");
        let args = [&["--workers", "2", "--memory", "64mb", "--segment", &name], more].concat();
        let refused = Start::new(&args).under(&wrapper).refused();
        assert_eq!(refused.code, Some(2), "{refused:?}");
        let said = &refused.stderr;
        assert!(said.contains("67108864 bytes of shared memory") && said.contains("--memory"), "{refused:?}");
        assert_eq!(refused.stdout.trim(), "left:", "something was left behind: {refused:?}");
    }
}

/// The pages of the segment were given to it at the start, so those that others take afterwards are never missed.
#[test]
fn shared_memory_that_others_fill_is_not_missed() {
    needs_namespaces();
    let name = segment_name("filled");
    let wrapper = small("40m", "exec \"$@\"");
    let args = ["--workers", "2", "--memory", "32mb", "--segment", &name];
    let server = Start::new(&args).under(&wrapper.each_ref().map(String::as_str)).server();
    let workers = server.workers();
    let root = format!("/proc/{}/root/dev/shm", server.pid());
    let mut filler = fs::File::create(format!("{root}/filler")).unwrap();
    let full = std::iter::repeat_with(|| filler.write_all(&[7; 1 << 16])).take(1024).find(Result::is_err);
    assert!(full.is_some(), "there is room for 64 MB in 40");
    let mut redis = server.redis();
    let value = "v".repeat(10_000);
    let mut written = 0;
    // Every page of the segment is written to, until the segment itself is full.
    let refused = loop {
        match redis.cmd(&["SET", &format!("key{written}"), &value]) {
            Reply::Status(_) => written += 1,
            refused => break refused,
        }
    };
    assert_eq!(refused.error(), Some("OOM"));
    assert!(written > 1500, "only {written} values of 10,000 bytes fit into 32 MB");
    for i in 0..written {
        assert_eq!(redis.run(&format!("STRLEN key{i}")), Reply::Int(10_000));
    }
    assert_eq!(server.workers(), workers, "a worker died");
    drop(filler);
    fs::remove_file(format!("{root}/filler")).unwrap();
    assert_eq!(redis.run("DEL key0"), Reply::Int(1));
    assert!(wait_until(super::scene::HANG, || redis.run("SET key0 small") == Reply::ok()));
}
