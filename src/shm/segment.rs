//! The segment: one shared mapping, made or attached, and where everything in it is.
//!
//! An anonymous segment is a sealed `memfd`; a named one is a file in /dev/shm. Both are given all their memory when they are made, so
//! that memory that is not there is an error at the start and never a SIGBUS in the middle of a write.

mod error;
mod file;
#[cfg(test)]
mod on_heap;
mod options;

use std::{
    fs::File,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use memmap2::{MmapOptions, MmapRaw};
use rapidhash::v3::{RapidSecrets, rapidhash_v3_seeded};
use shm_layout::{
    COUNTERS_SPACE, KEYS_SPACE, directory,
    header::{self, Geometry, HASH_RAPID_V3, Header, MAGIC, VERSION},
    heap,
    interest::Interest,
    slot::Slot,
    table, tally,
};

use super::{
    crash::point, departures::Departures, evict::Allowance, heap::CLASS_COUNT, mem::Mem, recovery, space::Space,
    threads, usage,
};
use crate::sys::{self, clock, file::Attachment, membarrier, memory};
use error::failed;
use file::{
    ORPHANS_WAIT, check_geometry, geometry_of, give_memory, lock_as_master, lock_if_left, master_of, open_existing,
    path_of, peek, was_cut_short,
};

pub use error::{Refusal, SegmentError};
pub use options::SegmentOptions;

/// What the process knows of a segment.
struct Inner {
    mem: Mem,
    geometry: Geometry,
    /// Tells segments of this process apart.
    id: u64,
    secrets: RapidSecrets,
    fork_word: &'static AtomicU64,
    keys: Space,
    counters: Space,
    /// Where the search for a free page goes on.
    page_cursor: AtomicU32,
    /// The page, plus 1, from which the last block of each class was taken.
    heap_cursors: [AtomicU32; CLASS_COUNT],
    /// Where the search for a free record goes on.
    keys_cursor: AtomicU32,
    exhausted: Exhausted,
    departures: Departures,
    allowance: Allowance,
    /// Whether reads note that keys were used.
    notes_use: AtomicBool,
    /// Bytes of the last value for which there was no room.
    wanted: AtomicU64,
    name: Option<String>,
    backing: Backing,
}

/// Where the bytes are; kept for as long as they are used.
enum Backing {
    /// In a file, which holds the locks.
    File { file: File, _map: MmapRaw },
    /// In the process's own heap, for tests under tools that watch over it.
    #[cfg(test)]
    Heap(#[expect(dead_code, reason = "it is only kept")] on_heap::Pages),
}

/// A segment. Cheap to clone, usable from any thread and after a fork. The mapping stays while any handle, or any
/// thread that has written through one, is left.
#[derive(Clone)]
pub struct Segment(Arc<Inner>);

/// That there was no room for a key or a value, and when.
#[derive(Default)]
pub(crate) struct Exhausted {
    /// What had been freed until then, plus 1.
    freed: AtomicU64,
    at_ms: AtomicU64,
}

impl Exhausted {
    /// How long the answer stays the same: meanwhile something may expire, or a table may be dropped.
    const MOMENT_MS: u64 = 50;

    /// Whether there was no room a moment ago, and nothing has been freed since.
    pub(crate) fn is_still(&self, freed: u64, now_ms: u64) -> bool {
        self.freed.load(Ordering::Relaxed) == freed.wrapping_add(1)
            && now_ms.saturating_sub(self.at_ms.load(Ordering::Relaxed)) < Self::MOMENT_MS
    }

    /// Notes that there was no room.
    pub(crate) fn note(&self, freed: u64, now_ms: u64) {
        self.freed.store(freed.wrapping_add(1), Ordering::Relaxed);
        self.at_ms.store(now_ms, Ordering::Relaxed);
    }
}

static SEGMENTS: AtomicU64 = AtomicU64::new(1);

impl Segment {
    /// Makes a segment, or attaches as its master to the named one that a former master left behind.
    ///
    /// # Errors
    ///
    /// [`SegmentError`]; an existing segment is left as it was.
    pub fn create(options: SegmentOptions) -> Result<Self, SegmentError> {
        let geometry = options.geometry()?;
        #[cfg(test)]
        if on_heap::is_wanted(&options) {
            return Self::on_heap(geometry);
        }
        let segment = match &options.name {
            None => Self::anonymous(geometry)?,
            Some(name) => Self::named(name, geometry, &options)?,
        };
        segment.admit_process()?;
        if threads::kernel_marks(&segment) != Ok(true) {
            return Err(SegmentError::Unsupported("does not mark the locks of the dead (robust futexes)"));
        }
        // The one that died for the test is not worth mentioning.
        let recovered = recovery::recover_all(&segment);
        segment.header().recoveries.fetch_sub(u64::from(recovered > 0), Ordering::Relaxed);
        Ok(segment)
    }

    /// Registers this process for the barrier of the gate's closers, without which its writers could not be waited for.
    ///
    /// # Errors
    ///
    /// [`SegmentError::Unsupported`] where the kernel, or what confines the process, refuses it.
    pub fn admit_process(&self) -> Result<(), SegmentError> {
        let admitted = membarrier::register().and_then(|()| membarrier::global());
        admitted.map_err(|_| SegmentError::Unsupported("has no memory barrier for all processes (membarrier)"))
    }

    /// Attaches to a named segment that somebody else made.
    ///
    /// # Errors
    ///
    /// [`SegmentError`].
    pub fn attach(name: &str) -> Result<Self, SegmentError> {
        let file = open_existing(name)?;
        let start = Instant::now();
        // A starter holds the lock for the moments in which it recovers.
        while !sys::file::try_attach(&file, Attachment::Shared).map_err(failed("locking the segment"))? {
            if start.elapsed() > ORPHANS_WAIT {
                return Err(SegmentError::InUse { name: name.to_owned(), pid: 0 });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let segment = Self::map_made(file, name)?;
        if segment.header().pid_namespace.load(Ordering::Relaxed) != own_namespace()? {
            return Err(SegmentError::Namespace(name.to_owned()));
        }
        Ok(segment)
    }

    /// Attaches to a named segment in order to check it, with the settings that it was made with. Of one that was left behind this
    /// process is the master while the result lives: it recovers every slot as a starting master does, which are so many, and
    /// no other master can start.
    ///
    /// # Errors
    ///
    /// [`SegmentError`].
    pub fn inspect(name: &str) -> Result<(Self, Option<usize>), SegmentError> {
        let file = open_existing(name)?;
        let (segment, recovered) = if lock_if_left(&file)? {
            let alone = sys::file::try_attach(&file, Attachment::Alone).map_err(failed("locking the segment"))?;
            let segment = Self::map_made(file, name)?;
            let recovered = segment.take_over(name, alone)?;
            segment.share()?;
            (segment, Some(recovered))
        } else {
            (Self::attach(name)?, None)
        };
        segment.admit_process()?;
        Ok((segment, recovered))
    }

    /// Process id of the master, or of the last one.
    #[must_use]
    pub fn master(&self) -> u64 {
        self.header().master.load(Ordering::Acquire)
    }

    /// Maps a segment whose making came to its end, as it says that it is.
    fn map_made(file: File, name: &str) -> Result<Self, SegmentError> {
        let geometry = geometry_of(&file, name)?;
        let segment = Self::map(file, geometry, Some(name))?;
        match segment.header().state.load(Ordering::Acquire) {
            header::state::READY => Ok(segment),
            _ => Err(SegmentError::Foreign(name.to_owned())),
        }
    }

    fn anonymous(geometry: Geometry) -> Result<Self, SegmentError> {
        let bytes = geometry.request.memory;
        let file = sys::file::anonymous("store-master").map_err(failed("making a memfd"))?;
        sys::file::allocate(&file, bytes).map_err(|source| SegmentError::Memory { bytes, source })?;
        sys::file::seal_size(&file).map_err(failed("sealing the memfd"))?;
        Self::made(file, geometry, None)
    }

    fn named(name: &str, geometry: Geometry, options: &SegmentOptions) -> Result<Self, SegmentError> {
        let path = path_of(name)?;
        let file = lock_as_master(name, &path, options.mode)?;
        let alone = sys::file::try_attach(&file, Attachment::Alone).map_err(failed("locking the segment"))?;
        let used = file.metadata().map_err(failed("looking at the segment"))?.len() > 0;
        let remake = !used || options.fresh || was_cut_short(&file);
        if remake && !alone {
            return Err(SegmentError::InUse { name: name.to_owned(), pid: master_of(&file) });
        }
        let segment = if remake {
            give_memory(&file, name, geometry.request.memory)?;
            point("segment-allocated");
            Self::made(file, geometry, Some(name))?
        } else {
            check_geometry(&file, name, geometry)?;
            let segment = Self::map(file, geometry, Some(name))?;
            segment.take_over(name, alone)?;
            segment
        };
        segment.share()?;
        Ok(segment)
    }

    /// Makes a segment of a file of zeros.
    fn made(file: File, geometry: Geometry, name: Option<&str>) -> Result<Self, SegmentError> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|_| SegmentError::Unsupported("has no random numbers"))?;
        let (_map, mem) = peek(&file).ok_or(SegmentError::Unsupported("does not map what it allocated"))?;
        mem.at::<Header>(0).seed.store(u64::from_ne_bytes(seed), Ordering::Relaxed);
        let segment = Self::map(file, geometry, name)?;
        segment.format()?;
        Ok(segment)
    }

    /// Becomes the master of a segment that was left behind; returns how many slots it recovered.
    fn take_over(&self, name: &str, alone: bool) -> Result<usize, SegmentError> {
        let namespace = own_namespace()?;
        let header = self.header();
        let recovered = if alone {
            header.pid_namespace.store(namespace, Ordering::Relaxed);
            recovery::recover_alone(self)
        } else if header.pid_namespace.load(Ordering::Relaxed) != namespace {
            return Err(SegmentError::Namespace(name.to_owned()));
        } else {
            recovery::recover_all(self)
        };
        header.master.store(u64::from(std::process::id()), Ordering::Release);
        Ok(recovered)
    }

    fn map(file: File, geometry: Geometry, name: Option<&str>) -> Result<Self, SegmentError> {
        let bytes = geometry.request.memory;
        let map = MmapOptions::new().len(bytes as usize).map_raw(&file).map_err(failed("mapping the segment"))?;
        keep_out_of_dumps(&map);
        prefer_huge_pages(&map);
        let mem = mem_of(&map).ok_or(SegmentError::Unsupported("maps memory at address 0"))?;
        Self::over(mem, Backing::File { file, _map: map }, geometry, name)
    }

    /// A segment whose bytes are there already.
    fn over(mem: Mem, backing: Backing, geometry: Geometry, name: Option<&str>) -> Result<Self, SegmentError> {
        let fork_word = threads::fork_word().map_err(failed("making a page that a fork wipes"))?;
        let seed = mem.at::<Header>(0).seed.load(Ordering::Relaxed);
        Ok(Self(Arc::new(Inner {
            mem,
            geometry,
            id: SEGMENTS.fetch_add(1, Ordering::Relaxed),
            secrets: RapidSecrets::seed(seed),
            fork_word,
            keys: Space::keys(&geometry),
            counters: Space::table(
                COUNTERS_SPACE,
                geometry.counters_at,
                header::counters_shape(geometry.request.counters),
            ),
            page_cursor: AtomicU32::new(u32::MAX),
            heap_cursors: [const { AtomicU32::new(0) }; CLASS_COUNT],
            keys_cursor: AtomicU32::new(0),
            exhausted: Exhausted::default(),
            departures: Departures::default(),
            allowance: Allowance::default(),
            notes_use: AtomicBool::new(true),
            wanted: AtomicU64::new(0),
            name: name.map(ToOwned::to_owned),
            backing,
        })))
    }

    /// Lets others attach.
    fn share(&self) -> Result<(), SegmentError> {
        match &self.0.backing {
            Backing::File { file, .. } => sys::file::try_attach(file, Attachment::Shared).map(drop),
            #[cfg(test)]
            Backing::Heap(_) => Ok(()),
        }
        .map_err(failed("locking the segment"))
    }

    /// Writes the header of a segment of zeros.
    fn format(&self) -> Result<(), SegmentError> {
        let header = self.header();
        let request = self.0.geometry.request;
        header.version.store(VERSION, Ordering::Relaxed);
        header.fingerprint.store(self.0.geometry.fingerprint(), Ordering::Relaxed);
        header.memory.store(request.memory, Ordering::Relaxed);
        header.workers.store(request.workers, Ordering::Relaxed);
        header.hash.store(HASH_RAPID_V3, Ordering::Relaxed);
        header.counters.store(request.counters, Ordering::Relaxed);
        header.max_keys.store(request.max_keys, Ordering::Relaxed);
        header.pid_namespace.store(own_namespace()?, Ordering::Relaxed);
        header.master.store(u64::from(std::process::id()), Ordering::Relaxed);
        header.started_ms.store(clock::now_ms(), Ordering::Relaxed);
        header.lfu_log_factor.store(usage::LOG_FACTOR, Ordering::Relaxed);
        header.lfu_decay_minutes.store(usage::DECAY_MINUTES, Ordering::Relaxed);
        self.0.counters.set_all_hints(self);
        header.magic.store(MAGIC, Ordering::Relaxed);
        point("segment-filled");
        // Release: whoever finds the segment ready finds all of it.
        header.state.store(header::state::READY, Ordering::Release);
        Ok(())
    }

    /// Recovers every slot whose owner the kernel has found dead; returns how many. Waits for nothing.
    pub fn recover(&self) -> usize {
        recovery::recover_all(self)
    }

    /// Slots that were recovered over the life of the segment.
    #[must_use]
    pub fn recoveries(&self) -> u64 {
        self.header().recoveries.load(Ordering::Relaxed)
    }

    /// The name, unless it is anonymous.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.0.name.as_deref()
    }

    /// Bytes of the segment, and how many of them are in use: by fixed regions, tables, records and heap pages.
    #[must_use]
    pub fn memory(&self) -> (u64, u64) {
        let total = self.0.geometry.request.memory;
        let tail = total - self.0.geometry.arena_at - self.0.geometry.arena_pages * heap::PAGE_BYTES;
        (total, total - super::arena::free_bytes(self) - tail)
    }

    /// Workers that the segment was made for.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.0.geometry.request.workers as usize
    }

    /// Whether this process is in the PID namespace of all who use the segment, as far as it can tell.
    pub(crate) fn is_of_own_namespace(&self) -> bool {
        own_namespace().is_ok_and(|own| own == self.header().pid_namespace.load(Ordering::Relaxed))
    }

    pub(crate) fn mem(&self) -> &Mem {
        &self.0.mem
    }

    pub(crate) fn geometry(&self) -> &Geometry {
        &self.0.geometry
    }

    pub(crate) fn id(&self) -> u64 {
        self.0.id
    }

    pub(crate) fn fork_word(&self) -> &'static AtomicU64 {
        self.0.fork_word
    }

    pub(crate) fn is_last_handle(&self) -> bool {
        self.handles() == 1
    }

    /// Handles of the segment in this process, the notes of threads included.
    pub(crate) fn handles(&self) -> usize {
        Arc::strong_count(&self.0)
    }

    /// Gives `count` handles up that threads held which died without their destructors.
    #[cfg(test)]
    #[allow(unsafe_code)]
    pub(crate) fn forget_handles(&self, count: usize) {
        for _ in 0..count {
            // SAFETY: the handles that the dead threads held were counted, and nobody will drop them.
            unsafe { Arc::decrement_strong_count(Arc::as_ptr(&self.0)) };
        }
    }

    #[inline(always)]
    pub(crate) fn header(&self) -> &Header {
        self.0.mem.at(0)
    }

    pub(crate) fn slots(&self) -> u32 {
        self.0.geometry.slots
    }

    /// Slot `number`, from 1 on.
    #[inline(always)]
    pub(crate) fn slot(&self, number: u32) -> &Slot {
        debug_assert!((1..=self.slots()).contains(&number));
        self.0.mem.at(self.0.geometry.slots_at + u64::from(number - 1) * size_of::<Slot>() as u64)
    }

    /// A slot whose number is an allegation.
    pub(crate) fn slot_checked(&self, number: u32) -> Option<&Slot> {
        (1..=self.slots()).contains(&number).then(|| self.slot(number))
    }

    pub(crate) fn all_slots(&self) -> impl Iterator<Item = &Slot> {
        (1..=self.slots()).map(|number| self.slot(number))
    }

    /// The sum of a count over all slots; a sum below 0 is one in the making.
    pub(crate) fn sum_cell(&self, cell: usize) -> u64 {
        let counts = self.all_slots().map(|slot| slot.counts[cell].load(Ordering::Acquire));
        let sum = counts.fold(0, i64::wrapping_add);
        sum.max(0) as u64
    }

    /// Sets a count to 0 in all slots. Behind the gate.
    pub(crate) fn zero_cell(&self, cell: usize) {
        self.all_slots().for_each(|slot| slot.counts[cell].store(0, Ordering::Release));
    }

    /// The tally of a worker, see [`shm_layout::tally`].
    pub(crate) fn tally(&self, worker: usize) -> &[AtomicU64] {
        assert!(worker < self.workers());
        self.0.mem.slice(self.0.geometry.tallies_at + worker as u64 * tally::SET_BYTES, tally::WORDS)
    }

    /// Who wants to be told of what.
    #[inline(always)]
    pub(crate) fn interest(&self) -> &Interest {
        self.0.mem.at(self.0.geometry.interest_at)
    }

    pub(crate) fn entry(&self, index: usize) -> &directory::Entry {
        debug_assert!(index < directory::ENTRIES);
        self.0.mem.at(self.0.geometry.directory_at + (index * size_of::<directory::Entry>()) as u64)
    }

    pub(crate) fn page(&self, page: u32) -> &heap::Page {
        self.0.mem.at(self.0.geometry.pages_at + u64::from(page) * size_of::<heap::Page>() as u64)
    }

    pub(crate) fn page_at(&self, page: u32) -> u64 {
        self.0.geometry.arena_at + u64::from(page) * heap::PAGE_BYTES
    }

    pub(crate) fn page_cursor(&self) -> &AtomicU32 {
        &self.0.page_cursor
    }

    pub(crate) fn heap_cursor(&self, class: u32) -> &AtomicU32 {
        &self.0.heap_cursors[class as usize]
    }

    pub(crate) fn keys_cursor(&self) -> &AtomicU32 {
        &self.0.keys_cursor
    }

    pub(crate) fn exhausted(&self) -> &Exhausted {
        &self.0.exhausted
    }

    /// What this process has gathered of keys that went.
    pub(crate) fn departures(&self) -> &Departures {
        &self.0.departures
    }

    /// What this process may still take before it looks how much is in use.
    pub(crate) fn allowance(&self) -> &Allowance {
        &self.0.allowance
    }

    /// Whether reads of this process note that keys were used.
    pub(crate) fn notes_use(&self) -> bool {
        self.0.notes_use.load(Ordering::Relaxed)
    }

    /// Says whether reads of this process note that keys were used, as they do at first.
    pub fn note_use(&self, wanted: bool) {
        self.0.notes_use.store(wanted, Ordering::Relaxed);
    }

    /// Bytes of the last value for which there was no room.
    pub(crate) fn wanted(&self) -> &AtomicU64 {
        &self.0.wanted
    }

    pub(crate) fn keys_space(&self) -> Space {
        self.0.keys
    }

    pub(crate) fn counters_space(&self) -> Space {
        self.0.counters
    }

    /// A space by its number; `None` if it is not there (any more).
    pub(crate) fn space(&self, id: u32) -> Option<Space> {
        match id {
            KEYS_SPACE => Some(self.0.keys),
            COUNTERS_SPACE => Some(self.0.counters),
            _ => super::directory::space(self, id as usize),
        }
    }

    /// The hash of a key in database `db` (0 for tables and counters).
    #[inline(always)]
    pub(crate) fn hash(&self, key: &[u8], db: u8) -> u64 {
        rapidhash_v3_seeded(key, &self.0.secrets) ^ u64::from(db).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    /// Whether `bytes` at `at` lie in the arena.
    pub(crate) fn in_arena(&self, at: u64, bytes: u64) -> bool {
        let end = self.page_at(self.0.geometry.arena_pages as u32);
        at >= self.0.geometry.arena_at && at.checked_add(bytes).is_some_and(|last| last <= end)
    }

    /// Bytes of a table's region.
    pub(crate) fn region_bytes(shape: table::Shape) -> u64 {
        table::Geometry::new(shape).bytes
    }
}

#[allow(unsafe_code)]
fn mem_of(map: &MmapRaw) -> Option<Mem> {
    let base = NonNull::new(map.as_mut_ptr())?;
    // SAFETY: the mapping is kept beside the result in `Inner`, and copies of the result are used through a `Segment` only.
    Some(unsafe { Mem::new(base, map.len() as u64) })
}

/// From this size on, what huge pages save is more than what they waste.
const HUGE_FROM: u64 = 32 << 20;

#[allow(unsafe_code)]
fn prefer_huge_pages(map: &MmapRaw) {
    if map.len() as u64 >= HUGE_FROM {
        // A kernel that cannot do it is slower; nothing else depends on it.
        // SAFETY: the range is this mapping.
        let _ = unsafe { memory::prefer_huge_pages(map.as_mut_ptr(), map.len()) };
    }
}

#[allow(unsafe_code)]
fn keep_out_of_dumps(map: &MmapRaw) {
    // A kernel that cannot do it writes longer core files; nothing else depends on it.
    // SAFETY: the range is this mapping.
    let _ = unsafe { memory::dont_dump(map.as_mut_ptr(), map.len()) };
}

fn own_namespace() -> Result<u64, SegmentError> {
    sys::file::pid_namespace().map_err(failed("reading /proc/self/ns/pid"))
}
