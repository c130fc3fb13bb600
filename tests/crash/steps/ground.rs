//! The ground of a case: one small segment, seen as bytes, that is set back to any state in which it ever was.
//!
//! The harness never uses the segment as a store. It maps the bytes, and forks children who use it; what it remembers of a state
//! is the pages that differ from the first one. What differs from run to run is masked: the names of threads and processes, when a key was
//! used, and where the hand of eviction stands, which goes on while there is time.
#![allow(unsafe_code)]

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use memmap2::MmapMut;
use shm_layout::{
    eviction::usage,
    header::{Geometry, Header, Request},
    heap, keys,
    slot::{Slot, alive},
};
use store_master::{Segment, SegmentOptions, Store, Table};

use super::{child, states::State};

pub(super) const PAGE: usize = 4096;
/// Bytes of a segment: what is needed for the fixed regions, and some thirty pages of arena.
const MEMORY: u64 = 4 << 20;
const COUNTERS: u64 = 16;
pub(super) const MAX_KEYS: u64 = 2000;
/// Every segment hashes alike, so that a case is the same in every run.
pub(super) const SEED: u64 = 0x5eed;
const SEED_AT: usize = 56;
/// When a key was used, in each half of a word.
const TIMES_OF_USE: u64 = {
    let half = (usage::SECONDS << usage::SECONDS_SHIFT) as u64;
    half | half << 32
};

/// The pages in which a state differs from the first one.
#[derive(Clone, Default)]
pub(super) struct Image {
    pages: BTreeMap<u32, Vec<u8>>,
    /// Of all pages, without what differs from run to run.
    pub(super) hash: u64,
}

/// How a child sees the store. Made before the fork, so that all children are alike.
pub(super) struct Context {
    pub(super) segment: Segment,
    pub(super) store: Store,
    table: Option<Table>,
    wide: Option<Table>,
}

impl Context {
    pub(super) fn new(segment: &Segment, patience: Option<Duration>) -> Self {
        let store = match patience {
            None => Store::open(segment.clone()),
            Some(patience) => Store::open_timeout(segment.clone(), patience),
        };
        let store = store.expect("this kernel has what writers need");
        let (table, wide) = (store.table("t").ok(), store.table("wide").ok());
        Self { segment: segment.clone(), store, table, wide }
    }

    /// The table that most operations are about.
    pub(super) fn table(&self) -> &Table {
        self.table.as_ref().expect("the state has a table")
    }

    /// The table of rows whose images need a block.
    pub(super) fn wide(&self) -> &Table {
        self.wide.as_ref().expect("the state has a wide table")
    }
}

pub(super) struct Ground {
    segment: Segment,
    bytes: MmapMut,
    base: Vec<u8>,
    pub(super) geometry: Geometry,
}

impl Ground {
    /// A segment in this state, made by a process that has ended since.
    pub(super) fn new(state: &State) -> Self {
        let name = format!("crash-steps-{}", std::process::id());
        let options = || {
            let name = Some(name.clone());
            SegmentOptions::new().memory(MEMORY).counters(COUNTERS).max_keys(MAX_KEYS).name(name).fresh(true)
        };
        child::run("preparing", || {
            drop(Segment::create(options()).expect("a small segment can be made"));
            map(&name)[SEED_AT..SEED_AT + 8].copy_from_slice(&SEED.to_ne_bytes());
            let segment = Segment::attach(&name).expect("it was just made");
            // A thread that ends gives its slot back.
            let prepare = || (state.prepare)(&Store::open(segment.clone()).expect("it has what writers need"));
            std::thread::scope(|scope| scope.spawn(prepare).join().expect("the state can be prepared"));
            String::new()
        })
        .unwrap_or_else(|error| panic!("state '{}': {error}", state.name));
        let segment = Segment::attach(&name).expect("it was just made");
        let bytes = map(&name);
        // From now on nothing is left behind, whatever becomes of the harness.
        let _ = std::fs::remove_file(path(&name));
        let request = Request { memory: MEMORY, workers: 1, counters: COUNTERS, max_keys: MAX_KEYS };
        let geometry = Geometry::new(request).expect("the segment has these sizes");
        let base = bytes.to_vec();
        let ground = Self { segment, bytes, base, geometry };
        (state.check)(&ground);
        ground
    }

    /// The store as children see it.
    pub(super) fn context(&self, patience: Option<Duration>) -> Context {
        Context::new(&self.segment, patience)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the segment lies in the address space of the harness and all children, as the store has it mapped.
    pub(super) fn pages(&self) -> usize {
        self.base.len() / PAGE
    }

    fn base_page(&self, page: usize) -> &[u8] {
        &self.base[page * PAGE..(page + 1) * PAGE]
    }

    /// The state that the segment is in.
    pub(super) fn image(&self) -> Image {
        let mut hasher = DefaultHasher::new();
        let mut pages = BTreeMap::new();
        for (page, bytes) in self.bytes.chunks_exact(PAGE).enumerate() {
            if bytes != self.base_page(page) {
                let words = (page * PAGE..(page + 1) * PAGE).step_by(8);
                let normal: Vec<u64> = words.map(|at| self.masked(at, word(&self.bytes, at))).collect();
                (page, &normal).hash(&mut hasher);
                pages.insert(page as u32, bytes.to_vec());
            }
        }
        Image { pages, hash: hasher.finish() }
    }

    /// Puts the segment into this state.
    pub(super) fn restore(&mut self, image: &Image) {
        for page in 0..self.pages() {
            let at = page * PAGE;
            let wanted = image.pages.get(&(page as u32)).map_or(&self.base[at..at + PAGE], |bytes| bytes);
            if self.bytes[at..at + PAGE] != *wanted {
                self.bytes[at..at + PAGE].copy_from_slice(wanted);
            }
        }
    }

    /// Whether two states of a page are the same but for what differs from run to run.
    pub(super) fn same_page(&self, page: usize, a: &[u8], b: &[u8]) -> bool {
        let places = (0..PAGE).step_by(8);
        a == b || { places }
            .all(|at| self.masked(page * PAGE + at, word(a, at)) == self.masked(page * PAGE + at, word(b, at)))
    }

    /// A word without what differs from run to run.
    fn masked(&self, at: usize, word: u64) -> u64 {
        let geometry = &self.geometry;
        let slots =
            geometry.slots_at as usize..geometry.slots_at as usize + geometry.slots as usize * size_of::<Slot>();
        if slots.contains(&at) && (at - slots.start) % size_of::<Slot>() == std::mem::offset_of!(Slot, alive) {
            // The kernel's marks stay.
            let life = word as u32;
            u64::from(life & (alive::OWNER_DIED | alive::WAITERS)) | u64::from(life & alive::TID != 0)
        } else if at == std::mem::offset_of!(Header, hand) {
            0
        } else if self.is_usage(at) {
            word & !TIMES_OF_USE
        } else {
            word
        }
    }

    /// Whether two usage words stand here, behind the records of their page.
    fn is_usage(&self, at: usize) -> bool {
        let Some(offset) = (at as u64).checked_sub(self.geometry.arena_at) else { return false };
        let within = offset % heap::PAGE_BYTES;
        let descriptor = self.geometry.pages_at + offset / heap::PAGE_BYTES * size_of::<heap::Page>() as u64;
        (keys::USAGE_AT..keys::USAGE_AT + 4 * u64::from(keys::PAGE_RECORDS)).contains(&within)
            && word(&self.bytes, descriptor as usize) as u32 & heap::kind::MASK == heap::kind::RECORDS
    }
}

pub(super) fn word(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

fn path(name: &str) -> String {
    format!("/dev/shm/{name}")
}

fn open(name: &str) -> File {
    OpenOptions::new().read(true).write(true).open(path(name)).expect("the segment is there")
}

fn map(name: &str) -> MmapMut {
    // SAFETY: the file keeps its size, and the harness looks at these bytes only while no child is running.
    unsafe { MmapMut::map_mut(&open(name)) }.expect("the segment can be mapped")
}
