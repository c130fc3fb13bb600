//! Is there an order? The search of Wing and Gong in Lowe's form, with every configuration remembered.
//!
//! A history is *linearizable* if its operations can be put into one order, in which each takes effect at some moment between its
//! invocation and its answer, so that a plain sequential object (the [`Model`]) gives exactly the answers that were
//! recorded. An operation without an answer (its client died, its connection broke) may have taken effect at any moment
//! after its invocation, or never.
//!
//! The search builds such an order from the front. What may come next: any operation that was invoked before the first answer
//! among those that are not in the order yet. The events of the answered operations form a linked list, from which an operation that joins the order
//! is taken out, so that what may come next always stands in front of the list's first answer. When nothing fits, the last
//! operation goes back and the next one is tried in its place. A configuration, that is the set of operations in
//! the order together with the state of the object, is tried once: what followed from it then follows from it now.
//!
//! Operations without an answer stand apart. They are tried where no answered one fits, and only if they change the
//! state: an order in which one of them changes nothing is as good without it. Nobody needs them, so of two configurations
//! with the same answered operations and the same state, the one that used fewer of them can do whatever the other can: a
//! configuration is not tried if one was that used a part of its unanswered operations. Without that rule each write that was overwritten
//! unseen would double the work.
//!
//! Histories are checked for each object on its own: a history of several objects has an order if each of them has one.

use std::{
    collections::HashMap,
    fmt::{Debug, Write},
    hash::Hash,
    time::{Duration, Instant},
};

/// A sequential object: what everybody believes to talk to.
pub(crate) trait Model {
    type State: Clone + Eq + Hash + Debug + Default;
    type Op: Clone + Debug;
    type Ret: Clone + Eq + Debug;

    /// The state after `op`, and the answer to it.
    fn step(state: &Self::State, op: &Self::Op) -> (Self::State, Self::Ret);

    /// Whether `op` changes no state whatever.
    fn is_read(op: &Self::Op) -> bool;
}

/// One operation of a history. Times are of one clock that all clients share.
pub(crate) struct Operation<M: Model> {
    pub(crate) client: usize,
    pub(crate) invoked: u64,
    pub(crate) op: M::Op,
    /// When it was answered, and what; `None`: nobody knows whether it happened.
    pub(crate) answer: Option<(u64, M::Ret)>,
}

impl<M: Model> Clone for Operation<M> {
    fn clone(&self) -> Self {
        Self { client: self.client, invoked: self.invoked, op: self.op.clone(), answer: self.answer.clone() }
    }
}

/// What the search came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Linearizable,
    Wrong,
    /// The search was given up after [`CONFIGURATIONS`].
    Undecided,
}

/// Configurations that are tried before the search is given up: some seconds, and some hundred megabytes.
const CONFIGURATIONS: usize = 2_000_000;

/// Whether there is an order.
pub(crate) fn check<M: Model>(history: &[Operation<M>]) -> Verdict {
    Search::new(history).run()
}

/// A set of operations.
type Bits = Vec<u64>;

/// Where the search for the next operation goes on.
#[derive(Clone, Copy)]
enum Cursor {
    /// At this event of the list.
    Event(usize),
    /// At this place among the operations without an answer.
    Unanswered(usize),
}

/// An operation that joined the order.
struct Step<S> {
    op: usize,
    /// The state before it.
    before: S,
    /// Where to go on when it leaves the order again.
    next: Cursor,
}

/// An invocation or an answer.
#[derive(Clone, Copy)]
struct Event {
    op: usize,
    at: u64,
    is_answer: bool,
    /// Neighbours in the list; [`END`] and [`HEAD`] beyond its ends.
    next: usize,
    previous: usize,
}

/// The event in front of the first.
const HEAD: usize = 0;
/// Behind the last event.
const END: usize = usize::MAX;

struct Search<'a, M: Model> {
    history: &'a [Operation<M>],
    events: Vec<Event>,
    /// The events of each answered operation.
    places: Vec<(usize, usize)>,
    /// Operations without an answer, by invocation.
    unanswered: Vec<usize>,
    /// The operations in the order: answered ones, and the others.
    answered_in: Bits,
    unanswered_in: Bits,
    /// Answered operations that are not in the order yet.
    left: usize,
    state: M::State,
    steps: Vec<Step<M::State>>,
    /// Answered operations in the order, and the state; for each, the sets of unanswered ones with which that was tried.
    tried: HashMap<(Bits, M::State), Vec<Bits>>,
    configurations: usize,
    /// The longest order from which the search went back.
    longest: Vec<usize>,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(history: &'a [Operation<M>]) -> Self {
        let mut unanswered: Vec<usize> = (0..history.len()).filter(|&op| history[op].answer.is_none()).collect();
        unanswered.sort_by_key(|&op| history[op].invoked);
        let (events, places) = list(history);
        Self {
            history,
            events,
            places,
            left: history.len() - unanswered.len(),
            unanswered,
            answered_in: vec![0; history.len().div_ceil(64)],
            unanswered_in: vec![0; history.len().div_ceil(64)],
            state: M::State::default(),
            steps: Vec::new(),
            tried: HashMap::new(),
            configurations: 0,
            longest: Vec::new(),
        }
    }

    fn run(&mut self) -> Verdict {
        let mut cursor = self.front();
        while self.left > 0 {
            cursor = match self.join_next(cursor) {
                true => self.front(),
                false => match self.step_back() {
                    Some(next) => next,
                    None => return Verdict::Wrong,
                },
            };
            if self.configurations > CONFIGURATIONS {
                return Verdict::Undecided;
            }
        }
        Verdict::Linearizable
    }

    fn front(&self) -> Cursor {
        Cursor::Event(self.events[HEAD].next)
    }

    /// Puts the first operation from `cursor` on that fits behind the order; false if none does.
    fn join_next(&mut self, mut cursor: Cursor) -> bool {
        loop {
            let (op, next) = match cursor {
                Cursor::Event(at) if at == END || self.events[at].is_answer => {
                    cursor = Cursor::Unanswered(0);
                    continue;
                }
                Cursor::Event(at) => (self.events[at].op, Cursor::Event(self.events[at].next)),
                Cursor::Unanswered(at) => match self.unanswered.get(at) {
                    Some(&op) if self.history[op].invoked <= self.first_answer() => (op, Cursor::Unanswered(at + 1)),
                    _ => return false,
                },
            };
            if self.try_join(op, next) {
                return true;
            }
            cursor = next;
        }
    }

    /// When the first answer among the operations that are not in the order was given.
    fn first_answer(&self) -> u64 {
        let mut at = self.events[HEAD].next;
        while at != END && !self.events[at].is_answer {
            at = self.events[at].next;
        }
        if at == END { u64::MAX } else { self.events[at].at }
    }

    fn try_join(&mut self, op: usize, next: Cursor) -> bool {
        let operation = &self.history[op];
        if operation.answer.is_none() && self.unanswered_in[op / 64] & 1 << (op % 64) != 0 {
            return false;
        }
        let (state, ret) = M::step(&self.state, &operation.op);
        let fits = match &operation.answer {
            Some((_, answer)) => *answer == ret,
            None => state != self.state,
        };
        if !fits {
            return false;
        }
        self.flip(op);
        if !self.is_new(&state) {
            self.flip(op);
            return false;
        }
        if operation.answer.is_some() {
            self.take_out(op);
            self.left -= 1;
        }
        self.steps.push(Step { op, before: std::mem::replace(&mut self.state, state), next });
        true
    }

    /// Puts an operation into its set, or takes it out.
    fn flip(&mut self, op: usize) {
        let set = if self.history[op].answer.is_some() { &mut self.answered_in } else { &mut self.unanswered_in };
        set[op / 64] ^= 1 << (op % 64);
    }

    /// Notes the configuration with this state; false if nothing can follow from it that did not follow from one before.
    fn is_new(&mut self, state: &M::State) -> bool {
        let before = self.tried.entry((self.answered_in.clone(), state.clone())).or_default();
        let is_part = |part: &Bits| part.iter().zip(&self.unanswered_in).all(|(part, whole)| part & !whole == 0);
        if before.iter().any(is_part) {
            return false;
        }
        before.push(self.unanswered_in.clone());
        self.configurations += 1;
        true
    }

    /// Takes the last operation out of the order; where to go on, or `None` if the order was empty.
    fn step_back(&mut self) -> Option<Cursor> {
        if self.steps.len() > self.longest.len() {
            self.longest = self.steps.iter().map(|step| step.op).collect();
        }
        let step = self.steps.pop()?;
        self.state = step.before;
        self.flip(step.op);
        if self.history[step.op].answer.is_some() {
            self.put_back(step.op);
            self.left += 1;
        }
        Some(step.next)
    }

    fn take_out(&mut self, op: usize) {
        let (invocation, answer) = self.places[op];
        for at in [invocation, answer] {
            let Event { next, previous, .. } = self.events[at];
            self.events[previous].next = next;
            if next != END {
                self.events[next].previous = previous;
            }
        }
    }

    /// Undoes the last [`Search::take_out`], in reverse.
    fn put_back(&mut self, op: usize) {
        let (invocation, answer) = self.places[op];
        for at in [answer, invocation] {
            let Event { next, previous, .. } = self.events[at];
            self.events[previous].next = at;
            if next != END {
                self.events[next].previous = at;
            }
        }
    }
}

/// The events of the answered operations in the order of time, behind a head. Of one moment invocations come first: what cannot be
/// told apart counts as overlapping.
fn list<M: Model>(history: &[Operation<M>]) -> (Vec<Event>, Vec<(usize, usize)>) {
    let event = |op, at, is_answer| Event { op, at, is_answer, next: END, previous: HEAD };
    let mut events = vec![event(usize::MAX, 0, false)];
    for (op, operation) in history.iter().enumerate() {
        if let Some((answered, _)) = operation.answer {
            events.extend([event(op, operation.invoked, false), event(op, answered, true)]);
        }
    }
    events[1..].sort_by_key(|event| (event.at, event.is_answer));
    let mut places = vec![(END, END); history.len()];
    for at in 0..events.len() {
        events[at].next = if at + 1 < events.len() { at + 1 } else { END };
        events[at].previous = at.saturating_sub(1);
        let Some(place) = places.get_mut(events[at].op) else { continue };
        if events[at].is_answer {
            place.1 = at;
        } else {
            place.0 = at;
        }
    }
    (events, places)
}

/// Operations of the longest order that a report shows.
const SHOWN: usize = 12;

/// How long a report may take to become shorter.
const SHORTENING: Duration = Duration::from_secs(3);

/// A wrong history, told as shortly as it can be.
///
/// It is cut at the first answer with which it is wrong, and the reads before it are left out without which it is still
/// wrong. Both only loosen what an order must satisfy: what is left is wrong by itself.
pub(crate) fn explain<M: Model>(history: &[Operation<M>]) -> String {
    let mut rest = without_bystanders(first_wrong(history));
    rest.sort_by_key(|operation| operation.invoked);
    let mut search = Search::new(&rest);
    search.run();
    let order = search.longest.clone();
    let last_answer = rest.iter().filter_map(|operation| Some(operation.answer.as_ref()?.0)).max().unwrap_or(0);
    let mut text = format!("{} of {} operations are wrong by themselves.\n", rest.len(), history.len());
    let from = order.len().saturating_sub(SHOWN);
    writeln!(text, "The longest order that explains answers is of {}; it ends with", order.len()).ok();
    let mut state = M::State::default();
    for (i, &op) in order.iter().enumerate() {
        state = M::step(&state, &rest[op].op).0;
        if i >= from {
            writeln!(text, "  {}  -> {state:?}", line(&rest[op], last_answer)).ok();
        }
    }
    writeln!(text, "and none of these can follow (times in ns before the answer that is wrong):").ok();
    let left = || rest.iter().enumerate().filter(|(op, _)| !order.contains(op));
    let first_answer = left().filter_map(|(_, operation)| Some(operation.answer.as_ref()?.0)).min().unwrap_or(u64::MAX);
    for (op, operation) in left() {
        let would = M::step(&state, &operation.op).1;
        let late = if operation.invoked > first_answer { ", not before another one is answered" } else { "" };
        writeln!(text, "  [{op}] {}  (the answer would be {would:?}{late})", line(operation, last_answer)).ok();
    }
    text
}

fn line<M: Model>(operation: &Operation<M>, now: u64) -> String {
    let since = |at: u64| now as i128 - i128::from(at);
    let times = match operation.answer {
        Some((answered, _)) => format!("{:>9}..{:<9}", since(operation.invoked), since(answered)),
        None => format!("{:>9}..         ", since(operation.invoked)),
    };
    let answer = operation.answer.as_ref().map_or("no answer".to_owned(), |(_, ret)| format!("{ret:?}"));
    format!("{times} client {:<3} {:?}: {answer}", operation.client, operation.op)
}

/// The history up to the first answer with which it is wrong. What was answered later has no answer yet.
fn first_wrong<M: Model>(history: &[Operation<M>]) -> Vec<Operation<M>> {
    let mut answers: Vec<u64> = history.iter().filter_map(|operation| Some(operation.answer.as_ref()?.0)).collect();
    answers.sort_unstable();
    let until = |end: u64| -> Vec<Operation<M>> {
        let seen = history.iter().filter(|operation| operation.invoked <= end).cloned();
        let cut = |mut operation: Operation<M>| {
            operation.answer = operation.answer.filter(|&(answered, _)| answered <= end);
            operation
        };
        seen.map(cut).collect()
    };
    let sound = answers.partition_point(|&end| check(&until(end)) == Verdict::Linearizable);
    answers.get(sound).map_or_else(|| history.to_vec(), |&end| until(end))
}

/// The history without the answered reads without which it is still wrong; as far as that shows soon.
fn without_bystanders<M: Model>(mut history: Vec<Operation<M>>) -> Vec<Operation<M>> {
    let started = Instant::now();
    for op in (0..history.len()).rev() {
        if M::is_read(&history[op].op) && started.elapsed() < SHORTENING {
            let operation = history.remove(op);
            if check(&history) != Verdict::Wrong {
                history.insert(op, operation);
            }
        }
    }
    history
}
