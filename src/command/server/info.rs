//! The text of INFO: what the server is and does, in sections of `name:value` lines.
//!
//! Figures are sums over all workers unless their name says otherwise. Tools know the names from Redis; the
//! section `Workers`, with one line for each worker, is ours.

use std::{collections::BTreeMap, fmt::Write as _};

use crate::command::{Env, Kind, latency, server::REDIS_VERSION, table};
use crate::store::{Result, Stat, limits::DATABASES};

/// Writes a section's lines.
type Section = fn(&mut String, &Env<'_>) -> Result<()>;

/// Every section with its heading, whether it is shown when none is asked for, and what writes its lines.
const SECTIONS: &[(&str, bool, Section)] = &[
    ("Server", true, server),
    ("Clients", true, clients),
    ("Memory", true, memory),
    ("Persistence", true, persistence),
    ("Stats", true, stats),
    ("Replication", true, replication),
    ("CPU", true, cpu),
    ("Modules", true, empty),
    ("Commandstats", false, commandstats),
    ("Errorstats", true, errorstats),
    ("Latencystats", false, latencystats),
    ("Cluster", true, cluster),
    ("Keyspace", true, keyspace),
    ("Workers", true, workers),
];

/// The sections that are named, in lower case; none, `default`: the usual ones; `all`, `everything`: all.
pub(crate) fn text(env: &Env<'_>, wanted: &[String]) -> Result<String> {
    let asked = |name: &str| wanted.iter().any(|section| section == name);
    let usual = wanted.is_empty() || asked("default");
    let all = asked("all") || asked("everything");
    let mut text = String::with_capacity(4096);
    for (heading, is_usual, write) in SECTIONS {
        if !(all || (usual && *is_usual) || asked(&heading.to_ascii_lowercase())) {
            continue;
        }
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        let _ = write!(text, "# {heading}\r\n");
        write(&mut text, env)?;
    }
    Ok(text)
}

/// Writes one line; writing to a string cannot fail.
fn line(text: &mut String, name: &str, value: impl std::fmt::Display) {
    let _ = write!(text, "{name}:{value}\r\n");
}

/// When the first of the workers that serve now was started, in Unix seconds.
pub(in crate::command) fn started_at(env: &Env<'_>) -> u64 {
    let statistics = env.store.statistics();
    let starts = (0..statistics.workers()).map(|index| statistics.worker(index, Stat::StartedAt));
    starts.filter(|&at| at > 0).min().unwrap_or(env.state.started_ms / 1000)
}

fn server(text: &mut String, env: &Env<'_>) -> Result<()> {
    let uptime = (env.now_ms / 1000).saturating_sub(started_at(env));
    line(text, "redis_version", REDIS_VERSION);
    line(text, "redis_git_sha1", "00000000");
    line(text, "redis_git_dirty", 0);
    line(text, "redis_build_id", "0000000000000000");
    line(text, "redis_mode", "standalone");
    line(text, "store_master_version", env!("CARGO_PKG_VERSION"));
    line(text, "os", format_args!("{} {}", std::env::consts::OS, std::env::consts::ARCH));
    line(text, "arch_bits", usize::BITS);
    line(text, "monotonic_clock", "POSIX clock_gettime");
    line(text, "multiplexing_api", "epoll");
    line(text, "process_id", std::os::unix::process::parent_id());
    line(text, "worker_process_id", std::process::id());
    line(text, "run_id", &env.state.run_id);
    line(text, "tcp_port", env.config.resp.map_or(0, |addr| addr.port()));
    line(text, "server_time_usec", env.now_us);
    line(text, "uptime_in_seconds", uptime);
    line(text, "uptime_in_days", uptime / 86_400);
    line(text, "hz", 10);
    line(text, "configured_hz", 10);
    line(text, "executable", "");
    line(text, "config_file", "");
    line(text, "io_threads_active", 0);
    line(text, "worker", env.worker);
    line(text, "workers", env.workers);
    Ok(())
}

fn clients(text: &mut String, env: &Env<'_>) -> Result<()> {
    let statistics = env.store.statistics();
    line(text, "connected_clients", statistics.sum(Stat::Clients));
    line(text, "maxclients", env.state.settings.max_clients());
    line(text, "blocked_clients", statistics.sum(Stat::Held));
    line(text, "tracking_clients", statistics.sum(Stat::TrackingClients));
    let pause = env.state.settings.pause();
    line(text, "paused_reason", if pause.lasts(env.now_ms) { "client_pause" } else { "none" });
    line(text, "paused_actions", pause.name(env.now_ms));
    line(text, "paused_timeout_milliseconds", pause.left_ms(env.now_ms));
    Ok(())
}

fn memory(text: &mut String, env: &Env<'_>) -> Result<()> {
    let seen = env.store.memory_use();
    let limit = env.state.settings.limit();
    let (used, overhead) = (seen.used(), seen.fixed + seen.tables);
    let ratio = seen.set_aside as f64 / used.max(1) as f64;
    line(text, "used_memory", used);
    line(text, "used_memory_human", human(used));
    line(text, "used_memory_rss", seen.set_aside);
    line(text, "used_memory_rss_human", human(seen.set_aside));
    line(text, "used_memory_peak", used);
    line(text, "used_memory_peak_human", human(used));
    line(text, "used_memory_peak_perc", "100.00%");
    line(text, "used_memory_overhead", overhead);
    line(text, "used_memory_startup", seen.fixed);
    line(text, "used_memory_dataset", seen.keys);
    line(text, "used_memory_dataset_perc", format_args!("{:.2}%", 100.0 * seen.keys as f64 / used.max(1) as f64));
    line(text, "used_memory_tables", seen.tables);
    line(text, "total_system_memory", seen.total);
    line(text, "total_system_memory_human", human(seen.total));
    line(text, "maxmemory", if limit.bytes > 0 { limit.bytes } else { seen.total });
    line(text, "maxmemory_human", human(if limit.bytes > 0 { limit.bytes } else { seen.total }));
    line(text, "maxmemory_policy", limit.policy.name());
    line(text, "mem_fragmentation_ratio", format_args!("{ratio:.2}"));
    line(text, "mem_fragmentation_bytes", seen.set_aside.saturating_sub(used));
    line(text, "mem_not_counted_for_evict", 0);
    line(text, "mem_allocator", "segment");
    line(text, "active_defrag_running", 0);
    line(text, "lazyfree_pending_objects", 0);
    line(text, "lazyfreed_objects", 0);
    Ok(())
}

/// A size as people read it: `1.50M`.
pub(in crate::command) fn human(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "K", "M"] {
        if value < 1024.0 {
            return format!("{value:.2}{unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.2}G")
}

fn persistence(text: &mut String, env: &Env<'_>) -> Result<()> {
    line(text, "loading", 0);
    line(text, "async_loading", 0);
    line(text, "rdb_changes_since_last_save", 0);
    line(text, "rdb_bgsave_in_progress", 0);
    line(text, "rdb_last_save_time", started_at(env));
    line(text, "rdb_last_bgsave_status", "ok");
    line(text, "rdb_saves", 0);
    line(text, "aof_enabled", 0);
    line(text, "aof_rewrite_in_progress", 0);
    line(text, "aof_last_bgrewrite_status", "ok");
    line(text, "aof_last_write_status", "ok");
    Ok(())
}

fn stats(text: &mut String, env: &Env<'_>) -> Result<()> {
    let sum = |stat| env.store.statistics().sum(stat);
    line(text, "total_connections_received", sum(Stat::Connections));
    line(text, "total_commands_processed", sum(Stat::Commands));
    line(text, "total_net_input_bytes", sum(Stat::BytesIn));
    line(text, "total_net_output_bytes", sum(Stat::BytesOut));
    line(text, "rejected_connections", sum(Stat::Rejected));
    line(text, "expired_keys", sum(Stat::Expired));
    line(text, "evicted_keys", env.store.memory_use().evicted);
    line(text, "keyspace_hits", sum(Stat::Hits));
    line(text, "keyspace_misses", sum(Stat::Misses));
    line(text, "pubsub_channels", env.state.pubsub.channels(Kind::Channel)?.len());
    line(text, "pubsub_patterns", env.state.pubsub.pattern_count());
    line(text, "pubsubshard_channels", env.state.pubsub.channels(Kind::Shard)?.len());
    line(text, "bus_overruns", sum(Stat::BusLost));
    line(text, "tracking_total_keys", sum(Stat::TrackingKeys));
    line(text, "tracking_total_items", sum(Stat::TrackingItems));
    line(text, "tracking_total_prefixes", sum(Stat::TrackingPrefixes));
    line(text, "total_error_replies", sum(Stat::Errors));
    line(text, "total_reads_processed", sum(Stat::Reads));
    line(text, "total_writes_processed", sum(Stat::Writes));
    line(text, "total_http_requests", sum(Stat::HttpRequests));
    line(text, "acl_access_denied_auth", sum(Stat::AuthFailures));
    line(text, "acl_access_denied_cmd", sum(Stat::DeniedCommands));
    line(text, "acl_access_denied_key", sum(Stat::DeniedKeys));
    line(text, "acl_access_denied_channel", sum(Stat::DeniedChannels));
    line(text, "client_output_buffer_limit_disconnections", sum(Stat::OutputClosed));
    line(text, "idle_timeout_disconnections", sum(Stat::IdleClosed));
    line(text, "protocol_errors", sum(Stat::ProtocolErrors));
    line(text, "parked_requests", sum(Stat::Parked));
    line(text, "busy_replies", sum(Stat::Busy));
    line(text, "worker_starts", sum(Stat::Starts));
    line(text, "recoveries", env.store.statistics().recoveries());
    Ok(())
}

fn replication(text: &mut String, env: &Env<'_>) -> Result<()> {
    line(text, "role", "master");
    line(text, "connected_slaves", 0);
    line(text, "master_failover_state", "no-failover");
    line(text, "master_replid", &env.state.run_id);
    line(text, "master_replid2", "0".repeat(40));
    line(text, "master_repl_offset", 0);
    line(text, "second_repl_offset", -1);
    line(text, "repl_backlog_active", 0);
    line(text, "repl_backlog_size", 0);
    line(text, "repl_backlog_first_byte_offset", 0);
    line(text, "repl_backlog_histlen", 0);
    Ok(())
}

/// The processor time of the worker that answers.
fn cpu(text: &mut String, _: &Env<'_>) -> Result<()> {
    use nix::sys::{
        resource::{UsageWho, getrusage},
        time::TimeValLike as _,
    };
    let Ok(usage) = getrusage(UsageWho::RUSAGE_SELF) else { return Ok(()) };
    let seconds = |time: nix::sys::time::TimeVal| time.num_microseconds() as f64 / 1e6;
    line(text, "used_cpu_sys", format_args!("{:.6}", seconds(usage.system_time())));
    line(text, "used_cpu_user", format_args!("{:.6}", seconds(usage.user_time())));
    Ok(())
}

fn empty(_: &mut String, _: &Env<'_>) -> Result<()> {
    Ok(())
}

fn commandstats(text: &mut String, env: &Env<'_>) -> Result<()> {
    for command in table::all_with_subcommands() {
        let Some(calls) = latency::calls(env, command.full_name) else { continue };
        if calls.calls + calls.rejected + calls.failed > 0 {
            let micros = calls.nanos / 1000;
            let each = calls.nanos as f64 / 1000.0 / calls.calls.max(1) as f64;
            let (calls, rejected, failed) = (calls.calls, calls.rejected, calls.failed);
            line(
                text,
                &format!("cmdstat_{}", command.full_name),
                format_args!(
                    "calls={calls},usec={micros},usec_per_call={each:.2},rejected_calls={rejected},failed_calls={failed}"
                ),
            );
        }
    }
    Ok(())
}

fn errorstats(text: &mut String, env: &Env<'_>) -> Result<()> {
    let statistics = env.store.statistics();
    let mut errors: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
    for worker in 0..statistics.workers() {
        statistics.tally(worker).errors().for_each(|(prefix, count)| *errors.entry(prefix).or_default() += count);
    }
    for (prefix, count) in errors.into_iter().filter(|(_, count)| *count > 0) {
        line(text, &format!("errorstat_{}", String::from_utf8_lossy(&prefix)), format_args!("count={count}"));
    }
    Ok(())
}

/// The end of the bucket in which each percentile lies.
fn latencystats(text: &mut String, env: &Env<'_>) -> Result<()> {
    let percentiles = env.state.settings.percentiles();
    for command in table::all_with_subcommands() {
        let Some(calls) = latency::calls(env, command.full_name) else { continue };
        let total: u64 = calls.buckets.iter().sum();
        if total > 0 {
            let shown: Vec<String> = percentiles
                .iter()
                .map(|&percent| format!("p{percent}={:.3}", micros_at(&calls.buckets, total, percent)))
                .collect();
            line(text, &format!("latency_percentiles_usec_{}", command.full_name), shown.join(","));
        }
    }
    Ok(())
}

/// Microseconds that `percent` of the calls did not exceed, as far as the buckets tell.
fn micros_at(buckets: &[u64], total: u64, percent: f64) -> f64 {
    let wanted = total as f64 * percent / 100.0;
    let mut sum = 0;
    let reached = |count: &u64| {
        sum += count;
        sum as f64 >= wanted
    };
    let bucket = buckets.iter().position(reached).unwrap_or(buckets.len() - 1);
    1.024 * f64::from(1_u32 << bucket)
}

fn cluster(text: &mut String, _: &Env<'_>) -> Result<()> {
    line(text, "cluster_enabled", 0);
    Ok(())
}

fn keyspace(text: &mut String, env: &Env<'_>) -> Result<()> {
    let kv = env.store.kv();
    for db in 0..DATABASES as u8 {
        let keys = kv.len(db)?;
        if keys > 0 {
            let expires = kv.expiring(db)?;
            line(text, &format!("db{db}"), format_args!("keys={keys},expires={expires},avg_ttl=0"));
        }
    }
    Ok(())
}

fn workers(text: &mut String, env: &Env<'_>) -> Result<()> {
    let statistics = env.store.statistics();
    for index in 0..statistics.workers() {
        let cells: Vec<String> =
            Stat::ALL.iter().map(|&stat| format!("{}={}", stat.name(), statistics.worker(index, stat))).collect();
        line(text, &format!("worker{index}"), cells.join(","));
    }
    Ok(())
}
