//! CLIENT PAUSE and UNPAUSE: for a while, commands of all clients of all workers are held back.
//!
//! The pause is kept with the settings, so every worker knows of it, and so do those that are started while it lasts. A command that is held back
//! has not begun: it is executed when the pause is over, as if it had been sent then.

use crate::command::{
    Reply,
    call::Call,
    parse_int,
    refusal::{Answer, Refusal, refuse},
    session::Session,
    table::Command,
};

/// Commands that are held back like writes: others see what they do.
const SEEN_BY_OTHERS: &[&str] = &["publish", "spublish", "pfcount"];

/// How long after a pause the keys that a command names are looked at for whether they have expired.
const MOMENT_MS: u64 = 1000;

/// A pause; over if its end has passed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pause {
    /// When it ends, in milliseconds of the Unix clock.
    until_ms: u64,
    /// It holds back all commands, not only writes.
    of_all: bool,
}

impl Pause {
    /// Whether it lasts.
    #[must_use]
    pub fn lasts(self, now_ms: u64) -> bool {
        now_ms < self.until_ms
    }

    /// Whether it ended a moment ago, so that keys may be left that have expired meanwhile.
    pub(in crate::command) fn is_just_over(self, now_ms: u64) -> bool {
        !self.lasts(now_ms) && now_ms - self.until_ms < MOMENT_MS
    }

    /// Whether a command has to wait for its end.
    pub(in crate::command) fn holds(self, command: &Command, session: &Session, now_ms: u64) -> bool {
        // Whoever wants to end it need not wait for its end.
        self.lasts(now_ms)
            && command.full_name != "client|unpause"
            && (self.of_all || is_write(command) || session.would_write(command))
    }

    /// Whether a request that is no command has to wait for its end.
    #[must_use]
    pub fn holds_request(self, writes: bool, now_ms: u64) -> bool {
        self.lasts(now_ms) && (self.of_all || writes)
    }

    /// Both: the later end, and everything that one of them holds back.
    fn and(self, other: Self, now_ms: u64) -> Self {
        if !self.lasts(now_ms) {
            return other;
        }
        Self { until_ms: self.until_ms.max(other.until_ms), of_all: self.of_all || other.of_all }
    }

    /// How it is written down.
    pub(in crate::command) fn text(self) -> String {
        format!("{} {}", self.until_ms, if self.of_all { "ALL" } else { "WRITE" })
    }

    /// The reverse of [`Self::text`]; no pause if it is something else.
    pub(in crate::command) fn of_text(text: &str) -> Self {
        let parsed = text.split_once(' ').and_then(|(until, what)| Some((until.parse().ok()?, what == "ALL")));
        parsed.map_or(Self::default(), |(until_ms, of_all)| Self { until_ms, of_all })
    }

    /// `all`, `write` or `none`.
    pub(in crate::command) fn name(self, now_ms: u64) -> &'static str {
        match (self.lasts(now_ms), self.of_all) {
            (false, _) => "none",
            (true, true) => "all",
            (true, false) => "write",
        }
    }

    /// Milliseconds that are left of it.
    pub(in crate::command) fn left_ms(self, now_ms: u64) -> u64 {
        self.until_ms.saturating_sub(now_ms)
    }
}

fn is_write(command: &Command) -> bool {
    command.flags.contains(&"write") || SEEN_BY_OTHERS.contains(&command.name)
}

/// `CLIENT PAUSE timeout [WRITE | ALL]`
pub(in crate::command) fn pause(call: &mut Call<'_, '_>) -> Answer {
    let of_all = match call.args.len() {
        3 => true,
        4 if call.args.is(3, "ALL") => true,
        4 if call.args.is(3, "WRITE") => false,
        4 => return refuse("ERR CLIENT PAUSE mode must be WRITE or ALL"),
        _ => return refuse(crate::command::refusal::SYNTAX),
    };
    let wrong = "ERR timeout is not an integer or out of range";
    let ms = parse_int(call.arg(2)).ok_or(Refusal::from(wrong))?;
    let ms = u64::try_from(ms).map_err(|_| Refusal::from("ERR timeout is negative"))?;
    let now_ms = call.env.now_ms;
    // Redis keeps the end of a pause as a signed number.
    let until_ms = now_ms.checked_add(ms).filter(|&until_ms| i64::try_from(until_ms).is_ok());
    let until_ms = until_ms.ok_or(Refusal::from("ERR timeout is out of range"))?;
    call.env.state.settings.change_pause(|pause| pause.and(Pause { until_ms, of_all }, now_ms))?;
    Ok(Reply::OK)
}

/// `CLIENT UNPAUSE`
pub(in crate::command) fn unpause(call: &mut Call<'_, '_>) -> Answer {
    let until_ms = call.env.now_ms;
    call.env.state.settings.change_pause(|_| Pause { until_ms, of_all: false })?;
    Ok(Reply::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_two_pauses_the_stricter_holds() {
        let write = Pause { until_ms: 500, of_all: false };
        let all = Pause { until_ms: 200, of_all: true };
        assert_eq!(write.and(all, 100), Pause { until_ms: 500, of_all: true });
        assert_eq!(all.and(write, 300), write, "the first is over");
        for pause in [write, all, Pause::default()] {
            assert_eq!(Pause::of_text(&pause.text()), pause);
        }
        assert_eq!(Pause::of_text("nonsense"), Pause::default());
        assert_eq!((write.name(0), all.name(0), all.name(200)), ("write", "all", "none"));
        assert!(all.is_just_over(200) && !all.is_just_over(199) && !all.is_just_over(1200));
        assert_eq!((all.left_ms(150), all.left_ms(250)), (50, 0));
    }
}
