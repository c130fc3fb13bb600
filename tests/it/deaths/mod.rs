//! The hard deaths: out of memory, by fault, by exit, by exec, two at once, everybody at once, in the middle of the start; and
//! what is as bad as a death: no shared memory, no file descriptor, and an id that somebody else gets.
//!
//! After each of them: what was acknowledged is there, sums are exact, no lock is left, nobody hangs, and the server serves.

mod control_group;
mod descriptors;
mod faults;
mod full;
mod memory;
mod reuse;
mod scene;
mod start;
mod together;
mod victim;
