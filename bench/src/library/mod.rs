//! The library beside what else holds rows: maps of one process, and tables that processes share.

mod bounds;
mod keys;
mod lmdb;
mod maps;
mod mutex;
mod one;
mod operations;
mod parts;
mod processes;
mod two;

pub(crate) use self::{
    operations::{OPERATIONS, repeat},
    parts::{Extent, all, part_names},
};
