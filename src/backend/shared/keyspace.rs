//! The key-value space in the segment.

use std::{borrow::Cow, collections::HashMap};

use smallvec::SmallVec;

use super::{SharedStore, refused};
use crate::{
    shm::{Change, KeyVersion, Kind, Record, SetRule},
    store::{
        Condition, Current, Decide, Derive, Error, ExpireRule, Expiry, KeyUsage, KvBackend, KvType, LongDouble, Result,
        ScanPage, SetOptions, SetOutcome, Stat, Statistics, Ttl, Update, Version,
        kv::{check, check_few},
        number,
    },
    sys::{clock, random},
};

/// The expiry after a change, or nothing if that time has passed.
fn expiry_after(expiry: Expiry, before: u64, now_ms: u64) -> Option<u64> {
    match expiry {
        Expiry::Never => Some(0),
        Expiry::Keep => Some(before),
        Expiry::At(at_ms) => (at_ms > now_ms).then_some(at_ms),
    }
}

fn ttl(expire_at: u64) -> Ttl {
    if expire_at == 0 { Ttl::Never } else { Ttl::At(expire_at) }
}

fn type_of(kind: Kind) -> KvType {
    match kind {
        Kind::Bytes => KvType::String,
        Kind::Fields => KvType::Hash,
    }
}

/// The value of a record, which must be a string.
fn string(record: Record<'_>) -> Result<&[u8]> {
    current(record).string()
}

/// A record as a change of the store is shown it.
fn current(record: Record<'_>) -> Current<'_> {
    Current {
        kind: type_of(record.kind),
        value: record.value,
        expires_at: (record.expire_at != 0).then_some(record.expire_at),
    }
}

/// What a decision means for a record.
fn change_by<'v>(update: Update<'v>, record: Option<Record<'_>>, now_ms: u64) -> Change<'v> {
    match update {
        Update::Leave => Change::Leave,
        Update::Delete => Change::Remove,
        Update::Set(value, expiry) => match expiry_after(expiry, record.map_or(0, |record| record.expire_at), now_ms) {
            Some(expire_at) => Change::Set(value, expire_at),
            None => Change::Remove,
        },
    }
}

impl SharedStore {
    fn change<'v>(
        &self,
        db: u8,
        key: &[u8],
        with_value: bool,
        now_ms: u64,
        change: &mut dyn FnMut(Option<Record<'_>>) -> Change<'v>,
    ) -> Result<()> {
        check(db, key)?;
        self.keys.change(self.patience, now_ms, db, key, with_value, change).map_err(refused)
    }

    fn relocate(&self, from: (u8, &[u8]), to: (u8, &[u8]), if_absent: bool) -> Result<Option<bool>> {
        check(from.0, from.1)?;
        check(to.0, to.1)?;
        self.keys.rename(self.patience, clock::now_ms(), from, to, if_absent).map_err(refused)
    }

    /// The length and expiry of a value, and the value itself if `out` is given.
    fn read(&self, db: u8, key: &[u8], out: Option<&mut Vec<u8>>) -> Result<Option<crate::shm::KeyValue>> {
        check(db, key)?;
        self.keys.read(self.patience, clock::now_ms(), db, key, out).map_err(refused)
    }

    /// Replaces a value by a function of it, which may refuse; the expiry stays.
    fn compute(&self, db: u8, key: &[u8], mut function: impl FnMut(Option<&[u8]>) -> Result<Vec<u8>>) -> Result<()> {
        let mut refusal = Ok(());
        self.change(db, key, true, clock::now_ms(), &mut |record| match record
            .map(string)
            .transpose()
            .and_then(&mut function)
        {
            Ok(value) => {
                refusal = Ok(());
                Change::Set(Cow::Owned(value), record.map_or(0, |record| record.expire_at))
            }
            Err(error) => {
                refusal = Err(error);
                Change::Leave
            }
        })?;
        refusal
    }
}

impl KvBackend for SharedStore {
    fn fetch_ahead(&self, db: u8, keys: &[&[u8]]) {
        self.keys.fetch_ahead(db, keys);
    }

    fn kind(&self, db: u8, key: &[u8]) -> Result<Option<KvType>> {
        Ok(self.read(db, key, None)?.map(|value| type_of(value.kind)))
    }

    fn get(&self, db: u8, key: &[u8], out: &mut Vec<u8>) -> Result<bool> {
        match self.read(db, key, Some(out))? {
            Some(value) if value.kind != Kind::Bytes => Err(Error::WrongKind),
            found => Ok(found.is_some()),
        }
    }

    fn mget(&self, db: u8, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        check(db, b"")?;
        keys.iter().try_for_each(|key| check(db, key))?;
        self.keys.fetch_ahead(db, keys);
        self.keys.read_many(self.patience, clock::now_ms(), db, keys).map_err(refused)
    }

    fn strlen(&self, db: u8, key: &[u8]) -> Result<u64> {
        match self.read(db, key, None)? {
            Some(value) if value.kind != Kind::Bytes => Err(Error::WrongKind),
            found => Ok(found.map_or(0, |value| value.len as u64)),
        }
    }

    fn set(&self, db: u8, key: &[u8], value: &[u8], options: SetOptions) -> Result<SetOutcome> {
        let now_ms = clock::now_ms();
        let (mut outcome, mut refusal) = (SetOutcome::default(), Ok(()));
        self.change(db, key, options.get, now_ms, &mut |record| {
            refusal = Ok(());
            match record.filter(|_| options.get).map(string).transpose() {
                Ok(previous) => outcome.previous = previous.map(<[u8]>::to_vec),
                Err(error) => {
                    refusal = Err(error);
                    return Change::Leave;
                }
            }
            outcome.written = options.condition.allows(record.is_some());
            if !outcome.written {
                return Change::Leave;
            }
            match expiry_after(options.expiry, record.map_or(0, |record| record.expire_at), now_ms) {
                Some(expire_at) => Change::Set(Cow::Borrowed(value), expire_at),
                None => Change::Remove,
            }
        })?;
        refusal.map(|()| outcome)
    }

    fn mset(&self, db: u8, pairs: &[(&[u8], &[u8])], if_absent: bool) -> Result<bool> {
        let condition = if if_absent { Condition::IfAbsent } else { Condition::Always };
        self.mset_if(db, pairs, Expiry::Never, condition)
    }

    fn mset_if(&self, db: u8, pairs: &[(&[u8], &[u8])], expiry: Expiry, condition: Condition) -> Result<bool> {
        check(db, b"")?;
        let mut places = HashMap::with_capacity(pairs.len());
        let mut merged: Vec<(&[u8], &[u8])> = Vec::with_capacity(pairs.len());
        for &(key, value) in pairs {
            check(db, key)?;
            let place = *places.entry(key).or_insert(merged.len());
            match merged.get_mut(place) {
                Some(pair) => pair.1 = value,
                None => merged.push((key, value)),
            }
        }
        let rule = SetRule {
            allows: &|present| condition.allows(present),
            // A time that has passed is written as it is: such a key is not there.
            expire_at: &|before| expiry.after(Some(before)).unwrap_or(0),
        };
        self.keys.set_many(self.patience, clock::now_ms(), db, &merged, &rule).map_err(refused)
    }

    fn update<'v>(&self, db: u8, key: &[u8], decide: &mut Decide<'_, 'v>) -> Result<()> {
        let now_ms = clock::now_ms();
        let mut refusal = Ok(());
        self.change(db, key, true, now_ms, &mut |record| {
            refusal = Ok(());
            match decide(record.map(current)) {
                Ok(update) => change_by(update, record, now_ms),
                Err(error) => {
                    refusal = Err(error);
                    Change::Leave
                }
            }
        })?;
        refusal
    }

    fn derive(&self, sources: &[(u8, &[u8])], to: (u8, &[u8]), decide: &mut Derive<'_>) -> Result<()> {
        sources.iter().chain([&to]).try_for_each(|&(db, key)| check(db, key))?;
        check_few(sources.len() + 1)?;
        let now_ms = clock::now_ms();
        let mut refusal = Ok(());
        let derived = self.keys.derive(self.patience, now_ms, sources, to, &mut |records, target| {
            refusal = Ok(());
            let shown: SmallVec<[_; 4]> = records.iter().map(|record| record.map(current)).collect();
            match decide(&shown, target.map(current)) {
                Ok(update) => change_by(update, target, now_ms),
                Err(error) => {
                    refusal = Err(error);
                    Change::Leave
                }
            }
        });
        derived.map_err(refused)?;
        refusal
    }

    fn getdel(&self, db: u8, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let mut previous = Ok(None);
        self.change(db, key, true, clock::now_ms(), &mut |record| {
            previous = record.map(string).transpose().map(|value| value.map(<[u8]>::to_vec));
            if previous.is_ok() { Change::Remove } else { Change::Leave }
        })?;
        previous
    }

    fn getex(&self, db: u8, key: &[u8], expiry: Expiry) -> Result<Option<Vec<u8>>> {
        let now_ms = clock::now_ms();
        let mut value = Ok(None);
        self.change(db, key, true, now_ms, &mut |record| {
            value = record.map(string).transpose().map(|value| value.map(<[u8]>::to_vec));
            match record.filter(|_| value.is_ok()).map(|record| expiry_after(expiry, record.expire_at, now_ms)) {
                None => Change::Leave,
                Some(Some(expire_at)) => Change::Expire(expire_at),
                Some(None) => Change::Remove,
            }
        })?;
        value
    }

    fn append(&self, db: u8, key: &[u8], tail: &[u8], max: usize) -> Result<u64> {
        let mut len = 0;
        self.compute(db, key, |value| {
            let value = value.unwrap_or_default();
            len = value.len() + tail.len();
            if len > max {
                return Err(Error::TooLarge { what: "value", len, max });
            }
            Ok([value, tail].concat())
        })?;
        Ok(len as u64)
    }

    fn incr(&self, db: u8, key: &[u8], by: i64) -> Result<i64> {
        check(db, key)?;
        match self.keys.add_int(self.patience, clock::now_ms(), db, key, by).map_err(refused)? {
            Some(Some(sum)) => return Ok(sum),
            Some(None) => return Err(Error::Overflow),
            None => {}
        }
        let mut sum = 0;
        self.compute(db, key, |value| {
            sum = number::add_int(value, by)?;
            Ok(itoa::Buffer::new().format(sum).as_bytes().to_vec())
        })?;
        Ok(sum)
    }

    fn incr_float(&self, db: u8, key: &[u8], by: LongDouble) -> Result<Vec<u8>> {
        let mut sum = Vec::new();
        self.compute(db, key, |value| {
            sum = number::add_float(value, by)?;
            Ok(sum.clone())
        })?;
        Ok(sum)
    }

    fn delete(&self, db: u8, key: &[u8]) -> Result<bool> {
        let mut present = false;
        self.change(db, key, false, clock::now_ms(), &mut |record| {
            present = record.is_some();
            Change::Remove
        })?;
        Ok(present)
    }

    fn free_expired(&self, db: u8, key: &[u8]) -> Result<bool> {
        check(db, key)?;
        let freed = self.keys.free_expired(self.patience, clock::now_ms(), db, key).map_err(refused)?;
        self.add(Stat::Expired, u64::from(freed));
        Ok(freed)
    }

    fn exists(&self, db: u8, key: &[u8]) -> Result<bool> {
        Ok(self.read(db, key, None)?.is_some())
    }

    fn ttl(&self, db: u8, key: &[u8]) -> Result<Ttl> {
        Ok(self.read(db, key, None)?.map_or(Ttl::Missing, |value| ttl(value.expire_at)))
    }

    fn expire(&self, db: u8, key: &[u8], expiry: Expiry, rule: ExpireRule) -> Result<bool> {
        let now_ms = clock::now_ms();
        let mut changed = false;
        self.change(db, key, false, now_ms, &mut |record| {
            let before = record.map_or(Ttl::Missing, |record| ttl(record.expire_at));
            changed = match (before, expiry) {
                (Ttl::Missing, _) | (_, Expiry::Keep) | (Ttl::Never, Expiry::Never) => false,
                (_, Expiry::Never) => true,
                (_, Expiry::At(at_ms)) => rule.allows(before, at_ms),
            };
            if !changed {
                return Change::Leave;
            }
            expiry_after(expiry, 0, now_ms).map_or(Change::Remove, Change::Expire)
        })?;
        Ok(changed)
    }

    fn rename(&self, db: u8, from: &[u8], to: &[u8], if_absent: bool) -> Result<bool> {
        self.relocate((db, from), (db, to), if_absent)?.ok_or(Error::NoSuchKey)
    }

    fn move_to(&self, db: u8, key: &[u8], to: u8) -> Result<bool> {
        Ok(self.relocate((db, key), (to, key), true)?.unwrap_or(false))
    }

    fn swap(&self, one: u8, other: u8) -> Result<()> {
        check(one, b"")?;
        check(other, b"")?;
        self.keys.swap_databases(self.patience, one, other).map_err(refused)
    }

    fn random_key(&self, db: u8) -> Result<Option<Vec<u8>>> {
        check(db, b"")?;
        self.keys.random(self.patience, clock::now_ms(), db, &mut random::quick).map_err(refused)
    }

    fn scan(&self, db: u8, cursor: u64, count: usize) -> Result<ScanPage> {
        check(db, b"")?;
        let mut keys = Vec::new();
        let mut take = |key: &[u8]| keys.push(key.to_vec());
        let cursor = self.keys.scan(self.patience, clock::now_ms(), db, cursor, count.max(1), &mut take);
        Ok(ScanPage { cursor: cursor.map_err(refused)?, keys })
    }

    fn len(&self, db: u8) -> Result<u64> {
        check(db, b"")?;
        self.keys.len(self.patience, db).map_err(refused)
    }

    fn expiring(&self, db: u8) -> Result<u64> {
        check(db, b"")?;
        self.keys.expiring(self.patience, db).map_err(refused)
    }

    fn usage(&self, db: u8, key: &[u8]) -> Result<Option<KeyUsage>> {
        self.usage_of(db, key)
    }

    fn touch(&self, db: u8, key: &[u8]) -> Result<bool> {
        self.touch_key(db, key)
    }

    fn set_usage(&self, db: u8, key: &[u8], idle_seconds: Option<u64>, frequency: Option<u32>) -> Result<bool> {
        self.set_usage_of(db, key, idle_seconds, frequency)
    }

    fn bytes(&self, db: u8, key: &[u8]) -> Result<Option<u64>> {
        self.bytes_of(db, key)
    }

    fn flush(&self, db: Option<u8>) -> Result<()> {
        check(db.unwrap_or(0), b"")?;
        self.keys.flush(self.patience, db).map_err(refused)
    }

    fn version(&self, db: u8, key: &[u8]) -> Result<Version> {
        check(db, key)?;
        let version = self.keys.version(self.patience, clock::now_ms(), db, key).map_err(refused)?;
        Ok(match version {
            KeyVersion::Live { row, sequence } => Version([1, u64::from(row), sequence, 0, 0]),
            KeyVersion::Absent { home, insertions, stale: (row, sequence) } => {
                Version([0, u64::from(home), u64::from(insertions), u64::from(row), sequence])
            }
        })
    }

    fn is_untouched(&self, db: u8, key: &[u8], since: Version) -> Result<bool> {
        check(db, key)?;
        let since = match since.0 {
            [1, row, sequence, ..] => KeyVersion::Live { row: row as u32, sequence },
            [_, home, insertions, row, sequence] => {
                KeyVersion::Absent { home: home as u32, insertions: insertions as u32, stale: (row as u32, sequence) }
            }
        };
        self.keys.is_untouched(self.patience, clock::now_ms(), db, key, since).map_err(refused)
    }
}
