//! Group commit: commands that are proposed at the same time share one log entry, and with it one fsync
//! and one round to the followers.
//!
//! One task takes the queue's commands in order, as many as have gathered, and hands them to openraft as
//! one batch. While a batch is on its way the next one gathers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::ServerState;
use openraft::raft::ClientWriteResponse;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::platform::Platform;
use crate::replica::application::{BatchTime, LeaderEpoch, WriteError};
use crate::replica::storage::group_clock::GroupClock;
use crate::replica::storage::raft_types::{Batch, MAX_COMMANDS, Raft, TypeConfig};
use crate::replica::storage::state_machine::StateMachine;

/// Batches on their way at once. More would only make each smaller.
const BATCHES_IN_FLIGHT: usize = 2;

/// The most that the commands of one batch weigh together, in bytes, unless a single one is heavier.
const MAX_BATCH_BYTES: usize = 256 * 1024;

/// How much may be proposed.
#[derive(Clone, Copy, Debug)]
pub struct ProposerLimits {
    /// Commands that may wait; beyond this, proposing fails at once.
    pub queue_commands: usize,
    /// Commands in one batch.
    pub batch_commands: usize,
    /// After this long without an answer the outcome counts as unknown.
    pub commit_timeout: Duration,
}

type Outcome = Result<Bytes, WriteError>;

/// Whether commands are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    /// None are: this replica does not lead.
    Shut,
    /// Those of this leader epoch are, as long as this replica leads in this term.
    Open { leader_epoch: LeaderEpoch, term: u64 },
    /// No more are; those of this leader epoch that are under way come to their end.
    Closing { leader_epoch: LeaderEpoch, term: u64 },
}

impl Door {
    /// The leader epoch whose commands may be under way.
    fn leader_epoch(self) -> Option<LeaderEpoch> {
        match self {
            Door::Shut => None,
            Door::Open { leader_epoch, .. } | Door::Closing { leader_epoch, .. } => Some(leader_epoch),
        }
    }
}

enum Queued {
    Command(Waiting),
    Barrier { leader_epoch: LeaderEpoch, passed: oneshot::Sender<Result<(), WriteError>> },
}

struct Waiting {
    leader_epoch: LeaderEpoch,
    command: Bytes,
    reply: oneshot::Sender<Outcome>,
}

/// Proposes commands to the group that this replica leads. Cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    queue: mpsc::Sender<Queued>,
    door: Arc<watch::Sender<Door>>,
    in_flight: Arc<Semaphore>,
    raft: Raft,
    state_machine: StateMachine,
    platform: Platform,
    group_clock: Arc<GroupClock>,
    limits: ProposerLimits,
}

impl Proposer {
    /// Starts the task that proposes.
    pub fn start(raft: Raft, state_machine: StateMachine, platform: Platform, limits: ProposerLimits) -> Proposer {
        let (queue, waiting) = mpsc::channel(limits.queue_commands);
        let (door, in_flight) = (Arc::new(watch::Sender::new(Door::Shut)), Arc::new(Semaphore::new(BATCHES_IN_FLIGHT)));
        let group_clock = Arc::new(GroupClock::since(state_machine.applied().group_ms));
        let proposer = Proposer { queue, door, in_flight, raft, state_machine, platform, group_clock, limits };
        tokio::spawn(proposer.clone().run(waiting));
        proposer
    }

    /// Queues one command now, behind those that were queued before; the future brings its reply once it
    /// is committed and applied here. The command is dropped if its leader epoch is over by its turn.
    ///
    /// # Errors
    /// See [`WriteError`]; of them only `Unknown` leaves open whether the command will be applied.
    pub fn begin(&self, leader_epoch: LeaderEpoch, command: Bytes) -> impl Future<Output = Outcome> + Send + 'static {
        let (reply, outcome) = oneshot::channel();
        let queued = Queued::Command(Waiting { leader_epoch, command, reply });
        let queued = match self.admitted() == Some(leader_epoch) {
            true => self.queue.try_send(queued).map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    WriteError::Overloaded(format!("{} writes are waiting already", self.limits.queue_commands))
                }
                mpsc::error::TrySendError::Closed(_) => stopping(),
            }),
            false => Err(WriteError::NotLeader),
        };
        async move {
            queued?;
            outcome.await.unwrap_or_else(|_| Err(WriteError::Unknown("this replica stopped".to_owned())))
        }
    }

    /// Begins a leader epoch in a term: commits and applies an empty batch, so that all that was committed before is
    /// applied here, and nothing that was queued before comes after it.
    pub async fn begin_epoch(&self, leader_epoch: LeaderEpoch, term: u64) -> Result<(), WriteError> {
        self.door.send_replace(Door::Open { leader_epoch, term });
        let (passed, outcome) = oneshot::channel();
        self.queue.send(Queued::Barrier { leader_epoch, passed }).await.map_err(|_| stopping())?;
        outcome.await.unwrap_or_else(|_| Err(stopping()))
    }

    /// Ends a leader epoch: nothing that was prepared in it is proposed any more, and what is under way has no known outcome.
    pub fn end_epoch(&self) {
        self.door.send_replace(Door::Shut);
    }

    /// Takes nothing more; what is under way comes to its end.
    pub fn close(&self) {
        self.door.send_if_modified(|door| match *door {
            Door::Open { leader_epoch, term } => {
                *door = Door::Closing { leader_epoch, term };
                true
            }
            Door::Closing { .. } | Door::Shut => false,
        });
    }

    /// Takes commands of the leader epoch again that was closed, unless another has begun, or none is left.
    pub fn reopen(&self) {
        self.door.send_if_modified(|door| match *door {
            Door::Closing { leader_epoch, term } => {
                *door = Door::Open { leader_epoch, term };
                true
            }
            Door::Open { .. } | Door::Shut => false,
        });
    }

    /// Returns once nothing is under way.
    pub async fn idle(&self) {
        let _ = self.in_flight.acquire_many(BATCHES_IN_FLIGHT as u32).await;
    }

    /// The leader epoch whose commands may be proposed now.
    ///
    /// openraft takes requests in the order in which they come. So what is proposed while this replica leads in a term is
    /// decided in that term, or not by this replica: to lead in another, it would have to be asked to stand before.
    pub fn admitted(&self) -> Option<LeaderEpoch> {
        let Door::Open { leader_epoch, term } = *self.door.borrow() else { return None };
        let server = self.raft.server_metrics();
        let server = server.borrow();
        let leads = server.state == ServerState::Leader && server.vote.leader_id().term == term;
        leads.then_some(leader_epoch)
    }

    async fn run(self, mut queue: mpsc::Receiver<Queued>) {
        let mut not_gathered = None;
        loop {
            let next = match not_gathered.take() {
                Some(next) => next,
                None => match queue.recv().await {
                    Some(next) => next,
                    None => return,
                },
            };
            // Batches are submitted here, in order; only the waiting happens elsewhere.
            match next {
                Queued::Barrier { leader_epoch, passed } => {
                    if self.admitted() != Some(leader_epoch) {
                        let _ = passed.send(Err(WriteError::NotLeader));
                        continue;
                    }
                    let submitted = self.submit(Vec::new()).await;
                    let proposer = self.clone();
                    tokio::spawn(async move {
                        let outcome = proposer.settle(leader_epoch, submitted).await;
                        let _ = passed.send(outcome.map(drop));
                    });
                }
                Queued::Command(first) => {
                    let Ok(permit) = self.in_flight.clone().acquire_owned().await else { return };
                    let (batch, next) = self.gather(first, &mut queue);
                    not_gathered = next;
                    let admitted = self.admitted();
                    let (batch, late): (Vec<Waiting>, Vec<Waiting>) =
                        batch.into_iter().partition(|waiting| Some(waiting.leader_epoch) == admitted);
                    for waiting in late {
                        let _ = waiting.reply.send(Err(WriteError::NotLeader));
                    }
                    let (commands, replies): (Vec<Bytes>, Vec<_>) =
                        batch.into_iter().map(|waiting| (waiting.command, waiting.reply)).unzip();
                    let Some(leader_epoch) = admitted.filter(|_| !commands.is_empty()) else { continue };
                    let submitted = self.submit(commands).await;
                    let proposer = self.clone();
                    tokio::spawn(async move {
                        let outcome = proposer.settle(leader_epoch, submitted).await;
                        drop(permit);
                        answer(replies, outcome);
                    });
                }
            }
        }
    }

    /// All commands that have gathered, as far as they fit into one batch; and what was taken from the queue
    /// but does not belong to it.
    fn gather(&self, first: Waiting, queue: &mut mpsc::Receiver<Queued>) -> (Vec<Waiting>, Option<Queued>) {
        let mut bytes = first.command.len();
        let mut batch = vec![first];
        while batch.len() < self.limits.batch_commands.min(MAX_COMMANDS) && bytes < MAX_BATCH_BYTES {
            match queue.try_recv() {
                Ok(Queued::Command(next)) => {
                    bytes += next.command.len();
                    batch.push(next);
                }
                Ok(barrier) => return (batch, Some(barrier)),
                Err(_) => break,
            }
        }
        (batch, None)
    }

    async fn submit(&self, commands: Vec<Bytes>) -> Result<Response, WriteError> {
        let batch = Batch { time: self.now(), commands };
        // openraft refuses to take a request only once it has stopped.
        self.raft.client_write_ff(batch).await.map_err(|fatal| WriteError::Unavailable(fatal.to_string()))
    }

    async fn settle(
        &self,
        leader_epoch: LeaderEpoch,
        submitted: Result<Response, WriteError>,
    ) -> Result<Vec<Bytes>, WriteError> {
        let mut door = self.door.subscribe();
        let settled = tokio::select! {
            biased;
            settled = tokio::time::timeout(self.limits.commit_timeout, submitted?) => settled,
            // Whoever waits asks the successor, which may be there long before this replica hears of it.
            _ = door.wait_for(|door| door.leader_epoch() != Some(leader_epoch)) => {
                return Err(WriteError::Unknown("the leader lost its majority before the write was committed".to_owned()));
            }
        };
        match settled {
            Ok(Ok(Ok(written))) => Ok(written.data.0),
            // openraft says the same of a request that it never took and of one whose entry was cut off the
            // log after another leader came. That entry may stand on another replica, and win in the end.
            Ok(Ok(Err(_))) => Err(WriteError::Unknown("the leader changed before the write was committed".to_owned())),
            Ok(Err(_)) => Err(WriteError::Unknown("this replica stopped".to_owned())),
            Err(_) => Err(WriteError::Unknown(format!(
                "no majority confirmed the write within {} ms",
                self.limits.commit_timeout.as_millis()
            ))),
        }
    }

    /// The time that a batch carries.
    fn now(&self) -> BatchTime {
        let group_ms = self.group_clock.now_ms(self.state_machine.applied().group_ms);
        BatchTime { wall: self.platform.clock.wall_ms(), group_ms }
    }
}

fn stopping() -> WriteError {
    WriteError::Unavailable("this replica is stopping".to_owned())
}

type Response = oneshot::Receiver<
    Result<ClientWriteResponse<TypeConfig>, openraft::error::ClientWriteError<u64, openraft::EmptyNode>>,
>;

fn answer(replies: Vec<oneshot::Sender<Outcome>>, outcome: Result<Vec<Bytes>, WriteError>) {
    match outcome {
        Ok(values) => {
            for (reply, value) in replies.into_iter().zip(values) {
                // Whoever asked may have gone; the write stands all the same.
                let _ = reply.send(Ok(value));
            }
        }
        Err(error) => {
            for reply in replies {
                let _ = reply.send(Err(error.clone()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
