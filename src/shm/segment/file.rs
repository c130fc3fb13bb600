//! The file of a named segment: where it is, who holds it, what it says of itself.
//!
//! Two locks stand on a named file. The *master's* (`flock`, exclusive, inherited by its workers): a second start is
//! refused while anyone of the family lives. The *attachment's* (an open-file-description lock on byte 1,
//! shared): a starter that gets it exclusively is alone, and may recover every slot whatever its mark says.
//!
//! Bytes of a file that was there before are an allegation: magic, version, fingerprint and geometry are checked before
//! anything else is looked at, and a segment whose making was cut short is made again.

use std::{
    fs,
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::atomic::Ordering,
    time::{Duration, Instant},
};

use memmap2::{MmapOptions, MmapRaw};
use shm_layout::{
    header::{self, Geometry, HASH_RAPID_V3, Header, MAGIC, Request, VERSION},
    heap,
};

use super::{
    super::mem::Mem,
    error::{SegmentError, failed},
    mem_of,
};
use crate::sys;

/// Where named segments live.
pub(super) const DIRECTORY: &str = "/dev/shm";
/// Longest wait for the workers of a killed master to follow it.
pub(super) const ORPHANS_WAIT: Duration = Duration::from_secs(5);

pub(super) fn path_of(name: &str) -> Result<PathBuf, SegmentError> {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
    if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.bytes().all(allowed) {
        return Err(SegmentError::Name(name.to_owned()));
    }
    Ok(PathBuf::from(DIRECTORY).join(name))
}

/// Opens the file and takes the master's lock. The workers of a killed master follow it within moments: they are
/// waited for; a living master is not.
pub(super) fn lock_as_master(name: &str, path: &Path, mode: u32) -> Result<File, SegmentError> {
    let start = Instant::now();
    loop {
        let file = sys::file::open(path, true, mode).map_err(failed("opening the segment"))?;
        if sys::file::try_lock(&file).map_err(failed("locking the segment"))? {
            if is_at(&file, path) {
                return Ok(file);
            }
            // Its last master took the name away while this one waited: there is another file now, or none.
            continue;
        }
        let pid = master_of(&file);
        if is_alive(pid) || start.elapsed() > ORPHANS_WAIT {
            return Err(SegmentError::InUse { name: name.to_owned(), pid });
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Opens the file of a segment that is there.
pub(super) fn open_existing(name: &str) -> Result<File, SegmentError> {
    sys::file::open(&path_of(name)?, false, 0).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound => SegmentError::Missing(name.to_owned()),
        _ => failed("opening the segment")(source),
    })
}

/// Takes the master's lock of a segment that was left behind; false if there are a master or workers. Those of
/// a killed master end within moments, and are waited for.
pub(super) fn lock_if_left(file: &File) -> Result<bool, SegmentError> {
    let start = Instant::now();
    loop {
        if sys::file::try_lock(file).map_err(failed("locking the segment"))? {
            return Ok(true);
        }
        if is_alive(master_of(file)) || start.elapsed() > ORPHANS_WAIT {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
    match (file.metadata().map(identity), fs::metadata(path).map(identity)) {
        (Ok(file), Ok(path)) => file == path,
        _ => false,
    }
}

fn is_alive(pid: u64) -> bool {
    // A zombie has a directory too, but its state says so.
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = status.rsplit(')').next().and_then(|rest| rest.split_whitespace().next().map(ToOwned::to_owned));
    state.is_some_and(|state| state != "Z" && state != "X")
}

/// The first words of a file, if it is long enough for a header.
pub(super) fn peek(file: &File) -> Option<(MmapRaw, Mem)> {
    let long_enough = file.metadata().is_ok_and(|meta| meta.len() >= header::HEADER_BYTES);
    let map = long_enough.then(|| MmapOptions::new().len(header::HEADER_BYTES as usize).map_raw(file).ok())??;
    let mem = mem_of(&map)?;
    Some((map, mem))
}

pub(super) fn master_of(file: &File) -> u64 {
    peek(file).map_or(0, |(_map, mem)| mem.at::<Header>(0).master.load(Ordering::Acquire))
}

/// Whether the file was given its size by this program, but its making never ended.
pub(super) fn was_cut_short(file: &File) -> bool {
    peek(file).is_some_and(|(_map, mem)| {
        let header: &Header = mem.at(0);
        let magic = header.magic.load(Ordering::Relaxed);
        header.state.load(Ordering::Acquire) == header::state::MAKING && (magic == 0 || magic == MAGIC)
    })
}

/// Gives a file its memory. The size that it had before is taken away first, so that all bytes are zero.
pub(super) fn give_memory(file: &File, name: &str, bytes: u64) -> Result<(), SegmentError> {
    file.set_len(0).map_err(failed("emptying the segment"))?;
    sys::file::allocate(file, bytes).map_err(|source| {
        // The file is of no use without memory, and it is this process's: it has the master's lock.
        let _ = path_of(name).map(fs::remove_file);
        SegmentError::Memory { bytes, source }
    })
}

/// The geometry that a file says it has, checked against itself.
pub(super) fn geometry_of(file: &File, name: &str) -> Result<Geometry, SegmentError> {
    let foreign = || SegmentError::Foreign(name.to_owned());
    let (_map, mem) = peek(file).ok_or_else(foreign)?;
    let header: &Header = mem.at(0);
    if header.magic.load(Ordering::Acquire) != MAGIC {
        return Err(foreign());
    }
    let mismatch = |field, found, wanted| SegmentError::Mismatch { name: name.to_owned(), field, found, wanted };
    let version = header.version.load(Ordering::Relaxed);
    if version != VERSION {
        return Err(mismatch("layout version", u64::from(version), u64::from(VERSION)));
    }
    let hash = header.hash.load(Ordering::Relaxed);
    if hash != HASH_RAPID_V3 {
        return Err(mismatch("hash", u64::from(hash), u64::from(HASH_RAPID_V3)));
    }
    let request = Request {
        memory: header.memory.load(Ordering::Relaxed),
        workers: header.workers.load(Ordering::Relaxed),
        counters: header.counters.load(Ordering::Relaxed),
        max_keys: header.max_keys.load(Ordering::Relaxed),
    };
    let in_bounds = request.memory <= heap::MAX_SEGMENT_BYTES
        && (1..=shm_layout::limits::MAX_WORKERS as u32).contains(&request.workers)
        && (1..u64::from(u32::MAX)).contains(&request.counters)
        && (1..u64::from(u32::MAX)).contains(&request.max_keys);
    let geometry = in_bounds.then(|| Geometry::new(request).ok()).flatten().ok_or_else(foreign)?;
    let found = header.fingerprint.load(Ordering::Relaxed);
    if found != geometry.fingerprint() {
        return Err(mismatch("fingerprint", found, geometry.fingerprint()));
    }
    let len = file.metadata().map_err(failed("looking at the segment"))?.len();
    if len != request.memory {
        return Err(mismatch("file size", len, request.memory));
    }
    Ok(geometry)
}

pub(super) fn check_geometry(file: &File, name: &str, wanted: Geometry) -> Result<(), SegmentError> {
    let found = geometry_of(file, name)?.request;
    let wanted = wanted.request;
    let fields = [
        ("memory", found.memory, wanted.memory),
        ("workers", u64::from(found.workers), u64::from(wanted.workers)),
        ("counters", found.counters, wanted.counters),
        ("max-keys", found.max_keys, wanted.max_keys),
    ];
    match fields.into_iter().find(|(_, found, wanted)| found != wanted) {
        Some((field, found, wanted)) => Err(SegmentError::Mismatch { name: name.to_owned(), field, found, wanted }),
        None => Ok(()),
    }
}
