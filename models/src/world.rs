//! What all models need: running in every order, counting the runs, and a futex.

use std::{
    process::Command,
    sync::{
        Arc as StdArc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use loom::{
    model::Builder,
    sync::{Condvar, Mutex},
};

use crate::product::{AtomicU32, Ordering};

/// How often a thread may be interrupted in one run, where every order would be too many.
pub(crate) const FEW: Option<usize> = Some(3);

/// Runs `model` in every order, or in every one with at most `interruptions`, and prints in how many.
pub(crate) fn explore(name: &str, interruptions: Option<usize>, model: impl Fn() + Sync + Send + 'static) {
    let runs = StdArc::new(AtomicUsize::new(0));
    let counted = StdArc::clone(&runs);
    let mut builder = Builder::new();
    builder.preemption_bound = interruptions;
    builder.max_branches = 10_000;
    builder.check(move || {
        counted.fetch_add(1, Relaxed);
        model();
    });
    eprintln!("{name}: {} runs", runs.load(Relaxed));
}

/// Checks that the model of a mutant fails: that some order of its steps panics or ends in a deadlock.
///
/// It runs in a process of its own, because the tool aborts when what a deadlock left is dropped.
pub(crate) fn fails(test: &str, model: impl Fn() + Sync + Send + 'static) {
    const MUTANT: &str = "MODELS_MUTANT";
    let (_, test) = test.split_once("::").expect("a path begins with the crate");
    if std::env::var_os(MUTANT).is_some() {
        return explore(test, FEW, model);
    }
    let program = std::env::current_exe().expect("a test is a program");
    let run = Command::new(program).args([test, "--exact", "--nocapture"]).env(MUTANT, "1").output();
    let run = run.expect("a test can be run again");
    let said = String::from_utf8_lossy(&run.stderr);
    assert!(!run.status.success() && said.contains("panicked"), "{test} was not found out: {said}");
}

/// Tests that wrong steps are found out. Each names the model that fails, and the steps that replace the product's.
macro_rules! mutants {
    ($($(#[$attribute:meta])* $name:ident($model:expr) { $($step:item)* })*) => {$(
        $(#[$attribute])*
        #[test]
        fn $name() {
            #[derive(Clone, Copy)]
            struct Mutant;
            impl Steps for Mutant { $($step)* }
            let model = |steps: fn(Mutant)| crate::world::fails(concat!(module_path!(), "::", stringify!($name)), move || steps(Mutant));
            model($model);
        }
    )*};
}
pub(crate) use mutants;

/// The queue of those who sleep on a word.
pub(crate) struct Futex {
    queue: Mutex<()>,
    bell: Condvar,
}

impl Futex {
    pub(crate) fn new() -> Self {
        Self { queue: Mutex::new(()), bell: Condvar::new() }
    }

    /// Sleeps unless the word is another than expected. It never wakes by itself: a wake-up that is lost is a deadlock.
    pub(crate) fn wait(&self, word: &AtomicU32, expected: u32) {
        let queue = self.queue.lock().expect("nobody panics");
        // The kernel compares under the lock of its queue.
        if word.load(Ordering::Acquire) == expected {
            drop(self.bell.wait(queue).expect("nobody panics"));
        }
    }

    pub(crate) fn wake_all(&self) {
        let _queue = self.queue.lock().expect("nobody panics");
        self.bell.notify_all();
    }

    pub(crate) fn wake_one(&self) {
        let _queue = self.queue.lock().expect("nobody panics");
        self.bell.notify_one();
    }
}
