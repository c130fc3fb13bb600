//! Right and wrong histories, planted by hand: each is one way in which a store may betray its clients, beside the
//! nearest history that is sound.

use super::{
    calls::{CounterOp, RegisterOp, Ret, RowOp, RowsOp, TORN},
    checker::{Model, Operation, Verdict, check, explain},
    models::{Counter, Register, Row, Rows},
};

/// An operation with an answer.
fn done<M: Model<Ret = Ret>>(invoked: u64, answered: u64, op: M::Op, ret: Ret) -> Operation<M> {
    Operation { client: 0, invoked, op, answer: Some((answered, ret)) }
}

/// An operation whose client was killed.
fn lost<M: Model<Ret = Ret>>(invoked: u64, op: M::Op) -> Operation<M> {
    Operation { client: 1, invoked, op, answer: None }
}

#[track_caller]
fn right<M: Model<Ret = Ret>>(history: Vec<Operation<M>>) {
    assert_eq!(check(&history), Verdict::Linearizable, "{}", explain(&history));
}

#[track_caller]
fn wrong<M: Model<Ret = Ret>>(history: Vec<Operation<M>>) {
    assert_eq!(check(&history), Verdict::Wrong);
}

fn value(value: i64) -> Ret {
    Ret::Value(Some(value))
}

#[test]
fn an_empty_history_is_right() {
    right::<Register>(vec![]);
    right::<Register>(vec![lost(1, RegisterOp::Set(1))]);
}

#[test]
fn a_lost_update_is_wrong() {
    use RegisterOp::{Get, Set};
    let history = |second, read: Ret| -> Vec<Operation<Register>> {
        vec![done(0, 10, Set(1), Ret::Done), done(second, 30, Set(2), Ret::Done), done(40, 50, Get, read)]
    };
    wrong(history(20, value(1)));
    wrong(history(20, Ret::Value(None)));
    right(history(20, value(2)));
    // Written at the same time, either may be the last.
    right(history(5, value(1)));
    right(history(5, value(2)));
    // Of one moment: nobody can say which came first.
    right(history(10, value(1)));
}

#[test]
fn a_stale_read_is_wrong() {
    use RegisterOp::{Get, Set};
    let history = |second| -> Vec<Operation<Register>> {
        vec![
            done(0, 10, Set(1), Ret::Done),
            done(20, 90, Set(2), Ret::Done),
            done(30, 40, Get, value(2)),
            done(second, 60, Get, value(1)),
        ]
    };
    wrong(history(50));
    right(history(35));
}

#[test]
fn a_read_from_the_future_is_wrong() {
    use RegisterOp::{Get, Set};
    wrong::<Register>(vec![done(0, 10, Get, value(1)), done(20, 30, Set(1), Ret::Done)]);
    wrong::<Register>(vec![done(0, 10, Get, value(1)), lost(20, Set(1))]);
    right::<Register>(vec![done(0, 10, Get, value(1)), lost(5, Set(1))]);
}

#[test]
fn a_write_of_the_dead_may_come_late_but_not_go_again() {
    use RegisterOp::{Get, Set};
    let history = |reads: [i64; 3]| -> Vec<Operation<Register>> {
        let mut history = vec![done(0, 10, Set(1), Ret::Done), lost(20, Set(2))];
        history.extend((30..).step_by(20).zip(reads).map(|(at, read)| done(at, at + 10, Get, value(read))));
        history
    };
    right(history([1, 1, 1]));
    right(history([1, 1, 2]));
    right(history([2, 2, 2]));
    wrong(history([1, 2, 1]));
    wrong(history([2, 1, 1]));
    wrong(history([2, 1, 2]));
}

#[test]
fn an_acknowledged_write_that_vanishes_with_its_writer_is_wrong() {
    use RegisterOp::{Delete, Get, Set};
    wrong::<Register>(vec![done(0, 10, Set(1), Ret::Done), done(20, 30, Get, Ret::Value(None))]);
    right::<Register>(vec![done(0, 10, Set(1), Ret::Done), lost(15, Delete), done(20, 30, Get, Ret::Value(None))]);
    // A delete that found nothing was not it.
    wrong::<Register>(vec![
        done(0, 10, Set(1), Ret::Done),
        done(15, 25, Delete, Ret::Flag(false)),
        done(30, 40, Get, Ret::Value(None)),
    ]);
}

#[test]
fn two_winners_are_wrong() {
    use RegisterOp::{Exchange, Insert, Swap, Take};
    let both = |one: RegisterOp, other: RegisterOp, ret: Ret, first| -> Vec<Operation<Register>> {
        vec![done(0, 10, Insert(1), Ret::Flag(first)), done(20, 40, one, ret.clone()), done(25, 45, other, ret)]
    };
    wrong(both(Insert(2), Insert(3), Ret::Flag(true), true));
    right(both(Insert(2), Insert(3), Ret::Flag(false), true));
    wrong(both(Insert(2), Insert(3), Ret::Flag(false), false));
    wrong(both(Take, Take, value(1), true));
    wrong(both(Exchange(2), Exchange(3), value(1), true));
    wrong(both(Swap { expected: 1, new: 2 }, Swap { expected: 1, new: 3 }, Ret::Flag(true), true));
}

#[test]
fn there_and_back_again_is_right() {
    use RegisterOp::{Get, Set, Swap};
    let swap = |new| Swap { expected: 1, new };
    let history = |back| -> Vec<Operation<Register>> {
        vec![
            done(0, 10, Set(1), Ret::Done),
            done(20, 60, swap(2), Ret::Flag(true)),
            done(20, 60, swap(3), Ret::Flag(true)),
            back,
        ]
    };
    right(history(done(20, 60, Set(1), Ret::Done)));
    right(history(lost(30, Set(1))));
    wrong(history(done(70, 80, Set(1), Ret::Done)));
    wrong(history(done(20, 60, Get, value(1))));
}

#[test]
fn a_refused_write_that_wrote_is_wrong() {
    use RegisterOp::{Get, Insert, Replace, Set, Swap};
    for refused in [Insert(2), Swap { expected: 5, new: 2 }] {
        wrong::<Register>(vec![
            done(0, 10, Set(1), Ret::Done),
            done(20, 30, refused, Ret::Flag(false)),
            done(40, 50, Get, value(2)),
        ]);
    }
    wrong::<Register>(vec![done(0, 10, Replace(1), Ret::Flag(false)), done(20, 30, Get, value(1))]);
}

#[test]
fn an_increment_that_counts_twice_is_wrong() {
    use CounterOp::{Add, Get};
    let history = |read: i64| -> Vec<Operation<Counter>> {
        vec![done(0, 10, Add(5), value(5)), lost(20, Add(1)), done(30, 40, Get, value(read))]
    };
    right(history(5));
    right(history(6));
    wrong(history(7));
    wrong::<Counter>(vec![done(0, 10, Add(5), value(5)), lost(20, Add(1)), done(30, 40, Add(1), value(8))]);
    // It may come as late as it likes, once.
    let late = |last: i64| -> Vec<Operation<Counter>> {
        vec![
            lost(0, Add(1)),
            done(10, 20, Get, Ret::Value(None)),
            done(30, 40, Add(5), value(5)),
            done(50, 60, Get, value(6)),
            done(70, 80, Add(1), value(last)),
        ]
    };
    right(late(7));
    wrong(late(8));
    wrong(late(6));
}

#[test]
fn a_lost_increment_is_wrong() {
    use CounterOp::Add;
    let both = |one: i64, other: i64| -> Vec<Operation<Counter>> {
        vec![done(0, 10, Add(1), value(one)), done(5, 15, Add(1), value(other))]
    };
    wrong(both(1, 1));
    right(both(1, 2));
    right(both(2, 1));
    wrong(both(2, 3));
}

#[test]
fn a_deleted_counter_starts_anew() {
    use CounterOp::{Add, Delete, Swap};
    let history = |sum: i64| -> Vec<Operation<Counter>> {
        vec![done(0, 10, Add(7), value(7)), done(20, 30, Delete, Ret::Flag(true)), done(40, 50, Add(1), value(sum))]
    };
    right(history(1));
    wrong(history(8));
    right::<Counter>(vec![done(0, 10, Swap { expected: 0, new: 4 }, Ret::Flag(true)), done(20, 30, Add(1), value(5))]);
}

#[test]
fn a_torn_row_is_wrong() {
    use RowOp::{Get, Set};
    let all = |n| Set([Some(n); 3]);
    let history = |read: [i64; 3]| -> Vec<Operation<Row>> {
        vec![done(0, 10, all(1), Ret::Done), done(20, 50, all(2), Ret::Done), done(30, 40, Get, Ret::Row(Some(read)))]
    };
    right(history([1, 1, 1]));
    right(history([2, 2, 2]));
    wrong(history([2, 1, 1]));
    wrong(history([1, 1, 2]));
    wrong(history([2, 2, TORN]));
}

#[test]
fn a_row_keeps_the_columns_that_were_not_written() {
    use RowOp::{Add, Delete, Get, Set};
    let history = |read: [i64; 3]| -> Vec<Operation<Row>> {
        vec![
            done(0, 10, Set([Some(1); 3]), Ret::Done),
            done(20, 40, Set([None, Some(5), None]), Ret::Done),
            done(20, 40, Add { column: 0, by: 2 }, value(3)),
            done(50, 60, Get, Ret::Row(Some(read))),
        ]
    };
    right(history([3, 5, 1]));
    wrong(history([1, 5, 1]));
    wrong(history([3, 1, 1]));
    // What is made anew has nothing of the row that was deleted.
    let anew = |read: [i64; 3]| -> Vec<Operation<Row>> {
        vec![
            done(0, 10, Set([Some(1); 3]), Ret::Done),
            done(20, 30, Delete, Ret::Flag(true)),
            done(40, 50, Set([Some(2), None, None]), Ret::Done),
            done(60, 70, Get, Ret::Row(Some(read))),
        ]
    };
    right(anew([2, 0, 0]));
    wrong(anew([2, 1, 1]));
}

#[test]
fn a_row_of_the_dead_is_old_or_new() {
    use RowOp::{Get, Set};
    let history = |read: [i64; 3]| -> Vec<Operation<Row>> {
        vec![
            done(0, 10, Set([Some(1); 3]), Ret::Done),
            lost(20, Set([Some(2); 3])),
            done(30, 40, Get, Ret::Row(Some(read))),
        ]
    };
    right(history([1, 1, 1]));
    right(history([2, 2, 2]));
    wrong(history([2, 2, 1]));
}

#[test]
fn a_transfer_of_which_half_is_seen_is_wrong() {
    use RowsOp::{Get, GetAll, SetTwo};
    let start = || done(0, 10, SetTwo([(0, 5), (1, 5)]), Ret::Done);
    let transfer = || done(20, 90, SetTwo([(0, 4), (1, 6)]), Ret::Done);
    let all = |one, other| Ret::Rows([Some(one), Some(other), None, None]);
    let history = |read| -> Vec<Operation<Rows>> { vec![start(), transfer(), done(30, 40, GetAll, read)] };
    right(history(all(5, 5)));
    right(history(all(4, 6)));
    wrong(history(all(4, 5)));
    wrong(history(all(5, 6)));
    // The same by single reads, one after the other.
    let reads = |first: i64, second: i64| -> Vec<Operation<Rows>> {
        vec![start(), transfer(), done(30, 40, Get(0), value(first)), done(50, 60, Get(1), value(second))]
    };
    wrong(reads(4, 5));
    right(reads(5, 6));
    right(reads(5, 5));
    // And where the writer has died, for ever.
    wrong::<Rows>(vec![start(), lost(20, SetTwo([(0, 4), (1, 6)])), done(30, 40, GetAll, all(4, 5))]);
}

#[test]
fn reads_of_several_rows_are_of_one_instant() {
    use RowsOp::{Add, GetAll};
    let history = |read| -> Vec<Operation<Rows>> {
        vec![done(0, 10, Add(0, 1), value(1)), done(20, 30, Add(1, 1), value(1)), done(5, 40, GetAll, Ret::Rows(read))]
    };
    right(history([Some(1), None, None, None]));
    right(history([None; 4]));
    wrong(history([None, Some(1), None, None]));
}

#[test]
fn what_is_renamed_is_in_one_place() {
    use RowsOp::{GetAll, Rename, Set};
    let history = |read| -> Vec<Operation<Rows>> {
        vec![
            done(0, 10, Set(0, 7), Ret::Done),
            done(20, 50, Rename { from: 0, to: 1 }, Ret::Flag(true)),
            done(30, 40, GetAll, Ret::Rows(read)),
        ]
    };
    right(history([Some(7), None, None, None]));
    right(history([None, Some(7), None, None]));
    wrong(history([Some(7), Some(7), None, None]));
    wrong(history([None; 4]));
}

/// The report of a wrong history shows where it goes wrong and leaves out what has nothing to do with it.
#[test]
fn a_report_shows_the_place() {
    use RegisterOp::{Get, Set};
    let mut history: Vec<Operation<Register>> = Vec::new();
    for n in 1..100 {
        let at = 100 * n as u64;
        history.extend([done(at, at + 10, Set(n), Ret::Done), done(at + 20, at + 30, Get, value(n))]);
    }
    history[121].answer = Some((6130, value(12)));
    let report = explain(&history);
    assert!(report.starts_with("62 of 198 operations"), "{report}");
    assert!(report.contains("Get: Value(Some(12))  (the answer would be Value(Some(61)))"), "{report}");
    assert!(report.lines().count() < 20, "{report}");
}
