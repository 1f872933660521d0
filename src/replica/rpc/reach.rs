//! Which followers a leader reaches, told when it changes. One that comes and goes is one trouble.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use parking_lot::Mutex;

use crate::replica::group::Group;
use crate::telemetry::Trouble;

/// A follower that gives no answer so often in succession is told of. One that only stumbles is not.
const FAILURES_TOLD: u32 = 3;

/// What is known of followers.
pub struct Reach {
    followers: BTreeMap<u64, Follower>,
    /// The members that the configuration does not name, as far as they were told of.
    strangers: Mutex<BTreeSet<u64>>,
}

#[derive(Default)]
struct Follower {
    /// In succession, up to those that are told of.
    failures: AtomicU32,
    /// Whether there is a trouble that is not over.
    is_troubled: AtomicBool,
    /// Each time that it went away.
    trouble: Mutex<Trouble>,
}

impl Reach {
    /// All followers are taken to be there.
    pub fn new(group: &Group) -> Reach {
        let followers = group.members.keys().map(|number| (*number, Follower::default())).collect();
        Reach { followers, strangers: Mutex::default() }
    }

    /// A follower has answered.
    pub fn answered(&self, group: &Group, number: u64) {
        let Some(follower) = self.followers.get(&number) else { return };
        if let Some(times) = follower.answered() {
            tracing::info!(replica = group.label(number), times, "a follower answers again");
        }
    }

    /// A follower has given no answer.
    pub fn failed(&self, group: &Group, number: u64, error: &impl std::fmt::Display) {
        let Some(follower) = self.followers.get(&number) else {
            if self.strangers.lock().insert(number) {
                let replica = group.label(number);
                tracing::warn!(replica, "a member of the group has no address here: it counts as one that is down");
            }
            return;
        };
        if let Some(times) = follower.failed() {
            tracing::warn!(replica = group.label(number), %error, times, "a follower does not answer");
        }
    }
}

impl Follower {
    /// It answers. Whether to tell that it does so again, and how often it went away.
    fn answered(&self) -> Option<u64> {
        // Nearly always nothing was the matter, and a look costs less than a change.
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
        if !self.is_troubled.load(Ordering::Relaxed) {
            return None;
        }
        let times = self.trouble.lock().gone()?;
        self.is_troubled.store(false, Ordering::Relaxed);
        Some(times)
    }

    /// It gave no answer. Whether to tell of it, and how often it went away.
    fn failed(&self) -> Option<u64> {
        let increase = |failures: u32| (failures < FAILURES_TOLD).then_some(failures + 1);
        if self.failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, increase) != Ok(FAILURES_TOLD - 1) {
            return None;
        }
        self.is_troubled.store(true, Ordering::Relaxed);
        self.trouble.lock().met()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_follower_that_comes_and_goes_is_told_of_as_one_trouble() {
        let follower = Follower::default();
        let go_away = || (0..10).filter_map(|_| follower.failed()).collect::<Vec<_>>();
        assert_eq!((follower.failed(), follower.answered(), follower.failed()), (None, None, None), "it stumbles");
        assert_eq!(follower.answered(), None);
        assert_eq!(go_away(), [1]);
        for _ in 0..8 {
            tokio::time::advance(Duration::from_millis(50)).await;
            assert_eq!((follower.answered(), go_away()), (None, vec![]));
        }
        assert_eq!(follower.answered(), None, "it may go again");
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!((follower.answered(), follower.answered()), (Some(9), None));
        assert_eq!(go_away(), [1], "the next is another");
    }
}
