//! The language of rules: `on >secret ~cache:* +@read -keys (~log:* +append)`, read and written.
//!
//! What [`describe`] writes, [`User::apply`] reads again; so users are kept in the segment and shown by ACL LIST.

use super::user::{Digest, KeyPattern, Selector, User, digest};
use crate::command::table::{self, CATEGORIES};

/// Why a rule cannot be obeyed.
pub(super) type Wrong = &'static str;

const SYNTAX: Wrong = "Syntax error";
const UNKNOWN: Wrong = "Unknown command or category name in ACL";
const FIRST_ARG: Wrong = "Allowing first-arg of a subcommand is not supported";
const ALL_KEYS: Wrong = "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any \
                         effect. Try 'resetkeys' to start with an empty list of patterns";
const ALL_CHANNELS: Wrong = "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not \
                             have any effect. Try 'resetchannels' to start with an empty list of channels";
const NO_PASSWORD: Wrong = "The password you are trying to remove from the user does not exist";
const BAD_HASH: Wrong =
    "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters";

/// Joins the arguments of a selector, `(~a` and `+get)`, to one rule.
///
/// # Errors
///
/// The argument that opens a parenthesis which is not closed.
pub(super) fn merge<'a>(args: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Vec<u8>>, Vec<u8>> {
    let mut merged = Vec::new();
    let mut open: Option<(&[u8], Vec<u8>)> = None;
    for arg in args {
        let (first, rule) = match open.take() {
            Some((first, begun)) => (first, [&begun, b" ".as_slice(), arg].concat()),
            None => (arg, arg.to_vec()),
        };
        if rule.first() == Some(&b'(') && rule.last() != Some(&b')') {
            open = Some((first, rule));
        } else {
            merged.push(rule);
        }
    }
    match open {
        Some((first, _)) => Err(first.to_vec()),
        None => Ok(merged),
    }
}

/// A user as the rules that make it.
///
/// # Errors
///
/// The rule that is wrong, and why.
pub(super) fn parse(text: &[u8]) -> Result<User, Wrong> {
    let words = text.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let mut user = User::new();
    for rule in merge(words).map_err(|_| SYNTAX)? {
        user.apply(&rule)?;
    }
    Ok(user)
}

impl User {
    /// Obeys one rule.
    ///
    /// # Errors
    ///
    /// Why it cannot; the user is as before, but for passwords.
    pub(super) fn apply(&mut self, rule: &[u8]) -> Result<(), Wrong> {
        match rule.to_ascii_lowercase().as_slice() {
            b"on" => self.enabled = true,
            b"off" => self.enabled = false,
            // The caller, who knows what new users may hear, has put a new user in its place.
            b"reset" | b"" => {}
            b"sanitize-payload" => self.sanitize = true,
            b"skip-sanitize-payload" => self.sanitize = false,
            b"nopass" => (self.nopass, self.passwords) = (true, Vec::new()),
            b"resetpass" => (self.nopass, self.passwords) = (false, Vec::new()),
            b"clearselectors" => self.selectors.clear(),
            _ => return self.apply_other(rule),
        }
        Ok(())
    }

    fn apply_other(&mut self, rule: &[u8]) -> Result<(), Wrong> {
        match rule {
            [b'>', password @ ..] => self.add_password(digest(password)),
            [b'#', hash @ ..] => self.add_password(read_hash(hash)?),
            [b'<', password @ ..] => return self.remove_password(&digest(password)),
            [b'!', hash @ ..] => return self.remove_password(&read_hash(hash)?),
            [b'(', inner @ .., b')'] => {
                let mut selector = Selector::default();
                for word in inner.split(|&byte| byte == b' ').filter(|word| !word.is_empty()) {
                    // A selector ends with the first such word when it is read again.
                    if word.ends_with(b")") {
                        return Err(SYNTAX);
                    }
                    selector.apply(word)?;
                }
                self.selectors.push(selector);
            }
            _ => return self.root.apply(rule),
        }
        Ok(())
    }

    fn add_password(&mut self, password: Digest) {
        self.nopass = false;
        if !self.passwords.contains(&password) {
            self.passwords.push(password);
        }
    }

    fn remove_password(&mut self, password: &Digest) -> Result<(), Wrong> {
        let at = self.passwords.iter().position(|known| known == password).ok_or(NO_PASSWORD)?;
        self.passwords.remove(at);
        Ok(())
    }
}

impl Selector {
    fn apply(&mut self, rule: &[u8]) -> Result<(), Wrong> {
        match rule.to_ascii_lowercase().as_slice() {
            b"allkeys" | b"~*" => (self.all_keys, self.keys) = (true, Vec::new()),
            b"resetkeys" => (self.all_keys, self.keys) = (false, Vec::new()),
            b"allchannels" | b"&*" => (self.all_channels, self.channels) = (true, Vec::new()),
            b"resetchannels" => (self.all_channels, self.channels) = (false, Vec::new()),
            b"allcommands" | b"+@all" => self.allow_all(),
            b"nocommands" | b"-@all" => self.forget_commands(),
            _ => return self.apply_pattern(rule),
        }
        Ok(())
    }

    fn apply_pattern(&mut self, rule: &[u8]) -> Result<(), Wrong> {
        if rule.iter().any(|byte| byte.is_ascii_whitespace() || *byte == 0) {
            return Err(SYNTAX);
        }
        match rule {
            [b'~', pattern @ ..] => self.add_keys(pattern, true, true),
            [b'%', rest @ ..] => {
                let at = rest.iter().position(|&byte| byte == b'~').ok_or(SYNTAX)?;
                let (letters, pattern) = (&rest[..at], &rest[at + 1..]);
                match letters.to_ascii_uppercase().as_slice() {
                    b"R" => self.add_keys(pattern, true, false),
                    b"W" => self.add_keys(pattern, false, true),
                    b"RW" | b"WR" => self.add_keys(pattern, true, true),
                    _ => Err(SYNTAX),
                }
            }
            [b'&', ..] if self.all_channels => Err(ALL_CHANNELS),
            [b'&', pattern @ ..] => {
                if !self.channels.iter().any(|known| known == pattern) {
                    self.channels.push(pattern.to_vec());
                }
                Ok(())
            }
            [b'+', b'@', category @ ..] => self.set_category(category, true),
            [b'-', b'@', category @ ..] => self.set_category(category, false),
            [b'+', name @ ..] => self.allow(name),
            [b'-', name @ ..] => {
                let command = table::find(name).ok_or(UNKNOWN)?;
                self.set_command(command, false);
                self.note(false, command.full_name.to_owned());
                Ok(())
            }
            _ => Err(SYNTAX),
        }
    }

    fn add_keys(&mut self, pattern: &[u8], reads: bool, writes: bool) -> Result<(), Wrong> {
        if self.all_keys {
            return Err(ALL_KEYS);
        }
        match self.keys.iter_mut().find(|known| known.pattern == pattern) {
            Some(known) => (known.reads, known.writes) = (known.reads || reads, known.writes || writes),
            None => self.keys.push(KeyPattern { pattern: pattern.to_vec(), reads, writes }),
        }
        Ok(())
    }

    fn set_category(&mut self, category: &[u8], allowed: bool) -> Result<(), Wrong> {
        let category = CATEGORIES.iter().find(|name| name.as_bytes().eq_ignore_ascii_case(category)).ok_or(UNKNOWN)?;
        for command in table::all_with_subcommands().filter(|command| command.is_in(category)) {
            self.set_command(command, allowed);
        }
        self.note(allowed, format!("@{category}"));
        Ok(())
    }

    /// Allows a command, a subcommand, or a command with one first argument.
    fn allow(&mut self, name: &[u8]) -> Result<(), Wrong> {
        if let Some(command) = table::find(name) {
            self.set_command(command, true);
            self.note(true, command.full_name.to_owned());
            return Ok(());
        }
        let bar = name.iter().rposition(|&byte| byte == b'|').ok_or(UNKNOWN)?;
        let (name, first) = (&name[..bar], &name[bar + 1..]);
        let command = table::find(name).ok_or(UNKNOWN)?;
        match first {
            _ if name.contains(&b'|') => Err(FIRST_ARG),
            [] => Err(SYNTAX),
            _ if !command.subcommands.is_empty() => Err(UNKNOWN),
            first => {
                let first = first.to_ascii_lowercase();
                let rule = format!("{}|{}", command.name, std::str::from_utf8(&first).map_err(|_| SYNTAX)?);
                // In the order of the rules, which is that in which they are read again.
                self.first_args.retain(|(known, arg)| *known != command.full_name || *arg != first);
                self.first_args.push((command.full_name, first));
                self.note(true, rule);
                Ok(())
            }
        }
    }

    /// Notes what was said about commands, in place of what it repeats or takes back: the same name, or its subcommands.
    fn note(&mut self, allowed: bool, name: String) {
        self.rules.retain(|rule| match rule[1..].strip_prefix(&name) {
            Some(rest) => !(rest.is_empty() || rest.starts_with('|')),
            None => true,
        });
        self.rules.push(format!("{}{name}", if allowed { '+' } else { '-' }));
        self.all_commands = self.begins_with_all && self.rules.iter().all(|rule| rule.starts_with('+'));
    }

    /// The rules about commands.
    pub(super) fn commands_text(&self) -> String {
        let mut text = String::from(if self.begins_with_all { "+@all" } else { "-@all" });
        for rule in &self.rules {
            text.push(' ');
            text.push_str(rule);
        }
        text
    }

    /// The patterns of keys.
    pub(super) fn keys_text(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let word = |keys: &KeyPattern| {
            let sign: &[u8] = match (keys.reads, keys.writes) {
                // `~*` would say that no other pattern follows.
                (true, true) if keys.pattern == b"*" => b"%RW~",
                (true, true) => b"~",
                (true, false) => b"%R~",
                _ => b"%W~",
            };
            [sign, &keys.pattern].concat()
        };
        self.keys.iter().map(word).collect::<Vec<_>>().join(&b' ')
    }

    /// The patterns of channels.
    pub(super) fn channels_text(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        self.channels.iter().map(|channel| [b"&", channel.as_slice()].concat()).collect::<Vec<_>>().join(&b' ')
    }

    fn describe(&self) -> Vec<u8> {
        let mut words = vec![self.keys_text()];
        if !self.all_channels {
            words.push(b"resetchannels".to_vec());
        }
        words.extend([self.channels_text(), self.commands_text().into_bytes()]);
        words.retain(|word| !word.is_empty());
        words.join(&b' ')
    }
}

/// The user as ACL LIST shows it, without its name.
pub(super) fn describe(user: &User) -> Vec<u8> {
    let mut words: Vec<Vec<u8>> = flags(user).into_iter().map(|flag| flag.as_bytes().to_vec()).collect();
    words.extend(user.passwords.iter().map(|password| format!("#{}", write_hash(password)).into_bytes()));
    words.push(user.root.describe());
    words.extend(user.selectors.iter().map(|selector| [b"(", selector.describe().as_slice(), b")"].concat()));
    words.join(&b' ')
}

/// The words for what is on and off.
pub(super) fn flags(user: &User) -> Vec<&'static str> {
    let mut flags = vec![if user.enabled { "on" } else { "off" }];
    flags.extend(user.nopass.then_some("nopass"));
    flags.push(if user.sanitize { "sanitize-payload" } else { "skip-sanitize-payload" });
    flags
}

/// A digest in hexadecimal.
pub(super) fn write_hash(digest: &Digest) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_hash(hash: &[u8]) -> Result<Digest, Wrong> {
    let nibble = |byte: u8| match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        _ => Err(BAD_HASH),
    };
    let mut digest = Digest::default();
    if hash.len() != 2 * digest.len() {
        return Err(BAD_HASH);
    }
    for (byte, pair) in digest.iter_mut().zip(hash.chunks(2)) {
        *byte = nibble(pair[0])? << 4 | nibble(pair[1])?;
    }
    Ok(digest)
}
