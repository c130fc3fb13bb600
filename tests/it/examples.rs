//! The programs of `examples`, as a reader would run them, against eight workers.

use std::{
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use crate::harness::{Server, interpreter, python};

/// Longer than this only a hang takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn server() -> Server {
    Server::start(&["--workers", "8"])
}

/// What an example prints.
fn printed(script: &str) -> String {
    let server = server();
    let port = server.resp().port().to_string();
    let out = python(&format!("examples/{script}"), &["--port", &port]);
    assert_eq!(out.code, Some(0), "{}\n{}", out.stdout, out.stderr);
    out.stdout
}

#[test]
fn the_rate_limiter_allows_exactly_its_limit() {
    assert_eq!(printed("rate_limiter.py"), "4 processes made 300 requests, 100 were allowed\n");
}

#[test]
fn the_session_store_keeps_prolongs_and_ends_sessions() {
    let lines = "alice has [7, 9] after visit 3\nexpires in 1800 s unless it is used\nafter logout: None\n";
    assert_eq!(printed("session_store.py"), lines);
}

#[test]
fn feature_flags_are_read_from_memory_until_they_change() {
    assert_eq!(printed("feature_flags.py"), "10000 questions, 0 requests\nthe change has arrived\n");
}

#[test]
fn the_lock_has_one_holder_at_a_time() {
    assert_eq!(printed("lock.py"), "4 processes added 100 in turns, the balance is 100\n");
}

/// Somebody in a chat.
struct Talker {
    child: Child,
    mouth: Option<ChildStdin>,
    ears: Receiver<String>,
}

impl Talker {
    fn join(port: &str, name: &str) -> Self {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples/chat.py");
        let mut command = Command::new(interpreter());
        command.arg(script).args(["kitchen", name, "--port", port]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("Python is there; scripts/test installs it");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (to, ears) = channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| to.send(line)));
        Self { mouth: child.stdin.take(), child, ears }
    }

    fn hears(&self) -> String {
        self.ears.recv_timeout(PATIENCE).expect("a line is printed")
    }

    fn says(&mut self, line: &str) {
        writeln!(self.mouth.as_mut().unwrap(), "{line}").unwrap();
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[test]
fn everybody_in_the_chat_hears_everybody() {
    let server = server();
    let port = server.resp().port().to_string();
    let mut talkers: Vec<Talker> = Vec::new();
    for (index, name) in ["ann", "bob", "cem"].iter().enumerate() {
        talkers.push(Talker::join(&port, name));
        assert_eq!(talkers[index].hears(), format!("* {} in the room", index + 1));
    }
    talkers[0].says("good morning");
    talkers[0].says("is there coffee?");
    for talker in &talkers {
        assert_eq!([talker.hears(), talker.hears()], ["ann: good morning", "ann: is there coffee?"]);
    }
    talkers[2].says("nearly");
    assert!(talkers.iter().all(|talker| talker.hears() == "cem: nearly"));
    let ann = &mut talkers[0];
    drop(ann.mouth.take());
    assert!(ann.child.wait().unwrap().success(), "the end of the input leaves the room");
}
