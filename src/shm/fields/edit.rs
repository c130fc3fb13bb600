//! Changes of a tree of fields: a new tree that shares with the old one all that stays.
//!
//! The items of a change are sorted like the tree. Each node that has some of them below it is read, rebuilt in process memory, and written
//! into new blocks; the old node is listed as one that goes with the commit, and so are the blocks of values that are
//! replaced. A node that became too full is divided, and one that became empty is left out.
//!
//! More blocks than a journal lists go into ledgers, and more ledgers than it lists onto shelves: room for hundreds of millions, so one change can be of
//! any size that memory has room for.

use std::{borrow::Cow, ops::Range, sync::atomic::Ordering};

use shm_layout::{
    fields::{ENTRY_HEAD, FANOUT, INNER, LEAF, NODE_WORDS, SHORT, head, lens},
    heap::{BlockRef, MAX_CONTENTS},
    slot::BLOCKS,
};

use super::{
    super::{
        heap::{self, Form, Ledger},
        locks::Writer,
        mem::word_of,
        segment::{Refusal, Segment},
    },
    Entry, MAX_DEPTH, Node, Torn,
};

/// Blocks that a journal lists itself before ledgers are used; the rest of its places is for the ledgers, and for the record.
const LISTED: u32 = 96;
/// Places in use from which on ledgers stand on shelves, which have the rest.
const SHELVED: u32 = 120;
/// Words of a short new entry, about.
const NEW_WORDS: usize = 10;
/// Places that are left to the record.
const SPARE: u32 = 8;

/// What becomes of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldChange<'v> {
    /// It stays as it is.
    Leave,
    /// It gets this value.
    Set(Cow<'v, [u8]>),
    /// It goes.
    Remove,
    /// Nothing is to be changed at all.
    Refuse,
}

/// Decides what becomes of a field: its number among those of the change, and its value if it is there.
pub(crate) type Decide<'d, 'v> = &'d mut dyn FnMut(usize, Option<&[u8]>) -> FieldChange<'v>;

/// A field that a change is about.
pub(crate) struct Item<'f> {
    /// Its hash.
    pub(crate) hash: u64,
    /// The field.
    pub(crate) field: &'f [u8],
    /// Its number among those of the change.
    pub(crate) number: usize,
}

/// Why there is no new tree.
pub(crate) enum Stop {
    /// The old one makes no sense.
    Torn,
    /// It was decided that nothing is to be changed.
    Decided,
    /// There is no room, or the like.
    Refused(Refusal),
}

impl From<Torn> for Stop {
    fn from(_: Torn) -> Self {
        Self::Torn
    }
}

/// The tree after a change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Edited {
    /// As before.
    Same,
    /// Nothing is left.
    Empty,
    /// This root, and so many fields.
    Root(BlockRef, u64),
}

/// Where one of the journal's lists goes on.
#[derive(Default)]
struct Ledgers {
    open: Option<Ledger>,
    shelf: Option<Ledger>,
}

impl Ledgers {
    fn is_full(&self, segment: &Segment) -> bool {
        !self.open.as_ref().is_some_and(|ledger| ledger.has_room(segment))
    }

    /// Whether another ledger needs a new shelf, where so many places of the journal are in use.
    fn needs_shelf(&self, segment: &Segment, places: u32) -> bool {
        places >= SHELVED && !self.shelf.as_ref().is_some_and(|shelf| shelf.has_room(segment))
    }
}

/// Takes blocks, and lists those that go.
struct Blocks<'w, 'a> {
    writer: &'w Writer<'a>,
    new: Ledgers,
    old: Ledgers,
}

impl<'w, 'a> Blocks<'w, 'a> {
    fn new(writer: &'w Writer<'a>) -> Self {
        Self { writer, new: Ledgers::default(), old: Ledgers::default() }
    }

    fn segment(&self) -> &'a Segment {
        self.writer.segment()
    }

    fn new_len(&self) -> u32 {
        self.writer.slot().journal.new_len.load(Ordering::Relaxed)
    }

    fn old_len(&self) -> u32 {
        self.writer.slot().journal.old_len.load(Ordering::Relaxed)
    }

    /// Takes a block for a node.
    fn take_node(&mut self, len: usize) -> Result<BlockRef, Refusal> {
        self.take_by(|writer| heap::take(writer, len))
    }

    /// Takes a block, or one with chunks, for a field and its value.
    fn take(&mut self, len: usize) -> Result<BlockRef, Refusal> {
        self.take_by(|writer| heap::take_formed(writer, len))
    }

    fn take_by(&mut self, take: impl FnOnce(&Writer<'_>) -> Option<BlockRef>) -> Result<BlockRef, Refusal> {
        if self.new_len() >= LISTED && self.new.is_full(self.segment()) {
            self.open_new()?;
        }
        let block = take(self.writer).ok_or(Refusal::OutOfMemory)?;
        if let Some(ledger) = &self.new.open {
            ledger.adopt_last(self.writer);
        }
        Ok(block)
    }

    /// Begins another ledger of new blocks. What it lists stays in use after the commit; only the list itself goes.
    fn open_new(&mut self) -> Result<(), Refusal> {
        if self.new.needs_shelf(self.segment(), self.new_len()) {
            let shelf = Ledger::shelf_of_new(self.writer).ok_or(Refusal::OutOfMemory)?;
            self.list_old(shelf.block(), Form::Plain)?;
            self.new.shelf = Some(shelf);
        }
        let ledger = Ledger::of_new(self.writer).ok_or(Refusal::OutOfMemory)?;
        if let Some(shelf) = &self.new.shelf {
            shelf.adopt_last(self.writer);
        }
        let block = ledger.block();
        // First: a ledger of old blocks may have to be taken for it.
        self.new.open = Some(ledger);
        self.drop_old(block, Form::Plain)
    }

    /// Begins another ledger of old blocks.
    fn open_old(&mut self) -> Result<(), Refusal> {
        if self.old.needs_shelf(self.segment(), self.old_len()) {
            let shelf = self.take_ledger()?;
            self.list_old(shelf.block(), Form::Shelf)?;
            self.old.shelf = Some(shelf);
        }
        let ledger = self.take_ledger()?;
        match &self.old.shelf {
            Some(shelf) => shelf.list(self.segment(), ledger.block(), Form::Ledger),
            None => self.list_old(ledger.block(), Form::Ledger)?,
        }
        self.old.open = Some(ledger);
        Ok(())
    }

    fn take_ledger(&mut self) -> Result<Ledger, Refusal> {
        let block = self.take_node(MAX_CONTENTS)?;
        Ok(Ledger::in_block(self.segment(), block))
    }

    fn list_old(&self, block: BlockRef, form: Form) -> Result<(), Refusal> {
        if self.old_len() + SPARE >= BLOCKS as u32 {
            return Err(Refusal::OutOfMemory);
        }
        heap::list_old(self.writer.slot(), block, form);
        Ok(())
    }

    fn drop_old(&mut self, block: BlockRef, form: Form) -> Result<(), Refusal> {
        if self.old_len() < LISTED {
            return self.list_old(block, form);
        }
        if self.old.is_full(self.segment()) {
            self.open_old()?;
        }
        if let Some(ledger) = &self.old.open {
            ledger.list(self.segment(), block, form);
        }
        Ok(())
    }
}

/// A node and what the node above says of it.
#[derive(Clone, Copy)]
struct Child {
    first: u64,
    fields: u64,
    block: BlockRef,
}

/// An entry of a leaf that is being rebuilt.
struct Piece {
    hash: u64,
    words: Range<usize>,
}

/// A leaf in process memory.
#[derive(Default)]
struct Draft {
    words: Vec<u64>,
    pieces: Vec<Piece>,
}

impl Draft {
    fn push(&mut self, hash: u64, entry: impl IntoIterator<Item = u64>) {
        let start = self.words.len();
        self.words.extend(entry);
        self.pieces.push(Piece { hash, words: start..self.words.len() });
    }

    fn keep(&mut self, entry: &Entry<'_>) {
        let head = [entry.hash, lens(entry.field, entry.value, entry.external)];
        let bytes = entry.words.iter().map(|word| word.load(Ordering::Relaxed));
        self.push(entry.hash, head.into_iter().chain(bytes));
    }

    /// Parts of about equal size that each fit into a node, if no hash has more than that.
    fn parts(&self) -> Vec<Range<usize>> {
        let total = self.words.len();
        let count = if total <= NODE_WORDS { 1 } else { total.div_ceil(NODE_WORDS * 3 / 4) };
        let target = total.div_ceil(count.max(1));
        let (mut parts, mut start, mut size) = (Vec::with_capacity(count), 0, 0);
        for (index, piece) in self.pieces.iter().enumerate() {
            let apart = index > start && piece.hash != self.pieces[index - 1].hash;
            if apart && (size >= target || size + piece.words.len() > NODE_WORDS) {
                parts.push(start..index);
                (start, size) = (index, 0);
            }
            size += piece.words.len();
        }
        if start < self.pieces.len() {
            parts.push(start..self.pieces.len());
        }
        parts
    }
}

struct Editor<'e, 'w, 'a, 'f, 'v> {
    blocks: Blocks<'w, 'a>,
    items: &'e [Item<'f>],
    with_values: bool,
    decide: Decide<'e, 'v>,
}

/// Changes the fields that `items` names, sorted by hash and each once. Nothing is visible before the record names the new root.
///
/// # Errors
///
/// [`Stop::Torn`] if the old tree makes no sense, [`Stop::Refused`] if there is no room.
pub(crate) fn edit<'v>(
    writer: &Writer<'_>,
    root: Option<BlockRef>,
    items: &[Item<'_>],
    with_values: bool,
    decide: Decide<'_, 'v>,
) -> Result<Edited, Stop> {
    let mut editor = Editor { blocks: Blocks::new(writer), items, with_values, decide };
    let all = 0..items.len();
    let children = match root {
        Some(root) => editor.node(root, all, MAX_DEPTH)?,
        None => editor.leaf(None, all)?,
    };
    let Some(mut children) = children else {
        return Ok(Edited::Same);
    };
    while children.len() > 1 {
        children = editor.inner_nodes(&children)?;
    }
    match children.first() {
        Some(&root) => editor.lower(root),
        None => Ok(Edited::Empty),
    }
}

impl Editor<'_, '_, '_, '_, '_> {
    /// What stands in the place of a node afterwards; `None` if it stays.
    fn node(&mut self, block: BlockRef, items: Range<usize>, depth: usize) -> Result<Option<Vec<Child>>, Stop> {
        let depth = depth.checked_sub(1).ok_or(Stop::Torn)?;
        let segment = self.blocks.writer.segment();
        let node = Node::at(segment, block)?;
        let changed = if node.kind == LEAF { self.leaf(Some(&node), items)? } else { self.inner(&node, items, depth)? };
        if changed.is_some() {
            self.blocks.drop_old(block, Form::Plain).map_err(Stop::Refused)?;
        }
        Ok(changed)
    }

    fn inner(&mut self, node: &Node<'_>, items: Range<usize>, depth: usize) -> Result<Option<Vec<Child>>, Stop> {
        let (mut children, mut changed) = (Vec::with_capacity(node.count + 1), false);
        let mut start = items.start;
        for index in 0..node.count {
            let (first, fields, block) = node.child(index);
            let end = match index + 1 < node.count {
                true => {
                    start + self.items[start..items.end].partition_point(|item| item.hash < node.child(index + 1).0)
                }
                false => items.end,
            };
            let replaced = if start < end { self.node(block, start..end, depth)? } else { None };
            changed |= replaced.is_some();
            match replaced {
                Some(replaced) => children.extend(replaced),
                None => children.push(Child { first, fields, block }),
            }
            start = end;
        }
        if !changed {
            return Ok(None);
        }
        if children.is_empty() { Ok(Some(children)) } else { self.inner_nodes(&children).map(Some) }
    }

    /// The root below those that have a single child.
    fn lower(&mut self, mut root: Child) -> Result<Edited, Stop> {
        for _ in 0..MAX_DEPTH {
            let node = Node::at(self.blocks.writer.segment(), root.block)?;
            if node.kind == LEAF || node.count > 1 {
                break;
            }
            // It goes with the commit, and if it was written for this very change, then without as well.
            self.blocks.drop_old(root.block, Form::Plain).map_err(Stop::Refused)?;
            root.block = node.child(0).2;
        }
        Ok(Edited::Root(root.block, root.fields))
    }

    /// Writes inner nodes above these children.
    fn inner_nodes(&mut self, children: &[Child]) -> Result<Vec<Child>, Stop> {
        let nodes = children.len().div_ceil(FANOUT);
        let mut written = Vec::with_capacity(nodes);
        for part in children.chunks(children.len().div_ceil(nodes)) {
            let words = part.iter().flat_map(|child| [child.first, child.fields, child.block.0]);
            let words: Vec<u64> = words.collect();
            let block = self.write(INNER, part.len(), &words)?;
            // Counts may be damaged.
            let fields = part.iter().fold(0_u64, |sum, child| sum.wrapping_add(child.fields));
            written.push(Child { first: part[0].first, fields, block });
        }
        Ok(written)
    }

    fn leaf(&mut self, node: Option<&Node<'_>>, items: Range<usize>) -> Result<Option<Vec<Child>>, Stop> {
        let mut entries = Vec::new();
        if let Some(node) = node {
            entries.reserve(node.count);
            node.each(&mut |entry| {
                entries.push(entry);
                Ok(true)
            })?;
        }
        // One node's worth, and what the change may add, without growing step by step.
        let words = node.map_or(0, |node| node.words.len()) + NEW_WORDS * items.len();
        let mut draft = Draft {
            words: Vec::with_capacity(words.min(2 * NODE_WORDS)),
            pieces: Vec::with_capacity(entries.len() + items.len()),
        };
        let (mut next, mut changed) = (0, false);
        for number in items {
            let hash = self.items[number].hash;
            while let Some(entry) = entries.get(next).filter(|entry| entry.hash < hash) {
                draft.keep(entry);
                next += 1;
            }
            // The field itself comes to the front of those that share its hash, which hardly ever are more than one.
            let same = entries[next..].iter().take_while(|entry| entry.hash == hash);
            let segment = self.blocks.writer.segment();
            let place = same.clone().position(|entry| entry.is(segment, self.items[number].field));
            if let Some(place) = place {
                entries[next..=next + place].rotate_right(1);
                next += 1;
            }
            changed |= self.item(number, place.map(|_| entries[next - 1]), &mut draft)?;
        }
        if !changed {
            return Ok(None);
        }
        entries[next.min(entries.len())..].iter().for_each(|entry| draft.keep(entry));
        let parts = draft.parts();
        let mut written = Vec::with_capacity(parts.len());
        for part in parts {
            let pieces = &draft.pieces[part.clone()];
            let words = &draft.words[pieces[0].words.start..pieces[pieces.len() - 1].words.end];
            let block = self.write(LEAF, pieces.len(), words)?;
            written.push(Child { first: pieces[0].hash, fields: pieces.len() as u64, block });
        }
        Ok(Some(written))
    }

    /// Carries one item out on a leaf's draft; whether it changes anything.
    fn item(&mut self, number: usize, entry: Option<Entry<'_>>, draft: &mut Draft) -> Result<bool, Stop> {
        let Item { hash, field, number } = self.items[number];
        let mut value = Vec::new();
        if let Some(entry) = entry.filter(|_| self.with_values) {
            entry.read_value(self.blocks.writer.segment(), &mut value)?;
        }
        match ((self.decide)(number, entry.map(|_| &value[..])), entry) {
            (FieldChange::Set(value), _) => self.piece(hash, field, &value, draft)?,
            (FieldChange::Remove, Some(_)) => {}
            (FieldChange::Refuse, _) => return Err(Stop::Decided),
            (_, None) => return Ok(false),
            (FieldChange::Leave, Some(entry)) => {
                draft.keep(&entry);
                return Ok(false);
            }
        }
        if let Some((block, form)) = entry.and_then(|entry| entry.block()) {
            self.blocks.drop_old(block, form).map_err(Stop::Refused)?;
        }
        Ok(true)
    }

    /// Adds a new entry to a draft.
    fn piece(&mut self, hash: u64, field: &[u8], value: &[u8], draft: &mut Draft) -> Result<(), Stop> {
        let len = field.len() + value.len();
        let external = len > SHORT;
        let head = [hash, lens(field.len(), value.len(), external)];
        let mut bytes = Vec::with_capacity(len);
        bytes.extend_from_slice(field);
        bytes.extend_from_slice(value);
        if external {
            let block = self.blocks.take(len).map_err(Stop::Refused)?;
            heap::write_formed(self.blocks.segment(), block, &bytes);
            draft.push(hash, head.into_iter().chain([block.0]));
        } else {
            draft.push(hash, head.into_iter().chain(bytes.chunks(8).map(word_of)));
        }
        debug_assert!(external || draft.pieces.last().is_some_and(|piece| piece.words.len() >= ENTRY_HEAD));
        Ok(())
    }

    fn write(&mut self, kind: u64, count: usize, words: &[u64]) -> Result<BlockRef, Stop> {
        let bytes = 8 * (words.len() + 1);
        if bytes > MAX_CONTENTS {
            return Err(Stop::Torn);
        }
        let block = self.blocks.take_node(bytes).map_err(Stop::Refused)?;
        let target = heap::contents(self.blocks.segment(), block, bytes).ok_or(Stop::Torn)?;
        target[0].store(head(kind, count, words.len()), Ordering::Relaxed);
        target[1..].iter().zip(words).for_each(|(word, &value)| word.store(value, Ordering::Relaxed));
        Ok(block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shm::SegmentOptions;

    /// A change was refused for want of memory once its ledgers had used up the journal, after some 190,000 blocks.
    #[test]
    fn a_change_lists_more_blocks_than_a_journal_has_ledgers_for() {
        let segment = Segment::create(SegmentOptions::new().memory(128 << 20).max_keys(512)).unwrap();
        let pages = segment.memory_use().pages;
        for commits in [false, true] {
            let writer = Writer::enter(&segment).unwrap();
            let mut blocks = Blocks::new(&writer);
            let taken: Vec<BlockRef> = (0..250_000).map(|_| blocks.take_node(8).unwrap()).collect();
            taken.iter().for_each(|&block| blocks.drop_old(block, Form::Plain).unwrap());
            assert!(blocks.new_len() > SHELVED && blocks.old_len() > SHELVED);
            if commits {
                heap::free_old(&segment, writer.slot());
            } else {
                drop(writer);
            }
            assert_eq!(segment.memory_use().keys, 0, "commits: {commits}");
        }
        assert!(segment.memory_use().pages > pages);
    }
}
