//! The header of a segment, and the geometry of all its regions.

use core::sync::atomic::{AtomicU32, AtomicU64};

use crate::{
    bus,
    check::layout,
    directory, eviction, heap, index, interest, keys,
    limits::{EXTRA_SLOTS, MAX_COUNTER_NAME_BYTES},
    round_up, slot, stats, table, tally,
};

/// The first word of a segment.
pub const MAGIC: u64 = u64::from_le_bytes(*b"stormstr");
/// Goes up with every change of a layout or of the meaning of a word.
pub const VERSION: u32 = 4;
/// `rapidhash` v3.
pub const HASH_RAPID_V3: u32 = 1;
/// Bytes of the header.
pub const HEADER_BYTES: u64 = 4096;

/// The states of a segment's life.
pub mod state {
    /// It is being made: nobody but its maker may look.
    pub const MAKING: u32 = 0;
    /// It may be used.
    pub const READY: u32 = 1;
}

/// The values of `gate_fenced`.
pub mod fenced {
    /// The closer does, by a barrier in every process.
    pub const CLOSER: u32 = 0;
    /// Both do: not every writer need have heard of it yet.
    pub const BOTH: u32 = 1;
    /// The writer does, by a fence of its own.
    pub const WRITER: u32 = 2;
}

/// The header. Everything up to `started_ms` is written once, by the maker.
#[repr(C, align(128))]
pub struct Header {
    /// [`MAGIC`].
    pub magic: AtomicU64,
    /// [`VERSION`].
    pub version: AtomicU32,
    /// One of [`state`].
    pub state: AtomicU32,
    /// [`Geometry::fingerprint`].
    pub fingerprint: AtomicU64,
    /// Bytes of the segment.
    pub memory: AtomicU64,
    /// Workers that it was made for.
    pub workers: AtomicU32,
    /// Which hash function.
    pub hash: AtomicU32,
    /// Counters.
    pub counters: AtomicU64,
    /// Keys.
    pub max_keys: AtomicU64,
    /// Seed of the hash.
    pub seed: AtomicU64,
    /// Inode of the PID namespace of the processes that are attached.
    pub pid_namespace: AtomicU64,
    /// Process id of the master.
    pub master: AtomicU64,
    /// When the segment was made, in milliseconds since the epoch.
    pub started_ms: AtomicU64,
    /// Slots that were recovered.
    pub recoveries: AtomicU64,
    /// Goes up when a table is made or dropped.
    pub directory_version: AtomicU64,
    /// Zero.
    pub reserved: [u64; 2],
    /// Odd while the gate is closed and everybody is out.
    pub gate_sequence: AtomicU64,
    /// 1 while somebody closes the gate or has closed it.
    pub gate_closed: AtomicU32,
    /// The lock of the gate.
    pub gate_lock: AtomicU32,
    /// Who makes sure that a writer's flag and a closer's mark meet, see [`fenced`].
    pub gate_fenced: AtomicU32,
    /// Times that the gate was closed since `gate_counted`, about.
    pub gate_closings: AtomicU32,
    /// When counting the closings began, in milliseconds of the Unix clock.
    pub gate_counted: AtomicU64,
    /// No slot with a greater number was ever claimed. It never falls.
    pub slots_claimed: AtomicU32,
    /// Zero.
    pub reserved6: u32,
    /// Zero.
    pub reserved2: [u64; 11],
    /// The lock of the directory.
    pub directory_lock: AtomicU32,
    /// 1 once a key with an expiry was written.
    pub keys_expire: AtomicU32,
    /// Where the next share of the sweep over keys starts.
    pub keys_sweep: AtomicU64,
    /// Pages of records in use.
    pub record_pages: AtomicU64,
    /// Which database of the records each number stands for: 4 bits each, exclusive-or the number.
    pub databases: AtomicU64,
    /// Zero.
    pub reserved3: [u64; 13],
    /// What goes when memory runs short: a [`crate::eviction::Policy`].
    pub policy: AtomicU32,
    /// How much slower each step of a logarithmic count of uses is than the one before.
    pub lfu_log_factor: AtomicU32,
    /// Minutes without use after which a logarithmic count goes down by 1; 0: it does not.
    pub lfu_decay_minutes: AtomicU32,
    /// Zero.
    pub reserved4: u32,
    /// Bytes in use above which keys are evicted; 0: the whole segment.
    pub max_memory: AtomicU64,
    /// Bytes of the units of tables, as they were when somebody looked.
    pub table_bytes: AtomicU64,
    /// [`Header::recoveries`] when the bytes in use were counted anew.
    pub recounted_at: AtomicU64,
    /// Zero.
    pub reserved5: [u64; 11],
    /// Newcomers that were ever taken out of their ring.
    pub newcomers_out: AtomicU64,
    /// Newcomers that were ever put into their ring.
    pub newcomers_in: AtomicU64,
    /// Where the hand goes on.
    pub hand: AtomicU64,
    /// Keys that were evicted.
    pub evicted: AtomicU64,
    /// Keys when the epoch of ghosts began.
    pub resident: AtomicU64,
    /// The epoch of ghosts.
    pub epoch: AtomicU64,
    /// Evicted keys at which it ends.
    pub epoch_end: AtomicU64,
    /// Zero.
    pub tail: [u64; 441],
}

layout!(Header, size 4096, align 128, {
    magic: u64 = 0, version: u32 = 8, state: u32 = 12, fingerprint: u64 = 16, memory: u64 = 24, workers: u32 = 32,
    hash: u32 = 36, counters: u64 = 40, max_keys: u64 = 48, seed: u64 = 56, pid_namespace: u64 = 64, master: u64 = 72,
    started_ms: u64 = 80, recoveries: u64 = 88, directory_version: u64 = 96, reserved: [u64; 2] = 104,
    gate_sequence: u64 = 120, gate_closed: u32 = 128, gate_lock: u32 = 132, gate_fenced: u32 = 136, gate_closings: u32 = 140,
    gate_counted: u64 = 144, slots_claimed: u32 = 152, reserved6: u32 = 156, reserved2: [u64; 11] = 160,
    directory_lock: u32 = 248, keys_expire: u32 = 252, keys_sweep: u64 = 256, record_pages: u64 = 264,
    databases: u64 = 272, reserved3: [u64; 13] = 280, policy: u32 = 384, lfu_log_factor: u32 = 388, lfu_decay_minutes: u32 = 392,
    reserved4: u32 = 396, max_memory: u64 = 400, table_bytes: u64 = 408, recounted_at: u64 = 416,
    reserved5: [u64; 11] = 424, newcomers_out: u64 = 512, newcomers_in: u64 = 520, hand: u64 = 528, evicted: u64 = 536,
    resident: u64 = 544, epoch: u64 = 552, epoch_end: u64 = 560, tail: [u64; 441] = 568,
});

/// What a segment is asked to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Bytes of the segment.
    pub memory: u64,
    /// Workers.
    pub workers: u32,
    /// Counters.
    pub counters: u64,
    /// Keys of the key-value space.
    pub max_keys: u64,
}

/// Where every region of a segment lies. Follows from the [`Request`] alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// What it follows from.
    pub request: Request,
    /// The slots, from number 1 on.
    pub slots_at: u64,
    /// How many.
    pub slots: u32,
    /// Sets of statistics.
    pub stats_at: u64,
    /// Tallies of the workers.
    pub tallies_at: u64,
    /// Who listens to what.
    pub interest_at: u64,
    /// The directory of tables.
    pub directory_at: u64,
    /// The table of counters.
    pub counters_at: u64,
    /// What workers share about messages, then the heads of their rings.
    pub bus_at: u64,
    /// The bytes of the rings.
    pub rings_at: u64,
    /// Bytes of one ring.
    pub ring_bytes: u64,
    /// Groups of the key-value index.
    pub key_groups_at: u64,
    /// How many.
    pub key_groups: u64,
    /// Bitmap of free records.
    pub key_bitmap_at: u64,
    /// Page of each run of records, plus 1.
    pub key_pages_at: u64,
    /// How many runs there can be.
    pub key_pages: u64,
    /// The ring of newcomers.
    pub newcomers_at: u64,
    /// The ghosts.
    pub ghosts_at: u64,
    /// What the arena knows of its pages.
    pub pages_at: u64,
    /// The arena.
    pub arena_at: u64,
    /// Its pages.
    pub arena_pages: u64,
}

/// The shape of the table of counters: one `int` column, and rows that do not share cache lines.
#[must_use]
pub const fn counters_shape(counters: u64) -> table::Shape {
    table::Shape {
        rows: counters,
        key_bytes: MAX_COUNTER_NAME_BYTES as u32,
        fixed_bytes: 8,
        string_bytes: 0,
        schema_bytes: 0,
        row_align: 64,
    }
}

impl Geometry {
    /// Smallest arena that a segment is made with.
    pub const MIN_ARENA: u64 = 1 << 20;

    /// The geometry of a request, or the bytes of memory that it would need at least.
    ///
    /// # Errors
    ///
    /// The least `memory` with which this request fits.
    pub const fn new(request: Request) -> Result<Self, u64> {
        let slots = 2 * request.workers + EXTRA_SLOTS as u32;
        let slots_at = HEADER_BYTES;
        let stats_at = slots_at + slots as u64 * size_of::<slot::Slot>() as u64;
        let stats_bytes = (request.workers as u64 + 1) * stats::SET_BYTES;
        let tallies_at = round_up(stats_at + stats_bytes, 64);
        let interest_at = round_up(tallies_at + request.workers as u64 * tally::SET_BYTES, 64);
        let directory_at = interest_at + size_of::<interest::Interest>() as u64;
        let directory_bytes = (directory::ENTRIES * size_of::<directory::Entry>()) as u64;
        let counters_at = directory_at + directory_bytes;
        let counters_bytes = table::Geometry::new(counters_shape(request.counters)).bytes;
        let bus_at = round_up(counters_at + counters_bytes, 64);
        let heads_bytes = request.workers as u64 * size_of::<bus::Ring>() as u64;
        let rings_at = bus_at + size_of::<bus::Board>() as u64 + heads_bytes;
        let ring_bytes = bus::ring_bytes(request.memory);
        let key_groups = index::groups(request.max_keys);
        let key_groups_at = round_up(rings_at + request.workers as u64 * ring_bytes, 64);
        let key_bitmap_at = key_groups_at + key_groups * index::GROUP_BYTES;
        let key_pages = request.max_keys.div_ceil(keys::PAGE_RECORDS as u64);
        let key_pages_at = key_bitmap_at + index::bitmap_bytes(request.max_keys);
        let newcomers_at = key_pages_at + 4 * key_pages;
        let ghosts_at = round_up(newcomers_at + 4 * eviction::newcomers(request.max_keys), 64);
        let pages_at = round_up(ghosts_at + 4 * eviction::ghosts(request.max_keys), 64);
        let all_pages = request.memory / heap::PAGE_BYTES;
        let arena_at = round_up(pages_at + all_pages * size_of::<heap::Page>() as u64, heap::PAGE_BYTES);
        if request.memory < arena_at + Self::MIN_ARENA {
            return Err(round_up(arena_at + Self::MIN_ARENA, heap::PAGE_BYTES));
        }
        let arena_pages = (request.memory - arena_at) / heap::PAGE_BYTES;
        Ok(Self {
            request,
            slots_at,
            slots,
            stats_at,
            tallies_at,
            interest_at,
            directory_at,
            counters_at,
            bus_at,
            rings_at,
            ring_bytes,
            key_groups_at,
            key_groups,
            key_bitmap_at,
            key_pages_at,
            key_pages,
            newcomers_at,
            ghosts_at,
            pages_at,
            arena_at,
            arena_pages,
        })
    }

    /// A number that changes when a size or an offset changes: sizes of structs and the places of all regions, folded.
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        let parts = [
            VERSION as u64,
            size_of::<slot::Slot>() as u64,
            size_of::<slot::Journal>() as u64,
            size_of::<directory::Entry>() as u64,
            index::GROUP_BYTES,
            keys::RECORD_BYTES,
            heap::PAGE_BYTES,
            table::UNIT_BYTES,
            heap::CLASSES.len() as u64,
            self.slots as u64,
            self.slots_at,
            self.stats_at,
            self.tallies_at,
            self.interest_at,
            self.directory_at,
            self.counters_at,
            size_of::<bus::Ring>() as u64,
            self.bus_at,
            self.rings_at,
            self.ring_bytes,
            self.key_groups_at,
            self.key_bitmap_at,
            self.key_pages_at,
            self.newcomers_at,
            self.ghosts_at,
            self.pages_at,
            self.arena_at,
            self.arena_pages,
        ];
        let mut folded = 0xcbf2_9ce4_8422_2325_u64;
        let mut i = 0;
        while i < parts.len() {
            folded = (folded ^ parts[i]).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
            i += 1;
        }
        folded
    }
}
