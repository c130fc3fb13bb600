//! Whose turn it is: all threads together, or one that is in a transaction.

use std::{
    ops::{Deref, DerefMut},
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

use super::lock;
use crate::store::{Error, Result};

/// Who is at the store.
#[derive(Default)]
struct Present {
    /// The thread in a transaction.
    alone: Option<ThreadId>,
    /// Locks that others hold.
    others: usize,
}

/// The turn.
#[derive(Default)]
pub(super) struct Turn {
    present: Mutex<Present>,
    changed: Condvar,
}

/// A lock of a part of the store, held in one's turn.
pub(super) struct Locked<'a, T> {
    guard: MutexGuard<'a, T>,
    turn: Option<&'a Turn>,
}

/// The turn of one thread alone.
pub(super) struct Alone<'a>(&'a Turn);

impl Turn {
    fn wait<'a>(&self, present: MutexGuard<'a, Present>, over: impl Fn(&Present) -> bool) -> MutexGuard<'a, Present> {
        self.changed.wait_while(present, |present| !over(present)).unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a lock, once no other thread is in a transaction.
    pub(super) fn lock<'a, T>(&'a self, mutex: &'a Mutex<T>) -> Locked<'a, T> {
        let mut present = lock(&self.present);
        let own = present.alone == Some(thread::current().id());
        if !own {
            present = self.wait(present, |present| present.alone.is_none());
            present.others += 1;
        }
        drop(present);
        Locked { guard: lock(mutex), turn: (!own).then_some(self) }
    }

    /// Waits until nobody else is at the store, and keeps them out; `None` if they are already, for this thread.
    pub(super) fn alone(&self) -> Option<Alone<'_>> {
        let present = lock(&self.present);
        let own = thread::current().id();
        if present.alone == Some(own) {
            return None;
        }
        self.wait(present, |present| present.alone.is_none() && present.others == 0).alone = Some(own);
        Some(Alone(self))
    }

    /// Refuses what is not for transactions.
    pub(super) fn check_outside(&self) -> Result<()> {
        let own = lock(&self.present).alone == Some(thread::current().id());
        if own { Err(Error::InTransaction) } else { Ok(()) }
    }
}

impl<T> Deref for Locked<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T> DerefMut for Locked<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

impl<T> Drop for Locked<'_, T> {
    fn drop(&mut self) {
        if let Some(turn) = self.turn {
            lock(&turn.present).others -= 1;
            turn.changed.notify_all();
        }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        lock(&self.0.present).alone = None;
        self.0.changed.notify_all();
    }
}
