//! Try here, else at the leader: the one place that knows where a write goes.
//!
//! Any replica takes any request. A request that only the leader can answer goes through here, so no
//! handler knows who leads, or that leaders change.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::watch;
use tokio::time::Instant;

use super::leader_reach::LeaderReach;
use super::leadership::{self, Leadership};
use crate::api::Endpoint;
use crate::certainty::Certain;
use crate::replica::application::{LeaderService, WriteError};
use crate::replica::rpc::client::Peers;
use crate::replica::rpc::wire::Answer;
use crate::replica::storage::raft_types::Raft;

/// Carries requests to whoever leads. Cheap to clone.
#[derive(Clone)]
pub struct LeaderForward {
    pub raft: Raft,
    pub peers: Peers,
    pub reach: LeaderReach,
    pub leadership: watch::Receiver<Leadership>,
    pub service: Arc<dyn LeaderService>,
    /// What keeps this replica from serving while it leads.
    pub hindrance: watch::Receiver<Option<String>>,
    /// How long a leader elsewhere may take to answer; then the outcome is unknown.
    pub answer_timeout: Duration,
    /// How long the group is waited for to have a leader. Who asks others that wait as well must not wait for each.
    pub majority_wait: Duration,
}

impl LeaderForward {
    /// Has the leader answer `request`, wherever it is. Waits for one until there has been none for `patience`.
    ///
    /// A leader that the group replaces meanwhile is not waited for: its successor gets the same request.
    ///
    /// # Errors
    /// See [`WriteError`]; `Unknown` if the request may have been carried out without an answer.
    pub async fn call(&self, request: Bytes, patience: Duration) -> Result<Bytes, WriteError> {
        let mut deadline = Instant::now() + patience;
        let mut may_have_happened = None;
        let mut leadership = self.leadership.clone();
        loop {
            let current = *leadership.borrow_and_update();
            let outcome = match current {
                Leadership::Own(_) => self.call_here(request.clone()).await,
                Leadership::Other(leader) => tokio::select! {
                    outcome = self.call_there(leader, &request) => outcome,
                    Ok(_) = leadership.wait_for(|leadership| is_replaced(leader, *leadership)) => {
                        let former = self.peers.group.label(leader);
                        may_have_happened = Some(WriteError::Unknown(format!("{former} was replaced before it answered")));
                        deadline = Instant::now() + patience;
                        continue;
                    }
                },
                Leadership::Vacant(_) | Leadership::Preparing(_) => Err(WriteError::NotLeader),
            };
            match outcome {
                Err(WriteError::NotLeader) => {}
                // Whoever refuses now says nothing of what a former leader may have done.
                Err(error) => return Err(may_have_happened.unwrap_or(error)),
                Ok(answer) => return Ok(answer),
            }
            if !leadership::try_again(&mut leadership, current, deadline, patience).await {
                return Err(may_have_happened.unwrap_or_else(|| self.no_leader()));
            }
        }
    }

    /// Answers `request` if this replica leads and is ready to.
    pub async fn call_here(&self, request: Bytes) -> Result<Bytes, WriteError> {
        let leadership = *self.leadership.borrow();
        match leadership {
            Leadership::Own(_) => {}
            _ if leadership.vacant_since().is_some_and(|since| since.elapsed() >= self.majority_wait) => {
                return Err(self.no_leader());
            }
            _ => return Err(WriteError::NotLeader),
        }
        // A task of its own: what was begun comes to its end even if whoever asked leaves.
        let service = self.service.clone();
        let answer = tokio::spawn(async move { service.call(request).await });
        answer.await.unwrap_or_else(|failure| Err(WriteError::Unknown(format!("the leader failed: {failure}"))))
    }

    async fn call_there(&self, leader: u64, request: &Bytes) -> Result<Bytes, WriteError> {
        let answer: Result<Answer<Bytes>, _> =
            self.reach.ask(leader, Endpoint::LeaderCall, request, self.answer_timeout).await;
        match answer {
            Ok(answer) => answer,
            Err(error) if error.certainty().is_not_done() => Err(WriteError::NotLeader),
            // By its name: where it is, is no customer's business.
            Err(error) => {
                let leader = self.peers.group.label(leader);
                Err(WriteError::Unknown(format!("{leader} gave no answer that tells: {}", error.reason())))
            }
        }
    }

    fn no_leader(&self) -> WriteError {
        if let Some(hindrance) = &*self.hindrance.borrow() {
            return WriteError::Unavailable(hindrance.clone());
        }
        let group = &self.peers.group;
        // Those that vote, be they in the configuration or not: without their majority nobody leads.
        let voters = self.raft.server_metrics().borrow().membership_config.clone();
        let members: Vec<String> = voters.membership().voter_ids().map(|voter| group.label(voter)).collect();
        WriteError::Unavailable(format!(
            "the {} group has no leader with a majority of its replicas ({}); writes are refused until enough of them \
             are back",
            group.name,
            members.join(", ")
        ))
    }
}

/// Whether somebody else acts for the group than `leader`.
fn is_replaced(leader: u64, leadership: Leadership) -> bool {
    match leadership {
        Leadership::Own(_) => true,
        Leadership::Other(other) => other != leader,
        // It may still answer.
        Leadership::Vacant(_) | Leadership::Preparing(_) => false,
    }
}
