//! What all places share, and therefore wait for each other at: twelve accounts, a counter, keys of all sizes, a hash of purses and guests,
//! a table that comes and goes, and a cache whose keys are evicted. Nobody may see it torn; the sum of the accounts and the bounds of the
//! counter are exact.

use std::collections::BTreeSet;

use shm_layout::row::BODY_WORD;
use store_master::{
    Column, Counter, Error, Segment, Store, Table, row,
    shm::{RowWords, Tables, Verdict},
    store::{ExpireRule, Expiry, FieldUpdate, MemoryLimit, Policy, SetOptions, ValueRef, limits::DATABASES},
    sys::clock,
};

use super::{
    book::{Book, Word},
    own,
};
use crate::random::Random;

const ACCOUNTS: u64 = 12;
const START: i64 = 1000;
/// Keys that all write.
const KEYS: u64 = 7;
const LENS: [u64; 7] = [0, 5, 30, 300, 3_000, 20_000, 70_000];

/// Longest life of what is short-lived.
pub(super) const SHORT_LIFE_MS: u64 = 30;

/// The hash of all, and the fields that stand in it for ever; guests come and go beside them.
const HASH: &[u8] = b"purses and guests";
const PURSES: u64 = 40;
const GUESTS: u64 = 60;

/// The database of the cache, the keys that come into it, and how long their values are.
const CACHE: u8 = 3;
const CACHED: u64 = 1200;
const LONGEST_CACHED: u64 = 9_000;
/// Memory for the cache and for what comes and goes beside it: too little for all of the cache.
const SPARE_BYTES: u64 = 3 << 20;
/// Bytes of the index that a key is said to take, which are there from the start.
const INDEX_BYTES: u64 = 8;
/// A time that does not come during a storm: only what expires is evicted, and nothing but the cache and what is short-lived does.
const FAR: u64 = 4_000_000_000_000;

/// The property of all, as one process sees it.
pub(super) struct Common<'a> {
    store: &'a Store,
    book: Book<'a>,
    places: usize,
    accounts: Table,
    /// The same table: transfers read and write in one step.
    raw: Tables,
    own: Table,
    counter: Counter,
    names: Vec<Vec<u8>>,
}

fn side_columns() -> [Column; 2] {
    [Column::int("n"), Column::string("text", 24)]
}

/// Makes what all share.
pub(super) fn found(store: &Store) {
    let twice_and_text = |size| [Column::int("a"), Column::int("b"), Column::string("text", size)];
    let accounts = store.make("accounts", 64, &twice_and_text(66)).expect("there is room");
    for name in names() {
        accounts.set(name, &row! { a: START, b: START }).expect("there is room");
    }
    let purses: Vec<Vec<u8>> = (0..PURSES).map(purse).collect();
    let purses: Vec<&[u8]> = purses.iter().map(Vec::as_slice).collect();
    let start = &mut |_: usize, _: Option<&[u8]>| Ok(FieldUpdate::Set(START.to_string().into_bytes().into()));
    store.kv().change_fields(1, HASH, &purses, false, start).expect("there is room");
    store.make("own", 256, &twice_and_text(40)).expect("there is room");
    store.make("visitors", 64, &twice_and_text(30)).expect("there is room");
}

/// Has keys evicted from now on, by a policy that leaves alone what does not expire.
pub(super) fn limit(store: &Store, random: &Random) -> Policy {
    let policy = [Policy::VolatileLru, Policy::VolatileLfu, Policy::VolatileTtl, Policy::VolatileRandom]
        [random.below(4) as usize];
    let bytes = store.memory_use().used() + SPARE_BYTES;
    store.set_memory_limit(MemoryLimit { bytes, policy, ..MemoryLimit::default() });
    policy
}

fn names() -> Vec<Vec<u8>> {
    (0..ACCOUNTS).map(|i| format!("account {i}").into_bytes()).collect()
}

impl<'a> Common<'a> {
    pub(super) fn new(segment: &Segment, store: &'a Store, book: Book<'a>, places: usize) -> Self {
        Self {
            store,
            book,
            places,
            accounts: store.table("accounts").expect("it was made"),
            raw: Tables::find(segment, None, "accounts").expect("it was made"),
            own: store.table("own").expect("it was made"),
            counter: store.counter("of all").expect("the name is short"),
            names: names(),
        }
    }

    /// A random operation.
    pub(super) fn step(&self, random: &Random) {
        match random.below(27) {
            23..27 => self.cache(random),
            18..21 => self.purses(random),
            21..23 => self.guest(random),
            16..18 => self.transfer_by_steps(random).expect("there is room"),
            0..5 => self.transfer(random),
            5..7 => self.audit(random),
            7..9 => self.count(),
            9..12 => self.key(random),
            12 => self.pair(random),
            13 => self.short_lived(random),
            _ => self.side(random).expect("there is room"),
        }
    }

    /// Moves an amount from one account to some others.
    fn transfer(&self, random: &Random) {
        let (first, others) = (random.below(ACCOUNTS), 1 + random.below(5));
        let amount = 1 + random.below(9);
        let keys: Vec<&[u8]> =
            (0..=others).map(|i| self.names[((first + i * 5) % ACCOUNTS) as usize].as_slice()).collect();
        let mut change = |i: usize, row: RowWords<'_>| {
            let [a, b] = [row.words[BODY_WORD], row.words[BODY_WORD + 1]];
            assert!(row.present && a == b, "a torn account: {a} and {b}");
            let more = if i == 0 { 0_u64.wrapping_sub(amount * others) } else { amount };
            row.words[BODY_WORD..BODY_WORD + 2].fill(a.wrapping_add(more));
            Verdict::Write
        };
        self.raw.modify_many(None, clock::now_ms(), &keys, &mut change).expect("all accounts exist");
    }

    /// The same between two accounts, number by number, as one transaction; sometimes nothing of it.
    fn transfer_by_steps(&self, random: &Random) -> Result<(), Error> {
        let (first, amount, give_up) = (random.below(ACCOUNTS), 1 + random.below(9) as i64, random.one_in(4));
        let (from, to) = (&self.names[first as usize], &self.names[((first + 5) % ACCOUNTS) as usize]);
        let moved = self.store.atomically(|| {
            self.accounts.incr(from, "a", -amount)?;
            self.accounts.incr(to, "a", amount)?;
            if give_up {
                return Err(Error::Overflow);
            }
            self.accounts.incr(from, "b", -amount)?;
            self.accounts.incr(to, "b", amount).map(drop)
        });
        if give_up && moved == Err(Error::Overflow) { Ok(()) } else { moved }
    }

    /// Writes every account once, so that a lock that was left behind shows.
    pub(super) fn touch_all(&self) {
        let keys: Vec<&[u8]> = self.names.iter().map(Vec::as_slice).collect();
        let mut change = |_: usize, _: RowWords<'_>| Verdict::Write;
        self.raw.modify_many(None, clock::now_ms(), &keys, &mut change).expect("all accounts exist");
        self.store.kv().expire(1, HASH, Expiry::Never, ExpireRule::Always).expect("nobody stops");
        for i in 0..KEYS {
            self.store.kv().expire(1, &key_name(i), Expiry::Never, ExpireRule::Always).expect("nobody stops");
        }
    }

    /// The sums over all accounts, and over those of some place, each as of one instant.
    pub(super) fn audit(&self, random: &Random) {
        assert_eq!(sum(&self.accounts, &self.names), ACCOUNTS as i64 * START, "money was made or lost");
        let names = own::account_names(random.below(self.places as u64) as usize);
        assert_eq!(
            sum(&self.own, &names),
            (own::ACCOUNTS as u64 * own::START) as i64,
            "money was made or lost at a place"
        );
        self.audit_hash();
        self.book.raise(Word::Audits);
    }

    /// The purses as of one instant; and no guest is torn.
    fn audit_hash(&self) {
        let pairs = self.store.kv().pairs(1, HASH, 1 << 20).expect("nobody stops").expect("guests are small");
        let (mut sum, mut purses) = (0, 0);
        for (field, value) in &pairs {
            if field.starts_with(b"purse") {
                (sum, purses) = (sum + money(value), purses + 1);
            } else {
                assert!(value.windows(2).all(|two| two[0] == two[1]), "a torn guest");
            }
        }
        assert_eq!((sum, purses), (PURSES as i64 * START, PURSES), "money was made or lost in a hash");
    }

    /// Moves an amount from one purse to some others, by one change of the hash.
    fn purses(&self, random: &Random) {
        let (first, others, amount) = (random.below(PURSES), 1 + random.below(5), 1 + random.below(9) as i64);
        let names: Vec<Vec<u8>> = (0..=others).map(|i| purse((first + 7 * i) % PURSES)).collect();
        let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let mut change = |i: usize, value: Option<&[u8]>| {
            let more = if i == 0 { -amount * others as i64 } else { amount };
            Ok(FieldUpdate::Set((money(value.expect("a purse stays")) + more).to_string().into_bytes().into()))
        };
        self.store.kv().change_fields(1, HASH, &names, true, &mut change).expect("there is room");
    }

    /// A field that comes, grows and goes, so that nodes are divided and given back.
    fn guest(&self, random: &Random) {
        let name = format!("guest {}", random.below(GUESTS)).into_bytes();
        let value = vec![b'a' + random.below(26) as u8; random.below(700) as usize];
        let goes = random.one_in(3);
        let mut change = |_: usize, _: Option<&[u8]>| {
            Ok(if goes { FieldUpdate::Remove } else { FieldUpdate::Set(value.as_slice().into()) })
        };
        self.store.kv().change_fields(1, HASH, &[&name], false, &mut change).expect("there is room");
    }

    fn count(&self) {
        self.book.raise(Word::Begun);
        self.counter.increment().expect("there is room");
        self.book.raise(Word::Acknowledged);
    }

    /// What the counter of all says.
    pub(super) fn counted(&self) -> u64 {
        self.counter.get().expect("nobody stops").unwrap_or_default() as u64
    }

    /// A value of one byte, repeated: written, moved, deleted, read.
    fn key(&self, random: &Random) {
        let (name, other) = (key_name(random.below(KEYS)), key_name(random.below(KEYS)));
        let kv = self.store.kv();
        match random.below(6) {
            0 | 1 => {
                let value = vec![b'a' + random.below(26) as u8; LENS[random.below(7) as usize] as usize];
                assert!(kv.set(1, &name, &value, SetOptions::default()).expect("there is room").written);
            }
            2 => drop(kv.delete(1, &name).expect("nobody stops")),
            3 => {
                let renamed = kv.rename(1, &name, &other, random.one_in(2));
                assert!(matches!(renamed, Ok(_) | Err(Error::NoSuchKey)), "{renamed:?}");
            }
            _ => {
                let mut value = Vec::new();
                kv.get(1, &name, &mut value).expect("nobody stops");
                assert!(value.windows(2).all(|two| two[0] == two[1]), "a torn value");
            }
        }
    }

    /// Two keys that are always written together.
    fn pair(&self, random: &Random) {
        let kv = self.store.kv();
        let names: [&[u8]; 2] = [b"pair: left", b"pair: the right one, whose name is long"];
        if random.one_in(2) {
            let value = vec![b'p'; random.below(900) as usize];
            assert!(kv.mset(1, &[(names[0], &value), (names[1], &value)], false).expect("there is room"));
        } else {
            let values = kv.mget(1, &names).expect("nobody stops");
            assert_eq!(values[0], values[1], "two values written in one step differ");
        }
    }

    /// Keys that expire, and now and then a database that is flushed.
    fn short_lived(&self, random: &Random) {
        let kv = self.store.kv();
        if random.one_in(60) {
            kv.flush(Some(2)).expect("nobody stops");
        } else if random.one_in(8) {
            self.store.sweep();
        } else {
            let name = format!("short-lived {}", random.below(200));
            let expiry = Expiry::At(clock::now_ms() + 1 + random.below(SHORT_LIFE_MS));
            let value = vec![b's'; random.below(200) as usize];
            kv.set(2, name.as_bytes(), &value, SetOptions { expiry, ..SetOptions::default() }).expect("there is room");
        }
    }

    /// A cache: what is there is whole, what is not is written, and something else goes for it.
    fn cache(&self, random: &Random) {
        let kv = self.store.kv();
        let name = format!("cached {}", random.below(CACHED));
        let mut value = Vec::new();
        if kv.get(CACHE, name.as_bytes(), &mut value).expect("nobody stops") {
            assert!(value.windows(2).all(|two| two[0] == two[1]), "a torn value");
            return;
        }
        let room = self.store.make_room();
        assert!(matches!(room, Ok(()) | Err(Error::OutOfMemory)), "{room:?}");
        let value = vec![b'a' + random.below(26) as u8; random.below(LONGEST_CACHED) as usize];
        let options = SetOptions { expiry: Expiry::At(FAR + random.below(1000)), ..SetOptions::default() };
        kv.set(CACHE, name.as_bytes(), &value, options).expect("others go for it");
    }

    /// Bytes that all keys take, one by one.
    pub(super) fn bytes_of_keys(&self) -> u64 {
        let kv = self.store.kv();
        let bytes_of = |db: u8, key: &[u8]| kv.bytes(db, key).expect("nobody stops").expect("nobody else is at it");
        let databases = (0..DATABASES as u8).flat_map(|db| {
            let keys = keys_of(self.store, db);
            keys.into_iter().map(move |key| bytes_of(db, &key) - INDEX_BYTES).collect::<Vec<_>>()
        });
        databases.sum()
    }

    /// A table that anybody makes, fills, clears and drops.
    fn side(&self, random: &Random) -> Result<(), Error> {
        if random.one_in(150) {
            self.store.drop_table("side")?;
            return Ok(());
        }
        let done = self.store.make("side", 32, &side_columns()).and_then(|table| side_row(&table, random));
        match done {
            // Somebody else dropped it meanwhile, or it is full.
            Err(Error::TableNotFound(_) | Error::TableFull { .. }) => Ok(()),
            done => done,
        }
    }
}

/// Every key of a database.
fn keys_of(store: &Store, db: u8) -> BTreeSet<Vec<u8>> {
    let (mut keys, mut cursor) = (BTreeSet::new(), 0);
    loop {
        let page = store.kv().scan(db, cursor, 1000).expect("nobody stops");
        keys.extend(page.keys);
        cursor = page.cursor;
        if cursor == 0 {
            return keys;
        }
    }
}

fn side_row(table: &Table, random: &Random) -> Result<(), Error> {
    let key = format!("side {}", random.below(40));
    let n = random.below(1000) as i64;
    match random.below(40) {
        0 => table.clear(),
        1 => table.scan(0, 64)?.rows.iter().try_for_each(|(_, row)| check_side(row)),
        2..14 => table.delete(&key).map(drop),
        14..26 => table.set(&key, &row! { n: n, text: n.to_string() }),
        _ => table.get(&key)?.iter().try_for_each(check_side),
    }
}

fn check_side(row: &store_master::Row) -> Result<(), Error> {
    let (ValueRef::Int(n), ValueRef::Bytes(text)) = (row.get(0), row.get(1)) else { panic!("another table: {row:?}") };
    assert_eq!(text, n.to_string().as_bytes(), "a torn row");
    Ok(())
}

fn purse(i: u64) -> Vec<u8> {
    format!("purse {i}").into_bytes()
}

fn money(value: &[u8]) -> i64 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).expect("a number that was written")
}

fn key_name(i: u64) -> Vec<u8> {
    // Every other name is too long for its record.
    format!("key {i}{}", " with a name beyond a record".repeat(i as usize % 2)).into_bytes()
}

/// The sum over rows of one instant, each of which holds its number twice.
fn sum(table: &Table, names: &[Vec<u8>]) -> i64 {
    let keys: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let rows = table.mget(&keys).expect("nobody stops");
    rows.into_iter()
        .map(|row| {
            let row = row.expect("no account is ever deleted");
            assert_eq!(row.get(0), row.get(1), "a torn account");
            if let ValueRef::Int(n) = row.get(0) { n } else { panic!("another table: {row:?}") }
        })
        .fold(0, i64::wrapping_add)
}
