//! How far the log is on disk, for those who must wait until it is.
//!
//! A leader's disk and its followers' write an entry at the same time: so a commit takes as long as the slower
//! of them, not as both, one after the other. openraft 0.9 sends an entry only once its log says that the entry
//! is stored; hence the log says so as soon as the write has begun, and what follows from that claim is held
//! back until it is true:
//!
//! | who | before what | where |
//! | --- | --- | --- |
//! | a follower | it confirms entries to its leader | [`service`](crate::replica) |
//! | a leader | a follower's confirmation of entries counts | [`network`](crate::replica) |
//! | every replica | an entry is applied | [`state_machine`](crate::replica) |
//!
//! So an entry is committed only once it is on the leader's disk and on those of the followers that confirmed
//! it: openraft's own count of the leader is early, but never decides alone, for a group of several voters needs
//! a follower's word and a group of one applies nothing early. Votes, truncations and purges are on disk when
//! they return.
//!
//! What a crash takes from a log before it was durable, nobody has been told of; save that a leader's followers
//! may hold entries that the leader itself lost. It must not write others in their place in the same term:
//! see [`Log::read_vote`](super::Log).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

/// Tells how far a log is on disk. Cheap to clone.
#[derive(Clone)]
pub struct Durability {
    /// Writes that were begun.
    begun: Arc<AtomicU64>,
    done: Arc<watch::Sender<Done>>,
}

#[derive(Clone, Debug)]
struct Done {
    /// Writes that the disk has confirmed.
    writes: u64,
    /// The last entry among them, or that the log was opened with.
    last_index: Option<u64>,
    /// The segment that they reach into, and up to which of its bytes; nothing before the first.
    written: Option<(u64, u64)>,
    failure: Option<(io::ErrorKind, String)>,
}

impl Durability {
    pub fn opened(last_index: Option<u64>) -> Durability {
        let done = Done { writes: 0, last_index, written: None, failure: None };
        Durability { begun: Arc::default(), done: Arc::new(watch::Sender::new(done)) }
    }

    /// Returns once the entry of this index, which must have been appended, is on disk.
    ///
    /// # Errors
    /// If the log has failed: nobody knows what it holds then.
    pub async fn reached(&self, index: u64) -> io::Result<()> {
        let is_there = {
            let done = self.done.borrow();
            done.failure.is_none() && done.last_index >= Some(index)
        };
        if is_there { Ok(()) } else { self.settled().await }
    }

    /// Returns once every write that was begun before this call is on disk.
    ///
    /// # Errors
    /// See [`reached`](Self::reached).
    pub async fn settled(&self) -> io::Result<()> {
        let begun = self.begun.load(Ordering::Acquire);
        let mut done = self.done.subscribe();
        let done = done.wait_for(|done| done.failure.is_some() || done.writes >= begun).await;
        match done.map(|done| done.failure.clone()) {
            Ok(None) => Ok(()),
            Ok(Some((kind, what))) => Err(io::Error::new(kind, what)),
            Err(_) => unreachable!("this holds the sender"),
        }
    }

    /// The segment that is written to, and how many of its bytes are on disk; nothing before the first write of this start.
    pub fn written(&self) -> Option<(u64, u64)> {
        self.done.borrow().written
    }

    /// Waits until more than that is written.
    ///
    /// # Errors
    /// If the log has failed.
    pub async fn written_beyond(&self, known: Option<(u64, u64)>) -> io::Result<()> {
        let mut done = self.done.subscribe();
        match done.wait_for(|done| done.failure.is_some() || done.written > known).await {
            Ok(done) => match &done.failure {
                None => Ok(()),
                Some((kind, what)) => Err(io::Error::new(*kind, what.clone())),
            },
            Err(_) => unreachable!("this holds the sender"),
        }
    }

    /// Waits until the log fails, and tells why.
    pub async fn failed(&self) -> String {
        let mut done = self.done.subscribe();
        match done.wait_for(|done| done.failure.is_some()).await {
            Ok(done) => done.failure.as_ref().map_or_else(String::new, |(_, what)| what.clone()),
            Err(_) => unreachable!("this holds the sender"),
        }
    }

    /// A write has begun. There is one at a time.
    pub fn begin(&self) {
        self.begun.fetch_add(1, Ordering::Release);
    }

    /// The write has come to its end, after which the log's last entry is this one, and its newest segment has so many
    /// bytes.
    pub fn end(&self, last_index: Option<u64>, written: (u64, u64), outcome: io::Result<()>) {
        match outcome {
            Ok(()) => self.done.send_modify(|done| {
                done.writes += 1;
                done.last_index = last_index;
                done.written = Some(written);
            }),
            Err(error) => self.fail(&error),
        }
    }

    /// The log has failed for good.
    pub fn fail(&self, error: &io::Error) {
        let what = format!("the log cannot be written, so what it holds is unknown: {error}");
        self.done.send_modify(|done| done.failure = Some((error.kind(), what)));
    }
}
