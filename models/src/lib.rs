//! The protocols of the segment, run in every order that their steps can take.
//!
//! The files of `src/shm/protocol` are compiled here once more, over the atomics of `loom`: what is explored is the code
//! of the product, every load, store and fence of it. What surrounds that code in the product (where a word lies, how long one waits)
//! is left out or stands beside each model as a few lines, with the name of the function that it stands for.
//!
//! | model | of |
//! |---|---|
//! | `lock` | the lock word, sleeping on the owner, the death of the owner, its recovery, the reuse of its slot |
//! | `sequence` | a row's sequence: readers without a lock, a change of several words, of one word, a death in between |
//! | `publish` | the places of an index group: insertion, deletion, lookup, overflow, a death in between |
//! | `ring` | a ring of messages: readers that are overtaken or start in the middle, a dead writer and its successor; the bell |
//! | `gate` | the writers' flags against a closer, the gate's sequence against readers, a dead closer |
//!
//! **Death** is a thread that simply ends; what the kernel then does to `alive` is done in its name, and somebody else recovers.
//!
//! **Teeth.** Each model is run also with a protocol that is wrong in one place (an ordering weakened, two steps swapped), and must
//! then fail: the steps are functions of a trait whose defaults are the product's, and the wrong one replaces a single step.
//!
//! **What is not the same.** `membarrier`, which is a barrier in other threads' instruction streams, is a `SeqCst` fence on both sides here: in the
//! closer where it calls it, in the writer where the product has a compiler fence. A futex is a mutex and a condition variable. The
//! tool knows no `SeqCst` accesses (it takes them for `AcqRel`), so what passes here does not need them.

#[cfg(test)]
mod gate;
#[cfg(test)]
mod lock;
#[cfg(test)]
mod product;
#[cfg(test)]
mod publish;
#[cfg(test)]
mod ring;
#[cfg(test)]
mod sequence;
#[cfg(test)]
mod world;
