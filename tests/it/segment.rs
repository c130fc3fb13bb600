//! Named segments: who may have one, what survives, what is refused.

use std::{fs, time::Duration};

use nix::sys::signal::Signal;

use crate::harness::{Reply, Server, Start, segment_name};

#[test]
fn a_clean_stop_keeps_a_named_segment() {
    let name = segment_name("clean");
    let args = ["--workers", "2", "--segment", &name, "--table", "t:4:n=int"];
    let mut server = Server::start(&args);
    let mut redis = server.redis();
    redis.run("SET k v");
    redis.run("COUNTER.INCR c 3");
    redis.run("TABLE.INCR t a n 7");
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait(Duration::from_secs(15)).and_then(|status| status.code()), Some(0));
    drop(server);
    let server = Server::start(&args);
    let mut redis = server.redis();
    assert_eq!(redis.run("GET k"), Reply::bulk("v"));
    assert_eq!(redis.run("COUNTER.GET c"), Reply::Int(3));
    assert_eq!(redis.run("TABLE.GET t a n"), Reply::Array(vec![Reply::Int(7)]));
}

#[test]
fn a_segment_has_one_master() {
    let name = segment_name("owner");
    let server = Server::start(&["--workers", "2", "--segment", &name]);
    server.redis().run("SET k v");
    let second = Start::new(&["--workers", "2", "--segment", &name]).refused();
    assert_eq!(second.code, Some(2), "{second:?}");
    assert!(second.stderr.contains(&server.pid().to_string()), "the owner's pid is not named: {second:?}");
    let fresh = Start::new(&["--workers", "2", "--segment", &name, "--fresh"]).refused();
    assert_eq!(fresh.code, Some(2), "{fresh:?}");
    assert_eq!(server.redis().run("GET k"), Reply::bulk("v"));
}

#[test]
fn another_geometry_is_refused_until_fresh() {
    let name = segment_name("shape");
    let start = |more: &[&str]| Start::new(&[&["--segment", &name, "--workers", "2"], more].concat());
    let server = start(&[]).server();
    server.redis().run("SET k v");
    server.kill_all();
    for (option, value, field) in
        [("--memory", "96mb", "memory"), ("--counters", "64", "counters"), ("--max-keys", "5000", "max_keys")]
    {
        let refused = start(&[option, value]).refused();
        assert_eq!(refused.code, Some(2), "{option}: {refused:?}");
        let said = refused.stderr.replace('-', "_");
        assert!(said.contains(field) && refused.stderr.contains("--fresh"), "{field} and --fresh: {refused:?}");
    }
    let server = start(&[]).server();
    assert_eq!(server.redis().run("GET k"), Reply::bulk("v"), "a refused start changed the segment");
    server.kill_all();
    let server = start(&["--memory", "96mb", "--fresh"]).server();
    assert_eq!(server.redis().run("GET k"), Reply::Null);
}

#[test]
fn what_is_no_segment_is_refused() {
    let name = segment_name("alien");
    let file = format!("/dev/shm/{name}");
    for bytes in [vec![0; 100], vec![0xff; 1 << 20]] {
        fs::write(&file, &bytes).unwrap();
        let refused = Start::new(&["--workers", "2", "--segment", &name]).refused();
        assert_eq!(refused.code, Some(2), "{} bytes: {refused:?}", bytes.len());
        assert!(fs::read(&file).unwrap() == bytes, "a file that is no segment was written to");
    }
    fs::remove_file(&file).unwrap();
}

#[test]
fn segment_files_are_private() {
    use std::os::unix::fs::PermissionsExt;
    let mode = |name: &str| fs::metadata(format!("/dev/shm/{name}")).unwrap().permissions().mode() & 0o777;
    let name = segment_name("mode");
    let server = Server::start(&["--workers", "1", "--segment", &name]);
    assert_eq!(mode(&name), 0o600);
    drop(server);
    let server = Server::start(&["--workers", "1", "--segment", &name, "--segment-mode", "0660", "--fresh"]);
    assert_eq!(mode(&name), 0o660);
    drop(server);
}

/// A crate that others open shared memory with, and that nobody maintains: it finds our segment by its name.
#[test]
fn a_stranger_opens_the_segment_by_its_name() {
    let name = segment_name("stranger");
    let server = Server::start(&["--workers", "2", "--segment", &name]);
    {
        let memory = shared_memory::ShmemConf::new().os_id(&name).open().expect("the file is there");
        assert_eq!(memory.len(), 64 << 20);
    }
    assert_eq!(server.redis().run("PING"), Reply::Status("PONG".into()));
    assert!(fs::exists(format!("/dev/shm/{name}")).unwrap(), "the stranger took the name away");
}
