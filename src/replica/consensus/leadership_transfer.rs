//! How a leader hands over (Ongaro's thesis, §3.10): before it stops, and when it
//! [cannot serve](super::step_aside) though another could. A replica that stops stands for no more elections.
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
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::elector::ElectionTimeout;
use super::proposer::Proposer;
use crate::api::Endpoint;
use crate::replica::application::WriteError;
use crate::replica::rpc::client::Peers;
use crate::replica::rpc::wire::Answer;
use crate::replica::storage::raft_types::{Raft, ServerMetrics};

/// How long openraft is waited for to stop.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(1);

/// Whether a replica is willing to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Willingness {
    /// Yes.
    Willing,
    /// Not now: it hands over, and follows.
    StepsAside,
    /// No more: it is about to stop.
    Retires,
}

/// Ends this replica's leadership in good order.
pub struct LeadershipTransfer {
    pub raft: Raft,
    pub proposer: Proposer,
    pub peers: Peers,
    pub bounds: ElectionTimeout,
    /// Whether this replica is willing to lead.
    pub willingness: watch::Sender<Willingness>,
    /// Where the elector learns the term whose leader handed over to this replica.
    pub received: watch::Sender<u64>,
    /// One at a time.
    pub under_way: Mutex<()>,
}

impl LeadershipTransfer {
    /// The leader of `term` asks this replica to succeed it.
    pub fn receive(&self, term: u64) -> Answer<()> {
        let server = self.raft.server_metrics().borrow().clone();
        let is_voter = server.membership_config.membership().voter_ids().any(|voter| voter == server.id);
        let follows_it = server.state == ServerState::Follower
            && server.current_leader.is_some()
            && server.vote.leader_id().term == term;
        if !is_voter || !follows_it || *self.willingness.borrow() == Willingness::Retires {
            return Err(WriteError::NotLeader);
        }
        self.received.send_replace(term);
        Ok(())
    }

    /// Returns once this replica can be stopped without the group's noticing, or after a bounded time. A replica that
    /// is its group's only voter leads on: nobody else can.
    pub async fn retire(&self) {
        let others = self.other_voters();
        if others.is_empty() {
            return;
        }
        let _under_way = self.under_way.lock().await;
        self.willingness.send_replace(Willingness::Retires);
        if self.leads() && !self.transfer(others).await {
            tracing::info!("no other replica took the leadership over: those that are left elect a leader");
            self.stop(Instant::now() + STOP_TIMEOUT).await;
        }
    }

    /// Hands over to one of the `candidates` and follows it; or leads on, if none takes over. Whether one did.
    pub async fn step_aside(&self, candidates: BTreeSet<u64>) -> bool {
        let _under_way = self.under_way.lock().await;
        let steps_aside = self.willingness.send_if_modified(|willingness| {
            let is_willing = *willingness == Willingness::Willing && self.leads();
            if is_willing {
                *willingness = Willingness::StepsAside;
            }
            is_willing
        });
        let handed_over = steps_aside && self.transfer(candidates).await;
        if steps_aside {
            self.proposer.reopen();
            self.willingness.send_replace(Willingness::Willing);
        }
        handed_over
    }

    /// Those that vote, but for this replica.
    pub fn other_voters(&self) -> BTreeSet<u64> {
        let server = self.raft.server_metrics();
        let server = server.borrow();
        server.membership_config.membership().voter_ids().filter(|voter| *voter != self.peers.group.own).collect()
    }

    fn leads(&self) -> bool {
        self.raft.server_metrics().borrow().state == ServerState::Leader
    }

    /// Hands over to one of the candidates, and returns once it has committed something, or after a bounded time. Whether
    /// one took over.
    async fn transfer(&self, candidates: BTreeSet<u64>) -> bool {
        let begun_at = Instant::now();
        let term = self.raft.server_metrics().borrow().vote.leader_id().term;
        // Another election costs the group no more than this.
        let limit = self.bounds.max;
        let successor = tokio::time::timeout(limit, self.name_successor(candidates, term)).await;
        let Some(successor) = successor.unwrap_or(None) else { return false };
        let to = self.peers.group.label(successor);
        tracing::info!(to, took_ms = begun_at.elapsed().as_millis() as u64, "handed the leadership over");
        let _ = tokio::time::timeout(limit, self.successor_committed()).await;
        true
    }

    /// Stops openraft: nothing more is sent, stored or applied. A disk that hangs is waited for until `deadline`.
    pub async fn stop(&self, deadline: Instant) {
        match tokio::time::timeout_at(deadline, self.raft.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "replication did not stop cleanly"),
            Err(_) => tracing::warn!("replication did not stop in time: its disk or a snapshot takes long"),
        }
    }

    /// Has one of the candidates take over, and tells which; none if none can.
    async fn name_successor(&self, mut candidates: BTreeSet<u64>, term: u64) -> Option<u64> {
        self.proposer.close();
        self.proposer.idle().await;
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
            self.peers.post(candidate, Endpoint::RaftHandOver, &term, self.bounds.vote()).await;
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
