//! When a worker is started again: a state machine over a clock that is handed in. It forks nothing and looks at nothing.
//!
//! A death costs clients of that worker their connection and should cost nobody anything else, so the replacement starts
//! at once. A worker that keeps dying as soon as it has started would then burn a whole CPU on forks and bury its reason
//! in log lines, so from the second quick death in a row on the pause doubles, from 100 ms to 5 s.
//!
//! A worker that served and was then killed by `SIGKILL` was ended from outside. That says nothing about how its
//! replacement would fare and never leads to a pause: whoever kills workers in a row must not be able to stop the service
//! for seconds after the last of them.

use std::time::{Duration, Instant};

/// A worker that lives this long has started well.
const QUICK: Duration = Duration::from_secs(1);
/// The pause after the second quick death in a row; it doubles from then on.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How a worker ended, as far as it matters for the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// By what it did itself, or before it could serve.
    Own,
    /// By somebody's `SIGKILL` while it served.
    Killed,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Due(Instant),
    Running(Instant),
}

#[derive(Debug, Clone, Copy)]
struct Watch {
    state: State,
    quick_deaths: u32,
}

/// Knows of each worker index whether a worker runs, or when the next one is due.
#[derive(Debug)]
pub(super) struct Supervisor {
    workers: Vec<Watch>,
}

impl Supervisor {
    /// All workers are due now.
    pub(super) fn new(workers: usize, now: Instant) -> Self {
        Self { workers: vec![Watch { state: State::Due(now), quick_deaths: 0 }; workers] }
    }

    /// A worker that should be started now. O(workers).
    pub(super) fn due(&self, now: Instant) -> Option<usize> {
        self.workers.iter().position(|watch| matches!(watch.state, State::Due(at) if at <= now))
    }

    /// When the next worker is due; `None` if all run. O(workers).
    pub(super) fn next_due(&self) -> Option<Instant> {
        let due = |watch: &Watch| match watch.state {
            State::Due(at) => Some(at),
            State::Running(_) => None,
        };
        self.workers.iter().filter_map(due).min()
    }

    /// Worker `index` was started.
    pub(super) fn started(&mut self, index: usize, now: Instant) {
        self.workers[index].state = State::Running(now);
    }

    /// Worker `index` ended; or could not be started, which counts as a quick death. Returns the pause before the next.
    pub(super) fn ended(&mut self, index: usize, now: Instant, ending: Ending) -> Duration {
        let watch = &mut self.workers[index];
        let lived = match watch.state {
            State::Running(since) => now.saturating_duration_since(since),
            State::Due(_) => Duration::ZERO,
        };
        watch.quick_deaths = match ending {
            _ if lived >= QUICK => 0,
            Ending::Own => watch.quick_deaths.saturating_add(1),
            Ending::Killed => watch.quick_deaths,
        };
        let pause = if ending == Ending::Killed { Duration::ZERO } else { pause(watch.quick_deaths) };
        watch.state = State::Due(now + pause);
        pause
    }

    /// The longest row of quick deaths that a worker index has behind it. O(workers).
    pub(super) fn quick_deaths(&self) -> u32 {
        self.workers.iter().map(|watch| watch.quick_deaths).max().unwrap_or(0)
    }
}

fn pause(quick_deaths: u32) -> Duration {
    match quick_deaths {
        0 | 1 => Duration::ZERO,
        n => FIRST_PAUSE.saturating_mul(1 << (n - 2).min(16)).min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn running(workers: usize) -> (Supervisor, Instant) {
        let now = Instant::now();
        let mut supervisor = Supervisor::new(workers, now);
        while let Some(index) = supervisor.due(now) {
            supervisor.started(index, now);
        }
        (supervisor, now)
    }

    #[test]
    fn all_workers_are_due_at_first_and_none_once_started() {
        let now = Instant::now();
        let mut supervisor = Supervisor::new(3, now);
        for index in 0..3 {
            assert_eq!(supervisor.due(now), Some(index));
            supervisor.started(index, now);
        }
        assert_eq!((supervisor.due(now), supervisor.next_due()), (None, None));
    }

    #[test]
    fn the_first_death_is_answered_at_once() {
        let (mut supervisor, now) = running(2);
        assert_eq!(supervisor.ended(1, now + MS, Ending::Own), Duration::ZERO);
        assert_eq!(supervisor.due(now + MS), Some(1));
    }

    #[test]
    fn quick_deaths_in_a_row_pause_longer_each_time_up_to_five_seconds() {
        let (mut supervisor, mut now) = running(1);
        let mut pauses = Vec::new();
        for _ in 0..9 {
            now += MS;
            let pause = supervisor.ended(0, now, Ending::Own);
            assert_eq!(supervisor.next_due(), Some(now + pause));
            if !pause.is_zero() {
                assert_eq!(supervisor.due(now + pause - MS), None);
            }
            now += pause;
            assert_eq!(supervisor.due(now), Some(0));
            supervisor.started(0, now);
            pauses.push(pause.as_millis());
        }
        assert_eq!(pauses, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000]);
        assert_eq!(supervisor.quick_deaths(), 9);
    }

    #[test]
    fn a_second_of_life_clears_the_record() {
        let (mut supervisor, now) = running(1);
        for _ in 0..5 {
            supervisor.ended(0, now, Ending::Own);
            supervisor.started(0, now);
        }
        assert_eq!(supervisor.ended(0, now + QUICK, Ending::Own), Duration::ZERO);
        supervisor.started(0, now + QUICK);
        assert_eq!(supervisor.ended(0, now + QUICK, Ending::Own), Duration::ZERO);
        assert_eq!(supervisor.quick_deaths(), 1);
    }

    #[test]
    fn kills_from_outside_never_pause() {
        let (mut supervisor, now) = running(1);
        for _ in 0..50 {
            assert_eq!(supervisor.ended(0, now, Ending::Killed), Duration::ZERO);
            supervisor.started(0, now);
        }
        assert_eq!(supervisor.quick_deaths(), 0);
    }

    #[test]
    fn one_index_does_not_hold_up_another() {
        let (mut supervisor, now) = running(2);
        for _ in 0..5 {
            supervisor.ended(0, now, Ending::Own);
        }
        assert_eq!(supervisor.due(now), None);
        assert_eq!(supervisor.ended(1, now, Ending::Own), Duration::ZERO);
        assert_eq!(supervisor.due(now), Some(1));
    }

    #[test]
    fn a_long_row_of_deaths_does_not_overflow() {
        assert_eq!(pause(u32::MAX), LONGEST_PAUSE);
    }
}
