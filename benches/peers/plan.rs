//! How often and how long everything is measured.

use std::time::Duration;

use super::rounds::Rounds;

/// Times of one measurement of one server each.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    rounds: usize,
    warm_up: Duration,
    /// Cached reads in the closed loop.
    pub cached_reads: Duration,
    /// Cached reads in the open loop.
    pub paced_reads: Duration,
    /// Reads that are not cached.
    pub misses: Duration,
    /// Purchases of many customers at once.
    pub purchases: Duration,
    /// Purchases of one customer.
    pub single_purchases: Duration,
}

impl Plan {
    /// Under four minutes with all peers.
    pub const FULL: Plan = Plan {
        rounds: 5,
        warm_up: Duration::from_millis(500),
        cached_reads: Duration::from_millis(1_800),
        paced_reads: Duration::from_millis(1_200),
        misses: Duration::from_millis(900),
        purchases: Duration::from_millis(3_000),
        single_purchases: Duration::from_millis(2_000),
    };

    /// Under one minute: whether everything works, not how fast.
    pub const QUICK: Plan = Plan {
        rounds: 2,
        warm_up: Duration::from_millis(200),
        cached_reads: Duration::from_millis(500),
        paced_reads: Duration::from_millis(300),
        misses: Duration::from_millis(300),
        purchases: Duration::from_millis(1_000),
        single_purchases: Duration::from_millis(1_000),
    };

    /// The rounds of measurements that take `duration` each.
    pub fn rounds(&self, duration: Duration) -> Rounds {
        Rounds { count: self.rounds, duration, warm_up: self.warm_up }
    }
}
