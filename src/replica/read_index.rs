//! Current reads from any replica, by Raft's read index (Ongaro's thesis, §6.4).
//!
//! Before it answers from its own state, a replica learns how far the group had committed when the read
//! arrived, and waits until it has applied as much. Only the leader can tell, and only after a majority
//! has confirmed that it still leads. Reads that arrive while such a round is under way share the next.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::machine::WriteError;
use super::network::Peers;
use super::office::Office;
use super::raft::Raft;
use super::wire::{self, Answer};

/// Reads that may wait for the next round; more are refused.
const QUEUED_READS: usize = 8192;

/// How soon a failed round is tried again.
const RETRY_PAUSE: Duration = Duration::from_millis(10);

/// What a read saw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// Every write that was acknowledged before the read began.
    Current,
    /// What this replica holds, which may be behind: its group has no majority.
    Stale,
}

type Waiter = oneshot::Sender<Answer<u64>>;

/// Makes reads current. Cheap to clone.
#[derive(Clone)]
pub struct ReadIndex {
    queue: mpsc::Sender<Waiter>,
    office: watch::Receiver<Office>,
    applied: watch::Receiver<u64>,
    majority_wait: Duration,
}

/// Finds out how far the group has committed.
pub struct ReadRounds {
    pub raft: Raft,
    pub peers: Peers,
    pub office: watch::Receiver<Office>,
    /// How long one round may take.
    pub round_timeout: Duration,
}

impl ReadIndex {
    /// Starts the task that makes the rounds.
    pub fn start(rounds: ReadRounds, applied: watch::Receiver<u64>, majority_wait: Duration) -> ReadIndex {
        let (queue, waiting) = mpsc::channel(QUEUED_READS);
        let office = rounds.office.clone();
        tokio::spawn(rounds.run(waiting));
        ReadIndex { queue, office, applied, majority_wait }
    }

    /// Waits until this replica's state shows every write acknowledged before the call.
    ///
    /// Gives up, as [`Freshness::Stale`], when nobody has acted for the group for `majority_wait`.
    pub async fn wait(&self) -> Result<Freshness, WriteError> {
        let deadline = Instant::now() + self.majority_wait;
        let mut office = self.office.clone();
        loop {
            let vacant_since = office.borrow_and_update().vacant_since();
            if vacant_since.is_some_and(|since| since.elapsed() > self.majority_wait) {
                return Ok(Freshness::Stale);
            }
            if vacant_since.is_none()
                && let Ok(index) = self.index().await?
                && self.wait_applied(index, deadline).await
            {
                return Ok(Freshness::Current);
            }
            if Instant::now() >= deadline {
                return Ok(Freshness::Stale);
            }
            // Whatever happens first: a change of leader, or time to try again.
            let _ = tokio::time::timeout(RETRY_PAUSE, office.changed()).await;
        }
    }

    /// How far the group had committed at some moment after this call. The outer error is definite.
    async fn index(&self) -> Result<Answer<u64>, WriteError> {
        let (waiter, answer) = oneshot::channel();
        self.queue
            .try_send(waiter)
            .map_err(|_| WriteError::Overloaded(format!("{QUEUED_READS} reads are waiting already")))?;
        Ok(answer.await.unwrap_or_else(|_| Err(WriteError::Unavailable("this replica is stopping".to_owned()))))
    }

    /// The index for a follower that asks. Only a leader in office gives one.
    pub async fn index_as_leader(&self) -> Answer<u64> {
        match *self.office.borrow() {
            Office::Own(_) => {}
            _ => return Err(WriteError::NotLeader),
        }
        self.index().await?
    }

    async fn wait_applied(&self, index: u64, deadline: Instant) -> bool {
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|applied| *applied >= index);
        matches!(tokio::time::timeout_at(deadline, reached).await, Ok(Ok(_)))
    }
}

impl ReadRounds {
    async fn run(self, mut waiting: mpsc::Receiver<Waiter>) {
        let rounds = Arc::new(self);
        let mut waiters = Vec::new();
        // A round must begin after every read that it serves, hence one at a time.
        while waiting.recv_many(&mut waiters, QUEUED_READS).await > 0 {
            let answer = rounds.round().await;
            for waiter in waiters.drain(..) {
                let _ = waiter.send(answer.clone());
            }
        }
    }

    async fn round(&self) -> Answer<u64> {
        let office = *self.office.borrow();
        match office {
            Office::Own(_) => {
                let confirmed = tokio::time::timeout(self.round_timeout, self.raft.get_read_log_id()).await;
                match confirmed {
                    Ok(Ok((log_id, _))) => Ok(log_id.map_or(0, |log_id| log_id.index)),
                    Ok(Err(error)) => Err(WriteError::Unavailable(error.to_string())),
                    Err(_) => Err(WriteError::Unavailable("no majority confirmed the leader in time".to_owned())),
                }
            }
            Office::Other(leader) => {
                let Some(member) = self.peers.group.members.get(&leader) else { return Err(WriteError::NotLeader) };
                let cluster = self.peers.marker.cluster();
                let timeout = self.round_timeout;
                wire::post(&self.peers.client, &member.address, wire::READ_INDEX, cluster, &(), timeout)
                    .await
                    .unwrap_or_else(|error| Err(WriteError::Unavailable(error.to_string())))
            }
            Office::Vacant(_) | Office::Preparing(_) => Err(WriteError::NotLeader),
        }
    }
}
