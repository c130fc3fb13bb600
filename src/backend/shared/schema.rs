//! A schema as bytes: the number of columns (two bytes), then for each its type (one byte), size (two), the length of its name
//! (one) and its name.

use crate::{
    shm::RawSpec,
    store::{Column, ColumnType, Error, Result, Schema, TableSpec},
};

const INT: u8 = 0;
const FLOAT: u8 = 1;
const STRING: u8 = 2;

/// What the directory keeps of a schema.
pub(super) fn raw(schema: &Schema) -> RawSpec {
    let fixed = schema.columns().iter().filter(|column| !matches!(column.kind, ColumnType::String(_))).count() * 8;
    RawSpec {
        name: schema.table().to_owned(),
        rows: schema.spec().rows,
        key_bytes: u32::from(schema.spec().key_bytes),
        fixed_bytes: fixed as u32,
        string_bytes: (schema.image_bytes() - fixed) as u32,
        schema: encode(schema.columns()),
    }
}

fn encode(columns: &[Column]) -> Vec<u8> {
    let mut bytes = (columns.len() as u16).to_le_bytes().to_vec();
    for column in columns {
        let (kind, size) = match column.kind {
            ColumnType::Int => (INT, 0),
            ColumnType::Float => (FLOAT, 0),
            ColumnType::String(size) => (STRING, size),
        };
        bytes.push(kind);
        bytes.extend_from_slice(&size.to_le_bytes());
        bytes.push(column.name.len() as u8);
        bytes.extend_from_slice(column.name.as_bytes());
    }
    bytes
}

/// The schema that the directory keeps, checked as if a client had sent it.
pub(super) fn read(raw: &RawSpec) -> Result<Schema> {
    let corrupt = || Error::Invalid(format!("the schema of table '{}' in the segment is damaged", raw.name));
    let columns = decode(&raw.schema).ok_or_else(corrupt)?;
    let key_bytes = u16::try_from(raw.key_bytes).map_err(|_| corrupt())?;
    let spec = TableSpec { rows: raw.rows, key_bytes, columns };
    let schema =
        if Schema::is_hidden(&raw.name) { Schema::hidden(&raw.name, spec) } else { Schema::new(&raw.name, spec) };
    let schema = schema.map_err(|_| corrupt())?;
    if self::raw(&schema) == *raw { Ok(schema) } else { Err(corrupt()) }
}

fn decode(bytes: &[u8]) -> Option<Vec<Column>> {
    let (count, mut rest) = bytes.split_first_chunk::<2>()?;
    let mut columns = Vec::new();
    for _ in 0..u16::from_le_bytes(*count) {
        let ([kind, low, high, len], after) = rest.split_first_chunk::<4>()?;
        let (name, after) = after.split_at_checked(usize::from(*len))?;
        let kind = match *kind {
            INT => ColumnType::Int,
            FLOAT => ColumnType::Float,
            STRING => ColumnType::String(u16::from_le_bytes([*low, *high])),
            _ => return None,
        };
        columns.push(Column { name: std::str::from_utf8(name).ok()?.to_owned(), kind });
        rest = after;
    }
    rest.is_empty().then_some(columns)
}

#[cfg(test)]
mod tests {
    use super::{decode, encode};
    use crate::store::Column;

    #[test]
    fn columns_come_back_and_damaged_bytes_do_not() {
        let columns = vec![Column::int("n"), Column::string("s", 500), Column::float("x.y")];
        let bytes = encode(&columns);
        assert_eq!(decode(&bytes), Some(columns));
        for len in 0..bytes.len() {
            assert_eq!(decode(&bytes[..len]), None);
        }
    }
}
