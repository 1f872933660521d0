//! Current reads from any replica, by Raft's read index (Ongaro's thesis, §6.4).
//!
//! Before it answers from its own state, a replica learns how far the group had committed when the read
//! arrived, and waits until it has applied as much. Only the leader can tell, and only after a majority
//! has confirmed that it still leads. Reads that arrive while such a round is under way share the next.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::machine::{LeaderService, WriteError};
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
    /// Every write that was acknowledged before the read began; with what the leader observed then.
    Current(Bytes),
    /// What this replica holds, which may be behind: its group has no majority.
    Stale,
}

/// What the leader says about reads: how far the group has committed, and what its role
/// [observed](LeaderService::observe) of each question.
pub type Position = (u64, Vec<Bytes>);

struct Waiter {
    questions: Vec<Bytes>,
    answer: oneshot::Sender<Answer<Position>>,
}

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
    pub service: Arc<dyn LeaderService>,
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

    /// Waits until this replica's state shows every write acknowledged before the call, and brings what
    /// the leader observed of `question` when the read began.
    ///
    /// Gives up, as [`Freshness::Stale`], when nobody has acted for the group for `majority_wait`.
    pub async fn wait(&self, question: Bytes) -> Result<Freshness, WriteError> {
        let deadline = Instant::now() + self.majority_wait;
        let mut office = self.office.clone();
        loop {
            let vacant_since = office.borrow_and_update().vacant_since();
            if vacant_since.is_none()
                && let Ok((index, mut observed)) = self.position(vec![question.clone()]).await?
                && self.wait_applied(index, deadline).await
            {
                return Ok(Freshness::Current(observed.pop().unwrap_or_default()));
            }
            let try_again_at = match vacant_since {
                Some(since) => deadline.min(since + self.majority_wait),
                None => deadline.min(Instant::now() + RETRY_PAUSE),
            };
            let changed = tokio::time::timeout_at(try_again_at, office.changed()).await;
            if changed.is_err() && (vacant_since.is_some() || Instant::now() >= deadline) {
                return Ok(Freshness::Stale);
            }
        }
    }

    /// How far the group had committed at some moment after this call. The outer error is definite.
    async fn position(&self, questions: Vec<Bytes>) -> Result<Answer<Position>, WriteError> {
        let (answer, position) = oneshot::channel();
        self.queue
            .try_send(Waiter { questions, answer })
            .map_err(|_| WriteError::Overloaded(format!("{QUEUED_READS} reads are waiting already")))?;
        Ok(position.await.unwrap_or_else(|_| Err(WriteError::Unavailable("this replica is stopping".to_owned()))))
    }

    /// The position for a follower that asks. Only a leader in office gives one.
    pub async fn position_as_leader(&self, questions: Vec<Bytes>) -> Answer<Position> {
        match *self.office.borrow() {
            Office::Own(_) => {}
            _ => return Err(WriteError::NotLeader),
        }
        self.position(questions).await?
    }

    async fn wait_applied(&self, index: u64, deadline: Instant) -> bool {
        let mut applied = self.applied.clone();
        let reached = applied.wait_for(|applied| *applied >= index);
        matches!(tokio::time::timeout_at(deadline, reached).await, Ok(Ok(_)))
    }
}

impl ReadRounds {
    async fn run(self, mut waiting: mpsc::Receiver<Waiter>) {
        let mut waiters = Vec::new();
        // A round must begin after every read that it serves, hence one at a time.
        while waiting.recv_many(&mut waiters, QUEUED_READS).await > 0 {
            let questions = waiters.iter().flat_map(|waiter| waiter.questions.iter().cloned()).collect();
            let position = self.round(questions).await;
            let index = position.as_ref().map(|(index, _)| *index).map_err(WriteError::clone);
            let mut observed = position.map(|(_, observed)| observed).unwrap_or_default().into_iter();
            for Waiter { questions, answer } in waiters.drain(..) {
                let own = observed.by_ref().take(questions.len()).collect();
                let _ = answer.send(index.clone().map(|index| (index, own)));
            }
        }
    }

    async fn round(&self, questions: Vec<Bytes>) -> Answer<Position> {
        let office = *self.office.borrow();
        match office {
            Office::Own(_) => {
                // Before the round: a write that is over by then is below the index that the round brings.
                let observed = questions.iter().map(|question| self.service.observe(question)).collect();
                let confirmed = tokio::time::timeout(self.round_timeout, self.raft.get_read_log_id()).await;
                match confirmed {
                    Ok(Ok((log_id, _))) => Ok((log_id.map_or(0, |log_id| log_id.index), observed)),
                    Ok(Err(error)) => Err(WriteError::Unavailable(error.to_string())),
                    Err(_) => Err(WriteError::Unavailable("no majority confirmed the leader in time".to_owned())),
                }
            }
            Office::Other(leader) => {
                let Some(member) = self.peers.group.members.get(&leader) else { return Err(WriteError::NotLeader) };
                let cluster = self.peers.marker.cluster();
                let timeout = self.round_timeout;
                wire::post(&self.peers.client, &member.address, wire::READ_INDEX, cluster, &questions, timeout)
                    .await
                    .unwrap_or_else(|error| Err(WriteError::Unavailable(error.to_string())))
            }
            Office::Vacant(_) | Office::Preparing(_) => Err(WriteError::NotLeader),
        }
    }
}
