//! What a replica knows for itself of its vote and its log.

use super::raft_types::{LogId, Vote};

/// What a message of a peer is held against.
pub trait Own {
    /// The last vote that was cast, or leader that was recognised.
    fn vote(&self) -> Vote;
    /// Everything up to here is known to be committed.
    fn committed(&self) -> Option<LogId>;
    /// The entry of this index, if it is in the log.
    fn at(&self, index: u64) -> Option<LogId>;
    /// The last entry of the log, or of the snapshot that it goes on from.
    fn last(&self) -> Option<LogId>;
}
