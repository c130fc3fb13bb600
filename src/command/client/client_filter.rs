//! Which clients CLIENT LIST shows and CLIENT KILL closes: those that match every filter that is given.

use std::collections::HashSet;

use crate::command::{
    call::Call,
    clients::ClientInfo,
    parse_int,
    refusal::{Answer, NOT_AN_INTEGER, Refusal, SYNTAX, refuse},
};

/// Letters that stand for what a client is doing.
const FLAGS: &str = "AbBcdeEiIMNOPrRStTuUx";

/// What one filter asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Id(HashSet<u64>),
    /// `normal`, `master`, `replica` or `pubsub`.
    Type(String),
    User(String),
    Addr(String),
    Laddr(String),
    /// Connected for at least so many seconds.
    Age(u64),
    /// Silent for at least so many seconds.
    Idle(u64),
    /// Has all of these flags.
    Flags(String),
    Name(String),
    LibName(String),
    LibVersion(String),
    Db(u8),
    /// Has all of these capabilities.
    Capa(String),
    Ip(String),
}

impl Wanted {
    fn matches(&self, client: &ClientInfo, now_ms: u64) -> bool {
        match self {
            Self::Id(ids) => ids.contains(&client.id),
            Self::Type(kind) => client.kind() == kind,
            Self::User(user) => client.user == *user,
            Self::Addr(addr) => client.addr == *addr,
            Self::Laddr(laddr) => client.laddr == *laddr,
            Self::Age(seconds) => client.age_secs(now_ms) >= *seconds,
            Self::Idle(seconds) => client.idle_secs(now_ms) >= *seconds,
            Self::Flags(flags) => flags.chars().all(|flag| client.flags.contains(flag)),
            Self::Name(name) => client.name == *name,
            Self::LibName(name) => client.lib_name == *name,
            Self::LibVersion(version) => client.lib_version == *version,
            Self::Db(db) => client.db == *db,
            Self::Capa(letters) => letters.chars().all(|letter| client.capa().contains(letter)),
            Self::Ip(ip) => client.ip() == ip,
        }
    }
}

/// The filters of one command.
#[derive(Debug, Default)]
pub(in crate::command) struct Filter {
    /// What is asked for, and whether it is what a client must not be.
    wanted: Vec<(Wanted, bool)>,
    skip_me: bool,
}

impl Filter {
    /// The filters of CLIENT LIST.
    pub(in crate::command) fn of_list(call: &Call<'_, '_>) -> Answer<Self> {
        Self { skip_me: false, ..Self::default() }.with(call)
    }

    /// The filters of CLIENT KILL, which spares its sender unless it is told otherwise.
    pub(in crate::command) fn of_kill(call: &Call<'_, '_>) -> Answer<Self> {
        Self { skip_me: true, ..Self::default() }.with(call)
    }

    /// The old form of CLIENT KILL, with an address alone.
    pub(in crate::command) fn of_address(call: &Call<'_, '_>) -> Self {
        Self { wanted: vec![(Wanted::Addr(call.text(2)), false)], skip_me: false }
    }

    pub(in crate::command) fn matches(&self, client: &ClientInfo, own: u64, now_ms: u64) -> bool {
        !(self.skip_me && client.id == own)
            && self.wanted.iter().all(|(wanted, not)| wanted.matches(client, now_ms) != *not)
    }

    fn with(mut self, call: &Call<'_, '_>) -> Answer<Self> {
        let mut at = 2;
        while at < call.args.len() {
            if at + 1 >= call.args.len() {
                return refuse(SYNTAX);
            }
            if call.args.is(at, "SKIPME") {
                self.skip_me = yes_or_no(call, at + 1)?;
                at += 2;
                continue;
            }
            let name = call.text(at).to_ascii_lowercase();
            let (name, not) = name.strip_prefix("not-").map_or((name.as_str(), false), |name| (name, true));
            let (wanted, len) = match name {
                "id" => ids(call, at + 1)?,
                _ => (one(call, name, at + 1)?, 1),
            };
            self.add(wanted, not);
            at += 1 + len;
        }
        Ok(self)
    }

    /// Of two filters of a kind the later one counts; numbers of clients add up.
    fn add(&mut self, wanted: Wanted, not: bool) {
        let same = |other: &&mut (Wanted, bool)| {
            other.1 == not && std::mem::discriminant(&other.0) == std::mem::discriminant(&wanted)
        };
        match (self.wanted.iter_mut().find(same), wanted) {
            (Some((Wanted::Id(ids), _)), Wanted::Id(more)) => ids.extend(more),
            (Some(earlier), wanted) => earlier.0 = wanted,
            (None, wanted) => self.wanted.push((wanted, not)),
        }
    }
}

/// The filter `name` with the value that is argument `at`.
fn one(call: &Call<'_, '_>, name: &str, at: usize) -> Answer<Wanted> {
    let text = call.text(at);
    Ok(match name {
        "type" => Wanted::Type(kind(&text)?),
        "user" => Wanted::User(user(call, text)?),
        "addr" => Wanted::Addr(text),
        "laddr" => Wanted::Laddr(text),
        "maxage" => Wanted::Age(seconds(call, at)?),
        "idle" => Wanted::Idle(seconds(call, at)?),
        "flags" => Wanted::Flags(flags(text)?),
        "name" => Wanted::Name(text),
        "lib-name" => Wanted::LibName(text),
        "lib-ver" => Wanted::LibVersion(text),
        "db" => Wanted::Db(database(call, at)?),
        "capa" => Wanted::Capa(text),
        "ip" => Wanted::Ip(text),
        _ => return refuse(SYNTAX),
    })
}

/// The numbers from argument `first` on, and how many there are.
fn ids(call: &Call<'_, '_>, first: usize) -> Answer<(Wanted, usize)> {
    let numbers: Vec<i64> = call.args.from(first).map_while(parse_int).collect();
    if numbers.is_empty() {
        return refuse(SYNTAX);
    }
    let ids = numbers.iter().map(|&id| u64::try_from(id).ok().filter(|&id| id > 0)).collect::<Option<HashSet<_>>>();
    let ids = ids.ok_or(Refusal::from("ERR client-id should be greater than 0"))?;
    Ok((Wanted::Id(ids), numbers.len()))
}

fn yes_or_no(call: &Call<'_, '_>, at: usize) -> Answer<bool> {
    match (call.args.is(at, "YES"), call.args.is(at, "NO")) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => refuse(SYNTAX),
    }
}

fn kind(text: &str) -> Answer<String> {
    let kind = match text.to_ascii_lowercase().as_str() {
        "normal" => "normal",
        "master" | "primary" => "master",
        "replica" | "slave" => "replica",
        "pubsub" => "pubsub",
        _ => return refuse(format!("ERR Unknown client type '{text}'")),
    };
    Ok(kind.to_owned())
}

fn user(call: &Call<'_, '_>, name: String) -> Answer<String> {
    if !call.knows_user(&name) {
        return refuse(format!("ERR No such user '{name}'"));
    }
    Ok(name)
}

fn seconds(call: &Call<'_, '_>, at: usize) -> Answer<u64> {
    let number = parse_int(call.arg(at)).ok_or(Refusal::from(NOT_AN_INTEGER))?;
    match u64::try_from(number) {
        Ok(seconds @ 1..) => Ok(seconds),
        _ => refuse(format!("ERR {} should be greater than 0", call.text(at - 1).to_ascii_lowercase())),
    }
}

fn database(call: &Call<'_, '_>, at: usize) -> Answer<u8> {
    let number = parse_int(call.arg(at)).ok_or(Refusal::from(NOT_AN_INTEGER))?;
    match u8::try_from(number) {
        Ok(db) if usize::from(db) < crate::store::limits::DATABASES => Ok(db),
        _ => refuse("ERR DB number should be between 0 and 15"),
    }
}

fn flags(text: String) -> Answer<String> {
    if text.is_empty() || !text.chars().all(|flag| FLAGS.contains(flag)) {
        return refuse(format!("ERR Unknown flags found in the provided filter: {text}"));
    }
    Ok(text)
}
