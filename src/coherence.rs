//! The vocabulary of cache coherence: what frontends cache and the catalog's leader invalidates.

use serde::{Deserialize, Serialize};

use crate::model::BookId;

/// Where the catalog's leader sends invalidations, on each frontend.
pub const INVALIDATE: &str = "/internal/cache/invalidate";

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

/// A topic as searches compare it and tags name it.
pub fn normalized(topic: &str) -> String {
    topic.to_lowercase()
}
