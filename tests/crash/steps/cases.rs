//! What is run: every operation on each of its states, in several processes at once.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::ExitCode,
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    sys::wait::{WaitStatus, waitpid},
    unistd::{Pid, pipe},
};
use store_master::sys::process::{Forked, fork};

use super::{
    child::{self, Mailbox},
    kills,
    operations::{OPERATIONS, Operation},
    options::Options,
    report::Report,
    states::State,
    survivor::Meets,
};

/// An operation on a state.
pub(super) struct Case {
    pub(super) operation: &'static Operation,
    pub(super) state: &'static State,
    number: usize,
}

/// Left out of a reduced run: each takes 50,000 instructions and more, most of them to copy and to look around.
const LONG: [&str; 21] = [
    "hash-large-set",
    "hash-large-delete",
    "hash-large-gone",
    "hash-many-new",
    "hash-widest-delete",
    "keys-mset-72",
    "keys-mset-62",
    "mset-64",
    "flush",
    "flush-all",
    "exec-flush",
    "sweep",
    "key-new-tree",
    "block-to-tree",
    "tree-to-block",
    "tree-to-inline",
    "tree-to-tree",
    "key-delete-tree",
    "rename-tree",
    "insert-evicting",
    "set-evicting-any",
];

impl Case {
    pub(super) fn name(&self) -> String {
        format!("{}:{}", self.operation.name, self.state.name)
    }

    fn all() -> Vec<Self> {
        let on_states = |operation: &'static Operation| operation.states.iter().map(move |state| (operation, *state));
        let pairs = OPERATIONS.iter().flat_map(on_states).enumerate();
        pairs.map(|(number, (operation, state))| Self { operation, state, number }).collect()
    }
}

/// The one point that is run.
enum Only {
    /// After this many steps, alone; in recovery from there, after that many.
    Alone(usize, Option<usize>),
    /// Beside this rival.
    Beside(String, usize),
}

impl Only {
    fn parse(text: &str) -> Option<Self> {
        let (first, second) = text.split_once('/').map_or((text, None), |(first, second)| (first, Some(second)));
        let second = second.map(str::parse).transpose().ok()?;
        match first.parse() {
            Ok(point) => Some(Self::Alone(point, second)),
            Err(_) => Some(Self::Beside(first.to_owned(), second?)),
        }
    }
}

/// How many of the points are run.
pub(super) struct Effort {
    points: usize,
    images: usize,
    in_recovery: usize,
    /// Every how many rivals one is taken.
    rivals: usize,
    beside: usize,
    /// Whether two survivors meet each death.
    both: bool,
    only: Option<Only>,
}

impl Effort {
    fn new(options: &Options) -> Self {
        let only = options.point.as_deref().and_then(Only::parse);
        match options.full {
            true => Self { points: 2000, images: 30, in_recovery: 24, rivals: 1, beside: 20, both: true, only },
            false => Self { points: 12, images: 1, in_recovery: 4, rivals: 9, beside: 3, both: false, only },
        }
    }

    /// Whether the operation is killed without a rival.
    pub(super) fn wants_alone(&self) -> bool {
        !matches!(self.only, Some(Only::Beside(..)))
    }

    /// Whether the operation is killed beside this rival.
    pub(super) fn wants_rival(&self, case: &Case, number: usize, name: &str) -> bool {
        match &self.only {
            None => (number + case.number).is_multiple_of(self.rivals),
            Some(Only::Alone(..)) => false,
            Some(Only::Beside(rival, _)) => rival == name,
        }
    }

    /// A choice of the points, spread over all of them.
    pub(super) fn choose(&self, points: Vec<usize>) -> Vec<usize> {
        match self.only {
            Some(Only::Alone(only, _)) => vec![only],
            _ => spread(points, self.points),
        }
    }

    /// A choice of the points beside a rival.
    pub(super) fn choose_beside(&self, points: Vec<usize>) -> Vec<usize> {
        match self.only {
            Some(Only::Beside(_, only)) => vec![only],
            _ => spread(points, self.beside),
        }
    }

    /// From how many of the segments that kills left recovery is killed.
    pub(super) fn images(&self) -> usize {
        self.images
    }

    /// A choice of the points of the recovery of segment number `image`: others for each segment, since the recoveries from one
    /// operation's kills share most of their instructions.
    pub(super) fn choose_in_recovery(&self, image: usize, points: Vec<usize>) -> Vec<usize> {
        if let Some(Only::Alone(_, only)) = self.only {
            return only.into_iter().collect();
        }
        let stride = points.len().div_ceil(self.in_recovery).max(1);
        points.into_iter().skip(image % stride).step_by(stride).collect()
    }

    /// Who meets death number `number` of a case.
    pub(super) fn meets(&self, number: usize) -> Vec<Meets> {
        let first = if number.is_multiple_of(2) { Meets::Recovering } else { Meets::Reading };
        // Repeating tells little of what was found, so it comes on top.
        let repeats = self.both || self.only.is_some() || number.is_multiple_of(3);
        if repeats { vec![first, Meets::Repeating] } else { vec![first] }
    }
}

/// At most `count` of the items, first and last among them.
fn spread<T>(items: Vec<T>, count: usize) -> Vec<T> {
    let len = items.len();
    if len <= count {
        return items;
    }
    let mut chosen = (0..count).map(|i| i * (len - 1) / (count - 1).max(1)).peekable();
    let is_chosen = move |(i, item): (usize, T)| chosen.next_if_eq(&i).map(|_| item);
    items.into_iter().enumerate().filter_map(is_chosen).collect()
}

/// Runs all cases that are asked for; prints what became of them.
pub(super) fn run_all(options: &Options) -> ExitCode {
    let wanted =
        |name: &str| options.only.as_ref().is_none_or(|only| name == only || name.starts_with(&format!("{only}:")));
    let short = |case: &Case| options.full || options.only.is_some() || !LONG.contains(&case.operation.name);
    let cases: Vec<Case> = Case::all().into_iter().filter(|case| wanted(&case.name()) && short(case)).collect();
    let (index, count) = options.shard;
    let cases: Vec<Case> = cases.into_iter().skip(index).step_by(count).collect();
    let mut report = Report::default();
    let workers = start_workers(&cases, options);
    for (pid, mailbox) in workers {
        let ended = waitpid(pid, None).expect("the worker is there");
        report.merge(&mailbox.take());
        if !matches!(ended, WaitStatus::Exited(_, 0)) {
            report.worker_lost(&format!("{ended:?}"));
        }
    }
    report.print(options)
}

/// Starts processes that share the cases: each takes the next one from a pipe.
fn start_workers(cases: &[Case], options: &Options) -> Vec<(Pid, Mailbox)> {
    let (from, to) = pipe().expect("a pipe can be made");
    let queue: Vec<u8> = (0..cases.len() as u16).flat_map(u16::to_ne_bytes).collect();
    File::from(to).write_all(&queue).expect("the queue fits into a pipe");
    let start = |number: usize| {
        let mailbox = Mailbox::new();
        match fork().expect("a process can be forked") {
            Forked::Parent(pid) => (Pid::from_raw(pid.as_raw()), mailbox),
            Forked::Child => {
                store_master::sys::process::end_with_parent().expect("a signal can be asked for");
                work(cases, options, number, from.try_clone().expect("a pipe can be shared"), &mailbox);
                std::process::exit(0)
            }
        }
    };
    (0..options.jobs.min(cases.len())).map(start).collect()
}

fn work(cases: &[Case], options: &Options, number: usize, queue: OwnedFd, mailbox: &Mailbox) {
    child::catch_panics();
    stay_on_one_processor(number);
    // The keys of hash maps are drawn once for each thread: before the first fork, so that all children have the same.
    drop(std::collections::hash_map::RandomState::new());
    let mut lines = String::new();
    let effort = Effort::new(options);
    let mut queue = File::from(queue);
    let mut next = [0; 2];
    while queue.read_exact(&mut next).is_ok() {
        let case = &cases[usize::from(u16::from_ne_bytes(next))];
        let mut report = Report::default();
        kills::run(case, &effort, &mut report);
        lines += &report.print_lines();
        mailbox.put(&lines);
    }
}

/// A stop under `ptrace` takes a third of the time if both sides are on one processor.
fn stay_on_one_processor(number: usize) {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("the processors can be asked for");
    let processors: Vec<usize> = (0..CpuSet::count()).filter(|&cpu| allowed.is_set(cpu) == Ok(true)).collect();
    let mut one = CpuSet::new();
    one.set(processors[number % processors.len()]).expect("the processor exists");
    sched_setaffinity(Pid::from_raw(0), &one).expect("it was allowed");
}
