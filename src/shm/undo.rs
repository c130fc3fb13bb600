//! The log of a transaction: what stood where an operation changed something, and which blocks it took and replaced.
//!
//! The log is a chain of heap blocks, the newest first, whose name stands in the slot. A block's first word names the older one, its second counts the
//! words in use behind it. Records follow each other; the last word of each tells its length, so that the log is
//! read from its end to its start, which is the order in which it is undone.
//!
//! A record is complete before it counts, and counts before what it tells of is changed. Its values are absolute: undoing the log from its
//! end to its start, and once more from its end if a death came between, always leaves what the oldest record of each word says. Sequences are
//! the exception: they only go up, so that whoever remembers one notices that the row was somebody else's meanwhile.
//!
//! An operation that is refused after it has written records takes them back ([`rewind`]): it has changed nothing, and what it
//! listed as replaced must not be freed.

use std::sync::atomic::{AtomicU64, Ordering};

use shm_layout::{
    heap::{BlockRef, CHUNK_BYTES},
    row::EXPIRE_WORD,
    slot::{Entry, Slot, action, undo},
};

use super::{
    crash::point,
    heap::{self, Form},
    journal,
    locks::Writer,
    protocol::sequence,
    segment::{Refusal, Segment},
    space::{Space, free_sequence},
};

/// Words of a log's first block, which a transaction of some dozens of changes does not fill.
const FIRST_WORDS: usize = 509;
/// Words of every other block.
const MORE_WORDS: usize = CHUNK_BYTES / 8;
/// Words before the records of a block.
const HEAD: usize = 2;
/// Words of a record, less the old words that it keeps.
const RECORD: usize = 4;
/// Old words that one record keeps at most.
const PIECE: usize = 256;

/// A place in the log, to which it can be taken back.
#[derive(Clone, Copy)]
pub(super) struct Mark {
    block: BlockRef,
    used: usize,
}

/// One record.
struct Record<'a> {
    kind: u32,
    args: [u64; 3],
    words: &'a [AtomicU64],
}

/// Where the log ends.
pub(super) fn mark(segment: &Segment, slot: &Slot) -> Mark {
    let block = BlockRef(slot.log.load(Ordering::Relaxed));
    Mark { block, used: block_words(segment, block).map_or(0, used_of) }
}

/// Logs everything that the operation in the journal is going to change. If there is no room for that, nothing is logged.
///
/// # Errors
///
/// [`Refusal::OutOfMemory`].
#[cold]
pub(super) fn log_operation(writer: &Writer<'_>, space: &Space, entries: u32) -> Result<(), Refusal> {
    let mark = mark(writer.segment(), writer.slot());
    let logged = log_blocks(writer).and_then(|()| {
        (0..entries)
            .filter_map(|index| journal::entry(writer.segment(), writer.slot(), index))
            .try_for_each(|entry| log_entry(writer, space, entry))
    });
    logged.inspect_err(|_| rewind(writer.segment(), writer.slot(), mark))
}

/// Logs a change of one word of a live row.
///
/// # Errors
///
/// [`Refusal::OutOfMemory`].
#[cold]
pub(super) fn log_word(writer: &Writer<'_>, space: &Space, row: u32, word: usize) -> Result<(), Refusal> {
    let mark = mark(writer.segment(), writer.slot());
    let Some(header) = space.header(writer.segment(), row) else {
        return Ok(());
    };
    let logged = log_words(writer, space, row, word, 1)
        .and_then(|()| log_row(writer, space, row, 0, action::UPDATE, header.meta.load(Ordering::Relaxed)));
    logged.inspect_err(|_| rewind(writer.segment(), writer.slot(), mark))
}

/// Logs a swap of databases.
///
/// # Errors
///
/// [`Refusal::OutOfMemory`].
pub(super) fn log_databases(writer: &Writer<'_>) -> Result<(), Refusal> {
    let word = writer.segment().header().databases.load(Ordering::Relaxed);
    push(writer, undo::DATABASES, [word, 0, 0], &[])
}

fn log_blocks(writer: &Writer<'_>) -> Result<(), Refusal> {
    let journal = &writer.slot().journal;
    let lists = [(undo::NEW, &journal.new_len, &journal.new), (undo::OLD, &journal.old_len, &journal.old)];
    for (kind, len, list) in lists {
        let listed = (len.load(Ordering::Relaxed) as usize).min(list.len());
        for entry in &list[..listed] {
            let args = [entry.block.load(Ordering::Relaxed), entry.tree.load(Ordering::Relaxed), 0];
            push(writer, kind, args, &[])?;
        }
    }
    Ok(())
}

fn log_entry(writer: &Writer<'_>, space: &Space, entry: &Entry) -> Result<(), Refusal> {
    let (segment, slot) = (writer.segment(), writer.slot());
    let (row, act) = (entry.row.load(Ordering::Relaxed), entry.action.load(Ordering::Relaxed));
    let Some(header) = space.header(segment, row) else {
        return Ok(());
    };
    match act {
        action::UPDATE => {
            let [first, count] = [&entry.image_first, &entry.image_words].map(|word| word.load(Ordering::Relaxed));
            log_words(writer, space, row, first as usize, count as usize)?;
        }
        // Its row is free from then on, and may be somebody else's before the transaction ends.
        action::DELETE => log_words(writer, space, row, EXPIRE_WORD, space.row_words() - EXPIRE_WORD)?,
        _ => {}
    }
    let hash = entry.hash.load(Ordering::Relaxed);
    log_row(writer, space, row, hash, act, header.meta.load(Ordering::Relaxed))?;
    for cell in &entry.cells {
        let cell = cell.load(Ordering::Relaxed);
        if let Some(count) = slot.counts.get(cell as usize) {
            push(writer, undo::CELL, [u64::from(cell), count.load(Ordering::Relaxed) as u64, 0], &[])?;
        }
    }
    Ok(())
}

fn log_words(writer: &Writer<'_>, space: &Space, row: u32, first: usize, count: usize) -> Result<(), Refusal> {
    let words = space.words(writer.segment(), row).and_then(|words| words.get(first..first + count));
    for (piece, words) in words.unwrap_or_default().chunks(PIECE).enumerate() {
        push(writer, undo::WORDS, [row_name(space, row), (first + piece * PIECE) as u64, 0], words)?;
    }
    Ok(())
}

fn log_row(writer: &Writer<'_>, space: &Space, row: u32, hash: u64, act: u32, meta: u32) -> Result<(), Refusal> {
    push(writer, undo::ROW, [row_name(space, row), hash, u64::from(act) << 32 | u64::from(meta)], &[])
}

fn row_name(space: &Space, row: u32) -> u64 {
    u64::from(space.id) << 32 | u64::from(row)
}

fn push(writer: &Writer<'_>, kind: u32, args: [u64; 3], old: &[AtomicU64]) -> Result<(), Refusal> {
    let len = old.len() + RECORD;
    let words = block_with_room(writer, len)?;
    let used = used_of(words);
    let record = &words[HEAD + used..];
    for (to, from) in record.iter().zip(old) {
        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    }
    let tail = (len as u64) << 32 | u64::from(kind);
    for (to, value) in record[old.len()..].iter().zip(args.into_iter().chain([tail])) {
        to.store(value, Ordering::Relaxed);
    }
    // Release: the record is complete before it counts.
    words[1].store((used + len) as u64, Ordering::Release);
    point("logged");
    Ok(())
}

/// The newest block of the log, if it has room for `len` words; else a new one.
fn block_with_room<'a>(writer: &Writer<'a>, len: usize) -> Result<&'a [AtomicU64], Refusal> {
    let (segment, slot) = (writer.segment(), writer.slot());
    let newest = BlockRef(slot.log.load(Ordering::Relaxed));
    if let Some(words) = block_words(segment, newest).filter(|words| HEAD + used_of(words) + len <= words.len()) {
        return Ok(words);
    }
    let room = if newest.0 == 0 { FIRST_WORDS } else { MORE_WORDS };
    let block = heap::take(writer, 8 * room).ok_or(Refusal::OutOfMemory)?;
    let words = heap::contents(segment, block, 8 * room).ok_or(Refusal::OutOfMemory)?;
    words[0].store(newest.0, Ordering::Relaxed);
    words[1].store(0, Ordering::Relaxed);
    // Release: the block is ready before it is part of the log.
    slot.log.store(block.0, Ordering::Release);
    point("log-grown");
    // Until now a death would have given it back with the operation's own; nobody takes it before the log is settled.
    heap::adopt_last(slot);
    Ok(words)
}

/// The words of a block of the log; `None` if there is none, or if what the log names cannot be one.
fn block_words(segment: &Segment, block: BlockRef) -> Option<&[AtomicU64]> {
    let older = heap::contents(segment, block, 8)?[0].load(Ordering::Relaxed);
    heap::contents(segment, block, 8 * if older == 0 { FIRST_WORDS } else { MORE_WORDS })
}

fn used_of(words: &[AtomicU64]) -> usize {
    // Acquire: records that count are complete.
    (words[1].load(Ordering::Acquire) as usize).min(words.len() - HEAD)
}

/// Calls `step` for every block of the log behind `mark`, the newest first, with the words of it that stay.
fn each_block(segment: &Segment, slot: &Slot, mark: Option<Mark>, mut step: impl FnMut(BlockRef, &[AtomicU64], usize)) {
    let mut block = BlockRef(slot.log.load(Ordering::Acquire));
    // No arena holds more blocks than that: a chain that is longer is a circle, as only damage explains.
    let most = segment.geometry().arena_pages * 16;
    for _ in 0..most {
        let Some(words) = block_words(segment, block) else {
            return;
        };
        let last = mark.is_some_and(|mark| mark.block == block);
        step(block, words, mark.filter(|_| last).map_or(0, |mark| mark.used));
        if last {
            return;
        }
        block = BlockRef(words[0].load(Ordering::Relaxed));
    }
}

/// Calls `step` for every record of the log behind `mark`, the newest first.
fn each_record(segment: &Segment, slot: &Slot, mark: Option<Mark>, step: &mut dyn FnMut(Record<'_>)) {
    each_block(segment, slot, mark, |_, words, stays| {
        let mut end = used_of(words);
        while let Some((record, start)) = record_before(&words[HEAD..], end).filter(|_| end > stays) {
            step(record);
            end = start;
        }
    });
}

/// The record that ends at `end`, and where it starts; `None` if there is none, or nonsense.
fn record_before(words: &[AtomicU64], end: usize) -> Option<(Record<'_>, usize)> {
    let tail = words.get(end.checked_sub(1)?)?.load(Ordering::Relaxed);
    let len = (tail >> 32) as usize;
    let start = end.checked_sub(len).filter(|_| len >= RECORD)?;
    let args = [4, 3, 2].map(|back| words[end - back].load(Ordering::Relaxed));
    Some((Record { kind: tail as u32, args, words: &words[start..end - RECORD] }, start))
}

/// Undoes the whole log. Doing it twice, or a part of it and then all, is doing it once.
pub(super) fn undo_all(segment: &Segment, slot: &Slot, number: u32) {
    each_record(segment, slot, None, &mut |record| undo_record(segment, slot, number, &record));
}

/// Undoes what was logged behind `mark`, and takes the log back to it.
pub(super) fn undo_to(segment: &Segment, slot: &Slot, number: u32, mark: Mark) {
    each_record(segment, slot, Some(mark), &mut |record| undo_record(segment, slot, number, &record));
    rewind(segment, slot, mark);
}

/// Takes the log back to `mark`: what was logged behind it has not happened. A death in between leaves records that are undone in vain.
fn rewind(segment: &Segment, slot: &Slot, mark: Mark) {
    let mut newest = BlockRef(slot.log.load(Ordering::Relaxed));
    while newest != mark.block
        && let Some(words) = block_words(segment, newest)
    {
        heap::free(segment, slot, newest, Form::Plain, None);
        newest = BlockRef(words[0].load(Ordering::Relaxed));
        slot.log.store(newest.0, Ordering::Release);
    }
    if let Some(words) = block_words(segment, mark.block) {
        words[1].store(mark.used as u64, Ordering::Release);
    }
}

fn undo_record(segment: &Segment, slot: &Slot, number: u32, record: &Record<'_>) {
    let [first, second, third] = record.args;
    match record.kind {
        undo::WORDS => undo_words(segment, first, second as usize, record.words),
        undo::ROW => undo_row(segment, slot, first, second, third),
        undo::CELL => {
            if let Some(cell) = slot.counts.get(first as usize) {
                cell.store(second as i64, Ordering::Release);
            }
        }
        undo::DATABASES => segment.header().databases.store(first, Ordering::Release),
        undo::NEW => heap::free_listed(segment, slot, BlockRef(first), second, Some(number)),
        _ => {}
    }
    point("undone");
}

fn undo_words(segment: &Segment, name: u64, first: usize, old: &[AtomicU64]) {
    let words = segment.space((name >> 32) as u32).and_then(|space| space.words(segment, name as u32));
    let sane = words.filter(|_| first >= EXPIRE_WORD).and_then(|words| words.get(first..)?.get(..old.len()));
    for (to, from) in sane.unwrap_or_default().iter().zip(old) {
        to.store(from.load(Ordering::Relaxed), Ordering::Relaxed);
    }
}

fn undo_row(segment: &Segment, slot: &Slot, name: u64, hash: u64, rest: u64) {
    let (row, act, meta) = (name as u32, (rest >> 32) as u32, rest as u32);
    let Some(space) = segment.space((name >> 32) as u32) else {
        return;
    };
    let Some(header) = space.header(segment, row) else {
        return;
    };
    let now = header.sequence.load(Ordering::Relaxed);
    if act == action::INSERT {
        space.unpublish(segment, hash, row, true);
        header.sequence.store(free_sequence(now), Ordering::Release);
        space.set_hint(segment, row);
        slot.freed_rows.fetch_add(1, Ordering::AcqRel);
        journal::count_key(segment, slot, &space, -1);
        return;
    }
    header.meta.store(meta, Ordering::Relaxed);
    if act == action::DELETE {
        space.publish(segment, hash, row, true);
        journal::count_key(segment, slot, &space, 1);
    }
    sequence::end(&header.sequence, now | 1);
}

/// Frees what a committed transaction has replaced. Doing it twice is doing it once.
pub(super) fn free_replaced(segment: &Segment, slot: &Slot) {
    each_record(segment, slot, None, &mut |record| {
        if record.kind == undo::OLD {
            heap::free_listed(segment, slot, BlockRef(record.args[0]), record.args[1], None);
            point("replaced-freed");
        }
    });
}

/// Gives the log's own blocks back. Doing it twice is doing it once.
pub(super) fn forget(segment: &Segment, slot: &Slot) {
    each_block(segment, slot, None, |block, _, _| heap::free(segment, slot, block, Form::Plain, None));
    slot.log.store(0, Ordering::Release);
}
