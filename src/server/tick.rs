//! What a worker does ten times a second beside serving: show that it turns, free what has expired, take over
//! settings that other workers changed, end connections that have been silent for too long.

use std::{rc::Rc, time::Duration};

use tokio::time::{MissedTickBehavior, interval};

use super::{hub::Hub, post, roster::Phase};
use crate::{command, store::Stat};

/// Between two ticks.
const PERIOD: Duration = Duration::from_millis(100);
/// Ticks between two looks at the connections.
const ROUND: u32 = 10;
/// Milliseconds that the head of an HTTP request may take.
const HEAD_MS: u64 = 10_000;
/// Milliseconds that the body of an HTTP request, or the answer, may stand still.
const STANDSTILL_MS: u64 = 30_000;

/// Ticks for ever.
pub(super) async fn run(hub: Rc<Hub>) {
    let mut interval = interval(PERIOD);
    interval.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for tick in 0u32.. {
        interval.tick().await;
        hub.beat();
        hub.state.settings.follow();
        if !hub.is_paused() {
            hub.store.sweep();
        }
        // What a stopped process holds is looked at again with the next tick.
        let _ = hub.state.settings.refresh();
        hub.state.clients.tick();
        hub.state.pubsub.tick();
        // One who died between publishing and ringing the bell has left something unheard.
        post::collect(&hub);
        // What the sweep has freed is told of, whether anybody sends a request or not.
        command::tell(&hub.env());
        hub.losses.look(&hub);
        hub.state.tracking.trim(hub.state.settings.tracking_max_keys());
        post::deliver(&hub);
        if tick.is_multiple_of(ROUND) {
            // One who died before telling has left a change unheard.
            post::expel(&hub);
            look_after_connections(&hub);
        }
    }
}

fn look_after_connections(hub: &Hub) {
    let now_ms = hub.uptime_ms();
    let idle_ms = hub.state.settings.idle_timeout().map_or(u64::MAX, |timeout| timeout.as_millis() as u64);
    // Who listens is silent for as long as nobody says anything.
    let is_idle = |phase, ms, listens: bool| {
        !listens && matches!(phase, Phase::Idle | Phase::Busy | Phase::Answer) && ms >= idle_ms
    };
    let idle = hub.roster.end(now_ms, is_idle);
    let slow = hub.roster.end(now_ms, |phase, ms, _| sends_too_slowly(phase, ms));
    let unread = hub.roster.end(now_ms, |phase, ms, _| takes_nothing(phase, ms)) + hub.roster.end_overfull(now_ms);
    hub.statistics().add(Stat::IdleClosed, (idle + slow) as u64);
    hub.statistics().add(Stat::OutputClosed, unread as u64);
    let window_ms = (PERIOD * ROUND).as_millis() as u64;
    hub.roster.each_active(now_ms, window_ms, |session| hub.state.clients.update(session));
}

/// Whether a request takes its client too long.
fn sends_too_slowly(phase: Phase, ms: u64) -> bool {
    match phase {
        Phase::Head => ms >= HEAD_MS,
        Phase::Body => ms >= STANDSTILL_MS,
        _ => false,
    }
}

/// Whether a client has left an answer untaken for too long: it holds the whole of a value in memory. RESP replies have a limit in bytes.
fn takes_nothing(phase: Phase, ms: u64) -> bool {
    phase == Phase::Answer && ms >= STANDSTILL_MS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_neither_sends_nor_takes_is_over_its_time() {
        let over = |phase, ms| (sends_too_slowly(phase, ms), takes_nothing(phase, ms));
        assert_eq!(over(Phase::Head, HEAD_MS - 1), (false, false));
        assert_eq!(over(Phase::Head, HEAD_MS), (true, false));
        assert_eq!(over(Phase::Body, STANDSTILL_MS - 1), (false, false));
        assert_eq!(over(Phase::Body, STANDSTILL_MS), (true, false));
        // An answer of 16 MB that nobody read was kept for ever.
        assert_eq!(over(Phase::Answer, STANDSTILL_MS - 1), (false, false));
        assert_eq!(over(Phase::Answer, STANDSTILL_MS), (false, true));
        for phase in [Phase::Idle, Phase::Busy, Phase::Held, Phase::Listening] {
            assert_eq!(over(phase, u64::MAX), (false, false), "{phase:?}");
        }
    }
}
