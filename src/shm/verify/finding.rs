//! What a check reports.

/// Findings that a check keeps; it counts all of them.
const MAX_FINDINGS: usize = 1000;

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal),* $(,)?) => {
        /// What is wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[non_exhaustive]
        pub enum FindingKind { $($(#[$doc])* $kind),* }

        impl FindingKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$kind),*];

            /// A name for programs, which stays.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }
        }
    };
}

kinds! {
    /// The gate's lock names a slot without an owner; nothing else was looked at.
    GateOrphaned = "gate_orphaned",
    /// The gate was marked as closed although nobody held it.
    GateLeftClosed = "gate_left_closed",
    /// A free slot is marked as inside an operation.
    SlotFlagUp = "slot_flag_up",
    /// A slot's intent is not over.
    SlotIntentLeft = "slot_intent_left",
    /// A slot lists blocks of an operation that is not under way.
    SlotBlocksListed = "slot_blocks_listed",
    /// A slot's transaction is not over, or has left a log.
    SlotTransactionLeft = "slot_transaction_left",
    /// A slot names a lock that it cannot hold.
    SlotLockNamed = "slot_lock_named",
    /// A slot is noted to be claiming a page or the region of a table.
    SlotClaimLeft = "slot_claim_left",
    /// The directory's lock is held.
    DirectoryLocked = "directory_locked",
    /// The entry of a table makes no sense.
    TableDamaged = "table_damaged",
    /// The name of a table is not one.
    TableNameDamaged = "table_name_damaged",
    /// Two tables have one name.
    TableNameTwice = "table_name_twice",
    /// The regions of two tables overlap.
    TablesOverlap = "tables_overlap",
    /// Units of the arena are taken by no table.
    UnitsLeaked = "units_leaked",
    /// Units that a table lies in are not taken.
    UnitsMissing = "units_missing",
    /// What is noted of a page makes no sense.
    PageDamaged = "page_damaged",
    /// A page is still being claimed.
    PageClaimed = "page_claimed",
    /// A page of records belongs to no run of records.
    RecordsLeaked = "records_leaked",
    /// A run of records names a page that is not its own.
    RecordsMisplaced = "records_misplaced",
    /// Scans would not come to some pages of records.
    RecordsUnscanned = "records_unscanned",
    /// A group of an index is locked.
    GroupLocked = "group_locked",
    /// An index names a row that does not exist.
    IndexNamesNothing = "index_names_nothing",
    /// An index names a row that is free.
    IndexNamesFree = "index_names_free",
    /// An index names a row twice.
    RowNamedTwice = "row_named_twice",
    /// A live row is not in the index.
    RowNotIndexed = "row_not_indexed",
    /// The tag of a place is not that of its row's key.
    TagWrong = "tag_wrong",
    /// A free place has a tag.
    TagLeft = "tag_left",
    /// Fewer keys are counted to have passed a group than did: searches end too early.
    OverflowLow = "overflow_low",
    /// Two rows have one key.
    KeyTwice = "key_twice",
    /// So many keys stand so far from their groups that not all were compared.
    IndexScattered = "index_scattered",
    /// A row is locked.
    RowLocked = "row_locked",
    /// No row ever comes to such a sequence.
    RowSequenceWild = "row_sequence_wild",
    /// Key length or flags of a row make no sense.
    RowMetaDamaged = "row_meta_damaged",
    /// A free row that nobody would find.
    FreeRowLost = "free_row_lost",
    /// A row can expire, and its space is not noted to have such rows.
    ExpiryUnnoted = "expiry_unnoted",
    /// A count is not that of the rows.
    CountWrong = "count_wrong",
    /// The length of a value is not one that its encoding or its block can have.
    ValueLengthWrong = "value_length_wrong",
    /// A directory of chunks does not have as many as the value needs.
    ChunksWrong = "chunks_wrong",
    /// A node of a tree of fields makes no sense, or its fields are not where they would be looked for.
    FieldsDamaged = "fields_damaged",
    /// A tree has not as many fields as is counted above it.
    FieldCountWrong = "field_count_wrong",
    /// A record names a block where there is none.
    BlockNowhere = "block_nowhere",
    /// A record names a block that is free, or somebody else's by now.
    BlockNotInUse = "block_not_in_use",
    /// Two records name one block.
    BlockShared = "block_shared",
    /// A block is in use and no record names it.
    BlockLeaked = "block_leaked",
    /// A free block that nobody would find or could take.
    FreeBlockLost = "free_block_lost",
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Finding {
    /// What.
    pub kind: FindingKind,
    /// Where: `gate`, `slots`, `directory`, `arena`, `counters`, `keys`, or `table` and its name.
    pub place: String,
    /// The row, group, page, slot or entry there that the text speaks of.
    pub number: Option<u64>,
    /// A sentence for people.
    pub text: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): {}", self.place, self.kind.name(), self.text)
    }
}

/// What a check came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Verification {
    /// What is wrong; the first thousand.
    pub findings: Vec<Finding>,
    /// How many findings there were.
    pub found: u64,
    /// Live rows of all tables, without those that the program keeps for itself.
    pub rows: u64,
    /// Live keys of the key-value space.
    pub keys: u64,
    /// Live counters.
    pub counters: u64,
    /// Tables, without those that the program keeps for itself.
    pub tables: u64,
    /// Blocks in use.
    pub blocks: u64,
    /// Pages of the arena that are in use.
    pub pages: u64,
    /// Slots of dead owners that were recovered for the check.
    pub recovered: u64,
    /// Groups whose overflow count is higher than it need be: searches look further than they must. No damage.
    pub overflow_high: u64,
    /// Pages whose free blocks are found again only when memory runs short. No damage.
    pub hidden_pages: u64,
}

impl Verification {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.found == 0
    }

    pub(super) fn add(&mut self, finding: impl FnOnce() -> Finding) {
        self.found += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding());
        }
    }
}
