//! A user: its passwords, and what it may do. Nothing here knows how rules are written; see [`super::rules`].

use std::collections::HashSet;

use sha2::{Digest as _, Sha256};

use crate::command::{
    Args, glob,
    keyspec::NOT_KEY,
    table::{self, Command},
};

/// The SHA-256 of a password.
pub(super) type Digest = [u8; 32];

/// Why a user may not do something. The later ones say more about what is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Denied<'a> {
    /// It may not use the command.
    Command,
    /// Nor this key, or not so.
    Key(&'a [u8]),
    /// Nor this channel.
    Channel(&'a [u8]),
}

/// Where a selector stops to allow a request: at this argument.
struct Miss<'a> {
    at: usize,
    denied: Denied<'a>,
}

impl Miss<'_> {
    /// How much of what was asked for is granted: of several selectors, the one that grants most gives the reason.
    fn nearness(&self) -> (u8, usize) {
        let rank = match self.denied {
            Denied::Command => 0,
            Denied::Key(_) => 1,
            Denied::Channel(_) => 2,
        };
        (rank, self.at)
    }
}

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    pub(super) enabled: bool,
    /// Any password is right.
    pub(super) nopass: bool,
    /// Whether what RESTORE brings in is looked at closely. It always is; the word is remembered.
    pub(super) sanitize: bool,
    pub(super) passwords: Vec<Digest>,
    pub(super) root: Selector,
    pub(super) selectors: Vec<Selector>,
}

/// What a user may do: a request must be allowed by one of its selectors as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Selector {
    /// Whether the rules begin with all commands, or with none.
    pub(super) begins_with_all: bool,
    /// What was said about commands since then, without what was repeated.
    pub(super) rules: Vec<String>,
    /// The commands and subcommands that follow from it, by their full names.
    pub(super) commands: HashSet<&'static str>,
    /// Commands that are allowed with this first argument.
    pub(super) first_args: Vec<(&'static str, Vec<u8>)>,
    /// Nothing was taken away from all commands.
    pub(super) all_commands: bool,
    pub(super) keys: Vec<KeyPattern>,
    pub(super) all_keys: bool,
    pub(super) channels: Vec<Vec<u8>>,
    pub(super) all_channels: bool,
}

/// Keys, and what may be done with them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct KeyPattern {
    pub(super) pattern: Vec<u8>,
    pub(super) reads: bool,
    pub(super) writes: bool,
}

/// What somebody who comes without a session has shown to be let in: a password, which is not kept, or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown(Option<Digest>);

impl Shown {
    /// Somebody with this password, or without one.
    #[must_use]
    pub fn of(password: Option<&[u8]>) -> Self {
        Self(password.map(digest))
    }
}

/// The digest of a password.
pub(super) fn digest(password: &[u8]) -> Digest {
    Sha256::digest(password).into()
}

impl User {
    /// A user that has just been made: it may do nothing, and cannot log in.
    pub(super) fn new() -> Self {
        Self {
            enabled: false,
            nopass: false,
            sanitize: true,
            passwords: Vec::new(),
            root: Selector::default(),
            selectors: Vec::new(),
        }
    }

    /// The user `default` of a server with this password: it may do everything.
    #[must_use]
    pub fn default_with(password: Option<&str>) -> Self {
        let mut user = Self::new();
        user.enabled = true;
        user.root = Selector { all_keys: true, all_channels: true, ..Selector::default() };
        user.root.allow_all();
        user.set_only_password(password);
        user
    }

    /// This password alone is right, or any.
    pub(super) fn set_only_password(&mut self, password: Option<&str>) {
        self.nopass = password.is_none();
        self.passwords = password.map(|password| digest(password.as_bytes())).into_iter().collect();
    }

    /// Whether it may do everything.
    #[must_use]
    pub fn may_do_everything(&self) -> bool {
        self.root.all_commands && self.root.all_keys && self.root.all_channels
    }

    /// Whether connections need not log in to be this user.
    #[must_use]
    pub fn needs_no_password(&self) -> bool {
        self.enabled && self.nopass
    }

    /// Whether one may log in with this password.
    #[must_use]
    pub fn admits(&self, password: &[u8]) -> bool {
        self.admits_digest(&digest(password))
    }

    /// Whether who has shown this may still do everything as this user.
    #[must_use]
    pub fn is_open_to(&self, shown: &Shown) -> bool {
        let is_in = self.needs_no_password() || shown.0.is_some_and(|given| self.admits_digest(&given));
        is_in && self.may_do_everything()
    }

    /// Every one of the user's passwords is compared, all of its bytes.
    fn admits_digest(&self, given: &Digest) -> bool {
        let mut right = false;
        for expected in &self.passwords {
            let difference = given.iter().zip(expected).fold(0, |all, (a, b)| all | std::hint::black_box(a ^ b));
            right |= std::hint::black_box(difference) == 0;
        }
        self.enabled && (self.nopass || right)
    }

    fn all_selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    /// Whether it may send this request; the command is the one that the request means.
    pub(crate) fn check<'a>(&self, command: &'static Command, args: &Args<'a>) -> Result<(), Denied<'a>> {
        let mut nearest = Miss { at: 0, denied: Denied::Command };
        for selector in self.all_selectors() {
            match selector.check(command, args) {
                Ok(()) => return Ok(()),
                Err(miss) if miss.nearness() > nearest.nearness() => nearest = miss,
                Err(_) => {}
            }
        }
        Err(nearest.denied)
    }

    /// Whether one of its selectors allows this command, and to read what has this name.
    pub(super) fn may_read(&self, command: &'static str, name: &[u8]) -> bool {
        let allows = |selector: &Selector| {
            (selector.all_commands || selector.commands.contains(command)) && selector.allows_key(name, true, false)
        };
        self.all_selectors().any(allows)
    }

    /// Whether one of its selectors allows a channel, or a pattern of channels.
    pub(super) fn may_hear(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.all_selectors().any(|selector| selector.allows_channel(channel, is_pattern))
    }
}

impl Selector {
    /// Allows every command, and forgets what was said before.
    pub(super) fn allow_all(&mut self) {
        self.forget_commands();
        self.commands = table::all_with_subcommands().map(|command| command.full_name).collect();
        (self.begins_with_all, self.all_commands) = (true, true);
    }

    /// Allows no command, and forgets what was said before.
    pub(super) fn forget_commands(&mut self) {
        (self.begins_with_all, self.all_commands) = (false, false);
        self.rules.clear();
        self.commands.clear();
        self.first_args.clear();
    }

    /// Allows or forbids a command with all its subcommands.
    pub(super) fn set_command(&mut self, command: &'static Command, allowed: bool) {
        for command in std::iter::once(command).chain(command.subcommands) {
            self.first_args.retain(|(name, _)| *name != command.full_name);
            if allowed {
                self.commands.insert(command.full_name);
            } else {
                self.commands.remove(command.full_name);
            }
        }
    }

    fn check<'a>(&self, command: &'static Command, args: &Args<'a>) -> Result<(), Miss<'a>> {
        if !self.all_commands && !command.needs_no_auth() && !self.allows_command(command, args) {
            return Err(Miss { at: 0, denied: Denied::Command });
        }
        if !self.all_keys {
            self.check_keys(command, args)?;
        }
        if !self.all_channels {
            self.check_channels(command, args)?;
        }
        Ok(())
    }

    fn allows_command(&self, command: &'static Command, args: &Args<'_>) -> bool {
        self.commands.contains(command.full_name)
            || self
                .first_args
                .iter()
                .any(|(name, first)| *name == command.full_name && args.get(1).eq_ignore_ascii_case(first))
    }

    fn check_keys<'a>(&self, command: &'static Command, args: &Args<'a>) -> Result<(), Miss<'a>> {
        for spec in command.specs_of_keys().filter(|spec| spec.access != NOT_KEY) {
            let access = command.access_in(&spec, args);
            // A request whose keys cannot be told from its arguments is refused by the command itself.
            for at in spec.places(args).into_iter().flatten() {
                self.check_key(args, at, access.reads, access.writes)?;
            }
        }
        if let Some(at) = command.name_at() {
            self.check_key(args, at, true, command.has("write"))?;
        }
        Ok(())
    }

    fn check_key<'a>(&self, args: &Args<'a>, at: usize, reads: bool, writes: bool) -> Result<(), Miss<'a>> {
        let key = args.get(at);
        if self.allows_key(key, reads, writes) { Ok(()) } else { Err(Miss { at, denied: Denied::Key(key) }) }
    }

    fn allows_key(&self, key: &[u8], reads: bool, writes: bool) -> bool {
        let allows = |pattern: &KeyPattern| {
            (pattern.reads || !reads) && (pattern.writes || !writes) && glob::matches(&pattern.pattern, key)
        };
        self.all_keys || self.keys.iter().any(allows)
    }

    fn check_channels<'a>(&self, command: &'static Command, args: &Args<'a>) -> Result<(), Miss<'a>> {
        let Some(channels) = command.channels else { return Ok(()) };
        let end = if channels.all { args.len() } else { 2 };
        match (1..end).find(|&at| !self.allows_channel(args.get(at), channels.are_patterns)) {
            Some(at) => Err(Miss { at, denied: Denied::Channel(args.get(at)) }),
            None => Ok(()),
        }
    }

    /// A pattern is allowed if it is one of the patterns itself: what it matches is not compared.
    fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        let allows = |allowed: &Vec<u8>| {
            if is_pattern { allowed == channel } else { glob::matches(allowed, channel) }
        };
        self.all_channels || self.channels.iter().any(allows)
    }
}
