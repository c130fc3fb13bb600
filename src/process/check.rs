//! `store-master check`: a segment looked at from end to end, and the report of it.
//!
//! The report goes to standard output, as text or as one JSON object; a progress bar goes to standard error if that is a terminal.
//! Nothing here knows what makes a segment sound: [`Segment::verify`] does.

use std::{
    fs,
    io::{self, Write},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::Failure;
use crate::shm::{Finding, Holder, Refusal, Segment, Verification};

/// Findings that the text names; JSON has up to a thousand.
const SHOWN: usize = 20;

/// Checks the segment of this name and writes the report; whether it is sound.
///
/// # Errors
///
/// [`Failure::Refused`] if there is no such segment, or none that this program can read; [`Failure::Failed`] if
/// somebody inside an operation did not come out within `wait`.
pub fn check(name: &str, json: bool, wait: Duration) -> Result<bool, Failure> {
    let outcome = inspect(name, wait);
    let text = match &outcome {
        Ok(report) if json => report.json(),
        Ok(report) => report.text(),
        Err(refused) if json => refused.json(name),
        Err(_) => String::new(),
    };
    // Whoever closed standard output does not want the report; the exit code says enough.
    let _ = io::stdout().write_all(text.as_bytes());
    outcome.map(|report| report.seen.is_sound()).map_err(|refused| refused.failure)
}

/// A check that came to its end.
struct Report {
    name: String,
    left_behind: bool,
    master: u64,
    took: Duration,
    seen: Verification,
}

/// A check that did not.
struct Refused {
    failure: Failure,
    /// Those who did not let go.
    holders: Vec<Holder>,
}

fn inspect(name: &str, wait: Duration) -> Result<Report, Refused> {
    let start = Instant::now();
    let (segment, inherited) = Segment::inspect(name)
        .map_err(|error| Refused { failure: Failure::Refused(error.to_string()), holders: Vec::new() })?;
    // What recovery found before the gate was closed counts as well.
    let bar = progress_bar();
    let mut progress = |done, of| {
        bar.set_length(of);
        bar.set_position(done);
    };
    let seen = segment.verify(Some(wait), &mut progress);
    bar.finish_and_clear();
    let mut seen = seen.map_err(|refusal| busy(name, refusal, segment.holders(), wait))?;
    seen.recovered += inherited.unwrap_or_default() as u64;
    Ok(Report {
        name: name.to_owned(),
        left_behind: inherited.is_some(),
        master: segment.master(),
        took: start.elapsed(),
        seen,
    })
}

/// A bar on a terminal, nothing elsewhere.
fn progress_bar() -> ProgressBar {
    let style = ProgressStyle::with_template("checking {wide_bar} {percent:>3} %  {eta}");
    let bar = ProgressBar::new(0);
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn busy(name: &str, refusal: Refusal, holders: Vec<Holder>, wait: Duration) -> Refused {
    let who: Vec<String> = holders.iter().map(describe).collect();
    let who = match who.as_slice() {
        [] => format!("no slot could be had for it ({refusal:?})"),
        who => format!("waiting for {}", who.join(", ")),
    };
    let failure = format!("segment '{name}' is busy and was not checked: {who}, for {} s", wait.as_secs());
    Refused { failure: Failure::Failed(failure), holders }
}

/// A process as people know it: its id, name and state.
fn describe(holder: &Holder) -> String {
    let what = if holder.has_gate { "has the gate" } else { "is inside an operation" };
    format!("pid {} ({}), which {what}", holder.pid, state_of(holder.pid))
}

/// Name and state of a process, from the text of `/proc/PID/stat`: `PID (NAME) STATE ...`.
fn state_of(pid: u32) -> String {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let parts = stat.split_once('(').and_then(|(_, rest)| rest.rsplit_once(')'));
    match parts {
        Some((name, rest)) => {
            let state = match rest.trim_start().chars().next() {
                Some('T' | 't') => "stopped",
                Some('Z' | 'X') => "dead",
                _ => "running",
            };
            format!("{name}, {state}")
        }
        None => "not to be seen from here".to_owned(),
    }
}

impl Refused {
    fn json(&self, name: &str) -> String {
        let holder = |holder: &Holder| json!({"slot": holder.slot, "pid": holder.pid, "has_gate": holder.has_gate});
        let holders: Vec<Value> = self.holders.iter().map(holder).collect();
        let busy = matches!(self.failure, Failure::Failed(_));
        line(&json!({"segment": name, "busy": busy, "error": self.failure.to_string(), "holders": holders}))
    }
}

impl Report {
    fn json(&self) -> String {
        let seen = &self.seen;
        line(&json!({
            "segment": self.name,
            "state": if self.left_behind { "left_behind" } else { "in_use" },
            "busy": false,
            "sound": seen.is_sound(),
            "found": seen.found,
            "findings": seen.findings.iter().map(finding).collect::<Vec<_>>(),
            "tables": seen.tables,
            "rows": seen.rows,
            "keys": seen.keys,
            "counters": seen.counters,
            "blocks": seen.blocks,
            "pages": seen.pages,
            "recovered": seen.recovered,
            "overflow_high": seen.overflow_high,
            "hidden_pages": seen.hidden_pages,
            "seconds": self.took.as_secs_f64(),
        }))
    }

    fn text(&self) -> String {
        let seen = &self.seen;
        let state =
            if self.left_behind { "left behind".to_owned() } else { format!("in use, master pid {}", self.master) };
        let verdict = match seen.found {
            0 => "sound".to_owned(),
            1 => "1 finding".to_owned(),
            found => format!("{found} findings"),
        };
        let mut text = format!(
            "segment '{}' ({state}): {verdict}\n  \
             {} rows in {} tables, {} keys, {} counters; {} blocks, {} pages; checked in {:.1} s\n",
            self.name,
            seen.rows,
            seen.tables,
            seen.keys,
            seen.counters,
            seen.blocks,
            seen.pages,
            self.took.as_secs_f64()
        );
        if seen.recovered > 0 {
            text += &format!("  recovered what {} dead had left\n", seen.recovered);
        }
        seen.findings.iter().take(SHOWN).for_each(|finding| text += &format!("  {finding}\n"));
        if seen.found > SHOWN as u64 {
            text += &format!("  and {} more\n", seen.found - SHOWN as u64);
        }
        text
    }
}

fn finding(finding: &Finding) -> Value {
    json!({"kind": finding.kind.name(), "place": finding.place, "number": finding.number, "text": finding.text})
}

fn line(value: &Value) -> String {
    format!("{value}\n")
}
