//! Named points inside writes at which a test can stop the process, to see what the others do meanwhile.
//!
//! Built only with the feature `crash-points`; otherwise [`point`] is nothing. There are three ways to use a point:
//!
//! * The environment variable `STORE_MASTER_STOP_AT` names it, and a process stops itself (SIGSTOP) the first time it comes there.
//! * The variable `STORE_MASTER_STOP_TICKET` is the path of a file, the ticket, that holds its name, a blank and a process
//!   id. When that process comes there, it takes the ticket (removes the file) and stops itself. So a test chooses who of a
//!   server stops, when and where.
//! * A program installs a function with `on_crash_point`, which is called at every point and does what it likes there.

/// Every point, in the order in which an insertion passes them; then those of making a table, of a flush, of a swap of databases, of a long pass, of recovery,
/// of publishing a message, of making a segment, of a wait that ended because somebody woke the waiter, or because its time was up, and
/// of transactions.
pub const POINTS: &[&str] = &[
    "entered",
    "block-listed",
    "block-taken",
    "group-locked",
    "row-locked",
    "word-stored",
    "before-commit",
    "committed",
    "row-odd",
    "row-filled",
    "counted",
    "place-taken",
    "published",
    "unpublished",
    "row-even",
    "applied",
    "blocks-freed",
    "before-release",
    "units-noted",
    "units-taken",
    "region-ready",
    "table-live",
    "table-made",
    "record-hinted",
    "before-swap",
    "swapped",
    "victim-locked",
    "breathing",
    "settling",
    "ring-claimed",
    "ring-written",
    "ring-published",
    "segment-allocated",
    "segment-filled",
    "woken",
    "slept-out",
    "transaction-open",
    "log-grown",
    "logged",
    "before-transaction",
    "transaction-committed",
    "replaced-freed",
    "undone",
    "log-freed",
];

/// Stops the process if `name` is the point that it was asked to stop at.
#[inline(always)]
pub(crate) fn point(name: &'static str) {
    debug_assert!(POINTS.contains(&name));
    #[cfg(feature = "crash-points")]
    stop::at(name);
    #[cfg(test)]
    hook::at(name);
}

/// What a unit test does at the points that its thread passes.
#[cfg(test)]
pub(crate) mod hook {
    use std::cell::Cell;

    /// A function of the point's name.
    type Hook = Box<dyn Fn(&'static str)>;

    thread_local! {
        static HOOK: Cell<Option<Hook>> = const { Cell::new(None) };
    }

    /// Calls `hook` at every point that this thread passes from now on.
    pub(crate) fn set(hook: impl Fn(&'static str) + 'static) {
        HOOK.set(Some(Box::new(hook)));
    }

    pub(super) fn at(name: &'static str) {
        // Taken out meanwhile: the hook may use the store itself. A thread at its very end has none.
        if let Ok(Some(hook)) = HOOK.try_with(Cell::take) {
            hook(name);
            HOOK.set(Some(hook));
        }
    }
}

#[cfg(feature = "crash-points")]
pub use stop::on_crash_point;

#[cfg(feature = "crash-points")]
mod stop {
    use std::{
        fs,
        path::PathBuf,
        sync::{
            OnceLock,
            atomic::{AtomicBool, Ordering},
        },
    };

    static STOP_AT: OnceLock<Option<String>> = OnceLock::new();
    static STOPPED: AtomicBool = AtomicBool::new(false);
    static TICKET: OnceLock<Option<PathBuf>> = OnceLock::new();
    static CALL: OnceLock<fn(&'static str)> = OnceLock::new();

    /// Calls `call` at every point that any thread of this process passes from now on; the first call decides.
    pub fn on_crash_point(call: fn(&'static str)) {
        CALL.get_or_init(|| call);
    }

    pub(super) fn at(name: &'static str) {
        if let Some(call) = CALL.get() {
            call(name);
        }
        if is_asked_by_name(name) || takes_ticket(name) {
            // A process may always signal itself.
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
        }
    }

    fn is_asked_by_name(name: &str) -> bool {
        let wanted = STOP_AT.get_or_init(|| std::env::var("STORE_MASTER_STOP_AT").ok());
        wanted.as_deref() == Some(name) && !STOPPED.swap(true, Ordering::Relaxed)
    }

    fn takes_ticket(name: &str) -> bool {
        let ticket = TICKET.get_or_init(|| std::env::var_os("STORE_MASTER_STOP_TICKET").map(PathBuf::from));
        ticket.as_ref().is_some_and(|path| {
            let is_meant = |text: String| text.split_once(' ') == Some((name, &std::process::id().to_string()));
            fs::read_to_string(path).is_ok_and(is_meant) && fs::remove_file(path).is_ok()
        })
    }
}
