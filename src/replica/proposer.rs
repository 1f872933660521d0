//! Group commit: commands that are proposed at the same time share one log entry, and with it one fsync
//! and one round to the followers.
//!
//! One task takes the queue's commands in order, as many as have gathered, and hands them to openraft as
//! one batch. While a batch is on its way the next one gathers.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::raft::ClientWriteResponse;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::machine::WriteError;
use super::raft::{Batch, Raft, TypeConfig};
use super::state_machine::StateMachine;
use crate::platform::Platform;

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

struct Waiting {
    command: Bytes,
    reply: oneshot::Sender<Outcome>,
}

/// Proposes commands to the group that this replica leads. Cheap to clone.
#[derive(Clone)]
pub struct Proposer {
    queue: mpsc::Sender<Waiting>,
    raft: Raft,
    state_machine: StateMachine,
    platform: Platform,
    limits: ProposerLimits,
}

impl Proposer {
    /// Starts the task that proposes.
    pub fn start(raft: Raft, state_machine: StateMachine, platform: Platform, limits: ProposerLimits) -> Proposer {
        let (queue, waiting) = mpsc::channel(limits.queue_commands);
        let proposer = Proposer { queue, raft, state_machine, platform, limits };
        tokio::spawn(proposer.clone().run(waiting));
        proposer
    }

    /// Queues one command now, behind those that were queued before; the future brings its reply once it
    /// is committed and applied here.
    ///
    /// # Errors
    /// See [`WriteError`]; of them only `Unknown` leaves open whether the command will be applied.
    pub fn begin(&self, command: Bytes) -> impl Future<Output = Outcome> + Send + 'static {
        let (reply, outcome) = oneshot::channel();
        let queued = self.queue.try_send(Waiting { command, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                WriteError::Overloaded(format!("{} writes are waiting already", self.limits.queue_commands))
            }
            mpsc::error::TrySendError::Closed(_) => WriteError::Unavailable("this replica is stopping".to_owned()),
        });
        async move {
            queued?;
            outcome.await.unwrap_or_else(|_| Err(WriteError::Unknown("this replica stopped".to_owned())))
        }
    }

    /// Commits and applies an empty batch: afterwards all that was committed before it is applied here.
    pub async fn barrier(&self) -> Result<(), WriteError> {
        let response = self.submit(Batch { at_ms: self.now_ms(), commands: Vec::new() }).await?;
        self.settle(response).await.map(drop)
    }

    async fn run(self, mut waiting: mpsc::Receiver<Waiting>) {
        let in_flight = Arc::new(Semaphore::new(BATCHES_IN_FLIGHT));
        while let Some(first) = waiting.recv().await {
            let Ok(permit) = in_flight.clone().acquire_owned().await else { return };
            let (commands, replies) = self.gather(first, &mut waiting);
            // Submitted here, in order; only the waiting happens elsewhere.
            let submitted = self.submit(Batch { at_ms: self.now_ms(), commands }).await;
            let proposer = self.clone();
            tokio::spawn(async move {
                let outcome = match submitted {
                    Ok(response) => proposer.settle(response).await,
                    Err(error) => Err(error),
                };
                drop(permit);
                answer(replies, outcome);
            });
        }
    }

    /// All that has gathered, as far as it fits into one batch.
    fn gather(
        &self,
        first: Waiting,
        waiting: &mut mpsc::Receiver<Waiting>,
    ) -> (Vec<Bytes>, Vec<oneshot::Sender<Outcome>>) {
        let mut bytes = first.command.len();
        let (mut commands, mut replies) = (vec![first.command], vec![first.reply]);
        while commands.len() < self.limits.batch_commands && bytes < MAX_BATCH_BYTES {
            let Ok(next) = waiting.try_recv() else { break };
            bytes += next.command.len();
            commands.push(next.command);
            replies.push(next.reply);
        }
        (commands, replies)
    }

    async fn submit(&self, batch: Batch) -> Result<Response, WriteError> {
        // openraft refuses to take a request only once it has stopped.
        self.raft.client_write_ff(batch).await.map_err(|fatal| WriteError::Unavailable(fatal.to_string()))
    }

    async fn settle(&self, response: Response) -> Result<Vec<Bytes>, WriteError> {
        match tokio::time::timeout(self.limits.commit_timeout, response).await {
            Ok(Ok(Ok(written))) => Ok(written.data.0),
            // openraft says the same of a request that it never took and of one whose entry was cut off the
            // log after another leader came. That entry may stand on another replica, and win in the end.
            Ok(Ok(Err(error))) => Err(WriteError::Unknown(format!("the leader changed: {error}"))),
            Ok(Err(_)) => Err(WriteError::Unknown("this replica stopped".to_owned())),
            Err(_) => Err(WriteError::Unknown(format!(
                "no majority confirmed the write within {} ms",
                self.limits.commit_timeout.as_millis()
            ))),
        }
    }

    /// The time that a batch carries: the clock's, but never before what was applied already.
    fn now_ms(&self) -> u64 {
        self.platform.clock.wall_ms().max(self.state_machine.applied().at_ms)
    }
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
