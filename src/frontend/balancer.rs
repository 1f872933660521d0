//! Which replica is asked next: reads go to those that answer in strict rotation, writes to their leader first.
//!
//! Any replica takes any request, but passes a write on to its group's leader. Every answer tells which one that is, as
//! far as whoever answered knows; to be wrong costs a message, no more.
//!
//! A replica that fails is left out at once. Every replica is probed at a fixed interval, so that one
//! that hangs is found before a customer finds it, and one that is back is taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::http::client::{Client, Request};
use crate::replica::Member;

/// The path that tells whether a node is alive.
const HEALTH: &str = "/health";

/// A replica that has never answered is probed this many times as often: the cluster is just starting.
const STARTING_PACE: u32 = 10;

/// The replicas of one group. Cheap to clone.
#[derive(Clone)]
pub struct Balancer {
    replicas: Arc<[Replica]>,
    turn: Arc<AtomicUsize>,
    /// The position of the replica that leads; beyond the last while it is not known.
    leader: Arc<AtomicUsize>,
}

/// One replica, as the balancer sees it.
pub struct Replica {
    /// Its name and address.
    pub member: Member,
    is_up: AtomicBool,
    /// Whether it has ever answered: until then its silence is a start, not a failure.
    has_answered: AtomicBool,
}

impl Balancer {
    /// Balances over these replicas, all of which are taken to answer.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Balancer {
        let replica = |member| Replica { member, is_up: AtomicBool::new(true), has_answered: AtomicBool::new(false) };
        Balancer {
            replicas: members.into_iter().map(replica).collect(),
            turn: Arc::default(),
            leader: Arc::new(AtomicUsize::new(usize::MAX)),
        }
    }

    /// All replicas, whether they answer or not.
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// The next replica in turn that answers and is not among those `tried` already.
    pub fn next(&self, tried: &[usize]) -> Option<(usize, &Replica)> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let candidates = || {
            let replicas = self.replicas.iter().enumerate();
            replicas.filter(|(position, replica)| replica.is_up() && !tried.contains(position))
        };
        let count = candidates().count();
        candidates().nth(turn.checked_rem(count)?)
    }

    /// The replica that leads, if it is known, answers and is not among those `tried` already; else the next in turn.
    pub fn leader_or_next(&self, tried: &[usize]) -> Option<(usize, &Replica)> {
        let leader = self.leader.load(Ordering::Relaxed);
        match self.replicas.get(leader) {
            Some(replica) if replica.is_up() && !tried.contains(&leader) => Some((leader, replica)),
            _ => self.next(tried),
        }
    }

    /// Takes note of the name of the replica that leads.
    pub fn note_leader(&self, id: &[u8]) {
        if let Some(leader) = self.replicas.iter().position(|replica| replica.member.id.as_bytes() == id) {
            self.leader.store(leader, Ordering::Relaxed);
        }
    }

    /// Whether any replica answers that is not among those `tried` already.
    pub fn has_others(&self, tried: &[usize]) -> bool {
        self.replicas.iter().enumerate().any(|(position, replica)| replica.is_up() && !tried.contains(&position))
    }

    /// Probes each replica every `interval`, for ever.
    pub async fn probe(self, client: Client, interval: Duration, timeout: Duration) {
        let probe_one = |replica: usize| {
            let (balancer, client) = (self.clone(), client.clone());
            async move {
                let replica = &balancer.replicas[replica];
                loop {
                    let answer = client.send(&replica.member.address, Request::get(HEALTH), timeout).await;
                    replica.set_up(answer.is_ok_and(|answer| answer.status.is_success()));
                    let is_starting = !replica.has_answered.load(Ordering::Relaxed);
                    tokio::time::sleep(if is_starting { interval / STARTING_PACE } else { interval }).await;
                }
            }
        };
        futures_util::future::join_all((0..self.replicas.len()).map(probe_one)).await;
    }
}

impl Replica {
    /// Whether it answered when it was last asked.
    pub fn is_up(&self) -> bool {
        self.is_up.load(Ordering::Relaxed)
    }

    /// Takes note of whether it answered.
    pub fn set_up(&self, is_up: bool) {
        let was_up = self.is_up.swap(is_up, Ordering::Relaxed);
        let is_known = self.has_answered.fetch_or(is_up, Ordering::Relaxed);
        match (was_up, is_up) {
            _ if !is_known => tracing::debug!(replica = self.member.id, is_up, "asked for the first time"),
            (true, false) => tracing::warn!(replica = self.member.id, "it does not answer and is left out"),
            (false, true) => tracing::info!(replica = self.member.id, "it answers again and is taken back"),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn balancer() -> Balancer {
        Balancer::new((1..=3).map(|number| Member { id: format!("catalog-{number}"), address: String::new() }))
    }

    fn turns(balancer: &Balancer, count: usize) -> Vec<usize> {
        (0..count).filter_map(|_| balancer.next(&[]).map(|(position, _)| position)).collect()
    }

    #[test]
    fn replicas_take_turns() {
        assert_eq!(turns(&balancer(), 7), [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn a_replica_that_fails_is_left_out_until_it_is_back() {
        let balancer = balancer();
        balancer.replicas()[1].set_up(false);
        let shares = turns(&balancer, 6);
        assert_eq!(shares.iter().filter(|position| **position == 0).count(), 3);
        assert_eq!(shares.iter().filter(|position| **position == 2).count(), 3);
        balancer.replicas()[1].set_up(true);
        assert_eq!(turns(&balancer, 3), [0, 1, 2]);
    }

    #[test]
    fn a_retry_goes_to_a_replica_that_was_not_tried() {
        let balancer = balancer();
        for _ in 0..6 {
            assert_eq!(balancer.next(&[0, 2]).map(|(position, _)| position), Some(1));
        }
    }

    fn write_turns(balancer: &Balancer, tried: &[usize], count: usize) -> Vec<usize> {
        (0..count).filter_map(|_| balancer.leader_or_next(tried).map(|(position, _)| position)).collect()
    }

    #[test]
    fn writes_go_to_the_leader_once_it_is_known_and_reads_go_on_in_turn() {
        let balancer = balancer();
        assert_eq!(write_turns(&balancer, &[], 3), [0, 1, 2]);
        balancer.note_leader(b"catalog-2");
        assert_eq!(write_turns(&balancer, &[], 3), [1, 1, 1]);
        assert_eq!(turns(&balancer, 3), [0, 1, 2]);
        balancer.note_leader(b"catalog-9");
        assert_eq!(write_turns(&balancer, &[], 3), [1, 1, 1]);
    }

    #[test]
    fn writes_go_to_the_others_in_turn_while_the_leader_is_down_or_has_refused() {
        let balancer = balancer();
        balancer.note_leader(b"catalog-2");
        assert_eq!(write_turns(&balancer, &[1], 4), [0, 2, 0, 2]);
        balancer.replicas()[1].set_up(false);
        assert_eq!(write_turns(&balancer, &[], 4), [0, 2, 0, 2]);
        balancer.replicas()[1].set_up(true);
        assert_eq!(write_turns(&balancer, &[], 2), [1, 1]);
    }

    #[test]
    fn nobody_is_next_when_nobody_answers() {
        let balancer = balancer();
        balancer.replicas().iter().for_each(|replica| replica.set_up(false));
        assert!(balancer.next(&[]).is_none());
        assert!(Balancer::new([]).next(&[]).is_none());
    }
}
