//! AppendEntries take turns: from the look at what the log holds until openraft has dealt with the message.
//!
//! Else the log could get an entry in between, which the look did not see and which the message takes out of it.

use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

use super::storage::raft_types::Raft;

/// Whose turn it is.
pub struct AppendTurn {
    raft: Raft,
    current: Arc<Mutex<()>>,
}

/// A turn. Dropped, as when a connection breaks, it lasts until openraft has dealt with all that it was given.
pub struct Turn<'a> {
    raft: &'a Raft,
    held: Option<OwnedMutexGuard<()>>,
}

impl AppendTurn {
    pub fn new(raft: Raft) -> AppendTurn {
        AppendTurn { raft, current: Arc::default() }
    }

    /// Waits for a turn.
    pub async fn take(&self) -> Turn<'_> {
        let held = self.current.clone().lock_owned().await;
        Turn { raft: &self.raft, held: Some(held) }
    }
}

impl Turn<'_> {
    /// Ends it: nothing was handed on, or openraft has answered.
    pub fn give_back(mut self) {
        self.held = None;
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(held) = self.held.take() {
            let raft = self.raft.clone();
            tokio::spawn(async move {
                // It is asked behind what it was given before.
                let _ = raft.with_raft_state(|_| ()).await;
                drop(held);
            });
        }
    }
}
