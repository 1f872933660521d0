//! Who leads the group, and whether the leader may act.
//!
//! To be elected is not enough to serve. A leader that has just been elected does not know yet how far the
//! group had committed: it first commits a barrier and applies it. Then its role prepares what it must ([`LeaderService::take_office`]), and only
//! then it is *in office*. It leaves office when it loses its leadership or hears from no majority.

use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use tokio::sync::watch;
use tokio::time::Instant;

use super::machine::{LeaderService, WriteError};
use super::proposer::{Proposer, Tenure};
use super::raft::{Raft, ServerMetrics};

/// The first pause before office is tried again after its role failed to take it; each further one is twice as
/// long, up to the longest.
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(50);

/// See [`FIRST_RETRY_PAUSE`].
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Who may act for the group, as this replica sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Office {
    /// Nobody that this replica knows of, since then.
    Vacant(Instant),
    /// This replica leads, but is not ready to act since then.
    Preparing(Instant),
    /// This replica acts, in this term.
    Own(u64),
    /// The replica of this number leads.
    Other(u64),
}

impl Office {
    /// Since when nobody has acted.
    pub fn vacant_since(self) -> Option<Instant> {
        match self {
            Office::Vacant(since) | Office::Preparing(since) => Some(since),
            Office::Own(_) | Office::Other(_) => None,
        }
    }
}

/// Keeps `office` true until openraft stops.
pub struct OfficeKeeper {
    pub raft: Raft,
    pub proposer: Proposer,
    pub office: watch::Sender<Office>,
    pub service: Arc<dyn LeaderService>,
    /// How often a leader checks whether it is in contact with the majority.
    pub check_interval: Duration,
    /// A leader that heard from no majority for this long leaves office.
    pub silence_limit: Duration,
}

impl OfficeKeeper {
    /// Runs until openraft stops.
    pub async fn run(self) {
        let mut server = self.raft.server_metrics();
        let mut tenure = 0;
        let mut retry_pause = FIRST_RETRY_PAUSE;
        loop {
            match self.leading() {
                Some(term) => {
                    if *self.office.borrow() != Office::Own(term) {
                        self.announce(Office::Preparing(Instant::now()));
                        tenure += 1;
                        match self.prepare(term, tenure).await {
                            Ok(()) if self.leading() == Some(term) => {
                                tracing::info!(term, "in office: this replica leads its group");
                                self.announce(Office::Own(term));
                                retry_pause = FIRST_RETRY_PAUSE;
                            }
                            Ok(()) => continue,
                            Err(error) => {
                                tracing::warn!(term, %error, "not in office yet");
                                tokio::time::sleep(retry_pause).await;
                                retry_pause = (retry_pause * 2).min(LONGEST_RETRY_PAUSE);
                                continue;
                            }
                        }
                    }
                }
                None => {
                    retry_pause = FIRST_RETRY_PAUSE;
                    let leader = server.borrow().current_leader;
                    let own = server.borrow().id;
                    match leader.filter(|leader| *leader != own) {
                        Some(leader) => self.announce(Office::Other(leader)),
                        None => self.announce(Office::Vacant(Instant::now())),
                    }
                }
            }
            if self.wait(&mut server).await.is_err() {
                return;
            }
        }
    }

    /// Waits until openraft tells of a change or, as a leader, for the next check. Fails once openraft has stopped.
    async fn wait(&self, server: &mut watch::Receiver<ServerMetrics>) -> Result<(), watch::error::RecvError> {
        if server.borrow().state != ServerState::Leader {
            return server.changed().await;
        }
        tokio::time::timeout(self.check_interval, server.changed()).await.unwrap_or(Ok(()))
    }

    /// The term in which this replica leads and is heard by a majority.
    fn leading(&self) -> Option<u64> {
        let server = self.raft.server_metrics();
        let server = server.borrow();
        if server.state != ServerState::Leader || server.current_leader != Some(server.id) {
            return None;
        }
        let is_alone = server.membership_config.membership().voter_ids().count() <= 1;
        let silence_ms = self.raft.data_metrics().borrow().millis_since_quorum_ack;
        let is_heard = silence_ms.is_none_or(|silence_ms| u128::from(silence_ms) <= self.silence_limit.as_millis());
        (is_alone || is_heard).then_some(server.vote.leader_id().term)
    }

    async fn prepare(&self, term: u64, tenure: Tenure) -> Result<(), WriteError> {
        let ready = async {
            self.proposer.begin_tenure(tenure).await?;
            self.service.take_office(tenure).await
        };
        let lost = async {
            let mut server = self.raft.server_metrics();
            while self.leading() == Some(term) && self.wait(&mut server).await.is_ok() {}
        };
        tokio::select! {
            outcome = ready => outcome,
            () = lost => Err(WriteError::NotLeader),
        }
    }

    fn announce(&self, office: Office) {
        self.office.send_if_modified(|current| {
            // A vacancy goes on: it keeps the moment at which it began.
            let office = match (current.vacant_since(), office) {
                (Some(since), Office::Vacant(_)) => Office::Vacant(since),
                (Some(since), Office::Preparing(_)) => Office::Preparing(since),
                (_, office) => office,
            };
            let is_new = *current != office;
            *current = office;
            is_new
        });
    }
}
