//! The steps of the protocols on single words: what is stored and loaded, in which order, with which orderings.
//!
//! Nothing here waits, maps or makes a system call. The models in `models/` compile these very files over atomics that go
//! through every order of the steps, so each file takes its atomics and its structs from `super`.

pub(super) mod gate;
pub(super) mod lock;
pub(super) mod place;
pub(super) mod ring;
pub(super) mod sequence;

use shm_layout::index::Group;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, compiler_fence, fence};
