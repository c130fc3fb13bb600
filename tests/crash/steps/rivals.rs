//! A rival that is alive, and stands in the middle of something while the operation is killed.
//!
//! Stepping one process alone shows no race. So the operation is killed once more beside each of these rivals: one that waits for
//! what the dead one holds, asleep; one that has taken a block and shown it to nobody; one that is just about to take a lock,
//! and one that has computed by then what it will write; one that has committed and not carried out; one that has chosen a key that is
//! to go, and one that has committed that; a reader in the middle; a closer of the gate, before and behind it.
//!
//! While the rival stands still, a survivor with little patience does what the dead one did, or looks at everything, or is told
//! `Busy`. Then the rival goes on and must come to its end. What is found after that must be what some order of all this
//! leads to: the rival's operation once, the dead one's once or not at all, the survivor's if it was not told `Busy`, all with the
//! answers that were given.

use std::{fs, time::Duration};

use nix::unistd::Pid;
use shm_layout::{
    header::Header,
    heap::block,
    slot::{Journal, Slot, journal},
};
use store_master::store::{Error, MemoryLimit, Policy, SetOptions, ValueRef};

use super::{
    cases::{Case, Effort},
    child::{self, Mailbox},
    contents::{self, Look},
    ground::{Context, Ground, Image},
    operations::{Subject, said},
    report::{Kind, Report},
    survivor::{read, settled},
    trace::{Change, Trace},
    tracer::{Stop, Traced},
};

/// How long those wait who might have to wait for the rival.
const PATIENCE: Duration = Duration::from_millis(4);
/// Looks at a rival that is to fall asleep, and the pause between two.
const LOOKS: usize = 30;
const LOOK_PAUSE: Duration = Duration::from_micros(100);

/// Where a rival stands.
#[derive(Clone, Copy)]
enum Park {
    /// Asleep, or as far as it comes, after the operation has come to its point.
    Asleep,
    /// Just behind the first change of this kind.
    Behind(fn(&Ground, &Change) -> bool),
    /// When this share of its instructions is done, in per cent.
    Share(usize),
}

/// A rival.
struct Rival {
    name: &'static str,
    park: Park,
    run: fn(&Context, Subject) -> String,
}

static RIVALS: &[Rival] = &[
    Rival { name: "waiter", park: Park::Asleep, run: write_the_same },
    Rival { name: "gate-waiter", park: Park::Asleep, run: use_gate },
    Rival { name: "block-holder", park: Park::Behind(takes_block), run: take_block },
    Rival { name: "before-lock", park: Park::Behind(names_lock), run: write_the_same },
    Rival { name: "optimist", park: Park::Behind(names_lock), run: append_to_number },
    Rival { name: "committed", park: Park::Behind(commits), run: write_the_same },
    Rival { name: "evictor", park: Park::Behind(names_lock), run: evict },
    Rival { name: "evicted", park: Park::Behind(commits), run: evict },
    Rival { name: "reader", park: Park::Share(40), run: read_the_same },
    Rival { name: "late-reader", park: Park::Share(70), run: read_the_same },
    Rival { name: "gate-closer", park: Park::Behind(marks_gate), run: use_gate },
    Rival { name: "gate-owner", park: Park::Behind(closes_gate), run: use_gate },
];

/// Writes to what the operations write to, in one atomic step.
fn write_the_same(context: &Context, subject: Subject) -> String {
    match subject {
        Subject::Rows => {
            let cells = || vec![(1, ValueRef::Int(100)), (3, ValueRef::Bytes(b"rival"))];
            said(context.table().mset(&[(b"a", cells()), (b"new", cells())]))
        }
        Subject::Counters => said(context.store.counter("new").and_then(|counter| counter.add(100))),
        Subject::Keys => {
            let value: &[u8] = &[b'r'; 100];
            said(context.store.kv().mset(0, &[(b"small", value), (b"block", value), (b"new", value)], false))
        }
    }
}

/// Reads what the operations write to, as of one instant.
fn read_the_same(context: &Context, subject: Subject) -> String {
    match subject {
        Subject::Rows => said(context.table().mget(&[b"a", b"new"]).map(|rows| {
            let shown = rows.iter().map(|row| row.as_ref().map_or_else(String::new, contents::cells));
            shown.collect::<Vec<_>>()
        })),
        Subject::Counters => said(context.store.counter("c").and_then(|counter| counter.get())),
        Subject::Keys => said(context.store.kv().mget(0, &[b"small", b"block", b"new"])),
    }
}

/// Computes a value from one that it has read before it takes the lock.
fn append_to_number(context: &Context, _: Subject) -> String {
    said(context.store.kv().append(0, b"number", b"0", 100))
}

fn take_block(context: &Context, _: Subject) -> String {
    said(context.store.kv().set(0, b"rival", &[b'r'; 1000], SetOptions::default()))
}

/// Evicts whatever expires. That nothing is below the limit afterwards is no news.
fn evict(context: &Context, _: Subject) -> String {
    let (bytes, policy) = (1, Policy::VolatileTtl);
    context.store.set_memory_limit(MemoryLimit { bytes, policy, ..MemoryLimit::default() });
    match context.store.make_room() {
        Err(Error::Busy) => said(Err::<(), _>(Error::Busy)),
        Ok(()) | Err(_) => String::new(),
    }
}

/// Closes the gate, for a counter of which the operations know nothing.
fn use_gate(context: &Context, _: Subject) -> String {
    said(context.store.counter("spare").and_then(|counter| counter.delete()))
}

/// The place of a change in its slot.
fn in_slot(ground: &Ground, change: &Change) -> Option<usize> {
    let (first, end) = (ground.geometry.slots_at as usize, ground.geometry.stats_at as usize);
    (first..end).contains(&(change.at as usize)).then(|| (change.at as usize - first) % size_of::<Slot>())
}

fn names_lock(ground: &Ground, change: &Change) -> bool {
    in_slot(ground, change) == Some(std::mem::offset_of!(Slot, held)) && change.is != 0
}

fn commits(ground: &Ground, change: &Change) -> bool {
    let state = std::mem::offset_of!(Slot, journal) + std::mem::offset_of!(Journal, state);
    in_slot(ground, change) == Some(state) && change.is as u32 == journal::COMMITTED
}

fn takes_block(ground: &Ground, change: &Change) -> bool {
    let taken = block::is_used(change.is) && !block::is_used(change.was) && change.is & block::SLOT != 0;
    u64::from(change.at) >= ground.geometry.arena_at && taken
}

fn marks_gate(_: &Ground, change: &Change) -> bool {
    change.at as usize == std::mem::offset_of!(Header, gate_closed) && change.is as u32 == 1 && change.was as u32 == 0
}

fn closes_gate(_: &Ground, change: &Change) -> bool {
    change.at as usize == std::mem::offset_of!(Header, gate_sequence) && change.is % 2 == 1
}

/// One who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Actor {
    Operation,
    Rival,
    /// A survivor who reads.
    Look,
}

/// An order in which everything may have happened, and what it leads to.
struct Order {
    actors: Vec<Actor>,
    answers: Vec<String>,
    found: String,
    again: String,
    then: String,
}

impl Order {
    /// Every order of a rival, operations of this number, and perhaps a look.
    fn actors(operations: usize, looks: bool) -> Vec<Vec<Actor>> {
        let with = |others: Vec<Actor>, one: Actor| {
            (0..=others.len()).map(move |place| {
                let mut actors = others.clone();
                actors.insert(place, one);
                actors
            })
        };
        let rival = with(vec![Actor::Operation; operations], Actor::Rival);
        if looks { rival.flat_map(|actors| with(actors, Actor::Look)).collect() } else { rival.collect() }
    }

    fn count(&self, wanted: Actor) -> usize {
        self.actors.iter().filter(|&&actor| actor == wanted).count()
    }

    /// What the last of these answers: the survivor comes after the dead one.
    fn answer(&self, wanted: Actor) -> Option<&String> {
        self.actors.iter().rposition(|&actor| actor == wanted).map(|at| &self.answers[at])
    }
}

/// All that one rival's runs have in common.
struct Duel<'a> {
    case: &'a Case,
    rival: &'a Rival,
    /// Waits for as long as it takes.
    patient: &'a Context,
    impatient: &'a Context,
    mailbox: Mailbox,
    orders: Vec<Order>,
    /// The rival's own run, and how far it comes in it.
    park: Option<(Trace, usize)>,
}

/// Kills the operation beside each rival.
pub(super) fn run(case: &Case, effort: &Effort, ground: &mut Ground, report: &mut Report) {
    if case.operation.parts != 1 {
        return;
    }
    ground.restore(&Image::default());
    let (patient, impatient) = (ground.context(None), ground.context(Some(PATIENCE)));
    let wanted = |(number, rival): &(usize, &Rival)| effort.wants_rival(case, *number, rival.name);
    for (_, rival) in RIVALS.iter().enumerate().filter(wanted) {
        let mut duel = Duel {
            case,
            rival,
            patient: &patient,
            impatient: &impatient,
            mailbox: Mailbox::new(),
            orders: Vec::new(),
            park: None,
        };
        duel.orders = duel.all_orders(ground);
        if duel.find_park(ground) {
            duel.kill_everywhere(effort, ground, report);
        }
    }
}

impl Duel<'_> {
    fn carry_out(&self, context: &Context, actor: Actor) -> String {
        match actor {
            Actor::Operation => (self.case.operation.run)(context, 1),
            Actor::Rival => (self.rival.run)(context, self.case.operation.subject),
            Actor::Look => {
                context.segment.recover();
                said(contents::snapshots(&context.store))
            }
        }
    }

    /// Everything that can have happened, in all orders.
    fn all_orders(&self, ground: &mut Ground) -> Vec<Order> {
        let alone = (0..=2).flat_map(|operations| Order::actors(operations, false));
        let with_look = (0..=1).flat_map(|operations| Order::actors(operations, true));
        alone.chain(with_look).map(|actors| self.order(ground, actors)).collect()
    }

    fn order(&self, ground: &mut Ground, actors: Vec<Actor>) -> Order {
        ground.restore(&Image::default());
        let said = child::run("the reference", || {
            let mut texts: Vec<String> = actors.iter().map(|&actor| self.carry_out(self.patient, actor)).collect();
            texts.push(read(self.patient, Look::Alone));
            texts.push(self.carry_out(self.patient, Actor::Operation));
            texts.push(read(self.patient, Look::Alone));
            texts.join("\x1e")
        });
        let said = said.unwrap_or_else(|error| panic!("{}: {error}", self.case.name()));
        let mut answers: Vec<String> = said.split('\x1e').map(ToOwned::to_owned).collect();
        let mut next = || answers.pop().expect("the reference says three things more than there are actors");
        let (then, again, found) = (next(), next(), next());
        Order { actors, answers, found, again, then }
    }

    fn start_rival(&self) -> Traced {
        let operation = self.case.operation;
        self.mailbox.clear();
        Traced::start(
            || operation.get_ready(self.patient),
            || self.mailbox.put(&self.carry_out(self.patient, Actor::Rival)),
        )
    }

    /// Finds where the rival stands; false if it never comes there.
    fn find_park(&mut self, ground: &mut Ground) -> bool {
        if matches!(self.rival.park, Park::Asleep) {
            return true;
        }
        let trace = Trace::record(ground, |ground: &mut Ground| {
            ground.restore(&Image::default());
            ((), self.start_rival())
        });
        let place = match self.rival.park {
            Park::Behind(is_it) => {
                trace.changes.iter().find(|change| is_it(ground, change)).map(|change| change.step as usize + 1)
            }
            Park::Share(share) => Some(trace.len() * share / 100),
            Park::Asleep => None,
        };
        self.park = place.map(|place| (trace, place));
        self.park.is_some()
    }

    fn parked(&self, ground: &mut Ground, trace: &Trace, place: usize) -> Traced {
        let mut rival = self.start_rival();
        if trace.run_to(&mut rival, place) {
            return rival;
        }
        // It took another way, as a clock or a busy processor may have it. Step by step it takes the one that was recorded.
        drop(rival);
        ground.restore(&Image::default());
        let mut rival = self.start_rival();
        let there = (0..place).all(|_| rival.step() == Stop::Trap);
        assert!(there, "the rival '{}' does not come to its place", self.rival.name);
        rival
    }

    /// The rival at its place, and the operation at its start.
    fn begin(&self, ground: &mut Ground) -> (Option<Traced>, Traced) {
        ground.restore(&Image::default());
        let rival = self.park.as_ref().map(|(trace, place)| self.parked(ground, trace, *place));
        let operation = self.case.operation;
        let start = || {
            operation.carry_out(self.impatient);
        };
        (rival, Traced::start(|| operation.try_to_get_ready(self.impatient), start))
    }

    fn kill_everywhere(&self, effort: &Effort, ground: &mut Ground, report: &mut Report) {
        let mut begin = |ground: &mut Ground| self.begin(ground);
        let trace = Trace::record(ground, &mut begin);
        report.recorded(self.case, Kind::Rival, trace.len());
        let mut expected = trace.expected();
        for (number, point) in effort.choose_beside(trace.points()).into_iter().enumerate() {
            let (rival, mut child, exact) = expected.reach(ground, point, &mut begin);
            let found = match rival {
                Some(rival) => {
                    child.kill();
                    self.with_parked(rival, [Actor::Operation, Actor::Look][number % 2])
                }
                None => self.with_sleeper(child),
            };
            let place = format!("{}/{point}", self.rival.name);
            report.killed(self.case, Kind::Rival, &place, trace.rip(point), exact, found);
        }
    }

    /// After a death beside a rival that stands still.
    fn with_parked(&self, mut rival: Traced, survivor: Actor) -> Result<usize, String> {
        let answer = child::run("the survivor beside the rival", || {
            let answer = self.carry_out(self.impatient, survivor);
            self.impatient.segment.recover();
            answer
        })?;
        match rival.run() {
            Stop::Done => {}
            stop => return Err(format!("the rival does not come to its end: {stop:?} {}", child::panic_message())),
        }
        self.judge(Some((survivor, &answer)).filter(|(_, answer)| !answer.contains("Busy")))
    }

    /// The death of one for whom a rival waits.
    fn with_sleeper(&self, mut child: Traced) -> Result<usize, String> {
        let rival = child::start(&self.mailbox, || self.carry_out(self.patient, Actor::Rival));
        (0..LOOKS).take_while(|_| !is_asleep(rival)).for_each(|_| std::thread::sleep(LOOK_PAUSE));
        child.kill();
        child::wait(rival).map_err(|error| format!("the rival: {error}"))?;
        self.judge(None)
    }

    /// Whether what is found now is what some order leads to. 0 if the dead one's operation did not happen, 1 if it did.
    fn judge(&self, survivor: Option<(Actor, &String)>) -> Result<usize, String> {
        let rival = self.mailbox.take();
        let said = child::run("the last survivor", || {
            let examined = settled(self.patient).and_then(|found| {
                let again = self.carry_out(self.patient, Actor::Operation);
                Ok([found, again, settled(self.patient)?].join("\x1e"))
            });
            examined.unwrap_or_else(|error| error)
        })?;
        let Ok([found, again, then]) = <[&str; 3]>::try_from(said.split('\x1e').collect::<Vec<_>>()) else {
            return Err(said);
        };
        let is_survivor = |actor: Actor| usize::from(survivor.is_some_and(|(survivor, _)| survivor == actor));
        let happened = |times: usize| {
            self.orders.iter().any(|order| {
                order.count(Actor::Operation) == times + is_survivor(Actor::Operation)
                    && order.count(Actor::Look) == is_survivor(Actor::Look)
                    && order.answer(Actor::Rival) == Some(&rival)
                    && survivor.is_none_or(|(survivor, answer)| order.answer(survivor) == Some(answer))
                    && (&*order.found, &*order.again, &*order.then) == (found, again, then)
            })
        };
        (0..2).find(|&times| happened(times)).ok_or_else(|| self.no_order(&rival, survivor, found, again))
    }

    fn no_order(&self, rival: &str, survivor: Option<(Actor, &String)>, found: &str, again: &str) -> String {
        let differences = self.orders.iter().map(|order| {
            let difference = contents::difference(&order.found, found);
            format!(
                "    against {:?}, which answer {:?} and {}\n{difference}",
                order.actors, order.answers, order.again
            )
        });
        let head = format!("no order leads here: rival '{rival}', survivor {survivor:?}, then '{again}'");
        [vec![head], differences.collect()].concat().join("\n")
    }
}

/// Whether a process sleeps in `futex`, or has ended.
fn is_asleep(pid: Pid) -> bool {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let ended = fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    ended || call.starts_with(&format!("{} ", libc::SYS_futex))
}
