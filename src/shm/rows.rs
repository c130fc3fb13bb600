//! What rows of all kinds have in common: free and expired ones, words stored, and the question whether a space is full.
//!
//! The bitmap of hints says where to look for a free row; the row itself decides, under its lock. A hint may be wrong either way:
//! set for a live row (it is taken away when somebody looks), or missing for a free one (its owner died in between). So "no hint"
//! does not mean "full". *Full* is answered only
//!
//! * when the counts say that every row is in use and no row was freed while they were summed up, and none can expire; or
//! * after a pass over all rows that found no expired row, no free one and none that was free but locked, during which
//!   nobody freed one; or
//! * behind the gate, after three passes that could not decide.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use shm_layout::{
    KEYS_SPACE, keys,
    row::{self, EXPIRE_WORD},
    slot::{self, Held, action, lock},
};

use super::{
    crash::point,
    journal::{Intent, RowChange},
    keys as kv,
    locks::Writer,
    mem::append,
    protocol::sequence,
    recovery,
    segment::{Refusal, Segment},
    space::{Found, Space},
    transaction, undo,
};
use crate::sys::clock;

/// Rows that a pass looks at before it lets the gate close.
const TURN: u32 = 4096;

/// A free row, locked by the caller.
pub(crate) struct FreeRow {
    pub(crate) row: u32,
    pub(crate) sequence: u64,
}

/// Finds a free row by its hint and locks it. `cursor` remembers where there was one.
pub(crate) fn claim_free<'a>(writer: &mut Writer<'a>, space: &Space, cursor: &AtomicU32) -> Option<FreeRow> {
    let segment = writer.segment();
    let words = space.hint_words();
    let start = cursor.load(Ordering::Relaxed) % words;
    for index in (start..words).chain(0..start) {
        let mut bits = space.hint_word(segment, index).load(Ordering::Acquire);
        while bits != 0 {
            let row = 64 * index + bits.trailing_zeros();
            bits &= bits - 1;
            if let Some(free) = try_claim(writer, space, row) {
                cursor.store(index, Ordering::Relaxed);
                return Some(free);
            }
        }
    }
    None
}

fn try_claim<'a>(writer: &mut Writer<'a>, space: &Space, row: u32) -> Option<FreeRow> {
    let segment: &'a Segment = writer.segment();
    let header = space.header(segment, row).filter(|_| row < space.rows)?;
    if !writer.try_lock(Held::Row(space.id, row), &header.lock) {
        return None;
    }
    space.take_hint(segment, row);
    let sequence = header.sequence.load(Ordering::Acquire);
    if row::is_live(sequence) {
        writer.unlock_last();
        return None;
    }
    Some(FreeRow { row, sequence })
}

/// What a pass found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Room {
    /// There are so many free rows.
    Some,
    /// There were not so many at some moment of the pass.
    None,
    /// Others were at it.
    Undecided,
}

fn freed_rows(segment: &Segment) -> u64 {
    segment.all_slots().map(|slot| slot.freed_rows.load(Ordering::Acquire)).fold(0, u64::wrapping_add)
}

/// Rows and blocks that were freed so far: a number that changes when there may be room again.
pub(crate) fn freed(segment: &Segment) -> u64 {
    let blocks = segment.all_slots().map(|slot| slot.freed_blocks.load(Ordering::Acquire));
    blocks.fold(freed_rows(segment), u64::wrapping_add)
}

/// The word that is not 0 once something in the space may expire; `None` if nothing ever does.
fn expires<'a>(segment: &'a Segment, space: &Space) -> Option<&'a AtomicU32> {
    match space.id {
        KEYS_SPACE => Some(&segment.header().keys_expire),
        id if space.is_table() => Some(&segment.entry(id as usize).expires),
        _ => None,
    }
}

/// Whether anything in the space may expire.
pub(crate) fn can_expire(segment: &Segment, space: &Space) -> bool {
    expires(segment, space).is_some_and(|expires| expires.load(Ordering::Acquire) != 0)
}

/// Remembers that something in the space can expire, before the first of it does.
pub(crate) fn note_expiry(segment: &Segment, space: &Space, expire_at: u64) {
    if expire_at == 0 {
        return;
    }
    if let Some(expires) = expires(segment, space)
        && expires.load(Ordering::Relaxed) == 0
    {
        expires.store(1, Ordering::Release);
    }
}

/// Rows in use.
fn count(segment: &Segment, space: &Space) -> u64 {
    match space.id {
        KEYS_SPACE => kv::count(segment),
        _ => space.count(segment),
    }
}

/// Looks whether there is room for `needed` rows, and frees what has expired. The writer holds no locks.
///
/// # Errors
///
/// [`Refusal::Busy`] if the gate stays closed, and those of `current`, which says whether the space is still there: it may be
/// gone whenever the flag was down.
pub(crate) fn make_room(
    writer: &mut Writer<'_>,
    space: &Space,
    needed: u64,
    now_ms: u64,
    current: &dyn Fn() -> Result<(), Refusal>,
) -> Result<Room, Refusal> {
    let segment = writer.segment();
    current()?;
    let before = freed_rows(segment);
    if is_surely_full(segment, space, needed) {
        // No row was freed while the counts were read, so the sum is no more than what was true at the end.
        let still = freed_rows(segment) == before;
        return Ok(if still { none(segment) } else { Room::Undecided });
    }
    let (mut free, mut undecided) = (0, false);
    for row in 0..space.rows {
        if row % TURN == TURN - 1 {
            writer.breathe()?;
            current()?;
        }
        match look(writer, space, row, now_ms) {
            Look::Free => free += 1,
            Look::Unknown => undecided = true,
            Look::Taken => {}
        }
    }
    if free >= needed {
        return Ok(Room::Some);
    }
    Ok(if undecided || freed_rows(segment) != before { Room::Undecided } else { none(segment) })
}

/// There is no room, unless a dead process was about to make some.
fn none(segment: &Segment) -> Room {
    if recovery::recover_all(segment) > 0 { Room::Undecided } else { Room::None }
}

/// Whether the counts leave no room for `needed` rows, and none can expire. Certain if nobody frees one meanwhile.
pub(crate) fn is_surely_full(segment: &Segment, space: &Space, needed: u64) -> bool {
    !can_expire(segment, space) && count(segment, space).saturating_add(needed) > u64::from(space.rows)
}

enum Look {
    Free,
    Taken,
    Unknown,
}

fn look(writer: &mut Writer<'_>, space: &Space, row: u32, now_ms: u64) -> Look {
    let segment = writer.segment();
    let Some(header) = space.header(segment, row) else {
        // A run of records without a page: there is room for keys only if there is a page for them.
        return Look::Taken;
    };
    if row::is_live(header.sequence.load(Ordering::Acquire)) {
        if !is_past(header.expire_at.load(Ordering::Relaxed), now_ms) {
            return Look::Taken;
        }
        // Expired but locked: its owner may free it, or write to it.
        return if free_expired(writer, space, row, now_ms) { Look::Free } else { Look::Unknown };
    }
    if header.lock.load(Ordering::Acquire) != 0 {
        return Look::Unknown;
    }
    space.set_hint(segment, row);
    Look::Free
}

/// In place of the time, for operations that ask for it once at most: the clock is read when something does expire, which costs
/// more than all the rest of a read.
pub const CLOCK_UNREAD: u64 = 0;

/// Whether an expiry lies in the past.
#[inline(always)]
pub(crate) fn is_past(expire_at: u64, now_ms: u64) -> bool {
    expire_at != 0 && expire_at <= if now_ms == CLOCK_UNREAD { clock::now_ms() } else { now_ms }
}

/// Whether a row has the sequence that it was read at, and nobody is at it. For reads of several rows: a holder may have
/// stored a single word already and not yet raised the sequence, and others may have seen that word and acted on it.
pub(crate) fn rests_at(header: &row::Header, sequence: u64) -> bool {
    // Acquire: a holder who has let go has raised the sequence before.
    header.lock.load(Ordering::Acquire) & lock::OWNER == 0 && header.sequence.load(Ordering::Relaxed) == sequence
}

/// Frees a row if it has expired and nobody holds it; whether it did.
pub(crate) fn free_expired<'a>(writer: &mut Writer<'a>, space: &Space, row: u32, now_ms: u64) -> bool {
    let segment: &'a Segment = writer.segment();
    let Some(header) = space.header(segment, row) else {
        return false;
    };
    if !writer.try_lock(Held::Row(space.id, row), &header.lock) {
        return false;
    }
    let sequence = header.sequence.load(Ordering::Acquire);
    let expired = row::is_live(sequence) && is_past(header.expire_at.load(Ordering::Relaxed), now_ms);
    let gone = expired.then(|| {
        let mut intent = Intent::new();
        let gone = list_delete(writer, space, row, &mut intent, 0);
        intent.carry_out(writer, space).ok().map(|()| gone)
    });
    writer.unlock_last();
    let freed = gone.as_ref().is_some_and(Option::is_some);
    if let Some((db, key)) = gone.flatten().filter(|_| space.id == KEYS_SPACE) {
        segment.depart(db, key, false);
    }
    freed
}

/// Frees what has expired among `looks` of the first `rows` rows, from number `start` on and round; how many.
pub(crate) fn free_expired_from(
    writer: &mut Writer<'_>,
    space: &Space,
    rows: u64,
    start: u64,
    looks: u64,
    now_ms: u64,
) -> usize {
    let segment = writer.segment();
    (0..looks.min(rows))
        .map(|i| (start.wrapping_add(i) % rows) as u32)
        .filter(|&row| {
            let past = space.header(segment, row).is_some_and(|header| {
                row::is_live(header.sequence.load(Ordering::Acquire))
                    && is_past(header.expire_at.load(Ordering::Relaxed), now_ms)
            });
            past && free_expired(writer, space, row, now_ms)
        })
        .count()
}

/// Writes the words of a free row from its expiry on; `from` is the whole row.
pub(crate) fn fill(segment: &Segment, space: &Space, free: &FreeRow, from: &[u64]) {
    if let Some(words) = space.words(segment, free.row) {
        // The row is locked and not live: nobody believes what they read there, once they see the last tenant's end.
        sequence::doubted();
        for (word, &value) in words[EXPIRE_WORD..].iter().zip(&from[EXPIRE_WORD..]) {
            word.store(value, Ordering::Relaxed);
        }
    }
}

/// Changes one word of a locked row and nothing else, without an intent: the store of the word is the commit.
///
/// # Errors
///
/// [`Refusal::OutOfMemory`] inside a transaction whose log has no room.
pub(crate) fn store_word(
    writer: &Writer<'_>,
    space: &Space,
    found: &Found<'_>,
    word: usize,
    value: u64,
) -> Result<(), Refusal> {
    if transaction::is_open(writer.slot()) {
        undo::log_word(writer, space, found.row, word)?;
    }
    sequence::store_word(&found.words[word], value);
    point("word-stored");
    sequence::raise(&found.header.sequence, found.sequence);
    Ok(())
}

/// Deletes every row whose head `wanted` accepts, one by one: the way of a clear or a flush inside a transaction. Behind the gate.
///
/// # Errors
///
/// [`Refusal::OutOfMemory`] if the log has no room for all of them: none was deleted.
pub(crate) fn delete_logged(
    writer: &Writer<'_>,
    space: &Space,
    rows: u32,
    wanted: &dyn Fn(&row::Header) -> bool,
) -> Result<(), Refusal> {
    let (segment, slot) = (writer.segment(), writer.slot());
    let mark = undo::mark(segment, slot);
    for row in 0..rows {
        let live = |header: &&row::Header| row::is_live(header.sequence.load(Ordering::Relaxed)) && wanted(header);
        if space.header(segment, row).filter(live).is_none() {
            continue;
        }
        let mut intent = Intent::new();
        list_delete(writer, space, row, &mut intent, 0);
        if let Err(refusal) = intent.carry_out(writer, space) {
            undo::undo_to(segment, slot, writer.number(), mark);
            return Err(refusal);
        }
    }
    Ok(())
}

/// Adds the deletion of a live, locked row to an intent, of which `earlier` entries lower the same count; returns the database and
/// the key of what goes.
pub(crate) fn list_delete(
    writer: &Writer<'_>,
    space: &Space,
    row: u32,
    intent: &mut Intent,
    earlier: i64,
) -> (u8, Vec<u8>) {
    let segment = writer.segment();
    let Some(found) = space.row(segment, row) else {
        return (0, Vec::new());
    };
    let meta = found.header.meta.load(Ordering::Relaxed);
    let mut key = Vec::new();
    read_key(segment, space, meta, found.words, &mut key);
    let db = if space.id == KEYS_SPACE { (row::flags(meta) & keys::flag::DB) as u8 } else { 0 };
    list_deletion(writer, space, &found, (db, segment.hash(&key, db)), intent, earlier);
    (db, key)
}

/// As [`list_delete`], of a row whose database and hash are known.
pub(crate) fn list_deletion(
    writer: &Writer<'_>,
    space: &Space,
    found: &Found<'_>,
    (db, hash): (u8, u64),
    intent: &mut Intent,
    earlier: i64,
) {
    let slot = writer.slot();
    let meta = found.header.meta.load(Ordering::Relaxed);
    let cells = match space.id {
        KEYS_SPACE => {
            kv::list_old_blocks(slot, meta, found.words);
            kv::cells_without(slot, db, found.header.expire_at.load(Ordering::Relaxed) != 0)
        }
        id => {
            let cell = slot::row_cell(id);
            let counted = slot.counts[cell].load(Ordering::Relaxed);
            [(cell as u32, counted.wrapping_sub(1 + earlier)), RowChange::NO_COUNTS[1]]
        }
    };
    let sequence = found.header.sequence.load(Ordering::Relaxed);
    let change = RowChange { action: action::DELETE, row: found.row, meta, sequence, hash, cells };
    intent.push(writer.segment(), slot, space.id, &change, 0, &[]);
}

/// Appends a row's key to `out`.
pub(crate) fn read_key(segment: &Segment, space: &Space, meta: u32, words: &[AtomicU64], out: &mut Vec<u8>) -> bool {
    let len = row::key_len(meta);
    if space.id == KEYS_SPACE {
        return kv::read_key(segment, meta, words, out);
    }
    let Some(from) = words.get(space.key_at as usize / 8..).and_then(|from| from.get(..len.div_ceil(8))) else {
        return false;
    };
    append(from, len, out);
    true
}
