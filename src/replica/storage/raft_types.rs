//! The types with which openraft is used here. Nothing outside `replica` names them.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use openraft::raft::AppendEntriesRequest;
use serde::{Deserialize, Serialize};

use super::snapshot::SnapshotFiles;
use crate::codec::bounded;
use crate::replica::application::{BatchTime, WriteError};

openraft::declare_raft_types!(
    /// One Raft group of bazar.
    pub TypeConfig:
        D = Batch,
        R = Replies,
        NodeId = u64,
        Node = openraft::EmptyNode,
        Entry = openraft::Entry<TypeConfig>,
        SnapshotData = SnapshotFiles,
        AsyncRuntime = openraft::TokioRuntime,
);

pub type Raft = openraft::Raft<TypeConfig>;
pub type ServerMetrics = openraft::metrics::RaftServerMetrics<u64, openraft::EmptyNode>;
pub type Entry = openraft::Entry<TypeConfig>;
pub type LogId = openraft::LogId<u64>;
pub type Vote = openraft::Vote<u64>;
pub type StoredMembership = openraft::StoredMembership<u64, openraft::EmptyNode>;
pub type SnapshotMeta = openraft::SnapshotMeta<u64, openraft::EmptyNode>;
pub type StorageError = openraft::StorageError<u64>;

/// Returns once a majority has confirmed, after this call, that this replica still leads; and up to where the log was
/// committed before.
///
/// # Errors
/// `Unavailable` if none did within `timeout`.
pub async fn confirm_leadership(raft: &Raft, timeout: Duration) -> Result<u64, WriteError> {
    match tokio::time::timeout(timeout, raft.get_read_log_id()).await {
        Ok(Ok((read, _))) => Ok(read.map_or(0, |read| read.index)),
        Ok(Err(error)) => Err(WriteError::Unavailable(error.to_string())),
        Err(_) => Err(WriteError::Unavailable("no majority confirmed the leader in time".to_owned())),
    }
}

/// The payload of one log entry: commands that share one fsync and one replication round.
///
/// Commands are opaque here. They are encoded once, where they are proposed, and those same bytes go
/// to the log, over the network and to every replica's state machine.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    /// When the leader proposed it.
    pub time: BatchTime,
    /// The commands, in the order in which they are applied. None at all makes a barrier.
    #[serde(deserialize_with = "bounded::list::<_, _, MAX_COMMANDS>")]
    pub commands: Vec<Bytes>,
}

/// Commands of one entry, at most; no more are proposed together, whatever is configured.
pub const MAX_COMMANDS: usize = 65_536;

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} commands at {} ms", self.commands.len(), self.time.group_ms)
    }
}

/// The last entry that is in a follower's log once it has confirmed `request`.
pub fn last_confirmed_by(request: &AppendEntriesRequest<TypeConfig>) -> Option<LogId> {
    request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id)
}

/// One opaque reply per command of a batch.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Replies(pub Vec<Bytes>);
