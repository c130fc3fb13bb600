//! A slot: what a writing thread owns. Its name in lock words, the kernel's mark of its death, the locks it holds,
//! the intent of its running operation, and its share of every row count.

use core::sync::atomic::{AtomicI64, AtomicU32, AtomicU64};

use crate::{
    SpaceId,
    check::layout,
    directory,
    limits::{DATABASES, MAX_BATCH_ROWS},
};

/// Lock words that a slot can hold at once: home groups and rows of the largest batch, and a margin for gate and directory.
pub const HELD: usize = 160;
/// Heap blocks that an operation can take or give back: key and value of each row of a batch, and images.
pub const BLOCKS: usize = 144;
/// Entries of a journal: the image of a row of the largest size takes two.
pub const ENTRIES: usize = 2 * MAX_BATCH_ROWS;
/// Words of row images inside the slot; larger ones lie in heap blocks.
pub const IMAGE_WORDS: usize = 512;
/// Count cells: one for each table, one for the counters, keys and expiring keys of each database.
pub const CELLS: usize = directory::ENTRIES + 1 + 2 * DATABASES;

/// The count cell of a table or of the counters.
#[must_use]
pub const fn row_cell(space: SpaceId) -> usize {
    space as usize
}

/// The count cell of a database's keys.
#[must_use]
pub const fn key_cell(db: u8) -> usize {
    directory::ENTRIES + 1 + db as usize
}

/// The count cell of a database's keys that have an expiry.
#[must_use]
pub const fn expiring_cell(db: u8) -> usize {
    directory::ENTRIES + 1 + DATABASES + db as usize
}

/// The bits of `alive`, as the kernel's robust futexes define them.
pub mod alive {
    /// The thread id of the owner.
    pub const TID: u32 = 0x3fff_ffff;
    /// The kernel found the owner dead.
    pub const OWNER_DIED: u32 = 0x4000_0000;
    /// Somebody sleeps on the word.
    pub const WAITERS: u32 = 0x8000_0000;
}

/// The bits of a lock word.
pub mod lock {
    /// The number of the owning slot; 0: free.
    pub const OWNER: u32 = 0xffff;
    /// Somebody sleeps until the owner lets go.
    pub const WAIT: u32 = 0x1_0000;
}

/// The states of a journal.
pub mod journal {
    /// No operation, or one that has decided nothing yet: recovery gives its new blocks back.
    pub const IDLE: u32 = 0;
    /// The operation is decided: recovery carries it out again.
    pub const COMMITTED: u32 = 1;
}

/// The states of a transaction: of several operations of one slot, behind one closing of the gate.
pub mod transaction {
    /// None is under way: the state of a journal speaks of one operation.
    pub const NONE: u32 = 0;
    /// Operations are carried out, and what they change is logged: recovery undoes all of them.
    pub const OPEN: u32 = 1;
    /// The transaction is decided: recovery frees what it has replaced.
    pub const COMMITTED: u32 = 2;
}

/// What a record of a transaction's log says, in the low half of its last word; its length in words is in the high half. Before that word
/// stand three arguments, and before them, for [`WORDS`](undo::WORDS), old words of a row.
pub mod undo {
    /// Row `args[0]` (space in the high half, number in the low one) had these words from number `args[1]` on.
    pub const WORDS: u32 = 1;
    /// Row `args[0]` of hash `args[1]` was changed; `args[2]` is its old meta word and, in the high half, the
    /// [`action`](super::action).
    pub const ROW: u32 = 2;
    /// Count cell `args[0]` of the slot was `args[1]`.
    pub const CELL: u32 = 3;
    /// Block `args[0]` of kind `args[1]` was taken: it goes if the transaction is undone.
    pub const NEW: u32 = 4;
    /// Block `args[0]` of kind `args[1]` goes once the transaction is committed.
    pub const OLD: u32 = 5;
    /// The word that says which database's keys are whose was `args[0]`.
    pub const DATABASES: u32 = 6;
}

/// What a committed journal says.
pub mod op {
    /// Change the rows of the entries.
    pub const ROWS: u32 = 1;
    /// Empty the space `args[0]`. Under the gate.
    pub const CLEAR: u32 = 2;
    /// Drop the table `args[0]`. Under the gate and the directory lock.
    pub const DROP: u32 = 3;
    /// Delete the keys of database `args[0]`, or of all if it is `DATABASES`. Under the gate.
    pub const FLUSH: u32 = 4;
}

/// What a row entry does.
pub mod action {
    /// Change words of a live row.
    pub const UPDATE: u32 = 0;
    /// Fill a free row and put it into the index.
    pub const INSERT: u32 = 1;
    /// Take a row out of the index and free it.
    pub const DELETE: u32 = 2;
}

/// No count cell.
pub const NO_CELL: u32 = u32::MAX;

/// One row of an intent. All values are absolute, so that carrying it out twice is carrying it out once.
#[repr(C)]
pub struct Entry {
    /// The space of the row.
    pub space: AtomicU32,
    /// One of [`action`].
    pub action: AtomicU32,
    /// The row's number.
    pub row: AtomicU32,
    /// The row's new [`meta`](crate::row::Header::meta) word.
    pub meta: AtomicU32,
    /// First word of the row that the image replaces.
    pub image_first: AtomicU32,
    /// Words of the image.
    pub image_words: AtomicU32,
    /// Where the image lies in the segment.
    pub image_at: AtomicU64,
    /// The key's hash: says where the row's place in the index is.
    pub hash: AtomicU64,
    /// The odd sequence of the row while it changes.
    pub begin: AtomicU64,
    /// Count cells of the slot that the operation sets, or [`NO_CELL`].
    pub cells: [AtomicU32; 2],
    /// Their new values.
    pub counts: [AtomicI64; 2],
}

layout!(Entry, size 72, align 8, {
    space: u32 = 0, action: u32 = 4, row: u32 = 8, meta: u32 = 12, image_first: u32 = 16, image_words: u32 = 20,
    image_at: u64 = 24, hash: u64 = 32, begin: u64 = 40, cells: [u32; 2] = 48, counts: [u64; 2] = 56,
});

/// A heap block in a journal.
#[repr(C)]
pub struct BlockEntry {
    /// The block, see [`crate::heap::BlockRef`].
    pub block: AtomicU64,
    /// What the block is: 0 plain; 1 a directory of chunks, 2 a ledger of blocks, 3 a node of a tree of fields, 4 a shelf of ledgers, each
    /// with what goes with it.
    pub tree: AtomicU64,
}

layout!(BlockEntry, size 16, align 8, { block: u64 = 0, tree: u64 = 8 });

/// The intent of a slot's running operation.
#[repr(C)]
pub struct Journal {
    /// One of [`journal`].
    pub state: AtomicU32,
    /// One of [`op`].
    pub op: AtomicU32,
    /// Entries in use; if `args[0]` names a tree, they lie in its chunks.
    pub entries: AtomicU32,
    /// New blocks in use.
    pub new_len: AtomicU32,
    /// Old blocks in use.
    pub old_len: AtomicU32,
    /// One of [`transaction`].
    pub transaction: AtomicU32,
    /// Arguments of an operation that is not about rows.
    pub args: [AtomicU64; 4],
    /// Blocks that the operation takes: given back if it was not committed.
    pub new: [BlockEntry; BLOCKS],
    /// Blocks that the operation gives back once it is committed.
    pub old: [BlockEntry; BLOCKS],
    /// The rows.
    pub entry: [Entry; ENTRIES],
    /// New words of rows.
    pub image: [AtomicU64; IMAGE_WORDS],
}

const JOURNAL_ENTRIES_AT: usize = 56 + 2 * 16 * BLOCKS;
const JOURNAL_IMAGE_AT: usize = JOURNAL_ENTRIES_AT + 72 * ENTRIES;

layout!(Journal, size JOURNAL_IMAGE_AT + 8 * IMAGE_WORDS, align 8, {
    state: u32 = 0, op: u32 = 4, entries: u32 = 8, new_len: u32 = 12, old_len: u32 = 16, transaction: u32 = 20,
    args: [u64; 4] = 24, new: [BlockEntry; BLOCKS] = 56, old: [BlockEntry; BLOCKS] = 56 + 16 * BLOCKS,
    entry: [Entry; ENTRIES] = JOURNAL_ENTRIES_AT, image: [u64; IMAGE_WORDS] = JOURNAL_IMAGE_AT,
});

/// The head of a thread's robust list, as the kernel's `struct robust_list_head` has it. The two addresses
/// in it are the only ones in the segment; nobody but the kernel follows them.
#[repr(C)]
pub struct RobustHead {
    /// Address of the first node, or of this field if there is none.
    pub next: AtomicU64,
    /// From a node to its futex word.
    pub futex_offset: AtomicI64,
    /// Address of a node whose word the kernel also looks at when the thread dies.
    pub pending: AtomicU64,
}

layout!(RobustHead, size 24, align 8, { next: u64 = 0, futex_offset: u64 = 8, pending: u64 = 16 });

/// A slot.
#[repr(C, align(128))]
pub struct Slot {
    /// The robust list of the owning thread.
    pub head: RobustHead,
    /// Its only node: address of the next node.
    pub node: AtomicU64,
    /// The thread id of the owner, with the bits of [`alive`]; 0: the slot is free.
    pub alive: AtomicU32,
    /// Process id of the owner, for people.
    pub pid: AtomicU32,
    /// Rows that this slot has freed: tells a full-table pass that it has to look again.
    pub freed_rows: AtomicU64,
    /// Heap blocks that this slot has freed.
    pub freed_blocks: AtomicU64,
    /// Arena page that the slot is about to claim, plus 1; 0: none.
    pub claim_page: AtomicU32,
    /// Where the page goes if it is for records: its place in the page directory plus 1; 0: a heap page.
    pub claim_place: AtomicU32,
    /// First unit, count of units and directory entry plus 1 of a table region that is being made; 0: none.
    pub claim_units: [AtomicU64; 3],
    /// The newest block of the log of a transaction, see [`crate::heap::BlockRef`]; 0: none.
    pub log: AtomicU64,
    /// Bytes of keys and heap blocks that this slot took, less those that it gave back. A death may leave it wrong by one operation.
    pub bytes: AtomicI64,
    /// Zero.
    pub reserved: [u64; 3],
    /// Up while the owner is inside an operation that writes.
    pub flag: AtomicU32,
    /// Zero.
    pub reserved2: [u32; 31],
    /// Names of the lock words that the owner holds or is about to take, see [`Held`].
    pub held: [AtomicU64; HELD],
    /// The intent.
    pub journal: Journal,
    /// Rows of each space that this slot made, less those that it deleted.
    pub counts: [AtomicI64; CELLS],
    /// Zero.
    pub tail: [u64; TAIL],
}

const COUNTS_AT: usize = 256 + 8 * HELD + JOURNAL_IMAGE_AT + 8 * IMAGE_WORDS;
const TAIL: usize = (128 - (COUNTS_AT + 8 * CELLS) % 128) / 8;

layout!(Slot, size COUNTS_AT + 8 * CELLS + 8 * TAIL, align 128, {
    head: RobustHead = 0, node: u64 = 24, alive: u32 = 32, pid: u32 = 36, freed_rows: u64 = 40, freed_blocks: u64 = 48,
    claim_page: u32 = 56, claim_place: u32 = 60, claim_units: [u64; 3] = 64, log: u64 = 88, bytes: u64 = 96,
    reserved: [u64; 3] = 104, flag: u32 = 128,
    reserved2: [u32; 31] = 132, held: [u64; HELD] = 256, journal: Journal = 256 + 8 * HELD,
    counts: [u64; CELLS] = COUNTS_AT, tail: [u64; TAIL] = COUNTS_AT + 8 * CELLS,
});

/// The name of a lock word in a slot's `held` list: what kind of lock it is, in which space, and its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// A row.
    Row(SpaceId, u32),
    /// A group of an index.
    Group(SpaceId, u32),
    /// The directory of tables.
    Directory,
    /// The gate.
    Gate,
}

impl Held {
    /// The word that stands for it; never 0.
    #[must_use]
    pub const fn encode(self) -> u64 {
        match self {
            Self::Row(space, row) => (1 << 56) | ((space as u64) << 32) | row as u64,
            Self::Group(space, group) => (2 << 56) | ((space as u64) << 32) | group as u64,
            Self::Directory => 3 << 56,
            Self::Gate => 4 << 56,
        }
    }

    /// What a word stands for; `None` if it stands for nothing.
    #[must_use]
    pub const fn decode(word: u64) -> Option<Self> {
        let space = ((word >> 32) as u32) & 0xff_ffff;
        match word >> 56 {
            1 => Some(Self::Row(space, word as u32)),
            2 => Some(Self::Group(space, word as u32)),
            3 => Some(Self::Directory),
            4 => Some(Self::Gate),
            _ => None,
        }
    }
}
