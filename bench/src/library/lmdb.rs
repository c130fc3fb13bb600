//! LMDB on a tmpfs, as fast as it goes: a writable map, no syncing, one renewed transaction for all reads, a write
//! transaction for each write.
//!
//! Its crate of bindings alone, because the safe ones have no renewal of a read transaction, which is what makes a read cheap.
#![allow(unsafe_code)]

use std::{ffi::CString, os::unix::ffi::OsStrExt, ptr};

use lmdb_master_sys as lmdb;
use tempfile::TempDir;

use super::{
    keys::Key,
    maps::{Buffer, Copied, Map},
};

/// An environment with one database.
pub(crate) struct Lmdb {
    env: *mut lmdb::MDB_env,
    reader: *mut lmdb::MDB_txn,
    dbi: lmdb::MDB_dbi,
    out: Buffer,
    _folder: TempDir,
}

fn checked(code: i32) {
    assert_eq!(code, 0, "LMDB refuses");
}

fn value(bytes: &[u8]) -> lmdb::MDB_val {
    lmdb::MDB_val { mv_size: bytes.len(), mv_data: bytes.as_ptr().cast_mut().cast() }
}

impl Lmdb {
    /// A database with room for `rows` rows.
    pub(crate) fn new(rows: u32) -> Self {
        let folder = TempDir::new_in("/dev/shm").expect("a tmpfs");
        let path = CString::new(folder.path().as_os_str().as_bytes()).expect("a path without zeros");
        let (mut env, mut txn, mut dbi) = (ptr::null_mut(), ptr::null_mut(), 0);
        let flags = lmdb::MDB_NOSYNC | lmdb::MDB_WRITEMAP | lmdb::MDB_NOTLS;
        // SAFETY: the environment is new and only this thread knows it; the path outlives the call.
        unsafe { checked(lmdb::mdb_env_create(&raw mut env)) };
        // SAFETY: as above.
        unsafe { checked(lmdb::mdb_env_set_mapsize(env, 1024 * rows as usize + (64 << 20))) };
        // SAFETY: as above.
        unsafe { checked(lmdb::mdb_env_open(env, path.as_ptr(), flags, 0o600)) };
        // SAFETY: the environment is open.
        unsafe { checked(lmdb::mdb_txn_begin(env, ptr::null_mut(), 0, &raw mut txn)) };
        // SAFETY: the transaction was just begun.
        unsafe { checked(lmdb::mdb_dbi_open(txn, ptr::null(), 0, &raw mut dbi)) };
        // SAFETY: as above; it ends here.
        unsafe { checked(lmdb::mdb_txn_commit(txn)) };
        let mut reader = ptr::null_mut();
        // SAFETY: the environment is open.
        unsafe { checked(lmdb::mdb_txn_begin(env, ptr::null_mut(), lmdb::MDB_RDONLY, &raw mut reader)) };
        // SAFETY: the transaction was just begun; it waits for its renewal.
        unsafe { lmdb::mdb_txn_reset(reader) };
        Self { env, reader, dbi, out: Buffer::default(), _folder: folder }
    }

    fn write<T>(&self, body: impl FnOnce(*mut lmdb::MDB_txn) -> T) -> T {
        let mut txn = ptr::null_mut();
        // SAFETY: the environment is open, and this thread has no other write transaction.
        unsafe { checked(lmdb::mdb_txn_begin(self.env, ptr::null_mut(), 0, &raw mut txn)) };
        let result = body(txn);
        // SAFETY: the transaction was begun above.
        unsafe { checked(lmdb::mdb_txn_commit(txn)) };
        result
    }

    fn put(&self, txn: *mut lmdb::MDB_txn, key: &Key, row: &Copied) {
        let (mut key, mut row) = (value(key), value(row));
        // SAFETY: key and row outlive the call, which copies them.
        unsafe { checked(lmdb::mdb_put(txn, self.dbi, &raw mut key, &raw mut row, 0)) };
    }

    fn find(&self, txn: *mut lmdb::MDB_txn, key: &Key) -> Option<Copied> {
        let (mut key, mut found) = (value(key), value(&[]));
        // SAFETY: the transaction lives, and the key outlives the call.
        let code = unsafe { lmdb::mdb_get(txn, self.dbi, &raw mut key, &raw mut found) };
        // SAFETY: rows have 64 bytes, which stay as long as the transaction does.
        (code == 0).then(|| unsafe { found.mv_data.cast::<Copied>().read_unaligned() })
    }
}

impl Map for Lmdb {
    fn get(&mut self, key: &Key) -> bool {
        // SAFETY: the transaction was reset after its last use.
        unsafe { checked(lmdb::mdb_txn_renew(self.reader)) };
        let found = self.find(self.reader, key);
        // SAFETY: it was renewed above, and what it read was copied.
        unsafe { lmdb::mdb_txn_reset(self.reader) };
        if let Some(row) = found {
            self.out.0 = row;
            std::hint::black_box(&self.out.0);
        }
        found.is_some()
    }

    #[cfg(test)]
    fn copied(&self) -> Copied {
        self.out.0
    }

    fn set(&mut self, key: &Key, row: &Copied) {
        self.write(|txn| self.put(txn, key, row));
    }

    fn incr(&mut self, key: &Key) -> i64 {
        self.write(|txn| {
            let mut row = self.find(txn, key).expect("a row that is there");
            let (n, _) = row.split_first_chunk_mut::<8>().expect("a row has 64 bytes");
            let sum = i64::from_le_bytes(*n) + 1;
            *n = sum.to_le_bytes();
            self.put(txn, key, &row);
            sum
        })
    }

    fn cas(&mut self, key: &Key, expected: i64, new: i64) -> bool {
        self.write(|txn| {
            let mut row = self.find(txn, key).expect("a row that is there");
            let (n, _) = row.split_first_chunk_mut::<8>().expect("a row has 64 bytes");
            let equal = i64::from_le_bytes(*n) == expected;
            if equal {
                *n = new.to_le_bytes();
                self.put(txn, key, &row);
            }
            equal
        })
    }

    fn remove(&mut self, key: &Key) -> bool {
        self.write(|txn| {
            let mut key = value(key);
            // SAFETY: the transaction lives, and the key outlives the call.
            unsafe { lmdb::mdb_del(txn, self.dbi, &raw mut key, ptr::null_mut()) == 0 }
        })
    }
}

impl Drop for Lmdb {
    fn drop(&mut self) {
        // SAFETY: the transaction lives and is not used any more.
        unsafe { lmdb::mdb_txn_abort(self.reader) };
        // SAFETY: no transaction is left.
        unsafe { lmdb::mdb_env_close(self.env) };
    }
}
