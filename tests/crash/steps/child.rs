//! Processes that the harness starts: they do one thing, say how it went, and end.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    panic,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::{
    sys::{
        memfd::{MFdFlags, memfd_create},
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::{Pid, alarm},
};
use store_master::sys::process::{self, Forked};

/// Seconds after which a child that is not traced counts as one that hangs. What it does takes milliseconds, but others may want the
/// processor as well.
pub(super) const HANG_SECONDS: u32 = 30;
/// Longest message.
const MESSAGE: usize = 1 << 20;

static IS_CHILD: AtomicBool = AtomicBool::new(false);
static MESSAGES: OnceLock<File> = OnceLock::new();

/// Where children leave what they have to say: a file, so that the dead say it too.
pub(super) struct Mailbox(File);

impl Mailbox {
    pub(super) fn new() -> Self {
        Self(File::from(memfd_create("messages", MFdFlags::MFD_CLOEXEC).expect("a memfd can be made")))
    }

    pub(super) fn clear(&self) {
        self.0.set_len(0).expect("a memfd can be emptied");
    }

    pub(super) fn put(&self, message: &str) {
        let bytes = &message.as_bytes()[..message.len().min(MESSAGE)];
        self.0.write_all_at(bytes, 0).expect("a memfd can be written");
    }

    pub(super) fn take(&self) -> String {
        let len = self.0.metadata().map_or(0, |metadata| metadata.len()) as usize;
        let mut bytes = vec![0; len];
        self.0.read_exact_at(&mut bytes, 0).expect("a memfd can be read");
        self.clear();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// A child that panics says so and dies; it must not come back into the harness's own code.
pub(super) fn catch_panics() {
    MESSAGES.get_or_init(|| Mailbox::new().0);
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |what| {
        if IS_CHILD.load(Ordering::Relaxed) {
            let file = MESSAGES.get().and_then(|file| file.try_clone().ok());
            file.map(Mailbox).into_iter().for_each(|mailbox| mailbox.put(&what.to_string()));
            std::process::abort();
        }
        usual(what);
    }));
}

/// What the last child that panicked said.
pub(super) fn panic_message() -> String {
    let file = MESSAGES.get().and_then(|file| file.try_clone().ok());
    file.map(|file| Mailbox(file).take()).unwrap_or_default()
}

/// Forks; the child runs `body`, which does not return, and dies with the harness.
pub(super) fn fork(body: impl FnOnce()) -> Pid {
    match process::fork().expect("a process can be forked") {
        Forked::Parent(pid) => Pid::from_raw(pid.as_raw()),
        Forked::Child => {
            IS_CHILD.store(true, Ordering::Relaxed);
            process::end_with_parent().expect("a signal can be asked for");
            body();
            std::process::exit(0)
        }
    }
}

/// Waits for a child that was started with [`start`]; an error if it died or hung.
pub(super) fn wait(pid: Pid) -> Result<(), String> {
    match waitpid(pid, None).expect("the child is there") {
        WaitStatus::Exited(_, 0) => Ok(()),
        WaitStatus::Signaled(_, Signal::SIGALRM, _) => Err(format!("hangs for {HANG_SECONDS} s")),
        other => Err(format!("{other:?}: {}", panic_message())),
    }
}

/// Starts a child that leaves the result of `body` in `mailbox`.
pub(super) fn start(mailbox: &Mailbox, body: impl FnOnce() -> String) -> Pid {
    mailbox.clear();
    fork(|| {
        alarm::set(HANG_SECONDS);
        mailbox.put(&body());
    })
}

/// Runs `body` in a child of its own, and returns what it says.
pub(super) fn run(what: &str, body: impl FnOnce() -> String) -> Result<String, String> {
    let mailbox = Mailbox::new();
    let pid = start(&mailbox, body);
    wait(pid).map_err(|error| format!("{what}: {error}"))?;
    Ok(mailbox.take())
}
