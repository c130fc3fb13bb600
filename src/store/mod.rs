//! The data model: keys, values, schemas, limits, errors, and the traits a backend carries out.
//!
//! Nothing here does I/O or knows where the data lives.

mod api;
mod backend;
mod bus;
mod error;
mod eviction;
mod hash;
mod interest;
pub(crate) mod kv;
pub mod limits;
mod long_double;
pub(crate) mod number;
mod row;
mod schema;
mod stats;
pub mod tally;
mod value;

pub use api::{Counter, Keyspace, Store, Table};
pub use backend::{Backend, KvBackend, Made, TableBackend, TableInfo};
pub use bus::{Bus, Received, Targets};
pub use error::{Error, Result};
pub use eviction::{KeyUsage, MemoryLimit, MemoryUse, Policy};
pub use hash::{DecideField, FieldPage, FieldUpdate, HashBackend, PACKED_BYTES, PACKED_FIELDS, Pair};
pub use interest::{Audience, Departed, Departures, Interest, Listeners, workers_of};
pub use kv::{
    Condition, Current, Decide, Derive, ExpireRule, Expiry, KvType, ScanPage, SetOptions, SetOutcome, Ttl, Update,
    Version, string_of,
};
pub use long_double::LongDouble;
pub use row::{Cell, Row, RowPage};
pub use schema::{Column, ColumnType, Schema, TableSpec};
pub use stats::{Stat, Statistics};
pub use value::{Value, ValueRef};
