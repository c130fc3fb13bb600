//! `store-master check`: on a server under load, on what a `kill -9` of everything left, on damaged segments, on what is none, and
//! beside somebody who is stopped.

use std::{
    fs::{self, OpenOptions},
    os::unix::fs::FileExt,
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    harness::{Output, Random, Reply, Server, run, segment_name},
    load::{HANG, Load, TABLES, audit, total},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_store-master");

/// A segment's file, removed at the end of the test.
struct File(String);

impl Drop for File {
    fn drop(&mut self) {
        fs::remove_file(&self.0).ok();
    }
}

fn file_of(segment: &str) -> File {
    File(format!("/dev/shm/{segment}"))
}

/// Runs `store-master check` to its end; the variables of a server must not matter to it.
fn check(segment: &str, more: &[&str]) -> Output {
    let variables = ["STORE_MASTER_WORKERS=nonsense", "STORE_MASTER_SEGMENT=another", "STORE_MASTER_CONFIG=/nowhere"];
    run("env", &[&variables[..], &[PROGRAM, "check", "--segment", segment], more].concat())
}

/// Checks with `--json`; the exit code and the object.
fn report(segment: &str, more: &[&str]) -> (i32, Value) {
    let output = check(segment, &[&["--json"], more].concat());
    let code = output.code.expect("it ends by itself");
    let object: Value = serde_json::from_str(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert_eq!(output.stdout.lines().count(), 1, "{output:?}");
    assert!(code == 2 || object["busy"] == true || output.stderr.is_empty(), "no progress into a pipe: {output:?}");
    (code, object)
}

#[test]
fn a_server_under_load_is_sound_and_goes_on() {
    let name = segment_name("check-live");
    let server = Server::start(&[&["--workers", "4", "--segment", &name], &TABLES[..]].concat());
    let load = Load::start(&server, HANG, 0);
    for _ in 0..8 {
        let before = load.answers();
        let (code, seen) = report(&name, &["--wait", "20"]);
        assert_eq!((code, &seen["sound"], &seen["found"]), (0, &Value::Bool(true), &Value::from(0)), "{seen}");
        assert_eq!(seen["state"], "in_use");
        assert!(crate::harness::wait_until(HANG, || load.answers() > before + 50), "the load does not go on");
        assert!(load.healthy(), "a client gave up");
    }
    let books = load.finish();
    assert_eq!(books.broken, 0, "a check broke a connection");
    audit(&server, &books, 0);
    let seen = report(&name, &[]).1;
    assert_eq!((&seen["tables"], &seen["counters"]), (&Value::from(3), &Value::from(1)), "{seen}");
    assert!(seen["keys"].as_u64() > Some(0) && seen["rows"].as_u64() > Some(0) && seen["pages"].as_u64() > Some(0));
    let text = check(&name, &[]).text();
    assert!(text.starts_with(&format!("segment '{name}' (in use, master pid {}): sound\n", server.pid())), "{text}");
}

#[test]
fn what_a_kill_of_everything_leaves_is_sound() {
    let name = segment_name("check-left");
    let args = [&["--workers", "4", "--segment", &name], &TABLES[..]].concat();
    let mut from = 0;
    for round in 0..4 {
        let server = Server::start(&args);
        let before = total(&server);
        let load = Load::start(&server, HANG, from);
        thread::sleep(Duration::from_millis(500 + 111 * round));
        load.expect_the_end();
        server.kill_all();
        let books = load.finish();
        from = books.written.iter().map(|written| written.sent).max().unwrap();
        let (code, seen) = report(&name, &[]);
        assert_eq!((code, &seen["sound"], &seen["state"]), (0, &true.into(), &"left_behind".into()), "{seen}");
        assert!(seen["recovered"].as_u64() >= Some(1), "{seen}");
        let again = report(&name, &[]).1;
        assert_eq!((&again["recovered"], &again["keys"]), (&Value::from(0), &seen["keys"]), "{again}");
        // The check is no reason not to start, and it lost nothing.
        let server = Server::start(&args);
        audit(&server, &books, before);
        if round < 3 {
            server.kill_all();
        }
    }
}

/// Fills a small segment and leaves it behind.
fn left_behind(test: &str) -> String {
    let name = segment_name(test);
    let args = ["--workers", "1", "--memory", "16mb", "--counters", "64", "--segment", &name, "--table", "t:500:n=int"];
    let server = Server::start(&args);
    let mut redis = server.redis();
    for i in 0..400 {
        redis.run(&format!("TABLE.SET t row{i} n {i}"));
        redis.run(&format!("SET key{i} {}", "v".repeat(i)));
    }
    (0..40).for_each(|i| drop(redis.run(&format!("COUNTER.INCR c{i}"))));
    server.kill_all();
    name
}

#[test]
fn damage_is_reported_and_never_the_end_of_the_check() {
    let name = left_behind("check-damage");
    let path = file_of(&name);
    assert_eq!(report(&name, &[]).0, 0);
    let pristine = fs::read(&path.0).unwrap();
    let file = OpenOptions::new().write(true).open(&path.0).unwrap();
    let mut random = Random::new();
    let (mut found, mut refused) = (0, 0);
    // Where something lies: zeros are damaged too, but less often.
    let used: Vec<usize> = (0..pristine.len() / 64).filter(|at| pristine[at * 64..at * 64 + 64] != [0; 64]).collect();
    for round in 0..150 {
        let at = match round % 5 {
            0 => random.below(pristine.len() / 64) * 64,
            _ => used[random.below(used.len())] * 64,
        };
        let len = [8, 64, 4096][round % 3].min(pristine.len() - at);
        let garbage: Vec<u8> = (0..len).map(|_| random.below(256) as u8).collect();
        file.write_all_at(&garbage, at as u64).unwrap();
        let (code, seen) = report(&name, &["--wait", "1"]);
        match code {
            0 => assert_eq!(seen["found"], 0),
            1 if seen["busy"] == true => {}
            1 => {
                found += 1;
                let findings = seen["findings"].as_array().unwrap();
                let first = &findings[0];
                assert!(["kind", "place", "text"].iter().all(|field| first[field].is_string()), "{first}");
            }
            2 => refused += 1,
            other => panic!("exit code {other} after {len} bytes at {at}: {seen}"),
        }
        file.write_all_at(&pristine, 0).unwrap();
    }
    eprintln!("{found} found, {refused} refused");
    assert!(found > 40, "of 150 damages {found} were found and {refused} refused");
    assert_eq!(report(&name, &[]).0, 0);
}

#[test]
fn findings_are_told_in_words() {
    let name = left_behind("check-words");
    let path = file_of(&name);
    let pristine = fs::read(&path.0).unwrap();
    // Wherever the text of a key stands first: in its row.
    let at = pristine.windows(5).position(|bytes| bytes == b"row77").unwrap();
    OpenOptions::new().write(true).open(&path.0).unwrap().write_all_at(b"R", at as u64).unwrap();
    let output = check(&name, &[]);
    assert_eq!(output.code, Some(1), "{output:?}");
    assert!(
        output.stdout.contains("(left behind): ") && output.stdout.contains("  table t (tag_wrong): place "),
        "{output:?}"
    );
    let (code, seen) = report(&name, &[]);
    assert_eq!((code, &seen["sound"]), (1, &Value::Bool(false)));
    assert_eq!((&seen["findings"][0]["kind"], &seen["findings"][0]["place"]), (&"tag_wrong".into(), &"table t".into()));
}

#[test]
fn what_is_no_segment_is_refused_and_left_alone() {
    let name = segment_name("check-none");
    let (code, seen) = report(&name, &[]);
    assert_eq!((code, &seen["busy"]), (2, &Value::Bool(false)), "{seen}");
    assert!(seen["error"].as_str().unwrap().contains("there is no segment"), "{seen}");
    let path = file_of(&name);
    assert!(!fs::exists(&path.0).unwrap(), "a check made a segment");
    for bytes in [vec![], vec![0; 100], vec![0; 1 << 20], vec![0xff; 1 << 20]] {
        fs::write(&path.0, &bytes).unwrap();
        let output = check(&name, &[]);
        assert_eq!((output.code, output.stdout.as_str()), (Some(2), ""), "{output:?}");
        assert!(output.stderr.contains("is not a segment"), "{output:?}");
        assert!(fs::read(&path.0).unwrap() == bytes, "a file that is no segment was written to");
    }
    for name in ["", "../etc/passwd", ".hidden"] {
        assert_eq!(check(name, &[]).code, Some(2));
    }
}

#[test]
fn bad_usage_is_told() {
    for args in
        [&["check"] as &[&str], &["check", "--segment"], &["check", "--segment", "a", "--wait", "-1"], &["verify"]]
    {
        let output = run(PROGRAM, args);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.starts_with("error: ") && output.stderr.contains("--help"), "{output:?}");
    }
    let help = run(PROGRAM, &["check", "--help"]).text();
    assert!(help.contains("--json") && help.contains("--wait") && help.contains("Exit codes:"), "{help}");
    assert!(run(PROGRAM, &["--help"]).text().contains("check --segment NAME"));
}

/// A library process that attaches behind the check's back keeps working on the same segment.
#[test]
fn a_start_waits_for_nobody_who_has_checked() {
    let name = left_behind("check-start");
    assert_eq!(report(&name, &[]).0, 0);
    let args = ["--workers", "1", "--memory", "16mb", "--counters", "64", "--segment", &name];
    let server = Server::start(&args);
    assert_eq!(server.redis().run("TABLE.GET t row7 n"), Reply::Array(vec![Reply::Int(7)]));
    assert_eq!(report(&name, &[]).1["state"], "in_use");
}

#[cfg(feature = "crash-points")]
mod stopped {
    //! Somebody is stopped where the check cannot pass: it says who, and goes through once they go on or die.

    use std::process::{Child, Command};

    use nix::{
        sys::{
            signal::Signal,
            wait::{WaitPidFlag, WaitStatus, waitpid},
        },
        unistd::Pid,
    };

    use super::{check, report};
    use crate::harness::{Server, segment_name, signal, wait_until};

    /// A process that stops itself at `point` of `operation`.
    fn stop_at(segment: &str, operation: &str, point: &str) -> Child {
        let child = Command::new(env!("CARGO_BIN_EXE_stopper"))
            .args([segment, operation])
            .env("STORE_MASTER_STOP_AT", point)
            .spawn()
            .expect("the process starts");
        let flags = WaitPidFlag::WUNTRACED | WaitPidFlag::WNOHANG;
        let stopped = || {
            let status = waitpid(Pid::from_raw(child.id() as i32), Some(flags)).expect("it is a child");
            assert!(!matches!(status, WaitStatus::Exited(..)), "{operation} does not come to {point}");
            matches!(status, WaitStatus::Stopped(..))
        };
        assert!(wait_until(std::time::Duration::from_secs(20), stopped), "it neither stops nor ends");
        child
    }

    #[test]
    fn who_is_stopped_is_named() {
        let name = segment_name("check-stopped");
        let table = "t:64:a=int,b=int,text=string(40)";
        let server = Server::start(&["--workers", "2", "--segment", &name, "--lock-wait", "300", "--table", table]);
        for (operation, point, has_gate) in [
            ("row-insert", "committed", false),
            ("key-insert", "block-taken", false),
            ("table-drop", "committed", true),
        ] {
            for ending in [Signal::SIGCONT, Signal::SIGKILL] {
                server.redis().run("DEL key");
                server.redis().run("TABLE.DEL t row");
                server.redis().run("TABLE.MAKE t 64 a int b int text string 40");
                let mut child = stop_at(&name, operation, point);
                let (code, seen) = report(&name, &["--wait", "1"]);
                assert_eq!((code, &seen["busy"]), (1, &true.into()), "{operation}: {seen}");
                let holders = seen["holders"].as_array().unwrap();
                assert_eq!(holders.len(), 1, "{seen}");
                assert_eq!((&holders[0]["pid"], &holders[0]["has_gate"]), (&child.id().into(), &has_gate.into()));
                let told = check(&name, &["--wait", "0"]);
                let who = format!("pid {} (stopper, stopped)", child.id());
                assert!(told.code == Some(1) && told.stderr.contains(&who), "{told:?}");
                assert!(told.stderr.contains("busy") && told.stdout.is_empty(), "{told:?}");
                signal(child.id() as i32, ending);
                child.wait().unwrap();
                let (code, seen) = report(&name, &["--wait", "10"]);
                assert_eq!((code, &seen["sound"]), (0, &true.into()), "{operation}, {ending}: {seen}");
            }
        }
    }
}
