//! What only the catalog's leader does: decide writes.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::application::CatalogApplication;
use super::command::{Command, SeedPart};
use super::invalidation::Invalidator;
use crate::certainty::{Certain, Certainty};
use crate::codec::{bounded, decode, encode};
use crate::csv::read_seed;
use crate::model::Book;
use crate::platform::{BoxFuture, Platform};
use crate::protocol::cache::{LeaseEnd, LeaseReply, LeaseRequest, Tag, normalized};
use crate::protocol::catalog::{MAX_WRITES, Write};
use crate::replica::{Consensus, LeaderEpoch, LeaderService, WriteError};

/// Books of a new shop that go into the log at a time: a log entry must reach a follower well within the time after
/// which a leader that is not heard is replaced.
const SEED_PART_BOOKS: usize = 1000;

/// What only the leader answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum LeaderRequest {
    /// Decide these writes; answered with [`Decided`](crate::protocol::catalog::Decided).
    Decide(#[serde(deserialize_with = "bounded::list::<_, _, MAX_WRITES>")] Vec<Write>),
    /// Grant a frontend a lease; answered with a [`LeaseReply`].
    Lease(LeaseRequest),
    /// Take a lease back; answered with nothing.
    EndLease(LeaseEnd),
}

/// What a read asks of the leader: whether a write to any of these is under way.
#[derive(Default, Deserialize)]
struct Tags(#[serde(deserialize_with = "bounded::list::<_, _, MAX_TAGS>")] Vec<Tag>);

/// Tags of one question, at most.
const MAX_TAGS: usize = 8;

/// Decides writes while this replica leads the catalog.
pub struct CatalogLeader {
    /// The state that commands are applied to.
    pub application: Arc<CatalogApplication>,
    /// The group that this replica leads.
    pub consensus: Consensus,
    /// The frontends' caches.
    pub invalidator: Invalidator,
    /// To read the seed with.
    pub platform: Platform,
    /// The books of a new shop.
    pub seed: PathBuf,
    /// What was last told to be wrong with them.
    pub told: Mutex<String>,
}

impl LeaderService for CatalogLeader {
    fn on_become_leader(&self, leader_epoch: LeaderEpoch) -> BoxFuture<'_, Result<(), WriteError>> {
        Box::pin(async move {
            let holders = self.application.state().lease_holders.clone();
            for frontend in self.invalidator.on_become_leader(leader_epoch, &holders).await {
                // The next leader need not wait for it again. If this fails it does.
                let _ = self
                    .consensus
                    .propose(leader_epoch, Command::LeaseHolder { frontend, holder: None }.encode())
                    .await;
            }
            if self.application.state().seeded {
                return Ok(());
            }
            let seed = self.seed().await?;
            tracing::info!(books = seed.len(), from = %self.seed.display(), "filling a new shop");
            for part in seed_parts(seed) {
                self.consensus.propose(leader_epoch, Command::Seed(part).encode()).await?;
            }
            Ok(())
        })
    }

    fn observe(&self, question: &Bytes) -> Bytes {
        let Tags(tags) = decode(question).unwrap_or_default();
        let pending: Vec<bool> = tags.iter().map(|tag| self.invalidator.is_pending(tag)).collect();
        encode(&pending)
    }

    fn call(&self, request: Bytes) -> BoxFuture<'_, Result<Bytes, WriteError>> {
        Box::pin(async move {
            let request: LeaderRequest = decode(&request)
                .map_err(|error| WriteError::Unavailable(format!("not a request to the catalog's leader: {error}")))?;
            match request {
                LeaderRequest::Decide(writes) => self.decide(writes).await,
                LeaderRequest::Lease(request) => Ok(encode(&self.lease(&request).await?)),
                LeaderRequest::EndLease(lease) => {
                    self.invalidator.end(&lease);
                    Ok(Bytes::new())
                }
            }
        })
    }
}

/// Whether a write to each of the tags in the question was under way, as [`CatalogLeader`] observed it.
pub fn pending(observed: &Bytes) -> Vec<bool> {
    decode(observed).unwrap_or_default()
}

impl CatalogLeader {
    /// Has the group decide, and brings its replies as they are.
    async fn decide(&self, writes: Vec<Write>) -> Result<Bytes, WriteError> {
        let command = Command::Writes(writes);
        let bytes = command.encode();
        let topic_of = |book_id| self.application.state().books.get(&book_id).map(|book| normalized(&book.topic));
        let propose = |leader_epoch| self.consensus.propose(leader_epoch, bytes.clone());
        let (outcome, under_way) = self.invalidator.propose(command.writes(), topic_of, propose).await?;
        let outcome = outcome.await;
        if outcome.certainty() != Certainty::Unknown {
            under_way.finish();
        }
        outcome
    }

    /// Grants a frontend's process a lease, once the log notes that it may have one.
    async fn lease(&self, request: &LeaseRequest) -> Result<LeaseReply, WriteError> {
        let admission = match self.invalidator.admit(request) {
            Ok(admission) => admission,
            Err(refusal) => return Ok(refusal),
        };
        if let Some((leader_epoch, holder)) = admission.to_note() {
            let (frontend, holder) = (request.frontend.clone(), Some(holder.clone()));
            self.consensus.propose(leader_epoch, Command::LeaseHolder { frontend, holder }.encode()).await?;
        }
        self.consensus.confirm_leadership().await?;
        Ok(self.invalidator.grant(request, admission))
    }

    async fn seed(&self) -> Result<Vec<Book>, WriteError> {
        let (disk, path) = (self.platform.disk.clone(), self.seed.clone());
        let read = move || {
            let text = disk.read(&path).map_err(|error| {
                WriteError::Unavailable(format!("the new shop's books cannot be read: {}: {error}", path.display()))
            })?;
            read_seed(&path, &text).map_err(|errors| WriteError::Unavailable(errors.to_string()))
        };
        self.platform.blocking(read).await.map_err(|error| self.tell_once(error))
    }

    /// Logs what is wrong with the seed, unless it was the last that was logged of it. It is read again and again.
    fn tell_once(&self, error: WriteError) -> WriteError {
        let mistakes = error.to_string();
        let mut told = self.told.lock();
        if *told != mistakes {
            tracing::error!("the new shop cannot be filled: {mistakes}");
            *told = mistakes;
        }
        let seed = self.seed.display();
        WriteError::Unavailable(format!(
            "the new shop cannot be filled from {seed}: the log of its leader says what is wrong"
        ))
    }
}

/// The books of a new shop as commands, of which there is at least one. Each takes its books out of memory.
fn seed_parts(books: Vec<Book>) -> impl Iterator<Item = SeedPart> {
    let count = books.len().div_ceil(SEED_PART_BOOKS).max(1);
    let mut books = books.into_iter();
    (0..count).map(move |number| {
        let books = books.by_ref().take(SEED_PART_BOOKS).collect();
        SeedPart { books, is_first: number == 0, is_last: number + 1 == count }
    })
}
