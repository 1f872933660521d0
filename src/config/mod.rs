//! The configuration: one file that tells every node of a cluster who its peers are and how to behave.
//!
//! Here stand only the settings and what each trades. A [`Config`] is loaded whole and sound or not at
//! all, so the rest of the house checks nothing again. What is wrong is told all at once, each mistake
//! with its place, because finding them one start at a time is a poor way to spend an evening.
//! This module does not know what the settings are used for, nor which node this process is.
//!
//! The way of a value: `source` lays the file, the environment and the flags over each other;
//! `reader` takes values out of them and remembers what was asked for and what was wrong;
//! `schema` and `nodes` say which keys there are.

mod mistake;
mod nodes;
mod reader;
mod schema;
mod source;

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

pub use mistake::ConfigErrors;

/// What a node does in the cluster. All nodes of one role form a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Talks to customers and caches.
    Frontend,
    /// Owns books, prices and stock.
    Catalog,
    /// Owns purchases.
    Order,
}

impl Role {
    /// Every role.
    pub const ALL: [Role; 3] = [Role::Frontend, Role::Catalog, Role::Order];

    /// The role's name in files, flags and node ids.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Frontend => "frontend",
            Role::Catalog => "catalog",
            Role::Order => "order",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a text is no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a role is frontend, catalog or order")]
pub struct NotARole;

impl FromStr for Role {
    type Err = NotARole;

    fn from_str(text: &str) -> Result<Self, NotARole> {
        Role::ALL.into_iter().find(|role| role.name() == text).ok_or(NotARole)
    }
}

/// One process of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// `<role>-<number>`, as `catalog-2`; unique, and safe as the name of a folder.
    pub id: String,
    /// What it does.
    pub role: Role,
    /// The number in its id, from 1: unique in its group.
    pub number: u64,
    /// `host:port` at which the other nodes reach it; unique, and never port 0.
    pub address: String,
    /// `host:port` at which it accepts connections. Differs from `address` where the host that others
    /// see is none of the machine's own, as in a container.
    pub listen: String,
}

/// All settings of a cluster, the same for each of its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Folder of all nodes' data: node `x` keeps its files in `data/x`. A relative path starts at the
    /// working directory.
    pub data: PathBuf,
    /// CSV file of the books that a new cluster starts with. A relative path starts at the working
    /// directory.
    pub seed: PathBuf,
    /// The frontends, at least one.
    pub frontends: Vec<Node>,
    /// The catalog's replicas, at least one.
    pub catalogs: Vec<Node>,
    /// The order group's replicas, at least one.
    pub orders: Vec<Node>,
    /// The frontends' cache.
    pub cache: Cache,
    /// How replicas read.
    pub reads: Reads,
    /// How a group keeps its replicas alike.
    pub replication: Replication,
    /// How frontends choose replicas.
    pub balancer: Balancer,
    /// What every node grants those who connect to it.
    pub http: Http,
    /// What is logged.
    pub log: Log,
}

/// The frontends' cache. It never makes an answer stale; it only saves asking a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Whether there is one. Without it every read asks a replica.
    pub enabled: bool,
    /// Entries kept at most, a book or a page of a search each: memory against hits.
    pub capacity: u64,
    /// Bytes of the entries at most, about. An entry counts as `capacity_bytes / capacity` at least.
    pub capacity_bytes: u64,
    /// Milliseconds after which an unchanged entry is fetched again. Writes remove entries at once, so
    /// this only bounds how long an entry that nobody wants takes up space.
    pub ttl_ms: u64,
    /// Which entry leaves a full cache.
    pub policy: EvictionPolicy,
    /// Milliseconds that a frontend may answer from its cache without a word from the catalog's leader:
    /// how long a write waits, once, for a frontend that died against how often leases are renewed.
    pub lease_ms: u64,
    /// By how much one machine's clock may run faster than another's, in percent: how much longer than
    /// `lease_ms` the leader waits. Too small, and a frontend may serve what has changed.
    pub clock_drift_percent: u32,
}

/// Which entry leaves a full cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EvictionPolicy {
    /// The one that was not used for the longest time: follows a change of taste at once.
    Lru,
    /// The one that was used least often of late: a scan over all books does not empty the cache.
    TinyLfu,
}

/// How replicas read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reads {
    /// What a replica answers while its group has no majority.
    pub without_majority: WithoutMajority,
    /// Milliseconds that a replica waits for its group to have a leader before it takes it that there
    /// is no majority: a slow answer against one that an election under way would have made current.
    pub majority_wait_ms: u64,
}

/// What a replica answers while its group has no majority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WithoutMajority {
    /// What it holds, marked as stale: available rather than current.
    Stale,
    /// An error: current or nothing.
    Refuse,
}

/// How a group keeps its replicas alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// Milliseconds between a leader's signs of life: what an idle shop costs against how soon a death is seen.
    pub heartbeat_ms: u64,
    /// Milliseconds without a sign of life after which a follower may call an election, at least. As long may
    /// it take to store what it is sent, so this must be well above an fsync.
    pub election_timeout_min_ms: u64,
    /// The same, at most. Each follower draws anew between the two each time, so that rarely two of them
    /// stand at once: a short outage against elections that a slow disk or network provokes.
    pub election_timeout_max_ms: u64,
    /// Milliseconds after which the outcome of a write that was not committed is unknown.
    pub commit_timeout_ms: u64,
    /// Writes that may wait for their turn; purchases that came in one request are one. More are refused at once:
    /// patience against quick refusal.
    pub queue_commands: usize,
    /// Such writes that share one round of replication and one fsync, at most.
    pub batch_commands: usize,
    /// Bytes by which the log grows between two snapshots: the disk and the time that a restart takes
    /// against the writing of snapshots.
    pub snapshot_log_bytes: u64,
    /// Bytes of one file of the log, about. The log gives space back in whole files.
    pub segment_bytes: u64,
    /// Bytes of the log's newest entries that are kept in memory for followers that lag.
    pub cache_bytes: u64,
}

/// How frontends choose replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balancer {
    /// Milliseconds between two probes of whether a replica serves that is in use or left out; one that is idle
    /// is probed more rarely.
    pub probe_interval_ms: u64,
    /// Milliseconds after which a probe has failed.
    pub probe_timeout_ms: u64,
    /// Milliseconds after which a request is tried at another replica, though this one seems well. A read is asked of
    /// another one long before, without giving up this one.
    pub attempt_timeout_ms: u64,
    /// Milliseconds in which a read must have succeeded, all attempts together.
    pub read_deadline_ms: u64,
    /// The same for a write. Long enough to outlast an election, so that a customer does not see one.
    pub write_deadline_ms: u64,
}

/// What every node grants those who connect to it. Each is a limit on what one client can take up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    /// Connections open at once, at most.
    pub max_connections: usize,
    /// Bytes of a request's body, at most.
    pub max_body_bytes: usize,
    /// Milliseconds in which a request's head must arrive.
    pub header_timeout_ms: u64,
    /// Milliseconds in which a request must be answered.
    pub request_timeout_ms: u64,
    /// Milliseconds after which a connection without requests is closed.
    pub idle_timeout_ms: u64,
    /// Milliseconds that requests under way are given when the node shuts down.
    pub drain_timeout_ms: u64,
}

/// What is logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// Levels, and modules with their levels, one for all of bazar among them: `info`, `info,bazar::http=debug`.
    pub level: String,
}

impl Config {
    /// Reads `file`, over it the environment's `BAZAR_*` variables, and over both the `overrides`, pairs
    /// of a dotted key and a value, such as `("cache.enabled", "false")`.
    pub fn load(file: &Path, overrides: &[(String, String)]) -> Result<Config, ConfigErrors> {
        let toml = source::read_file(file)?;
        Config::from_sources(file, &toml, source::environment(), overrides)
    }

    /// [`Config::load`] without the machine: `file` only names where `toml` came from.
    fn from_sources(
        file: &Path,
        toml: &str,
        environment: Vec<(String, String)>,
        overrides: &[(String, String)],
    ) -> Result<Config, ConfigErrors> {
        let sources = source::Sources::gather(file, toml, environment, overrides)?;
        let mut reader = reader::Reader::new(&sources);
        let config = schema::read(&mut reader);
        match reader.into_mistakes() {
            mistakes if mistakes.is_empty() => Ok(config),
            mistakes => Err(ConfigErrors::new(file, mistakes)),
        }
    }

    /// The nodes of one role, in the file's order.
    pub fn group(&self, role: Role) -> &[Node] {
        match role {
            Role::Frontend => &self.frontends,
            Role::Catalog => &self.catalogs,
            Role::Order => &self.orders,
        }
    }

    /// The node with this id.
    pub fn node(&self, id: &str) -> Option<&Node> {
        self.nodes().find(|node| node.id == id)
    }

    /// All nodes, frontends first.
    pub fn nodes(&self) -> impl Iterator<Item = &Node> {
        Role::ALL.into_iter().flat_map(|role| self.group(role))
    }
}

#[cfg(test)]
mod tests;
