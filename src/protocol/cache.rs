//! The vocabulary of cache coherence: what frontends and the catalog's leader say to each other.
//!
//! The protocol itself stands in two halves, [`crate::catalog`]'s and [`crate::frontend`]'s, and is told as a
//! whole in `ARCHITECTURE.md`. It follows leases as in Gray and Cheriton, "Leases: an efficient fault-tolerant
//! mechanism for distributed file cache consistency" (SOSP 1989), and the sessions of Burrows, "The Chubby lock
//! service for loosely-coupled distributed systems" (OSDI 2006), section 2.7.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::api::Endpoint;
use crate::model::BookId;

/// Where the catalog's leader sends invalidations, on each frontend.
pub const INVALIDATE: &str = Endpoint::CacheInvalidate.path();

/// Where a new leader of the catalog announces itself, on each frontend.
pub const ANNOUNCE: &str = Endpoint::CacheAnnounce.path();

/// Where a frontend asks for its lease, on each catalog server.
pub const LEASE: &str = Endpoint::CatalogLease.path();

/// Where a frontend that stops gives its lease back, on each catalog server.
pub const END_LEASE: &str = Endpoint::CatalogEndLease.path();

/// Says whether an answer may be cached: not while a write to it is under way.
pub const CACHEABLE: HeaderName = HeaderName::from_static("bazar-cacheable");

/// Names, on what the catalog's leader sends to a frontend, the process that it is meant for.
const PROCESS: HeaderName = HeaderName::from_static("bazar-process");

/// The largest invalidation, in bytes. Where more is to be forgotten, everything is.
pub const MAX_INVALIDATION_BYTES: usize = 64 << 10;

/// One process of a frontend, drawn anew at each start.
///
/// A lease is a process's, not a name's: of two processes under one name only the one that has the lease confirms, and
/// the other has none. Frontends tell their number to catalog servers alone, so nobody else can speak to their caches.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId(uuid::Uuid);

impl ProcessId {
    /// A number that no process has had.
    pub fn fresh() -> ProcessId {
        ProcessId(uuid::Uuid::new_v4())
    }

    /// The number as a header, and the header's name.
    pub fn header(self) -> (HeaderName, HeaderValue) {
        let value = HeaderValue::try_from(self.text()).expect("hexadecimal digits are a header value");
        (PROCESS, value)
    }

    /// Whether a request is meant for this process.
    pub fn is_meant_by(self, headers: &HeaderMap) -> bool {
        headers.get(PROCESS).is_some_and(|value| value.as_bytes() == self.text().as_bytes())
    }

    fn text(self) -> String {
        self.0.simple().to_string()
    }
}

impl std::fmt::Debug for ProcessId {
    /// Whoever reads a log must not be able to speak to a cache.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ProcessId")
    }
}

/// What a frontend is to forget before a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Invalidation {
    /// All answers that depend on any of these.
    Tags(Vec<Tag>),
    /// All answers.
    Everything,
}

/// What a cached answer depends on, and a write changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Tag {
    /// One book, whether it exists or not.
    Book(BookId),
    /// That some book does not exist: a new book may be that one.
    Absence,
    /// All pages of searches for one topic, in lower case.
    Topic(String),
}

/// A topic as searches compare it and tags name it: without blanks around it, and letter by letter in lower case, where a
/// sigma at the end of a word is a sigma.
pub fn normalized(topic: &str) -> String {
    topic.trim().chars().flat_map(char::to_lowercase).map(|letter| if letter == 'ς' { 'σ' } else { letter }).collect()
}

/// One unbroken time in which one replica leads. Never used again.
pub type Epoch = u128;

/// One unbroken time in which a leader knows what a frontend may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Session {
    /// The leader's.
    pub epoch: Epoch,
    /// Among the sessions of this epoch.
    pub number: u64,
}

/// A frontend asks to be allowed to answer from its cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRequest {
    /// Its name in the configuration.
    pub frontend: String,
    /// Its process.
    pub process: ProcessId,
    /// The session that it is in.
    pub session: Option<Session>,
}

/// A frontend's process that stops answers from its cache no more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseEnd {
    /// Its name in the configuration.
    pub frontend: String,
    /// Its process.
    pub process: ProcessId,
}

/// The leader's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LeaseReply {
    /// It may, in this session, until `lease_ms` after it asked. If it was in another session, or in
    /// none, it first drops what it holds.
    Granted {
        /// The session.
        session: Session,
        /// How long, by the frontend's clock, from the moment at which it asked.
        lease_ms: u64,
    },
    /// Not now: the frontend has not confirmed an invalidation, or the leader's epoch has just changed.
    NotNow,
    /// Not now: another process has the lease of this frontend, which must run out.
    HeldByAnother,
    /// Never: the configuration does not name this frontend, so nobody would tell it of writes.
    Stranger,
}
