//! What can go wrong with a request, told so that the caller knows what to mend.

use std::fmt;

/// The result of a store operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation was refused. Whatever the variant: nothing was written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// No table has this name.
    TableNotFound(String),
    /// A table of this name exists with another schema.
    TableExists(String),
    /// All table places are taken.
    TablesFull,
    /// The table has no such column.
    UnknownColumn {
        /// The table.
        table: String,
        /// The name that was asked for.
        column: String,
    },
    /// The value does not fit the column's type.
    WrongType {
        /// The column.
        column: String,
        /// What the column holds, as a person would write it (`int`, `float`, `string(64)`).
        expected: String,
    },
    /// A string is longer than its column.
    ValueTooLong {
        /// The column.
        column: String,
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// A key is longer than allowed.
    KeyTooLong {
        /// Bytes given.
        len: usize,
        /// Bytes allowed.
        max: usize,
    },
    /// Row keys and counter names have at least one byte.
    EmptyKey,
    /// Every row of the table is taken and none has expired.
    TableFull {
        /// The table.
        table: String,
        /// Its capacity.
        rows: u64,
    },
    /// Every counter is taken.
    CountersFull,
    /// The segment has no room for the value, the key or the table.
    OutOfMemory,
    /// The result does not fit a 64-bit integer, or is not a finite float.
    Overflow,
    /// The request names or holds more than one operation may.
    TooLarge {
        /// What is too large (`"rows in one batch"`, `"value"`).
        what: &'static str,
        /// Number given.
        len: usize,
        /// Number allowed.
        max: usize,
    },
    /// A table, column or counter name breaks the rules, or a schema does; the text says which and how to mend it.
    Invalid(String),
    /// The value of the key is not of the type this operation works on.
    WrongKind,
    /// The value of the key is not an integer.
    NotAnInteger,
    /// The value of the key is not a float.
    NotAFloat,
    /// The operation needs an existing key.
    NoSuchKey,
    /// What the operation has to wait for is held by a stopped process.
    Busy,
    /// Tables are not made or dropped inside a transaction, and none begins inside one of another segment.
    InTransaction,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TableNotFound(name) => write!(f, "no table named '{name}'; make it first"),
            Self::TableExists(name) => {
                write!(f, "table '{name}' exists with another schema; drop it first or use its schema")
            }
            Self::TablesFull => write!(f, "all {} tables are in use; drop one first", crate::store::limits::MAX_TABLES),
            Self::UnknownColumn { table, column } => write!(f, "table '{table}' has no column '{column}'"),
            Self::WrongType { column, expected } => write!(f, "column '{column}' holds {expected}"),
            Self::ValueTooLong { column, len, max } => {
                write!(f, "value of {len} bytes is too long for column '{column}' ({max} bytes at most)")
            }
            Self::KeyTooLong { len, max } => write!(f, "key of {len} bytes is too long ({max} bytes at most)"),
            Self::EmptyKey => write!(f, "a key or name has at least one byte"),
            Self::TableFull { table, rows } => {
                write!(f, "table '{table}' is full: all {rows} rows are in use; delete rows or make it larger")
            }
            Self::CountersFull => write!(f, "all counters are in use; delete one or start with a larger --counters"),
            Self::OutOfMemory => {
                write!(
                    f,
                    "the segment has no room for this; delete something or start with a larger --memory (or --max-keys, \
                     if that many keys are in use)"
                )
            }
            Self::Overflow => write!(f, "the result would overflow"),
            Self::TooLarge { what, len, max } => write!(f, "{len} is too many for {what} ({max} at most)"),
            Self::Invalid(why) => f.write_str(why),
            Self::WrongKind => write!(f, "Operation against a key holding the wrong kind of value"),
            Self::NotAnInteger => write!(f, "value is not an integer or out of range"),
            Self::NotAFloat => write!(f, "value is not a valid float"),
            Self::NoSuchKey => write!(f, "no such key"),
            Self::Busy => write!(f, "a stopped process holds what this request needs; nothing was written, try again"),
            Self::InTransaction => {
                write!(
                    f,
                    "tables are not made or dropped inside a transaction, and none begins inside one of another segment"
                )
            }
        }
    }
}

impl std::error::Error for Error {}
