//! The command line: what the program can be told, and how it explains itself.
//!
//! One row of `OPTIONS` is one option. Values stay text here; what they mean is for [`crate::config`] to say, for all
//! sources alike.

use std::{ffi::OsString, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, Command, builder::StyledStr, value_parser};

use crate::config::{LISTS, NAMES};

/// An option's name, the name of its value (none for one that is on or off), its heading, default and meaning.
struct Opt {
    name: &'static str,
    value: Option<&'static str>,
    heading: &'static str,
    default: &'static str,
    help: &'static str,
}

const LISTENING: &str = "Listening";
const MEMORY: &str = "Memory";
const TABLES: &str = "Tables";
const LIMITS: &str = "Limits";
const SECURITY: &str = "Security";
const OPERATION: &str = "Operation";

#[rustfmt::skip]
const OPTIONS: [Opt; 28] = [
    Opt { name: "http", value: Some("ADDR:PORT"), heading: LISTENING, default: "127.0.0.1:8080",
        help: "Serve HTTP here; port 0 is any free port (the ready line names it), 'off' is nowhere" },
    Opt { name: "resp", value: Some("ADDR:PORT"), heading: LISTENING, default: "127.0.0.1:6380",
        help: "Serve RESP, the protocol of Redis clients, here; port 0 and 'off' as above" },
    Opt { name: "resp-unix", value: Some("PATH"), heading: LISTENING, default: "off",
        help: "Serve RESP on this unix socket too" },

    Opt { name: "memory", value: Some("SIZE"), heading: MEMORY, default: "256mb",
        help: "Size of the shared segment, allocated as a whole at start" },
    Opt { name: "segment", value: Some("NAME"), heading: MEMORY, default: "anonymous",
        help: "Keep the segment as /dev/shm/NAME: other processes can attach to it, and it survives this one" },
    Opt { name: "segment-mode", value: Some("OCTAL"), heading: MEMORY, default: "0600",
        help: "Who may attach to a named segment: its file mode" },
    Opt { name: "fresh", value: None, heading: MEMORY, default: "",
        help: "Start a named segment empty, whatever it held" },
    Opt { name: "counters", value: Some("N"), heading: MEMORY, default: "4096",
        help: "Counters that fit" },
    Opt { name: "max-keys", value: Some("N"), heading: MEMORY, default: "memory / 64",
        help: "Keys that fit the key-value space; 0 is the default" },
    Opt { name: "maxmemory", value: Some("SIZE"), heading: MEMORY, default: "0, the segment",
        help: "Refuse writes, or evict keys, when more than this is in use" },
    Opt { name: "maxmemory-policy", value: Some("POLICY"), heading: MEMORY, default: "noeviction",
        help: "Which keys go when memory runs short: noeviction, or one of allkeys-lru, allkeys-lfu, allkeys-random, \
               volatile-lru, volatile-lfu, volatile-random, volatile-ttl, as Redis has them" },

    Opt { name: "table", value: Some("SPEC"), heading: TABLES, default: "",
        help: "Make this table at start, as name:rows:column=type,... with the types int, float and string(BYTES); \
               key=BYTES in front of the columns allows keys longer than 64 bytes. May be repeated" },

    Opt { name: "max-clients", value: Some("N"), heading: LIMITS, default: "10000",
        help: "Clients connected at once, over all workers" },
    Opt { name: "max-value", value: Some("SIZE"), heading: LIMITS, default: "16mb",
        help: "Longest value of a key, up to 255mb" },
    Opt { name: "output-limit", value: Some("SIZE"), heading: LIMITS, default: "64mb",
        help: "Disconnect a client that leaves more than this of its replies unread" },
    Opt { name: "idle-timeout", value: Some("SECONDS"), heading: LIMITS, default: "0, never",
        help: "Disconnect a client that sends nothing for this long" },
    Opt { name: "lock-wait", value: Some("MILLISECONDS"), heading: LIMITS, default: "5000",
        help: "Answer 'busy' to a request that has waited this long for what a stopped process holds" },

    Opt { name: "requirepass", value: Some("PASSWORD"), heading: SECURITY, default: "none",
        help: "Ask clients for this password: RESP AUTH, HTTP 'Authorization: Bearer'. Other users of this machine see a \
               command line, so better say it in STORE_MASTER_REQUIREPASS or in the file" },
    Opt { name: "insecure-bind", value: None, heading: SECURITY, default: "",
        help: "Listen where other machines can reach it although there is no password" },
    Opt { name: "host", value: Some("NAME"), heading: SECURITY, default: "IP addresses and localhost",
        help: "Accept HTTP requests for this host name too. May be repeated" },
    Opt { name: "allow-origin", value: Some("ORIGIN"), heading: SECURITY, default: "none",
        help: "Accept HTTP requests from web pages of this origin, such as https://app.example. May be repeated" },
    Opt { name: "metrics-open", value: None, heading: SECURITY, default: "",
        help: "Serve /metrics without the password" },

    Opt { name: "workers", value: Some("N"), heading: OPERATION, default: "number of CPUs",
        help: "Worker processes, up to 256; each serves all protocols" },
    Opt { name: "config", value: Some("FILE"), heading: OPERATION, default: "none",
        help: "Read settings from this TOML file: the same names without dashes in front" },
    Opt { name: "drain-timeout", value: Some("SECONDS"), heading: OPERATION, default: "5",
        help: "Give running requests this long to end after SIGTERM" },
    Opt { name: "core-dumps", value: None, heading: OPERATION, default: "",
        help: "Let workers that crash leave a core file" },
    Opt { name: "log-level", value: Some("LEVEL"), heading: OPERATION, default: "info",
        help: "Log this and what is worse to standard error: off, error, warn, info, debug, trace; SIGHUP reads it again" },
    Opt { name: "log-format", value: Some("FORMAT"), heading: OPERATION, default: "text",
        help: "Log lines as text or json" },
];

/// The one subcommand.
const CHECK: &str = "check";

const ABOUT: &str = "A crash-safe store in shared memory: tables, counters and keys, served over HTTP and RESP";

const EXAMPLES: &str = "\
SIZE is a number of bytes, or one with kb, mb or gb (64mb, 2gb); 1 kb is 1024 bytes.

Every option can also be an environment variable, such as
STORE_MASTER_MAX_CLIENTS for --max-clients, or stand in the file that --config
names. The command line wins over the environment, and that over the file.
In a variable, ';' stands between repeated values.

Examples:
  store-master --workers 8
  store-master --memory 2gb --table 'demo_table:128:name=string(64),score=int'
  STORE_MASTER_REQUIREPASS=... store-master --http 0.0.0.0:8080 --resp off
  store-master check --segment demo

Once it serves, it prints one line for each listener and then a line that starts
with 'ready' to standard output. SIGTERM or SIGINT: end running requests, then
stop; a second one: stop at once. SIGHUP: read the log level again.

Exit codes:
  0  stopped when it was asked to
  1  failed at run time
  2  bad usage or settings, or the environment refuses (port in use, no memory)";

const CHECK_ABOUT: &str = "Check a segment from end to end: index and rows, counts, memory, locks";

const CHECK_HELP: &str = "\
A segment that is in use is checked behind its gate: requests wait meanwhile. Of
one that was left behind, what the dead left is recovered first, as at a start.
Neither environment variables nor a settings file are looked at.

Exit codes:
  0  sound
  1  something is wrong, or the segment is busy
  2  bad usage, no such segment, or a file that is none";

/// What a command line asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Serve with these settings.
    Serve(Given),
    /// Check a segment.
    Check {
        /// Its name.
        segment: String,
        /// Whether the report is to be one JSON object.
        json: bool,
        /// Longest wait for the gate.
        wait: Duration,
    },
}

/// The settings that a command line gives: name and values, in no particular order.
pub type Given = Vec<(&'static str, Vec<String>)>;

/// Reads a command line, the program's name first.
///
/// # Errors
///
/// What `clap` says about it; that includes the texts of `--help` and `--version`, which are no failures.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Order, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    if let Some(check) = matches.subcommand_matches(CHECK) {
        return Ok(Order::Check {
            segment: check.get_one::<String>("segment").cloned().unwrap_or_default(),
            json: check.get_flag("json"),
            wait: Duration::from_secs(check.get_one("wait").copied().unwrap_or_default()),
        });
    }
    Ok(Order::Serve(NAMES.iter().filter_map(|name| Some((*name, values(&matches, name)?))).collect()))
}

fn check() -> Command {
    let segment = Arg::new("segment").long("segment").value_name("NAME").required(true);
    let json = Arg::new("json").long("json").action(ArgAction::SetTrue);
    let wait = Arg::new("wait").long("wait").value_name("SECONDS").default_value("5").allow_negative_numbers(true);
    Command::new(CHECK)
        .about(CHECK_ABOUT)
        .after_help(CHECK_HELP)
        .max_term_width(110)
        .arg(segment.help("The segment: /dev/shm/NAME"))
        .arg(json.help("Report one JSON object"))
        .arg(wait.value_parser(value_parser!(u64).range(0..=86_400)).help("Longest wait for those inside an operation"))
}

fn values(matches: &ArgMatches, name: &str) -> Option<Vec<String>> {
    Some(matches.get_many::<String>(name)?.cloned().collect())
}

fn command() -> Command {
    Command::new("store-master")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .override_usage("store-master [OPTIONS]\n       store-master check --segment NAME [--json] [--wait SECONDS]")
        .args_conflicts_with_subcommands(true)
        .disable_help_subcommand(true)
        .subcommand(check())
        .after_help(EXAMPLES)
        .max_term_width(110)
        .args(OPTIONS.iter().map(argument))
}

fn argument(option: &Opt) -> Arg {
    let argument = Arg::new(option.name).long(option.name).help_heading(option.heading).help(help(option));
    let argument = if LISTS.contains(&option.name) { argument.action(ArgAction::Append) } else { argument };
    match option.value {
        // A negative number is a value, and refused as one: not an option of that name.
        Some(value) => argument.value_name(value).allow_negative_numbers(true),
        // `--fresh=false` takes back what the environment or the file says.
        None => argument.value_name("BOOL").num_args(0..=1).require_equals(true).default_missing_value("true"),
    }
}

fn help(option: &Opt) -> StyledStr {
    match option.default {
        "" => option.help.into(),
        default => format!("{} [default: {default}]", option.help).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(arguments: &[&str]) -> Result<Order, clap::Error> {
        parse(["store-master"].iter().chain(arguments).map(OsString::from))
    }

    fn given(arguments: &[&str]) -> Result<Given, clap::Error> {
        match order(arguments)? {
            Order::Serve(given) => Ok(given),
            Order::Check { .. } => panic!("{arguments:?} ask for a check"),
        }
    }

    #[test]
    fn a_check_names_its_segment_and_how() {
        let check = |segment: &str, json, seconds| Order::Check {
            segment: segment.to_owned(),
            json,
            wait: Duration::from_secs(seconds),
        };
        assert_eq!(order(&["check", "--segment", "a"]).unwrap(), check("a", false, 5));
        assert_eq!(order(&["check", "--json", "--segment=b", "--wait", "0"]).unwrap(), check("b", true, 0));
        assert_eq!(order(&["check", "--help"]).unwrap_err().exit_code(), 0);
        for wrong in [
            &["check"] as &[&str],
            &["check", "a"],
            &["check", "--segment", "a", "--wait", "-1"],
            &["check", "--segment", "a", "--wait", "long"],
            &["check", "--segment", "a", "--workers", "2"],
            &["--segment", "a", "check"],
        ] {
            assert_eq!(order(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn the_command_is_consistent_and_has_every_setting() {
        command().debug_assert();
        let mut options = OPTIONS.map(|option| option.name);
        let mut names = NAMES;
        options.sort_unstable();
        names.sort_unstable();
        assert_eq!(options, names);
    }

    #[test]
    fn values_are_given_as_they_were_written() {
        let mut given =
            given(&["--workers", "8", "--table", "a:1:x=int", "--table=b:1:x=int", "--fresh", "--core-dumps=no"])
                .unwrap();
        given.sort();
        let text = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            given,
            [
                ("core-dumps", text(&["no"])),
                ("fresh", text(&["true"])),
                ("table", text(&["a:1:x=int", "b:1:x=int"])),
                ("workers", text(&["8"])),
            ]
        );
    }

    #[test]
    fn a_negative_number_is_a_value() {
        assert_eq!(given(&["--lock-wait", "-1"]).unwrap(), [("lock-wait", vec!["-1".to_owned()])]);
    }

    #[test]
    fn bad_usage_has_exit_code_2() {
        for arguments in
            [&["--wokers", "8"] as &[&str], &["serve"], &["--workers"], &["--workers", "1", "--workers", "2"]]
        {
            assert_eq!(given(arguments).unwrap_err().exit_code(), 2, "{arguments:?}");
        }
        assert_eq!(given(&["--help"]).unwrap_err().exit_code(), 0);
        assert_eq!(
            given(&["--version"]).unwrap_err().to_string(),
            format!("store-master {}\n", env!("CARGO_PKG_VERSION"))
        );
    }

    #[test]
    fn help_shows_defaults_units_and_exit_codes() {
        let help = given(&["--help"]).unwrap_err().to_string();
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "Listening:",
            "Memory:",
            "Tables:",
            "Limits:",
            "Security:",
            "Operation:",
            "[default: 256mb]",
            "Exit codes:",
        ] {
            assert!(help.contains(part), "{part}");
        }
    }
}
