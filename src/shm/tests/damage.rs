//! Every kind of finding, planted: one word or two are damaged, and the check reports that and nothing else than what follows from it.

use std::{
    borrow::Cow,
    collections::BTreeSet,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use shm_layout::{
    COUNTERS_SPACE, KEYS_SPACE, fields,
    heap::{BlockRef, block, block_bytes, blocks, kind},
    index::{Group, PLACES, counts, tag},
    keys::{KEY_WORD, LEN_WORD, VALUE_WORD},
    row,
    slot::{self, Held},
};

use super::{super::*, NOW, live_rows, segment, set, table, write};
use crate::shm::{
    FieldChange,
    FindingKind::{self, *},
    Looked, directory, heap,
    index::tag_at,
    space::{Key, Space},
};
use crate::sys::robust;

/// A slot that nobody owns.
const FREE_SLOT: u32 = 9;

/// Fields of the hash in a populated segment: five leaves below a root.
const FIELDS: u64 = 60;

/// A field of that hash.
fn field(number: u64) -> Vec<u8> {
    format!("field {number:02}").into_bytes()
}

/// A segment with something of everything: rows, counters, keys whose values are inline, integers, blocks, trees and hashes,
/// keys in blocks, rows and keys that expire.
pub(super) fn populated() -> Segment {
    let segment = segment(2048);
    populate(&segment);
    segment
}

pub(super) fn populate(segment: &Segment) {
    let rows = table(segment, 64, 66);
    (0..60_u64).for_each(|i| write(&rows, &i.to_le_bytes(), i));
    let mut expiring = |row: RowWords<'_>| {
        row.words[row::EXPIRE_WORD] = u64::MAX / 2;
        Verdict::Write
    };
    rows.modify(None, NOW, &1_u64.to_le_bytes(), &mut expiring).unwrap();
    let other = RawSpec {
        name: "other".to_owned(),
        rows: 16,
        key_bytes: 8,
        fixed_bytes: 8,
        string_bytes: 0,
        schema: vec![0, 0],
    };
    Tables::make(segment, None, &other).unwrap();
    let keys = Keys::new(segment);
    set(&keys, b"small", b"value");
    set(&keys, b"number", b"41");
    set(&keys, b"block", &[b'b'; 300]);
    set(&keys, b"block of its size", &[b'c'; 300]);
    set(&keys, b"tree", &vec![b't'; 100_000]);
    set(&keys, &[b'k'; 200], b"a key in a block");
    set(&keys, b"freed", &[b'f'; 300]);
    let change = |key: &[u8], change: &dyn Fn() -> Change<'static>| {
        keys.change(None, NOW, 0, key, false, &mut |_| change()).unwrap();
    };
    change(b"freed", &|| Change::Remove);
    change(b"expiring", &|| Change::Set(Cow::Borrowed(b"e"), u64::MAX / 2));
    let names: Vec<Vec<u8>> = (0..FIELDS).map(field).collect();
    let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
    let set_fields = |key: &[u8], names: &[&[u8]], value: &[u8]| {
        let all = &mut |_: usize, _: Option<&[u8]>| FieldChange::Set(value.into());
        keys.change_fields(None, NOW, 0, key, names, false, all).unwrap();
    };
    set_fields(b"hash", &names, &[b'v'; 30]);
    set_fields(b"long", &names[..1], &[b'v'; 600]);
    let counters = Counters::new(segment);
    for name in [&b"c"[..], b"d", b"e"] {
        counters.add(None, name, 1, None).unwrap();
    }
}

fn verify(segment: &Segment) -> Verification {
    segment.verify(Some(Duration::from_secs(5)), &mut |_, _| {}).expect("nobody is in the way")
}

fn rows_of(segment: &Segment) -> Space {
    directory::space(segment, 0).expect("the table is there")
}

/// The place of an index at which `wanted` holds of its row word and its tag.
fn place<'a>(segment: &'a Segment, space: &Space, wanted: impl Fn(u32, u8) -> bool) -> (&'a Group, usize) {
    let groups = (0..space.groups).map(|number| space.group(segment, number));
    let mut places = groups.flat_map(|group| (0..PLACES).map(move |index| (group, index)));
    let holds =
        |(group, index): &(&Group, usize)| wanted(group.rows[*index].load(Ordering::Relaxed), tag_at(group, *index));
    places.find(holds).expect("there is such a place")
}

fn set_tag(group: &Group, index: usize, tag: u8) {
    let (word, shift) = (&group.tags[index / 8], index % 8 * 8);
    let tags = word.load(Ordering::Relaxed) & !(0xff << shift);
    word.store(tags | (u64::from(tag) << shift), Ordering::Relaxed);
}

fn header<'a>(segment: &'a Segment, space: &Space, row: u32) -> &'a row::Header {
    space.header(segment, row).expect("there is such a row")
}

fn free_row(segment: &Segment, space: &Space) -> u32 {
    let live = live_rows(segment, space);
    (0..space.rows).find(|row| !live.contains(row)).expect("there is a free row")
}

/// The record of a key, as words.
fn record<'a>(segment: &'a Segment, key: &[u8]) -> &'a [AtomicU64] {
    let space = segment.keys_space();
    let found = space.find(segment, Key { bytes: key, db: 0, hash: segment.hash(key, 0) }).expect("the key is there");
    space.words(segment, found.row).expect("its row is there")
}

/// The words of the node at the root of the hash, its head first.
fn root(segment: &Segment) -> &[AtomicU64] {
    node(segment, record(segment, b"hash")[VALUE_WORD].load(Ordering::Relaxed))
}

fn node(segment: &Segment, block: u64) -> &[AtomicU64] {
    let head = heap::contents(segment, BlockRef(block), 8).expect("a node lies there")[0].load(Ordering::Relaxed);
    heap::contents(segment, BlockRef(block), 8 * (fields::words(head) + 1)).expect("it is whole")
}

/// The words of the hash's first leaf, its head first.
fn leaf(segment: &Segment) -> &[AtomicU64] {
    node(segment, root(segment)[CHILD].load(Ordering::Relaxed))
}

/// Where the block of a root's first child stands, and how many fields are below it; the first word is the head.
const CHILD: usize = 3;
const CHILD_FIELDS: usize = 2;

fn free_page(segment: &Segment) -> u32 {
    let mut pages = 0..segment.geometry().arena_pages as u32;
    pages.find(|&page| segment.page(page).state.load(Ordering::Relaxed) == kind::FREE).expect("there is a free page")
}

fn table_page(segment: &Segment) -> &shm_layout::heap::Page {
    let pages = (0..segment.geometry().arena_pages as u32).map(|page| segment.page(page));
    let mut tables = pages.filter(|page| page.state.load(Ordering::Relaxed) == kind::TABLE);
    tables.next().expect("a table lies somewhere")
}

/// A free block, where its hint stands, and its bit.
fn free_block(segment: &Segment) -> (&AtomicU64, &AtomicU64, u64) {
    for page in 0..segment.geometry().arena_pages as u32 {
        let state = segment.page(page).state.load(Ordering::Relaxed);
        let Some(bytes) = block_bytes(state >> 8).filter(|_| state & kind::MASK == kind::HEAP) else {
            continue;
        };
        let (start, count) = blocks(bytes);
        for number in 0..u64::from(count) {
            let word = segment.mem().word(segment.page_at(page) + start + number * bytes);
            if !block::is_used(word.load(Ordering::Relaxed)) {
                let hint = segment.page_at(page) + shm_layout::heap::PAGE_HEAD + number / 64 * 8;
                return (word, segment.mem().word(hint), 1 << (number % 64));
            }
        }
    }
    panic!("no heap page has a free block");
}

/// Gives the row of one key another key, in the index too.
fn rename_row(segment: &Segment, space: &Space, from: &[u8], to: &[u8]) {
    let hash = segment.hash(from, 0);
    let row = space.find(segment, Key { bytes: from, db: 0, hash }).expect("the key is there").row;
    space.unpublish(segment, hash, row, false);
    let words = space.words(segment, row).unwrap();
    words[space.key_at as usize / 8].store(super::super::mem::word_of(to), Ordering::Relaxed);
    space.publish(segment, segment.hash(to, 0), row, false);
}

/// Puts every row as far behind its home as can be, with counts that let a search come there.
fn scatter(segment: &Segment) {
    let wide = RawSpec {
        name: "wide".to_owned(),
        rows: 1024,
        key_bytes: 8,
        fixed_bytes: 16,
        string_bytes: 0,
        schema: vec![0, 0],
    };
    let rows = Tables::make(segment, None, &wide).unwrap().0;
    (0..700_u64).for_each(|i| write(&rows, &i.to_le_bytes(), i));
    let space = directory::space(segment, 2).unwrap();
    for number in 0..space.groups {
        let group = space.group(segment, number);
        group.tags.iter().for_each(|tags| tags.store(0, Ordering::Relaxed));
        group.rows.iter().for_each(|row| row.store(0, Ordering::Relaxed));
        group.counts.store(counts::OVERFLOW, Ordering::Relaxed);
    }
    for row in live_rows(segment, &space) {
        let key = space.words(segment, row).unwrap()[space.key_at as usize / 8].load(Ordering::Relaxed).to_le_bytes();
        let hash = segment.hash(&key, 0);
        let mut number = space.group_after(space.group_after(space.home(hash)));
        // All around once, so that the row stands just before its home if there is room.
        for _ in 0..space.groups - 3 {
            number = space.group_after(number);
        }
        let free = |group: &Group| group.rows.iter().position(|word| word.load(Ordering::Relaxed) == 0);
        while free(space.group(segment, number)).is_none() {
            number = space.group_after(number);
        }
        let group = space.group(segment, number);
        let index = free(group).unwrap();
        group.rows[index].store(row + 1, Ordering::Relaxed);
        set_tag(group, index, tag(hash));
    }
}

/// Makes a table, and another one by hand in the middle of its only row, which is free.
fn overlap(segment: &Segment) {
    let spec = |name: &str, string_bytes| RawSpec {
        name: name.to_owned(),
        rows: 1,
        key_bytes: 8,
        fixed_bytes: 8,
        string_bytes,
        schema: Vec::new(),
    };
    Tables::make(segment, None, &spec("around", 8000)).unwrap();
    let (inner, entry) = (spec("in", 0), segment.entry(5));
    let at = segment.entry(2).region_at.load(Ordering::Relaxed) + 4 * 1024;
    entry.rows.store(inner.rows, Ordering::Relaxed);
    entry.key_bytes.store(inner.key_bytes, Ordering::Relaxed);
    entry.fixed_bytes.store(inner.fixed_bytes, Ordering::Relaxed);
    entry.region_at.store(at, Ordering::Relaxed);
    entry.name_len.store(2, Ordering::Relaxed);
    entry.name[0].store(super::super::mem::word_of(b"in"), Ordering::Relaxed);
    Space::table(5, at, inner.shape()).set_all_hints(segment);
    entry.state.store(shm_layout::directory::state::LIVE, Ordering::Relaxed);
}

/// Puts more keys into the index than their home group has room for, and lowers the count that lets searches go on.
fn lower_an_overflow(segment: &Segment) {
    let (keys, space, home) = (Keys::new(segment), segment.keys_space(), 3);
    let at_home = |key: &String| space.home(segment.hash(key.as_bytes(), 0)) == home;
    (0..).map(|i| format!("key {i}")).filter(at_home).take(PLACES + 4).for_each(|key| set(&keys, key.as_bytes(), b"v"));
    let group = space.group(segment, home);
    let counts = group.counts.load(Ordering::Relaxed);
    assert!(counts & counts::OVERFLOW != 0 && verify(segment).is_sound());
    // One less than the keys that stand behind it need.
    group.counts.store(counts - 1, Ordering::Relaxed);
}

/// A damage: what is done, and which kinds of finding come of it, in alphabetical order of their names here.
type Damage = (&'static [FindingKind], fn(&Segment));

const DAMAGES: &[Damage] = &[
    (&[GateOrphaned], |segment| segment.header().gate_lock.store(FREE_SLOT, Ordering::Relaxed)),
    (&[GateOrphaned], |segment| segment.header().gate_lock.store(slot::lock::WAIT, Ordering::Relaxed)),
    (&[GateLeftClosed], |segment| segment.header().gate_closed.store(1, Ordering::Relaxed)),
    (&[GateLeftClosed], |segment| void(segment.header().gate_sequence.fetch_add(1, Ordering::Relaxed))),
    (&[SlotFlagUp], |segment| segment.slot(FREE_SLOT).flag.store(1, Ordering::Relaxed)),
    (&[SlotIntentLeft], |segment| segment.slot(FREE_SLOT).journal.state.store(7, Ordering::Relaxed)),
    (&[SlotBlocksListed], |segment| segment.slot(FREE_SLOT).journal.old_len.store(1, Ordering::Relaxed)),
    (&[SlotTransactionLeft], |segment| segment.slot(FREE_SLOT).journal.transaction.store(1, Ordering::Relaxed)),
    (&[SlotTransactionLeft], |segment| segment.slot(FREE_SLOT).log.store(1, Ordering::Relaxed)),
    (&[SlotLockNamed], |segment| {
        segment.slot(FREE_SLOT).held[3].store(Held::Row(COUNTERS_SPACE, 1).encode(), Ordering::Relaxed);
    }),
    (&[SlotClaimLeft], |segment| segment.slot(FREE_SLOT).claim_page.store(1, Ordering::Relaxed)),
    (&[SlotClaimLeft], |segment| segment.slot(FREE_SLOT).claim_units[2].store(1, Ordering::Relaxed)),
    (&[DirectoryLocked], |segment| segment.header().directory_lock.store(FREE_SLOT, Ordering::Relaxed)),
    (&[TableDamaged, UnitsLeaked], |segment| segment.entry(0).rows.store(0, Ordering::Relaxed)),
    (&[TableDamaged, UnitsLeaked], |segment| segment.entry(1).region_at.store(u64::MAX - 7, Ordering::Relaxed)),
    (&[TableDamaged], |segment| segment.entry(7).state.store(2, Ordering::Relaxed)),
    (&[TableNameDamaged], |segment| segment.entry(0).name_len.store(0, Ordering::Relaxed)),
    (&[TableNameDamaged], |segment| segment.entry(0).name[0].store(u64::from(b'~'), Ordering::Relaxed)),
    (&[TableNameTwice], |segment| {
        segment.entry(1).name[0].store(u64::from(b't'), Ordering::Relaxed);
        segment.entry(1).name_len.store(1, Ordering::Relaxed);
    }),
    (&[TablesOverlap], overlap),
    (&[UnitsLeaked], |segment| void(table_page(segment).units.fetch_or(1 << 63, Ordering::Relaxed))),
    (&[UnitsMissing], |segment| void(table_page(segment).units.fetch_and(!1, Ordering::Relaxed))),
    (&[PageDamaged], |segment| segment.page(free_page(segment)).state.store(0x77, Ordering::Relaxed)),
    (&[PageDamaged], |segment| segment.page(free_page(segment)).units.store(1, Ordering::Relaxed)),
    (&[PageClaimed], |segment| {
        segment.page(free_page(segment)).state.store(kind::CLAIMED | (FREE_SLOT << 8), Ordering::Relaxed);
    }),
    (&[RecordsLeaked], |segment| segment.page(free_page(segment)).state.store(kind::RECORDS, Ordering::Relaxed)),
    (&[RecordsMisplaced], |segment| {
        let word = segment.keys_space().page_word(segment, 1).unwrap();
        word.store(free_page(segment) + 1, Ordering::Relaxed);
    }),
    (&[RecordsMisplaced], |segment| {
        let word = |run| segment.keys_space().page_word(segment, run).unwrap();
        word(1).store(word(0).load(Ordering::Relaxed), Ordering::Relaxed);
    }),
    (&[RecordsUnscanned], |segment| segment.header().record_pages.store(0, Ordering::Relaxed)),
    (&[GroupLocked], |segment| rows_of(segment).group(segment, 2).lock.store(FREE_SLOT, Ordering::Relaxed)),
    (&[IndexNamesNothing], |segment| {
        let (group, index) = place(segment, &rows_of(segment), |row, _| row == 0);
        group.rows[index].store(u32::MAX, Ordering::Relaxed);
    }),
    (&[IndexNamesFree], |segment| {
        let space = rows_of(segment);
        let (group, index) = place(segment, &space, |row, _| row == 0);
        group.rows[index].store(free_row(segment, &space) + 1, Ordering::Relaxed);
    }),
    (&[RowNamedTwice], |segment| {
        // The row's own place comes first in the order of the groups.
        let space = segment.keys_space();
        let (group, index) = place(segment, &space, |row, _| row != 0);
        let last = space.group(segment, space.groups - 1);
        last.rows[PLACES - 1].store(group.rows[index].load(Ordering::Relaxed), Ordering::Relaxed);
    }),
    (&[RowNotIndexed], |segment| {
        let (group, index) = place(segment, &segment.keys_space(), |row, _| row != 0);
        set_tag(group, index, 0);
        group.rows[index].store(0, Ordering::Relaxed);
    }),
    (&[TagWrong], |segment| {
        let (group, index) = place(segment, &segment.keys_space(), |row, _| row != 0);
        set_tag(group, index, tag_at(group, index) ^ 1);
    }),
    (&[TagWrong], |segment| {
        let (group, index) = place(segment, &segment.counters_space(), |row, _| row != 0);
        set_tag(group, index, 0);
    }),
    (&[TagLeft], |segment| {
        let (group, index) = place(segment, &rows_of(segment), |row, _| row == 0);
        set_tag(group, index, 0x81);
    }),
    (&[OverflowLow], lower_an_overflow),
    (&[KeyTwice], |segment| {
        rename_row(segment, &rows_of(segment), &3_u64.to_le_bytes(), &4_u64.to_le_bytes());
    }),
    (&[KeyTwice], |segment| rename_row(segment, &segment.counters_space(), b"c", b"d")),
    (&[IndexScattered], scatter),
    (&[RowLocked], |segment| {
        let space = rows_of(segment);
        header(segment, &space, free_row(segment, &space)).lock.store(FREE_SLOT, Ordering::Relaxed);
    }),
    (&[RowLocked], |segment| {
        let space = segment.keys_space();
        header(segment, &space, live_rows(segment, &space)[0]).lock.store(FREE_SLOT, Ordering::Relaxed);
    }),
    (&[RowSequenceWild], |segment| {
        let space = rows_of(segment);
        header(segment, &space, live_rows(segment, &space)[0]).sequence.store(1 << 63, Ordering::Relaxed);
    }),
    (&[CountWrong, IndexNamesFree], |segment| {
        let space = rows_of(segment);
        let row = live_rows(segment, &space)[0];
        header(segment, &space, row).sequence.store(5, Ordering::Relaxed);
        space.set_hint(segment, row);
    }),
    (&[RowMetaDamaged], |segment| {
        let space = rows_of(segment);
        header(segment, &space, live_rows(segment, &space)[0]).meta.store(row::meta(65, 0), Ordering::Relaxed);
    }),
    (&[RowMetaDamaged], |segment| {
        let space = segment.counters_space();
        header(segment, &space, live_rows(segment, &space)[0]).meta.store(row::meta(1, 4), Ordering::Relaxed);
    }),
    (&[RowMetaDamaged], |segment| {
        let space = segment.keys_space();
        let meta = &header(segment, &space, live_rows(segment, &space)[0]).meta;
        meta.store(meta.load(Ordering::Relaxed) | 0x8000_0000, Ordering::Relaxed);
    }),
    (&[FreeRowLost], |segment| {
        let space = rows_of(segment);
        space.take_hint(segment, free_row(segment, &space));
    }),
    (&[ExpiryUnnoted], |segment| segment.header().keys_expire.store(0, Ordering::Relaxed)),
    (&[ExpiryUnnoted], |segment| segment.entry(0).expires.store(0, Ordering::Relaxed)),
    (&[CountWrong], |segment| void(segment.slot(3).counts[0].fetch_add(1, Ordering::Relaxed))),
    (&[CountWrong], |segment| void(segment.slot(3).counts[500].fetch_sub(1, Ordering::Relaxed))),
    (&[CountWrong], |segment| {
        segment.slot(3).counts[slot::row_cell(COUNTERS_SPACE)].fetch_sub(1, Ordering::Relaxed);
    }),
    (&[CountWrong], |segment| void(segment.slot(3).counts[slot::key_cell(2)].fetch_add(1, Ordering::Relaxed))),
    (&[CountWrong], |segment| void(segment.slot(3).counts[slot::expiring_cell(0)].fetch_add(1, Ordering::Relaxed))),
    (&[ValueLengthWrong], |segment| record(segment, b"small")[LEN_WORD].store(28, Ordering::Relaxed)),
    (&[ValueLengthWrong], |segment| record(segment, b"block")[LEN_WORD].store(400, Ordering::Relaxed)),
    (&[ChunksWrong], |segment| record(segment, b"tree")[LEN_WORD].store(20_000, Ordering::Relaxed)),
    (&[BlockLeaked, ChunksWrong], |segment| {
        let tree = BlockRef(record(segment, b"tree")[VALUE_WORD].load(Ordering::Relaxed));
        heap::contents(segment, tree, 8).unwrap()[0].fetch_sub(1, Ordering::Relaxed);
    }),
    (&[BlockLeaked, BlockNowhere], |segment| {
        record(segment, b"block")[VALUE_WORD].fetch_add(1, Ordering::Relaxed);
    }),
    (&[BlockLeaked, BlockNowhere], |segment| {
        record(segment, b"block")[VALUE_WORD].store(u64::MAX, Ordering::Relaxed);
    }),
    (&[BlockLeaked, BlockNotInUse], |segment| {
        record(segment, b"block")[VALUE_WORD].fetch_add(1 << 32, Ordering::Relaxed);
    }),
    (&[BlockLeaked, BlockShared], |segment| {
        let word = record(segment, b"block of its size")[VALUE_WORD].load(Ordering::Relaxed);
        record(segment, b"block")[VALUE_WORD].store(word, Ordering::Relaxed);
    }),
    (&[BlockLeaked], |segment| void(free_block(segment).0.fetch_or(block::used(0, 3), Ordering::Relaxed))),
    (&[FieldCountWrong], |segment| record(segment, b"hash")[LEN_WORD].store(FIELDS - 1, Ordering::Relaxed)),
    (&[FieldCountWrong], |segment| record(segment, b"hash")[LEN_WORD].store(u64::MAX, Ordering::Relaxed)),
    (&[FieldCountWrong], |segment| void(root(segment)[CHILD_FIELDS].fetch_add(1, Ordering::Relaxed))),
    (&[FieldCountWrong], |segment| root(segment)[CHILD_FIELDS].store(u64::MAX, Ordering::Relaxed)),
    // A torn head, of the root and of a leaf; a hash that is not its field's; a length that no block has; nodes out of order.
    (&[BlockLeaked, FieldsDamaged], |segment| root(segment)[0].store(0, Ordering::Relaxed)),
    (&[FieldsDamaged], |segment| leaf(segment)[0].store(u64::MAX, Ordering::Relaxed)),
    (&[FieldsDamaged], |segment| void(leaf(segment)[0].fetch_add(1 << 8, Ordering::Relaxed))),
    (&[FieldsDamaged], |segment| void(leaf(segment)[1].fetch_xor(1, Ordering::Relaxed))),
    (&[FieldsDamaged], |segment| leaf(segment)[2].store(u64::MAX >> 1, Ordering::Relaxed)),
    (&[BlockLeaked, FieldsDamaged], |segment| root(segment)[4].store(u64::MAX, Ordering::Relaxed)),
    // A tree in a circle, and children that are another's, nowhere, and no longer there.
    (&[BlockLeaked, BlockShared], |segment| {
        let itself = record(segment, b"hash")[VALUE_WORD].load(Ordering::Relaxed);
        root(segment)[CHILD].store(itself, Ordering::Relaxed);
    }),
    (&[BlockLeaked, BlockShared], |segment| {
        let itself = record(segment, b"hash")[VALUE_WORD].load(Ordering::Relaxed);
        root(segment)[CHILD..].iter().step_by(3).for_each(|child| child.store(itself, Ordering::Relaxed));
    }),
    (&[BlockLeaked, BlockNowhere], |segment| root(segment)[CHILD].store(u64::MAX, Ordering::Relaxed)),
    (&[BlockLeaked, BlockNotInUse], |segment| void(root(segment)[CHILD].fetch_add(1 << 32, Ordering::Relaxed))),
    (&[FreeBlockLost], |segment| {
        let (_, hints, bit) = free_block(segment);
        hints.fetch_and(!bit, Ordering::Relaxed);
    }),
    (&[FreeBlockLost], |segment| void(free_block(segment).0.fetch_or(1, Ordering::Relaxed))),
];

/// Forgets what a word was before.
fn void<T>(_before: T) {}

fn kinds(verification: &Verification) -> BTreeSet<FindingKind> {
    verification.findings.iter().map(|finding| finding.kind).collect()
}

#[test]
fn a_populated_segment_is_sound_and_counted() {
    let segment = populated();
    let mut told = Vec::new();
    let seen = segment.verify(None, &mut |done, of| told.push((done, of))).unwrap();
    assert!(seen.is_sound(), "{:#?}", seen.findings);
    assert_eq!((seen.rows, seen.keys, seen.counters, seen.tables), (60, 9, 3, 2));
    // Two values, a directory with four chunks, a key, a root with five leaves, and a leaf with a long field.
    assert_eq!((seen.blocks, seen.recovered), (16, 0));
    let (done, of) = *told.last().unwrap();
    assert!(done == of && of > 2048 && told.is_sorted());
    assert_eq!(segment.holders(), []);
}

#[test]
fn every_damage_is_found_and_nothing_else() {
    for (number, (wanted, damage)) in DAMAGES.iter().enumerate() {
        let segment = populated();
        damage(&segment);
        let seen = verify(&segment);
        let wanted: BTreeSet<FindingKind> = wanted.iter().copied().collect();
        assert_eq!(kinds(&seen), wanted, "damage {number}: {:#?}", seen.findings);
        assert!(!seen.is_sound() && seen.found == seen.findings.len() as u64);
    }
}

#[test]
fn every_kind_of_finding_was_planted_and_has_a_name_of_its_own() {
    let planted: BTreeSet<FindingKind> = DAMAGES.iter().flat_map(|(kinds, _)| kinds.iter().copied()).collect();
    assert_eq!(planted, FindingKind::ALL.iter().copied().collect());
    let names: BTreeSet<&str> = FindingKind::ALL.iter().map(|kind| kind.name()).collect();
    assert_eq!(names.len(), FindingKind::ALL.len());
}

#[test]
fn all_findings_are_counted_and_a_thousand_kept() {
    let segment = populated();
    let space = segment.keys_space();
    for group in 0..space.groups {
        let group = space.group(&segment, group);
        (0..PLACES).filter(|&i| group.rows[i].load(Ordering::Relaxed) == 0).for_each(|i| set_tag(group, i, 0x80));
    }
    let seen = verify(&segment);
    assert_eq!(seen.findings.len(), 1000);
    assert_eq!(seen.found, u64::from(space.groups) * PLACES as u64 - 9);
}

/// Whether something can be read of the other keys, whatever one hash is.
fn others_are_well(keys: &Keys) -> bool {
    let read = |key: &[u8]| {
        let mut value = Vec::new();
        keys.read(PATIENCE, NOW, 0, key, Some(&mut value)).map(|_| value)
    };
    read(b"small") == Ok(b"value".to_vec()) && read(b"tree") == Ok(vec![b't'; 100_000])
}

/// For those who may find damage: nobody else is in the way.
const PATIENCE: Option<Duration> = Some(Duration::from_secs(5));

/// Reads of the hash in every way; what they find is up to the damage.
fn read_in_every_way(keys: &Keys) {
    for number in (0..FIELDS).step_by(7) {
        let look = |fields: Fields<'_>| fields.get(&field(number), Some(&mut Vec::new())).map(drop);
        keys.read_fields(PATIENCE, NOW, 0, b"hash", &mut { look }).unwrap();
    }
    for index in [0, 30, FIELDS - 1, u64::MAX] {
        let look = |fields: Fields<'_>| fields.nth(index, &mut Vec::new(), Some(&mut Vec::new())).map(drop);
        keys.read_fields(PATIENCE, NOW, 0, b"hash", &mut { look }).unwrap();
    }
    for hash in [0, u64::MAX / 2, u64::MAX] {
        // Whoever reads bounds what is gathered, so that a tree in a circle is left at last.
        let mut seen = 0;
        let look = |fields: Fields<'_>| {
            seen = 0;
            fields.each_from(hash, &mut |_, _, _| {
                seen += 1;
                seen < 100_000
            })
        };
        keys.read_fields(PATIENCE, NOW, 0, b"hash", &mut { look }).unwrap();
    }
    keys.read_fields(PATIENCE, NOW, 0, b"hash", &mut |fields| fields.is_small(1000, 1000).map(drop)).unwrap();
}

/// Every word of every node of a tree, damaged in many ways: reads come to an end and touch nothing else.
#[test]
fn reads_of_a_damaged_tree_come_back() {
    let segment = populated();
    let keys = Keys::new(&segment);
    let itself = record(&segment, b"hash")[VALUE_WORD].load(Ordering::Relaxed);
    let children = root(&segment)[CHILD..].iter().step_by(3).map(|word| word.load(Ordering::Relaxed));
    let leaves: Vec<u64> = children.collect();
    let nodes: Vec<&[AtomicU64]> = [itself].iter().chain(&leaves).map(|&block| node(&segment, block)).collect();
    for word in nodes.iter().flat_map(|node| *node) {
        let before = word.load(Ordering::Relaxed);
        for damaged in [0, u64::MAX, itself, leaves[3], before + (1 << 32), before ^ 0xff00, before.wrapping_mul(3)] {
            word.store(damaged, Ordering::Relaxed);
            read_in_every_way(&keys);
        }
        word.store(before, Ordering::Relaxed);
    }
    assert!(others_are_well(&keys) && verify(&segment).is_sound());
}

/// Fields are set and removed, and then the key is deleted and made anew: each comes to an end, whatever it says, and nothing else suffers.
/// Once a change added up the counts of children, which were damaged, with a panic.
#[test]
fn changes_and_deletes_of_a_damaged_tree_come_back() {
    let set = |_: usize, _: Option<&[u8]>| FieldChange::Set(Cow::Borrowed(&[b'n'; 50]));
    let remove = |_: usize, _: Option<&[u8]>| FieldChange::Remove;
    let of_blocks = [FieldCountWrong, FieldsDamaged, BlockShared, BlockNowhere, BlockNotInUse];
    let damages = DAMAGES.iter().filter(|(kinds, _)| kinds.iter().any(|kind| of_blocks.contains(kind)));
    for (number, (kinds, damage)) in damages.enumerate() {
        for delete_first in [true, false] {
            let segment = populated();
            let keys = Keys::new(&segment);
            damage(&segment);
            if !delete_first {
                let names: Vec<Vec<u8>> = (0..FIELDS + 20).step_by(3).map(field).collect();
                let names: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
                // They may be refused.
                for name in &names {
                    let _ = keys.change_fields(PATIENCE, NOW, 0, b"hash", &[name], true, &mut { set });
                }
                let _ = keys.change_fields(PATIENCE, NOW, 0, b"hash", &names, true, &mut { set });
                let _ = keys.change_fields(PATIENCE, NOW, 0, b"hash", &names[..9], true, &mut { remove });
                read_in_every_way(&keys);
            }
            keys.change(PATIENCE, NOW, 0, b"hash", false, &mut |_| Change::Remove).unwrap();
            let anew = keys.change_fields(PATIENCE, NOW, 0, b"hash", &[b"f"], false, &mut { set });
            assert_eq!(anew, Ok(Looked::Absent), "{number}: {kinds:?}");
            assert!(others_are_well(&keys), "{number}: {kinds:?}");
        }
    }
}

/// A hash that makes no sense is replaced, as a damaged string is. It was refused for want of memory, for which other keys had to go.
#[test]
fn a_hash_that_cannot_be_read_begins_anew() {
    let segment = populated();
    let keys = Keys::new(&segment);
    root(&segment)[0].store(0, Ordering::Relaxed);
    let remove = &mut |_: usize, _: Option<&[u8]>| FieldChange::Remove;
    assert_eq!(keys.change_fields(PATIENCE, NOW, 0, b"hash", &[b"f"], false, remove), Ok(Looked::Absent));
    let set = &mut |_: usize, _: Option<&[u8]>| FieldChange::Set(Cow::Borrowed(b"new"));
    assert_eq!(keys.change_fields(PATIENCE, NOW, 0, b"hash", &[b"f"], false, set), Ok(Looked::Absent));
    let mut seen = Vec::new();
    let look = &mut |fields: Fields<'_>| {
        seen.push(fields.len());
        fields.get(b"f", None).map(|len| assert_eq!(len, Some(3)))
    };
    assert_eq!(keys.read_fields(PATIENCE, NOW, 0, b"hash", look), Ok(Looked::Fields));
    assert_eq!(seen, [1]);
    assert!(others_are_well(&keys));
}

/// A root that names itself, with a count of fields that lets a walk go on for longer than anybody lives, or that is right: no
/// more fields are shown than there are.
#[test]
fn walks_of_a_damaged_tree_are_bounded() {
    let segment = populated();
    let keys = Keys::new(&segment);
    let itself = record(&segment, b"hash")[VALUE_WORD].load(Ordering::Relaxed);
    root(&segment)[CHILD + 3..].iter().step_by(3).for_each(|child| child.store(itself, Ordering::Relaxed));
    for len in [FIELDS, u64::MAX] {
        record(&segment, b"hash")[LEN_WORD].store(len, Ordering::Relaxed);
        let mut shown = 0;
        let look = &mut |fields: Fields<'_>| {
            shown = 0;
            fields.each_from(0, &mut |_, _, _| {
                shown += 1;
                true
            })
        };
        assert_eq!(keys.read_fields(PATIENCE, NOW, 0, b"hash", look), Ok(Looked::Absent));
        assert!(shown <= len && shown < 32 << 20, "{shown} of {len}");
    }
}

/// A walk over the keys waited for whoever was at a record that could not be read, where there was nobody, without an end.
#[test]
fn walks_pass_over_keys_that_cannot_be_read() {
    let segment = populated();
    let keys = Keys::new(&segment);
    record(&segment, &[b'k'; 200])[KEY_WORD].store(u64::MAX, Ordering::Relaxed);
    let mut names = Vec::new();
    let patience = Some(Duration::from_millis(20));
    assert_eq!(keys.scan(patience, NOW, 0, 0, 1000, &mut |key| names.push(key.len())), Ok(0));
    assert_eq!(names.len(), 8, "{names:?}");
    for row in 0..2048 {
        let mut random = || row;
        let found = keys.random(patience, NOW, 0, &mut random).unwrap();
        assert!(found.is_some_and(|key| key.len() < 200));
    }
}

/// A death may leave these; they cost a look and nothing else.
#[test]
fn counts_too_high_and_pages_without_their_hint_are_no_findings() {
    let segment = populated();
    segment.keys_space().group(&segment, 1).counts.fetch_add(1, Ordering::Relaxed);
    let hinted = |page: &u32| segment.page(*page).hint.swap(0, Ordering::Relaxed) == 1;
    let hidden = (0..segment.geometry().arena_pages as u32).filter(hinted).count() as u64;
    let seen = verify(&segment);
    assert!(seen.is_sound() && hidden > 0, "{:#?}", seen.findings);
    assert_eq!((seen.overflow_high, seen.hidden_pages), (1, hidden));
}

/// What a live process does while the gate is closed is no damage.
#[test]
fn those_who_wait_for_the_gate_are_not_reported() {
    let segment = populated();
    let waiting = segment.slot(FREE_SLOT);
    waiting.alive.store(robust::thread_id(), Ordering::Relaxed);
    waiting.held[0].store(Held::Gate.encode(), Ordering::Relaxed);
    assert!(verify(&segment).is_sound());
    waiting.held[0].store(Held::Row(KEYS_SPACE, 1).encode(), Ordering::Relaxed);
    assert_eq!(kinds(&verify(&segment)), [SlotLockNamed].into());
}

/// Whoever is stopped inside an operation keeps the gate open; the check says who.
#[test]
fn a_check_that_cannot_close_the_gate_says_who_is_inside() {
    let segment = populated();
    let inside = segment.slot(FREE_SLOT);
    segment.header().slots_claimed.fetch_max(FREE_SLOT, Ordering::Relaxed);
    inside.alive.store(robust::thread_id(), Ordering::Relaxed);
    inside.pid.store(4711, Ordering::Relaxed);
    inside.flag.store(1, Ordering::Relaxed);
    let seen = segment.verify(Some(Duration::from_millis(20)), &mut |_, _| {});
    assert_eq!(seen, Err(Refusal::Busy));
    let holders: Vec<_> = segment.holders().iter().map(|it| (it.slot, it.pid, it.has_gate)).collect();
    assert_eq!(holders, [(FREE_SLOT, 4711, false)]);
}
