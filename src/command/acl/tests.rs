//! Tests of users, rules, logins, refusals and the log, on one worker.

use super::*;
use crate::{
    command::testing::{Server, check},
    config::Config,
};

fn rules_of(server: &Server, user: &str) -> String {
    let list = server.run("ACL LIST");
    let start = list.find(&format!("user {user} ")).unwrap_or_else(|| panic!("{user} in {list}"));
    let rest = &list[start..];
    rest[..rest.find(" $").unwrap_or(rest.len())].to_owned()
}

/// Changes a user that was made for this, and returns its rules about commands.
fn commands_after(server: &Server, rules: &str) -> String {
    assert_eq!(server.run(&format!("ACL SETUSER u {rules}")), "+OK", "{rules}");
    let account = server.state.acl.account(b"u").unwrap();
    account.user.borrow().root.commands_text()
}

#[test]
fn a_user_is_shown_by_the_rules_that_make_it() {
    let server = Server::new();
    assert_eq!(rules_of(&server, "default"), "user default on nopass sanitize-payload ~* &* +@all");
    check(
        &server,
        &[(
            "ACL SETUSER u on >a ~k:* %R~r:* %W~w* %RW~b &c +@read -get +config|get +select|0 (~s* +set) (%RW~x &*)",
            "+OK",
        )],
    );
    let shown = "user u on sanitize-payload #ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb ~k:* %R~r:* \
                 %W~w* ~b resetchannels &c -@all +@read -get +config|get +select|0 (~s* resetchannels -@all +set) \
                 (~x &* -@all)";
    assert_eq!(rules_of(&server, "u"), shown);
    let text = shown.strip_prefix("user u ").unwrap().as_bytes();
    assert_eq!(describe(&parse(text).unwrap()), text);
    check(
        &server,
        &[
            ("ACL USERS", "*2 $7 default $1 u"),
            ("ACL SETUSER u reset", "+OK"),
            ("ACL DELUSER nobody u", ":1"),
            ("ACL GETUSER u", "$-1"),
            ("ACL DELUSER default", "-ERR The 'default' user cannot be removed"),
        ],
    );
}

#[test]
fn what_was_said_about_commands_is_kept_without_what_it_repeats() {
    let server = Server::new();
    for (rules, shown) in [
        ("+@all -@hash -@slow +hget", "+@all -@hash -@slow +hget"),
        ("-@hash", "+@all -@slow +hget -@hash"),
        ("+@hash", "+@all -@slow +hget +@hash"),
        ("-@all", "-@all"),
        ("-@string -@slow +@all", "+@all"),
        ("-@all +@HASH +@hash +@HaSh", "-@all +@hash"),
        ("-@all +hget -hset +hset -hget", "-@all +hset -hget"),
        ("-@all +client|list +client|list +config|get +config +acl|list -acl", "-@all +client|list +config -acl"),
        ("-@all +select|0 +select|0 +SELECT|1", "-@all +select|0 +select|1"),
        ("-@all +config +config|get -config|set +config", "-@all +config"),
        ("-@all -@dangerous", "-@all -@dangerous"),
    ] {
        assert_eq!(commands_after(&server, rules), shown, "{rules}");
    }
}

#[test]
fn a_wrong_rule_is_named_and_nothing_is_changed() {
    let server = Server::new();
    let unknown = "Unknown command or category name in ACL";
    for (rule, why) in [
        ("+nothing", unknown),
        ("nothing", "Syntax error"),
        ("+config|nothing", unknown),
        ("+config|get|x", "Allowing first-arg of a subcommand is not supported"),
        ("-get|x", unknown),
        ("+get|", "Syntax error"),
        ("%~a", "Syntax error"),
        ("%X~a", "Syntax error"),
        ("#abc", "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"),
        ("<zz", "The password you are trying to remove from the user does not exist"),
        ("(+nothing)", unknown),
        ("(on)", "Syntax error"),
        ("@read", "Syntax error"),
        ("+@nothing", unknown),
        ("+", unknown),
        ("-", unknown),
    ] {
        let answer = server.run(&format!("ACL SETUSER u on {rule}"));
        assert_eq!(answer, format!("-ERR Error in ACL SETUSER modifier '{rule}': {why}"));
    }
    check(
        &server,
        &[
            ("ACL SETUSER u (~a +get", "-ERR Unmatched parenthesis in acl selector starting at '(~a'."),
            ("ACL SETUSER \"a b\" on", "-ERR Usernames can't contain spaces or null characters"),
            ("ACL USERS", "*1 $7 default"),
        ],
    );
    assert!(
        server.run("ACL SETUSER u allkeys ~a").contains("'~a': Adding a pattern after the * pattern (or the 'allkeys'")
    );
    assert!(
        server.run("ACL SETUSER u &* &a").contains("'&a': Adding a pattern after the * pattern (or the 'allchannels'")
    );
    let long = format!("ACL SETUSER {} on", "n".repeat(121));
    assert!(server.run(&long).starts_with("-ERR Usernames must be"));
}

#[test]
fn a_request_needs_its_command_its_keys_and_its_channels() {
    let server = Server::new();
    let user = "ACL SETUSER u on nopass ~k* %R~r* %W~w* &c* +@all -@admin -info (~other +get)";
    check(&server, &[(user, "+OK"), ("AUTH u x", "+OK"), ("ACL WHOAMI", "$1 u")]);
    let (no_key, no_channel) = ("-NOPERM No permissions to access a key", "-NOPERM No permissions to access a channel");
    check(
        &server,
        &[
            ("SET k v", "+OK"),
            ("SET z v", no_key),
            ("MSET k1 a k2 b", "+OK"),
            ("MSET k1 a z b", no_key),
            ("GET r", "$-1"),
            ("SET r v", no_key),
            ("SET w v", "+OK"),
            ("GET w", no_key),
            ("SET w v GET", no_key),
            ("COPY r w", ":0"),
            ("COPY w r", no_key),
            ("GET other", "$-1"),
            ("STRLEN other", no_key),
            ("EXISTS w", ":1"),
            ("EXISTS z", no_key),
            ("BITFIELD r GET u8 0", "*1 :0"),
            ("BITFIELD r SET u8 0 1", no_key),
            ("PUBLISH c1 x", ":0"),
            ("PUBLISH d x", no_channel),
            ("PSUBSCRIBE c*", "*3 $10 psubscribe $2 c* :1"),
            ("PUNSUBSCRIBE", "*3 $12 punsubscribe $2 c* :0"),
            ("PSUBSCRIBE c1*", no_channel),
            ("INFO", "-NOPERM User u has no permissions to run the 'info' command"),
            ("ACL LIST", "-NOPERM User u has no permissions to run the 'acl|list' command"),
            ("COUNTER.INCR k", ":1"),
            ("COUNTER.INCR z", no_key),
            ("COUNTER.GET r", "$-1"),
            ("MGET k z r", no_key),
            ("AUTH default x", "+OK"),
            ("ACL WHOAMI", "$7 default"),
            ("ACL SETUSER u resetkeys -@all +select|0", "+OK"),
            ("AUTH u x", "+OK"),
            ("SELECT 0", "+OK"),
            ("SELECT 1", "-NOPERM User u has no permissions to run the 'select' command"),
            ("GET other", "$-1"),
        ],
    );
}

#[test]
fn a_dry_run_says_what_would_be_refused() {
    let server = Server::new();
    check(
        &server,
        &[
            ("ACL SETUSER u ~k* &c +get +mget +publish", "+OK"),
            ("ACL DRYRUN u GET k", "+OK"),
            ("ACL DRYRUN u SET k v", "$50 User u has no permissions to run the 'set' command"),
            ("ACL DRYRUN u MGET k z", "$47 User u has no permissions to access the 'z' key"),
            ("ACL DRYRUN u PUBLISH d x", "$51 User u has no permissions to access the 'd' channel"),
            ("ACL DRYRUN nobody GET k", "-ERR User 'nobody' not found"),
            ("ACL DRYRUN u NOTHING", "-ERR Command 'NOTHING' not found"),
            ("ACL DRYRUN u GET", "-ERR wrong number of arguments for 'get' command"),
        ],
    );
}

#[test]
fn a_user_logs_in_with_any_of_its_passwords_while_it_is_on() {
    let server = Server::new();
    let wrong = "-WRONGPASS invalid username-password pair or user is disabled.";
    check(
        &server,
        &[
            ("ACL SETUSER u >one >two +@all", "+OK"),
            ("AUTH u one", wrong),
            ("ACL SETUSER u on", "+OK"),
            ("AUTH u one", "+OK"),
            ("AUTH u two", "+OK"),
            ("AUTH u three", wrong),
            ("AUTH nobody one", wrong),
            ("ACL SETUSER u <one #ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb", "+OK"),
            ("AUTH u one", wrong),
            ("AUTH u a", "+OK"),
            ("ACL SETUSER u nopass", "+OK"),
            ("AUTH u anything", "+OK"),
            ("ACL SETUSER u resetpass", "+OK"),
            ("AUTH u anything", wrong),
        ],
    );
    assert!(server.run("HELLO 2 AUTH default x").contains("proto"));
    assert_eq!(server.run("ACL WHOAMI"), "$7 default");
}

#[test]
fn requirepass_is_the_password_of_the_default_user() {
    let server = Server::with(Config { requirepass: Some("first".to_owned()), ..Config::default() });
    check(
        &server,
        &[
            ("GET k", "-NOAUTH Authentication required."),
            ("AUTH first", "+OK"),
            ("ACL SETUSER default >second -flushall", "+OK"),
            ("AUTH second", "+OK"),
            ("AUTH default first", "+OK"),
            ("FLUSHALL", "-NOPERM User default has no permissions to run the 'flushall' command"),
            ("CONFIG SET requirepass third", "+OK"),
            ("AUTH second", "-WRONGPASS invalid username-password pair or user is disabled."),
            ("AUTH third", "+OK"),
            ("FLUSHALL", "-NOPERM User default has no permissions to run the 'flushall' command"),
            ("CONFIG SET requirepass \"\"", "+OK"),
            ("RESET", "+RESET"),
            ("GET k", "$-1"),
        ],
    );
}

#[test]
fn rules_that_change_hold_for_what_is_queued_and_for_deleted_users() {
    let server = Server::new();
    check(
        &server,
        &[
            ("ACL SETUSER u on nopass ~* +@all", "+OK"),
            ("AUTH u x", "+OK"),
            ("MULTI", "+OK"),
            ("ACL SETUSER u -get", "+QUEUED"),
            ("GET k", "+QUEUED"),
        ],
    );
    let answer = server.run("EXEC");
    assert!(answer.starts_with("*2 +OK -NOPERM ACLs rules changed between the moment"), "{answer}");
    check(
        &server,
        &[
            ("MULTI", "+OK"),
            ("GET k", "-NOPERM User u has no permissions to run the 'get' command"),
            ("EXEC", "-EXECABORT Transaction discarded because of previous errors."),
            ("ACL DELUSER u", ":1"),
            ("SET k v", "-NOAUTH Authentication required."),
        ],
    );
    assert!(server.session.borrow().close_after_reply);
}

#[test]
fn the_log_counts_what_is_refused_again_and_keeps_no_more_than_it_may() {
    let server = Server::new();
    check(&server, &[("ACL SETUSER u on nopass ~k +get", "+OK"), ("AUTH u x", "+OK")]);
    for _ in 0..3 {
        assert!(server.run("GET z").starts_with("-NOPERM"));
    }
    assert!(server.run("SET k v").starts_with("-NOPERM"));
    assert!(server.run("AUTH nobody x").starts_with("-WRONGPASS"));
    check(&server, &[("AUTH default x", "+OK")]);
    let log = server.run("ACL LOG");
    assert!(log.starts_with("*3 "), "{log}");
    for part in [
        "$5 count :3 $6 reason $3 key $7 context $8 toplevel $6 object $1 z $8 username $1 u",
        "$5 count :1 $6 reason $7 command $7 context $8 toplevel $6 object $3 set $8 username $1 u",
        "$5 count :1 $6 reason $4 auth $7 context $8 toplevel $6 object $4 AUTH $8 username $6 nobody",
        "cmd=get",
    ] {
        assert!(log.contains(part), "{part} in {log}");
    }
    assert!(server.run("ACL LOG 1").starts_with("*1 "));
    check(&server, &[("CONFIG SET acllog-max-len 2", "+OK"), ("ACL LOG RESET", "+OK"), ("ACL LOG", "*0")]);
    for user in 0..5 {
        server.run(&format!("AUTH nobody{user} x"));
    }
    let log = server.run("ACL LOG");
    assert!(log.starts_with("*2 ") && log.contains("nobody4") && log.contains("nobody3"), "{log}");
    assert!(server.run("ACL LOG x").starts_with("-ERR value is not an integer"));
}

#[test]
fn long_rules_take_several_rows_and_are_bounded() {
    let server = Server::new();
    let patterns = |count: usize| (0..count).map(|n| format!("~{n:0>200}")).collect::<Vec<_>>().join(" ");
    let other = Roll::open(&server.store).unwrap();
    for count in [40, 5, 100, 0] {
        check(&server, &[(&format!("ACL SETUSER u reset {}", patterns(count)), "+OK")]);
        let rules = other.read().unwrap().remove("u").unwrap();
        assert_eq!(parse(&rules.rules).unwrap().root.keys.len(), count);
    }
    let answer = server.run(&format!("ACL SETUSER u {}", patterns(300)));
    assert!(answer.contains("bytes of a user's rules"), "{answer}");
    check(&server, &[("ACL DELUSER u", ":1")]);
    assert!(other.read().unwrap().is_empty());
}

#[test]
fn passwords_are_made_of_as_many_bits_as_are_asked_for() {
    let server = Server::new();
    for (request, digits) in
        [("ACL GENPASS", 64), ("ACL GENPASS 5", 2), ("ACL GENPASS 555", 139), ("ACL GENPASS 4096", 1024)]
    {
        let answer = server.run(request);
        let (len, password) = answer.split_once(' ').unwrap();
        assert_eq!((len, password.len()), (format!("${digits}").as_str(), digits), "{request}");
        assert!(password.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    assert_ne!(server.run("ACL GENPASS"), server.run("ACL GENPASS"));
    for wrong in ["0", "4097", "-1"] {
        assert!(
            server.run(&format!("ACL GENPASS {wrong}")).starts_with("-ERR ACL GENPASS argument must be"),
            "{wrong}"
        );
    }
}

#[test]
fn the_selector_that_grants_most_gives_the_reason() {
    let server = Server::new();
    check(
        &server,
        &[
            ("ACL SETUSER u on nopass ~a +mget (~a ~b +mget) (+@all)", "+OK"),
            ("ACL DRYRUN u MGET a b c", "$47 User u has no permissions to access the 'c' key"),
            ("ACL DRYRUN u MGET c b", "$47 User u has no permissions to access the 'c' key"),
            ("ACL DRYRUN u GET a", "$47 User u has no permissions to access the 'a' key"),
            ("AUTH u x", "+OK"),
            ("MGET a b c", "-NOPERM No permissions to access a key"),
        ],
    );
    assert_eq!(server.store.statistics().sum(Stat::DeniedKeys), 1);
}

// Such a user was kept as rules that cannot be read, and so could do nothing any more, or as those of another user.
#[test]
fn a_user_is_what_is_read_again() {
    let server = Server::new();
    check(
        &server,
        &[
            ("ACL SETUSER u on >pw ~a", "+OK"),
            ("ACL SETUSER u \"(~x) +get)\"", "-ERR Error in ACL SETUSER modifier '(~x) +get)': Syntax error"),
            ("ACL SETUSER u (~x +select|0))", "-ERR Error in ACL SETUSER modifier '(~x +select|0))': Syntax error"),
            ("ACL SETUSER u %R~* %W~* ~b +get", "+OK"),
            ("AUTH u pw", "+OK"),
            ("GET any", "$-1"),
        ],
    );
    let words = [
        "on",
        "off",
        "nopass",
        "resetpass",
        ">pw",
        "allkeys",
        "resetkeys",
        "~*",
        "%R~*",
        "%W~*",
        "~a)",
        "%RW~(b",
        "~",
        "&c)",
        "&*",
        "&",
        "allchannels",
        "resetchannels",
        "+@all",
        "-@all",
        "+@read",
        "-@read",
        "-get",
        "+get",
        "+select|0",
        "+select|0)",
        "-select",
        "+config|get",
        "-config",
        "+@connection",
        "(~x)",
        "(~x) +get)",
        "(+select|0))",
        "(~* +@all -get)",
        "(%R~* ~y &z)",
        "()",
        "(()",
        "clearselectors",
    ];
    let mut state = 1_u64;
    for _ in 0..5000 {
        let mut user = User::new();
        for _ in 0..6 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let _ = user.apply(words[(state >> 33) as usize % words.len()].as_bytes());
        }
        let text = describe(&user);
        assert!(parse(&text).as_ref() == Ok(&user), "{}", text.escape_ascii());
    }
}

#[test]
fn names_that_may_not_be_read_are_not_listed() {
    let server = Server::new();
    check(
        &server,
        &[
            ("COUNTER.SET app:1 1", "+OK"),
            ("COUNTER.SET secret:1 42", "+OK"),
            ("TABLE.MAKE app_t 10 n int", "+OK"),
            ("TABLE.MAKE secret_t 10 n int", "+OK"),
            ("ACL SETUSER bob on nopass ~app* %W~secret* +@read (~secret* +get)", "+OK"),
            ("AUTH bob x", "+OK"),
            ("COUNTER.GET secret:1", "-NOPERM No permissions to access a key"),
            ("COUNTER.LIST", "*2 $5 app:1 :1"),
            ("TABLE.LIST", "*1 $5 app_t"),
            ("AUTH default x", "+OK"),
            ("COUNTER.LIST", "*4 $5 app:1 :1 $8 secret:1 :42"),
        ],
    );
}
