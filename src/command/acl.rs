//! Users and what they may do: who a connection is, whether its request is allowed, and ACL, which changes that.
//!
//! Users are rules in a hidden table that all workers share. Each worker keeps them read and understood, and reads them again when
//! the shared version of the settings has changed, which it looks at before each batch of requests. A connection holds on to the
//! account of its user, not to its rules, so a change holds for it from its next request on; who has lost the right to listen to what it
//! listens to, or its user, is disconnected. For a user that may do everything a check is one look at a flag.
//!
//! What follows from rules is decided in [`user`]; how they are written, in [`rules`]. Nothing here knows keys or values.

mod commands;
mod log;
mod roll;
mod rules;
mod user;

use std::{
    cell::{Cell, Ref, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use log::{Entry, Log};
use roll::{Record, Roll};
use rules::{describe, parse};

pub(crate) use commands::COMMANDS;
pub(crate) use user::Denied;
pub use user::{Shown, User};

use super::{
    Args, Env, Message, Session, Settings,
    clients::ClientInfo,
    refusal::{Answer, refuse},
    table::Command,
};
use crate::store::{Result, Stat, Store};

/// The user of those who have not said who they are.
pub(crate) const DEFAULT: &str = "default";
/// Where something was refused, as ACL LOG calls it.
const TOPLEVEL: &str = "toplevel";
const MULTI: &str = "multi";

/// A user as connections hold it: what it may do changes, whose it is does not.
#[derive(Debug)]
pub(crate) struct Account {
    name: String,
    /// Tells it from an earlier user of the same name.
    made: i64,
    rules: RefCell<Vec<u8>>,
    user: RefCell<User>,
    may_do_everything: Cell<bool>,
    is_deleted: Cell<bool>,
}

impl Account {
    fn new(name: &str, record: Record) -> Self {
        let account = Self {
            name: name.to_owned(),
            made: record.made,
            rules: RefCell::default(),
            user: RefCell::new(User::new()),
            may_do_everything: Cell::new(false),
            is_deleted: Cell::new(false),
        };
        account.obey(record.rules);
        account
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether nothing need be looked at. A deleted user may do nothing.
    pub(crate) fn may_do_everything(&self) -> bool {
        self.may_do_everything.get()
    }

    /// Takes over rules; whether they are others than before. Rules that cannot be understood allow nothing.
    fn obey(&self, rules: Vec<u8>) -> bool {
        if *self.rules.borrow() == rules {
            return false;
        }
        let user = parse(&rules).unwrap_or_else(|_| User::new());
        self.may_do_everything.set(user.may_do_everything());
        self.user.replace(user);
        self.rules.replace(rules);
        true
    }

    fn delete(&self) {
        self.may_do_everything.set(false);
        self.is_deleted.set(true);
        self.user.replace(User::new());
    }
}

/// The users, as one worker holds them.
pub struct Acl {
    store: Store,
    roll: Roll,
    log: Log,
    default: Rc<Account>,
    others: RefCell<BTreeMap<String, Rc<Account>>>,
    /// The shared version when the users were last looked at.
    version: Cell<u64>,
    /// Something has changed since this was last asked.
    changed: Cell<bool>,
    /// Users have changed and could not be read.
    behind: Cell<bool>,
}

impl Acl {
    /// Makes the tables, and forgets the users of an earlier master: this one begins with its own settings.
    pub(super) fn reserve(store: &Store) -> Result<()> {
        Roll::open(store)?.clear()?;
        Log::open(store)?.reset()
    }

    /// Opens the tables and reads the users.
    ///
    /// # Errors
    ///
    /// [`crate::Error::OutOfMemory`], [`crate::Error::Busy`].
    pub(super) fn open(store: &Store, settings: &Settings) -> Result<Self> {
        let acl = Self {
            store: store.clone(),
            roll: Roll::open(store)?,
            log: Log::open(store)?,
            default: Rc::new(Account::new(DEFAULT, Record { rules: describe(&User::new()), made: 0 })),
            others: RefCell::default(),
            version: Cell::new(0),
            changed: Cell::new(false),
            behind: Cell::new(false),
        };
        acl.refresh(settings)?;
        Ok(acl)
    }

    /// Takes over what another worker has just changed, before the next requests are executed. One load if nothing was.
    pub fn follow(&self, settings: &Settings) {
        if self.store.interest().settings_version() != self.version.get() {
            self.behind.set(self.refresh(settings).is_err());
        }
    }

    /// Whether users have changed and a stopped process keeps them from being read: requests must wait, as what was known before may give
    /// rights that were taken away.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.behind.get()
    }

    /// Reads the users again.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Busy`]; what was known before stays in force.
    pub fn refresh(&self, settings: &Settings) -> Result<()> {
        let version = self.store.interest().settings_version();
        // What `default` needs follows from the settings: those of before would be taken for those of this version.
        settings.refresh()?;
        self.reload(settings)?;
        self.version.set(version);
        self.behind.set(false);
        Ok(())
    }

    /// As [`Self::refresh`]; they will be read once more, as what was read now may be taken back.
    fn reload(&self, settings: &Settings) -> Result<()> {
        let mut read = self.roll.read()?;
        let default = read.remove(DEFAULT).map_or_else(|| default_rules(settings), |record| record.rules);
        let mut changed = self.default.obey(default);
        let mut others = self.others.borrow_mut();
        others.retain(|name, account| {
            let stays = read.get(name).is_some_and(|record| record.made == account.made);
            if !stays {
                account.delete();
                changed = true;
            }
            stays
        });
        for (name, record) in read {
            match others.get(&name) {
                Some(account) => changed |= account.obey(record.rules),
                None => drop(others.insert(name.clone(), Rc::new(Account::new(&name, record)))),
            }
        }
        self.changed.set(self.changed.get() || changed);
        Ok(())
    }

    /// Whether what a user may do has changed since [`Self::take_changed`] was last asked.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.changed.get()
    }

    /// Whether what a user may do has changed since this was last asked: somebody may listen who must not.
    pub fn take_changed(&self) -> bool {
        self.changed.take()
    }

    /// Has it asked once more: not everybody could be looked at.
    pub fn put_changed_back(&self) {
        self.changed.set(true);
    }

    /// Whether a connection is to be closed: its user is gone, or may not listen to what it listens to.
    #[must_use]
    pub fn is_unwelcome(&self, session: &Session) -> bool {
        let account = self.account_of(session);
        let user = account.user.borrow();
        account.is_deleted.get() || session.subscriptions.any(|name, is_pattern| !user.may_hear(name, is_pattern))
    }

    /// Whether a client may be told of what has this name by a command that lists names.
    pub(super) fn may_read(&self, session: &Session, command: &'static str, name: &[u8]) -> bool {
        let account = self.account_of(session);
        account.may_do_everything() || account.user.borrow().may_read(command, name)
    }

    /// Whether new connections have to log in.
    #[must_use]
    pub fn needs_auth(&self) -> bool {
        !self.default.user.borrow().needs_no_password()
    }

    /// The user whose password HTTP clients send.
    #[must_use]
    pub fn default_user(&self) -> Ref<'_, User> {
        self.default.user.borrow()
    }

    fn account_of<'s>(&'s self, session: &'s Session) -> &'s Account {
        session.account.as_deref().unwrap_or(&self.default)
    }

    /// The user of this name.
    pub(crate) fn account(&self, name: &[u8]) -> Option<Rc<Account>> {
        if name == DEFAULT.as_bytes() {
            return Some(Rc::clone(&self.default));
        }
        self.others.borrow().get(std::str::from_utf8(name).ok()?).cloned()
    }

    /// Refuses a request that the client's user may not send, and notes that. One look at a flag for a user that may do everything.
    #[inline]
    pub(super) fn admit(
        &self,
        command: &'static Command,
        args: &Args<'_>,
        session: &mut Session,
        env: &Env<'_>,
    ) -> Answer<()> {
        if self.account_of(session).may_do_everything() {
            return Ok(());
        }
        let context = if session.transaction.queued().is_some() { MULTI } else { TOPLEVEL };
        session.last_command = command.full_name;
        self.look_closely(command, args, session, env, context).map_err(|denied| {
            let name = session.user_name();
            match denied {
                None => "NOAUTH Authentication required.".into(),
                Some(Denied::Command) => {
                    format!("NOPERM User {name} has no permissions to run the '{}' command", command.full_name).into()
                }
                Some(Denied::Key(_)) => "NOPERM No permissions to access a key".into(),
                Some(Denied::Channel(_)) => "NOPERM No permissions to access a channel".into(),
            }
        })
    }

    /// As [`Self::admit`], of a request that was admitted when it was queued.
    pub(super) fn admit_queued(
        &self,
        command: &'static Command,
        args: &Args<'_>,
        session: &mut Session,
        env: &Env<'_>,
    ) -> Answer<()> {
        if self.account_of(session).may_do_everything() {
            return Ok(());
        }
        self.look_closely(command, args, session, env, MULTI).map_err(|denied| {
            let why = match denied {
                None | Some(Denied::Command) => "no permission to execute the command or subcommand",
                Some(Denied::Key(_)) => "no permission to touch the specified keys",
                Some(Denied::Channel(_)) => {
                    "no permission to access one of the channels used as arguments to the command"
                }
            };
            format!(
                "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This \
                 command is no longer allowed for the following reason: {why}"
            )
            .into()
        })
    }

    /// What a user without all rights may not do, noted in the log; `None`: there is no such user any more, and the connection ends.
    #[cold]
    fn look_closely<'a>(
        &self,
        command: &'static Command,
        args: &Args<'a>,
        session: &mut Session,
        env: &Env<'_>,
        context: &'static str,
    ) -> std::result::Result<(), Option<Denied<'a>>> {
        if self.account_of(session).is_deleted.get() {
            (session.authenticated, session.close_after_reply) = (false, true);
            return Err(None);
        }
        let Err(denied) = self.account_of(session).user.borrow().check(command, args) else { return Ok(()) };
        let (reason, stat, object) = match denied {
            Denied::Command => ("command", Stat::DeniedCommands, command.full_name.as_bytes()),
            Denied::Key(key) => ("key", Stat::DeniedKeys, key),
            Denied::Channel(channel) => ("channel", Stat::DeniedChannels, channel),
        };
        env.store.statistics().add(stat, 1);
        self.note(reason, context, object, session.user_name().as_bytes(), session, env);
        Err(Some(denied))
    }

    /// Notes in the log that something was refused.
    fn note(
        &self,
        reason: &'static str,
        context: &'static str,
        object: &[u8],
        user: &[u8],
        session: &Session,
        env: &Env<'_>,
    ) {
        let client = ClientInfo::of_session(session, env.worker).line(env.now_ms);
        let entry = Entry { reason, context, object, user, client: client.trim_end() };
        // What cannot be written down was refused all the same.
        let _ = self.log.add(&entry, env.now_ms, env.state.settings.acl_log_max_len());
    }

    /// Lets a client in as this user if the password is right, and notes it if it is not; `word` is what the client sent it with.
    pub(super) fn log_in(
        &self,
        name: &[u8],
        password: &[u8],
        word: &[u8],
        session: &mut Session,
        env: &Env<'_>,
    ) -> Answer<()> {
        self.refresh(&env.state.settings)?;
        let account = self.account(name);
        // For one who does not exist, as much is done.
        let admits = match &account {
            Some(account) => account.user.borrow().admits(password),
            None => User::new().admits(password),
        };
        let Some(account) = account.filter(|_| admits) else {
            env.store.statistics().add(Stat::AuthFailures, 1);
            let context = if session.transaction.queued().is_some() { MULTI } else { TOPLEVEL };
            self.note("auth", context, word, name, session, env);
            return refuse("WRONGPASS invalid username-password pair or user is disabled.");
        };
        session.account = Some(account);
        session.authenticated = true;
        session.dirty = true;
        Ok(())
    }

    /// CONFIG SET requirepass: the password of `default`, whatever it was.
    pub(super) fn set_default_password(&self, password: &str, env: &Env<'_>) -> Result<()> {
        env.store.atomically(|| {
            let Some(Record { rules, made }) = self.roll.read_one(DEFAULT)? else { return Ok(()) };
            let mut user = parse(&rules).unwrap_or_else(|_| User::new());
            user.set_only_password((!password.is_empty()).then_some(password));
            self.roll.write(DEFAULT, &Record { rules: describe(&user), made })
        })?;
        self.tell(env)
    }

    /// Takes over what was just written, and has the other workers do so.
    fn tell(&self, env: &Env<'_>) -> Result<()> {
        self.store.interest().note_settings();
        self.reload(&env.state.settings)?;
        env.state.bus.post(env.state.bus.everybody(), &Message::Users);
        Ok(())
    }
}

fn default_rules(settings: &Settings) -> Vec<u8> {
    describe(&User::default_with(settings.requirepass().as_deref()))
}

#[cfg(test)]
mod tests;
