//! A library process that attaches to a named segment, comes to a crash point in the middle of a write, and dies there in the
//! way that it is told.
//!
//! Usage: `victim SEGMENT OPERATION POINT DEATH WHO`. At the point the writing thread says `at POINT` on standard output. `WHO` names the
//! thread that then waits for a line on standard input and dies, or makes the process die:
//!
//! | WHO | writes | dies |
//! |---|---|---|
//! | `main` | the main thread | the same |
//! | `second` | another thread | the same |
//! | `other` | the main thread | another thread, while the writer stays at the point |
//! | `leader` | another thread | the main thread, while the writer stays at the point |
//!
//! Whoever dies has written to the store before, so it owns a slot of its own. An operation `none` writes nothing and dies at once.
#![allow(unsafe_code)]

mod death;

use std::{
    error::Error,
    io::{self, BufRead, Write},
    process::ExitCode,
    sync::{
        OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use store_master::{
    Segment, Store, Value,
    shm::on_crash_point,
    store::{SetOptions, ValueRef},
};

type Outcome = Result<(), Box<dyn Error>>;

/// A value that needs blocks of the heap.
const LARGE: usize = 100_000;

/// What was asked for.
struct Task {
    store: Store,
    operation: String,
    point: String,
    death: String,
    dies_itself: bool,
}

pub(crate) static TASK: OnceLock<Task> = OnceLock::new();
/// Somebody is at the point.
static THERE: AtomicBool = AtomicBool::new(false);

fn say(text: &str) {
    let mut stdout = io::stdout().lock();
    // Nobody reads only if the test is over.
    let _ = writeln!(stdout, "{text}");
    let _ = stdout.flush();
}

/// What happens at every point of every thread; the first that comes to the right one stays there.
fn at_point(name: &'static str) {
    let Some(task) = TASK.get().filter(|task| task.point == name) else { return };
    if THERE.swap(true, Ordering::AcqRel) {
        return;
    }
    say(&format!("at {name}"));
    if task.dies_itself {
        die(task);
    } else {
        stay();
    }
}

fn stay() -> ! {
    loop {
        thread::park();
    }
}

/// Dies as soon as the test says so. Returns if that death is none.
fn die(task: &Task) {
    let mut line = String::new();
    // The end of input is an answer as well: the test is over.
    let _ = io::stdin().lock().read_line(&mut line);
    death::die(&task.death, &task.store);
}

fn write(task: &Task) -> Outcome {
    match task.operation.as_str() {
        "transfer" => transfer(&task.store),
        "key" => Ok(task.store.kv().set(0, b"key", &[b'n'; LARGE], SetOptions::default()).map(drop)?),
        "own" => own_row(&task.store),
        unknown => Err(format!("no operation is called {unknown}").into()),
    }
}

/// Moves 1 from the row `a` to the row `b`, in one step.
fn transfer(store: &Store) -> Outcome {
    let table = store.table("accounts")?;
    let of = |key: &str| -> Result<i64, Box<dyn Error>> {
        let row = table.get(key)?.ok_or("no such account")?;
        match row.value("n")? {
            Value::Int(n) => Ok(n),
            other => Err(format!("{other:?}").into()),
        }
    };
    let (a, b) = (of("a")?, of("b")?);
    let cells = |n: i64| vec![(0, ValueRef::Int(n)), (1, ValueRef::Bytes(b"moved"))];
    Ok(table.mset(&[(b"a", cells(a - 1)), (b"b", cells(b + 1))])?)
}

/// Writes a row that nobody else writes.
fn own_row(store: &Store) -> Outcome {
    let key = format!("own{}", std::process::id());
    Ok(store.table("accounts")?.incr(key, "n", 1).map(drop)?)
}

/// Makes the calling thread the owner of a slot.
fn introduce(store: &Store) -> Outcome {
    Ok(store.counter("introduced")?.increment().map(drop)?)
}

/// The thread that dies while another one is in the middle of its write.
fn bystander(task: &Task) -> Outcome {
    introduce(&task.store)?;
    while !THERE.load(Ordering::Acquire) {
        thread::sleep(Duration::from_millis(1));
    }
    die(task);
    stay()
}

fn run(arguments: &[String]) -> Outcome {
    let [segment, operation, point, death, who] = arguments else {
        return Err("usage: victim SEGMENT OPERATION POINT DEATH WHO".into());
    };
    if operation == "none" {
        say("at none");
        return death::without_writing(death, segment);
    }
    let segment = Segment::attach(segment)?;
    death::register_handler(&segment);
    let store = Store::open(segment)?;
    introduce(&store)?;
    let dies_itself = matches!(who.as_str(), "main" | "second");
    let task = Task { store, operation: operation.clone(), point: point.clone(), death: death.clone(), dies_itself };
    let task = TASK.get_or_init(|| task);
    on_crash_point(at_point);
    let in_thread = |body: fn(&Task) -> Outcome| {
        thread::spawn(move || {
            if let Err(error) = body(task) {
                eprintln!("{error}");
            }
        })
    };
    match who.as_str() {
        "main" => write(task)?,
        "other" => {
            in_thread(bystander);
            write(task)?;
        }
        "second" => in_thread(write).join().map_err(|_| "the writer panicked")?,
        _ => {
            in_thread(write);
            bystander(task)?;
        }
    }
    say("survived");
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
