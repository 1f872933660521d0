//! How a group begins, and how a replica comes (back) to it with an empty disk.
//!
//! **Beginning.** The replica with the lowest number is the founder. It waits until every configured
//! replica says that it holds no history, has each of them put the [mark](super::storage::identity) of the new group
//! on its disk, and only then starts the group. A replica without a mark that finds the group alive has
//! lost its disk (or is new): it does not take part, because with the memory it lost it could help to
//! elect a leader that misses acknowledged writes.
//!
//! **Joining.** Started with `--join`, such a replica asks the leader. The leader takes it out of the
//! membership, by a majority that does not need it; only then the replica gets its mark, follows as a
//! learner until it has nearly caught up, and becomes a voter again. In a group of two the other replica holds
//! every acknowledged write, for both had to confirm each, so the joiner may vote at once. It answers nobody before it has
//! caught up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use openraft::error::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, EmptyNode};
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use super::application::WriteError;
use super::consensus::leadership::Leadership;
use super::rpc::client::Peers;
use super::rpc::wire::{Answer, BootstrapState};
use super::storage::identity::ClusterId;
use super::storage::raft_types::{self, Raft};
use crate::api::Endpoint;
use crate::platform::BoxFuture;

/// How often peers are asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How long one question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a newcomer may take to catch up before it asks again.
const ADMIT_TIMEOUT: Duration = Duration::from_secs(600);

/// What is being waited for is said at the first attempt, after so many, and then after twice as many each time.
const REMINDER_EVERY: u32 = 25;

/// The longest pause before a leader is looked for again.
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(2);

/// See [`WayBack::None`].
const NO_WAY_BACK: &str = "of three or more replicas only two vote, and one of them is to join: no majority is left that \
                           remembers everything. See \"When most disks of a group are lost\" in docs/operations.md";

/// What a replica is told that waits for a leader.
const NO_LEADER: &str = "no replica leads: a majority must run. If the disks of most replicas are lost for good, see \
                         \"When most disks of a group are lost\" in docs/operations.md";

/// Why a replica cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum BootstrapError {
    /// The group lives and this replica has nothing of its history.
    #[error(
        "the {group} group exists already ({witness} is part of it), but {own} has no data. If its disk was lost, or if \
         it is new, start it once with `--join`: it then fetches everything from the others. If its data folder was \
         moved, start it with the right one (key `data`)"
    )]
    LostMemory {
        /// The group.
        group: &'static str,
        /// Who is part of it.
        witness: String,
        /// This replica.
        own: String,
    },
    /// openraft would not start the group.
    #[error("the group could not be started: {0}")]
    Raft(String),
    /// The mark could not be written.
    #[error("the mark of membership could not be written: {0}")]
    Io(#[from] std::io::Error),
}

/// Brings a replica into its group.
#[derive(Clone)]
pub struct Bootstrap {
    pub raft: Raft,
    pub peers: Peers,
    pub leadership: watch::Receiver<Leadership>,
    /// This replica was started to join, and is no voter yet, or has not caught up.
    is_joining: Arc<AtomicBool>,
    /// Held while this replica changes the members, which it does in two steps.
    changing: Arc<Mutex<()>>,
}

impl Bootstrap {
    pub fn new(raft: Raft, peers: Peers, leadership: watch::Receiver<Leadership>) -> Bootstrap {
        Bootstrap { raft, peers, leadership, is_joining: Arc::default(), changing: Arc::default() }
    }

    /// Returns once this replica is part of its group, and the group's leader says so; and, of one that joins, once it has
    /// caught up, as `is_current` finds.
    ///
    /// # Errors
    /// If it must not be.
    pub async fn take_part<'a>(
        &self,
        join: bool,
        is_current: impl Fn() -> BoxFuture<'a, bool>,
    ) -> Result<(), BootstrapError> {
        match (self.peers.identity.cluster().is_some(), self.has_history().await?) {
            (true, true) => {}
            // A founder that joins has a mark that others gave it: it founds nothing.
            (true, false) if join || !self.peers.group.is_founder() => {}
            (false, _) if join => self.join().await?,
            _ if self.peers.group.is_founder() => self.found().await?,
            _ => self.wait_to_be_prepared().await?,
        }
        self.become_voter().await;
        // The leader makes it a voter when little is missing; but of a short log, all may be.
        let mut attempts = 0;
        while self.is_joining.load(Ordering::Acquire) && !is_current().await {
            self.remind(&mut attempts, "this replica to catch up", &"it votes again, and does not hold everything yet");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        self.is_joining.store(false, Ordering::Release);
        Ok(())
    }

    /// Why this replica cannot speak for its group, if it cannot: what it holds is nothing, or not all yet.
    pub fn outside(&self) -> Option<&'static str> {
        if self.is_joining.load(Ordering::Acquire) {
            return Some("this replica is joining its group and does not hold everything yet");
        }
        (!self.holds_history()).then_some("this replica's group has not begun yet")
    }

    /// Whether anything of a group's history was ever written to this disk.
    fn holds_history(&self) -> bool {
        self.peers.identity.mark().boots > 0
    }

    /// What this replica tells others about its beginnings.
    pub async fn origin(&self) -> BootstrapState {
        // A replica that cannot tell must not be taken for an empty one.
        let has_history = self.has_history().await.unwrap_or(true);
        let is_joining = self.is_joining.load(Ordering::Acquire);
        BootstrapState { has_history, is_joining, cluster: self.peers.identity.cluster() }
    }

    /// Puts the mark of a new group on this disk, unless this replica holds the history of one.
    pub async fn prepare(&self, cluster: ClusterId) -> Answer<()> {
        if self.origin().await.has_history {
            return refuse("this replica is part of a group already");
        }
        if self.is_joining.load(Ordering::Acquire) {
            return refuse("this replica is to join a group that exists");
        }
        // Whoever asks is believed nothing: the founder itself is asked what it founds.
        let founder = self.peers.group.founder();
        let founds =
            self.peers.post::<_, BootstrapState>(founder, Endpoint::BootstrapState, &(), ASK_TIMEOUT / 2).await;
        if !founds.is_ok_and(|origin| origin.cluster == Some(cluster)) {
            return refuse("the founder of the group does not say so");
        }
        self.peers.identity.set(cluster).await.map_err(|error| WriteError::Unavailable(error.to_string()))
    }

    /// Lets a replica with an empty disk come back, or a new one come: answers with the group's mark.
    ///
    /// Whoever asks is believed nothing: the replica itself is asked whether it joins.
    pub async fn allow_join(&self, joiner: u64) -> Answer<ClusterId> {
        let cluster = self.peers.identity.cluster().ok_or(WriteError::NotLeader)?;
        let origin = self.ask_origin(joiner).await?;
        let name = self.peers.group.label(joiner);
        if !origin.is_joining || origin.has_history {
            return refuse(&format!("{name} was not started to join, or holds a history"));
        }
        self.finish_change().await?;
        let (voters, learners) = self.members();
        if !voters.contains(&joiner) {
            self.must_lead()?;
            return Ok(cluster);
        }
        match way_back(self.peers.group.members.len(), voters.len(), learners.len()) {
            WayBack::AtOnce => return Ok(cluster),
            WayBack::None => return refuse(NO_WAY_BACK),
            WayBack::ByMajority => self.must_lead()?,
        }
        // What is proposed stands in the log, and is decided by whoever leads next: it must have a majority without the joiner.
        if raft_types::confirm_leadership(&self.raft, ASK_TIMEOUT).await.is_err() {
            return refuse("no majority can take it out: most of the others must run");
        }
        tracing::info!(replica = name, "taking it out until it has caught up");
        self.change(ChangeMembers::RemoveVoters(BTreeSet::from([joiner]))).await?;
        Ok(cluster)
    }

    /// Brings a learner up to date and makes it a voter. Answers `Ok` only if it is one.
    pub async fn admit(&self, joiner: u64) -> Answer<()> {
        self.must_lead()?;
        self.finish_change().await?;
        if self.members().0.contains(&joiner) {
            return Ok(());
        }
        let name = self.peers.group.label(joiner);
        if self.ask_origin(joiner).await?.cluster != self.peers.identity.cluster() {
            return refuse(&format!("{name} is not of this group"));
        }
        tracing::info!(replica = name, "bringing it up to date");
        self.raft.add_learner(joiner, EmptyNode {}, true).await.map_err(refused)?;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([joiner]))).await?;
        tracing::info!(replica = name, "it is a voter again");
        Ok(())
    }

    /// What another replica of the configuration says of its beginnings, at its configured address.
    async fn ask_origin(&self, number: u64) -> Answer<BootstrapState> {
        let group = &self.peers.group;
        if number == group.own || !group.members.contains_key(&number) {
            let (name, own) = (group.label(number), group.own_id());
            return refuse(&format!("{own} knows no {name}: restart it with a configuration that names all replicas"));
        }
        let origin = self.peers.post(number, Endpoint::BootstrapState, &(), ASK_TIMEOUT).await;
        origin.map_err(|error| WriteError::Unavailable(format!("{} was asked first: {error}", group.label(number))))
    }

    async fn has_history(&self) -> Result<bool, BootstrapError> {
        self.raft.is_initialized().await.map_err(|error| BootstrapError::Raft(error.to_string()))
    }

    /// The voters and the learners, as far as this replica knows.
    fn members(&self) -> (BTreeSet<u64>, BTreeSet<u64>) {
        let server = self.raft.server_metrics();
        let server = server.borrow();
        let membership = server.membership_config.membership();
        (membership.voter_ids().collect(), membership.learner_ids().collect())
    }

    /// Finishes each change of members that a leader before left half done, for as long as this replica runs.
    pub async fn finish_changes(self) {
        let mut leadership = self.leadership.clone();
        loop {
            let is_leading = matches!(*leadership.borrow_and_update(), Leadership::Own(_));
            if is_leading && self.finish_change().await.is_err() {
                // Somebody else does, or the leader changes.
                tokio::time::sleep(RETRY_PAUSE).await;
                continue;
            }
            if leadership.changed().await.is_err() {
                return;
            }
        }
    }

    /// Finishes a change of members that a leader before left half done. Until then the group needs a majority of the old
    /// voters and one of the new, and openraft makes the other half only with the next change.
    async fn finish_change(&self) -> Answer<()> {
        if matches!(*self.leadership.borrow(), Leadership::Own(_)) && self.is_changing() {
            self.change(ChangeMembers::AddVoterIds(BTreeSet::new())).await?;
            tracing::info!("a change of members that was left half done is finished");
        }
        Ok(())
    }

    /// Whether the group is between two sets of voters.
    fn is_changing(&self) -> bool {
        self.raft.server_metrics().borrow().membership_config.membership().get_joint_config().len() > 1
    }

    fn must_lead(&self) -> Result<(), WriteError> {
        match *self.leadership.borrow() {
            Leadership::Own(_) => Ok(()),
            _ => Err(WriteError::NotLeader),
        }
    }

    async fn change(&self, change: ChangeMembers<u64, EmptyNode>) -> Result<(), WriteError> {
        let (raft, changing, mut leadership) = (self.raft.clone(), self.changing.clone(), self.leadership.clone());
        // Whoever asks may leave: both steps are made all the same.
        let changed = tokio::spawn(async move {
            let _one_at_a_time = changing.lock().await;
            let current = *leadership.borrow_and_update();
            tokio::select! {
                changed = raft.change_membership(change, false) => changed.map(drop).map_err(refused),
                // openraft may never answer: a snapshot can take the place of what was proposed. The next leader finishes.
                _ = leadership.wait_for(|now| *now != current) => {
                    Err(WriteError::Unknown("the leader changed before the members had".to_owned()))
                }
            }
        });
        changed.await.unwrap_or_else(|_| refuse("this replica is stopping"))
    }

    async fn found(&self) -> Result<(), BootstrapError> {
        let cluster = self.peers.identity.cluster().unwrap_or_else(Uuid::new_v4);
        for (number, member) in self.peers.group.others() {
            let mut attempts = 0;
            loop {
                match self.peers.post::<_, BootstrapState>(number, Endpoint::BootstrapState, &(), ASK_TIMEOUT).await {
                    Ok(origin) if origin.has_history => return Err(self.lost_memory(number)),
                    Ok(_) => break,
                    Err(error) => self.remind(&mut attempts, &format!("{} to start", member.id), &error),
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        // First, for the others ask this replica whether it founds this group.
        self.peers.identity.set(cluster).await?;
        for (number, member) in self.peers.group.others() {
            let mut attempts = 0;
            loop {
                match self.peers.post::<_, Answer<()>>(number, Endpoint::BootstrapPrepare, &cluster, ASK_TIMEOUT).await
                {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) => self.remind(&mut attempts, &format!("{} to get ready", member.id), &error),
                    Err(error) => self.remind(&mut attempts, &format!("{} to get ready", member.id), &error),
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        let members: BTreeMap<u64, EmptyNode> =
            self.peers.group.members.keys().map(|number| (*number, EmptyNode {})).collect();
        tracing::info!(%cluster, members = members.len(), "starting a new {} group", self.peers.group.name);
        self.raft.initialize(members).await.map_err(|error| BootstrapError::Raft(error.to_string()))
    }

    async fn wait_to_be_prepared(&self) -> Result<(), BootstrapError> {
        let mut attempts = 0;
        while self.peers.identity.cluster().is_none() {
            for (number, _) in self.peers.group.others() {
                let origin =
                    self.peers.post::<_, BootstrapState>(number, Endpoint::BootstrapState, &(), ASK_TIMEOUT).await;
                // The mark may have come while the question was under way.
                if origin.is_ok_and(|origin| origin.has_history) && self.peers.identity.cluster().is_none() {
                    return Err(self.lost_memory(number));
                }
            }
            self.remind(&mut attempts, "the group to be started", &"no replica is part of one yet");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Ok(())
    }

    async fn join(&self) -> Result<(), BootstrapError> {
        let own = self.peers.group.own;
        self.is_joining.store(true, Ordering::Release);
        let mut attempts = 0;
        loop {
            let mut reason = NO_LEADER.to_owned();
            for (number, _) in self.peers.group.others() {
                match self.peers.post::<_, Answer<ClusterId>>(number, Endpoint::BootstrapJoin, &own, ASK_TIMEOUT).await
                {
                    Ok(Ok(cluster)) => {
                        tracing::info!(%cluster, "joining the {} group", self.peers.group.name);
                        return Ok(self.peers.identity.set(cluster).await?);
                    }
                    Ok(Err(WriteError::NotLeader)) => {}
                    Ok(Err(error)) => reason = error.to_string(),
                    Err(error) => reason = format!("{reason}; {error}"),
                }
            }
            self.remind(&mut attempts, "permission to join", &reason);
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Asks for a vote until the leader says that this replica has one.
    ///
    /// What its own log says of the members may be out of date: it may be one that the leader does not count, and
    /// would never learn so by itself.
    async fn become_voter(&self) {
        let own = self.peers.group.own;
        let (mut attempts, mut pause) = (0, RETRY_PAUSE);
        let mut leadership = self.leadership.clone();
        loop {
            let current = *leadership.borrow_and_update();
            let asked: Vec<u64> = match current {
                Leadership::Own(_) => return,
                Leadership::Other(leader) => vec![leader],
                Leadership::Vacant(_) | Leadership::Preparing(_) => {
                    self.peers.group.others().map(|(number, _)| number).collect()
                }
            };
            let mut reason = NO_LEADER.to_owned();
            // All at once: one that hangs keeps nobody from being asked.
            let post = |number| self.peers.post::<_, Answer<()>>(number, Endpoint::BootstrapAdmit, &own, ADMIT_TIMEOUT);
            let mut answers: FuturesUnordered<_> = asked.into_iter().map(post).collect();
            loop {
                let answer = tokio::select! {
                    answer = answers.next() => answer,
                    // Whoever was asked does not lead.
                    Ok(_) = leadership.wait_for(|now| *now != current && now.vacant_since().is_none()) => None,
                };
                match answer {
                    None => break,
                    Some(Ok(Ok(()))) => return,
                    Some(Ok(Err(WriteError::NotLeader))) => {}
                    Some(Ok(Err(error))) => reason = error.to_string(),
                    Some(Err(error)) => reason = format!("{reason}; {error}"),
                }
            }
            // That it takes a moment is not worth a line.
            if pause >= LONGEST_RETRY_PAUSE && *leadership.borrow() == current {
                self.remind(&mut attempts, "a leader that counts this replica as a voter", &reason);
            }
            if let Ok(Err(_)) = tokio::time::timeout(pause, leadership.changed()).await {
                // openraft has stopped, and soon this replica.
                tokio::time::sleep(pause).await;
            }
            pause = (pause * 2).min(LONGEST_RETRY_PAUSE);
        }
    }

    fn lost_memory(&self, witness: u64) -> BootstrapError {
        let group = &self.peers.group;
        BootstrapError::LostMemory { group: group.name, witness: group.label(witness), own: group.label(group.own) }
    }

    /// Says what is waited for: at first, and ever more seldom.
    fn remind(&self, attempts: &mut u32, awaited: &str, reason: &dyn std::fmt::Display) {
        if attempts.is_multiple_of(REMINDER_EVERY) && (*attempts / REMINDER_EVERY + 1).is_power_of_two() {
            tracing::info!(%reason, "waiting for {awaited}");
        }
        *attempts += 1;
    }
}

/// How a voter comes back that remembers nothing.
#[derive(Debug, PartialEq, Eq)]
enum WayBack {
    /// The others, by a majority that does not need it, take it out until it has caught up.
    ByMajority,
    /// It may take part as it is.
    AtOnce,
    /// Not at all: without it nothing can be decided, and with it what was acknowledged may be forgotten.
    None,
}

/// Of a pair the other replica holds all that was acknowledged, and can change nothing without the joiner. That is so
/// only if nobody else ever voted: a third, which remembers that it did, could elect the joiner, or be elected by it.
fn way_back(configured: usize, voters: usize, learners: usize) -> WayBack {
    match voters {
        3.. => WayBack::ByMajority,
        _ if configured == 2 && learners == 0 => WayBack::AtOnce,
        _ => WayBack::None,
    }
}

/// Why openraft did not change the members, in words for people.
fn refused(error: RaftError<u64, ClientWriteError<u64, EmptyNode>>) -> WriteError {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => WriteError::NotLeader,
        RaftError::APIError(ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_))) => {
            WriteError::Unavailable("another change of members is under way".to_owned())
        }
        error => WriteError::Unavailable(error.to_string()),
    }
}

fn refuse<T>(reason: &str) -> Answer<T> {
    Err(WriteError::Unavailable(reason.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_configured_pair_without_learners_takes_an_empty_voter_back_at_once() {
        assert_eq!(way_back(2, 2, 0), WayBack::AtOnce);
        assert_eq!(way_back(3, 3, 0), WayBack::ByMajority);
        assert_eq!(way_back(5, 4, 1), WayBack::ByMajority);
        // One of three was taken out, and is a learner or not even that, when another loses its disk.
        for (configured, voters, learners) in [(3, 2, 1), (3, 2, 0), (2, 2, 1), (5, 2, 2)] {
            assert_eq!(way_back(configured, voters, learners), WayBack::None, "{configured} {voters} {learners}");
        }
    }
}
