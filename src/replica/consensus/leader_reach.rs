//! Whether this replica reaches the leader that it hears.
//!
//! A leader may be heard by all and be reached by nobody, as behind a wrong rule of a firewall: then it leads and serves
//! nobody. So a leader that does not answer a question is asked another that it answers at once. If it does not answer that
//! either, it counts as lost, and is not [recognised](super::recognition) any more until it answers.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

use super::leader_contact::LeaderContact;
use crate::api::Endpoint;
use crate::replica::rpc::client::Peers;
use crate::replica::rpc::wire::{PeerError, Stance, StanceQuestion};

/// How long a leader may take to answer before it is asked whether it answers at all.
const PATIENCE: Duration = Duration::from_millis(200);

/// By how much the timer of that question may be late and still prove that the leader does not answer.
const TIMER_LATENESS: Duration = Duration::from_millis(50);

/// Asks the leader. Cheap to clone.
#[derive(Clone)]
pub struct LeaderReach {
    peers: Peers,
    contact: Arc<LeaderContact>,
    /// How long a replica may take to say where it stands.
    stance_timeout: Duration,
    /// The leader that does not answer; nobody has number 0.
    doubted: Arc<AtomicU64>,
}

impl LeaderReach {
    pub fn new(peers: Peers, contact: Arc<LeaderContact>, stance_timeout: Duration) -> LeaderReach {
        LeaderReach { peers, contact, stance_timeout, doubted: Arc::default() }
    }

    /// Asks the leader, and finds out whether it answers at all if it does not answer this soon.
    ///
    /// # Errors
    /// See [`PeerError`].
    pub async fn ask<Q: Serialize, A: DeserializeOwned>(
        &self,
        leader: u64,
        endpoint: Endpoint,
        message: &Q,
        timeout: Duration,
    ) -> Result<A, PeerError> {
        let mut answer = pin!(self.peers.post(leader, endpoint, message, timeout));
        let failure = match tokio::time::timeout(PATIENCE, &mut answer).await {
            Ok(Err(error @ PeerError::Call(_))) => Some(error),
            Ok(answer) => return answer,
            Err(_) => None,
        };
        match failure {
            Some(error) => {
                Box::pin(self.look_after(leader)).await;
                Err(error)
            }
            None => tokio::select! {
                answer = &mut answer => answer,
                () = Box::pin(self.look_after(leader)) => answer.await,
            },
        }
    }

    /// Finds out whether the leader answers at all.
    async fn look_after(&self, leader: u64) {
        loop {
            let asked = Instant::now();
            // One that refuses the question, as a crowd at its door has it do, answers.
            let Err(PeerError::Call(_)) = self.stance_of(leader, &StanceQuestion::default()).await else { return };
            // A timer that fires late shows that this replica stood still: the answer may wait in its socket.
            if asked.elapsed() <= self.stance_timeout + TIMER_LATENESS {
                return self.doubt(leader);
            }
        }
    }

    /// Where a replica stands.
    pub async fn stance_of(&self, number: u64, question: &StanceQuestion) -> Result<Stance, PeerError> {
        self.peers.post(number, Endpoint::RaftStance, question, self.stance_timeout).await
    }

    /// Whether this leader did not answer when it was asked last.
    pub fn is_doubted(&self, leader: u64) -> bool {
        leader != 0 && self.doubted.load(Ordering::Relaxed) == leader
    }

    /// Takes note that the leader answers.
    pub fn trust(&self) {
        self.doubted.store(0, Ordering::Relaxed);
    }

    fn doubt(&self, leader: u64) {
        let name = self.peers.group.label(leader);
        if self.doubted.swap(leader, Ordering::Relaxed) != leader {
            tracing::warn!(leader = name, "the leader is heard and does not answer: it counts as lost until it does");
        }
        self.contact.lose();
    }
}
