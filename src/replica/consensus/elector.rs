//! When a follower stands for election.
//!
//! A follower that has [lost](super::leader_contact) its leader waits for a random time more, so that not all stand at
//! once. It [asks](super::pre_vote) whether a majority would vote for it, and stands only then; until then it
//! asks again, ever more rarely. A leader that stops [hands over](super::leadership_transfer): the follower that it names stands
//! at once, without asking. (openraft draws its election timeout once per process, looks at it in long ticks and
//! asks nobody before; its own timer is off.)
//!
//! A candidate may have to stand twice. openraft refuses one whose term is not above that of a vote given
//! earlier, in an election that came to nothing; it says so, and the next term is above.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::ServerState;
use tokio::sync::watch;
use tokio::time::Instant;

use super::leader_contact::Silence;
use super::leadership_transfer::Willingness;
use super::pre_vote::Ballot;
use crate::replica::rpc::client::Peers;
use crate::replica::storage::raft_types::{Raft, ServerMetrics};

/// The pause before a majority is asked again is at first this part of the time over which followers spread.
const FIRST_PAUSE_PART: u32 = 8;

/// So many elections that are not decided, one after another, are told of.
const UNDECIDED_TOLD: u32 = 5;

/// The bounds of the time after which a follower stands.
#[derive(Clone, Copy, Debug)]
pub struct ElectionTimeout {
    /// At least this long.
    pub min: Duration,
    /// Less than this.
    pub max: Duration,
}

impl ElectionTimeout {
    /// How long one vote may take to be asked for, and given: an fsync of the candidate's, and one of the voter's.
    pub fn vote(self) -> Duration {
        self.min / 2
    }

    /// Over how long the moments are spread at which followers stand.
    fn spread(self) -> Duration {
        self.max.saturating_sub(self.min)
    }
}

/// Has this replica stand for election whenever it is time to.
pub struct Elector {
    pub raft: Raft,
    pub peers: Peers,
    pub ballot: Ballot,
    pub bounds: ElectionTimeout,
    /// How often a leader makes itself heard.
    pub heartbeat: Duration,
    /// The term whose leader handed over to this replica last.
    pub handed_over: watch::Receiver<u64>,
}

/// openraft has stopped.
struct Stopped;

/// A flag that is up for as long as this exists: an election may be cut off at any of its waits.
struct Raised<'a>(&'a AtomicBool);

impl<'a> Raised<'a> {
    fn raise(flag: &'a AtomicBool) -> Raised<'a> {
        flag.store(true, Ordering::Relaxed);
        Raised(flag)
    }
}

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Elector {
    /// Runs until openraft stops, or until this replica is about to stop.
    pub async fn run(self, mut willingness: watch::Receiver<Willingness>) {
        tokio::select! {
            _ = willingness.wait_for(|willingness| *willingness == Willingness::Retires) => {}
            Stopped = self.follow_and_stand() => {}
        }
    }

    async fn follow_and_stand(&self) -> Stopped {
        let contact = &self.ballot.contact;
        let silence = Silence { limit: self.bounds.min, heartbeat: self.heartbeat };
        let mut server = self.raft.server_metrics();
        let mut handed_over = self.handed_over.clone();
        loop {
            if server.wait_for(|server| server.state != ServerState::Leader).await.is_err() {
                return Stopped;
            }
            contact.note();
            let follow = async {
                loop {
                    contact.lost(silence).await;
                    tokio::select! {
                        () = contact.found() => {}
                        stopped = self.try_to_stand() => return stopped,
                    }
                }
            };
            tokio::select! {
                leads = leads(&self.raft) => if let Err(stopped) = leads { return stopped },
                stopped = follow => return stopped,
                Ok(()) = handed_over.changed() => {
                    let term = *handed_over.borrow_and_update();
                    self.succeed(term).await;
                }
            }
        }
    }

    /// Stands again and again as long as a majority would vote for this replica.
    async fn try_to_stand(&self) -> Stopped {
        let spread = self.bounds.spread();
        tokio::time::sleep(spread.mul_f64(fastrand::f64())).await;
        let mut pause = spread / FIRST_PAUSE_PART;
        let mut undecided = 0;
        loop {
            let membership = self.raft.server_metrics().borrow().membership_config.clone();
            let voters = || membership.membership().voter_ids();
            let own = self.peers.group.own;
            let is_alone = voters().count() == 1;
            let may_stand = voters().any(|voter| voter == own)
                && (is_alone || self.ballot.has_majority(&self.peers, self.bounds.vote()).await);
            if may_stand {
                tracing::info!("no leader is heard, and a majority would vote for this replica: standing for election");
                match self.stand(self.bounds.vote()).await {
                    Err(stopped) => return stopped,
                    Ok(true) => undecided = 0,
                    Ok(false) => undecided += 1,
                }
                // Candidates may take votes from each other, but not again and again.
                if undecided == UNDECIDED_TOLD {
                    let patience_ms = self.bounds.vote().as_millis();
                    tracing::warn!(
                        patience_ms,
                        elections = undecided,
                        "no vote comes in time from a majority that would vote for this replica: a vote takes two fsyncs; if disks \
                         are slow, raise replication.election_timeout_min_ms, of which it may take half"
                    );
                }
                pause = spread / FIRST_PAUSE_PART;
            }
            tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64())).await;
            pause = (pause * 2).min(self.bounds.max);
        }
    }

    /// The leader of this term has handed over to this replica: it stands, a few times at most, and does not ask before.
    async fn succeed(&self, term: u64) {
        let is_over = |server: &ServerMetrics| server.state == ServerState::Leader || follows_after(server, term);
        let deadline = Instant::now() + self.bounds.min;
        tracing::info!(term, "the leader hands over to this replica: standing for election");
        let _succeeds = Raised::raise(&self.peers.is_successor);
        while Instant::now() < deadline && !is_over(&self.raft.server_metrics().borrow()) {
            // A voter may refuse because it heard the leader a moment ago: see `pre_vote`.
            if self.stand(self.bounds.vote() / 2).await.is_err() {
                break;
            }
        }
    }

    /// Stands once, and returns when it is decided, or after `patience`. Whether it is decided.
    async fn stand(&self, patience: Duration) -> Result<bool, Stopped> {
        let mut server = self.raft.server_metrics();
        let term = server.borrow().vote.leader_id().term;
        let _stands = Raised::raise(&self.ballot.is_standing);
        self.raft.trigger().elect().await.map_err(|_| Stopped)?;
        let is_decided =
            |server: &ServerMetrics| server.vote.leader_id().term > term && server.state != ServerState::Candidate;
        Ok(tokio::time::timeout(patience, server.wait_for(is_decided)).await.is_ok())
    }
}

/// Returns once this replica leads.
async fn leads(raft: &Raft) -> Result<(), Stopped> {
    let mut server = raft.server_metrics();
    server.wait_for(|server| server.state == ServerState::Leader).await.map(drop).map_err(|_| Stopped)
}

/// Whether this replica follows a leader of a later term.
fn follows_after(server: &ServerMetrics, term: u64) -> bool {
    server.current_leader.is_some() && server.vote.leader_id().term > term
}
