//! The key-value space of the in-memory store.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use super::{
    Common,
    entries::{Entries, Entry},
    eviction::Uses,
    turn::Locked,
};
use crate::store::{
    Condition, Current, Decide, Derive, Error, ExpireRule, Expiry, KeyUsage, KvBackend, KvType, LongDouble, Policy,
    Result, ScanPage, SetOptions, SetOutcome, Stat, Statistics, Ttl, Update, Version,
    kv::{check, check_few},
    limits::{DATABASES, MAX_VALUE_BYTES},
    number,
};

/// The value of a key.
#[derive(Clone)]
pub(super) enum Stored {
    String(Vec<u8>),
    Hash(BTreeMap<Vec<u8>, Vec<u8>>),
}

impl Stored {
    fn new() -> Self {
        Self::String(Vec::new())
    }

    fn kind(&self) -> KvType {
        match self {
            Self::String(_) => KvType::String,
            Self::Hash(_) => KvType::Hash,
        }
    }

    fn string(&self) -> Result<&[u8]> {
        match self {
            Self::String(value) => Ok(value),
            Self::Hash(_) => Err(Error::WrongKind),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::String(value) => value.len(),
            Self::Hash(fields) => fields.iter().map(|(field, value)| field.len() + value.len()).sum(),
        }
    }
}

type Database = Entries<Stored>;

pub(super) struct MemoryKeyspace {
    max_keys: u64,
    common: Arc<Common>,
    pub(super) uses: Uses,
    databases: Mutex<[Database; DATABASES]>,
}

/// All databases, locked, with one of them chosen, and the one time by which an operation judges them.
pub(super) struct Open<'a> {
    databases: Locked<'a, [Database; DATABASES]>,
    db: usize,
    now_ms: u64,
}

impl Open<'_> {
    pub(super) fn get(&self) -> &Database {
        &self.databases[self.db]
    }

    pub(super) fn get_mut(&mut self) -> &mut Database {
        &mut self.databases[self.db]
    }

    /// The value of a key, which must be a string if it is there.
    fn value(&self, key: &[u8]) -> Result<Option<&[u8]>> {
        self.get().get(key).map(|entry| entry.value.string()).transpose()
    }
}

impl MemoryKeyspace {
    pub(super) fn new(max_keys: u64, common: Arc<Common>) -> Self {
        Self { max_keys, common, uses: Uses::default(), databases: Mutex::default() }
    }

    /// Everything, to be put back.
    pub(super) fn saved(&self) -> [Database; DATABASES] {
        self.common.turn.lock(&self.databases).clone()
    }

    pub(super) fn put_back(&self, databases: [Database; DATABASES]) {
        *self.common.turn.lock(&self.databases) = databases;
    }

    pub(super) fn sweep(&self) -> usize {
        let now_ms = (self.common.clock)();
        let mut databases = self.common.turn.lock(&self.databases);
        for (db, database) in databases.iter().enumerate() {
            let expired = database.iter().filter(|entry| Expiry::has_passed(entry.expires_at, now_ms));
            expired.for_each(|entry| self.common.depart(db as u8, &entry.key, false));
        }
        self.freed(databases.iter_mut().map(|database| database.free_all_expired(now_ms)).sum())
    }

    /// Bytes of all keys and values.
    pub(super) fn bytes(&self) -> u64 {
        let databases = self.common.turn.lock(&self.databases);
        databases.iter().flat_map(Entries::iter).map(|entry| (entry.key.len() + entry.value.bytes()) as u64).sum()
    }

    /// Evicts until keys and values are no more than they may be.
    pub(super) fn come_below_limit(&self) -> Result<()> {
        let limit = self.uses.limit();
        while limit.bytes > 0 && self.bytes() > limit.bytes {
            let mut databases = self.common.turn.lock(&self.databases);
            let may_go = |expires_at: Option<u64>| match limit.policy {
                Policy::NoEviction => false,
                policy => expires_at.is_some() || !policy.is_volatile(),
            };
            let victim = databases.iter().enumerate().find_map(|(db, database)| {
                let entry = database.iter().find(|entry| may_go(entry.expires_at))?;
                Some((db, entry.key.clone()))
            });
            let Some((db, key)) = victim else { return Err(Error::OutOfMemory) };
            databases[db].remove(&key);
            self.uses.count_eviction();
            self.common.depart(db as u8, &key, true);
        }
        Ok(())
    }

    fn freed(&self, keys: usize) -> usize {
        self.common.statistics.add(Stat::Expired, keys as u64);
        keys
    }

    /// Opens a database; afterwards these keys are there only if they have not expired.
    pub(super) fn open(&self, db: u8, keys: &[&[u8]]) -> Result<Open<'_>> {
        check(db, b"")?;
        keys.iter().try_for_each(|key| check(db, key))?;
        let databases = self.common.turn.lock(&self.databases);
        let mut open = Open { databases, db: usize::from(db), now_ms: (self.common.clock)() };
        let now_ms = open.now_ms;
        self.freed(keys.iter().map(|key| open.get_mut().free_expired(key, now_ms)).sum());
        keys.iter().filter(|key| !open.get().contains(key)).for_each(|key| self.uses.forget(db, key));
        Ok(open)
    }

    /// Refuses unless those of these keys that are new fit once the expired ones are gone.
    pub(super) fn need_room(&self, open: &mut Open<'_>, keys: &[&[u8]]) -> Result<()> {
        let new = keys.iter().filter(|key| !open.get().contains(key)).collect::<BTreeSet<_>>().len() as u64;
        let fits = |open: &Open<'_>| new + open.databases.iter().map(Entries::len).sum::<u64>() <= self.max_keys;
        if new > 0 && !fits(open) {
            let now_ms = open.now_ms;
            self.freed(open.databases.iter_mut().map(|database| database.free_all_expired(now_ms)).sum());
        }
        if new > 0 && !fits(open) {
            return Err(Error::OutOfMemory);
        }
        Ok(())
    }

    /// Makes of a key of the open database what was decided.
    fn apply(&self, open: &mut Open<'_>, key: &[u8], update: Update<'_>) -> Result<()> {
        match update {
            Update::Leave => {}
            Update::Set(value, expiry) if !Expiry::has_passed(expiry.after(None), open.now_ms) => {
                check_value(value.len(), MAX_VALUE_BYTES)?;
                self.need_room(open, &[key])?;
                let entry = open.get_mut().entry(key, Stored::new);
                entry.value = Stored::String(value.into_owned());
                entry.expires_at = expiry.after(entry.expires_at);
            }
            Update::Delete | Update::Set(..) => drop(open.get_mut().remove(key)),
        }
        Ok(())
    }

    /// Replaces the value of one key, which is made if it is missing and keeps its expiry if it is not.
    fn put(&self, open: &mut Open<'_>, key: &[u8], value: Vec<u8>) -> Result<()> {
        self.need_room(open, &[key])?;
        open.get_mut().entry(key, Stored::new).value = Stored::String(value);
        Ok(())
    }
}

impl KvBackend for MemoryKeyspace {
    fn kind(&self, db: u8, key: &[u8]) -> Result<Option<KvType>> {
        Ok(self.open(db, &[key])?.get().get(key).map(|entry| entry.value.kind()))
    }

    fn get(&self, db: u8, key: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        let open = self.open(db, &[key])?;
        let found = open.value(key)?;
        out.extend_from_slice(found.unwrap_or_default());
        self.uses.touch(db, key, open.now_ms);
        Ok(found.is_some())
    }

    fn mget(&self, db: u8, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        let open = self.open(db, keys)?;
        keys.iter().for_each(|key| self.uses.touch(db, key, open.now_ms));
        Ok(keys.iter().map(|key| open.value(key).ok().flatten().map(<[u8]>::to_vec)).collect())
    }

    fn strlen(&self, db: u8, key: &[u8]) -> Result<u64> {
        Ok(self.open(db, &[key])?.value(key)?.map_or(0, |value| value.len() as u64))
    }

    fn set(&self, db: u8, key: &[u8], value: &[u8], options: SetOptions) -> Result<SetOutcome> {
        check_value(value.len(), MAX_VALUE_BYTES)?;
        let mut open = self.open(db, &[key])?;
        let previous = if options.get { open.value(key)?.map(<[u8]>::to_vec) } else { None };
        if !options.condition.allows(open.get().contains(key)) {
            return Ok(SetOutcome { written: false, previous });
        }
        if Expiry::has_passed(options.expiry.after(None), open.now_ms) {
            open.get_mut().remove(key);
            return Ok(SetOutcome { written: true, previous });
        }
        self.need_room(&mut open, &[key])?;
        let entry = open.get_mut().entry(key, Stored::new);
        entry.value = Stored::String(value.to_vec());
        entry.expires_at = options.expiry.after(entry.expires_at);
        Ok(SetOutcome { written: true, previous })
    }

    fn mset(&self, db: u8, pairs: &[(&[u8], &[u8])], if_absent: bool) -> Result<bool> {
        let condition = if if_absent { Condition::IfAbsent } else { Condition::Always };
        self.mset_if(db, pairs, Expiry::Never, condition)
    }

    fn mset_if(&self, db: u8, pairs: &[(&[u8], &[u8])], expiry: Expiry, condition: Condition) -> Result<bool> {
        pairs.iter().try_for_each(|(_, value)| check_value(value.len(), MAX_VALUE_BYTES))?;
        let keys: Vec<&[u8]> = pairs.iter().map(|(key, _)| *key).collect();
        let mut open = self.open(db, &keys)?;
        if !keys.iter().all(|key| condition.allows(open.get().contains(key))) {
            return Ok(false);
        }
        self.need_room(&mut open, &keys)?;
        for (key, value) in pairs {
            let entry = open.get_mut().entry(key, Stored::new);
            entry.value = Stored::String(value.to_vec());
            entry.expires_at = expiry.after(entry.expires_at);
        }
        Ok(true)
    }

    fn update<'v>(&self, db: u8, key: &[u8], decide: &mut Decide<'_, 'v>) -> Result<()> {
        check(db, key)?;
        let mut open = self.open(db, &[key])?;
        let update = decide(open.get().get(key).map(current))?;
        self.apply(&mut open, key, update)
    }

    fn derive(&self, sources: &[(u8, &[u8])], to: (u8, &[u8]), decide: &mut Derive<'_>) -> Result<()> {
        sources.iter().chain([&to]).try_for_each(|&(db, key)| check(db, key))?;
        check_few(sources.len() + 1)?;
        let mut open = self.open(to.0, &[to.1])?;
        let now_ms = open.now_ms;
        let freed = sources.iter().map(|&(db, key)| open.databases[usize::from(db)].free_expired(key, now_ms)).sum();
        self.freed(freed);
        let shown = |&(db, key): &(u8, &[u8])| open.databases[usize::from(db)].get(key).map(current);
        let update = match decide(&sources.iter().map(shown).collect::<Vec<_>>(), shown(&to))? {
            Update::Set(value, expiry) => Update::Set(Cow::Owned(value.into_owned()), expiry),
            Update::Leave => Update::Leave,
            Update::Delete => Update::Delete,
        };
        self.apply(&mut open, to.1, update)
    }

    fn getdel(&self, db: u8, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut open = self.open(db, &[key])?;
        let value = open.value(key)?.map(<[u8]>::to_vec);
        open.get_mut().remove(key);
        Ok(value)
    }

    fn getex(&self, db: u8, key: &[u8], expiry: Expiry) -> Result<Option<Vec<u8>>> {
        let mut open = self.open(db, &[key])?;
        if expiry == Expiry::Keep {
            return Ok(open.value(key)?.map(<[u8]>::to_vec));
        }
        let Some(entry) = open.get_mut().get_mut(key) else {
            return Ok(None);
        };
        let value = entry.value.string()?.to_vec();
        entry.expires_at = expiry.after(entry.expires_at);
        let now_ms = open.now_ms;
        open.get_mut().free_expired(key, now_ms);
        Ok(Some(value))
    }

    fn append(&self, db: u8, key: &[u8], tail: &[u8], max: usize) -> Result<u64> {
        let mut open = self.open(db, &[key])?;
        let value = [open.value(key)?.unwrap_or_default(), tail].concat();
        let len = value.len();
        check_value(len, max.min(MAX_VALUE_BYTES))?;
        self.put(&mut open, key, value)?;
        Ok(len as u64)
    }

    fn incr(&self, db: u8, key: &[u8], by: i64) -> Result<i64> {
        let mut open = self.open(db, &[key])?;
        let sum = number::add_int(open.value(key)?, by)?;
        self.put(&mut open, key, sum.to_string().into_bytes())?;
        Ok(sum)
    }

    fn incr_float(&self, db: u8, key: &[u8], by: LongDouble) -> Result<Vec<u8>> {
        let mut open = self.open(db, &[key])?;
        let sum = number::add_float(open.value(key)?, by)?;
        self.put(&mut open, key, sum.clone())?;
        Ok(sum)
    }

    fn delete(&self, db: u8, key: &[u8]) -> Result<bool> {
        Ok(self.open(db, &[key])?.get_mut().remove(key).is_some())
    }

    fn free_expired(&self, db: u8, key: &[u8]) -> Result<bool> {
        check(db, key)?;
        let now_ms = (self.common.clock)();
        let freed = self.common.turn.lock(&self.databases)[usize::from(db)].free_expired(key, now_ms) > 0;
        if freed {
            self.common.depart(db, key, false);
        }
        Ok(self.freed(usize::from(freed)) > 0)
    }

    fn exists(&self, db: u8, key: &[u8]) -> Result<bool> {
        Ok(self.open(db, &[key])?.get().contains(key))
    }

    fn ttl(&self, db: u8, key: &[u8]) -> Result<Ttl> {
        Ok(self.open(db, &[key])?.get().ttl(key))
    }

    fn expire(&self, db: u8, key: &[u8], expiry: Expiry, rule: ExpireRule) -> Result<bool> {
        let mut open = self.open(db, &[key])?;
        let current = open.get().ttl(key);
        let changes = match expiry {
            Expiry::Keep => false,
            Expiry::Never => matches!(current, Ttl::At(_)),
            Expiry::At(at_ms) => rule.allows(current, at_ms),
        };
        if changes && let Some(entry) = open.get_mut().get_mut(key) {
            entry.expires_at = expiry.after(entry.expires_at);
        }
        let now_ms = open.now_ms;
        open.get_mut().free_expired(key, now_ms);
        Ok(changes)
    }

    fn rename(&self, db: u8, from: &[u8], to: &[u8], if_absent: bool) -> Result<bool> {
        let mut open = self.open(db, &[from, to])?;
        if !open.get().contains(from) {
            return Err(Error::NoSuchKey);
        }
        if if_absent && open.get().contains(to) {
            return Ok(false);
        }
        if let Some(moved) = open.get_mut().remove(from) {
            let entry = open.get_mut().entry(to, Stored::new);
            entry.value = moved.value;
            entry.expires_at = moved.expires_at;
        }
        Ok(true)
    }

    fn move_to(&self, db: u8, key: &[u8], to: u8) -> Result<bool> {
        check(db, key)?;
        check(to, key)?;
        let mut open = self.open(db, &[key])?;
        let (to, now_ms) = (usize::from(to), open.now_ms);
        self.freed(open.databases[to].free_expired(key, now_ms));
        if open.databases[to].contains(key) {
            return Ok(false);
        }
        let Some(moved) = open.get_mut().remove(key) else {
            return Ok(false);
        };
        let entry = open.databases[to].entry(key, Stored::new);
        entry.value = moved.value;
        entry.expires_at = moved.expires_at;
        Ok(true)
    }

    fn swap(&self, one: u8, other: u8) -> Result<()> {
        check(other, b"")?;
        let mut open = self.open(one, &[])?;
        open.databases.swap(usize::from(one), usize::from(other));
        Ok(())
    }

    fn random_key(&self, db: u8) -> Result<Option<Vec<u8>>> {
        let mut open = self.open(db, &[])?;
        let now_ms = open.now_ms;
        self.freed(open.get_mut().free_all_expired(now_ms));
        let keys = open.get().len();
        // Without randomness the first key is as good as any.
        let chosen = crate::sys::random::quick().checked_rem(keys).unwrap_or(0);
        Ok(open.get().iter().nth(chosen as usize).map(|entry| entry.key.clone()))
    }

    fn scan(&self, db: u8, cursor: u64, count: usize) -> Result<ScanPage> {
        let open = self.open(db, &[])?;
        let (cursor, page) = open.get().page(cursor, count.max(1), open.now_ms);
        Ok(ScanPage { cursor, keys: page.into_iter().map(|entry| entry.key.clone()).collect() })
    }

    fn len(&self, db: u8) -> Result<u64> {
        Ok(self.open(db, &[])?.get().len())
    }

    fn expiring(&self, db: u8) -> Result<u64> {
        Ok(self.open(db, &[])?.get().iter().filter(|entry| entry.expires_at.is_some()).count() as u64)
    }

    fn usage(&self, db: u8, key: &[u8]) -> Result<Option<KeyUsage>> {
        let open = self.open(db, &[key])?;
        Ok(open.get().contains(key).then(|| self.uses.get(db, key, open.now_ms)))
    }

    fn touch(&self, db: u8, key: &[u8]) -> Result<bool> {
        let open = self.open(db, &[key])?;
        self.uses.touch(db, key, open.now_ms);
        Ok(open.get().contains(key))
    }

    fn set_usage(&self, db: u8, key: &[u8], idle_seconds: Option<u64>, frequency: Option<u32>) -> Result<bool> {
        let open = self.open(db, &[key])?;
        self.uses.set(db, key, open.now_ms, idle_seconds, frequency);
        Ok(open.get().contains(key))
    }

    fn bytes(&self, db: u8, key: &[u8]) -> Result<Option<u64>> {
        let open = self.open(db, &[key])?;
        Ok(open.get().get(key).map(|entry| (key.len() + entry.value.bytes()) as u64))
    }

    fn flush(&self, db: Option<u8>) -> Result<()> {
        match db {
            Some(db) => self.open(db, &[])?.get_mut().clear(),
            None => self.common.turn.lock(&self.databases).iter_mut().for_each(Entries::clear),
        }
        Ok(())
    }

    fn version(&self, db: u8, key: &[u8]) -> Result<Version> {
        let open = self.open(db, &[key])?;
        Ok(Version([u64::from(open.get().contains(key)), open.get().touches(key), 0, 0, 0]))
    }

    fn is_untouched(&self, db: u8, key: &[u8], since: Version) -> Result<bool> {
        Ok(self.version(db, key)? == since)
    }
}

/// An entry as a change is shown it.
fn current(entry: &Entry<Stored>) -> Current<'_> {
    Current { kind: entry.value.kind(), value: entry.value.string().unwrap_or_default(), expires_at: entry.expires_at }
}

fn check_value(len: usize, max: usize) -> Result<()> {
    if len > max {
        return Err(Error::TooLarge { what: "value", len, max });
    }
    Ok(())
}
