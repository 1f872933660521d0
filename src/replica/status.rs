//! How a replica stands, for people and for probes.

use std::collections::BTreeSet;

use openraft::ServerState;
use serde::{Deserialize, Serialize};

use super::consensus::leadership::Leadership;
use super::group::Group;
use super::storage::raft_types::Raft;

/// How one replica stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub id: String,
    /// Which version of bazar it runs.
    pub version: String,
    /// `leader`, `follower`, `candidate`, `learner` (does not vote yet) or `stopped`.
    pub state: String,
    /// Whether it is ready to act as leader.
    pub leader_ready: bool,
    /// What keeps it from acting, or from serving, while it leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hindrance: Option<String>,
    /// The leader that it knows of.
    pub leader: Option<String>,
    /// The term that it is in.
    pub term: u64,
    /// The last entry of its log.
    pub last_log_index: u64,
    /// The last entry whose effect is in its state.
    pub applied_index: u64,
    /// The applied index that its CSV tables show.
    pub tables_index: u64,
    /// The last entry that its newest snapshot covers.
    pub snapshot_index: u64,
    /// The replicas that vote.
    pub voters: Vec<String>,
    /// While the members change: the replicas that vote after it. Until then a majority of these is needed, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub next_voters: Vec<String>,
    /// What a leader knows of the others.
    pub peers: Vec<PeerStatus>,
    /// Messages between this replica and others that are refused, by whom and why. None in a group that is well.
    pub refusals: Vec<String>,
}

/// What a leader knows of another replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Its name.
    pub id: String,
    /// The last entry that its log is known to hold.
    pub matched_index: u64,
    /// How many entries it is behind.
    pub lag: u64,
}

/// What openraft does not know of how a replica stands.
pub(super) struct Beside {
    pub leadership: Leadership,
    pub hindrance: Option<String>,
    pub tables_index: u64,
    pub refusals: Vec<String>,
}

pub(super) fn status(raft: &Raft, group: &Group, beside: Beside) -> Status {
    let Beside { leadership, hindrance, tables_index, refusals } = beside;
    let metrics = raft.metrics().borrow().clone();
    let last_log_index = metrics.last_log_index.unwrap_or(0);
    let peer = |(number, matched): (u64, Option<openraft::LogId<u64>>)| {
        let matched_index = matched.map_or(0, |log_id| log_id.index);
        PeerStatus { id: group.label(number), matched_index, lag: last_log_index.saturating_sub(matched_index) }
    };
    let replication = metrics.replication.unwrap_or_default();
    let labels = |voters: &BTreeSet<u64>| voters.iter().map(|number| group.label(*number)).collect::<Vec<_>>();
    let mut voters = metrics.membership_config.membership().get_joint_config().iter().map(labels);
    Status {
        id: group.label(group.own),
        version: crate::VERSION.to_owned(),
        state: match metrics.state {
            ServerState::Leader => "leader",
            ServerState::Follower => "follower",
            ServerState::Candidate => "candidate",
            ServerState::Learner => "learner",
            ServerState::Shutdown => "stopped",
        }
        .to_owned(),
        leader_ready: matches!(leadership, Leadership::Own(_)),
        hindrance,
        leader: metrics.current_leader.map(|leader| group.label(leader)),
        term: metrics.current_term,
        last_log_index,
        applied_index: metrics.last_applied.map_or(0, |log_id| log_id.index),
        tables_index,
        snapshot_index: metrics.snapshot.map_or(0, |log_id| log_id.index),
        voters: voters.next().unwrap_or_default(),
        next_voters: voters.next().unwrap_or_default(),
        refusals,
        peers: replication.into_iter().filter(|(number, _)| *number != group.own).map(peer).collect(),
    }
}
