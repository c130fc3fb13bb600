//! What became of all kills: tallies for each case, failures in full, and the verdict.
#![expect(clippy::print_stdout, reason = "this is the program that the user reads")]

use std::{collections::BTreeMap, process::ExitCode};

use super::{cases::Case, options::Options};

/// What was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// The operation.
    Operation,
    /// Recovery after a kill.
    Recovery,
    /// The operation, beside a rival.
    Rival,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Operation, Self::Recovery, Self::Rival];

    fn name(self) -> &'static str {
        match self {
            Self::Operation => "operation",
            Self::Recovery => "recovery",
            Self::Rival => "rival",
        }
    }
}

/// What became of the kills of a case.
#[derive(Default, Clone, Copy)]
struct Tally {
    runs: usize,
    instructions: usize,
    points: usize,
    old: usize,
    new: usize,
    otherwise: usize,
    /// Kills at a place that was not quite the recorded one.
    inexact: usize,
}

impl Tally {
    fn numbers(&self) -> [usize; 7] {
        [self.runs, self.instructions, self.points, self.old, self.new, self.otherwise, self.inexact]
    }

    fn add(&mut self, other: [usize; 7]) {
        let [runs, instructions, points, old, new, otherwise, inexact] = other;
        self.runs += runs;
        self.instructions += instructions;
        self.points += points;
        self.old += old;
        self.new += new;
        self.otherwise += otherwise;
        self.inexact += inexact;
    }
}

/// Failures of one case that are told in full.
const TOLD: usize = 3;

#[derive(Default)]
pub(super) struct Report {
    tallies: BTreeMap<(String, Kind), Tally>,
    lost: usize,
}

impl Report {
    fn tally(&mut self, case: &Case, kind: Kind) -> &mut Tally {
        self.tallies.entry((case.name(), kind)).or_default()
    }

    /// A run of this many instructions was recorded.
    pub(super) fn recorded(&mut self, case: &Case, kind: Kind, instructions: usize) {
        let tally = self.tally(case, kind);
        tally.runs += 1;
        tally.instructions += instructions;
    }

    /// A process was killed, and this is what the survivors found.
    pub(super) fn killed(
        &mut self,
        case: &Case,
        kind: Kind,
        point: &str,
        rip: u64,
        exact: bool,
        found: Result<usize, String>,
    ) {
        let tally = self.tally(case, kind);
        tally.points += 1;
        tally.inexact += usize::from(!exact);
        match found {
            Ok(0) => tally.old += 1,
            Ok(_) => tally.new += 1,
            Err(error) => {
                tally.otherwise += 1;
                if tally.otherwise <= TOLD {
                    let name = case.name();
                    println!("FAILED {name} {} at {point}, before {}\n  {error}", kind.name(), place(rip));
                    println!("  again: cargo test --release --test crash -- steps --full --only {name}@{point}");
                }
            }
        }
    }

    /// One line for each case and kind: case, kind, runs, instructions, points, old, new, otherwise, inexact.
    /// Printed at once, and returned for [`Report::merge`].
    pub(super) fn print_lines(&self) -> String {
        let line = |((name, kind), tally): (&(String, Kind), &Tally)| {
            let numbers = tally.numbers().map(|number| number.to_string()).join(" ");
            format!("tally {name} {} {numbers}\n", kind.name())
        };
        let lines: String = self.tallies.iter().map(line).collect();
        print!("{lines}");
        lines
    }

    /// Adds the lines of another report.
    pub(super) fn merge(&mut self, lines: &str) {
        for line in lines.lines() {
            let words: Vec<&str> = line.split(' ').collect();
            let kind = Kind::ALL.into_iter().find(|kind| words.get(2) == Some(&kind.name()));
            let numbers: Vec<usize> = words.iter().skip(3).filter_map(|word| word.parse().ok()).collect();
            match (words.get(1), kind, <[usize; 7]>::try_from(numbers)) {
                (Some(name), Some(kind), Ok(numbers)) => {
                    self.tallies.entry(((*name).to_owned(), kind)).or_default().add(numbers);
                }
                _ => self.worker_lost(&format!("a line that is none: '{line}'")),
            }
        }
    }

    /// A process of the harness itself has failed.
    pub(super) fn worker_lost(&mut self, why: &str) {
        println!("FAILED the harness itself: {why}");
        self.lost += 1;
    }

    /// Prints all tallies, and says whether all is well.
    pub(super) fn print(&self, options: &Options) -> ExitCode {
        let mut totals = [Tally::default(); 3];
        let mut operations: BTreeMap<&str, [Tally; 3]> = BTreeMap::new();
        for ((name, kind), tally) in &self.tallies {
            let operation = name.split(':').next().unwrap_or(name);
            operations.entry(operation).or_default()[*kind as usize].add(tally.numbers());
            totals[*kind as usize].add(tally.numbers());
        }
        println!("\nKilled: kill points, then how many ended in the old state, in the new one, and otherwise.\n");
        println!(
            "{:<20} {:^31} {:^31} {:^31}",
            "", "the operation", "recovery after it", "the operation beside a rival"
        );
        operations.iter().for_each(|(name, tallies)| row(name, tallies));
        println!();
        row("all", &totals);
        let sum = |number: fn(&Tally) -> usize| totals.iter().map(number).sum::<usize>();
        let (points, otherwise, inexact) = (sum(|t| t.points), sum(|t| t.otherwise), sum(|t| t.inexact));
        println!("{points} kill points, {otherwise} ended otherwise; {inexact} were not met exactly as recorded");
        let enough = points >= options.least_points();
        if !enough {
            println!("FAILED: fewer than {} kill points", options.least_points());
        }
        if enough && otherwise == 0 && self.lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn row(name: &str, tallies: &[Tally; 3]) {
    let columns = tallies
        .map(|Tally { points, old, new, otherwise, .. }| format!("{points:>8} {old:>8} {new:>8} {otherwise:>4}"));
    println!("{name:<20} {}", columns.join(" "));
}

/// An address as an offset in the program or library that it lies in: what `addr2line` takes.
fn place(rip: u64) -> String {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let mut first = BTreeMap::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let range = words.next().and_then(|range| range.split_once('-'));
        let Some((start, end)) = range.and_then(|(start, end)| Some((hex(start)?, hex(end)?))) else {
            continue;
        };
        let file = words.nth(4).unwrap_or("nowhere").to_owned();
        let base = *first.entry(file.clone()).or_insert(start);
        if (start..end).contains(&rip) {
            return format!("{:#x} of {file}", rip - base);
        }
    }
    format!("{rip:#x}")
}

fn hex(text: &str) -> Option<u64> {
    u64::from_str_radix(text, 16).ok()
}
