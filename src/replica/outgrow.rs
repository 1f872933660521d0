//! What to do about a follower that takes this replica for the leader of a later term than it leads in.
//!
//! Nobody is told so by a correct replica. A follower that was, refuses all that this leader says in its own term, and hears
//! of no other: it would stay behind for good, and the group would miss it. So the leader lets go of its office and votes in
//! that later term, for one that does not stand; the group then elects in a term that is later still.

use std::sync::Arc;
use std::time::Duration;

use openraft::raft::VoteRequest;
use tokio::sync::watch;

use super::group::Group;
use super::raft::{Raft, Vote};

/// How often a vote that openraft does not take is cast again: it keeps to a leader for a moment after an election.
const ATTEMPTS: u32 = 50;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(20);

/// Outgrows each term in which this replica is `taken` for the leader, for as long as it runs.
pub async fn run(raft: Raft, group: Arc<Group>, mut taken: watch::Receiver<u64>) {
    while taken.changed().await.is_ok() {
        let term = *taken.borrow_and_update();
        let Some((other, _)) = group.others().next() else { continue };
        for _ in 0..ATTEMPTS {
            if raft.server_metrics().borrow().vote.leader_id().term >= term {
                break;
            }
            let last_log_id = raft.data_metrics().borrow().last_log;
            let request = VoteRequest { vote: Vote::new(term, other), last_log_id };
            match raft.vote(request).await {
                Ok(answer) if answer.vote_granted => {
                    tracing::warn!(
                        term,
                        "a follower was told that this replica leads in a later term: giving up this one"
                    );
                    break;
                }
                Ok(_) => tokio::time::sleep(PAUSE).await,
                Err(_) => return,
            }
        }
    }
}
