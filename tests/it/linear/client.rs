//! A client of a history: draws a ticket, does what it says, writes both down.

use std::{thread, time::Duration};

use super::{
    calls::{Call, Object, Ret, Way},
    log::{Board, Log, now_ns},
};

/// What became of a call.
pub(crate) enum Outcome {
    Answer(Ret),
    /// It was refused as `BUSY`, which promises that nothing was written.
    Refused,
    /// The connection broke.
    Lost,
}

/// Somebody who can carry a call out.
pub(crate) trait Caller {
    const WAY: Way;

    fn call(&mut self, call: &Call) -> Outcome;
}

/// How a client spreads its calls over time.
#[derive(Clone, Copy)]
pub(crate) struct Pace {
    /// The most calls that follow one another at once.
    pub(crate) burst: u64,
    /// All bursts of all clients begin at multiples of this.
    pub(crate) tick_us: u64,
}

/// Works until there are no more tickets or the log is full.
pub(crate) fn work<C: Caller>(caller: &mut C, board: &Board, log: &mut Log, pace: Pace) {
    let mut last: Option<(Object, i64)> = None;
    let mut left = 0;
    while !log.is_full() {
        if left == 0 {
            wait_for_tick(pace);
        }
        let Some(ticket) = board.draw() else { return };
        if left == 0 {
            left = 1 + ticket.wrapping_mul(0x9e37_79b9_7f4a_7c15) % pace.burst;
        }
        left -= 1;
        // What was seen of another object says nothing of this one.
        let object = Call::of(board.seed(), ticket, C::WAY, 0).object;
        let seen = last.filter(|(of, _)| *of == object).map_or(0, |(_, value)| value);
        let call = Call::of(board.seed(), ticket, C::WAY, seen);
        log.invoke(ticket, seen);
        match caller.call(&call) {
            Outcome::Answer(ret) => {
                log.answer(Some(&ret));
                last = ret.seen().map(|value| (object, value)).or(last);
            }
            Outcome::Refused => log.answer(None),
            Outcome::Lost => log.give_up(),
        }
    }
}

fn wait_for_tick(pace: Pace) {
    let tick_ns = 1000 * pace.tick_us;
    if tick_ns > 0 {
        thread::sleep(Duration::from_nanos(tick_ns - now_ns() % tick_ns));
    }
}
