//! When a follower stands for election.
//!
//! A follower that has heard nothing from a leader, and has given its vote to nobody, for a random time
//! between two bounds stands for election. The time is drawn anew each time, so that two followers that
//! once stood at the same moment, and split the votes, do not do so again. (openraft draws it once per
//! process and looks at it in long ticks; its own timer is off.) A replica does not vote against a leader
//! that it heard from within the lower bound: that is openraft's leader lease.
//!
//! A candidate that learns that another replica has a longer log lets that one go first. It must: openraft
//! refuses such a candidate without taking over its term, so the other, which stands one term later than
//! it voted last, would for ever ask for a vote in the term in which the first has voted for itself.

use std::time::Duration;

use openraft::ServerState;
use tokio::sync::watch;
use tokio::time::Instant;

use super::raft::Raft;

/// When a leader, or a candidate that got this replica's vote, was last heard.
pub struct LastHeard {
    moment: watch::Sender<Instant>,
    /// How long a candidate with a longer log is given.
    precedence: Duration,
}

impl LastHeard {
    /// Heard just now.
    pub fn now(bounds: ElectionTimeout) -> LastHeard {
        LastHeard { moment: watch::Sender::new(Instant::now()), precedence: bounds.max }
    }

    /// Takes note that another replica has a longer log: it will be heard as a candidate.
    pub fn expect_another(&self) {
        self.moment.send_replace(Instant::now() + self.precedence);
    }

    /// Whether it was heard within this time.
    pub fn is_within(&self, time: Duration) -> bool {
        self.moment.borrow().elapsed() <= time
    }

    /// Takes note that it was heard.
    pub fn note(&self) {
        self.moment.send_replace(Instant::now());
    }
}

/// The bounds of the time after which a follower stands.
#[derive(Clone, Copy, Debug)]
pub struct ElectionTimeout {
    /// At least this long.
    pub min: Duration,
    /// Less than this.
    pub max: Duration,
}

impl ElectionTimeout {
    fn draw(self) -> Duration {
        self.min + (self.max - self.min).mul_f64(fastrand::f64())
    }
}

/// Stands for election whenever it is time to, until openraft stops.
pub async fn run(raft: Raft, last_heard: std::sync::Arc<LastHeard>, bounds: ElectionTimeout) {
    let mut server = raft.server_metrics();
    let mut heard = last_heard.moment.subscribe();
    let mut timeout = bounds.draw();
    loop {
        let (may_stand, is_alone) = {
            let server = server.borrow_and_update();
            let membership = server.membership_config.membership();
            let is_voter = membership.voter_ids().any(|voter| voter == server.id);
            let stands_or_follows = matches!(server.state, ServerState::Follower | ServerState::Candidate);
            (is_voter && stands_or_follows, membership.voter_ids().count() == 1)
        };
        if !may_stand {
            if server.changed().await.is_err() {
                return;
            }
            last_heard.note();
            continue;
        }
        let due = *heard.borrow_and_update() + timeout;
        if Instant::now() < due && !is_alone {
            // To be put off at each word of the leader costs less than to run out in vain: that wakes the process.
            let _ = tokio::time::timeout_at(due, heard.changed()).await;
            continue;
        }
        tracing::info!("no leader is heard: standing for election");
        last_heard.note();
        timeout = bounds.draw();
        if raft.trigger().elect().await.is_err() {
            return;
        }
        if is_alone {
            tokio::time::sleep(bounds.min).await;
        }
    }
}
