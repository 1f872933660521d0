//! Current reads from any replica, by Raft's read index (Ongaro's thesis, §6.4).
//!
//! Before it answers from its own state, a replica learns how far the group had committed when the read
//! arrived, and waits until it has applied as much. Only the leader can tell, and only after a majority
//! has confirmed that it still leads. Reads that arrive while such a round is under way share the next.
//!
//! A replica that is of no use for current reads finds that out once, not with each read: see [`Touch`].

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::leader_contact::LeaderContact;
use super::leader_reach::LeaderReach;
use super::leadership::{self, Leadership};
use crate::api::Endpoint;
use crate::replica::application::{LeaderService, WriteError};
use crate::replica::rpc::wire::Answer;
use crate::replica::storage::raft_types::{self, Raft};

/// Reads that may wait for the next round; more are refused.
pub const QUEUED_READS: usize = 8192;

/// How long a replica may apply nothing while a read waits for it to: it is then taken to be unable to, as when its disk
/// hangs.
const APPLY_STALL: Duration = Duration::from_millis(500);

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
    leadership: watch::Receiver<Leadership>,
    applied: watch::Receiver<u64>,
    contact: Arc<LeaderContact>,
    touch: Arc<Touch>,
    majority_wait: Duration,
    /// After this long without a word of the leader, a follower does not count on it.
    silence_limit: Duration,
}

/// What is known of a replica that cannot make reads current.
#[derive(Default)]
struct Touch {
    /// What reads have waited for since something was applied.
    behind: Mutex<Option<Behind>>,
    /// The first and the last of the rounds that have failed since one succeeded.
    failures: Mutex<Option<(Instant, Instant)>>,
}

/// A replica that has not applied what reads wait for.
#[derive(Clone, Copy)]
struct Behind {
    /// How far it has come.
    applied: u64,
    /// How far it should be.
    wanted: u64,
    /// When that was first found.
    since: Instant,
}

impl Touch {
    /// Takes note that a read waits for `wanted`, and tells since when nothing was applied although some read did.
    fn note_behind(&self, applied: u64, wanted: u64) -> Instant {
        let mut behind = self.behind.lock();
        let since = behind.filter(|behind| behind.applied == applied).map_or_else(Instant::now, |behind| behind.since);
        let wanted = behind.map_or(wanted, |behind| behind.wanted.max(wanted));
        *behind = Some(Behind { applied, wanted, since });
        since
    }

    /// Whether nothing was applied for long although reads waited for it.
    fn is_stalled(&self, applied: u64) -> bool {
        let is_stalled = |behind: &Behind| {
            behind.applied == applied && behind.wanted > applied && behind.since.elapsed() >= APPLY_STALL
        };
        self.behind.lock().as_ref().is_some_and(is_stalled)
    }

    fn note_round(&self, has_succeeded: bool) {
        let now = Instant::now();
        let mut failures = self.failures.lock();
        *failures = match *failures {
            _ if has_succeeded => None,
            Some((first, _)) => Some((first, now)),
            None => Some((now, now)),
        };
    }

    /// Since when rounds fail, if one did within `memory`: of an older one it is not known what became.
    fn failing_since(&self, memory: Duration) -> Option<Instant> {
        self.failures.lock().filter(|(_, last)| last.elapsed() < memory).map(|(first, _)| first)
    }
}

/// Finds out how far the group has committed.
pub struct ReadRounds {
    pub raft: Raft,
    pub reach: LeaderReach,
    pub leadership: watch::Receiver<Leadership>,
    pub service: Arc<dyn LeaderService>,
    /// Whether this replica hears its leader.
    pub contact: Arc<LeaderContact>,
    /// How long one round may take.
    pub round_timeout: Duration,
}

impl ReadIndex {
    /// Starts the task that makes the rounds.
    pub fn start(rounds: ReadRounds, applied: watch::Receiver<u64>, majority_wait: Duration) -> ReadIndex {
        let (queue, waiting) = mpsc::channel(QUEUED_READS);
        let (leadership, contact) = (rounds.leadership.clone(), rounds.contact.clone());
        let silence_limit = rounds.round_timeout * 2;
        let touch = Arc::new(Touch::default());
        tokio::spawn(rounds.run(waiting, touch.clone()));
        ReadIndex { queue, leadership, applied, contact, touch, majority_wait, silence_limit }
    }

    /// Whether a read would probably be current, as far as is known without asking anybody.
    pub fn may_serve(&self) -> bool {
        let has_leader = match *self.leadership.borrow() {
            Leadership::Own(_) => true,
            Leadership::Other(_) => !self.contact.is_lost(),
            Leadership::Vacant(_) | Leadership::Preparing(_) => false,
        };
        has_leader && !self.is_stalled() && self.touch.failing_since(self.silence_limit).is_none()
    }

    /// Waits until this replica's state shows every write acknowledged before the call, and brings what
    /// the leader observed of `question` when the read began.
    ///
    /// Gives up, as [`Freshness::Stale`], when nobody has acted for the group for `majority_wait`, or this replica applies
    /// nothing.
    pub async fn wait(&self, question: Bytes) -> Result<Freshness, WriteError> {
        if self.is_stalled() {
            return Ok(Freshness::Stale);
        }
        let mut leadership = self.leadership.clone();
        let failing_since = self.touch.failing_since(self.majority_wait);
        let deadline = failing_since.unwrap_or_else(Instant::now) + self.majority_wait;
        if Instant::now() >= deadline && leadership.borrow().vacant_since().is_none() {
            // Nobody waits for this round. It finds out whether the next read need not be behind.
            self.queue(vec![question])?;
            return Ok(Freshness::Stale);
        }
        loop {
            let current = *leadership.borrow_and_update();
            if current.vacant_since().is_none()
                && let Ok((index, mut observed)) = self.position(vec![question.clone()]).await?
            {
                return Ok(match self.wait_applied(index, deadline).await {
                    true => Freshness::Current(observed.pop().unwrap_or_default()),
                    false => Freshness::Stale,
                });
            }
            if !leadership::try_again(&mut leadership, current, deadline, self.majority_wait).await {
                return Ok(Freshness::Stale);
            }
        }
    }

    /// How far the group had committed at some moment after this call. The outer error is definite.
    async fn position(&self, questions: Vec<Bytes>) -> Result<Answer<Position>, WriteError> {
        let position = self.queue(questions)?;
        Ok(position.await.unwrap_or_else(|_| Err(WriteError::Unavailable("this replica is stopping".to_owned()))))
    }

    /// Has the next round answer `questions`.
    fn queue(&self, questions: Vec<Bytes>) -> Result<oneshot::Receiver<Answer<Position>>, WriteError> {
        let (answer, position) = oneshot::channel();
        self.queue
            .try_send(Waiter { questions, answer })
            .map_err(|_| WriteError::Overloaded(format!("{QUEUED_READS} reads are waiting already")))?;
        Ok(position)
    }

    /// The position for a follower that asks. Only a leader that is ready gives one.
    pub async fn position_as_leader(&self, questions: Vec<Bytes>) -> Answer<Position> {
        match *self.leadership.borrow() {
            Leadership::Own(_) => {}
            _ => return Err(WriteError::NotLeader),
        }
        self.position(questions).await?
    }

    /// Whether `index` is applied in time. If nothing at all is applied for long, nobody waits for it again.
    async fn wait_applied(&self, index: u64, deadline: Instant) -> bool {
        let mut applied = self.applied.clone();
        loop {
            let so_far = *applied.borrow_and_update();
            if so_far >= index {
                return true;
            }
            let stalled_at = self.touch.note_behind(so_far, index) + APPLY_STALL;
            match tokio::time::timeout_at(deadline.min(stalled_at), applied.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return *applied.borrow() >= index,
            }
        }
    }

    /// Whether reads have waited in vain for what is not applied yet.
    fn is_stalled(&self) -> bool {
        self.touch.is_stalled(*self.applied.borrow())
    }
}

impl ReadRounds {
    async fn run(mut self, mut waiting: mpsc::Receiver<Waiter>, touch: Arc<Touch>) {
        let mut waiters = Vec::new();
        // A round must begin after every read that it serves, hence one at a time.
        while let Some(first) = waiting.recv().await {
            let mut questions = first.questions.clone();
            waiters.push(first);
            // What has come together is answered without a break, and must not keep this thread for long.
            while questions.len() < QUEUED_READS
                && let Ok(next) = waiting.try_recv()
            {
                questions.extend_from_slice(&next.questions);
                waiters.push(next);
            }
            let position = self.round(questions).await;
            touch.note_round(position.is_ok());
            let index = position.as_ref().map(|(index, _)| *index).map_err(WriteError::clone);
            let mut observed = position.map(|(_, observed)| observed).unwrap_or_default().into_iter();
            for Waiter { questions, answer } in waiters.drain(..) {
                let own = observed.by_ref().take(questions.len()).collect();
                let _ = answer.send(index.clone().map(|index| (index, own)));
            }
        }
    }

    async fn round(&mut self, questions: Vec<Bytes>) -> Answer<Position> {
        let leadership = *self.leadership.borrow_and_update();
        match leadership {
            Leadership::Own(_) => {
                // Before the round: a write that is over by then is below the index that the round brings.
                let observed = questions.iter().map(|question| self.service.observe(question)).collect();
                let index = raft_types::confirm_leadership(&self.raft, self.round_timeout).await?;
                Ok((index, observed))
            }
            Leadership::Other(leader) => {
                tokio::select! {
                    answer = self.reach.ask(leader, Endpoint::ReadIndex, &questions, self.round_timeout) => {
                        answer.unwrap_or_else(|error| Err(WriteError::Unavailable(error.to_string())))
                    }
                    // A leader that was replaced is not waited for.
                    Ok(()) = self.leadership.changed() => Err(WriteError::NotLeader),
                }
            }
            Leadership::Vacant(_) | Leadership::Preparing(_) => Err(WriteError::NotLeader),
        }
    }
}
