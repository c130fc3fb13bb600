//! Opening a segment of any contents: it is refused, or it opens and can be used, and nothing panics, hangs or leaves the mapping.
//!
//! The bytes are changes to a small, valid segment with a table of each kind, keys of all encodings and counters. Each change names a
//! region of the segment, a word in it, and what becomes of the word. The header's fingerprint is made to fit, unless the first byte says no:
//! otherwise hardly any input would come further than that. Then a master takes the segment over, or a process
//! attaches to it, and reads and writes whatever is there. What it reads is of no interest.

use std::{
    fs::{self, File},
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::OnceLock,
    time::Duration,
};

use shm_layout::{
    header::{Geometry, Header, Request},
    heap::PAGE_BYTES,
    slot::{Journal, Slot, alive, journal},
};
use store_master::{
    Column, Segment, SegmentOptions, Store, Value,
    store::{Condition, Expiry, SetOptions, TableSpec},
};

use super::bytes::Bytes;

const REQUEST: Request = Request { memory: 4 << 20, workers: 1, counters: 16, max_keys: 1500 };
/// Changes of one input at most.
const CHANGES: usize = 64;
/// The longest wait for what a damaged word says is held.
const PATIENCE: Duration = Duration::from_millis(1);

/// Damages a segment, opens it and uses it.
pub(crate) fn run(data: &[u8]) {
    let mut bytes = Bytes::new(data);
    let choice = bytes.u8();
    let file = Damaged::new();
    file.damage(&mut bytes, choice & 1 == 0);
    let opened = if choice & 2 == 0 { Segment::create(options(&file.name)) } else { Segment::attach(&file.name) };
    if let Ok(segment) = opened {
        segment.recover();
        let _ = segment.verify(Some(PATIENCE), &mut |_, _| {});
        use_all(&segment);
        let _ = segment.verify(Some(PATIENCE), &mut |_, _| {});
        let _ = Segment::attach(&file.name).map(|again| again.memory());
    }
}

fn options(name: &str) -> SegmentOptions {
    let Request { memory, workers, counters, max_keys } = REQUEST;
    let options = SegmentOptions::new().memory(memory).workers(workers as usize).counters(counters);
    options.max_keys(max_keys).name(Some(name.to_owned()))
}

/// A file among the segments that is gone at the end.
struct Damaged {
    name: String,
    path: PathBuf,
    file: File,
}

impl Drop for Damaged {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Damaged {
    /// A copy of the valid segment.
    fn new() -> Self {
        let valid = valid();
        let (name, path) = place("open");
        let file =
            File::options().read(true).write(true).create(true).truncate(true).open(&path).expect("/dev/shm is there");
        file.set_len(REQUEST.memory).expect("there is room");
        for (at, page) in valid {
            file.write_all_at(page, *at).expect("there is room");
        }
        Self { name, path, file }
    }

    fn word(&self, at: u64) -> u64 {
        let mut word = [0; 8];
        self.file.read_exact_at(&mut word, at).expect("it is inside");
        u64::from_le_bytes(word)
    }

    fn set_word(&self, at: u64, value: u64) {
        self.file.write_all_at(&value.to_le_bytes(), at).expect("it is inside");
    }

    fn set_half(&self, at: u64, value: u32) {
        self.file.write_all_at(&value.to_le_bytes(), at).expect("it is inside");
    }

    fn damage(&self, bytes: &mut Bytes<'_>, mend_fingerprint: bool) {
        let geometry = Geometry::new(REQUEST).expect("a small segment can be made");
        for _ in 0..CHANGES {
            if bytes.is_empty() {
                break;
            }
            self.change(bytes, &geometry);
        }
        if mend_fingerprint && let Some(geometry) = self.geometry() {
            self.set_word(std::mem::offset_of!(Header, fingerprint) as u64, geometry.fingerprint());
        }
    }

    /// What the header asks for now, if a segment can be that.
    fn geometry(&self) -> Option<Geometry> {
        let field = |at: usize| self.word(at as u64);
        let request = Request {
            memory: field(std::mem::offset_of!(Header, memory)),
            workers: field(std::mem::offset_of!(Header, workers)) as u32,
            counters: field(std::mem::offset_of!(Header, counters)),
            max_keys: field(std::mem::offset_of!(Header, max_keys)),
        };
        let small = request.memory == REQUEST.memory && request.workers <= 256;
        let small = small && request.counters < 1 << 20 && request.max_keys < 1 << 20;
        small.then(|| Geometry::new(request).ok()).flatten()
    }

    fn change(&self, bytes: &mut Bytes<'_>, geometry: &Geometry) {
        let g = geometry;
        let slot_bytes = size_of::<Slot>() as u64;
        let (from, to) = match bytes.below(10) {
            0 => (0, 320),
            1 => (g.slots_at, g.slots_at + 3 * slot_bytes),
            2 => (g.directory_at, g.directory_at + 6 * 128),
            3 => (g.counters_at, g.key_groups_at),
            4 => (g.key_groups_at, g.pages_at),
            5 => (g.pages_at, g.arena_at),
            6 => (g.arena_at, g.arena_at + 3 * PAGE_BYTES),
            // The heap and the records grow from the top.
            7 => (g.request.memory - 6 * PAGE_BYTES, g.request.memory),
            8 => return self.kill(bytes, g),
            _ => (0, g.request.memory),
        };
        let at = from + 8 * (u64::from(bytes.u16()) | u64::from(bytes.u8()) << 16) % (to - from);
        let value = self.value(bytes, at, g);
        match bytes.below(3) {
            0 => self.set_word(at, value),
            half => self.set_half(at + 4 * (half as u64 - 1), value as u32),
        }
    }

    /// What is likely to mislead: bounds, small numbers, flipped bits, places in the arena.
    fn value(&self, bytes: &mut Bytes<'_>, at: u64, g: &Geometry) -> u64 {
        let kind = bytes.below(9);
        let number = u64::from(bytes.u16());
        match kind {
            0 => 0,
            1 => u64::MAX - number,
            2 => number,
            3 => number << 32 | number,
            4 => self.word(at) ^ 1 << (number % 64),
            5 => self.word(at).wrapping_add(number),
            6 => g.arena_at + 8 * number,
            7 => 1 << 32 | (g.arena_at / 16 + number),
            _ => bytes.u64(),
        }
    }

    /// A dead slot with an operation in its journal, which the recovery will carry out.
    fn kill(&self, bytes: &mut Bytes<'_>, g: &Geometry) {
        let slot = g.slots_at + bytes.below(3) as u64 * size_of::<Slot>() as u64;
        let in_journal = |field: usize| slot + (std::mem::offset_of!(Slot, journal) + field) as u64;
        self.set_half(slot + std::mem::offset_of!(Slot, alive) as u64, alive::OWNER_DIED);
        self.set_half(in_journal(std::mem::offset_of!(Journal, state)), journal::COMMITTED - u32::from(bytes.u8() & 1));
        self.set_half(in_journal(std::mem::offset_of!(Journal, op)), 1 + bytes.below(5) as u32);
        let counts = [
            std::mem::offset_of!(Journal, entries),
            std::mem::offset_of!(Journal, new_len),
            std::mem::offset_of!(Journal, old_len),
        ];
        for field in counts {
            self.set_half(in_journal(field), bytes.of(&[0, 1, 2, 3, 200, u32::MAX]));
        }
        let args = in_journal(std::mem::offset_of!(Journal, args));
        for arg in 0..2 {
            let value = self.value(bytes, args, g);
            self.set_word(args + 8 * arg, value);
        }
        let entries = in_journal(std::mem::offset_of!(Journal, entry));
        for _ in 0..bytes.below(8) {
            let at = entries + 8 * bytes.below(32) as u64;
            let value = self.value(bytes, at, g);
            self.set_word(at, value);
        }
        // The lists of blocks and what is held and claimed lie in front of the entries.
        for _ in 0..bytes.below(8) {
            let at = slot + 56 + 8 * bytes.below(256) as u64;
            let value = self.value(bytes, at, g);
            self.set_word(at, value);
        }
    }
}

/// A name among the segments that no other process or thread has, and its path.
fn place(what: &str) -> (String, PathBuf) {
    let thread: String = format!("{:?}", std::thread::current().id()).chars().filter(char::is_ascii_digit).collect();
    let name = format!("store-master-{what}-{}-{thread}", std::process::id());
    let path = PathBuf::from("/dev/shm").join(&name);
    (name, path)
}

/// The pages of a valid segment that are not all zeros, and where each lies.
fn valid() -> &'static [(u64, Vec<u8>)] {
    static VALID: OnceLock<Vec<(u64, Vec<u8>)>> = OnceLock::new();
    VALID.get_or_init(|| {
        let (name, path) = place("valid");
        let segment = Segment::create(options(&name).fresh(true)).expect("a small segment can be made");
        fill(&Store::open(segment).expect("the kernel has what the store needs"));
        let bytes = fs::read(&path).expect("it was made");
        fs::remove_file(&path).expect("it was made");
        let pages = bytes.chunks(4096).enumerate().filter(|(_, page)| page.iter().any(|&byte| byte != 0));
        pages.map(|(i, page)| (4096 * i as u64, page.to_vec())).collect()
    })
}

fn fill(store: &Store) {
    let narrow = store.make("narrow", 40, &[Column::int("n"), Column::string("s", 10)]).expect("there is room");
    let spec = TableSpec { rows: 20, key_bytes: 8, columns: vec![Column::float("x"), Column::string("s", 5000)] };
    let wide = store.make_spec("wide", spec).expect("there is room").0;
    for i in 0..30_u8 {
        narrow.set([b'k', i], &[("n", Value::Int(i.into())), ("s", Value::from("text"))]).expect("there is room");
        if i < 10 {
            wide.set([b'w', i], &[("x", Value::Float(0.5)), ("s", Value::from("text"))]).expect("there is room");
        }
        if i < 8 {
            store.counter([b'c', i]).and_then(|counter| counter.add(5)).expect("there is room");
        }
    }
    for (key, value) in
        [(&b"int"[..], &b"41"[..]), (b"inner", b"value"), (b"block", &[b'b'; 300]), (b"tree", &[b't'; 70_000])]
    {
        store.kv().set(0, key, value, SetOptions::default()).expect("there is room");
        store.kv().set(3, &[key, &[b'k'; 40]].concat(), value, SetOptions::default()).expect("there is room");
    }
    store.kv().delete(0, b"block").expect("nobody is in the way");
    let options = SetOptions { expiry: Expiry::At(4_000_000_000_000), ..SetOptions::default() };
    store.kv().set(0, b"expiring", b"soon", options).expect("there is room");
}

/// Reads and writes what there may be. Whatever is answered is right.
fn use_all(segment: &Segment) {
    let Ok(store) = Store::open_timeout(segment.clone(), PATIENCE) else { return };
    for name in ["narrow", "wide"] {
        use_table(&store, name);
    }
    let _ = store.counters();
    for name in [&b"c\x01"[..], b"c\x02", b"new"] {
        let counter = store.counter(name).expect("a name of a few bytes");
        let _ = (counter.get(), counter.add(1), counter.set(i64::MAX - 5), counter.add(3), counter.delete());
    }
    for db in [0, 3] {
        use_keys(&store, db);
    }
    store.sweep();
    let _ = (segment.memory(), segment.recoveries(), store.memory(), store.drop_table("narrow"));
    let _ = (store.make("made", 8, &[Column::int("n")]), store.tables(), store.kv().flush(Some(3)));
    let _ = (store.kv().flush(None), store.kv().set(0, b"k", &[b'v'; 200], SetOptions::default()));
}

fn use_table(store: &Store, name: &str) {
    let Ok(table) = store.table(name) else { return };
    let mut cursor = 0;
    for _ in 0..3 {
        match table.scan(cursor, 20) {
            Ok(page) => cursor = page.cursor,
            Err(_) => break,
        }
    }
    let keys = [&b"k\x01"[..], b"k\x02", b"w\x01", b"new"];
    let _ = (table.count(), table.mget(&keys), table.info());
    for key in keys {
        let cell = (0, table.row().get(0).to_value());
        let cells = [(cell.0, cell.1.as_ref())];
        let _ = (table.get(key), table.add_cell(key, 0, cells[0].1), table.ttl(key));
        let _ = table.write(key, &[(1, Value::from("x").as_ref())], Expiry::Keep, Condition::Always);
        let _ = (table.cas(key, &cells, &cells), table.expire(key, Expiry::At(4_000_000_000_000)));
    }
    let one = |text| vec![(1, text)];
    let text = Value::from("y");
    let _ = table.mset(&[(b"k\x03", one(text.as_ref())), (b"w\x03", one(text.as_ref())), (b"n", one(text.as_ref()))]);
    let _ = (table.delete(b"k\x04"), table.getdel(b"w\x04"), table.clear(), table.get(b"k\x05"));
}

fn use_keys(store: &Store, db: u8) {
    let kv = store.kv();
    let _ = (kv.len(db), kv.expiring(db), kv.random_key(db), kv.scan(db, 0, 100));
    let outer = |key: &[u8]| [key, &[b'k'; 40]].concat();
    let names =
        [&b"int"[..], b"inner", b"block", b"tree"].map(|name| if db == 0 { name.to_vec() } else { outer(name) });
    let keys = names.each_ref().map(Vec::as_slice);
    let _ = kv.mget(db, &keys);
    for key in keys {
        let _ = (kv.get(db, key, &mut Vec::new()), kv.kind(db, key), kv.strlen(db, key), kv.ttl(db, key));
        let _ = (
            kv.incr(db, key, 1),
            kv.append(db, key, b"tail", 100_000),
            kv.expire(db, key, Expiry::At(4_000_000_000_000), Default::default()),
        );
    }
    let _ = kv.set(db, keys[2], &[b'n'; 900], SetOptions::default());
    let _ =
        (kv.mset(db, &[(keys[0], b"n"), (b"another", &[b'n'; 100])], false), kv.rename(db, keys[3], keys[1], false));
    let many: Vec<_> = (0..66).map(|i| format!("many {i}")).collect();
    let _ = kv.mset(db, &many.iter().map(|name| (name.as_bytes(), &[b'm'; 40][..])).collect::<Vec<_>>(), false);
    let _ = (kv.delete(db, keys[1]), kv.getdel(db, keys[0]));
}
