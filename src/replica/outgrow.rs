//! What to do about a follower that takes this replica for the leader of a later term than it leads in.
//!
//! Nobody is told so by a correct replica. A follower that was, refuses all that this leader says in its own term, and hears
//! of no other: it would stay behind for good, and the group would miss it. So the leader lets go of its office and votes in
//! that later term, for the follower, which is in it already and does not stand; the group then elects in a term that is
//! later still.

use std::time::Duration;

use openraft::raft::VoteRequest;
use tokio::sync::watch;

use super::raft::{Raft, Vote};

/// Between two attempts to vote: openraft keeps to a leader for a while after an election.
const PAUSE: Duration = Duration::from_millis(100);

/// A follower that takes this replica for the leader of a term, though it does not lead in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Belief {
    /// The term.
    pub term: u64,
    /// The follower's number.
    pub follower: u64,
}

/// Outgrows each such term, for as long as this replica runs.
pub async fn run(raft: Raft, mut beliefs: watch::Receiver<Belief>) {
    while beliefs.changed().await.is_ok() {
        let Belief { term, follower } = *beliefs.borrow_and_update();
        while raft.server_metrics().borrow().vote.leader_id().term < term {
            let last_log_id = raft.data_metrics().borrow().last_log;
            let request = VoteRequest { vote: Vote::new(term, follower), last_log_id };
            match raft.vote(request).await {
                Ok(answer) if answer.vote_granted => {
                    tracing::warn!(
                        term,
                        "a follower was told that this replica leads in a later term: giving up this one"
                    );
                }
                Ok(_) => {}
                Err(_) => return,
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}
