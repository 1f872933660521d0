//! A leader that cannot serve, though another replica of its group could, hands over to that.
//!
//! To lead is of no use to a role that needs somebody outside its group, if this replica alone does not reach them:
//! its followers hear it, and would follow it for ever. So it asks them whether they could serve, looks once more whether it
//! can itself, and [hands over](super::leadership_transfer). If none can it leads on: what hinders it is not its own.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::leadership::Leadership;
use super::leadership_transfer::LeadershipTransfer;
use crate::api::Endpoint;
use crate::replica::application::LeaderService;
use crate::replica::rpc::wire::Answer;
use crate::telemetry::Trouble;

/// How long after a look at itself and the others a leader that is hindered looks again.
const PAUSE: Duration = Duration::from_secs(1);

fn is_own(leadership: &Leadership) -> bool {
    matches!(leadership, Leadership::Own(_))
}

/// Has this replica step aside whenever it is of use.
pub struct StepAside {
    pub leadership: watch::Receiver<Leadership>,
    pub service: Arc<dyn LeaderService>,
    pub transfer: Arc<LeadershipTransfer>,
    /// What hinders this replica while it leads.
    pub hindrance: watch::Sender<Option<String>>,
}

impl StepAside {
    /// Runs until the replica stops.
    pub async fn run(self) {
        let mut leadership = self.leadership.clone();
        while leadership.wait_for(is_own).await.is_ok() {
            let is_hindered = tokio::select! {
                _ = leadership.wait_for(|leadership| !is_own(leadership)) => false,
                () = self.service.hindered() => true,
            };
            if is_hindered {
                self.find_another().await;
                self.hindrance.send_replace(None);
            }
        }
    }

    /// Hands over as soon as another can serve; returns when it has, or when this replica can serve again or does not lead.
    async fn find_another(&self) {
        let began = Instant::now();
        let mut trouble = Trouble::default();
        while is_own(&self.leadership.borrow()) {
            let others = self.others_that_can_serve().await;
            let Err(hindrance) = self.service.can_serve().await else { return };
            // Sooner, it is not worth a word: those outside are about to begin, or change their leader.
            let lasts = began.elapsed() >= PAUSE;
            if lasts || !others.is_empty() {
                self.hindrance.send_replace(Some(hindrance.clone()));
            }
            if !others.is_empty() {
                tracing::warn!(hindrance, "this leader cannot serve, and another replica can: handing over");
                if self.transfer.step_aside(others).await {
                    return;
                }
                tracing::warn!("no other replica took the leadership over: this one leads on");
            } else if lasts && let Some(times) = trouble.met() {
                tracing::warn!(hindrance, times, "this leader cannot serve, nor can another replica: leading on");
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn others_that_can_serve(&self) -> BTreeSet<u64> {
        let LeadershipTransfer { peers, bounds, .. } = &*self.transfer;
        let ask = |other| async move {
            let answer: Result<Answer<bool>, _> = peers.post(other, Endpoint::RaftCanServe, &(), bounds.vote()).await;
            matches!(answer, Ok(Ok(true))).then_some(other)
        };
        let asked = self.transfer.other_voters().into_iter().map(ask);
        futures_util::future::join_all(asked).await.into_iter().flatten().collect()
    }
}
