//! Named points inside writes at which a test can stop the process, to see what the others do meanwhile.
//!
//! Built only with the feature `crash-points`; otherwise [`point`] is nothing. The environment variable
//! `STORE_MASTER_STOP_AT` names the point, and a process stops itself (SIGSTOP) the first time it comes there. A
//! process that is a test itself says with [`on_point`] what it does at points.

/// Every point, in the order in which an insertion passes them; then those of making a table, of a long pass, of
/// recovery, and of a wait that ended because somebody woke the waiter, or because its time was up.
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
    "breathing",
    "settling",
    "woken",
    "slept-out",
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
        // Taken out meanwhile: the hook may use the store itself.
        if let Some(hook) = HOOK.take() {
            hook(name);
            HOOK.set(Some(hook));
        }
    }
}

/// Lets this process call `hook` with the name of every point that it passes from now on; the first call counts. The
/// hook must not use the store.
#[cfg(feature = "crash-points")]
pub fn on_point(hook: fn(&'static str)) {
    // A second hook is not worth an error to a test.
    let _ = stop::HOOK.set(hook);
}

#[cfg(feature = "crash-points")]
mod stop {
    use std::sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    };

    static STOP_AT: OnceLock<Option<String>> = OnceLock::new();
    static STOPPED: AtomicBool = AtomicBool::new(false);
    pub(super) static HOOK: OnceLock<fn(&'static str)> = OnceLock::new();

    pub(super) fn at(name: &'static str) {
        if let Some(hook) = HOOK.get() {
            hook(name);
        }
        let wanted = STOP_AT.get_or_init(|| std::env::var("STORE_MASTER_STOP_AT").ok());
        if wanted.as_deref() == Some(name) && !STOPPED.swap(true, Ordering::Relaxed) {
            // A process may always signal itself.
            let _ = nix::sys::signal::raise(nix::sys::signal::Signal::SIGSTOP);
        }
    }
}
