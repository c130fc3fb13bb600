//! What the code looks like: imports run one way, every file says what it is for, unsafe code stays where it may be.

use std::{collections::BTreeSet, fs, path::Path};

/// Each module, and the modules it may import. `docs/architecture.md` draws the same as a picture.
const MAY_IMPORT: [(&str, &[&str]); 10] = [
    ("store", &[]),
    ("sys", &[]),
    ("shm", &["sys"]),
    ("backend", &["store", "shm", "sys"]),
    ("config", &["store"]),
    ("cli", &["config", "store"]),
    ("command", &["store", "config"]),
    ("protocol", &["command", "store", "config"]),
    ("server", &["protocol", "command", "store", "config", "sys"]),
    ("process", &["server", "config", "backend", "store", "shm", "sys"]),
];

/// The modules of which the crate's own binary is made.
const MAIN_MAY_IMPORT: &[&str] = &["cli", "config", "process"];

/// Where `unsafe` may be written.
const UNSAFE: [&str; 2] = ["src/sys/", "src/shm/"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under a folder of the repository, with its text.
fn sources(folder: &str) -> Vec<(String, String)> {
    let mut folders = vec![root().join(folder)];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "rs") {
                found.push((name(&path), fs::read_to_string(&path).unwrap()));
            }
        }
    }
    found.sort();
    found
}

fn name(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()
}

fn product() -> Vec<(String, String)> {
    [sources("src"), sources("shm-layout/src")].concat()
}

/// The code of a file without its comments and without its tests, which may use anything.
fn code(file: &str, text: &str) -> String {
    if is_for_tests(file) {
        return String::new();
    }
    let text = match text.find("#[cfg(test)]\nmod ") {
        // `mod tests;` names a file; `mod tests {` stands at the foot of this one.
        Some(at) if text[at..].lines().nth(1).is_some_and(|line| line.ends_with('{')) => &text[..at],
        _ => text,
    };
    let lines = text.lines().map(|line| match line.find("//") {
        Some(at) if line[..at].matches('"').count() % 2 == 0 => &line[..at],
        _ => line,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether the file, or a folder it lies in, is a module that only tests have: `#[cfg(test)] mod name;` in its parent.
fn is_for_tests(file: &str) -> bool {
    let path = Path::new(file).with_extension("");
    path.ancestors().filter(|path| path.starts_with("src") && path.parent().is_some()).any(|path| {
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return false };
        let declared = format!("#[cfg(test)]\nmod {};", name.to_string_lossy());
        let parents = [folder.join("mod.rs"), folder.join("lib.rs"), folder.with_extension("rs")];
        parents.iter().any(|parent| fs::read_to_string(root().join(parent)).is_ok_and(|text| text.contains(&declared)))
    })
}

/// The modules that come first in every path after `start` (`crate::`), braces included.
fn imports(code: &str, start: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices(start) {
        let before = code[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$' || c == ':') {
            continue;
        }
        let rest = &code[at + start.len()..];
        match rest.strip_prefix('{') {
            Some(list) => found.extend(heads(list)),
            None => found.extend(head(rest)),
        }
    }
    found
}

/// The first names of the paths of a brace list.
fn heads(list: &str) -> Vec<String> {
    let (mut depth, mut found, mut start) = (0, Vec::new(), 0);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                found.extend(head(&list[start..at]));
                break;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.extend(head(&list[start..at]));
                start = at + 1;
            }
            _ => {}
        }
    }
    found
}

fn head(path: &str) -> Option<String> {
    let name: String = path.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
    (!name.is_empty()).then_some(name)
}

/// The top-level module that a file of `src` belongs to.
fn module(file: &str) -> &str {
    file.strip_prefix("src/").unwrap().split(['/', '.']).next().unwrap()
}

#[test]
fn imports_run_one_way() {
    let known: Vec<&str> = MAY_IMPORT.iter().map(|(module, _)| *module).collect();
    let mut wrong = Vec::new();
    for (file, text) in sources("src") {
        let (own, code) = (module(&file), code(&file, &text));
        let (allowed, start) = match own {
            "lib" => continue,
            "main" => (MAIN_MAY_IMPORT, "store_master::"),
            _ => match MAY_IMPORT.iter().find(|(module, _)| *module == own) {
                Some((_, allowed)) => (*allowed, "crate::"),
                None => {
                    wrong.push(format!("{file}: module '{own}' has no place in the order of imports"));
                    continue;
                }
            },
        };
        for import in imports(&code, start) {
            // What the crate's root re-exports, and names that the root defines, are the store's.
            let import = if known.contains(&import.as_str()) { import } else { "store".to_owned() };
            if import != own && !allowed.contains(&import.as_str()) {
                wrong.push(format!("{file}: '{own}' imports '{import}'"));
            }
        }
    }
    assert!(wrong.is_empty(), "imports against the order:\n{}", wrong.join("\n"));
}

#[test]
fn the_layout_crate_depends_on_nothing() {
    let manifest = fs::read_to_string(root().join("shm-layout/Cargo.toml")).unwrap();
    let after = manifest.split("[dependencies]").nth(1).unwrap_or_default();
    let dependencies: Vec<&str> =
        after.lines().take_while(|line| !line.starts_with('[')).filter(|line| !line.trim().is_empty()).collect();
    assert!(dependencies.is_empty(), "shm-layout depends on {dependencies:?}");
    for (file, text) in sources("src") {
        let limits_only = imports(&code(&file, &text), "shm_layout::").iter().all(|name| name == "limits");
        assert!(limits_only || ["shm", "backend"].contains(&module(&file)), "{file} knows bytes of the segment");
    }
}

#[test]
fn every_file_says_what_it_is_for() {
    for (file, text) in [product(), sources("tests"), sources("benches")].concat() {
        assert!(text.starts_with("//!"), "{file} does not open with what it is for");
    }
}

#[test]
fn nothing_is_left_for_later() {
    let left = ["TO\x44O", "FIX\x4dE", "XX\x58:", "todo\x21", "unimplemented\x21", "#[ignor\x65"];
    for (file, text) in [product(), sources("tests"), sources("benches")].concat() {
        for word in left {
            assert!(!text.contains(word), "{file} holds {word}");
        }
    }
}

#[test]
fn unsafe_code_stays_where_it_may_be() {
    for (file, text) in product() {
        let code = code(&file, &text);
        let words = code.split(|c: char| !c.is_alphanumeric() && c != '_');
        let has_unsafe = words.into_iter().any(|word| word == "unsafe");
        assert!(!has_unsafe || UNSAFE.iter().any(|place| file.starts_with(place)), "{file} holds unsafe code");
    }
}

#[test]
fn module_files_hold_no_logic() {
    for (file, text) in product().iter().filter(|(file, _)| file.ends_with("/mod.rs")) {
        let logic = code(file, text)
            .lines()
            .find(|line| line.trim_start().starts_with("fn ") || line.contains(" fn "))
            .map(str::to_owned);
        assert!(logic.is_none(), "{file}: {}", logic.unwrap_or_default());
    }
}
