//! The commands ACL and its subcommands.

use std::fmt::Write as _;

use super::{
    Account, DEFAULT, Denied,
    log::MAX_ENTRIES,
    roll::{NAME_BYTES, RULES_BYTES, Record, too_long},
    rules::{self, describe, merge, parse, write_hash},
    user::{Selector, User},
};
use crate::{
    command::{
        Reply, Settings,
        call::Call,
        introspect, parse_int,
        refusal::{Answer, NOT_AN_INTEGER, Refusal, refuse, wrong_arity},
        table::{self, ADMIN, CATEGORIES, Command, Handler, PLAIN, PLAIN_NOSCRIPT},
    },
    store::{Error, Result},
};

/// Bits of the longest password that GENPASS makes, and of the usual one.
const MAX_BITS: i64 = 4096;
const USUAL_BITS: i64 = 256;
/// Entries that ACL LOG shows unless it is told otherwise.
const SHOWN_ENTRIES: usize = 10;

pub(crate) const COMMANDS: &[Command] = &[Command::new("acl", -2, help)
    .group("server")
    .docs("6.0.0", "", "Commands about users and what they may do.")
    .subcommands(ACL)];

const ACL: &[Command] = &[
    sub("acl|cat", -2, cat).flags(PLAIN_NOSCRIPT).docs(
        "6.0.0",
        "[category]",
        "Returns the categories, or the commands of one.",
    ),
    sub("acl|deluser", -3, deluser).docs("6.0.0", "username...", "Deletes users and closes their connections."),
    sub("acl|dryrun", -4, dryrun).docs(
        "7.0.0",
        "username command [arg...]",
        "Says whether a user might send a request, which is not executed.",
    ),
    sub("acl|genpass", -2, genpass).flags(PLAIN_NOSCRIPT).docs("6.0.0", "[bits]", "Makes up a password."),
    sub("acl|getuser", 3, getuser).docs("6.0.0", "username", "Returns what a user may do."),
    sub("acl|help", 2, help).flags(PLAIN).docs("6.0.0", "", "Lists the subcommands."),
    sub("acl|list", 2, list).docs("6.0.0", "", "Returns the rules of all users."),
    sub("acl|load", 2, no_file).docs("6.0.0", "", "Is refused: there is no file of users."),
    sub("acl|log", -2, log).docs("6.0.0", "[count | RESET]", "Returns what was refused lately, at every worker."),
    sub("acl|save", 2, no_file).docs("6.0.0", "", "Is refused: there is no file of users."),
    sub("acl|setuser", -3, setuser).docs("6.0.0", "username [rule...]", "Makes a user, or changes what it may do."),
    sub("acl|users", 2, users).docs("6.0.0", "", "Returns the names of all users."),
    sub("acl|whoami", 2, whoami).flags(PLAIN_NOSCRIPT).docs("6.0.0", "", "Returns the user of the connection."),
];

const fn sub(full_name: &'static str, arity: i64, handler: Handler) -> Command {
    Command::sub(full_name, arity, handler).group("server").flags(ADMIN)
}

fn help(call: &mut Call<'_, '_>) -> Answer {
    Ok(introspect::help(call, "ACL", ACL))
}

fn whoami(call: &mut Call<'_, '_>) -> Answer {
    Ok(Reply::from(call.session.user_name()))
}

fn cat(call: &mut Call<'_, '_>) -> Answer {
    match call.args.len() {
        2 => Ok(Reply::Array(CATEGORIES.iter().copied().map(Reply::Text).collect())),
        3 => {
            let category = CATEGORIES.iter().find(|category| call.args.is(2, category));
            let category = category.ok_or_else(|| Refusal::from(format!("ERR Unknown category '{}'", call.text(2))))?;
            let commands = table::all_with_subcommands().filter(|command| command.is_in(category));
            Ok(Reply::Array(commands.map(|command| Reply::Text(command.full_name)).collect()))
        }
        _ => {
            refuse(format!("ERR unknown subcommand or wrong number of arguments for '{}'. Try ACL HELP.", call.text(1)))
        }
    }
}

fn no_file(_: &mut Call<'_, '_>) -> Answer {
    refuse(
        "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL SETUSER \
         command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in order to store \
         users in the Redis configuration.",
    )
}

fn genpass(call: &mut Call<'_, '_>) -> Answer {
    let bits = match call.args.len() {
        2 => USUAL_BITS,
        3 => call.int(2)?,
        _ => return wrong_arity("acl|genpass"),
    };
    if !(1..=MAX_BITS).contains(&bits) {
        return refuse(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to 4096",
        );
    }
    let digits = (bits as usize).div_ceil(4);
    let mut bytes = vec![0; digits.div_ceil(2)];
    if getrandom::fill(&mut bytes).is_err() {
        return refuse("ERR the system has no random numbers to offer");
    }
    let mut password = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        let _ = write!(password, "{byte:02x}");
    }
    password.truncate(digits);
    Ok(Reply::Bulk(password.into_bytes()))
}

fn users(call: &mut Call<'_, '_>) -> Answer {
    let accounts = everybody(call)?;
    Ok(Reply::Array(accounts.iter().map(|(name, _)| Reply::from(name.as_str())).collect()))
}

fn list(call: &mut Call<'_, '_>) -> Answer {
    let lines = everybody(call)?;
    let line = |(name, rules): (String, Vec<u8>)| Reply::Bulk([b"user ", name.as_bytes(), b" ", &rules].concat());
    Ok(Reply::Array(lines.into_iter().map(line).collect()))
}

/// Names and rules of all users, by name.
fn everybody(call: &Call<'_, '_>) -> Answer<Vec<(String, Vec<u8>)>> {
    let acl = &call.env.state.acl;
    acl.refresh(&call.env.state.settings)?;
    let shown = |account: &Account| (account.name.clone(), account.rules.borrow().clone());
    let mut users: Vec<_> = acl.others.borrow().values().map(|account| shown(account)).collect();
    users.push(shown(&acl.default));
    users.sort();
    Ok(users)
}

fn getuser(call: &mut Call<'_, '_>) -> Answer {
    let acl = &call.env.state.acl;
    acl.refresh(&call.env.state.settings)?;
    let Some(account) = acl.account(call.arg(2)) else { return Ok(Reply::Null) };
    let user = account.user.borrow();
    let flags = rules::flags(&user).into_iter().map(Reply::Text).collect();
    let passwords = user.passwords.iter().map(|password| Reply::Bulk(write_hash(password).into_bytes())).collect();
    let mut fields =
        vec![(Reply::Text("flags"), Reply::Set(flags)), (Reply::Text("passwords"), Reply::Array(passwords))];
    fields.extend(shown(&user.root));
    let selectors = user.selectors.iter().map(|selector| Reply::Map(shown(selector).into())).collect();
    fields.push((Reply::Text("selectors"), Reply::Array(selectors)));
    Ok(Reply::Map(fields))
}

fn shown(selector: &Selector) -> [(Reply, Reply); 3] {
    [
        (Reply::Text("commands"), Reply::Bulk(selector.commands_text().into_bytes())),
        (Reply::Text("keys"), Reply::Bulk(selector.keys_text())),
        (Reply::Text("channels"), Reply::Bulk(selector.channels_text())),
    ]
}

fn setuser(call: &mut Call<'_, '_>) -> Answer {
    let name = call.arg(2);
    if name.iter().any(|byte| byte.is_ascii_whitespace() || *byte == 0) {
        return refuse("ERR Usernames can't contain spaces or null characters");
    }
    let Some(name) = std::str::from_utf8(name).ok().filter(|name| name.len() <= NAME_BYTES) else {
        return refuse(format!("ERR Usernames must be UTF-8 of at most {NAME_BYTES} bytes"));
    };
    let rules = match merge(call.args.from(3)) {
        Ok(rules) => rules,
        Err(open) => {
            let open = String::from_utf8_lossy(&open);
            return refuse(format!("ERR Unmatched parenthesis in acl selector starting at '{open}'."));
        }
    };
    let mut wrong = None;
    let changed = call.env.store.atomically(|| {
        wrong = None;
        change(call, name, &rules, &mut wrong)
    });
    match (wrong, changed) {
        (Some(wrong), _) => refuse(wrong),
        (None, Err(Error::TableFull { .. })) => refuse("OOM there is no room for more users or rules"),
        (None, Err(error)) => Err(error.into()),
        (None, Ok(())) => {
            let acl = &call.env.state.acl;
            acl.tell(call.env)?;
            call.session.close_after_reply |= acl.is_unwelcome(call.session);
            Ok(Reply::OK)
        }
    }
}

/// Applies rules to what the user is now; what is wrong with them is noted, and nothing is written.
fn change(call: &Call<'_, '_>, name: &str, rules: &[Vec<u8>], wrong: &mut Option<String>) -> Result<()> {
    let acl = &call.env.state.acl;
    let settings = &call.env.state.settings;
    let (mut user, made) = match acl.roll.read_one(name)? {
        Some(Record { rules, made }) => (parse(&rules).unwrap_or_else(|_| User::new()), made),
        None if name == DEFAULT => (User::default_with(settings.requirepass().as_deref()), 0),
        None => (fresh(settings), random()),
    };
    for rule in rules {
        if rule.eq_ignore_ascii_case(b"reset") {
            user = fresh(settings);
        }
        if let Err(why) = user.apply(rule) {
            *wrong = Some(format!("ERR Error in ACL SETUSER modifier '{}': {why}", String::from_utf8_lossy(rule)));
            return Ok(());
        }
    }
    let rules = describe(&user);
    if rules.len() > RULES_BYTES {
        return Err(too_long(rules.len()));
    }
    // What is kept is what will be read again, by every worker; another user than this one must not come of it.
    if parse(&rules).as_ref() != Ok(&user) {
        *wrong = Some("ERR Error in ACL SETUSER: these rules cannot be kept".to_owned());
        return Ok(());
    }
    acl.roll.write(name, &Record { rules, made })
}

/// A user that has just been made, or reset.
fn fresh(settings: &Settings) -> User {
    let mut user = User::new();
    user.root.all_channels = settings.new_users_hear_all();
    user
}

/// A number that tells a user from one of the same name who was deleted.
fn random() -> i64 {
    let mut bytes = [0; 8];
    // Without randomness, connections of the deleted one may go on as the new one.
    let _ = getrandom::fill(&mut bytes);
    i64::from_le_bytes(bytes)
}

fn deluser(call: &mut Call<'_, '_>) -> Answer {
    let acl = &call.env.state.acl;
    if call.args.from(2).any(|name| name == DEFAULT.as_bytes()) {
        return refuse("ERR The 'default' user cannot be removed");
    }
    let removed = call.env.store.atomically(|| {
        let mut removed = 0;
        for name in call.args.from(2).filter_map(|name| std::str::from_utf8(name).ok()) {
            if name.len() <= NAME_BYTES && !name.contains('\0') {
                removed += i64::from(acl.roll.remove(name)?);
            }
        }
        Ok(removed)
    })?;
    if removed > 0 {
        acl.tell(call.env)?;
        call.session.close_after_reply |= acl.is_unwelcome(call.session);
    }
    Ok(Reply::Int(removed))
}

fn dryrun(call: &mut Call<'_, '_>) -> Answer {
    let acl = &call.env.state.acl;
    acl.refresh(&call.env.state.settings)?;
    let Some(account) = acl.account(call.arg(2)) else {
        return refuse(format!("ERR User '{}' not found", call.text(2)));
    };
    let request = call.args.tail(3);
    let Some(command) = table::meant(&request) else {
        return refuse(format!("ERR Command '{}' not found", call.text(3)));
    };
    if !command.takes(request.len()) {
        return wrong_arity(command.full_name);
    }
    let checked = account.user.borrow().check(command, &request);
    let (name, lossy) = (account.name(), String::from_utf8_lossy);
    Ok(match checked {
        Ok(()) => Reply::OK,
        Err(Denied::Command) => {
            let text = format!("User {name} has no permissions to run the '{}' command", command.full_name);
            Reply::Bulk(text.into_bytes())
        }
        Err(Denied::Key(key)) => {
            Reply::Bulk(format!("User {name} has no permissions to access the '{}' key", lossy(key)).into_bytes())
        }
        Err(Denied::Channel(channel)) => Reply::Bulk(
            format!("User {name} has no permissions to access the '{}' channel", lossy(channel)).into_bytes(),
        ),
    })
}

fn log(call: &mut Call<'_, '_>) -> Answer {
    let log = &call.env.state.acl.log;
    let count = match call.args.len() {
        2 => SHOWN_ENTRIES,
        3 if call.args.is(2, "RESET") => {
            log.reset()?;
            return Ok(Reply::OK);
        }
        3 => parse_int(call.arg(2)).ok_or(Refusal::from(NOT_AN_INTEGER))?.clamp(0, MAX_ENTRIES as i64) as usize,
        _ => return wrong_arity("acl|log"),
    };
    Ok(Reply::Array(log.shown(count, call.env.now_ms)?))
}
