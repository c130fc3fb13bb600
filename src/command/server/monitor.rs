//! MONITOR: clients that are shown every command that any worker carries out.

use std::{cell::RefCell, collections::BTreeSet, io::Write as _};

use crate::command::{
    Args, Env, Message, Reply, Session,
    call::Call,
    refusal::Answer,
    table::{ADMIN, Command},
};
use crate::store::{Audience, Store, workers_of};

pub(crate) const COMMANDS: &[Command] = &[Command::new("monitor", 1, monitor).flags(ADMIN).group("server").docs(
    "1.0.0",
    "",
    "Shows every command that is carried out, by any worker.",
)];

/// Bytes that a line shows of each argument at most, when it would be too long for a message otherwise.
const SHOWN_BYTES: usize = 128;
/// Arguments that such a line shows at most.
const SHOWN_ARGS: usize = 32;
/// Between two arguments.
const SEPARATOR: &[u8] = b" \"";
/// What is shown in place of a secret.
pub(in crate::command) const REDACTED: &[u8] = b"(redacted)";

/// The clients of this worker that are shown commands.
pub struct Monitors {
    store: Store,
    worker: usize,
    clients: RefCell<BTreeSet<u64>>,
    /// Lines of the request at hand.
    lines: RefCell<Vec<Vec<u8>>>,
}

impl Monitors {
    /// Nobody.
    #[must_use]
    pub fn new(store: &Store, worker: usize) -> Self {
        Self { store: store.clone(), worker, clients: RefCell::default(), lines: RefCell::default() }
    }

    /// Shows commands to a client.
    fn add(&self, client: u64) {
        self.clients.borrow_mut().insert(client);
        self.store.interest().join(Audience::Monitors, self.worker);
    }

    /// Shows a client no more commands.
    pub fn remove(&self, client: u64) {
        let mut clients = self.clients.borrow_mut();
        if clients.remove(&client) && clients.is_empty() {
            self.store.interest().leave(Audience::Monitors, self.worker);
        }
    }

    /// The clients that are shown commands.
    #[must_use]
    pub fn clients(&self) -> Vec<u64> {
        self.clients.borrow().iter().copied().collect()
    }

    /// Forgets the lines of a transaction that was undone.
    pub(crate) fn forget(&self) {
        self.lines.borrow_mut().clear();
    }

    /// Whether there are lines to tell of.
    pub(crate) fn has_lines(&self) -> bool {
        !self.lines.borrow().is_empty()
    }

    /// Posts the lines of a request that is over.
    pub(crate) fn tell(&self, env: &Env<'_>) {
        if self.lines.borrow().is_empty() {
            return;
        }
        let targets = workers_of(self.store.interest().audience(Audience::Monitors), env.workers);
        for line in self.lines.take() {
            env.state.bus.post(targets, &Message::Monitor { line: &line });
        }
    }
}

/// Shows a command that was carried out. One load if nobody watches.
#[inline]
pub(crate) fn show(call: &Call<'_, '_>, command: &Command) {
    if call.env.interest.audience(Audience::Monitors) != 0 {
        show_to_monitors(call, command);
    }
}

#[cold]
fn show_to_monitors(call: &Call<'_, '_>, command: &Command) {
    if command.flags.contains(&"admin") || command.flags.contains(&"skip_monitor") {
        return;
    }
    let monitors = &call.env.state.monitors;
    let max = call.env.state.bus.longest() - 64;
    let line = |max_args, max_bytes| line_of(call.session, call.env.now_us, &call.args, command, max_args, max_bytes);
    // What is too long as it stands need not be escaped to find that out.
    let may_fit = call.args.iter().map(|arg| arg.len() + SEPARATOR.len()).sum::<usize>() <= max;
    let whole = may_fit.then(|| line(usize::MAX, usize::MAX)).filter(|line| line.len() <= max);
    monitors.lines.borrow_mut().push(whole.unwrap_or_else(|| line(SHOWN_ARGS, SHOWN_BYTES)));
}

/// `+<seconds>.<micros> [<db> <address>] "<argument>"...`
fn line_of(
    session: &Session,
    now_us: u64,
    args: &Args<'_>,
    command: &Command,
    max_args: usize,
    max_bytes: usize,
) -> Vec<u8> {
    let mut line = Vec::with_capacity(96);
    let (seconds, micros) = (now_us / 1_000_000, now_us % 1_000_000);
    let _ = write!(line, "+{seconds}.{micros:06} [{} {}]", session.db, session.addr);
    for (at, arg) in args.iter().enumerate().take(max_args) {
        line.extend_from_slice(SEPARATOR);
        let shown = if is_secret(args, command, at) { REDACTED } else { arg };
        escape(&shown[..shown.len().min(max_bytes)], &mut line);
        line.extend_from_slice(if shown.len() > max_bytes { b"...\"" } else { b"\"" });
    }
    if args.len() > max_args {
        let _ = write!(line, " ... ({} more arguments)", args.len() - max_args);
    }
    line.extend_from_slice(b"\r\n");
    line
}

/// Whether argument `at` is a name or password that nobody should see.
pub(in crate::command) fn is_secret(args: &Args<'_>, command: &Command, at: usize) -> bool {
    match command.full_name {
        "auth" => at > 0,
        "acl|setuser" => at > 2,
        "config|set" => at > 2 && at % 2 == 1 && args.is(at - 1, "requirepass"),
        "hello" => at > 1 && (args.is(at - 1, "AUTH") || at > 2 && args.is(at - 2, "AUTH")),
        _ => false,
    }
}

/// Printable bytes as they are, others as escapes.
fn escape(bytes: &[u8], out: &mut Vec<u8>) {
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            7 => out.extend_from_slice(b"\\a"),
            8 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => {
                let _ = write!(out, "\\x{byte:02x}");
            }
        }
    }
}

fn monitor(call: &mut Call<'_, '_>) -> Answer {
    call.env.state.monitors.add(call.session.id);
    call.session.monitors = true;
    call.session.dirty = true;
    Ok(Reply::OK)
}

#[cfg(test)]
mod tests {
    use crate::command::{Message, testing::Server};

    fn line(server: &Server, request: &str) -> String {
        server.run(request);
        let letter = server.state.bus.next().expect("a line");
        let Some(Message::Monitor { line }) = Message::decode(&letter.bytes) else { panic!("a line") };
        String::from_utf8_lossy(line).split_once("] ").expect("an address").1.trim_end().to_owned()
    }

    #[test]
    fn a_line_that_is_too_long_shows_where_its_arguments_begin() {
        let server = Server::new();
        server.run("monitor");
        let text = "x".repeat(10_000);
        assert_eq!(line(&server, &format!("echo {text}")), format!("\"echo\" \"{text}\""));
        let text = "x".repeat(40_000);
        assert_eq!(line(&server, &format!("echo {text}")), format!("\"echo\" \"{}...\"", &text[..128]));
        let escaped = "\\x01".repeat(10_000);
        assert_eq!(line(&server, &format!("echo \"{escaped}\"")), format!("\"echo\" \"{}...\"", &escaped[..4 * 128]));
        let shown = line(&server, &format!("mget{}", " k".repeat(20_000)));
        assert!(shown.ends_with("\"k\" ... (19969 more arguments)"), "{shown}");
    }
}
