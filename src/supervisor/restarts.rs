//! How long to wait before a node that died is started again.
//!
//! A node that dies once should be back soon; one that cannot start must not keep the machine busy.

use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(10);

/// A node that ran for so long has shown that it can: what it dies of then is something new.
const PROVEN: Duration = Duration::from_secs(30);

/// The restarts of one node.
#[derive(Debug)]
pub(super) struct Restarts {
    next: Duration,
}

impl Default for Restarts {
    fn default() -> Self {
        Restarts { next: SHORTEST }
    }
}

impl Restarts {
    /// The wait after a process that ran for `up_for`.
    pub fn delay_after(&mut self, up_for: Duration) -> Duration {
        if up_for >= PROVEN {
            self.next = SHORTEST;
        }
        let delay = self.next;
        self.next = (delay * 2).min(LONGEST);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_ten_seconds() {
        let mut restarts = Restarts::default();
        let delays: Vec<u128> = (0..7).map(|_| restarts.delay_after(Duration::ZERO).as_millis()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    }

    #[test]
    fn a_node_that_ran_for_long_is_soon_back() {
        let mut restarts = Restarts::default();
        restarts.delay_after(Duration::ZERO);
        assert_eq!(restarts.delay_after(Duration::from_secs(29)).as_millis(), 1000);
        assert_eq!(restarts.delay_after(PROVEN).as_millis(), 500);
        assert_eq!(restarts.delay_after(Duration::ZERO).as_millis(), 1000);
    }
}
