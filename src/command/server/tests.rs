//! Dialogues about the server.

use crate::{
    command::testing::{Server, check},
    config::Config,
};

#[test]
fn settings_are_shown() {
    check(
        &Server::new(),
        &[
            ("CONFIG GET save", "*2 $4 save $0 "),
            ("CONFIG GET appendonly", "*2 $10 appendonly $2 no"),
            ("CONFIG GET MAXMEMORY-P*", "*2 $16 maxmemory-policy $10 noeviction"),
            ("CONFIG GET databases port", "*4 $9 databases $2 16 $4 port $4 6380"),
            ("CONFIG GET none", "*0"),
            ("CONFIG GET", "-ERR wrong number of arguments for 'config|get' command"),
            ("CONFIG RESETSTAT", "+OK"),
            ("CONFIG REWRITE", "-ERR The server is running without a config file"),
        ],
    );
    assert!(Server::new().run3("CONFIG GET save").starts_with("%1 "));
}

#[test]
fn settings_are_changed_all_or_none() {
    let server = Server::new();
    check(
        &server,
        &[
            ("CONFIG SET timeout 30 maxclients 5", "+OK"),
            ("CONFIG GET timeout maxclients", "*4 $10 maxclients $1 5 $7 timeout $2 30"),
            ("CONFIG SET save \"\"", "+OK"),
            (
                "CONFIG SET timeout 40 maxclients 0",
                "-ERR CONFIG SET failed (possibly related to argument 'maxclients') - argument must be between 1 and \
             4294967295 inclusive",
            ),
            ("CONFIG GET timeout", "*2 $7 timeout $2 30"),
            (
                "CONFIG SET timeout x",
                "-ERR CONFIG SET failed (possibly related to argument 'timeout') - argument couldn't be parsed into an integer",
            ),
            (
                "CONFIG SET databases 8",
                "-ERR CONFIG SET failed (possibly related to argument 'databases') - can't set immutable config",
            ),
            (
                "CONFIG SET timeout 1 TIMEOUT 2",
                "-ERR CONFIG SET failed (possibly related to argument 'timeout') - duplicate parameter",
            ),
            ("CONFIG SET none 1", "-ERR Unknown option or number of arguments for CONFIG SET - 'none'"),
            ("CONFIG SET timeout 1 save", "-ERR wrong number of arguments for 'config|set' command"),
        ],
    );
    let settings = &server.state.settings;
    assert_eq!(settings.idle_timeout().unwrap().as_secs(), 30);
    assert_eq!(settings.max_clients(), 5);
}

// The byte was replaced by U+FFFD, and who had set this password was locked out.
#[test]
fn a_setting_is_kept_as_it_was_sent_or_refused() {
    let server = Server::new();
    check(
        &server,
        &[
            (
                r#"CONFIG SET requirepass "p\xff""#,
                "-ERR CONFIG SET failed (possibly related to argument 'requirepass') - argument must be UTF-8",
            ),
            ("RESET", "+RESET"),
            ("PING", "+PONG"),
        ],
    );
}

#[test]
fn a_setting_reaches_the_other_workers() {
    let server = Server::new();
    let other = crate::command::Settings::open(&server.store, &Config::default()).unwrap();
    check(&server, &[("CONFIG SET requirepass hush lock-wait 100", "+OK"), ("GET a", "$-1")]);
    assert!(other.requirepass().is_none());
    other.refresh().unwrap();
    assert!(other.requirepass().is_some());
    assert_eq!(other.lock_wait().as_millis(), 100);
    check(
        &server,
        &[
            ("RESET", "+RESET"),
            ("GET a", "-NOAUTH Authentication required."),
            ("AUTH hush", "+OK"),
            ("CONFIG SET requirepass \"\"", "+OK"),
            ("RESET", "+RESET"),
            ("GET a", "$-1"),
        ],
    );
}

#[test]
fn a_run_has_one_id() {
    let server = Server::new();
    let other = crate::command::Settings::open(&server.store, &Config::default()).unwrap();
    assert_eq!(server.state.run_id.len(), 40);
    assert_eq!(other.run_id().unwrap(), server.state.run_id);
}

#[test]
fn info_has_what_tools_look_for() {
    let server = Server::new();
    server.run("SET a 1 EX 100");
    server.run("SET b 1");
    let info = server.run("INFO");
    for line in [
        "# Server",
        "redis_version:7.4.0",
        "arch_bits:64",
        "tcp_port:6380",
        "# Clients",
        "connected_clients:",
        "# Memory",
        "used_memory:",
        "loading:0",
        "total_commands_processed:2",
        "role:master",
        "connected_slaves:0",
        "used_cpu_user:",
        "cluster_enabled:0",
        "# Keyspace",
        "db0:keys=2,expires=1,avg_ttl=0",
        "# Workers",
        "worker0:worker_starts=",
    ] {
        assert!(info.contains(line), "{line} in {info}");
    }
    assert!(!info.contains("# Commandstats"));
    assert!(server.run("INFO all").contains("# Commandstats"));
    assert!(server.run("INFO everything").contains("# Keyspace"));
    let two = server.run("INFO server KEYSPACE");
    assert!(two.contains("# Server") && two.contains("# Keyspace") && !two.contains("# Memory"), "{two}");
    check(&server, &[("INFO nosuch", "$0 ")]);
    assert!(server.run3("INFO").starts_with('='));
    assert!(server.run3("INFO cluster").contains("txt:# Cluster cluster_enabled:0"));
}

#[test]
fn statistics_are_a_map() {
    let server = Server::new();
    server.run("PING");
    let stats = server.run3("STATS");
    assert!(stats.starts_with("%6 $6 worker :0 ") && stats.contains("$8 commands :1 "), "{stats}");
    let (total, workers) = stats.split_once("$7 workers *1 %").unwrap();
    assert!(workers.contains("$5 index :0 ") && workers.contains("$10 worker_pid :"), "{workers}");
    assert!(!total.contains("worker_pid"), "a sum of process ids is nothing: {total}");
}

#[test]
fn the_time_is_that_of_the_clock() {
    let server = Server::new();
    server.now_ms.set(1_700_000_000_123);
    check(&server, &[("TIME", "*2 $10 1700000000 $6 123456")]);
}
