//! Every key there is, with its default and its range, and the rules that tie two keys together.
//!
//! What a key is for is said at its field in [`Config`], and to the person who sets it in
//! `config/local.toml`.

use std::path::PathBuf;

use super::reader::Reader;
use super::{Balancer, Cache, Config, EvictionPolicy, Http, Log, Reads, Replication, Role, WithoutMajority, nodes};
use crate::telemetry::{FILTER_FORM, parse_filter};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Reads all keys. The result is only of use if the reader then has no mistakes.
pub(super) fn read(reader: &mut Reader) -> Config {
    let mut top = reader.top();
    let config = Config {
        data: top.text("data", "data".into(), path),
        seed: top.text("seed", "catalog.csv".into(), path),
        frontends: nodes::read(reader, Role::Frontend),
        catalogs: nodes::read(reader, Role::Catalog),
        orders: nodes::read(reader, Role::Order),
        cache: cache(reader),
        reads: reads(reader),
        replication: replication(reader),
        balancer: balancer(reader),
        http: http(reader),
        log: log(reader),
    };
    rules(reader);
    config
}

fn cache(reader: &mut Reader) -> Cache {
    let mut section = reader.section("cache");
    Cache {
        enabled: section.flag("enabled", true),
        capacity: section.number("capacity", 10_000, 1..=100_000_000),
        capacity_bytes: section.number("capacity_bytes", 64 << 20, 1 << 20..=64 << 30),
        ttl_ms: section.number("ttl_ms", MINUTE_MS, 1..=DAY_MS),
        policy: section.choice("policy", [("lru", EvictionPolicy::Lru), ("tiny-lfu", EvictionPolicy::TinyLfu)]),
        lease_ms: section.number("lease_ms", 1_000, 100..=MINUTE_MS),
        clock_drift_percent: section.number("clock_drift_percent", 1, 1..=50) as u32,
    }
}

fn reads(reader: &mut Reader) -> Reads {
    let mut section = reader.section("reads");
    Reads {
        without_majority: section
            .choice("without_majority", [("stale", WithoutMajority::Stale), ("refuse", WithoutMajority::Refuse)]),
        majority_wait_ms: section.number("majority_wait_ms", 2_000, 10..=MINUTE_MS),
    }
}

fn replication(reader: &mut Reader) -> Replication {
    let mut section = reader.section("replication");
    Replication {
        heartbeat_ms: section.number("heartbeat_ms", 200, 10..=10_000),
        election_timeout_min_ms: section.number("election_timeout_min_ms", 450, 20..=MINUTE_MS),
        election_timeout_max_ms: section.number("election_timeout_max_ms", 650, 30..=MINUTE_MS),
        commit_timeout_ms: section.number("commit_timeout_ms", 5_000, 100..=10 * MINUTE_MS),
        queue_commands: section.count("queue_commands", 4_096, 1..=1_048_576),
        batch_commands: section.count("batch_commands", 512, 1..=65_536),
        snapshot_log_bytes: section.number("snapshot_log_bytes", 64 * MIB, 8 * KIB..=TIB),
        segment_bytes: section.number("segment_bytes", 16 * MIB, 4 * KIB..=GIB),
        cache_bytes: section.number("cache_bytes", 32 * MIB, 64 * KIB..=64 * GIB),
    }
}

fn balancer(reader: &mut Reader) -> Balancer {
    let mut section = reader.section("balancer");
    Balancer {
        probe_interval_ms: section.number("probe_interval_ms", 500, 10..=MINUTE_MS),
        probe_timeout_ms: section.number("probe_timeout_ms", 500, 10..=MINUTE_MS),
        attempt_timeout_ms: section.number("attempt_timeout_ms", 3_000, 10..=MINUTE_MS),
        read_deadline_ms: section.number("read_deadline_ms", 6_000, 20..=10 * MINUTE_MS),
        write_deadline_ms: section.number("write_deadline_ms", 10_000, 20..=10 * MINUTE_MS),
    }
}

fn http(reader: &mut Reader) -> Http {
    let mut section = reader.section("http");
    Http {
        max_connections: section.count("max_connections", 4_096, 1..=1_000_000),
        max_body_bytes: section.count("max_body_bytes", 64 << 10, 1 << 10..=16 << 20),
        header_timeout_ms: section.number("header_timeout_ms", 10_000, 100..=HOUR_MS),
        request_timeout_ms: section.number("request_timeout_ms", 15_000, 100..=HOUR_MS),
        idle_timeout_ms: section.number("idle_timeout_ms", 75_000, 10_000..=HOUR_MS),
        drain_timeout_ms: section.number("drain_timeout_ms", 5_000, 0..=HOUR_MS),
    }
}

fn log(reader: &mut Reader) -> Log {
    let mut section = reader.section("log");
    Log { level: section.text("level", "info".to_owned(), filter) }
}

fn path(text: &str) -> Result<PathBuf, String> {
    if text.is_empty() { Err("a path".to_owned()) } else { Ok(text.into()) }
}

fn filter(text: &str) -> Result<String, String> {
    parse_filter(text).map(|_| text.to_owned()).ok_or_else(|| FILTER_FORM.to_owned())
}

fn rules(reader: &mut Reader) {
    const RULES: [(&str, &str, &str); 8] = [
        (
            "replication.heartbeat_ms",
            "replication.election_timeout_min_ms",
            "followers call elections between two heartbeats",
        ),
        (
            "replication.election_timeout_min_ms",
            "replication.election_timeout_max_ms",
            "all followers stand for election at once",
        ),
        (
            "replication.election_timeout_max_ms",
            "reads.majority_wait_ms",
            "an ordinary election is taken for a lost majority",
        ),
        ("replication.segment_bytes", "replication.snapshot_log_bytes", "a snapshot frees no file of the log"),
        ("balancer.attempt_timeout_ms", "balancer.read_deadline_ms", "a read is never tried at a second replica"),
        ("balancer.attempt_timeout_ms", "balancer.write_deadline_ms", "a write is never tried at a second replica"),
        ("balancer.read_deadline_ms", "http.request_timeout_ms", "requests are cut off while they are still tried"),
        ("balancer.write_deadline_ms", "http.request_timeout_ms", "requests are cut off while they are still tried"),
    ];
    for (low, high, otherwise) in RULES {
        reader.require_below(low, high, otherwise);
    }
}
