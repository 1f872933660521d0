//! Replication: one group of replicas that agree on one sequence of commands, and survive.
//!
//! This is a narrow door in front of openraft. A role gives a [`Application`] (its state) and a
//! [`LeaderService`] (what only a leader may do), and gets a [`Replica`]: a place to
//! [propose](Consensus::propose) commands, to make reads [current](Replica::wait_until_current) and to have
//! requests [answered by the leader](Replica::call_leader). Nothing outside knows openraft's types, and
//! nothing in here knows what a book is.
//!
//! | part | its one idea |
//! | --- | --- |
//! | [`start`] | from a folder and settings to everything that runs |
//! | [`application`] | what a role must be to be replicated |
//! | [`group`] | who belongs to a group, and where they are |
//! | [`consensus`] | who leads, what is committed, and what can be read |
//! | [`storage`] | what a replica keeps on its disk |
//! | [`rpc`], [`server`] | the conversation between replicas: asking, answering, encoding |
//! | [`bootstrap`] | how a group begins and how an empty replica comes back |
//! | [`standing`], [`status`] | how a replica stands, for those who balance over its group, and for people |

mod append_turn;
mod application;
mod bootstrap;
mod consensus;
mod group;
mod rpc;
mod server;
mod standing;
mod start;
mod status;
mod storage;
#[cfg(test)]
mod testing;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::api::Endpoint;
use crate::http::body::Incoming;
pub use application::{
    Application, ApplicationError, BatchTime, LeaderEpoch, LeaderService, SnapshotReader, SnapshotView, Swap,
    WriteError,
};
pub use bootstrap::BootstrapError;
use bytes::Bytes;
pub use consensus::elector::ElectionTimeout;
use consensus::forward::LeaderForward;
pub use consensus::leadership::Leadership;
use consensus::leadership_transfer::{LeadershipTransfer, STOP_TIMEOUT};
use consensus::proposer::Proposer;
pub use consensus::proposer::ProposerLimits;
pub use consensus::read_index::Freshness;
use consensus::read_index::ReadIndex;
pub use group::{Group, Member};
use server::Service;
pub use standing::{Leading, STANDING, Standing, TRIED};
pub use start::{Opened, PREDECESSOR_PATIENCE, PREDECESSOR_PAUSE, Settings, open};
use status::Beside;
pub use status::{PeerStatus, Status};
pub use storage::StartError;
pub use storage::group_clock::MAX_GROUP_MS;
pub use storage::identity::IDENTITY_FILE;
use storage::identity_keeper::IdentityKeeper;
pub use storage::log::LogLimits;
use storage::raft_types::{self, Raft};
use tokio::sync::watch;

use crate::error::ApiError;
use crate::http::reply::Response;
use crate::platform::{BoxFuture, FolderLock};

/// One replica of a group. Cheap to clone.
#[derive(Clone)]
pub struct Replica {
    inner: Arc<Inner>,
}

struct Inner {
    raft: Raft,
    settings: Settings,
    leadership: watch::Receiver<Leadership>,
    reads: ReadIndex,
    leader: LeaderForward,
    service: Service,
    transfer: Arc<LeadershipTransfer>,
    /// What hinders this replica while it leads.
    hindered: watch::Receiver<Option<String>>,
    identity_keeper: IdentityKeeper,
    bootstrap: bootstrap::Bootstrap,
    tables_index: Arc<AtomicU64>,
    failure: watch::Receiver<Option<String>>,
    _lock: Box<dyn FolderLock>,
}

/// What a leader may ask of its group. Cheap to clone.
#[derive(Clone)]
pub struct Consensus {
    proposer: Proposer,
    raft: Raft,
    round_timeout: Duration,
}

impl Consensus {
    /// Queues `command` now, behind those that were queued before; the future commits it and brings what
    /// applying it replied. Once another leader epoch has begun, nothing is proposed in this one.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub fn propose(
        &self,
        leader_epoch: LeaderEpoch,
        command: Bytes,
    ) -> impl Future<Output = Result<Bytes, WriteError>> + Send + 'static {
        self.proposer.begin(leader_epoch, command)
    }

    /// Whether what is proposed in this leader epoch is taken now, as far as this replica knows.
    pub fn is_leading(&self, leader_epoch: LeaderEpoch) -> bool {
        self.proposer.admitted() == Some(leader_epoch)
    }

    /// Returns once a majority has confirmed, after this call, that this replica still leads.
    ///
    /// # Errors
    /// If none did in time.
    pub async fn confirm_leadership(&self) -> Result<(), WriteError> {
        raft_types::confirm_leadership(&self.raft, self.round_timeout).await.map(drop)
    }
}

impl Replica {
    /// Makes this replica part of its group, and returns once it is. Requests of other replicas must be
    /// [answered](Self::handle) meanwhile.
    ///
    /// # Errors
    /// If it must not take part.
    pub async fn take_part(&self, join: bool) -> Result<(), BootstrapError> {
        let is_current = || -> BoxFuture<'_, bool> {
            Box::pin(async { matches!(self.inner.reads.wait(Bytes::new()).await, Ok(Freshness::Current(_))) })
        };
        self.inner.bootstrap.take_part(join, is_current).await
    }

    /// Waits until this replica's state shows every write that was acknowledged before the call, and brings
    /// what the leader [observed](LeaderService::observe) of `question`; or until it is clear that the group
    /// has no majority.
    ///
    /// # Errors
    /// If too many reads are waiting, or this replica is not part of its group: what it holds is nothing then, and
    /// not even old.
    pub async fn wait_until_current(&self, question: Bytes) -> Result<Freshness, WriteError> {
        self.must_be_part()?;
        self.inner.reads.wait(question).await
    }

    /// Whether the group serves, as seen from here: its leader is ready and answers. That one was elected is not
    /// enough, for it may not get ready, as that of a new shop whose first books cannot be read.
    ///
    /// # Errors
    /// What is missing.
    pub async fn ready(&self) -> Result<(), String> {
        match self.wait_until_current(Bytes::new()).await {
            Ok(Freshness::Current(_)) => Ok(()),
            Ok(Freshness::Stale) => {
                let waits = || format!("it waits for the other servers of the {} group", self.group_name());
                Err(self.inner.hindered.borrow().clone().unwrap_or_else(waits))
            }
            Err(error) => Err(error.to_string()),
        }
    }

    /// Has the leader's [`LeaderService`] answer `request`, wherever the leader is, and waits up to
    /// `patience` for there to be one.
    ///
    /// # Errors
    /// See [`WriteError`].
    pub async fn call_leader(&self, request: Bytes, patience: Duration) -> Result<Bytes, WriteError> {
        self.must_be_part()?;
        self.inner.leader.call(request, patience).await
    }

    fn must_be_part(&self) -> Result<(), WriteError> {
        match self.inner.bootstrap.outside() {
            None => Ok(()),
            Some(reason) => Err(WriteError::Unavailable(reason.to_owned())),
        }
    }

    /// Answers a request of another replica: one that [is between replicas](Endpoint::is_between_replicas).
    ///
    /// # Errors
    /// If it is none that a replica makes.
    pub async fn handle(&self, endpoint: Endpoint, request: hyper::Request<Incoming>) -> Result<Response, ApiError> {
        self.inner.service.handle(endpoint, request.into_parts()).await
    }

    /// What the group is called in messages.
    pub fn group_name(&self) -> &'static str {
        self.inner.settings.group.name
    }

    /// Who acts for the group, as far as this replica knows.
    pub fn leadership(&self) -> Leadership {
        *self.inner.leadership.borrow()
    }

    /// The replica that leads, as far as this one knows.
    pub fn leader(&self) -> Option<Leading> {
        self.inner.leading()
    }

    /// How this replica stands to its group; if `is_tried`, it serves only if a read that is made now is current soon.
    pub async fn standing(&self, is_tried: bool) -> Standing {
        self.inner.standing(is_tried).await
    }

    /// Waits until the replica cannot go on, and tells why.
    pub async fn failed(&self) -> String {
        let mut failure = self.inner.failure.clone();
        match failure.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => "its tasks have stopped".to_owned(),
        }
    }

    /// How this replica stands.
    pub fn status(&self) -> Status {
        let Inner { raft, settings, bootstrap, hindered, .. } = &*self.inner;
        let beside = Beside {
            leadership: self.leadership(),
            hindrance: hindered.borrow().clone(),
            tables_index: self.tables_index(),
            refusals: bootstrap.peers.refusals.list(),
        };
        status::status(raft, &settings.group, beside)
    }

    /// The applied index that the CSV tables show.
    pub fn tables_index(&self) -> u64 {
        self.inner.tables_index.load(Ordering::Acquire)
    }

    /// Prepares to stop: this replica stands for election no more, and if it leads it hands over. Requests, those of
    /// other replicas above all, must be answered meanwhile. Takes a bounded time.
    pub async fn retire(&self) {
        self.inner.transfer.retire().await;
    }

    /// Stops replication: nothing more is sent, stored or applied. Takes a bounded time.
    pub async fn stop(&self) {
        let deadline = tokio::time::Instant::now() + STOP_TIMEOUT;
        self.inner.transfer.stop(deadline).await;
        // A disk that hangs is not waited for, and one that fails has been told of.
        let _ = tokio::time::timeout_at(deadline, self.inner.identity_keeper.finish()).await;
    }
}

/// How long a request between replicas may take, where that is longer than any other may.
pub fn request_timeout(path: &str) -> Option<Duration> {
    [Endpoint::RaftSnapshot, Endpoint::BootstrapAdmit]
        .map(Endpoint::path)
        .contains(&path)
        .then_some(rpc::client::SNAPSHOT_TIMEOUT)
}
