//! How a leader makes itself heard while it has nothing to say.
//!
//! openraft's own heartbeat is off. It is sent at every third half of its interval, by a tick that wakes
//! followers as often, for nothing.

use std::time::Duration;

use openraft::ServerState;

use super::raft::Raft;

/// Has followers hear this replica every `interval` while it leads, until openraft stops.
pub async fn run(raft: Raft, interval: Duration) {
    let mut server = raft.server_metrics();
    while server.wait_for(|server| server.state == ServerState::Leader).await.is_ok() {
        if raft.trigger().heartbeat().await.is_err() {
            return;
        }
        tokio::time::sleep(interval).await;
    }
}
