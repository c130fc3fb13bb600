//! A library process that attaches to a named segment, carries out one operation, and stops itself at the crash point that
//! the environment names. Usage: `stopper SEGMENT OPERATION`.

use std::{error::Error, process::ExitCode};

use store_master::{Column, Segment, Store, row, store::SetOptions, store::ValueRef};

type Outcome = Result<(), Box<dyn Error>>;

/// A value that needs blocks of the heap.
const LARGE: usize = 100_000;

fn run(segment: &str, operation: &str) -> Outcome {
    let store = Store::open(Segment::attach(segment)?)?;
    match operation {
        "row-insert" | "row-update" => write_row(&store, "new"),
        "row-incr" => store.table("t")?.incr("row", "a", 1).map(drop).map_err(Into::into),
        "row-delete" => store.table("t")?.delete("row").map(drop).map_err(Into::into),
        "row-mset" => write_rows(&store),
        "key-insert" | "key-update" => {
            store.kv().set(0, b"key", &[b'n'; LARGE], SetOptions::default())?;
            Ok(())
        }
        "key-small" => {
            store.kv().set(0, b"key", b"new", SetOptions::default())?;
            Ok(())
        }
        "key-delete" => store.kv().delete(0, b"key").map(drop).map_err(Into::into),
        "key-rename" => store.kv().rename(0, b"key", b"other", false).map(drop).map_err(Into::into),
        "key-mset" => {
            store.kv().mset(0, &[(b"key", &[b'n'; LARGE]), (b"other", b"new")], false)?;
            Ok(())
        }
        "counter-make" => store.counter("c")?.increment().map(drop).map_err(Into::into),
        "table-drop" => store.drop_table("t").map(drop).map_err(Into::into),
        "table-make" => store.make("made", 10, &[Column::int("a")]).map(drop).map_err(Into::into),
        unknown => Err(format!("no operation is called {unknown}").into()),
    }
}

fn write_row(store: &Store, text: &str) -> Outcome {
    store.table("t")?.set("row", &row! { a: 2, b: 2, text: text })?;
    Ok(())
}

fn write_rows(store: &Store) -> Outcome {
    let cells = || vec![(0, ValueRef::Int(2)), (1, ValueRef::Int(2)), (2, ValueRef::Bytes(b"new"))];
    store.table("t")?.mset(&[(b"row", cells()), (b"row2", cells())])?;
    Ok(())
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [segment, operation] = arguments.as_slice() else {
        eprintln!("usage: stopper SEGMENT OPERATION");
        return ExitCode::from(2);
    };
    match run(segment, operation) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
