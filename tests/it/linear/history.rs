//! From logs to histories: one for each object, each put to the checker.

use std::{collections::BTreeMap, fmt::Debug, path::PathBuf, time::Instant};

use super::{
    calls::{Call, Object, Op, Ret, Way},
    checker::{Model, Operation, Verdict, check, explain},
    log::{Log, REFUSED},
    models::{Counter, Register, Row, Rows},
};

/// What was recorded and checked.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    pub(super) histories: usize,
    /// Histories for which the search was given up: with many operations that nobody answered there are too many orders.
    pub(super) undecided: usize,
    pub(super) operations: usize,
    /// Operations without an answer.
    pub(super) unknown: usize,
    /// Operations that were refused, which must have changed nothing.
    pub(super) refused: usize,
    /// Operations that began while another one on the same object was under way.
    pub(super) overlapping: usize,
    pub(super) checked_ms: u128,
}

impl Tally {
    pub(super) fn add(&mut self, other: Self) {
        self.histories += other.histories;
        self.undecided += other.undecided;
        self.operations += other.operations;
        self.unknown += other.unknown;
        self.refused += other.refused;
        self.overlapping += other.overlapping;
        self.checked_ms += other.checked_ms;
    }
}

/// An operation of some model, as it was recorded.
struct Recorded {
    client: usize,
    invoked: u64,
    op: Op,
    answer: Option<(u64, Ret)>,
}

/// Reads the logs of clients that have ended, and checks the histories of all objects.
///
/// # Panics
///
/// If there is a history without an order.
pub(super) fn check_logs(logs: &[PathBuf], seed: u64) -> Tally {
    let mut tally = Tally::default();
    let mut objects: BTreeMap<Object, Vec<Recorded>> = BTreeMap::new();
    let mut ways = Vec::new();
    for (client, path) in logs.iter().enumerate() {
        let (way, records) = Log::open(path).expect("a log").read();
        ways.push(way);
        for record in records {
            let [invoked, answered, ticket, seen, answer @ ..] = record;
            if answered != 0 && answer[0] == REFUSED {
                tally.refused += 1;
                continue;
            }
            let call = Call::of(seed, ticket, way, seen as i64);
            let ret = || Ret::of(answer).unwrap_or_else(|| panic!("{call:?}: no answer is {answer:?}"));
            let answer = (answered != 0).then(|| (answered, ret()));
            tally.operations += 1;
            tally.unknown += usize::from(answer.is_none());
            let recorded = Recorded { client, invoked, op: call.op, answer };
            objects.entry(call.object).or_default().push(recorded);
        }
    }
    tally.histories = objects.len();
    let started = Instant::now();
    for (object, history) in objects {
        tally.overlapping += overlapping(&history);
        tally.undecided += usize::from(!check_object(object, history, &ways));
    }
    tally.checked_ms = started.elapsed().as_millis();
    tally
}

/// How many operations began while another one was under way.
fn overlapping(history: &[Recorded]) -> usize {
    let mut spans: Vec<(u64, u64)> =
        history.iter().filter_map(|recorded| Some((recorded.invoked, recorded.answer.as_ref()?.0))).collect();
    spans.sort_unstable();
    let mut last_answer = 0;
    let mut count = 0;
    for (invoked, answered) in spans {
        count += usize::from(invoked < last_answer);
        last_answer = last_answer.max(answered);
    }
    count
}

/// `ways` are those of the clients. False if the search was given up.
fn check_object(object: Object, history: Vec<Recorded>, ways: &[Way]) -> bool {
    match history.first().map(|recorded| &recorded.op) {
        Some(Op::Register(_)) => check_as::<Register>(object, history, ways, |op| match op {
            Op::Register(op) => Some(op),
            _ => None,
        }),
        Some(Op::Counter(_)) => check_as::<Counter>(object, history, ways, |op| match op {
            Op::Counter(op) => Some(op),
            _ => None,
        }),
        Some(Op::Row(_)) => check_as::<Row>(object, history, ways, |op| match op {
            Op::Row(op) => Some(op),
            _ => None,
        }),
        Some(Op::Rows(_)) => check_as::<Rows>(object, history, ways, |op| match op {
            Op::Rows(op) => Some(op),
            _ => None,
        }),
        None => true,
    }
}

fn check_as<M: Model<Ret = Ret> + Debug>(
    object: Object,
    history: Vec<Recorded>,
    ways: &[Way],
    op: fn(Op) -> Option<M::Op>,
) -> bool {
    let operation = |recorded: Recorded| {
        let op = op(recorded.op).expect("an object follows one model");
        Operation::<M> { client: recorded.client, invoked: recorded.invoked, op, answer: recorded.answer }
    };
    let history: Vec<Operation<M>> = history.into_iter().map(operation).collect();
    match check(&history) {
        Verdict::Linearizable => true,
        Verdict::Wrong => {
            let clients: BTreeMap<usize, Way> = history.iter().map(|op| (op.client, ways[op.client])).collect();
            panic!("{object:?} has no order.\nClients: {clients:?}\n{}", explain(&history))
        }
        Verdict::Undecided => {
            let unanswered = history.iter().filter(|op| op.answer.is_none()).count();
            eprintln!(
                "{object:?}: the search over {} operations, {unanswered} unanswered, was given up",
                history.len()
            );
            false
        }
    }
}
