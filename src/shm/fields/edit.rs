//! Changes of a tree of fields: a new tree that shares with the old one all that stays.
//!
//! The items of a change are sorted like the tree. Each leaf that has some of them is gone through once, and every item that changes
//! something becomes a [`Cut`]: what goes at one place, and what comes there. The new leaf is the old one's words with the cuts made, copied straight into a new block; only a leaf
//! that became too full is put together in process memory, to be divided. The old node is listed as one that goes with the commit, and so are the
//! blocks of values that are replaced. A node that became empty is left out.
//!
//! More blocks than a journal lists go into ledgers, and more ledgers than it lists onto shelves: room for hundreds of millions, so one change can be of
//! any size that memory has room for.

use std::{
    borrow::Cow,
    cell::Cell,
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use shm_layout::{
    fields::{ENTRY_HEAD, FANOUT, INNER, LEAF, NODE_WORDS, SHORT, head, lens},
    heap::{BlockRef, MAX_CONTENTS},
    slot::BLOCKS,
};

use super::{
    super::{
        heap::{self, Form, Ledger},
        locks::Writer,
        segment::{Refusal, Segment},
    },
    Entry, MAX_DEPTH, Node, Torn, body_words,
};

/// Blocks that a journal lists itself before ledgers are used; the rest of its places is for the ledgers, and for the record.
const LISTED: u32 = 96;
/// Places in use from which on ledgers stand on shelves, which have the rest.
const SHELVED: u32 = 120;
/// Words of fresh entries for which a thread keeps room from one change to the next.
const KEPT_WORDS: usize = 8192;
/// The same for cuts.
const KEPT_CUTS: usize = 256;
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

/// What stands in the place of a node: one node in nearly all cases.
enum Children {
    One(Option<Child>),
    Many(Vec<Child>),
}

impl std::ops::Deref for Children {
    type Target = [Child];

    fn deref(&self) -> &[Child] {
        match self {
            Self::One(child) => child.as_slice(),
            Self::Many(children) => children,
        }
    }
}

/// What changes at one word of a leaf.
struct Cut {
    /// The word.
    at: usize,
    /// Words of the entry that goes; 0: none does.
    len: usize,
    /// Which of the fresh words come there.
    fresh: Range<usize>,
}

/// Words of a leaf that is being rebuilt.
enum Run {
    Old(Range<usize>),
    Fresh(Range<usize>),
}

/// What changes in a leaf.
#[derive(Default)]
struct Plan {
    /// In the order of their places.
    cuts: Vec<Cut>,
    /// The entries that come.
    fresh: Vec<u64>,
    /// A value that is being decided about.
    value: Vec<u8>,
}

impl Plan {
    /// Calls `with` for all words of the new leaf, in their order; the old one has `end` words.
    fn each_run(&self, end: usize, mut with: impl FnMut(Run)) {
        let mut from = 0;
        for Cut { at, len, fresh } in &self.cuts {
            with(Run::Old(from..from.max(*at)));
            with(Run::Fresh(fresh.clone()));
            from = from.max(at + len);
        }
        with(Run::Old(from.min(end)..end));
    }

    /// Words of the new leaf, and its entries if the old one had `count`.
    fn size(&self, end: usize, count: usize) -> (usize, usize) {
        let mut words = 0;
        self.each_run(end, |run| {
            words += match run {
                Run::Old(range) | Run::Fresh(range) => range.len(),
            }
        });
        let gone = self.cuts.iter().filter(|cut| cut.len > 0).count();
        let come = self.cuts.iter().filter(|cut| !cut.fresh.is_empty()).count();
        (words, (count + come).saturating_sub(gone))
    }

    /// Calls `with` for each word of the new leaf, in their order.
    #[inline]
    fn each_word(&self, old: &[AtomicU64], mut with: impl FnMut(u64)) {
        self.each_run(old.len(), |run| match run {
            Run::Old(range) => old[range].iter().for_each(|word| with(word.load(Ordering::Relaxed))),
            Run::Fresh(range) => self.fresh[range].iter().for_each(|&word| with(word)),
        });
    }
}

/// Runs `body` with a plan that has room from the changes before.
fn with_plan<T>(body: impl FnOnce(Plan) -> (T, Plan)) -> T {
    thread_local! {
        static PLAN: Cell<Plan> = const { Cell::new(Plan { cuts: Vec::new(), fresh: Vec::new(), value: Vec::new() }) };
    }
    let (result, mut plan) = body(PLAN.try_with(Cell::take).unwrap_or_default());
    plan.cuts.clear();
    plan.fresh.clear();
    plan.value.clear();
    plan.cuts.shrink_to(KEPT_CUTS);
    plan.fresh.shrink_to(KEPT_WORDS);
    plan.value.shrink_to(8 * KEPT_WORDS);
    let _ = PLAN.try_with(|kept| kept.set(plan));
    result
}

/// An entry among the words of a leaf.
struct Piece {
    hash: u64,
    words: Range<usize>,
}

/// The entries in the words of a leaf, of which there are `count`.
fn pieces(words: &[u64], count: usize) -> Result<Vec<Piece>, Torn> {
    let (mut pieces, mut at) = (Vec::with_capacity(count.min(words.len())), 0);
    for _ in 0..count {
        let [hash, lens] = *words.get(at..at + ENTRY_HEAD).and_then(|head| head.as_array()).ok_or(Torn)?;
        let end = at + ENTRY_HEAD + body_words(lens);
        if end > words.len() {
            return Err(Torn);
        }
        pieces.push(Piece { hash, words: at..end });
        at = end;
    }
    Ok(pieces)
}

/// Divides the entries of a leaf into parts of about equal size that each fit into a node, if no hash has more than that.
fn parts(pieces: &[Piece]) -> Vec<Range<usize>> {
    let total: usize = pieces.iter().map(|piece| piece.words.len()).sum();
    let count = if total <= NODE_WORDS { 1 } else { total.div_ceil(NODE_WORDS * 3 / 4) };
    let target = total.div_ceil(count);
    let (mut parts, mut start, mut size) = (Vec::with_capacity(count), 0, 0);
    for (index, piece) in pieces.iter().enumerate() {
        let apart = index > start && piece.hash != pieces[index - 1].hash;
        if apart && (size >= target || size + piece.words.len() > NODE_WORDS) {
            parts.push(start..index);
            (start, size) = (index, 0);
        }
        size += piece.words.len();
    }
    if start < pieces.len() {
        parts.push(start..pieces.len());
    }
    parts
}

struct Editor<'e, 'w, 'a, 'f, 'v> {
    blocks: Blocks<'w, 'a>,
    items: &'e [Item<'f>],
    with_values: bool,
    decide: Decide<'e, 'v>,
    plan: Plan,
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
    with_plan(|plan| {
        let mut editor = Editor { blocks: Blocks::new(writer), items, with_values, decide, plan };
        (editor.tree(root), editor.plan)
    })
}

impl Editor<'_, '_, '_, '_, '_> {
    /// The tree afterwards.
    fn tree(&mut self, root: Option<BlockRef>) -> Result<Edited, Stop> {
        let all = 0..self.items.len();
        let children = match root {
            Some(root) => self.node(root, all, MAX_DEPTH)?,
            None => self.leaf(None, all)?,
        };
        let Some(mut children) = children else {
            return Ok(Edited::Same);
        };
        while children.len() > 1 {
            children = Children::Many(self.inner_nodes(&children)?);
        }
        match children.first() {
            Some(&root) => self.lower(root),
            None => Ok(Edited::Empty),
        }
    }

    /// What stands in the place of a node afterwards; `None` if it stays.
    fn node(&mut self, block: BlockRef, items: Range<usize>, depth: usize) -> Result<Option<Children>, Stop> {
        let depth = depth.checked_sub(1).ok_or(Stop::Torn)?;
        let segment = self.blocks.writer.segment();
        let node = Node::at(segment, block)?;
        let changed = if node.kind == LEAF { self.leaf(Some(&node), items)? } else { self.inner(&node, items, depth)? };
        if changed.is_some() {
            self.blocks.drop_old(block, Form::Plain).map_err(Stop::Refused)?;
        }
        Ok(changed)
    }

    fn inner(&mut self, node: &Node<'_>, items: Range<usize>, depth: usize) -> Result<Option<Children>, Stop> {
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
                Some(replaced) => children.extend_from_slice(&replaced),
                None => children.push(Child { first, fields, block }),
            }
            start = end;
        }
        if !changed {
            return Ok(None);
        }
        let nodes = if children.is_empty() { children } else { self.inner_nodes(&children)? };
        Ok(Some(Children::Many(nodes)))
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

    fn leaf(&mut self, node: Option<&Node<'_>>, items: Range<usize>) -> Result<Option<Children>, Stop> {
        self.plan.cuts.clear();
        self.plan.fresh.clear();
        let (mut at, mut left) = (0, node.map_or(0, |node| node.count));
        let entry = |at: usize, left: usize| match node {
            Some(node) if left > 0 => node.entry(at).map(Some),
            _ => Ok(None),
        };
        for number in items {
            let Item { hash, field, .. } = self.items[number];
            while let Some(before) = entry(at, left)?.filter(|entry| entry.hash < hash) {
                (at, left) = (at + before.len_words(), left - 1);
            }
            // Those that share the hash, which hardly ever are more than one.
            let (mut there, mut rest, mut found) = (at, left, None);
            while let Some(same) = entry(there, rest)?.filter(|entry| entry.hash == hash) {
                if same.is(self.blocks.segment(), field) {
                    found = Some(same);
                    break;
                }
                (there, rest) = (there + same.len_words(), rest - 1);
            }
            self.item(number, if found.is_some() { there } else { at }, found)?;
        }
        if self.plan.cuts.is_empty() {
            return Ok(None);
        }
        // Among those of one hash a later item may stand before an earlier one.
        self.plan.cuts.sort_by_key(|cut| cut.at);
        let old = node.map_or(&[][..], |node| node.words);
        self.leaves(old, self.plan.size(old.len(), node.map_or(0, |node| node.count))).map(Some)
    }

    /// Writes the leaf that the plan makes of the old one's words, of so many words and entries; or several, if it is too full.
    fn leaves(&mut self, old: &[AtomicU64], (words, count): (usize, usize)) -> Result<Children, Stop> {
        if count == 0 {
            return Ok(Children::One(None));
        }
        // Damaged lengths may leave less than that: nobody could read such a leaf.
        if words < count * ENTRY_HEAD {
            return Err(Stop::Torn);
        }
        if words <= NODE_WORDS {
            let (block, target) = self.take_words(LEAF, count, words)?;
            let mut target = target.iter();
            self.plan.each_word(old, |word| {
                if let Some(to) = target.next() {
                    to.store(word, Ordering::Relaxed);
                }
            });
            let first = self.blocks.segment().mem().word(heap::contents_at(block) + 8).load(Ordering::Relaxed);
            return Ok(Children::One(Some(Child { first, fields: count as u64, block })));
        }
        let mut draft = Vec::with_capacity(words);
        self.plan.each_word(old, |word| draft.push(word));
        let pieces = pieces(&draft, count)?;
        let mut written = Vec::new();
        for part in parts(&pieces) {
            let here = &pieces[part];
            let words = &draft[here[0].words.start..here[here.len() - 1].words.end];
            let block = self.write(LEAF, here.len(), words)?;
            written.push(Child { first: here[0].hash, fields: here.len() as u64, block });
        }
        Ok(Children::Many(written))
    }

    /// Plans what becomes of one item, whose entry stands at word `at` of the leaf, or would.
    fn item(&mut self, number: usize, at: usize, entry: Option<Entry<'_>>) -> Result<(), Stop> {
        let Item { hash, field, number } = self.items[number];
        self.plan.value.clear();
        if let Some(entry) = entry.filter(|_| self.with_values) {
            entry.read_value(self.blocks.segment(), &mut self.plan.value)?;
        }
        let start = self.plan.fresh.len();
        match ((self.decide)(number, entry.map(|_| &self.plan.value[..])), entry) {
            (FieldChange::Set(value), _) => self.piece(hash, field, &value)?,
            (FieldChange::Remove, Some(_)) => {}
            (FieldChange::Refuse, _) => return Err(Stop::Decided),
            (FieldChange::Leave, _) | (FieldChange::Remove, None) => return Ok(()),
        }
        let len = entry.map_or(0, |entry| entry.len_words());
        self.plan.cuts.push(Cut { at, len, fresh: start..self.plan.fresh.len() });
        match entry.and_then(|entry| entry.block()) {
            Some((block, form)) => self.blocks.drop_old(block, form).map_err(Stop::Refused),
            None => Ok(()),
        }
    }

    /// Puts a new entry behind the fresh words.
    fn piece(&mut self, hash: u64, field: &[u8], value: &[u8]) -> Result<(), Stop> {
        let len = field.len() + value.len();
        let external = len > SHORT;
        let fresh = &mut self.plan.fresh;
        fresh.extend([hash, lens(field.len(), value.len(), external)]);
        if external {
            let block = self.blocks.take(len).map_err(Stop::Refused)?;
            heap::write_formed(self.blocks.segment(), block, &[field, value].concat());
            fresh.push(block.0);
        } else {
            let start = fresh.len();
            fresh.resize(start + len.div_ceil(8), 0);
            let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut fresh[start..]);
            bytes[..field.len()].copy_from_slice(field);
            bytes[field.len()..len].copy_from_slice(value);
        }
        Ok(())
    }

    fn write(&mut self, kind: u64, count: usize, words: &[u64]) -> Result<BlockRef, Stop> {
        let (block, target) = self.take_words(kind, count, words.len())?;
        target.iter().zip(words).for_each(|(word, &value)| word.store(value, Ordering::Relaxed));
        Ok(block)
    }

    /// Takes a block for a node and writes its head; the words for its entries.
    #[inline]
    fn take_words<'s>(&mut self, kind: u64, count: usize, words: usize) -> Result<(BlockRef, &'s [AtomicU64]), Stop>
    where
        Self: 's,
    {
        let bytes = 8 * (words + 1);
        if bytes > MAX_CONTENTS {
            return Err(Stop::Torn);
        }
        let block = self.blocks.take_node(bytes).map_err(Stop::Refused)?;
        let target = heap::contents(self.blocks.segment(), block, bytes).ok_or(Stop::Torn)?;
        target[0].store(head(kind, count, words), Ordering::Relaxed);
        Ok((block, &target[1..]))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{super::Fields, *};
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

    /// Goes on after an edit as after its commit: what is new stays, what is old goes.
    fn settle(segment: &Segment, writer: &Writer<'_>) {
        heap::free_old(segment, writer.slot());
        writer.slot().journal.new_len.store(0, Ordering::Relaxed);
        writer.slot().journal.old_len.store(0, Ordering::Relaxed);
    }

    /// Fields of three hashes only, so that many share one: set, removed and left in one change, in any order, against a map.
    #[test]
    fn fields_that_share_a_hash_are_told_apart() {
        let segment = Segment::create(SegmentOptions::new().memory(32 << 20).max_keys(512)).unwrap();
        let names: Vec<Vec<u8>> = (0..45_usize).map(|n| vec![b'a' + (n % 26) as u8; 1 + n]).collect();
        let (mut root, mut map, mut state) = (None, BTreeMap::new(), 1_u64);
        let mut dice = |bound: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % bound
        };
        for _ in 0..3000 {
            let mut chosen: Vec<usize> = (0..1 + dice(5)).map(|_| dice(45) as usize).collect();
            chosen.dedup();
            let mut changes: Vec<(usize, Option<Vec<u8>>)> = Vec::new();
            for name in chosen {
                if changes.iter().all(|(other, _)| *other != name) {
                    let value = (dice(3) > 0).then(|| vec![b'v'; dice(60) as usize]);
                    changes.push((name, value));
                }
            }
            let item = |(number, (name, _)): (usize, &(usize, _))| Item {
                hash: *name as u64 % 3,
                field: &names[*name],
                number,
            };
            let mut items: Vec<Item<'_>> = changes.iter().enumerate().map(item).collect();
            items.sort_by_key(|item| item.hash);
            let writer = Writer::enter(&segment).unwrap();
            let edited = edit(&writer, root, &items, true, &mut |number, value| {
                let (name, wanted) = &changes[number];
                assert_eq!(value.map(<[u8]>::to_vec), map.get(&(*name as u64 % 3, names[*name].clone())).cloned());
                wanted.clone().map_or(FieldChange::Remove, |value| FieldChange::Set(value.into()))
            });
            for (name, value) in changes {
                let place = (name as u64 % 3, names[name].clone());
                match value {
                    Some(value) => drop(map.insert(place, value)),
                    None => drop(map.remove(&place)),
                }
            }
            match edited {
                Ok(Edited::Root(now, len)) => {
                    assert_eq!(len, map.len() as u64);
                    root = Some(now);
                }
                Ok(Edited::Empty) => root = None,
                Ok(Edited::Same) => {}
                Err(_) => panic!("there is room, and nothing is damaged"),
            }
            settle(&segment, &writer);
            let mut found = BTreeMap::new();
            if let Some(root) = root {
                let all = Fields::new(&segment, root, map.len() as u64);
                let note = &mut |hash, field: &[u8], value: &[u8]| {
                    found.insert((hash, field.to_vec()), value.to_vec()).is_none()
                };
                all.each_from(0, note).unwrap();
            }
            assert!(found == map);
        }
        assert!(root.is_some() && map.len() > 10);
    }

    /// What lengths are damaged to say, the leaf that would be left could be read by nobody.
    #[test]
    fn a_leaf_that_would_make_no_sense_is_not_written() {
        let segment = Segment::create(SegmentOptions::new().memory(32 << 20).max_keys(512)).unwrap();
        let writer = Writer::enter(&segment).unwrap();
        let item = |number: usize, field: &'static [u8]| Item { hash: number as u64, field, number };
        let both = [item(0, b"one"), item(1, b"two")];
        let set = &mut |_: usize, _: Option<&[u8]>| FieldChange::Set(b"value"[..].into());
        let Ok(Edited::Root(root, 2)) = edit(&writer, None, &both, false, set) else { panic!("there is room") };
        settle(&segment, &writer);
        let words = heap::contents(&segment, root, 8 * 7).unwrap();
        assert_eq!(words[2].load(Ordering::Relaxed), lens(3, 5, false));
        // The first entry spans both.
        words[2].store(lens(3, 21, false), Ordering::Relaxed);
        let removed = edit(&writer, Some(root), &both[..1], false, &mut |_, _| FieldChange::Remove);
        assert!(matches!(removed, Err(Stop::Torn)));
    }
}
