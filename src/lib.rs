//! A crash-safe store in shared memory: typed tables, counters and a key-value space for pre-forked workers.
//!
//! Make a segment, open a store on it, fork: every process reads and writes the same rows, and a process that is killed in
//! the middle of a write tears nothing and stalls nobody.
//!
//! ```
//! use store_master::{Column, Segment, SegmentOptions, Store, Value, row};
//!
//! let segment = Segment::create(SegmentOptions::new().memory(64 << 20))?;
//! let store = Store::open(segment)?;
//! let users = store.make("users", 128, &[Column::string("name", 64), Column::int("score")])?;
//! users.set("user_1", &row! { name: "alice", score: 100 })?;
//! assert_eq!(users.incr("user_1", "score", 1)?, 101);
//! let alice = users.get("user_1")?.expect("the row was just written");
//! assert_eq!(alice.value("name")?, Value::from("alice"));
//!
//! let requests = store.counter("requests")?;
//! requests.increment()?;
//! assert_eq!(requests.get()?, Some(1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Handles are cheap to clone, usable from any thread, and stay good after a `fork`, which the library notices itself.
//! A thread that writes owns a *slot* in the segment; the kernel marks it when the thread dies, by a robust list that the
//! library registers for the thread in place of the C library's own. Robust `pthread` mutexes are therefore not for such threads.

#[cfg(not(target_endian = "little"))]
compile_error!("segments are little-endian");

pub mod backend;
pub mod cli;
pub mod command;
pub mod config;
pub mod process;
pub mod protocol;
pub mod server;
pub mod shm;
pub mod store;
pub mod sys;

pub use shm::{Segment, SegmentError, SegmentOptions};
pub use store::{Column, Counter, Error, Result, Row, Store, Table, Value};
