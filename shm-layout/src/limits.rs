//! Every limit of the store, with its unit: the one place where they are numbers.

/// Tables that can exist at once (the hidden ones of the program itself come on top).
pub const MAX_TABLES: usize = 1024;
/// Hidden tables that the program keeps for itself (client registry, settings).
pub const MAX_SYSTEM_TABLES: usize = 8;
/// Columns of one table.
pub const MAX_COLUMNS: usize = 256;
/// Bytes of a table or column name.
pub const MAX_NAME_BYTES: usize = 64;
/// Bytes of a counter name.
pub const MAX_COUNTER_NAME_BYTES: usize = 255;
/// Bytes of key and columns of one row together.
pub const MAX_ROW_BYTES: usize = 65_536;
/// Bytes of a row's key when a table does not say otherwise.
pub const DEFAULT_KEY_BYTES: usize = 64;
/// Largest `key_bytes` a table can ask for.
pub const MAX_KEY_BYTES: usize = 1024;
/// Rows of one table: row numbers are 32-bit and 0 means none.
pub const MAX_ROWS: u64 = u32::MAX as u64 - 1;
/// Bytes of a key of the key-value space.
pub const MAX_KV_KEY_BYTES: usize = 65_535;
/// Bytes of the name of a channel that can be subscribed to, and of a pattern.
pub const MAX_CHANNEL_BYTES: usize = 255;
/// Largest value that `--max-value` can allow, in bytes: what the directory of one tree can name.
pub const MAX_VALUE_BYTES: usize = 255 << 20;
/// Databases of the key-value space.
pub const DATABASES: usize = 16;
/// Rows that one atomic operation locks; more go through the gate or are refused.
pub const MAX_BATCH_ROWS: usize = 64;
/// Workers of one master.
pub const MAX_WORKERS: usize = 256;
/// Slots beyond two for each worker, for library processes and tools.
pub const EXTRA_SLOTS: usize = 64;
