//! For operators: statistics as JSON, health, readiness.

use super::{
    call::Call,
    error::{Failure, refusal},
    json::{self, Members},
    response::Response,
};
use crate::store::{Stat, Statistics, limits::DATABASES};

/// `GET /healthz`: the process serves requests.
pub(super) fn health() -> Response {
    Response::json(200, b"{\"status\":\"ok\"}".to_vec())
}

/// `GET /readyz`: new work is welcome.
pub(super) fn ready(call: &Call<'_>) -> Result<Response, Failure> {
    if call.context.draining {
        return Err(refusal(503, "draining", "this worker is stopping").into());
    }
    Ok(Response::json(200, b"{\"status\":\"ready\"}".to_vec()))
}

/// `GET /stats`: all workers summed and each alone, and what the store holds.
pub(super) fn stats(call: &Call<'_>) -> Result<Response, Failure> {
    let holdings = Holdings::of(call)?;
    let statistics = call.store().statistics();
    let (bytes, used) = call.store().memory();
    let mut out = Vec::with_capacity(4096);
    let mut members = Members::open(&mut out);
    json::push_text(members.name("version"), env!("CARGO_PKG_VERSION"));
    json::push_count(members.name("worker"), call.context.worker as u64);
    push_counts(members.name("memory"), &[("bytes", bytes), ("used", used)]);
    push_counts(
        members.name("tables"),
        &[("count", holdings.tables), ("rows", holdings.rows), ("capacity", holdings.capacity)],
    );
    push_counts(members.name("counters"), &[("count", holdings.counters)]);
    push_counts(members.name("keys"), &[("count", holdings.keys), ("expiring", holdings.expiring)]);
    json::push_count(members.name("recoveries"), statistics.recoveries());
    push_total(members.name("total"), statistics);
    push_workers(members.name("workers"), statistics);
    members.close();
    Ok(Response::json(200, out))
}

/// How much of everything the store holds.
struct Holdings {
    tables: u64,
    rows: u64,
    capacity: u64,
    counters: u64,
    keys: u64,
    expiring: u64,
}

impl Holdings {
    fn of(call: &Call<'_>) -> Result<Self, Failure> {
        let store = call.store();
        let tables = store.tables()?;
        let databases = 0..DATABASES as u8;
        Ok(Self {
            tables: tables.len() as u64,
            rows: tables.iter().map(|table| table.count).sum(),
            capacity: tables.iter().map(|table| table.schema.spec().rows).sum(),
            counters: store.counters()?.len() as u64,
            keys: databases.clone().map(|db| store.kv().len(db)).sum::<Result<_, _>>()?,
            expiring: databases.map(|db| store.kv().expiring(db)).sum::<Result<_, _>>()?,
        })
    }
}

fn push_total(out: &mut Vec<u8>, statistics: &dyn Statistics) {
    let mut members = Members::open(out);
    for &stat in Stat::ALL.iter().filter(|stat| stat.adds_up()) {
        json::push_count(members.name(stat.name()), statistics.sum(stat));
    }
    members.close();
}

fn push_workers(out: &mut Vec<u8>, statistics: &dyn Statistics) {
    out.push(b'[');
    for worker in 0..statistics.workers() {
        if worker > 0 {
            out.push(b',');
        }
        let mut members = Members::open(out);
        json::push_count(members.name("index"), worker as u64);
        for &stat in Stat::ALL {
            json::push_count(members.name(stat.name()), statistics.worker(worker, stat));
        }
        members.close();
    }
    out.push(b']');
}

fn push_counts(out: &mut Vec<u8>, counts: &[(&str, u64)]) {
    let mut members = Members::open(out);
    for &(name, count) in counts {
        json::push_count(members.name(name), count);
    }
    members.close();
}
