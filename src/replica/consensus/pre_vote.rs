//! Ask before standing (Ongaro's thesis, §9.6): would a majority vote for this replica?
//!
//! A candidate raises the term, and a raised term deposes the leader at its next message. So a replica stands only
//! if a majority says that it would vote for it, which it does not while it hears a leader. Whoever was cut off,
//! paused, or busy for long, harms nobody when it comes back. To ask and to answer changes nothing.
//!
//! The same rule stands before the vote itself: a voter that hears a leader refuses, without a word to
//! openraft, unless that leader has handed over. openraft has a rule of its own for this, which knows neither
//! hand-overs nor pauses. It is set as short as openraft allows; nothing else rests on it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use openraft::raft::VoteResponse;
use serde::{Deserialize, Serialize};

use super::leader_contact::LeaderContact;
use super::leadership;
use crate::api::Endpoint;
use crate::replica::rpc::client::Peers;
use crate::replica::storage::raft_types::{LogId, Raft};

/// Would you vote for me?
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Question {
    /// The last entry of the log of whoever asks.
    pub last_log_id: Option<LogId>,
}

/// One replica's voice in elections. Cheap to clone.
#[derive(Clone)]
pub struct Ballot {
    pub raft: Raft,
    pub contact: Arc<LeaderContact>,
    /// Whether this replica stands for election now.
    pub is_standing: Arc<AtomicBool>,
    /// A leader that heard from no majority for this long does not count as one.
    pub silence_limit: Duration,
}

impl Ballot {
    /// Whether this replica would vote for one whose log is that long.
    pub fn would_vote(&self, question: Question) -> bool {
        let leads = leadership::leads(&self.raft, self.silence_limit).is_some();
        let is_leader = self.raft.server_metrics().borrow().state == openraft::ServerState::Leader;
        let has_no_leader = !leads && (is_leader || self.contact.is_lost());
        let stands = self.is_standing.load(Ordering::Relaxed);
        has_no_leader && !stands && question.last_log_id >= self.last_log_id()
    }

    /// The refusal of a vote, if this replica hears a leader.
    pub fn refusal(&self) -> Option<VoteResponse<u64>> {
        let server = self.raft.server_metrics().borrow().clone();
        let hears_leader = match server.current_leader {
            None => false,
            Some(leader) if leader == server.id => leadership::leads(&self.raft, self.silence_limit).is_some(),
            Some(_) => !self.contact.is_lost(),
        };
        hears_leader.then(|| VoteResponse::new(server.vote, self.last_log_id(), false))
    }

    /// Whether a majority of the voters would vote for this replica; of both memberships while one replaces the other.
    pub async fn has_majority(&self, peers: &Peers, timeout: Duration) -> bool {
        let server = self.raft.server_metrics().borrow().clone();
        let memberships = server.membership_config.membership().get_joint_config();
        let question = Question { last_log_id: self.last_log_id() };
        let others: BTreeSet<u64> = memberships.iter().flatten().copied().filter(|voter| *voter != server.id).collect();
        let ask = |voter: u64| async move {
            let answer = peers.post(voter, Endpoint::RaftPreVote, &question, timeout).await;
            answer.is_ok_and(|would_vote: bool| would_vote).then_some(voter)
        };
        let mut answers: FuturesUnordered<_> = others.into_iter().map(ask).collect();
        let mut supporters = BTreeSet::from([server.id]);
        loop {
            if is_majority(memberships, &supporters) {
                return true;
            }
            match answers.next().await {
                Some(supporter) => supporters.extend(supporter),
                None => return false,
            }
        }
    }

    fn last_log_id(&self) -> Option<LogId> {
        self.raft.data_metrics().borrow().last_log
    }
}

/// Whether `supporters` hold more than half of each of the memberships.
fn is_majority(memberships: &[BTreeSet<u64>], supporters: &BTreeSet<u64>) -> bool {
    memberships.iter().all(|voters| voters.intersection(supporters).count() * 2 > voters.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_one_membership_replaces_another_both_must_agree() {
        let [old, new] = [BTreeSet::from([1, 2, 3]), BTreeSet::from([3, 4, 5, 6])];
        let agree = |memberships: &[&BTreeSet<u64>], supporters: &[u64]| {
            let memberships: Vec<_> = memberships.iter().map(|voters| (*voters).clone()).collect();
            is_majority(&memberships, &supporters.iter().copied().collect())
        };
        assert!(agree(&[&old], &[1, 3]));
        assert!(!agree(&[&old], &[1, 4, 5, 6]));
        assert!(!agree(&[&new], &[3, 4]));
        assert!(!agree(&[&old, &new], &[1, 2, 3]));
        assert!(!agree(&[&old, &new], &[3, 4, 5]));
        assert!(agree(&[&old, &new], &[1, 3, 4, 5]));
    }
}
