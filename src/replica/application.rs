//! What a role must be to be replicated: a state machine.

use std::any::Any;
use std::io;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::certainty::{Certain, Certainty};
use crate::csv::Table;
use crate::model::UnixMillis;
use crate::platform::BoxFuture;

/// The state that a group keeps in step on all its replicas.
///
/// `apply` is a function of the state and the command alone: no clock, no randomness, no I/O. What can
/// go wrong with a command (sold out, unknown book) is part of its reply.
pub trait Application: Send + Sync + 'static {
    /// Checks that a command can be applied, to whatever state there is by then.
    ///
    /// # Errors
    /// If it cannot be understood.
    fn check(&self, command: &Bytes) -> Result<(), ApplicationError>;

    /// Applies commands in order and returns one reply for each.
    ///
    /// # Errors
    /// If a command cannot be understood. The replica then stops: to go on would be to drift apart. One that was
    /// [checked](Self::check) can be.
    fn apply(&self, time: BatchTime, commands: &[Bytes]) -> Result<Vec<Bytes>, ApplicationError>;

    /// Why nothing may be answered from the state, not even as old, if so: it is not put together yet.
    fn unfinished(&self) -> Option<&'static str>;

    /// The whole state at this moment, without copying it.
    fn cut(&self) -> SnapshotView;

    /// Reads back a state that [`cut`](Self::cut) gave on some replica, beside the present one, and brings what
    /// puts it in its place. Reading may take long; meanwhile the machine is asked as ever, and goes on.
    ///
    /// # Errors
    /// If the tables cannot be understood.
    fn restore(&self, saved: SnapshotReader) -> Result<Swap, ApplicationError>;
}

/// When a batch was proposed, by the two clocks that its leader has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchTime {
    /// By the leader's wall clock, which may be wrong by any amount: for people, and for no decision.
    pub wall: UnixMillis,
    /// By the group's own clock, in milliseconds since the group began. Never falls along the log.
    pub group_ms: u64,
}

/// Puts a state that was read back in the place of the present one, at once, and brings that one: to take it down may
/// take long.
pub type Swap = Box<dyn FnOnce() -> Box<dyn Any + Send> + Send>;

/// A state at one moment.
pub struct SnapshotView {
    /// What the tables do not hold, as JSON.
    pub scalars: serde_json::Value,
    /// The tables, always the same ones in the same order.
    pub tables: Vec<Box<dyn Table>>,
}

/// A state as it was read back.
pub struct SnapshotReader {
    /// As in [`SnapshotView`].
    pub scalars: serde_json::Value,
    /// The name of each table and its CSV text, in the order of the [`SnapshotView`].
    pub tables: Vec<(String, Box<dyn io::Read + Send>)>,
}

/// Why a command or a saved state cannot be understood.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ApplicationError(pub String);

/// One time in which this replica leads and is ready to. Counts up from 1.
///
/// A command carries the leader epoch in which it was prepared, because what was prepared in one (which caches were
/// told, say) does not hold in the next.
pub type LeaderEpoch = u64;

/// What the leader of a group does for others, and nobody else may.
///
/// Requests and answers are opaque: the role encodes them, `replica` only carries them to the leader.
pub trait LeaderService: Send + Sync + 'static {
    /// Called when this replica has become leader and knows all that was committed before, and before
    /// any [`call`](Self::call). It may propose in this leader epoch. If it fails it is called again, with the next
    /// leader epoch, while the leadership lasts.
    fn on_become_leader(&self, leader_epoch: LeaderEpoch) -> BoxFuture<'_, Result<(), WriteError>>;

    /// What a read that begins now must know, besides the state that it will see.
    fn observe(&self, question: &Bytes) -> Bytes;

    /// Answers one request. It may have come before, to this leader or a former one: whoever asks repeats a request
    /// whose answer is missing, so it must carry what tells it from a new one.
    fn call(&self, request: Bytes) -> BoxFuture<'_, Result<Bytes, WriteError>>;

    /// Returns once this replica, though it may act, perhaps cannot: for want of somebody outside its group.
    fn hindered(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::pending())
    }

    /// Finds out whether this replica, if it led, could do what a leader is for. Takes less than a second.
    ///
    /// # Errors
    /// What hinders it.
    fn can_serve(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Why a write was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum WriteError {
    /// It was not done, because this replica does not lead.
    #[error("this replica is not the leader")]
    NotLeader,
    /// It was not done, because the group cannot write now.
    #[error("{0}")]
    Unavailable(String),
    /// It was not done, because too much is under way already.
    #[error("{0}")]
    Overloaded(String),
    /// It may or may not have been done, now or later.
    #[error("{0}")]
    Unknown(String),
}

impl Certain for WriteError {
    fn certainty(&self) -> Certainty {
        match self {
            WriteError::NotLeader | WriteError::Unavailable(_) => Certainty::NotDone,
            WriteError::Overloaded(_) => Certainty::Overloaded,
            WriteError::Unknown(_) => Certainty::Unknown,
        }
    }
}
