//! The configuration: one file that tells every node of a cluster who its peers are and how to behave.
//!
//! A [`Config`] is loaded whole and sound or not at all, so the rest of the house checks nothing again. What is wrong is
//! told all at once, each mistake with its place, because finding them one start at a time is a poor way to spend an evening.
//! This module does not know what the settings are used for, nor which node this process is.
//!
//! The way of a value: `source` lays the file, the environment and the flags over each other; `reader` takes values out of
//! them and remembers what was asked for and what was wrong; `sections` and `nodes` say which keys there are, and `rules`
//! what ties two of them together.

mod key;
mod mistake;
mod nodes;
mod reader;
mod rules;
mod sections;
mod source;

use std::fmt;
use std::path::Path;
use std::str::FromStr;

pub use key::Key;
pub use mistake::ConfigErrors;
pub use sections::{
    Balancer, Cache, EvictionPolicy, Http, Log, Machine, Reads, Replication, WithoutMajority, sections,
};

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
    /// Files and threads.
    pub machine: Machine,
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
        let config = Config::read(&mut reader);
        match reader.into_mistakes() {
            mistakes if mistakes.is_empty() => Ok(config),
            mistakes => Err(ConfigErrors::new(file, mistakes)),
        }
    }

    /// Reads all keys. The result is only of use if the reader then has no mistakes.
    fn read(reader: &mut reader::Reader<'_>) -> Config {
        let config = Config {
            machine: Machine::read(&mut reader.top()),
            frontends: nodes::read(reader, Role::Frontend),
            catalogs: nodes::read(reader, Role::Catalog),
            orders: nodes::read(reader, Role::Order),
            cache: Cache::read(&mut reader.section("cache")),
            reads: Reads::read(&mut reader.section("reads")),
            replication: Replication::read(&mut reader.section("replication")),
            balancer: Balancer::read(&mut reader.section("balancer")),
            http: Http::read(&mut reader.section("http")),
            log: Log::read(&mut reader.section("log")),
        };
        rules::check(reader);
        config
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
