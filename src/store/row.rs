//! A row as it is read and written: the image of its columns, seen through its schema.

use std::sync::Arc;

use super::{ColumnType, Result, Schema, Value, ValueRef};

/// A column to write: its index in the schema and its value.
pub type Cell<'a> = (usize, ValueRef<'a>);

/// All columns of one row at one instant. Reusable: a read overwrites what it held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    schema: Arc<Schema>,
    /// The image in whole words; bytes behind `image_bytes` are zero.
    words: Vec<u64>,
}

impl Row {
    /// A row of zeros and empty strings.
    #[must_use]
    pub fn new(schema: Arc<Schema>) -> Self {
        let words = vec![0; schema.image_bytes().div_ceil(8)];
        Self { schema, words }
    }

    /// What the columns are.
    #[must_use]
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The image, in words.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.words
    }

    /// The image, to be filled.
    pub fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words
    }

    /// The value of column `index`. A length that exceeds its column reads as the column's size.
    ///
    /// # Panics
    ///
    /// If there is no such column.
    #[must_use]
    pub fn get(&self, index: usize) -> ValueRef<'_> {
        image_value(&self.schema, bytemuck::cast_slice(&self.words), index)
    }

    /// Writes column `index`; the value must have passed [`Schema::check`].
    ///
    /// # Panics
    ///
    /// If the value does not fit the column.
    pub fn set(&mut self, index: usize, value: ValueRef<'_>) {
        image_set(&self.schema, bytemuck::cast_slice_mut(&mut self.words), index, value);
    }

    /// Names and values in the order of the schema.
    pub fn iter(&self) -> impl Iterator<Item = (&str, ValueRef<'_>)> {
        self.schema.columns().iter().enumerate().map(|(i, column)| (column.name.as_str(), self.get(i)))
    }

    /// The value of the column called `name`.
    ///
    /// # Errors
    ///
    /// [`crate::store::Error::UnknownColumn`].
    pub fn value(&self, name: &str) -> Result<Value> {
        Ok(self.get(self.schema.column(name)?).to_value())
    }
}

/// The value of column `index` in an image of `schema`.
pub(crate) fn image_value<'a>(schema: &Schema, image: &'a [u8], index: usize) -> ValueRef<'a> {
    let at = schema.offset(index);
    match schema.columns()[index].kind {
        ColumnType::Int => ValueRef::Int(i64::from_ne_bytes(eight(image, at))),
        ColumnType::Float => ValueRef::Float(f64::from_ne_bytes(eight(image, at))),
        ColumnType::String(size) => {
            let len = u16::from_ne_bytes([image[at], image[at + 1]]).min(size);
            ValueRef::Bytes(&image[at + 2..at + 2 + usize::from(len)])
        }
    }
}

/// Writes column `index` of an image of `schema`; string bytes behind the new length become zero.
pub(crate) fn image_set(schema: &Schema, image: &mut [u8], index: usize, value: ValueRef<'_>) {
    let at = schema.offset(index);
    match (schema.columns()[index].kind, value) {
        (ColumnType::Int, ValueRef::Int(n)) => image[at..at + 8].copy_from_slice(&n.to_ne_bytes()),
        (ColumnType::Float, ValueRef::Float(x)) => image[at..at + 8].copy_from_slice(&x.to_ne_bytes()),
        (ColumnType::String(size), ValueRef::Bytes(bytes)) if bytes.len() <= usize::from(size) => {
            let len = bytes.len() as u16;
            image[at..at + 2].copy_from_slice(&len.to_ne_bytes());
            image[at + 2..at + 2 + bytes.len()].copy_from_slice(bytes);
            image[at + 2 + bytes.len()..at + 2 + usize::from(size)].fill(0);
        }
        _ => panic!("value does not fit column {index} of '{}'", schema.table()),
    }
}

fn eight(image: &[u8], at: usize) -> [u8; 8] {
    let mut word = [0; 8];
    word.copy_from_slice(&image[at..at + 8]);
    word
}

/// One page of an iteration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowPage {
    /// Where the next page starts; 0: there is none.
    pub cursor: u64,
    /// Keys and rows.
    pub rows: Vec<(Vec<u8>, Row)>,
}

/// Columns and values by name, for [`crate::Table::set`]: `row! { name: "alice", score: 100 }`.
#[macro_export]
macro_rules! row {
    ($($column:ident : $value:expr),* $(,)?) => {
        [$((stringify!($column), $crate::Value::from($value))),*]
    };
}
