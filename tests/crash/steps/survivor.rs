//! What a survivor finds: the old state or the new one, everything sound, and a store that works.

use std::time::Duration;

use super::{
    child,
    contents::{self, Look},
    ground::{Context, Ground, Image},
    operations::Operation,
};

/// How long a check waits for the gate, when nobody else is there.
const PATIENCE: Duration = Duration::from_secs(2);

/// A state that may be found after a death, and what becomes of it when the operation is carried out once more.
pub(super) struct Legal {
    snapshots: [String; 2],
    found: String,
    outcome: String,
    then: String,
}

/// How the survivor comes to meet what the dead one left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meets {
    /// It recovers every marked slot, as a worker does when it starts.
    Recovering,
    /// It reads everything.
    Reading,
    /// It does what the dead one did.
    Repeating,
}

/// The states in which a death during the operation may leave the store: after each of its parts.
pub(super) fn legal_states(ground: &mut Ground, context: &Context, operation: &Operation, from: &Image) -> Vec<Legal> {
    let mut legal = Vec::new();
    for parts in 0..=operation.parts {
        ground.restore(from);
        let said = child::run("the reference", || {
            (operation.run)(context, parts);
            let [rows, keys] = snapshots(context);
            let found = read(context, Look::Alone);
            let outcome = (operation.run)(context, operation.parts);
            [rows, keys, found, outcome, read(context, Look::Alone)].join("\x1e")
        });
        let said = said.unwrap_or_else(|error| panic!("{}: {error}", operation.name));
        let mut texts = said.split('\x1e').map(ToOwned::to_owned);
        let mut next = || texts.next().expect("the reference says five things");
        legal.push(Legal { snapshots: [next(), next()], found: next(), outcome: next(), then: next() });
    }
    legal
}

/// Lets a survivor use the store as it is now. The number of the state that it found, from 0 for the old one; or what is wrong.
pub(super) fn survive(
    context: &Context,
    operation: &Operation,
    legal: &[Legal],
    meets: Meets,
) -> Result<usize, String> {
    let said = child::run("the survivor", || match examine(context, operation, legal, meets) {
        Ok(state) => format!("state {state}"),
        Err(error) => error,
    })?;
    match said.strip_prefix("state ").and_then(|state| state.parse().ok()) {
        Some(state) => Ok(state),
        None => Err(said),
    }
}

fn examine(context: &Context, operation: &Operation, legal: &[Legal], meets: Meets) -> Result<usize, String> {
    if meets == Meets::Repeating {
        let outcome = (operation.run)(context, operation.parts);
        let then = settled(context)?;
        let fits = |legal: &Legal| legal.outcome == outcome && legal.then == then;
        return legal.iter().position(fits).ok_or_else(|| illegal("after repeating", &then, &outcome, legal));
    }
    let oldest = if meets == Meets::Reading { read_amid(context, legal)? } else { 0 };
    let found = settled(context)?;
    let state =
        legal.iter().position(|legal| legal.found == found).ok_or_else(|| illegal("found", &found, "", legal))?;
    if oldest > state {
        return Err(format!("state {oldest} was read, and then state {state}"));
    }
    let outcome = (operation.run)(context, operation.parts);
    let then = settled(context)?;
    let fits = |legal: &Legal| legal.found == found && legal.outcome == outcome && legal.then == then;
    if legal.iter().any(fits) { Ok(state) } else { Err(illegal("after repeating", &then, &outcome, legal)) }
}

/// Reads while nothing is recovered yet: snapshots are of a legal state, and all else is of one or another. The state
/// that is surely reached.
fn read_amid(context: &Context, legal: &[Legal]) -> Result<usize, String> {
    let mut reached = 0;
    for (which, seen) in snapshots(context).into_iter().enumerate() {
        let state = legal.iter().position(|legal| legal.snapshots[which] == seen);
        reached = reached.max(state.ok_or_else(|| format!("a snapshot of no legal state:\n{seen}"))?);
    }
    let read = read(context, Look::Amid);
    let is_known = |line: &str| legal.iter().any(|legal| legal.found.lines().any(|known| known == line));
    let is_legal = |line: &&str| is_known(line) || line.starts_with("table ") || line.starts_with("database ");
    match read.lines().find(|line| !is_legal(line)) {
        Some(line) => Err(format!("read of no legal state: {line}")),
        None => Ok(reached),
    }
}

fn snapshots(context: &Context) -> [String; 2] {
    contents::snapshots(&context.store).unwrap_or_else(|error| [error.to_string(), String::new()])
}

pub(super) fn read(context: &Context, look: Look) -> String {
    contents::read(&context.store, look).unwrap_or_else(|error| format!("cannot be read: {error}"))
}

/// The contents, once nothing is left to be recovered; an error if the segment is not sound then.
pub(super) fn settled(context: &Context) -> Result<String, String> {
    context.segment.recover();
    let found = read(context, Look::Alone);
    let verified =
        context.segment.verify(Some(PATIENCE), &mut |_, _| {}).map_err(|error| format!("no check: {error:?}"))?;
    if verified.is_sound() {
        return Ok(found);
    }
    let findings = verified
        .findings
        .iter()
        .map(|finding| format!("    {} {}: {}", finding.kind.name(), finding.place, finding.text));
    Err(format!("not sound:\n{}", findings.collect::<Vec<_>>().join("\n")))
}

fn illegal(what: &str, seen: &str, outcome: &str, legal: &[Legal]) -> String {
    let differences = legal.iter().enumerate().map(|(state, legal)| {
        let expected = if outcome.is_empty() { &legal.found } else { &legal.then };
        let answer = if outcome.is_empty() { String::new() } else { format!(", which answers {}", legal.outcome) };
        format!("    against state {state}{answer}\n{}", contents::difference(expected, seen))
    });
    format!("{what}: no legal state, answer '{outcome}'\n{}", differences.collect::<Vec<_>>().join("\n"))
}
