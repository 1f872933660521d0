//! How a replica stops: it stands for no more elections, and a leader hands over first (Ongaro's thesis, §3.10).
//!
//! The leader takes no more commands, waits for those under way, and tells a follower that has its whole log to
//! stand at once. Voters that hear this leader vote for that follower all the same, the leader itself first. Then it
//! follows until the successor has committed something: in a small group its confirmation may be needed.
//!
//! A group of two does the same. Its survivor cannot write, whichever it is; but if the other is back within the
//! time of an election, it need not be waited for any longer.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::ServerState;
use tokio::sync::watch;
use tokio::time::Instant;

use super::elector::ElectionTimeout;
use super::machine::WriteError;
use super::network::Peers;
use super::proposer::Proposer;
use super::raft::{Raft, ServerMetrics};
use super::wire::{self, Answer};

/// How long openraft is waited for to stop.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Ends this replica's part in its group in good order.
pub struct HandOver {
    pub raft: Raft,
    pub proposer: Proposer,
    pub peers: Peers,
    pub bounds: ElectionTimeout,
    /// Whether this replica is about to stop.
    pub retiring: watch::Sender<bool>,
    /// Where the elector learns the term whose leader handed over to this replica.
    pub received: watch::Sender<u64>,
}

impl HandOver {
    /// The leader of `term` asks this replica to succeed it.
    pub fn receive(&self, term: u64) -> Answer<()> {
        let server = self.raft.server_metrics().borrow().clone();
        let is_voter = server.membership_config.membership().voter_ids().any(|voter| voter == server.id);
        let follows_it = server.state == ServerState::Follower
            && server.current_leader.is_some()
            && server.vote.leader_id().term == term;
        if !is_voter || !follows_it || *self.retiring.borrow() {
            return Err(WriteError::NotLeader);
        }
        self.received.send_replace(term);
        Ok(())
    }

    /// Returns once this replica can be stopped without the group's noticing, or after a bounded time. A replica that
    /// is its group's only voter leads on: nobody else can.
    pub async fn retire(&self) {
        let own = self.peers.group.own;
        let server = self.raft.server_metrics().borrow().clone();
        let others: BTreeSet<u64> =
            server.membership_config.membership().voter_ids().filter(|voter| *voter != own).collect();
        if others.is_empty() {
            return;
        }
        self.retiring.send_replace(true);
        if server.state != ServerState::Leader {
            return;
        }
        let begun_at = Instant::now();
        // Another election costs the group no more than this.
        let limit = self.bounds.max;
        let successor = tokio::time::timeout(limit, self.hand_over(others, server.vote.leader_id().term));
        match successor.await.unwrap_or(None) {
            Some(successor) => {
                let to = self.peers.group.label(successor);
                tracing::info!(to, took_ms = begun_at.elapsed().as_millis() as u64, "handed the leadership over");
                let _ = tokio::time::timeout(limit, self.successor_committed()).await;
            }
            None => {
                tracing::info!("no other replica took the leadership over: those that are left elect a leader");
                self.stop().await;
            }
        }
    }

    /// Stops openraft: nothing more is sent, stored or applied. A disk that hangs is not waited for.
    pub async fn stop(&self) {
        match tokio::time::timeout(STOP_TIMEOUT, self.raft.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "replication did not stop cleanly"),
            Err(_) => tracing::warn!("replication did not stop in time: its disk or a snapshot takes long"),
        }
    }

    /// Hands over to one of the others, and tells to which; to none if none can take over.
    async fn hand_over(&self, others: BTreeSet<u64>, term: u64) -> Option<u64> {
        self.proposer.close();
        self.proposer.idle().await;
        let mut candidates = others;
        let mut data = self.raft.data_metrics();
        while !candidates.is_empty() {
            let caught_up = {
                let data = data.borrow_and_update();
                let matched = data.replication.iter().flatten();
                let mut caught_up = matched.filter(|(voter, matched)| {
                    candidates.contains(voter) && matched.is_some() && **matched == data.last_log
                });
                caught_up.next().map(|(voter, _)| *voter)
            };
            match caught_up {
                Some(candidate) if self.name(candidate, term).await => return self.successor().await,
                Some(candidate) => drop(candidates.remove(&candidate)),
                None => data.changed().await.ok()?,
            }
        }
        None
    }

    /// Tells `candidate` to stand. Whether it does.
    async fn name(&self, candidate: u64, term: u64) -> bool {
        let answer: Result<Answer<()>, _> =
            self.peers.post(candidate, wire::HAND_OVER, &term, self.bounds.vote()).await;
        matches!(answer, Ok(Ok(())))
    }

    async fn successor(&self) -> Option<u64> {
        let other = |server: &ServerMetrics| server.current_leader.filter(|leader| *leader != server.id);
        let mut server = self.raft.server_metrics();
        let server = server.wait_for(|server| other(server).is_some()).await.ok()?;
        other(&server)
    }

    /// Returns once something that the successor wrote is applied here.
    async fn successor_committed(&self) {
        let term = self.raft.server_metrics().borrow().vote.leader_id().term;
        let mut data = self.raft.data_metrics();
        let is_applied = |last: Option<openraft::LogId<u64>>| last.is_some_and(|last| last.leader_id.term >= term);
        let _ = data.wait_for(|data| is_applied(data.last_applied)).await;
    }
}
