//! Which candidates and leaders this replica recognises: only those that say so themselves.
//!
//! A message of Raft's names a term and who stands or leads in it, and Raft believes it. Whoever reaches this replica could
//! so raise its term, or give it a leader for good that is none: it would refuse the rightful one of that term. So what
//! a message says of another replica is hearsay. Before it changes this replica's vote, that other replica is asked, at its
//! configured address, where it stands. That takes one more round trip at each change of leader.
//!
//! A leader that this replica follows already is asked again when it [did not answer](super::leader_reach).
//!
//! The same holds for what a leader says that takes something away: that this replica's log has other entries than its own,
//! and that its state is to be replaced by a snapshot.

use std::cmp::Ordering;

use openraft::raft::AppendEntriesRequest;
use tokio::sync::{Mutex, watch};

use super::leader_reach::LeaderReach;
use super::leadership_transfer::Willingness;
use crate::error::ApiError;
use crate::replica::rpc::client::Peers;
use crate::replica::rpc::guard;
use crate::replica::rpc::wire::{Stance, StanceQuestion};
use crate::replica::storage::own_log::Own;
use crate::replica::storage::raft_types::{LogId, Raft, Vote};

/// Learns who stands and who leads.
pub struct Recognition {
    raft: Raft,
    peers: Peers,
    reach: LeaderReach,
    willingness: watch::Receiver<Willingness>,
    /// Held from the last look at a new leader until openraft follows it: openraft would not survive two of one term.
    turn: Mutex<()>,
}

impl Recognition {
    pub fn new(raft: Raft, peers: Peers, reach: LeaderReach, willingness: watch::Receiver<Willingness>) -> Recognition {
        Recognition { raft, peers, reach, willingness, turn: Mutex::default() }
    }

    /// Where this replica stands, and what `asker` wants to know besides.
    pub fn stance(&self, asker: Option<u64>, question: &StanceQuestion) -> Stance {
        let (vote, entry) = self.peers.log.examine(|log| (log.vote(), question.index.and_then(|index| log.at(index))));
        let hands_over = *self.willingness.borrow() != Willingness::Willing;
        let sends_snapshot = match (asker, &question.snapshot) {
            (Some(asker), Some(snapshot_id)) => self.peers.sends_snapshot(asker, snapshot_id),
            _ => false,
        };
        Stance { vote, hands_over, entry, sends_snapshot }
    }

    /// Returns once openraft follows this leader, or a later one.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] if it is none.
    pub async fn of_leader(&self, told: &Vote) -> Result<(), ApiError> {
        if *told == self.own_vote() && told.leader_id.voted_for() != Some(self.peers.group.own) {
            return match told.leader_id.voted_for().is_some_and(|leader| self.reach.is_doubted(leader)) {
                true => Box::pin(self.confirm(told)).await,
                false => Ok(()),
            };
        }
        self.check_leader(told)?;
        if self.is_news(told) {
            // What is rare is boxed, so that what is frequent has less to move.
            Box::pin(self.follow(told)).await?;
        }
        Ok(())
    }

    /// Returns if this candidate stands, or stood.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] if it does not say so.
    pub async fn of_candidate(&self, told: &Vote) -> Result<(), ApiError> {
        match self.is_news(told) {
            true => self.ask(told).await,
            false => Ok(()),
        }
    }

    /// Returns if this leader has the entry `told` in its log, where this replica has another: only then is that other taken
    /// out. What this replica has confirmed may be committed, though it does not know that yet.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] if the leader does not say so.
    pub async fn of_conflict(&self, leader: &Vote, told: LogId) -> Result<(), ApiError> {
        let question = StanceQuestion { index: Some(told.index), ..StanceQuestion::default() };
        match self.stance_of_leader(leader, question).await?.entry {
            Some(entry) if entry == told => Ok(()),
            _ => Err(ApiError::Conflict(format!("its leader says that it has no entry {told}"))),
        }
    }

    /// Returns if this leader is sending this snapshot to this replica.
    ///
    /// # Errors
    /// [`ApiError::Conflict`] if it does not say so.
    pub async fn of_snapshot(&self, leader: &Vote, snapshot_id: &str) -> Result<(), ApiError> {
        let question = StanceQuestion { snapshot: Some(snapshot_id.to_owned()), ..StanceQuestion::default() };
        match self.stance_of_leader(leader, question).await?.sends_snapshot {
            true => Ok(()),
            false => {
                Err(ApiError::Conflict(format!("its leader says that it is not sending the snapshot {snapshot_id:?}")))
            }
        }
    }

    /// Whether the leader of `term`, whom this replica follows, hands over.
    pub async fn of_hand_over(&self, term: u64) -> bool {
        let vote = self.own_vote();
        let leader = vote.leader_id.voted_for().filter(|_| vote.committed && vote.leader_id.term == term);
        let Some(leader) = leader.filter(|leader| *leader != self.peers.group.own) else { return false };
        let stance = self.reach.stance_of(leader, &StanceQuestion::default()).await;
        stance.is_ok_and(|stance| stance.hands_over && stance.vote == vote)
    }

    /// Returns once a leader that was doubted answers.
    async fn confirm(&self, told: &Vote) -> Result<(), ApiError> {
        self.ask(told).await?;
        self.reach.trust();
        Ok(())
    }

    async fn follow(&self, told: &Vote) -> Result<(), ApiError> {
        self.ask(told).await?;
        let _turn = self.turn.lock().await;
        self.check_leader(told)?;
        let nothing = AppendEntriesRequest { vote: *told, prev_log_id: None, entries: Vec::new(), leader_commit: None };
        let followed = self.raft.append_entries(nothing).await;
        followed.map(drop).map_err(|error| ApiError::Unavailable(format!("this replica cannot follow: {error}")))
    }

    /// Asks who is said to stand or lead.
    async fn ask(&self, told: &Vote) -> Result<(), ApiError> {
        self.stance_of_leader(told, StanceQuestion::default()).await.map(drop)
    }

    /// What the replica that stands or leads with this vote says, if it does.
    async fn stance_of_leader(&self, told: &Vote, question: StanceQuestion) -> Result<Stance, ApiError> {
        let conflict = |what: String| ApiError::Conflict(what);
        let Some(named) = told.leader_id.voted_for() else {
            return Err(conflict(format!("it names nobody in term {}", told.leader_id.term)));
        };
        let name = self.peers.group.label(named);
        let stance = self.reach.stance_of(named, &question).await;
        let stance = stance.map_err(|error| conflict(format!("{name} was asked first where it stands: {error}")))?;
        let own_word = format!("{name} says itself that it is at {}, and not at {told}", stance.vote);
        match stance.vote.leader_id == told.leader_id && stance.vote.committed >= told.committed {
            true => Ok(stance),
            // What was true when it was sent is no fault: elections overtake messages.
            false if stance.vote.leader_id.term > told.leader_id.term => Err(ApiError::Unavailable(own_word)),
            false => Err(conflict(own_word)),
        }
    }

    fn check_leader(&self, told: &Vote) -> Result<(), ApiError> {
        let own = self.peers.group.own;
        self.peers.log.examine(|log| guard::leader(told, own, log)).map_err(ApiError::Conflict)
    }

    /// Whether openraft, if it believed this, would change its vote. It compares votes as this does, but for two leaders of one
    /// term, of which it knows none.
    fn is_news(&self, told: &Vote) -> bool {
        let known = self.own_vote();
        match told.leader_id.partial_cmp(&known.leader_id) {
            Some(Ordering::Less) => false,
            Some(Ordering::Greater) => true,
            Some(Ordering::Equal) | None => told.committed && !known.committed,
        }
    }

    fn own_vote(&self) -> Vote {
        self.peers.log.examine(Own::vote)
    }
}
