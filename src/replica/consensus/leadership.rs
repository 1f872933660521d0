//! Who leads the group, and whether the leader may act.
//!
//! To be elected is not enough to serve. A leader that has just been elected does not know yet how far the
//! group had committed: it first commits a barrier and applies it. Then its role prepares what it must
//! ([`LeaderService::on_become_leader`]), and only then it is *ready*. It ends when the replica loses its leadership,
//! hears from no majority, steps aside, or is about to stop.

use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use tokio::sync::watch;
use tokio::time::Instant;

use super::leader_contact::LeaderContact;
use super::leadership_transfer::Willingness;
use super::proposer::Proposer;
use crate::replica::application::{LeaderEpoch, LeaderService, WriteError};
use crate::replica::storage::raft_types::{Raft, ServerMetrics};
use crate::telemetry::Trouble;

/// The first pause before a leader whose role could not prepare tries again; each further one is twice as
/// long, up to the longest.
const FIRST_RETRY_PAUSE: Duration = Duration::from_millis(50);

/// See [`FIRST_RETRY_PAUSE`].
const LONGEST_RETRY_PAUSE: Duration = Duration::from_secs(2);

/// Before a leader that is ready and did not answer is asked once more.
const ANOTHER_TRY_PAUSE: Duration = Duration::from_millis(10);

/// Who may act for the group, as this replica sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leadership {
    /// Nobody that this replica knows of, since then.
    Vacant(Instant),
    /// This replica leads, but is not ready to act since then.
    Preparing(Instant),
    /// This replica acts, in this term.
    Own(u64),
    /// The replica of this number leads.
    Other(u64),
}

impl Leadership {
    /// Since when nobody has acted.
    pub fn vacant_since(self) -> Option<Instant> {
        match self {
            Leadership::Vacant(since) | Leadership::Preparing(since) => Some(since),
            Leadership::Own(_) | Leadership::Other(_) => None,
        }
    }
}

/// Waits for the leadership to be another than the one `seen`, at most until `deadline`, and until it has been vacant for
/// `patience`. Whether it is of use to try again; it is not once openraft has stopped.
pub async fn try_again(
    leadership: &mut watch::Receiver<Leadership>,
    seen: Leadership,
    deadline: Instant,
    patience: Duration,
) -> bool {
    let vacant_since = seen.vacant_since();
    let give_up_at = match vacant_since {
        Some(since) => deadline.min(since + patience),
        None => deadline.min(Instant::now() + ANOTHER_TRY_PAUSE),
    };
    match tokio::time::timeout_at(give_up_at, leadership.changed()).await {
        Ok(changed) => changed.is_ok(),
        Err(_) => vacant_since.is_none() && Instant::now() < deadline,
    }
}

/// The term in which this replica leads and is heard by a majority, as it was at most `silence_limit` ago.
pub fn leads(raft: &Raft, silence_limit: Duration) -> Option<u64> {
    let server = raft.server_metrics();
    let server = server.borrow();
    if server.state != ServerState::Leader || server.current_leader != Some(server.id) {
        return None;
    }
    let is_alone = server.membership_config.membership().voter_ids().count() <= 1;
    let silence_ms = raft.data_metrics().borrow().millis_since_quorum_ack;
    let is_heard = silence_ms.is_none_or(|silence_ms| u128::from(silence_ms) <= silence_limit.as_millis());
    (is_alone || is_heard).then_some(server.vote.leader_id().term)
}

/// What tells that a leader may have come or gone.
struct Signs {
    server: watch::Receiver<ServerMetrics>,
    is_lost: watch::Receiver<bool>,
    willingness: watch::Receiver<Willingness>,
}

impl Signs {
    /// Waits for a change. Fails once openraft has stopped.
    async fn changed(&mut self) -> Result<(), watch::error::RecvError> {
        tokio::select! {
            changed = self.server.changed() => changed,
            Ok(()) = self.is_lost.changed() => Ok(()),
            Ok(()) = self.willingness.changed() => Ok(()),
        }
    }
}

/// Keeps `leadership` true until openraft stops.
pub struct LeadershipMonitor {
    pub raft: Raft,
    pub proposer: Proposer,
    pub leadership: watch::Sender<Leadership>,
    pub service: Arc<dyn LeaderService>,
    /// What keeps this replica from serving while it leads.
    pub hindrance: watch::Sender<Option<String>>,
    pub contact: Arc<LeaderContact>,
    /// Whether this replica is willing to lead.
    pub willingness: watch::Receiver<Willingness>,
    /// A leader that heard from no majority for this long acts no more.
    pub silence_limit: Duration,
    /// How often a leader makes itself heard.
    pub heartbeat: Duration,
}

impl LeadershipMonitor {
    /// Runs until openraft stops.
    pub async fn run(self) {
        let mut signs = Signs {
            server: self.raft.server_metrics(),
            is_lost: self.contact.watch_lost(),
            willingness: self.willingness.clone(),
        };
        let mut leader_epoch = 0;
        let mut retry_pause = FIRST_RETRY_PAUSE;
        let mut trouble = Trouble::default();
        loop {
            let Some(term) = self.leading() else {
                self.leave();
                self.hindrance.send_replace(None);
                retry_pause = FIRST_RETRY_PAUSE;
                if self.wait(&mut signs).await.is_err() {
                    return;
                }
                continue;
            };
            self.announce(Leadership::Preparing(Instant::now()));
            leader_epoch += 1;
            match self.prepare(term, leader_epoch, &mut signs).await {
                Ok(()) if self.leading() != Some(term) => self.leave(),
                Ok(()) => {
                    tracing::info!(term, "this replica leads its group");
                    self.announce(Leadership::Own(term));
                    self.hindrance.send_replace(None);
                    retry_pause = FIRST_RETRY_PAUSE;
                    trouble = Trouble::default();
                    let lost = self.lost(term, &mut signs).await;
                    tracing::info!(term, "this replica leads its group no more");
                    self.leave();
                    if lost.is_err() {
                        return;
                    }
                }
                Err(error) => {
                    self.leave();
                    if let Some(times) = trouble.met() {
                        tracing::warn!(term, %error, times, "this replica was elected and is not ready to lead yet");
                    }
                    if error != WriteError::NotLeader {
                        self.hindrance.send_replace(Some(error.to_string()));
                    }
                    if let Ok(Err(_)) = tokio::time::timeout(retry_pause, self.lost(term, &mut signs)).await {
                        return;
                    }
                    retry_pause = (retry_pause * 2).min(LONGEST_RETRY_PAUSE);
                }
            }
        }
    }

    /// Waits for this replica to lead, perhaps. A leader that no majority answers looks from time to time.
    async fn wait(&self, signs: &mut Signs) -> Result<(), watch::error::RecvError> {
        if self.raft.server_metrics().borrow().state != ServerState::Leader {
            return signs.changed().await;
        }
        tokio::time::timeout(self.heartbeat, signs.changed()).await.unwrap_or(Ok(()))
    }

    /// The term in which this replica leads and may act.
    fn leading(&self) -> Option<u64> {
        leads(&self.raft, self.silence_limit).filter(|_| *self.willingness.borrow() == Willingness::Willing)
    }

    /// Has the proposer take nothing more, and tells who leads now.
    fn leave(&self) {
        match *self.willingness.borrow() {
            Willingness::Willing => self.proposer.end_epoch(),
            // What is under way comes to its end first.
            Willingness::StepsAside | Willingness::Retires => self.proposer.close(),
        }
        let server = self.raft.server_metrics().borrow().clone();
        match server.current_leader.filter(|leader| *leader != server.id && !self.contact.is_lost()) {
            Some(leader) => self.announce(Leadership::Other(leader)),
            None => self.announce(Leadership::Vacant(Instant::now())),
        }
    }

    /// Returns once this replica does not lead in this term any more, or must not act. Fails once openraft has stopped.
    async fn lost(&self, term: u64, signs: &mut Signs) -> Result<(), watch::error::RecvError> {
        while self.leading() == Some(term) {
            // When no majority will have been heard for too long, if none is heard from now on.
            let silence_ms = self.raft.data_metrics().borrow().millis_since_quorum_ack.unwrap_or(0);
            let left = self.silence_limit.saturating_sub(Duration::from_millis(silence_ms));
            tokio::time::timeout(left.max(self.heartbeat / 4), signs.changed()).await.unwrap_or(Ok(()))?;
        }
        Ok(())
    }

    async fn prepare(&self, term: u64, leader_epoch: LeaderEpoch, signs: &mut Signs) -> Result<(), WriteError> {
        let ready = async {
            self.proposer.begin_epoch(leader_epoch, term).await?;
            self.service.on_become_leader(leader_epoch).await
        };
        tokio::select! {
            outcome = ready => outcome,
            _ = self.lost(term, signs) => Err(WriteError::NotLeader),
        }
    }

    fn announce(&self, leadership: Leadership) {
        self.leadership.send_if_modified(|current| {
            // A vacancy goes on: it keeps the moment at which it began.
            let leadership = match (current.vacant_since(), leadership) {
                (Some(since), Leadership::Vacant(_)) => Leadership::Vacant(since),
                (Some(since), Leadership::Preparing(_)) => Leadership::Preparing(since),
                (_, leadership) => leadership,
            };
            let is_new = *current != leadership;
            *current = leadership;
            is_new
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn it_is_of_no_use_to_try_again_once_openraft_has_stopped() {
        for seen in [Leadership::Vacant(Instant::now()), Leadership::Own(3), Leadership::Other(2)] {
            let (sender, mut leadership) = watch::channel(seen);
            drop(sender);
            assert!(!try_again(&mut leadership, seen, Instant::now() + PATIENCE, PATIENCE).await, "{seen:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_of_use_to_try_again_until_there_was_no_leader_for_too_long() {
        let began = Instant::now();
        let vacant = Leadership::Vacant(began);
        let (sender, mut leadership) = watch::channel(vacant);
        assert!(!try_again(&mut leadership, vacant, began + PATIENCE * 2, PATIENCE).await);
        assert_eq!(began.elapsed(), PATIENCE);
        assert!(try_again(&mut leadership, Leadership::Own(3), began + PATIENCE * 2, PATIENCE).await);
        assert!(began.elapsed() < PATIENCE * 2);
        sender.send_replace(Leadership::Other(2));
        assert!(try_again(&mut leadership, vacant, began + PATIENCE * 2, PATIENCE).await);
    }
}
