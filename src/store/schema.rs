//! What a table looks like: its columns, its key size, its capacity, and where each column lies in a row's image.
//!
//! A row's *image* is the bytes of its columns: first every `int` and `float` column in the order of the
//! schema, eight bytes each, then every `string(N)` column in the order of the schema, a two-byte
//! length and N bytes each. Numbers and lengths are in the machine's byte order.

use super::{
    Error, Result, ValueRef,
    limits::{MAX_COLUMNS, MAX_KEY_BYTES, MAX_NAME_BYTES, MAX_ROW_BYTES, MAX_ROWS},
};

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ColumnType {
    /// `i64`.
    Int,
    /// `f64`, finite.
    Float,
    /// Up to this many bytes.
    String(u16),
}

impl std::fmt::Display for ColumnType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int => f.write_str("int"),
            Self::Float => f.write_str("float"),
            Self::String(size) => write!(f, "string({size})"),
        }
    }
}

/// One column: a name and a type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// 1..=64 of `[A-Za-z0-9_.-]`.
    pub name: String,
    /// The type.
    pub kind: ColumnType,
}

impl Column {
    /// An `int` column.
    #[must_use]
    pub fn int(name: &str) -> Self {
        Self { name: name.to_owned(), kind: ColumnType::Int }
    }

    /// A `float` column.
    #[must_use]
    pub fn float(name: &str) -> Self {
        Self { name: name.to_owned(), kind: ColumnType::Float }
    }

    /// A `string(size)` column: up to `size` bytes.
    #[must_use]
    pub fn string(name: &str, size: u16) -> Self {
        Self { name: name.to_owned(), kind: ColumnType::String(size) }
    }
}

/// What `make` is asked for: capacity, key size and columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    /// Exactly this many rows fit.
    pub rows: u64,
    /// Longest key, in bytes.
    pub key_bytes: u16,
    /// The columns, in order.
    pub columns: Vec<Column>,
}

/// A checked [`TableSpec`] with the place of every column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schema {
    table: String,
    spec: TableSpec,
    /// Byte offset of each column in the image.
    offsets: Vec<u32>,
    image_bytes: usize,
}

impl Schema {
    /// Checks names, sizes and limits, and places the columns.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with what is wrong and what is allowed.
    pub fn new(table: &str, spec: TableSpec) -> Result<Self> {
        check_name("table", table)?;
        Self::placed(table, spec)
    }

    /// As [`Schema::new`] for a table that the program keeps for itself: its name starts with `~`.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`].
    pub fn hidden(table: &str, spec: TableSpec) -> Result<Self> {
        check_name("table", table.strip_prefix('~').unwrap_or_default())?;
        Self::placed(table, spec)
    }

    /// Whether this is the name of a table that the program keeps for itself.
    #[must_use]
    pub fn is_hidden(table: &str) -> bool {
        table.starts_with('~')
    }

    fn placed(table: &str, spec: TableSpec) -> Result<Self> {
        if spec.rows == 0 || spec.rows > MAX_ROWS {
            return invalid(format!("rows is {}, must be 1..={MAX_ROWS}", spec.rows));
        }
        if spec.key_bytes == 0 || usize::from(spec.key_bytes) > MAX_KEY_BYTES {
            return invalid(format!("key_bytes is {}, must be 1..={MAX_KEY_BYTES}", spec.key_bytes));
        }
        if spec.columns.is_empty() || spec.columns.len() > MAX_COLUMNS {
            return invalid(format!("{} columns, must be 1..={MAX_COLUMNS}", spec.columns.len()));
        }
        for (i, column) in spec.columns.iter().enumerate() {
            check_name("column", &column.name)?;
            if spec.columns[..i].iter().any(|other| other.name == column.name) {
                return invalid(format!("column '{}' appears twice", column.name));
            }
            if column.kind == ColumnType::String(0) {
                return invalid(format!("column '{}': a string has a size of at least 1", column.name));
            }
        }
        let (offsets, image_bytes) = place(&spec.columns);
        if image_bytes + usize::from(spec.key_bytes) > MAX_ROW_BYTES {
            let bytes = image_bytes + usize::from(spec.key_bytes);
            return invalid(format!("key and columns take {bytes} bytes, must be at most {MAX_ROW_BYTES}"));
        }
        Ok(Self { table: table.to_owned(), spec, offsets, image_bytes })
    }

    /// The table's name.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// Capacity, key size and columns.
    #[must_use]
    pub fn spec(&self) -> &TableSpec {
        &self.spec
    }

    /// The columns, in order.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        &self.spec.columns
    }

    /// Bytes of a row's image.
    #[must_use]
    pub fn image_bytes(&self) -> usize {
        self.image_bytes
    }

    /// Byte offset of column `index` in the image.
    ///
    /// # Panics
    ///
    /// If there is no such column.
    #[must_use]
    pub fn offset(&self, index: usize) -> usize {
        self.offsets[index] as usize
    }

    /// The index of the column called `name`. O(columns).
    ///
    /// # Errors
    ///
    /// [`Error::UnknownColumn`].
    pub fn column(&self, name: &str) -> Result<usize> {
        self.spec
            .columns
            .iter()
            .position(|column| column.name == name)
            .ok_or_else(|| Error::UnknownColumn { table: self.table.clone(), column: name.to_owned() })
    }

    /// Checks that `value` may be written to column `index`: type, length, finiteness.
    ///
    /// # Errors
    ///
    /// [`Error::WrongType`], [`Error::ValueTooLong`].
    pub fn check(&self, index: usize, value: ValueRef<'_>) -> Result<()> {
        let column = &self.spec.columns[index];
        match (column.kind, value) {
            (ColumnType::Int, ValueRef::Int(_)) => Ok(()),
            (ColumnType::Float, ValueRef::Float(x)) if x.is_finite() => Ok(()),
            (ColumnType::String(max), ValueRef::Bytes(bytes)) if bytes.len() <= usize::from(max) => Ok(()),
            (ColumnType::String(max), ValueRef::Bytes(bytes)) => {
                Err(Error::ValueTooLong { column: column.name.clone(), len: bytes.len(), max: usize::from(max) })
            }
            (kind, _) => Err(Error::WrongType { column: column.name.clone(), expected: expected(kind) }),
        }
    }

    /// The error for a value that column `index` cannot hold.
    #[must_use]
    pub fn wrong_type(&self, index: usize) -> Error {
        let column = &self.spec.columns[index];
        Error::WrongType { column: column.name.clone(), expected: expected(column.kind) }
    }

    /// Checks a row key's length.
    ///
    /// # Errors
    ///
    /// [`Error::EmptyKey`], [`Error::KeyTooLong`].
    pub fn check_key(&self, key: &[u8]) -> Result<()> {
        let max = usize::from(self.spec.key_bytes);
        match key.len() {
            0 => Err(Error::EmptyKey),
            len if len > max => Err(Error::KeyTooLong { len, max }),
            _ => Ok(()),
        }
    }
}

fn expected(kind: ColumnType) -> String {
    match kind {
        ColumnType::Float => "float (finite)".to_owned(),
        other => other.to_string(),
    }
}

fn place(columns: &[Column]) -> (Vec<u32>, usize) {
    let mut next = 0;
    let mut offsets = vec![0; columns.len()];
    for (offset, _) in offsets.iter_mut().zip(columns).filter(|(_, c)| !matches!(c.kind, ColumnType::String(_))) {
        *offset = next;
        next += 8;
    }
    for (offset, column) in offsets.iter_mut().zip(columns) {
        if let ColumnType::String(size) = column.kind {
            *offset = next;
            next += 2 + u32::from(size);
        }
    }
    (offsets, next as usize)
}

fn check_name(what: &str, name: &str) -> Result<()> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(allowed) {
        return invalid(format!("{what} name '{name}' must be 1..={MAX_NAME_BYTES} of A-Z a-z 0-9 _ . -"));
    }
    Ok(())
}

fn invalid<T>(why: String) -> Result<T> {
    Err(Error::Invalid(why))
}
