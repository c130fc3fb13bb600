//! Eviction: which keys go when memory runs short, and how.
//!
//! A *hand* goes round the numbers of the records; where it stands is one shared number that everybody who evicts adds to. Nothing is
//! linked to anything, so there is nothing that a death could leave torn: a victim is deleted as any key is, with an intent.
//!
//! * `lru`: newcomers have a ring of their own, a tenth of all keys. The oldest of them goes if it was not used since; if it was, it
//!   joins the others. For those the hand takes one use away (at most three are told apart) from each that it meets, and takes the first that has none
//!   left. What comes back soon after it went as a newcomer joins the others at once.
//! * `lfu`: of the next few keys that the hand meets, the one with the lowest count.
//! * `ttl`: of the next few, the one that expires next.
//! * `random`: a record by chance.
//!
//! A victim's lock is only tried for, by one who holds no other: nobody waits for anybody here. Each choice looks at a bounded number of
//! records and then takes the best that it has seen.

mod limit;
mod newcomers;
mod rebalance;

use std::sync::atomic::Ordering;

use shm_layout::{
    KEYS_SPACE,
    eviction::Policy,
    keys::{self, flag},
    row,
    slot::Held,
};

use super::{
    crash::point,
    journal::Intent,
    locks::Writer,
    rows,
    segment::{Refusal, Segment},
    space::Space,
    usage::{self, Judgement},
};
use crate::sys::random;

pub use limit::MemoryUse;
pub(crate) use limit::{Allowance, account, maintain, make_room_below_limit};
pub(crate) use rebalance::rebalance;

/// Records that one choice looks at before it takes the best so far.
const LOOKS: u64 = 4096;
/// Keys among which the one that is used least, or expires next, is chosen.
const WINDOW: usize = 32;
/// One key in so many may be a newcomer.
const NEWCOMERS_SHARE: u64 = 10;
/// Uses with which a newcomer stays.
const USES: u32 = 1;
/// Choices of a victim that may fail in a row before a call gives up: each found nothing, or a key that somebody is at.
const FAILURES: usize = 64;
/// Victims between two looks at the gate.
const TURN: usize = 64;

/// Whether a record that is being made is a newcomer, and its usage word. Its row is locked and free.
pub(crate) fn admit(segment: &Segment, space: &Space, row: u32, hash: u64, now_ms: u64) {
    let is_newcomer =
        usage::policy(segment).is_lru() && !newcomers::recall(segment, hash) && newcomers::push(segment, row);
    usage::begin(segment, space, row, now_ms, is_newcomer);
}

/// A record that can go, as it was when it was chosen.
#[derive(Clone, Copy)]
struct Victim {
    row: u32,
    sequence: u64,
    is_newcomer: bool,
}

/// One who evicts.
struct Evictor<'a> {
    segment: &'a Segment,
    space: Space,
    policy: Policy,
    rows: u64,
    now_ms: u64,
}

impl<'a> Evictor<'a> {
    fn new(segment: &'a Segment, now_ms: u64) -> Self {
        let space = segment.keys_space();
        let pages = segment.header().record_pages.load(Ordering::Acquire).min(segment.geometry().key_pages);
        let rows = (pages * u64::from(keys::PAGE_RECORDS)).min(u64::from(space.rows));
        Self { segment, space, policy: usage::policy(segment), rows, now_ms }
    }

    /// Whether there is anything that may go.
    fn has_prey(&self) -> bool {
        self.rows > 0
            && match self.policy {
                Policy::NoEviction => false,
                policy if policy.is_volatile() => rows::can_expire(self.segment, &self.space) && self.any_expires(),
                _ => true,
            }
    }

    fn any_expires(&self) -> bool {
        let expiring = |db| self.segment.sum_cell(shm_layout::slot::expiring_cell(db));
        (0..shm_layout::limits::DATABASES as u8).any(|db| expiring(db) > 0)
    }

    /// The record under the hand, which moves on.
    fn next_row(&self) -> u32 {
        (self.segment.header().hand.fetch_add(1, Ordering::Relaxed) % self.rows) as u32
    }

    /// A record as a victim, if the policy lets it go; with when it expires.
    fn prey(&self, row: u32) -> Option<(Victim, u64)> {
        let header = self.space.header(self.segment, row)?;
        let sequence = header.sequence.load(Ordering::Acquire);
        let expire_at = header.expire_at.load(Ordering::Relaxed);
        let fits = row::is_live(sequence) && (expire_at != 0 || !self.policy.is_volatile());
        fits.then_some((Victim { row, sequence, is_newcomer: false }, expire_at))
    }

    fn choose(&self) -> Option<Victim> {
        match self.policy {
            Policy::NoEviction => None,
            Policy::AllKeysLru | Policy::VolatileLru => self.choose_unused(),
            Policy::AllKeysLfu | Policy::VolatileLfu => self.choose_least(|row, _| {
                let seen = self.space.usage(self.segment, row).map_or(0, |at| at.load(Ordering::Relaxed));
                let usage = usage::of_word(self.segment, seen, self.now_ms);
                u64::from(usage.frequency) << 32 | (u64::from(u32::MAX) - usage.idle_seconds)
            }),
            Policy::VolatileTtl => self.choose_least(|_, expire_at| expire_at),
            Policy::AllKeysRandom | Policy::VolatileRandom => self.choose_any(),
        }
    }

    fn choose_unused(&self) -> Option<Victim> {
        let share = (self.segment.header().resident.load(Ordering::Relaxed) / NEWCOMERS_SHARE).max(1);
        let mut fallback = None;
        for _ in 0..LOOKS {
            if newcomers::len(self.segment) >= share
                && let Some(popped) = newcomers::pop(self.segment)
            {
                if let Some(victim) = popped.and_then(|row| self.judge_newcomer(row)) {
                    return Some(victim);
                }
                continue;
            }
            let row = self.next_row();
            let Some(at) = self.space.usage(self.segment, row) else { continue };
            if self.policy.is_volatile() && self.prey(row).is_none() {
                continue;
            }
            match usage::pass(at) {
                Judgement::Victim => {
                    if let Some((victim, _)) = self.prey(row) {
                        return Some(victim);
                    }
                }
                Judgement::Spared => fallback = fallback.or(Some(row)),
            }
        }
        self.prey(fallback?).map(|(victim, _)| victim)
    }

    fn judge_newcomer(&self, row: u32) -> Option<Victim> {
        let at = self.space.usage(self.segment, row)?;
        let judgement = usage::graduate(at, USES)?;
        let Some((victim, _)) = self.prey(row) else {
            // Not one that may go; with the others it is passed over.
            usage::graduate(at, 0);
            return None;
        };
        (judgement == Judgement::Victim).then_some(Victim { is_newcomer: true, ..victim })
    }

    fn choose_least(&self, weigh: impl Fn(u32, u64) -> u64) -> Option<Victim> {
        let mut least: Option<(u64, Victim)> = None;
        let mut met = 0;
        for _ in 0..LOOKS.min(self.rows) {
            let row = self.next_row();
            let Some((victim, expire_at)) = self.prey(row) else { continue };
            let weight = weigh(row, expire_at);
            if least.is_none_or(|(other, _)| weight < other) {
                least = Some((weight, victim));
            }
            met += 1;
            if met == WINDOW {
                break;
            }
        }
        least.map(|(_, victim)| victim)
    }

    fn choose_any(&self) -> Option<Victim> {
        for _ in 0..WINDOW {
            let row = (random::quick() % self.rows) as u32;
            if let Some((victim, _)) = self.prey(row) {
                return Some(victim);
            }
        }
        // So few that chance does not hit one: the next from the hand on.
        (0..LOOKS).find_map(|_| self.prey(self.next_row())).map(|(victim, _)| victim)
    }

    /// Deletes a victim, unless it has changed or somebody is at it; whether it did.
    fn evict(&self, writer: &mut Writer<'a>, victim: Victim) -> bool {
        let (segment, space) = (self.segment, &self.space);
        let Some(header) = space.header(segment, victim.row) else {
            return false;
        };
        if !writer.try_lock(Held::Row(KEYS_SPACE, victim.row), &header.lock) {
            return false;
        }
        point("victim-locked");
        let same = header.sequence.load(Ordering::Acquire) == victim.sequence;
        let physical = (row::flags(header.meta.load(Ordering::Relaxed)) & flag::DB) as u8;
        let gone = same.then(|| {
            let mut intent = Intent::new();
            let gone = rows::list_delete(writer, space, victim.row, &mut intent, 0);
            // Refused only in a transaction, whose log has no room.
            intent.carry_out(writer, space).is_ok().then_some(gone)
        });
        writer.unlock_last();
        let Some((db, key)) = gone.flatten() else {
            return false;
        };
        if victim.is_newcomer {
            newcomers::remember(segment, segment.hash(&key, physical));
        }
        newcomers::count_eviction(segment);
        segment.depart(db, key, true);
        true
    }
}

/// Evicts up to `wanted` keys; how many. The calling thread is in no operation that writes.
///
/// # Errors
///
/// [`Refusal::Busy`] if the gate stays closed.
pub(crate) fn evict(segment: &Segment, now_ms: u64, wanted: usize) -> Result<usize, Refusal> {
    let evictor = Evictor::new(segment, now_ms);
    if !evictor.has_prey() {
        return Ok(0);
    }
    let mut writer = Writer::enter(segment)?;
    // So many times in a row nobody is found only if there is nobody: the hand has met every record.
    let round = evictor.rows.div_ceil(LOOKS);
    let (mut evicted, mut failures, mut found_nobody) = (0, 0, 0);
    while evicted < wanted && failures < FAILURES && found_nobody < round {
        let victim = evictor.choose();
        found_nobody = if victim.is_none() { found_nobody + 1 } else { 0 };
        let done = victim.is_some_and(|victim| evictor.evict(&mut writer, victim));
        evicted += usize::from(done);
        failures = if done { 0 } else { failures + 1 };
        if (evicted + failures) % TURN == TURN - 1 && writer.breathe().is_err() {
            break;
        }
    }
    Ok(evicted)
}

/// Evicts those records that are wanted, as far as the policy lets them go; how many.
fn evict_where(segment: &Segment, now_ms: u64, is_wanted: &dyn Fn(&Space, u32) -> bool) -> Result<usize, Refusal> {
    let evictor = Evictor::new(segment, now_ms);
    if !evictor.has_prey() {
        return Ok(0);
    }
    let mut writer = Writer::enter(segment)?;
    let mut evicted = 0;
    for row in 0..evictor.rows as u32 {
        if row % LOOKS as u32 == LOOKS as u32 - 1 {
            writer.breathe()?;
        }
        if let Some((victim, _)) = evictor.prey(row)
            && is_wanted(&evictor.space, row)
        {
            evicted += usize::from(evictor.evict(&mut writer, victim));
        }
    }
    Ok(evicted)
}

/// Whether anything is evicted at all, and there is something that may go.
pub(crate) fn can_evict(segment: &Segment, now_ms: u64) -> bool {
    usage::policy(segment) != Policy::NoEviction && Evictor::new(segment, now_ms).has_prey()
}

#[cfg(test)]
mod tests;
