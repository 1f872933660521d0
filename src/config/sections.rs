//! Every key there is, but for the nodes: what it is for, its default and its bounds.
//!
//! `config/local.toml` and the table in docs/configuration.md are made of these descriptions: see `tests/configuration.rs`. The first
//! sentence of each is what the table says.

use std::path::PathBuf;

use super::key::{Form, Word, sections};
use crate::telemetry::{FILTER_FORM, parse_filter};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;
const MINUTE_MS: u64 = 60_000;
const HOUR_MS: u64 = 60 * MINUTE_MS;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Which entry leaves a full cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionPolicy {
    /// The one that was not used for the longest time: follows a change of taste at once.
    Lru,
    /// The one that was used least often of late: a scan over all books does not empty the cache.
    TinyLfu,
}

impl Word for EvictionPolicy {
    const WORDS: &'static [(&'static str, Self)] =
        &[("lru", EvictionPolicy::Lru), ("tiny-lfu", EvictionPolicy::TinyLfu)];
}

/// What a replica answers while its group has no majority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutMajority {
    /// What it holds, marked as stale: available rather than current.
    Stale,
    /// An error: current or nothing.
    Refuse,
}

impl Word for WithoutMajority {
    const WORDS: &'static [(&'static str, Self)] =
        &[("stale", WithoutMajority::Stale), ("refuse", WithoutMajority::Refuse)];
}

const FILTER: Form = Form {
    words: "off, error, warn, info, debug, trace, or by module",
    refusal: |text| parse_filter(text).is_none().then(|| FILTER_FORM.to_owned()),
};

sections! {
    /// Files and threads.
    "" Machine {
        /// Folder of all nodes' data, in which each node has a folder of its name, as data/catalog-2. A relative path
        /// starts where bazar is started.
        data: PathBuf = PathBuf::from("data");

        /// The books that a new cluster starts with, read once in its life. CSV in UTF-8 with the columns `id`, `topic`,
        /// `title`, `price` and `quantity` in any order. Blanks around fields without quotes do not count.
        seed: PathBuf = PathBuf::from("catalog.csv");

        /// Threads on which a node works; 0 takes half of the machine's cores, and four at most. That suits a machine
        /// which several nodes share. A node that has a machine of its own may take as many as that has cores.
        threads: usize = 0, 0..=1024;
    }

    /// The frontends' cache. It never makes an answer stale: before a book changes, every frontend drops what it holds of
    /// it, and one that the catalog's leader cannot reach stops answering from its cache when its lease has run out.
    "cache" Cache {
        /// Whether frontends cache. Without it every read asks a catalog server: for measuring what the cache brings.
        enabled: bool = true;

        /// Entries at most. A book or a page of a search is one.
        capacity: u64 = 10_000, 1..=100_000_000;

        /// Bytes of all entries at most, about. An entry counts as `capacity_bytes / capacity` at least.
        capacity_bytes: u64 = 64 * MIB, MIB..=64 * GIB;

        /// Milliseconds after which an unchanged entry is fetched again. Writes remove entries at once, so this only
        /// bounds how long an entry that nobody wants takes up space.
        ttl_ms: u64 = MINUTE_MS, 1..=DAY_MS;

        /// Which entry leaves a full cache: the least recently or the least often used. `"tiny-lfu"` keeps favourites
        /// through a scan over all books, `"lru"` follows a change of taste at once.
        policy: EvictionPolicy = EvictionPolicy::Lru;

        /// Milliseconds that a frontend may answer from its cache without a word from the catalog's leader. Shorter: when
        /// a frontend dies, the first write after it waits less. Longer: leases are renewed less often.
        lease_ms: u64 = 1_000, 100..=MINUTE_MS;

        /// By how many percent one machine's clock may run faster than another's. The catalog's leader waits so much
        /// longer before it takes it that a lease is over. Too small, and a frontend may serve what has changed.
        clock_drift_percent: u32 = 1, 1..=50;
    }

    /// How replicas read.
    "reads" Reads {
        /// What a replica answers while its group has no majority: what it holds, marked with the header
        /// `Bazar-Consistency: stale`, or an error.
        without_majority: WithoutMajority = WithoutMajority::Stale;

        /// Milliseconds that a group may be without a leader before it counts as having no majority. More than the longest
        /// election timeout, or each change of leader shows.
        majority_wait_ms: u64 = 2_000, 10..=MINUTE_MS;
    }

    /// How a group keeps its replicas alike.
    "replication" Replication {
        /// Milliseconds between a leader's signs of life. Most of what an idle shop costs is these.
        heartbeat_ms: u64 = 200, 10..=10_000;

        /// Milliseconds of silence after which a follower calls an election, at least. Shorter: a dead leader is replaced
        /// sooner. Longer: a slow network or disk is not taken for a death. Twice the heartbeat or more, and five times
        /// what an fsync takes on the slowest disk: a follower may take as long to store what it is sent, and half of it
        /// to vote, which takes an fsync of each side.
        election_timeout_min_ms: u64 = 450, 20..=MINUTE_MS;

        /// Milliseconds of silence after which a follower calls an election, at most. Each follower draws anew between the
        /// two each time, so that rarely two of them stand at once.
        election_timeout_max_ms: u64 = 650, 30..=MINUTE_MS;

        /// Milliseconds after which a write that is not committed is answered as "outcome unknown".
        commit_timeout_ms: u64 = 5_000, 100..=10 * MINUTE_MS;

        /// Writes that may wait at a leader. Purchases that came in one request are one. More are refused at once with 503.
        queue_commands: usize = 4_096, 1..=1_048_576;

        /// Such writes that share one fsync and one message to each follower, at most.
        batch_commands: usize = 512, 1..=65_536;

        /// Bytes by which the log grows between two snapshots. Fewer: less disk, quicker restarts. More: less writing.
        snapshot_log_bytes: u64 = 64 * MIB, 8 * KIB..=TIB;

        /// Bytes of one of the log's files, about. Disk is given back in whole files.
        segment_bytes: u64 = 16 * MIB, 4 * KIB..=GIB;

        /// Bytes of the log's newest part that are kept in memory, for followers that lag.
        cache_bytes: u64 = 32 * MIB, 64 * KIB..=64 * GIB;
    }

    /// How nodes choose the replicas of a group.
    "balancer" Balancer {
        /// Milliseconds between two probes of whether a replica serves. One that does and of which nobody wants anything is
        /// probed after four of these by a frontend, and not at all by an order server.
        probe_interval_ms: u64 = 500, 10..=MINUTE_MS;

        /// Milliseconds after which a probe has failed.
        probe_timeout_ms: u64 = 500, 10..=MINUTE_MS;

        /// Milliseconds after which a request is tried at another replica though this one seems well. One that does not, or
        /// that led and was replaced, is not waited for; and a read is asked of another one, too, once it takes 150.
        attempt_timeout_ms: u64 = 3_000, 10..=MINUTE_MS;

        /// Milliseconds in which a read must have succeeded, all attempts together.
        read_deadline_ms: u64 = 6_000, 20..=10 * MINUTE_MS;

        /// Milliseconds in which a write must have succeeded, all attempts together. It should outlast an election, and so
        /// hide it from the customer.
        write_deadline_ms: u64 = 10_000, 20..=10 * MINUTE_MS;
    }

    /// What every node grants those who connect to it.
    "http" Http {
        /// Connections open at once at one node, at most. A node takes fewer, and says so, where the hard limit on open
        /// files (ulimit -Hn) is less than about twice as many.
        max_connections: usize = 4_096, 1..=1_000_000;

        /// Bytes of a request's body, at most.
        max_body_bytes: usize = 65_536, KIB..=16 * MIB;

        /// Milliseconds in which a request's head must arrive, and again in which its body must.
        header_timeout_ms: u64 = 10_000, 100..=HOUR_MS;

        /// Milliseconds in which a request must be answered. More than the balancer's deadlines.
        request_timeout_ms: u64 = 15_000, 100..=HOUR_MS;

        /// Milliseconds after which a connection without requests is closed. Above the time for which the nodes keep unused
        /// connections to each other.
        idle_timeout_ms: u64 = 75_000, 10_000..=HOUR_MS;

        /// Milliseconds that requests under way are given when a node is stopped.
        drain_timeout_ms: u64 = 5_000, 0..=HOUR_MS;
    }

    /// What is logged.
    "log" Log {
        /// The least level that is logged, or such a level and others by module, as `"info,bazar::http=debug"`.
        level: String = "info".to_owned(), FILTER;
    }
}
