//! The settings file: TOML whose keys are the options' names and whose values are text, whole numbers, booleans, or lists of text.

use std::{collections::BTreeMap, fs::File, io::Read, path::Path};

use toml::{Table, Value};

use super::{ConfigError, LISTS, NAMES};

/// Longest settings file, in bytes. What is longer is surely another file.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Reads the file; returns each setting's values as text.
pub(super) fn read(path: &Path) -> Result<BTreeMap<&'static str, Vec<String>>, ConfigError> {
    load(path).and_then(|text| parse(&text)).map_err(|why| ConfigError::File { path: path.to_owned(), why })
}

fn load(path: &Path) -> Result<String, String> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| format!("cannot open the settings file: {error}"))?;
    let len = file
        .take(MAX_FILE_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(|error| format!("cannot read the settings file: {error}"))?;
    if len as u64 > MAX_FILE_BYTES {
        return Err(format!("a settings file has at most {MAX_FILE_BYTES} bytes"));
    }
    Ok(text)
}

fn parse(text: &str) -> Result<BTreeMap<&'static str, Vec<String>>, String> {
    let table: Table = text.parse().map_err(|error| format!("not TOML: {error}"))?;
    table.into_iter().map(|(name, value)| Ok((known(&name)?, values(&name, value)?))).collect()
}

fn known(name: &str) -> Result<&'static str, String> {
    let find = |name: &str| NAMES.iter().find(|known| **known == name && name != "config").copied();
    find(name).ok_or_else(|| match find(&name.replace('_', "-")) {
        Some(right) => format!("no setting is called '{name}'; write it as '{right}'"),
        None => format!("no setting is called '{name}'; `store-master --help` lists them all"),
    })
}

fn values(name: &str, value: Value) -> Result<Vec<String>, String> {
    match value {
        Value::Array(items) if LISTS.contains(&name) => items.into_iter().map(|item| scalar(name, item)).collect(),
        value => Ok(vec![scalar(name, value)?]),
    }
}

fn scalar(name: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(flag) => Ok(flag.to_string()),
        other => Err(format!("'{name}' is of type {}; write text, a whole number, true or false", other.type_str())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_numbers_flags_and_lists_become_text() {
        let settings = parse(
            "workers = 8\nmemory = \"64mb\"\nfresh = true\ntable = [\"a:1:x=int\", \"b:1:y=int\"]\nhost = \"db\"",
        )
        .unwrap();
        assert_eq!(settings["workers"], ["8"]);
        assert_eq!(settings["memory"], ["64mb"]);
        assert_eq!(settings["fresh"], ["true"]);
        assert_eq!(settings["table"], ["a:1:x=int", "b:1:y=int"]);
        assert_eq!(settings["host"], ["db"]);
    }

    #[test]
    fn what_is_unknown_or_of_another_kind_is_refused() {
        for (text, part) in [
            ("wokers = 8", "no setting is called 'wokers'"),
            ("max_clients = 8", "write it as 'max-clients'"),
            ("config = \"other.toml\"", "no setting is called 'config'"),
            ("memory = 1.5", "'memory' is of type float"),
            ("workers = [1, 2]", "'workers' is of type array"),
            ("[listen]\nhttp = \"off\"", "no setting is called 'listen'"),
            ("workers =", "not TOML"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
