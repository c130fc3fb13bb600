//! `GET /metrics`: the Prometheus text format, version 0.0.4.

use std::io::Write as _;

use super::{call::Call, error::Failure, response::Response};
use crate::store::{Stat, Statistics, Store, TableInfo, limits::DATABASES};

/// What the text format is called.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// `GET /metrics`
pub(super) fn text(call: &Call<'_>) -> Result<Response, Failure> {
    let mut page = Page(Vec::with_capacity(8192));
    page.family("store_build_info", "gauge", "Version of the program.");
    page.sample("store_build_info", &[("version", env!("CARGO_PKG_VERSION"))], 1);
    for &stat in Stat::ALL {
        page.stat(stat, call.store().statistics());
    }
    page.store(call.store())?;
    page.tables(&call.store().tables()?);
    Ok(Response::of(200, CONTENT_TYPE, page.0))
}

struct Page(Vec<u8>);

impl Page {
    fn stat(&mut self, stat: Stat, statistics: &dyn Statistics) {
        let (kind, suffix) = if stat.is_total() { ("counter", "_total") } else { ("gauge", "") };
        let name = format!("store_{}{suffix}", stat.name());
        self.family(&name, kind, stat.help());
        let mut of_workers = 0;
        for worker in 0..statistics.workers() {
            let value = statistics.worker(worker, stat);
            of_workers += value;
            self.sample(&name, &[("worker", itoa::Buffer::new().format(worker))], value);
        }
        if stat.is_total() {
            let library = statistics.sum(stat).saturating_sub(of_workers);
            self.sample(&name, &[("worker", "library")], library);
        }
    }

    fn store(&mut self, store: &Store) -> Result<(), Failure> {
        let (bytes, used) = store.memory();
        self.single("store_memory_bytes", "gauge", "Bytes of the segment.", bytes);
        self.single("store_memory_used_bytes", "gauge", "Bytes of the segment in use.", used);
        let evicted = store.memory_use().evicted;
        self.single("store_evicted_keys_total", "counter", "Keys evicted because memory ran short.", evicted);
        let recoveries = store.statistics().recoveries();
        self.single("store_recoveries_total", "counter", "Dead processes whose slots were recovered.", recoveries);
        let counters = store.counters()?.len() as u64;
        self.single("store_counters", "gauge", "Counters in use.", counters);
        self.databases("store_keys", "Keys of the key-value space.", |db| store.kv().len(db))?;
        self.databases("store_expiring_keys", "Keys that have an expiry.", |db| store.kv().expiring(db))
    }

    fn databases(
        &mut self,
        name: &str,
        help: &str,
        value: impl Fn(u8) -> crate::store::Result<u64>,
    ) -> Result<(), Failure> {
        self.family(name, "gauge", help);
        for db in 0..DATABASES as u8 {
            self.sample(name, &[("db", itoa::Buffer::new().format(db))], value(db)?);
        }
        Ok(())
    }

    fn tables(&mut self, tables: &[TableInfo]) {
        self.single("store_tables", "gauge", "Tables in use.", tables.len() as u64);
        let rows = |info: &TableInfo| info.count;
        self.per_table("store_table_rows", "Rows in use, expired ones included until they are freed.", tables, rows);
        let capacity = |info: &TableInfo| info.schema.spec().rows;
        self.per_table("store_table_capacity_rows", "Rows that fit the table.", tables, capacity);
        self.per_table("store_table_bytes", "Bytes of the segment that the table occupies.", tables, |info| info.bytes);
    }

    fn per_table(&mut self, name: &str, help: &str, tables: &[TableInfo], value: impl Fn(&TableInfo) -> u64) {
        self.family(name, "gauge", help);
        for info in tables {
            self.sample(name, &[("table", info.schema.table())], value(info));
        }
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
        match labels.as_slice() {
            [] => self.line(format_args!("{name} {value}")),
            labels => self.line(format_args!("{name}{{{}}} {value}", labels.join(","))),
        }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("writing to memory");
    }
}

/// A label's value as the format wants it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        assert_eq!(escaped("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
