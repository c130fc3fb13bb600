//! What settings mean, and what is said about those that mean nothing.

use std::{collections::HashMap, ffi::OsString, io::Write, path::Path};

use super::*;
use crate::store::Column;

fn layers(command_line: &[(&'static str, &[&str])], environment: &[(&str, &str)]) -> Result<Layers, ConfigError> {
    let environment: HashMap<&str, &str> = environment.iter().copied().collect();
    let command_line =
        command_line.iter().map(|(name, values)| (*name, values.iter().map(|v| (*v).to_owned()).collect()));
    Layers::collect(command_line, |name| environment.get(name).map(OsString::from))
}

fn config(command_line: &[(&'static str, &[&str])], environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::from_layers(&layers(command_line, environment)?)
}

fn one(name: &'static str, value: &str) -> Result<Config, ConfigError> {
    config(&[(name, &[value])], &[])
}

/// A settings file that is gone at the end of the test.
struct Settings(PathBuf);

impl Settings {
    fn new(test: &str, text: &str) -> Self {
        let path = std::env::temp_dir().join(format!("store-master-{}-{test}.toml", std::process::id()));
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Settings {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn nothing_said_gives_the_defaults() {
    let config = config(&[], &[]).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.http.unwrap().to_string(), "127.0.0.1:8080");
    assert_eq!(config.resp.unwrap().to_string(), "127.0.0.1:6380");
    assert_eq!((config.memory, config.counters, config.max_keys), (256 << 20, 4096, 0));
    assert_eq!((config.max_clients, config.max_value, config.idle_timeout), (10_000, 16 << 20, None));
    assert_eq!((config.lock_wait, config.drain_timeout), (Duration::from_secs(5), Duration::from_secs(5)));
}

#[test]
fn the_command_line_wins_over_the_environment_and_that_over_the_file() {
    let file = Settings::new("layers", "workers = 2\ncounters = 20\nmax-clients = 200\nfresh = true\nsegment = \"s\"");
    let config = config(
        &[("config", &[file.path()]), ("workers", &["4"]), ("fresh", &["false"])],
        &[("STORE_MASTER_WORKERS", "3"), ("STORE_MASTER_COUNTERS", "30")],
    )
    .unwrap();
    assert_eq!((config.workers, config.counters, config.max_clients), (4, 30, 200));
    assert!(!config.fresh);
}

#[test]
fn the_file_can_be_named_by_the_environment() {
    let file = Settings::new("named", "log-level = \"warn\"");
    assert_eq!(config(&[], &[("STORE_MASTER_CONFIG", file.path())]).unwrap().log_level, "warn");
    let missing = config(&[("config", &["/nonexistent/x.toml"])], &[("STORE_MASTER_CONFIG", file.path())]).unwrap_err();
    assert!(missing.to_string().contains("/nonexistent/x.toml: cannot open"), "{missing}");
}

#[test]
fn lists_repeat_take_semicolons_and_replace_lower_layers() {
    let file = Settings::new("lists", "table = [\"a:1:x=int\", \"b:2:x=int\"]\nhost = [\"One.Example\"]");
    let path: &[&str] = &[file.path()];
    let names = |config: Config| config.tables.into_iter().map(|(name, _)| name).collect::<Vec<_>>();
    assert_eq!(names(config(&[("config", path)], &[]).unwrap()), ["a", "b"]);
    let both = config(&[("config", path)], &[("STORE_MASTER_TABLE", "c:1:x=int; d:1:x=int,y=float;")]).unwrap();
    assert_eq!(both.hosts, ["one.example"]);
    assert_eq!(both.tables[1].1.columns, [Column::int("x"), Column::float("y")]);
    assert_eq!(names(both), ["c", "d"]);
    let three = config(&[("table", &["e:1:x=int", "f:1:x=int"])], &[("STORE_MASTER_TABLE", "c:1:x=int")]).unwrap();
    assert_eq!(names(three), ["e", "f"]);
}

#[test]
fn every_setting_is_read() {
    let config = config(
        &[
            ("http", &["off"]),
            ("resp", &["[::1]:0"]),
            ("resp-unix", &["/tmp/s.sock"]),
            ("memory", &["64mb"]),
            ("segment", &["main"]),
            ("segment-mode", &["0660"]),
            ("max-keys", &["1000"]),
            ("max-value", &["1mb"]),
            ("output-limit", &["2mb"]),
            ("idle-timeout", &["30"]),
            ("lock-wait", &["250"]),
            ("drain-timeout", &["0"]),
            ("requirepass", &["secret word"]),
            ("allow-origin", &["https://App.example:8443"]),
            ("metrics-open", &["true"]),
            ("insecure-bind", &["yes"]),
            ("core-dumps", &["1"]),
            ("log-level", &["DEBUG"]),
            ("log-format", &["json"]),
        ],
        &[],
    )
    .unwrap();
    assert_eq!((config.http, config.resp.unwrap().to_string()), (None, "[::1]:0".to_owned()));
    assert_eq!(config.resp_unix.as_deref(), Some(Path::new("/tmp/s.sock")));
    assert_eq!(
        (config.memory, config.max_keys, config.max_value, config.output_limit),
        (64 << 20, 1000, 1 << 20, 2 << 20)
    );
    assert_eq!((config.segment.as_deref(), config.segment_mode), (Some("main"), 0o660));
    assert_eq!(config.idle_timeout, Some(Duration::from_secs(30)));
    assert_eq!((config.lock_wait, config.drain_timeout), (Duration::from_millis(250), Duration::ZERO));
    assert_eq!(config.requirepass.as_deref(), Some("secret word"));
    assert_eq!(config.allow_origins, ["https://app.example:8443"]);
    assert!(config.metrics_open && config.insecure_bind && config.core_dumps && config.log_json);
    assert_eq!(config.log_level, "debug");
}

#[test]
fn bad_values_are_refused_where_they_stand() {
    for (name, value, part) in [
        ("workers", "0", "from 1 to 256"),
        ("workers", "many", "--workers: 'many'"),
        ("http", "8080", "IP:PORT"),
        ("http", "example.com:80", "IP:PORT"),
        ("http", "127.0.0.1:99999", "IP:PORT"),
        ("memory", "64xb", "--memory: '64xb' is not a size"),
        ("segment", "../x", "segment's name"),
        ("segment", "a/b", "segment's name"),
        ("segment-mode", "0400", "octal"),
        ("segment-mode", "rw", "octal"),
        ("fresh", "maybe", "neither"),
        ("table", "t:1", "name:rows:columns"),
        ("counters", "-1", "whole number"),
        ("max-value", "1gb", "must be 1 to 267386880"),
        ("idle-timeout", "1.5", "(seconds)"),
        ("requirepass", "", "1 to 512"),
        ("host", "http://x", "without scheme"),
        ("allow-origin", "app.example", "scheme, host and port"),
        ("allow-origin", "https://app.example/", "scheme, host and port"),
        ("log-level", "loud", "log level"),
        ("log-format", "xml", "text or json"),
    ] {
        let why = one(name, value).unwrap_err().to_string();
        assert!(why.contains(part), "{name} {value}: {why}");
    }
    let why = config(&[], &[("STORE_MASTER_MAX_CLIENTS", "none")]).unwrap_err().to_string();
    assert!(why.starts_with("STORE_MASTER_MAX_CLIENTS: 'none'"), "{why}");
    let file = Settings::new("origin", "workers = 0");
    let why = config(&[("config", &[file.path()])], &[]).unwrap_err().to_string();
    assert!(why.starts_with("workers in /") && why.contains("from 1 to 256"), "{why}");
}

#[test]
fn an_address_that_others_reach_needs_a_password() {
    for address in ["0.0.0.0:8080", "[::]:8080", "192.0.2.1:8080", "[::ffff:192.0.2.1]:8080"] {
        let why = one("http", address).unwrap_err().to_string();
        assert!(why.contains("--requirepass") && why.contains("--insecure-bind"), "{why}");
        assert!(config(&[("http", &[address]), ("requirepass", &["x"])], &[]).is_ok());
        assert!(config(&[("http", &[address]), ("insecure-bind", &["true"])], &[]).is_ok());
    }
    assert!(one("resp", "0.0.0.0:0").unwrap_err().to_string().contains("--resp 0.0.0.0:0"));
    for address in ["127.8.9.1:80", "[::1]:80", "[::ffff:127.0.0.1]:80", "localhost:80"] {
        assert!(one("http", address).is_ok(), "{address}");
    }
}

#[test]
fn settings_that_do_not_go_together_are_refused() {
    type Given = [(&'static str, &'static [&'static str])];
    let cases: [(&Given, &str); 4] = [
        (&[("http", &["off"]), ("resp", &["off"])], "nothing to listen on"),
        (&[("http", &["127.0.0.1:7000"]), ("resp", &["localhost:7000"])], "another port"),
        (&[("fresh", &["true"])], "--segment"),
        (&[("table", &["t:1:x=int", "t:2:x=int"])], "twice"),
    ];
    for (settings, part) in cases {
        let why = config(settings, &[]).unwrap_err().to_string();
        assert!(why.contains(part), "{why}");
    }
    assert!(config(&[("http", &["127.0.0.1:0"]), ("resp", &["127.0.0.1:0"])], &[]).is_ok());
}

#[test]
fn empty_and_foreign_variables_are_not_settings() {
    let environment = [("STORE_MASTER_REQUIREPASS", ""), ("STORE_MASTER_SERVICE_HOST", "10.0.0.1")];
    assert_eq!(config(&[], &environment).unwrap(), Config::default());
}
