//! Tables to make at start, as one line of text: `name:rows:[key=BYTES,]column=type,...`.
//!
//! The types are `int`, `float` and `string(N)`. An entry `key=` with a number is the key size; `key=int` is a column
//! that happens to be called `key`.

use crate::store::{Column, ColumnType, Schema, TableSpec, limits::DEFAULT_KEY_BYTES};

const EXAMPLE: &str = "demo_table:128:name=string(64),score=int";

/// Reads a table's name and schema from `demo_table:128:key=32,name=string(64),score=int`.
///
/// # Errors
///
/// What is wrong with the text, and what would be right.
pub fn parse_table_spec(text: &str) -> Result<(String, TableSpec), String> {
    let mut parts = text.splitn(3, ':');
    let (Some(name), Some(rows), Some(entries)) = (parts.next(), parts.next(), parts.next()) else {
        return Err(format!("'{text}' is not name:rows:columns; write it like {EXAMPLE}"));
    };
    let name = name.trim();
    let rows = rows
        .trim()
        .parse()
        .map_err(|_| format!("'{rows}' in '{text}' is not a number of rows; write it like {EXAMPLE}"))?;
    let mut spec = TableSpec { rows, key_bytes: DEFAULT_KEY_BYTES as u16, columns: Vec::new() };
    for entry in entries.split(',') {
        read_entry(entry.trim(), &mut spec).map_err(|why| format!("{why} in '{text}'; write it like {EXAMPLE}"))?;
    }
    Schema::new(name, spec.clone()).map_err(|error| format!("{error} (in '{text}')"))?;
    Ok((name.to_owned(), spec))
}

fn read_entry(entry: &str, spec: &mut TableSpec) -> Result<(), String> {
    let (name, kind) = entry.split_once('=').ok_or_else(|| format!("'{entry}' is not column=type"))?;
    let (name, kind) = (name.trim(), kind.trim());
    if name == "key" && kind.starts_with(|c: char| c.is_ascii_digit()) {
        spec.key_bytes = kind.parse().map_err(|_| format!("'{kind}' is not a key size in bytes"))?;
        return Ok(());
    }
    spec.columns.push(Column { name: name.to_owned(), kind: read_type(kind)? });
    Ok(())
}

fn read_type(kind: &str) -> Result<ColumnType, String> {
    match kind {
        "int" => return Ok(ColumnType::Int),
        "float" => return Ok(ColumnType::Float),
        _ => {}
    }
    kind.strip_prefix("string(")
        .and_then(|rest| rest.strip_suffix(')'))
        .and_then(|size| size.trim().parse().ok())
        .map(ColumnType::String)
        .ok_or_else(|| format!("'{kind}' is not a type (int, float or string(N) with N up to 65535)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_rows_columns_and_key_size_are_read() {
        let (name, spec) = parse_table_spec("demo_table:128:name=string(64),score=int").unwrap();
        assert_eq!((name.as_str(), spec.rows, spec.key_bytes), ("demo_table", 128, 64));
        assert_eq!(spec.columns, [Column::string("name", 64), Column::int("score")]);
        let (_, spec) = parse_table_spec("t:1: key=32, x=float ").unwrap();
        assert_eq!((spec.key_bytes, spec.columns), (32, vec![Column::float("x")]));
    }

    #[test]
    fn key_with_a_type_is_a_column() {
        let (_, spec) = parse_table_spec("t:1:key=int").unwrap();
        assert_eq!((spec.key_bytes, spec.columns), (64, vec![Column::int("key")]));
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, part) in [
            ("", "name:rows:columns"),
            ("t:128", "name:rows:columns"),
            ("t:many:x=int", "'many'"),
            ("t:0:x=int", "rows is 0"),
            ("t:5:", "'' is not column=type"),
            ("t:5:x", "'x' is not column=type"),
            ("t:5:x=text", "'text' is not a type"),
            ("t:5:x=string", "'string' is not a type"),
            ("t:5:x=string(70000)", "is not a type"),
            ("t:5:x=string(0)", "at least 1"),
            ("t:5:x=int,x=int", "twice"),
            ("t:5:key=32", "0 columns"),
            ("t:5:key=0,x=int", "key_bytes is 0"),
            ("t:5:key=99999,x=int", "'99999' is not a key size"),
            ("t t:5:x=int", "table name 't t'"),
            ("~t:5:x=int", "table name '~t'"),
        ] {
            let why = parse_table_spec(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
