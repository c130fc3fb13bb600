//! The oracle of the checker: tries every order of a small history. And the random histories on which the two must agree.

use super::{
    calls::{CounterOp, RegisterOp, Ret, RowOp, RowsOp},
    checker::{Model, Operation, Verdict, check},
    models::{Counter, Register, Row, Rows},
};
use crate::harness::Random;

/// Whether there is an order, by trying all of them.
fn has_order<M: Model>(history: &[Operation<M>], in_order: &mut Vec<usize>, state: &M::State) -> bool {
    let left: Vec<usize> = (0..history.len()).filter(|op| !in_order.contains(op)).collect();
    let answered = |op: usize| history[op].answer.as_ref().map(|(answered, _)| *answered);
    if left.iter().all(|&op| answered(op).is_none()) {
        return true;
    }
    left.iter().any(|&op| {
        let too_late = left.iter().any(|&other| answered(other).is_some_and(|at| at < history[op].invoked));
        let (next, ret) = M::step(state, &history[op].op);
        if too_late || history[op].answer.as_ref().is_some_and(|(_, answer)| *answer != ret) {
            return false;
        }
        in_order.push(op);
        let found = has_order(history, in_order, &next);
        in_order.pop();
        found
    })
}

/// A model whose operations can be drawn, from few enough that they meet.
trait Drawn: Model<Ret = Ret> {
    fn draw(random: &mut Random) -> Self::Op;
}

fn small(random: &mut Random) -> i64 {
    1 + random.below(3) as i64
}

impl Drawn for Register {
    fn draw(random: &mut Random) -> RegisterOp {
        let value = small(random);
        match random.below(10) {
            0..3 => RegisterOp::Get,
            3..5 => RegisterOp::Set(value),
            5 => RegisterOp::Delete,
            6 => RegisterOp::Take,
            7 => RegisterOp::Insert(value),
            8 => RegisterOp::Exchange(value),
            _ => RegisterOp::Swap { expected: small(random), new: value },
        }
    }
}

impl Drawn for Counter {
    fn draw(random: &mut Random) -> CounterOp {
        let value = small(random);
        match random.below(8) {
            0..2 => CounterOp::Get,
            2..5 => CounterOp::Add(value),
            5 => CounterOp::Set(value),
            6 => CounterOp::Swap { expected: small(random), new: value },
            _ => CounterOp::Delete,
        }
    }
}

impl Drawn for Row {
    fn draw(random: &mut Random) -> RowOp {
        let value = small(random);
        match random.below(8) {
            0..3 => RowOp::Get,
            3 => RowOp::Set([Some(value); 3]),
            4 => RowOp::Set([Some(value), None, None]),
            5 => RowOp::Add { column: 1, by: value },
            6 => RowOp::Delete,
            _ => RowOp::Swap { expected: small(random), new: [None, Some(value), None] },
        }
    }
}

impl Drawn for Rows {
    fn draw(random: &mut Random) -> RowsOp {
        let (one, value) = (random.below(2), small(random));
        match random.below(10) {
            8 => RowsOp::Transfer { from: one, to: 1 - one, by: 1 },
            9 => RowsOp::Swap { part: one, expected: small(random), new: value },
            0..2 => RowsOp::GetAll,
            2 => RowsOp::Get(one),
            3..5 => RowsOp::SetTwo([(0, value), (1, value)]),
            5 => RowsOp::Add(one, 1),
            6 => RowsOp::Delete(one),
            _ => RowsOp::Rename { from: one, to: 1 - one },
        }
    }
}

/// A history of `len` operations that an object of this model has really seen, by so many clients, each of which does one
/// after the other. Each takes effect at a moment between invocation and answer; those without an answer, about
/// `unanswered` of them, at any moment after the invocation, or never.
fn seen<M: Drawn>(random: &mut Random, len: usize, clients: usize, unanswered: usize) -> Vec<Operation<M>> {
    let mut effects = Vec::with_capacity(len);
    let mut history: Vec<Operation<M>> = Vec::with_capacity(len);
    let mut free = vec![0; clients];
    for op in 0..len {
        let client = random.below(clients);
        let (invoked, lasts) = (free[client] + random.below(4), random.below(6));
        free[client] = invoked + lasts;
        let is_lost = random.below(len) < unanswered;
        let latest = if is_lost { random.below(50) } else { lasts };
        effects.push((invoked + random.below(latest + 1), random.next(), op));
        let answer = (!is_lost).then_some(((invoked + lasts) as u64, Ret::Done));
        history.push(Operation { client, invoked: invoked as u64, op: M::draw(random), answer });
    }
    effects.sort_unstable();
    let mut state = M::State::default();
    for (_, _, op) in effects {
        let operation = &mut history[op];
        if operation.answer.is_none() && random.below(2) == 0 {
            continue;
        }
        let (next, ret) = M::step(&state, &operation.op);
        state = next;
        operation.answer = operation.answer.take().map(|(answered, _)| (answered, ret));
    }
    history
}

/// Changes one answer to another one that was given, or the times of one operation.
fn disturb<M: Drawn>(history: &mut [Operation<M>], random: &mut Random) {
    let (op, other) = (random.below(history.len()), random.below(history.len()));
    let foreign = history[other].answer.clone();
    let Some((answered, ret)) = &mut history[op].answer else { return };
    match (random.below(2), foreign) {
        (0, Some((_, foreign))) => *ret = foreign,
        _ => {
            let by = random.below(8) as u64;
            *answered += by;
            history[op].invoked += by;
        }
    }
}

fn agree<M: Drawn>(random: &mut Random) {
    const HISTORIES: usize = 4000;
    let mut wrong = 0;
    for round in 0..HISTORIES {
        let len = 1 + random.below(7);
        let mut history = seen::<M>(random, len, 3, 1);
        let is_disturbed = round % 2 == 1;
        (0..usize::from(is_disturbed) * (1 + random.below(2))).for_each(|_| disturb(&mut history, random));
        let verdict = if has_order(&history, &mut Vec::new(), &M::State::default()) {
            Verdict::Linearizable
        } else {
            Verdict::Wrong
        };
        assert_eq!(check(&history), verdict, "{}", show(&history));
        assert!(is_disturbed || verdict == Verdict::Linearizable, "an order was lost: {}", show(&history));
        wrong += usize::from(verdict == Verdict::Wrong);
    }
    assert!((HISTORIES / 20..HISTORIES / 2).contains(&wrong), "{wrong} wrong histories");
}

fn show<M: Model>(history: &[Operation<M>]) -> String {
    history.iter().map(|op| format!("{}: {:?} {:?}\n", op.invoked, op.op, op.answer)).collect()
}

#[test]
fn the_checker_agrees_with_trying_every_order() {
    let mut random = Random::new();
    agree::<Register>(&mut random);
    agree::<Counter>(&mut random);
    agree::<Row>(&mut random);
    agree::<Rows>(&mut random);
}

/// Long histories as the scenes record them are found right, at once; with one answer from nowhere they are wrong.
#[test]
fn long_histories_are_judged_at_once() {
    fn judge<M: Drawn>(random: &mut Random, never: &Ret) {
        for _ in 0..20 {
            let mut history = seen::<M>(random, 256, 6, 8);
            assert_eq!(check(&history), Verdict::Linearizable, "{}", show(&history));
            let is_read = |operation: &&mut Operation<M>| M::is_read(&operation.op) && operation.answer.is_some();
            let read = history.iter_mut().find(is_read).expect("one of 256 is a read with an answer");
            read.answer = read.answer.take().map(|(answered, _)| (answered, never.clone()));
            assert_eq!(check(&history), Verdict::Wrong);
        }
    }
    let mut random = Random::new();
    judge::<Register>(&mut random, &Ret::Value(Some(77)));
    judge::<Counter>(&mut random, &Ret::Value(Some(-77)));
    judge::<Row>(&mut random, &Ret::Row(Some([77, 77, 77])));
    judge::<Rows>(&mut random, &Ret::Rows([Some(-77); 4]));
}
