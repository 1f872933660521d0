//! The time of a group: how long ago something was, though no wall clock can be trusted.
//!
//! It begins at 0 with the group. A leader goes on from the time that was applied last, by its own monotonic clock, and
//! stamps each batch. So it never falls, and never runs ahead of the time that has really passed, whatever the wall
//! clocks do; it stands still while no replica runs.

use parking_lot::Mutex;
use tokio::time::Instant;

/// The latest that the group's time can be, in milliseconds: far more than any group lives, and so little that adding to it
/// never overflows. It stands still there.
pub const MAX_GROUP_MS: u64 = 1 << 53;

/// Tells the group's time on one replica.
pub struct GroupClock {
    /// When, by this machine's monotonic clock, the group's time was at least this, in milliseconds.
    known: Mutex<(Instant, u64)>,
}

impl GroupClock {
    /// A clock of a replica that has applied batches up to this time, in milliseconds.
    pub fn since(applied_ms: u64) -> GroupClock {
        GroupClock { known: Mutex::new((Instant::now(), applied_ms)) }
    }

    /// The time now, in milliseconds, on a replica that has applied batches up to `applied_ms`.
    pub fn now_ms(&self, applied_ms: u64) -> u64 {
        let now = Instant::now();
        let mut known = self.known.lock();
        let passed_ms = u64::try_from((now - known.0).as_millis()).unwrap_or(u64::MAX);
        let own_ms = known.1.saturating_add(passed_ms);
        if applied_ms > own_ms {
            *known = (now, applied_ms);
        }
        own_ms.max(applied_ms).min(MAX_GROUP_MS)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_groups_time_goes_on_from_what_was_applied_by_the_monotonic_clock() {
        let clock = GroupClock::since(5000);
        assert_eq!(clock.now_ms(5000), 5000);
        tokio::time::advance(Duration::from_millis(700)).await;
        assert_eq!(clock.now_ms(5000), 5700);
        // Another leader's batches told of more.
        assert_eq!(clock.now_ms(9000), 9000);
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!((clock.now_ms(9000), clock.now_ms(0)), (9001, 9001));
        for applied in [MAX_GROUP_MS, u64::MAX] {
            assert_eq!(clock.now_ms(applied), MAX_GROUP_MS);
            tokio::time::advance(Duration::from_millis(1)).await;
            assert_eq!(clock.now_ms(0), MAX_GROUP_MS);
        }
    }
}
