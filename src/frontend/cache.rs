//! The cache: answers of the catalog, bounded in number and age, dropped when what they tell changes.
//!
//! Nothing is searched for to be dropped. Each tag has a generation, kept in a table of counters that tags
//! are hashed into; an entry carries the generation that its fill noted before it asked, and an
//! invalidation adds one. An entry whose generation is not the current one is not there. So all pages of
//! a topic fall at once, and an answer that was on its way during an invalidation is never served. In the
//! same way an entry carries the [lease](super::lease)'s era, and is not there in any other.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::{Method, StatusCode};
use moka::notification::RemovalCause;
use moka::policy::EvictionPolicy;
use tokio::time::Instant;

use super::cached_response::CachedResponse;
use super::lease::{Lease, LeaseStats};
use crate::api::{Call, Endpoint};
use crate::config::Role;
use crate::error::ApiError;
use crate::http::serialized::SerializedResponse;
use crate::model::BookId;
use crate::protocol::cache::{Session, Tag};
use crate::protocol::request::{Page, book_id, searched_topic};

/// The largest answer that is held, in bytes: one that is larger would push out hundreds that are asked for more often.
const MAX_ENTRY_BYTES: usize = 256 << 10;

/// What an entry takes besides its answer and its key, in bytes: what moka and this cache keep about it.
const ENTRY_OVERHEAD_BYTES: usize = 512;

/// In what entries are weighed, in bytes: all of the largest cache weigh less than a `u32` holds, which is what moka takes.
const WEIGHT_BYTES: u64 = 64;

/// Counters that tags are hashed into. Two tags that share one are invalidated together.
const STRIPES: usize = 4096;

/// What an answer was an answer to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CacheKey {
    /// `GET /info/{id}`.
    Info(BookId),
    /// `GET /search/{topic}`.
    Search {
        /// In lower case.
        topic: String,
        /// Which page.
        page: Page,
    },
}

impl CacheKey {
    /// What a request asks for; nothing if that is not kept.
    ///
    /// # Errors
    /// If there can be no such thing.
    pub fn of_call(call: &Call<'_>, query: Option<&str>) -> Result<Option<CacheKey>, ApiError> {
        Ok(match call.endpoint {
            Endpoint::Info => Some(CacheKey::Info(book_id(call.parameter())?)),
            Endpoint::Search => {
                Some(CacheKey::Search { topic: searched_topic(call.parameter())?, page: Page::of(query)? })
            }
            _ => None,
        })
    }

    /// The key of the request that goes to `target`, if there is one.
    pub fn of(target: &str) -> Option<CacheKey> {
        // The most frequent request of all, without taking it apart.
        if let Some(id) = target.strip_prefix("/info/").and_then(|id| book_id(id).ok()) {
            return Some(CacheKey::Info(id));
        }
        let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
        CacheKey::of_call(&Call::of(Role::Frontend, &Method::GET, path).ok()?, query).ok()?
    }

    /// What the answer depends on.
    fn tags(&self) -> [Option<Tag>; 2] {
        match self {
            CacheKey::Info(book_id) => [Some(Tag::Book(*book_id)), Some(Tag::Absence)],
            CacheKey::Search { topic, .. } => [Some(Tag::Topic(topic.clone())), None],
        }
    }
}

/// What a fill noted before it asked: what must still be so for its answer to hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Noted {
    era: u64,
    /// Stripes and their generations; the second is unused by most.
    generations: [Option<(usize, u64)>; 2],
}

/// What is held: the answer as it was given, and as it goes out.
struct Entry {
    answer: CachedResponse,
    prepared: SerializedResponse,
    noted: Noted,
}

/// What a cache counts.
#[derive(Default)]
struct Counters {
    hits: AtomicU64,
    misses: AtomicU64,
    evictions: AtomicU64,
    invalidations: AtomicU64,
}

/// What a cache counted, and how full it is.
#[derive(Clone, Debug, serde::Serialize)]
pub struct CacheStats {
    /// Whether there is a cache at all.
    pub enabled: bool,
    /// Answers from the cache.
    pub hits: u64,
    /// Answers that had to be fetched.
    pub misses: u64,
    /// Hits among all.
    pub hit_rate: f64,
    /// Answers held.
    pub entries: u64,
    /// Answers that can be held.
    pub capacity: u64,
    /// What the answers held count as, in bytes.
    pub bytes: u64,
    /// As many bytes can be held.
    pub capacity_bytes: u64,
    /// Answers that made room for others or grew too old.
    pub evictions: u64,
    /// Tags that were invalidated.
    pub invalidations: u64,
    /// Whether the cache may be used.
    pub lease: LeaseStats,
}

/// The bounds of a cache.
#[derive(Clone, Copy, Debug)]
pub struct CacheLimits {
    /// Whether anything is cached.
    pub enabled: bool,
    /// Answers held at most.
    pub capacity: u64,
    /// Bytes of answers held at most, about.
    pub capacity_bytes: u64,
    /// How long an answer is held at most.
    pub ttl: Duration,
    /// Whether the least recently used answer makes room, or the least frequently used one.
    pub is_lru: bool,
}

impl CacheLimits {
    /// What all entries may weigh together.
    fn weight(&self) -> u64 {
        (self.capacity_bytes / WEIGHT_BYTES).max(1)
    }

    /// What an entry weighs: its bytes, and at least so much that there are not too many.
    fn weight_of(&self, key: &CacheKey, entry: &Entry) -> u32 {
        let key_bytes = match key {
            CacheKey::Info(_) => 0,
            CacheKey::Search { topic, .. } => topic.len(),
        };
        let bytes = entry.prepared.bytes() + key_bytes + ENTRY_OVERHEAD_BYTES;
        let weight = (bytes as u64).div_ceil(WEIGHT_BYTES).max(self.weight().div_ceil(self.capacity.max(1)));
        u32::try_from(weight).unwrap_or(u32::MAX)
    }
}

/// A cache of answers.
pub struct Cache {
    entries: moka::sync::Cache<CacheKey, Arc<Entry>>,
    generations: Box<[AtomicU64]>,
    hasher: RandomState,
    counters: Arc<Counters>,
    limits: CacheLimits,
    lease: Lease,
}

impl Cache {
    /// An empty cache.
    pub fn new(limits: CacheLimits) -> Cache {
        let counters: Arc<Counters> = Arc::default();
        let counted = counters.clone();
        let policy = if limits.is_lru { EvictionPolicy::lru() } else { EvictionPolicy::tiny_lfu() };
        let entries = moka::sync::Cache::builder()
            .max_capacity(if limits.enabled { limits.weight() } else { 0 })
            .weigher(move |key: &CacheKey, entry: &Arc<Entry>| limits.weight_of(key, entry))
            .time_to_live(limits.ttl)
            .eviction_policy(policy)
            .eviction_listener(move |_, _, cause| {
                if matches!(cause, RemovalCause::Size | RemovalCause::Expired) {
                    counted.evictions.fetch_add(1, Ordering::Relaxed);
                }
            })
            .build();
        let generations = (0..STRIPES).map(|_| AtomicU64::new(0)).collect();
        Cache { entries, generations, hasher: RandomState::new(), counters, limits, lease: Lease::none() }
    }

    /// The answer to `key`, if there is one that still holds. If not, that is counted as a miss.
    pub fn get(&self, key: &CacheKey) -> Option<CachedResponse> {
        let held = self.take(key).filter(|entry| self.serve(entry));
        if held.is_none() {
            self.counters.misses.fetch_add(1, Ordering::Relaxed);
        }
        held.map(|entry| entry.answer.clone())
    }

    /// The answer to `key` as it goes out, if there is one that still holds.
    pub fn get_prepared(&self, key: &CacheKey) -> Option<SerializedResponse> {
        self.take(key).filter(|entry| self.serve(entry)).map(|entry| entry.prepared.clone())
    }

    /// The first half of a hit: what is held, whether or not it still holds.
    fn take(&self, key: &CacheKey) -> Option<Arc<Entry>> {
        self.entries.get(key)
    }

    /// The second half: whether it may be given now. This process may have stood still since the first.
    fn serve(&self, entry: &Entry) -> bool {
        let holds = self.holds(&entry.noted);
        if holds {
            self.counters.hits.fetch_add(1, Ordering::Relaxed);
        }
        holds
    }

    /// What a fill must note before it asks.
    pub fn note(&self, key: &CacheKey) -> Noted {
        let era = self.lease.era();
        let generations = key.tags().map(|tag| {
            let stripe = self.stripe(&tag?);
            Some((stripe, self.generations[stripe].load(Ordering::SeqCst)))
        });
        Noted { era, generations }
    }

    /// Whether what was noted just now stands under a lease that lasts.
    ///
    /// Then every write that was acknowledged until now had this frontend forget what it changed. Without a lease
    /// the leader no longer tells it.
    pub fn is_covered(&self, noted: &Noted) -> bool {
        self.holds(noted)
    }

    /// Keeps an answer, unless it was invalidated since `noted` or is too large. Tells whether it is kept.
    pub fn fill(&self, key: CacheKey, noted: Noted, answer: CachedResponse) -> bool {
        if !self.limits.enabled || answer.body.len() > MAX_ENTRY_BYTES || !self.holds(&noted) {
            return false;
        }
        let Noted { era, generations: [first, _] } = noted;
        let noted = match (&key, answer.status) {
            // That a book is there does not depend on which ones are not.
            (CacheKey::Info(_), StatusCode::OK) => Noted { era, generations: [first, None] },
            _ => noted,
        };
        // An invalidation from now on finds the entry with the generation that it ends.
        let prepared = SerializedResponse::new(answer.clone().hit());
        let answer = CachedResponse { body: prepared.body(), ..answer };
        self.entries.insert(key, Arc::new(Entry { answer, prepared, noted }));
        true
    }

    /// Drops everything that depends on `tag`. Once this returns, nothing of it is served.
    pub fn invalidate(&self, tag: &Tag) {
        self.generations[self.stripe(tag)].fetch_add(1, Ordering::SeqCst);
        self.counters.invalidations.fetch_add(1, Ordering::Relaxed);
    }

    /// Drops everything.
    pub fn invalidate_all(&self) {
        for generation in &self.generations {
            generation.fetch_add(1, Ordering::SeqCst);
        }
        self.entries.invalidate_all();
        self.counters.invalidations.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes a lease that was asked for at `asked_at`.
    pub fn grant(&self, session: Session, asked_at: Instant, lease: Duration) {
        if self.lease.grant(session, asked_at, lease) {
            // Out of reach already; this only frees the memory.
            self.entries.invalidate_all();
        }
    }

    /// Drops everything, for a new leader of the catalog does not know what is held. Once this returns, nothing
    /// of it is served.
    pub fn end_session(&self) {
        self.lease.end();
        self.entries.invalidate_all();
    }

    /// The lease under which the cache is used.
    pub fn lease(&self) -> &Lease {
        &self.lease
    }

    /// What was counted so far.
    pub fn stats(&self) -> CacheStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (hits, misses) = (read(&self.counters.hits), read(&self.counters.misses));
        self.entries.run_pending_tasks();
        CacheStats {
            enabled: self.limits.enabled,
            hits,
            misses,
            hit_rate: if hits + misses == 0 { 0.0 } else { hits as f64 / (hits + misses) as f64 },
            entries: self.entries.entry_count(),
            capacity: self.limits.capacity,
            bytes: self.entries.weighted_size() * WEIGHT_BYTES,
            capacity_bytes: self.limits.capacity_bytes,
            evictions: read(&self.counters.evictions),
            invalidations: read(&self.counters.invalidations),
            lease: self.lease.stats(),
        }
    }

    fn holds(&self, noted: &Noted) -> bool {
        let is_current =
            |(stripe, generation): &(usize, u64)| self.generations[*stripe].load(Ordering::SeqCst) == *generation;
        self.lease.check(noted.era, || noted.generations.iter().flatten().all(is_current))
    }

    fn stripe(&self, tag: &Tag) -> usize {
        self.hasher.hash_one(tag) as usize % STRIPES
    }
}

#[cfg(test)]
mod tests;
