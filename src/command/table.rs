//! The table of commands: one row for each, from which lookup, arity, COMMAND, HELP and hints are served.

use super::{
    Args, Reply,
    call::Call,
    keyspec::{Access, Find, KeySpec, NOT_KEY, RO_ACCESS, RW_ACCESS_UPDATE, RW_UPDATE, RW_VARIABLE},
    refusal::Answer,
};

/// What carries a command out.
pub(crate) type Handler = fn(&mut Call<'_, '_>) -> Answer<Reply>;

/// One command, or one subcommand of a command.
#[derive(Debug)]
pub(crate) struct Command {
    /// Its name, in lower case.
    pub(crate) name: &'static str,
    /// Its name with that of its container: `client|setname`.
    pub(crate) full_name: &'static str,
    /// Arguments with the name; negative: at least so many.
    pub(crate) arity: i64,
    /// Flags, as COMMAND INFO shows them.
    pub(crate) flags: &'static [&'static str],
    /// Categories beyond those that follow from flags and group.
    more_categories: &'static [&'static str],
    /// First key, last key (negative: from the end), step; zeros: it has none.
    pub(crate) keys: (i64, i64, i64),
    /// What it does with them; `None`: what most commands of its flags do.
    access: Option<Access>,
    /// What it really does with them, if that depends on its arguments.
    access_by: Option<fn(&Args<'_>) -> Access>,
    /// Its keys, if they are no single run from the first to the last.
    more_specs: &'static [KeySpec],
    /// The channels that it names.
    pub(crate) channels: Option<Channels>,
    /// Hints for clients of a cluster.
    pub(crate) tips: &'static [&'static str],
    /// The group of the documentation.
    pub(crate) group: &'static str,
    /// The version that had it first.
    pub(crate) since: &'static str,
    /// Its arguments, as a person writes them: `key value [NX | XX]`.
    pub(crate) usage: &'static str,
    /// What it does, in a sentence.
    pub(crate) summary: &'static str,
    /// Its cost; nothing: what follows from flags and keys.
    complexity: &'static str,
    /// Its subcommands.
    pub(crate) subcommands: &'static [Command],
    /// What carries it out.
    pub(crate) handler: Handler,
}

/// The channels that a command names: its first argument, or all of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Channels {
    pub(crate) all: bool,
    pub(crate) are_patterns: bool,
}

/// The categories, in the order in which ACL CAT lists them: those of Redis, some of which have no command here, and our own two.
pub(crate) const CATEGORIES: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
    "table",
    "counter",
];

/// Flags of a command that only reads.
pub(crate) const READ: &[&str] = &["readonly"];
/// Flags of a command that only reads, in constant time.
pub(crate) const READ_FAST: &[&str] = &["readonly", "fast"];
/// Flags of a command that writes and may need memory.
pub(crate) const WRITE: &[&str] = &["write", "denyoom"];
/// Flags of a command that writes and may need memory, in constant time.
pub(crate) const WRITE_FAST: &[&str] = &["write", "denyoom", "fast"];
/// Flags of a command that cannot be undone, and needs memory.
pub(crate) const WRITE_ALONE: &[&str] = &["write", "denyoom", "no_multi"];
/// Flags of a command that cannot be undone.
pub(crate) const DELETE_ALONE: &[&str] = &["write", "no_multi"];
/// Flags of a command that deletes.
pub(crate) const DELETE: &[&str] = &["write"];
/// Flags of a command that deletes, in constant time.
pub(crate) const DELETE_FAST: &[&str] = &["write", "fast"];
/// Flags of a command about the connection or the server.
pub(crate) const PLAIN: &[&str] = &["loading", "stale"];
/// Flags of a command about the connection or the server, in constant time.
pub(crate) const PLAIN_FAST: &[&str] = &["loading", "stale", "fast"];
/// Flags of a command that needs no password.
pub(crate) const OPEN: &[&str] = &["noscript", "loading", "stale", "fast", "no_auth", "allow_busy"];
/// Flags of a command about the connection that scripts must not use.
pub(crate) const PLAIN_NOSCRIPT: &[&str] = &["noscript", "loading", "stale"];
/// Flags of a command for administrators.
pub(crate) const ADMIN: &[&str] = &["admin", "noscript", "loading", "stale"];

impl Command {
    /// A command with neither keys nor flags nor documentation.
    pub(crate) const fn new(name: &'static str, arity: i64, handler: Handler) -> Self {
        Self {
            name,
            full_name: name,
            arity,
            flags: &[],
            more_categories: &[],
            keys: (0, 0, 0),
            access: None,
            access_by: None,
            more_specs: &[],
            channels: None,
            tips: &[],
            group: "generic",
            since: "0.1.0",
            usage: "",
            summary: "",
            complexity: "",
            subcommands: &[],
            handler,
        }
    }

    /// A subcommand; `full_name` is `container|name`.
    pub(crate) const fn sub(full_name: &'static str, arity: i64, handler: Handler) -> Self {
        let bytes = full_name.as_bytes();
        let mut at = 0;
        while bytes[at] != b'|' {
            at += 1;
        }
        let (_, name) = full_name.split_at(at + 1);
        let mut command = Self::new(name, arity, handler);
        command.full_name = full_name;
        command
    }

    pub(crate) const fn flags(mut self, flags: &'static [&'static str]) -> Self {
        self.flags = flags;
        self
    }

    pub(crate) const fn keys(mut self, first: i64, last: i64, step: i64) -> Self {
        self.keys = (first, last, step);
        self
    }

    /// What it does with its keys, if that is not what most commands of its flags do.
    pub(crate) const fn access(mut self, access: Access) -> Self {
        self.access = Some(access);
        self
    }

    /// As [`Self::access`], and what it really does with them follows from its arguments.
    pub(crate) const fn access_by(mut self, access_by: fn(&Args<'_>) -> Access) -> Self {
        self.access = Some(RW_VARIABLE);
        self.access_by = Some(access_by);
        self
    }

    /// Several runs of keys. [`Self::keys`] stays what clients that know one run only are told.
    pub(crate) const fn specs(mut self, specs: &'static [KeySpec]) -> Self {
        self.more_specs = specs;
        self
    }

    /// It publishes to the channel that is its first argument.
    pub(crate) const fn publishes(mut self) -> Self {
        self.channels = Some(Channels { all: false, are_patterns: false });
        self
    }

    /// It subscribes to the channels, or patterns of channels, that are its arguments.
    pub(crate) const fn subscribes(mut self, are_patterns: bool) -> Self {
        self.channels = Some(Channels { all: true, are_patterns });
        self
    }

    /// Categories beyond those that follow from flags and group; `dangerous` for `@dangerous`.
    pub(crate) const fn categories(mut self, categories: &'static [&'static str]) -> Self {
        self.more_categories = categories;
        self
    }

    pub(crate) const fn tips(mut self, tips: &'static [&'static str]) -> Self {
        self.tips = tips;
        self
    }

    pub(crate) const fn complexity(mut self, complexity: &'static str) -> Self {
        self.complexity = complexity;
        self
    }

    pub(crate) const fn docs(mut self, since: &'static str, usage: &'static str, summary: &'static str) -> Self {
        self.since = since;
        self.usage = usage;
        self.summary = summary;
        self
    }

    pub(crate) const fn group(mut self, group: &'static str) -> Self {
        self.group = group;
        self
    }

    pub(crate) const fn subcommands(mut self, subcommands: &'static [Self]) -> Self {
        self.subcommands = subcommands;
        self
    }

    /// Whether so many arguments, the name included, are right.
    pub(crate) fn takes(&self, args: usize) -> bool {
        let args = args as i64;
        if self.arity < 0 { args >= -self.arity } else { args == self.arity }
    }

    /// Whether it has this flag.
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.contains(&flag)
    }

    /// Whether it may be used before the password was given.
    pub(crate) fn needs_no_auth(&self) -> bool {
        self.has("no_auth")
    }

    /// Its keys, run by run.
    pub(crate) fn specs_of_keys(&self) -> impl Iterator<Item = KeySpec> + use<> {
        let is_plain = self.more_specs.is_empty() && self.keys.0 > 0;
        let plain = is_plain.then(|| KeySpec::of_range(self.keys, self.usual_access()));
        plain.into_iter().chain(self.more_specs.iter().copied())
    }

    fn usual_access(&self) -> Access {
        self.access.unwrap_or_else(|| match (self.has("readonly"), self.has("write"), self.has("denyoom")) {
            (true, ..) => RO_ACCESS,
            (_, true, true) => RW_ACCESS_UPDATE,
            (_, true, false) => RW_UPDATE,
            _ => NOT_KEY,
        })
    }

    /// What it does with the keys of one run, by its arguments.
    pub(crate) fn access_in(&self, spec: &KeySpec, args: &Args<'_>) -> Access {
        self.access_by.map_or(spec.access, |access_by| access_by(args))
    }

    /// The argument that names a table or a counter: permissions for keys hold for it too.
    pub(crate) fn name_at(&self) -> Option<usize> {
        (matches!(self.group, "table" | "counter") && self.arity != 1).then_some(1)
    }

    /// Where its keys are can be known from its arguments alone.
    pub(crate) fn has_movable_keys(&self) -> bool {
        self.more_specs.iter().any(|spec| matches!(spec.find, Find::Counted { .. }))
    }

    /// Whether it belongs to this category, which is given without its `@`. What follows from flags and group needs no row.
    pub(crate) fn is_in(&self, category: &str) -> bool {
        let is_leaf = self.subcommands.is_empty();
        match category {
            "read" if self.has("readonly") && self.group != "scripting" => true,
            "write" | "admin" | "pubsub" | "fast" | "blocking" if self.has(category) => true,
            "dangerous" if self.has("admin") => true,
            "slow" => !self.has("fast"),
            "keyspace" if is_leaf && self.group == "generic" => true,
            "transaction" if self.group == "transactions" => true,
            _ => (is_leaf && self.group == category) || self.more_categories.contains(&category),
        }
    }

    /// Its cost, in the notation of computer science.
    pub(crate) fn cost(&self) -> &'static str {
        match self.complexity {
            "" if self.has("fast") && self.keys.1 >= 0 => "O(1)",
            "" if self.has("fast") => "O(N) with N being the number of keys",
            complexity => complexity,
        }
    }

    /// Whether it is refused when more memory is in use than may be.
    pub(crate) fn may_need_memory(&self) -> bool {
        self.flags.contains(&"denyoom")
    }

    /// Whether keys are all that it is about, so that it changes nothing about its client.
    pub(crate) fn is_about_keys(&self) -> bool {
        let about_clients = ["connection", "pubsub", "transactions"].contains(&self.group);
        !about_clients && (self.keys.0 > 0 || !self.more_specs.is_empty())
    }

    /// The subcommand of this name, in any case.
    pub(crate) fn subcommand(&self, name: &[u8]) -> Option<&'static Self> {
        self.subcommands.iter().find(|sub| sub.name.as_bytes().eq_ignore_ascii_case(name))
    }
}

/// Every command, by group.
const GROUPS: &[&[Command]] = &[
    super::strings::COMMANDS,
    super::ranges::COMMANDS,
    super::compare::COMMANDS,
    super::msetex::COMMANDS,
    super::lcs::COMMANDS,
    super::memory::COMMANDS,
    super::bits::COMMANDS,
    super::bitfield::COMMANDS,
    super::keys::COMMANDS,
    super::places::COMMANDS,
    super::object::COMMANDS,
    super::dump::COMMANDS,
    super::waiting::COMMANDS,
    super::tables::COMMANDS,
    super::counters::COMMANDS,
    super::connection::COMMANDS,
    super::client::COMMANDS,
    super::absent::COMMANDS,
    super::server::COMMANDS,
    super::slowlog::COMMANDS,
    super::latency::COMMANDS,
    super::introspect::COMMANDS,
    super::acl::COMMANDS,
    super::monitor::COMMANDS,
    super::transaction::COMMANDS,
    super::pubsub::COMMANDS,
    super::functions::COMMANDS,
    super::hashes::COMMANDS,
];

/// The same, at one address.
static TABLE: &[&[Command]] = GROUPS;

/// Places of the index: a power of two, several times the number of commands.
const PLACES: usize = 1024;
/// Bytes of the longest name.
const MAX_NAME_BYTES: usize = 24;

/// For the hash of a name: group and row of its command, each plus one; 0: none. Collisions go to the next place.
static INDEX: [u16; PLACES] = build_index();

const fn build_index() -> [u16; PLACES] {
    let mut index = [0; PLACES];
    let mut group = 0;
    while group < GROUPS.len() {
        let mut row = 0;
        while row < GROUPS[group].len() {
            let name = GROUPS[group][row].name.as_bytes();
            assert!(name.len() <= MAX_NAME_BYTES && row < 255);
            let mut place = hash(name);
            while index[place] != 0 {
                place = (place + 1) % PLACES;
            }
            index[place] = ((group as u16 + 1) << 8) | (row as u16 + 1);
            row += 1;
        }
        group += 1;
    }
    index
}

/// A hash of the name, whatever its case, folded onto the index: of its length and its first and last eight bytes, which overlap in a
/// short one.
const fn hash(name: &[u8]) -> usize {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    // Letters in lower case; what else this does to a byte, it does to all that are equal.
    const LOWER: u64 = 0x2020_2020_2020_2020;
    let (first, last) = match name.len() {
        8.. => (eight(name, 0), eight(name, name.len() - 8)),
        4.. => (four(name, 0), four(name, name.len() - 4)),
        0 => (0, 0),
        len => (name[0] as u64 | (name[len / 2] as u64) << 8, name[len - 1] as u64),
    };
    let mixed = ((first | LOWER).wrapping_mul(ODD) ^ (last | LOWER)).wrapping_mul(ODD) ^ name.len() as u64;
    (mixed ^ (mixed >> 32)) as usize % PLACES
}

const fn eight(name: &[u8], at: usize) -> u64 {
    four(name, at) | four(name, at + 4) << 32
}

const fn four(name: &[u8], at: usize) -> u64 {
    u32::from_le_bytes([name[at], name[at + 1], name[at + 2], name[at + 3]]) as u64
}

/// The command of this name, in any case. Allocates nothing.
pub(crate) fn lookup(name: &[u8]) -> Option<&'static Command> {
    if name.len() > MAX_NAME_BYTES {
        return None;
    }
    let mut place = hash(name);
    while INDEX[place] != 0 {
        let (group, row) = (INDEX[place] >> 8, INDEX[place] & 0xff);
        let command = &TABLE[usize::from(group) - 1][usize::from(row) - 1];
        if command.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(command);
        }
        place = (place + 1) % PLACES;
    }
    None
}

/// The command, or with `container|name` the subcommand, of this name.
pub(crate) fn find(name: &[u8]) -> Option<&'static Command> {
    match name.iter().position(|&byte| byte == b'|') {
        Some(at) => lookup(&name[..at])?.subcommand(&name[at + 1..]),
        None => lookup(name),
    }
}

/// The command that a request means: its subcommand, if it names one.
pub(crate) fn meant(args: &Args<'_>) -> Option<&'static Command> {
    let command = lookup(args.get(0))?;
    match command.subcommands {
        [] => Some(command),
        _ if args.len() < 2 => Some(command),
        _ => command.subcommand(args.get(1)),
    }
}

/// Every command and subcommand.
pub(crate) fn all_with_subcommands() -> impl Iterator<Item = &'static Command> {
    all().flat_map(|command| std::iter::once(command).chain(command.subcommands))
}

/// Every command.
pub(crate) fn all() -> impl Iterator<Item = &'static Command> {
    TABLE.iter().flat_map(|group| group.iter())
}

/// How many commands there are.
pub(crate) fn count() -> usize {
    TABLE.iter().map(|group| group.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_keys_are_where_both_ways_of_saying_it_put_them() {
        for command in all_with_subcommands().filter(|command| !command.has_movable_keys()) {
            let spec = command.specs_of_keys().next();
            assert_eq!(spec.map_or(0, |spec| spec.begin as i64), command.keys.0, "{}", command.full_name);
        }
    }

    #[test]
    fn a_command_that_reads_or_writes_says_what_of() {
        for command in all_with_subcommands() {
            let is_data = command.is_in("string") || command.is_in("hash") || command.is_in("bitmap");
            assert!(!is_data || command.specs_of_keys().next().is_some(), "{} has keys", command.full_name);
            for spec in command.specs_of_keys().filter(|_| command.has("readonly")) {
                assert!(!spec.access.writes, "{}", command.full_name);
            }
        }
    }

    #[test]
    fn every_command_is_found_by_its_name_in_any_case() {
        for command in all() {
            let upper = command.name.to_ascii_uppercase();
            assert!(std::ptr::eq(lookup(upper.as_bytes()).unwrap(), command), "{upper}");
            assert!(!command.summary.is_empty(), "{upper} has a summary");
            assert!(command.arity != 0, "{upper} has an arity");
        }
        assert!(find(b"config|GET").is_some_and(|command| command.full_name == "config|get"));
        assert!(lookup(b"").is_none());
        assert!(lookup(b"nope").is_none());
        assert!(lookup(&[b'x'; 500]).is_none());
    }
}
