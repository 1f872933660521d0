//! Which followers a leader reaches, told when it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::group::Group;

/// A follower that gives no answer so often in succession is told of. One that only stumbles is not.
const FAILURES_TOLD: u32 = 3;

/// What is known of followers.
pub struct Reach {
    /// Failures in succession, by the follower's number.
    failures: BTreeMap<u64, AtomicU32>,
    /// The members that the configuration does not name, as far as they were told of.
    strangers: Mutex<BTreeSet<u64>>,
}

impl Reach {
    /// All followers are taken to be there.
    pub fn new(group: &Group) -> Reach {
        let failures = group.members.keys().map(|number| (*number, AtomicU32::new(0))).collect();
        Reach { failures, strangers: Mutex::default() }
    }

    /// A follower has answered.
    pub fn answered(&self, group: &Group, number: u64) {
        let Some(failures) = self.failures.get(&number) else { return };
        // Nearly always there are none, and a look costs less than a change.
        if failures.load(Ordering::Relaxed) > 0 && failures.swap(0, Ordering::Relaxed) >= FAILURES_TOLD {
            tracing::info!(replica = group.label(number), "a follower answers again");
        }
    }

    /// A follower has given no answer.
    pub fn failed(&self, group: &Group, number: u64, error: &impl std::fmt::Display) {
        let Some(failures) = self.failures.get(&number) else {
            if self.strangers.lock().unwrap_or_else(PoisonError::into_inner).insert(number) {
                let replica = group.label(number);
                tracing::warn!(replica, "a member of the group has no address here: it counts as one that is down");
            }
            return;
        };
        let increase = |failures: u32| (failures < FAILURES_TOLD).then_some(failures + 1);
        if failures.fetch_update(Ordering::Relaxed, Ordering::Relaxed, increase) == Ok(FAILURES_TOLD - 1) {
            tracing::warn!(replica = group.label(number), %error, "a follower does not answer");
        }
    }
}
