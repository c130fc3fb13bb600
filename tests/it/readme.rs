//! The tour in the README is real: its commands are run, and must print what stands below them.

use std::fs;

use crate::harness::{Server, run};

/// A command and the lines that the README shows below it.
struct Step {
    command: String,
    output: Vec<String>,
}

fn steps() -> Vec<Step> {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    let tour = text.split("## A tour").nth(1).and_then(|rest| rest.split("\n## ").next()).expect("a tour");
    let mut steps: Vec<Step> = Vec::new();
    for line in tour.lines().filter_map(|line| line.strip_prefix("    ")) {
        match (line.strip_prefix("$ "), steps.last_mut()) {
            (Some(command), _) => steps.push(Step { command: command.to_owned(), output: Vec::new() }),
            (None, Some(step)) => step.output.push(line.to_owned()),
            (None, None) => panic!("output without a command: {line}"),
        }
    }
    steps
}

#[test]
fn the_tour_shows_what_happens() {
    let server = Server::start(&["--workers", "8"]);
    let (http, port) = (server.http().to_string(), server.resp().port().to_string());
    // What a person sees at a terminal, where neither shows its progress or drops its decoration.
    let terminal = "curl() { command curl -s \"$@\"; }; redis-cli() { command redis-cli --no-raw \"$@\"; };";
    let steps = steps();
    assert!(steps.len() > 10, "only {} steps", steps.len());
    let mut victim = None;
    for Step { command, output } in steps {
        let mut command = command.replace("localhost:8080", &http).replace("6380", &port);
        if let Some(pid) = victim.take() {
            assert!(command.starts_with("kill -9 "), "{command}");
            command = format!("kill -9 {pid}");
        }
        let printed = run("bash", &["-c", &format!("{terminal} {command}")]).text().replace('\r', "");
        let printed: Vec<&str> = printed.lines().collect();
        // Which worker answers is not for the README to say.
        match printed.first().and_then(|line| line.strip_prefix("x-store-worker: ")) {
            Some(worker) => victim = worker.split('/').nth(1).map(str::to_owned),
            None => assert_eq!(printed, output, "{command}"),
        }
    }
}
