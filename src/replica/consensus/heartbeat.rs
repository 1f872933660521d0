//! How a leader makes itself heard while it has nothing to say.
//!
//! openraft's own heartbeat is off. It is sent at every third half of its interval, by a tick that wakes
//! followers as often, for nothing.

use std::time::Duration;

use openraft::ServerState;
use tokio::sync::watch;

use super::leadership_transfer::Willingness;
use crate::replica::storage::raft_types::Raft;

/// Has followers hear this replica every `interval` while it leads, until openraft stops, or until this replica begins
/// to: whoever hears its leader votes for no other.
pub async fn run(raft: Raft, interval: Duration, willingness: watch::Receiver<Willingness>) {
    let mut server = raft.server_metrics();
    while server.wait_for(|server| server.state == ServerState::Leader).await.is_ok() {
        if *willingness.borrow() == Willingness::Retires {
            return;
        }
        if raft.trigger().heartbeat().await.is_err() {
            return;
        }
        tokio::time::sleep(interval).await;
    }
}
