//! How much is measured, and for how long: all of it in under three minutes, or a taste in half a minute.

use std::time::Duration;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct Plan {
    /// How often each case is measured; cases take turns, so that a disturbance hits all alike.
    pub rounds: usize,
    /// Asked before each round, and not counted.
    pub warm_up: Duration,
    /// What is counted of a round.
    pub window: Duration,
    /// The same for the throughput of one number of clients.
    pub throughput_window: Duration,
    /// The same for one share of purchases.
    pub mix_window: Duration,
    /// Rounds of each number of clients, and of each share of purchases.
    pub sweep_rounds: usize,
    /// Numbers of clients, rising.
    pub clients: Vec<usize>,
    /// Percent of the requests that are purchases, in the mixed workload.
    pub shares_percent: Vec<u32>,
    /// Sequences of dependent requests in a round.
    pub sequences: usize,
    /// Deaths of each group's leader.
    pub trials: usize,
    /// What is counted of one of them.
    pub trial_window: Duration,
    /// From the window's beginning to the leader's death.
    pub kill_after: Duration,
}

impl Plan {
    /// What the report is made of.
    pub fn full() -> Plan {
        Plan {
            rounds: 3,
            warm_up: Duration::from_millis(300),
            window: Duration::from_millis(1500),
            throughput_window: Duration::from_millis(600),
            mix_window: Duration::from_millis(1000),
            sweep_rounds: 2,
            clients: vec![1, 2, 4, 8, 16, 32, 64, 128],
            shares_percent: vec![0, 1, 5, 10, 20, 50],
            sequences: 200,
            trials: 4,
            trial_window: Duration::from_millis(3000),
            kill_after: Duration::from_millis(1000),
        }
    }

    /// Whether everything works; its numbers say little.
    pub fn quick() -> Plan {
        Plan {
            rounds: 1,
            warm_up: Duration::from_millis(100),
            window: Duration::from_millis(300),
            throughput_window: Duration::from_millis(200),
            mix_window: Duration::from_millis(300),
            sweep_rounds: 1,
            clients: vec![1, 8, 64],
            shares_percent: vec![0, 10],
            sequences: 30,
            trials: 1,
            trial_window: Duration::from_millis(2500),
            kill_after: Duration::from_millis(500),
        }
    }
}
