//! Trees of fields: what a hash is, and the way for whatever else has parts that are read and changed one by one.
//!
//! A tree is a copy-on-write B+tree of heap blocks (`shm_layout::fields` says what stands in them), ordered by the seeded hash of a field. A
//! small one is a single packed leaf. Inner nodes count what hangs below them, so that the n-th field is found as fast as a named one.
//! A field and a value that are long together stand in a block, or in chunks, of their own.
//!
//! **A change never writes into a node that somebody can see.** It copies the nodes on the way to the changed fields (see [`edit`]), and the
//! record's intent then replaces the root, in one word, together with the count. So
//!
//! * a death before the commit leaves the old tree, whole; what was taken for the new one is listed in the journal and given back;
//! * a death after it leaves the new tree, whole; the nodes that it replaced are listed as old and are freed by the redo;
//! * a reader who has read the root sees one state of all fields, for as long as the record's sequence stays what it was. When it has
//!   changed, blocks on the way may have been freed and used again for anything: all that is read here is an allegation, every
//!   length and reference is checked against its block or the arena, every walk is bounded, and what makes no sense is [`Torn`].
//!
//! All leaves are equally deep, so that nobody can drive the depth up by choosing where to write: an inner node keeps its place even with a single child,
//! and only a root is replaced by its only child. Nodes are as large as their contents. An emptied node goes, and nodes are never
//! merged otherwise: a thin node costs little, because its block is small.
//!
//! Cost: O(log n) nodes for a field, read or changed; a node is at most 1 KiB.

pub(super) mod edit;

use std::sync::atomic::{AtomicU64, Ordering};

use shm_layout::{
    fields::{CHILD_WORDS, ENTRY_HEAD, EXTERNAL, INNER, LEAF, LEN, count, kind, words},
    heap::{BlockRef, MAX_CONTENTS},
};

use super::{
    heap::{self, Form},
    mem::append,
    segment::Segment,
    space::equal,
};

/// Nodes from the root to a leaf, at most: with the thinnest nodes that a split leaves, more fields than fit into a segment.
pub(crate) const MAX_DEPTH: usize = 16;
/// The database under whose number fields are hashed: there is no such one.
const FIELD_HASH: u8 = u8::MAX;

/// What was read makes no sense: it is being changed, or it is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Torn;

type Read<T> = Result<T, Torn>;
/// Is shown a hash, a field and a value; says whether to go on.
pub(super) type Visit<'v> = &'v mut dyn FnMut(u64, &[u8], &[u8]) -> bool;

/// The hash of a field, by which a tree is ordered.
pub(crate) fn hash_of(segment: &Segment, field: &[u8]) -> u64 {
    segment.hash(field, FIELD_HASH)
}

/// A node whose lengths were checked.
struct Node<'a> {
    kind: u64,
    count: usize,
    words: &'a [AtomicU64],
}

impl<'a> Node<'a> {
    fn at(segment: &'a Segment, block: BlockRef) -> Read<Self> {
        let head = heap::contents(segment, block, 8).ok_or(Torn)?[0].load(Ordering::Acquire);
        let len = words(head);
        if len >= MAX_CONTENTS / 8 {
            return Err(Torn);
        }
        let words = heap::contents(segment, block, 8 * (len + 1)).ok_or(Torn)?;
        let (kind, count) = (kind(head), count(head));
        let sane = match kind {
            LEAF => count * ENTRY_HEAD <= len,
            INNER => count * CHILD_WORDS == len,
            _ => false,
        };
        if sane && count > 0 { Ok(Self { kind, count, words: &words[1..] }) } else { Err(Torn) }
    }

    fn word(&self, at: usize) -> u64 {
        self.words[at].load(Ordering::Relaxed)
    }

    /// Child `index` of an inner node: the least hash below it, how many fields, its block.
    fn child(&self, index: usize) -> (u64, u64, BlockRef) {
        let at = index * CHILD_WORDS;
        (self.word(at), self.word(at + 1), BlockRef(self.word(at + 2)))
    }

    /// The child below which a hash is: the last that does not begin behind it.
    fn child_for(&self, hash: u64) -> usize {
        let (mut low, mut high) = (1, self.count);
        while low < high {
            let middle = usize::midpoint(low, high);
            if self.child(middle).0 <= hash { low = middle + 1 } else { high = middle }
        }
        low - 1
    }

    /// The entry of a leaf that starts at word `at`.
    fn entry(&self, at: usize) -> Read<Entry<'a>> {
        let bytes = self.words.get(at + ENTRY_HEAD..).ok_or(Torn)?;
        let lens = self.word(at + 1);
        let (field, value) = ((lens & LEN) as usize, (lens >> 32) as usize);
        let words = bytes.get(..body_words(lens)).ok_or(Torn)?;
        Ok(Entry { hash: self.word(at), field, value, external: lens & EXTERNAL != 0, words })
    }

    /// Calls `with` for each entry of a leaf until it answers false; whether it never did.
    fn each(&self, with: &mut dyn FnMut(Entry<'a>) -> Read<bool>) -> Read<bool> {
        let mut at = 0;
        for _ in 0..self.count {
            let entry = self.entry(at)?;
            at += entry.len_words();
            if !with(entry)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// Words of an entry's bytes, by its lengths.
fn body_words(lens: u64) -> usize {
    let bytes = (lens & LEN) + (lens >> 32);
    if lens & EXTERNAL != 0 { 1 } else { bytes.div_ceil(8) as usize }
}

/// One field and its value.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    hash: u64,
    field: usize,
    value: usize,
    external: bool,
    words: &'a [AtomicU64],
}

impl Entry<'_> {
    fn len_words(&self) -> usize {
        ENTRY_HEAD + self.words.len()
    }

    /// The block of its own, if it has one.
    fn block(&self) -> Option<(BlockRef, Form)> {
        let block = || BlockRef(self.words[0].load(Ordering::Relaxed));
        self.external.then(|| (block(), Form::of_len(self.field + self.value)))
    }

    /// Bytes of the value.
    pub(crate) fn value_len(&self) -> usize {
        self.value
    }

    /// Whether it is this field.
    fn is(&self, segment: &Segment, field: &[u8]) -> bool {
        self.field == field.len()
            && match self.block() {
                None => equal(self.words, field),
                Some((block, Form::Chunks)) => heap::chunks_begin_with(segment, block, field),
                Some((block, _)) => {
                    heap::contents(segment, block, field.len()).is_some_and(|words| equal(words, field))
                }
            }
    }

    /// Appends the field and then the value to `out`.
    fn read_both(&self, segment: &Segment, out: &mut Vec<u8>) -> Read<()> {
        let len = self.field + self.value;
        match self.block() {
            Some((block, form)) => heap::read_formed(segment, block, form, len, out).then_some(()).ok_or(Torn),
            None => {
                append(self.words, len, out);
                Ok(())
            }
        }
    }

    /// Appends the field to `out`.
    pub(crate) fn read_field(&self, segment: &Segment, out: &mut Vec<u8>) -> Read<()> {
        if let Some((block, form)) = self.block() {
            return heap::read_formed(segment, block, form, self.field, out).then_some(()).ok_or(Torn);
        }
        let end = out.len() + self.field;
        self.read_both(segment, out)?;
        out.truncate(end);
        Ok(())
    }

    /// Appends the value to `out`.
    pub(crate) fn read_value(&self, segment: &Segment, out: &mut Vec<u8>) -> Read<()> {
        let start = out.len();
        self.read_both(segment, out)?;
        out.drain(start..start + self.field);
        Ok(())
    }
}

/// The blocks that a node names, and what each is. Those of a node that makes no sense are not named.
pub(crate) fn each_part(segment: &Segment, block: BlockRef, with: &mut dyn FnMut(BlockRef, Form)) {
    let Ok(node) = Node::at(segment, block) else { return };
    if node.kind == INNER {
        (0..node.count).for_each(|index| with(node.child(index).2, Form::Fields));
        return;
    }
    // An entry that makes no sense hides those behind it.
    let _ = node.each(&mut |entry| {
        if let Some((block, form)) = entry.block() {
            with(block, form);
        }
        Ok(true)
    });
}

/// What a walk may still meet.
struct Budget {
    nodes: u64,
    fields: u64,
}

/// A tree, as its record names it.
#[derive(Clone, Copy)]
pub struct Fields<'a> {
    segment: &'a Segment,
    root: BlockRef,
    len: u64,
}

impl<'a> Fields<'a> {
    pub(crate) fn new(segment: &'a Segment, root: BlockRef, len: u64) -> Self {
        Self { segment, root, len }
    }

    /// How many fields there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether there are at most so many fields, and none of them and of their values has more than so many bytes.
    ///
    /// # Errors
    ///
    /// [`Torn`], as for all of them: look again.
    pub fn is_small(&self, fields: u64, bytes: usize) -> Read<bool> {
        let mut small = |entry: Entry<'_>| Ok(entry.field <= bytes && entry.value <= bytes);
        Ok(self.len <= fields && self.each_below(self.root, 0, MAX_DEPTH, &mut self.budget(), &mut small)?)
    }

    /// What a walk may meet: a sound tree has no more. The count may be damaged.
    fn budget(&self) -> Budget {
        let most = heap::most_blocks(self.segment);
        let nodes = self.len.saturating_mul(MAX_DEPTH as u64).saturating_add(MAX_DEPTH as u64);
        // An entry takes no less than a block.
        Budget { nodes: nodes.min(most), fields: self.len.min(most) }
    }

    /// Appends the value of a field to `out`, if that is given; its length, `None` if there is no such field.
    ///
    /// # Errors
    ///
    /// [`Torn`].
    pub fn get(&self, field: &[u8], out: Option<&mut Vec<u8>>) -> Read<Option<usize>> {
        let Some(entry) = find(self.segment, self.root, hash_of(self.segment, field), field)? else {
            return Ok(None);
        };
        if let Some(out) = out {
            entry.read_value(self.segment, out)?;
        }
        Ok(Some(entry.value_len()))
    }

    /// Appends the `index`-th field, in the order of the tree, and its value, if that is asked for; false if there are fewer.
    ///
    /// # Errors
    ///
    /// [`Torn`].
    pub fn nth(&self, mut index: u64, field: &mut Vec<u8>, mut value: Option<&mut Vec<u8>>) -> Read<bool> {
        let mut block = self.root;
        for _ in 0..MAX_DEPTH {
            let node = Node::at(self.segment, block)?;
            if node.kind == LEAF {
                let mut found = false;
                node.each(&mut |entry| {
                    found = index == 0;
                    if found {
                        entry.read_field(self.segment, field)?;
                        if let Some(value) = &mut value {
                            entry.read_value(self.segment, value)?;
                        }
                    }
                    index = index.wrapping_sub(1);
                    Ok(!found)
                })?;
                return Ok(found);
            }
            let below = (0..node.count).map(|at| node.child(at)).find(|&(_, count, _)| {
                let here = index < count;
                index -= if here { 0 } else { count };
                here
            });
            match below {
                Some((.., child)) => block = child,
                None => return Ok(false),
            }
        }
        Err(Torn)
    }

    /// Calls `with` for the fields in the order of their hashes, from `hash` on, until it answers false: with the hash, the field, and
    /// the value. Fields of one hash are never parted by an answer.
    ///
    /// # Errors
    ///
    /// [`Torn`].
    pub fn each_from(&self, hash: u64, with: Visit<'_>) -> Read<()> {
        let mut bytes = Vec::new();
        let mut visit = |entry: Entry<'_>| {
            if entry.hash < hash {
                return Ok(true);
            }
            bytes.clear();
            entry.read_both(self.segment, &mut bytes)?;
            let (field, value) = bytes.split_at(entry.field);
            Ok(with(entry.hash, field, value))
        };
        self.each_below(self.root, hash, MAX_DEPTH, &mut self.budget(), &mut visit).map(drop)
    }

    fn each_below(
        &self,
        block: BlockRef,
        hash: u64,
        depth: usize,
        budget: &mut Budget,
        with: &mut dyn FnMut(Entry<'a>) -> Read<bool>,
    ) -> Read<bool> {
        budget.nodes = budget.nodes.checked_sub(1).ok_or(Torn)?;
        let node = Node::at(self.segment, block)?;
        if node.kind == LEAF {
            budget.fields = budget.fields.checked_sub(node.count as u64).ok_or(Torn)?;
            return node.each(with);
        }
        for index in node.child_for(hash)..node.count {
            let depth = depth.checked_sub(1).ok_or(Torn)?;
            if !self.each_below(node.child(index).2, hash, depth, budget, with)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn find<'a>(segment: &'a Segment, root: BlockRef, hash: u64, field: &[u8]) -> Read<Option<Entry<'a>>> {
    let mut block = root;
    for _ in 0..MAX_DEPTH {
        let node = Node::at(segment, block)?;
        if node.kind == INNER {
            block = node.child(node.child_for(hash)).2;
            continue;
        }
        let mut found = None;
        node.each(&mut |entry| {
            if entry.hash == hash && entry.is(segment, field) {
                found = Some(entry);
            }
            Ok(found.is_none() && entry.hash <= hash)
        })?;
        return Ok(found);
    }
    Err(Torn)
}

/// What a check says of a node: its own entries, its least hash, and the fields below it.
pub(crate) struct Checked {
    /// Fields in it and below it, as it says.
    pub(crate) fields: u64,
    /// Bytes of the node.
    pub(crate) bytes: u64,
    /// Whether its hashes are in order, and within what the node above says.
    pub(crate) in_order: bool,
    /// What it names: block, what that is, its bytes, and for a node the fields below it, its least hash and the one behind its last.
    pub(crate) parts: Vec<Part>,
}

/// A block that a node names.
pub(crate) struct Part {
    pub(crate) block: BlockRef,
    pub(crate) form: Form,
    /// Bytes of its contents; 0 for a node.
    pub(crate) len: u64,
    /// Fields below it.
    pub(crate) fields: u64,
    /// The hashes below it.
    pub(crate) hashes: (u64, u64),
}

/// Looks at one node for a check. `hashes` are the least and the greatest that may stand below it.
pub(crate) fn check_node(segment: &Segment, block: BlockRef, hashes: (u64, u64)) -> Option<Checked> {
    let node = Node::at(segment, block).ok()?;
    let bytes = 8 * (node.words.len() as u64 + 1);
    let mut checked = Checked { fields: 0, bytes, in_order: true, parts: Vec::new() };
    if node.kind == INNER {
        for index in 0..node.count {
            let (first, fields, block) = node.child(index);
            let last = if index + 1 < node.count { node.child(index + 1).0.wrapping_sub(1) } else { hashes.1 };
            checked.in_order &= first >= hashes.0 && first <= last;
            checked.fields = checked.fields.wrapping_add(fields);
            checked.parts.push(Part { block, form: Form::Fields, len: 0, fields, hashes: (first, last) });
        }
        return Some(checked);
    }
    let mut least = hashes.0;
    let mut end = 0;
    node.each(&mut |entry| {
        checked.in_order &= entry.hash >= least && entry.hash <= hashes.1;
        least = entry.hash;
        end += entry.len_words();
        if let Some((block, form)) = entry.block() {
            let len = (entry.field + entry.value) as u64;
            checked.parts.push(Part { block, form, len, fields: 0, hashes: (0, 0) });
        }
        let mut field = Vec::new();
        checked.in_order &=
            entry.external || (entry.read_field(segment, &mut field).is_ok() && hash_of(segment, &field) == entry.hash);
        Ok(true)
    })
    .ok()?;
    checked.fields = node.count as u64;
    (end == node.words.len()).then_some(checked)
}
