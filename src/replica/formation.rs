//! How a group begins, and how a replica comes (back) to it with an empty disk.
//!
//! **Beginning.** The replica with the lowest number is the founder. It waits until every configured
//! replica says that it holds no history, has each of them put the [mark](super::marker) of the new group
//! on its disk, and only then starts the group. A replica without a mark that finds the group alive has
//! lost its disk (or is new): it does not take part, because with the memory it lost it could help to
//! elect a leader that misses acknowledged writes.
//!
//! **Joining.** Started with `--join`, such a replica asks the leader. The leader takes it out of the
//! membership, by a majority that does not need it; only then the replica gets its mark, follows as a
//! learner until it has caught up, and becomes a voter again. In a group of two the other replica holds
//! every acknowledged write, for both had to confirm each, so the joiner may take part at once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use openraft::{ChangeMembers, EmptyNode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use uuid::Uuid;

use super::machine::WriteError;
use super::marker::ClusterId;
use super::network::Peers;
use super::office::Office;
use super::raft::Raft;
use super::wire::{self, Answer, Origin, PeerError};

/// How often peers are asked again.
const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// How long one question may take.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a newcomer may take to catch up before it asks again.
const ADMIT_TIMEOUT: Duration = Duration::from_secs(600);

/// How often what is being waited for is said again.
const REMINDER_EVERY: u32 = 25;

/// Why a replica cannot take part.
#[derive(Debug, thiserror::Error)]
pub enum FormationError {
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
pub struct Formation {
    pub raft: Raft,
    pub peers: Peers,
    pub office: watch::Receiver<Office>,
}

impl Formation {
    /// Returns once this replica is part of its group.
    ///
    /// # Errors
    /// If it must not be.
    pub async fn take_part(&self, join: bool) -> Result<(), FormationError> {
        match (self.peers.marker.cluster().is_some(), self.has_history().await?) {
            (true, true) => {}
            (true, false) if !self.peers.group.is_founder() => {}
            (false, _) if join => self.join().await?,
            _ if self.peers.group.is_founder() => self.found().await?,
            _ => self.wait_to_be_prepared().await?,
        }
        self.become_voter().await;
        Ok(())
    }

    /// What this replica tells others about its beginnings.
    pub async fn origin(&self) -> Origin {
        // A replica that cannot tell must not be taken for an empty one.
        let has_history = self.has_history().await.unwrap_or(true);
        Origin { has_history, cluster: self.peers.marker.cluster() }
    }

    /// Puts the mark of a new group on this disk, unless this replica holds the history of one.
    pub async fn prepare(&self, cluster: ClusterId) -> Answer<()> {
        if self.origin().await.has_history {
            return Err(WriteError::Unavailable("this replica is part of a group already".to_owned()));
        }
        self.peers.marker.set(cluster).await.map_err(|error| WriteError::Unavailable(error.to_string()))
    }

    /// Lets a replica with an empty disk come back, or a new one come: answers with the group's mark.
    pub async fn allow_join(&self, joiner: u64) -> Answer<ClusterId> {
        let cluster = self.peers.marker.cluster().ok_or(WriteError::NotLeader)?;
        let voters = self.voters();
        if voters.contains(&joiner) {
            // In a group of two nothing can be changed without the joiner, and nothing needs to be.
            if voters.len() > 2 {
                self.must_lead()?;
                tracing::info!(replica = self.peers.group.label(joiner), "taking it out until it has caught up");
                self.change(ChangeMembers::RemoveVoters(BTreeSet::from([joiner]))).await?;
            }
        } else {
            self.must_lead()?;
        }
        Ok(cluster)
    }

    /// Brings a learner up to date and makes it a voter.
    pub async fn admit(&self, joiner: u64) -> Answer<()> {
        self.must_lead()?;
        if self.voters().contains(&joiner) {
            return Ok(());
        }
        tracing::info!(replica = self.peers.group.label(joiner), "bringing it up to date");
        let refused = |error: String| WriteError::Unavailable(error);
        self.raft.add_learner(joiner, EmptyNode {}, true).await.map_err(|error| refused(error.to_string()))?;
        self.change(ChangeMembers::AddVoterIds(BTreeSet::from([joiner]))).await?;
        tracing::info!(replica = self.peers.group.label(joiner), "it is a voter again");
        Ok(())
    }

    async fn has_history(&self) -> Result<bool, FormationError> {
        self.raft.is_initialized().await.map_err(|error| FormationError::Raft(error.to_string()))
    }

    fn voters(&self) -> BTreeSet<u64> {
        self.raft.server_metrics().borrow().membership_config.membership().voter_ids().collect()
    }

    fn must_lead(&self) -> Result<(), WriteError> {
        match *self.office.borrow() {
            Office::Own(_) => Ok(()),
            _ => Err(WriteError::NotLeader),
        }
    }

    async fn change(&self, change: ChangeMembers<u64, EmptyNode>) -> Result<(), WriteError> {
        let changed = self.raft.change_membership(change, false).await;
        changed.map(drop).map_err(|error| WriteError::Unavailable(error.to_string()))
    }

    async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        address: &str,
        path: &'static str,
        question: &Q,
        timeout: Duration,
    ) -> Result<A, PeerError> {
        wire::post(&self.peers.client, address, path, self.peers.marker.cluster(), question, timeout).await
    }

    async fn found(&self) -> Result<(), FormationError> {
        let cluster = self.peers.marker.cluster().unwrap_or_else(Uuid::new_v4);
        for (number, member) in self.peers.group.others() {
            let mut attempts = 0;
            loop {
                match self.ask::<_, Origin>(&member.address, wire::ORIGIN, &(), ASK_TIMEOUT).await {
                    Ok(origin) if origin.has_history => return Err(self.lost_memory(number)),
                    Ok(_) => break,
                    Err(error) => self.remind(&mut attempts, &format!("{} to start", member.id), &error),
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        for (_, member) in self.peers.group.others() {
            let mut attempts = 0;
            loop {
                match self.ask::<_, Answer<()>>(&member.address, wire::PREPARE, &cluster, ASK_TIMEOUT).await {
                    Ok(Ok(())) => break,
                    Ok(Err(error)) => self.remind(&mut attempts, &format!("{} to get ready", member.id), &error),
                    Err(error) => self.remind(&mut attempts, &format!("{} to get ready", member.id), &error),
                }
                tokio::time::sleep(RETRY_PAUSE).await;
            }
        }
        self.peers.marker.set(cluster).await?;
        let members: BTreeMap<u64, EmptyNode> =
            self.peers.group.members.keys().map(|number| (*number, EmptyNode {})).collect();
        tracing::info!(%cluster, members = members.len(), "starting a new {} group", self.peers.group.name);
        self.raft.initialize(members).await.map_err(|error| FormationError::Raft(error.to_string()))
    }

    async fn wait_to_be_prepared(&self) -> Result<(), FormationError> {
        let mut attempts = 0;
        while self.peers.marker.cluster().is_none() {
            for (number, member) in self.peers.group.others() {
                let origin = self.ask::<_, Origin>(&member.address, wire::ORIGIN, &(), ASK_TIMEOUT).await;
                // The mark may have come while the question was under way.
                if origin.is_ok_and(|origin| origin.has_history) && self.peers.marker.cluster().is_none() {
                    return Err(self.lost_memory(number));
                }
            }
            self.remind(&mut attempts, "the group to be started", &"no replica is part of one yet");
            tokio::time::sleep(RETRY_PAUSE).await;
        }
        Ok(())
    }

    async fn join(&self) -> Result<(), FormationError> {
        let own = self.peers.group.own;
        let mut attempts = 0;
        loop {
            for (_, member) in self.peers.group.others() {
                match self.ask::<_, Answer<ClusterId>>(&member.address, wire::JOIN, &own, ASK_TIMEOUT).await {
                    Ok(Ok(cluster)) => {
                        tracing::info!(%cluster, "joining the {} group", self.peers.group.name);
                        return Ok(self.peers.marker.set(cluster).await?);
                    }
                    Ok(Err(WriteError::NotLeader)) => {}
                    Ok(Err(error)) => self.remind(&mut attempts, "permission to join", &error),
                    Err(error) => self.remind(&mut attempts, "permission to join", &error),
                }
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    }

    /// Asks for a vote until this replica has one.
    async fn become_voter(&self) {
        let own = self.peers.group.own;
        let mut attempts = 0;
        // A replica that has applied nothing yet cannot tell; the first entries will show.
        while !self.voters().contains(&own) {
            tokio::time::sleep(RETRY_PAUSE).await;
            for (_, member) in self.peers.group.others() {
                if self.voters().contains(&own) {
                    break;
                }
                match self.ask::<_, Answer<()>>(&member.address, wire::ADMIT, &own, ADMIT_TIMEOUT).await {
                    Ok(Ok(()) | Err(WriteError::NotLeader)) => {}
                    Ok(Err(error)) => self.remind(&mut attempts, "a vote in the group", &error),
                    Err(error) => self.remind(&mut attempts, "a vote in the group", &error),
                }
            }
        }
    }

    fn lost_memory(&self, witness: u64) -> FormationError {
        let group = &self.peers.group;
        FormationError::LostMemory { group: group.name, witness: group.label(witness), own: group.label(group.own) }
    }

    fn remind(&self, attempts: &mut u32, awaited: &str, reason: &dyn std::fmt::Display) {
        if attempts.is_multiple_of(REMINDER_EVERY) {
            tracing::info!(%reason, "waiting for {awaited}");
        }
        *attempts += 1;
    }
}
