//! Which replica is asked next: reads go to those that answer in strict rotation, writes to their leader first.
//!
//! Any replica takes any request, but passes a write on to its group's leader. Every answer tells which one that is, as
//! far as whoever answered knows; to be wrong costs a message, no more.
//!
//! A replica that fails is left out at once. Every replica is probed, so that one that hangs is found before many
//! customers find it, and one that is back is taken back: at a fixed interval while it is asked for something or left
//! out, more rarely while nobody wants anything of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use crate::http::client::{Client, Request};
use crate::replica::Member;

/// The path that tells whether a node is alive.
const HEALTH: &str = "/health";

/// A replica that has never answered is probed this many times as often: the cluster is just starting.
const STARTING_PACE: u32 = 10;

/// A replica that answers, and of which nobody has wanted anything since, is probed after this many intervals.
const IDLE_INTERVALS: u32 = 4;

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
    /// Told whenever it is about to be asked for something.
    wanted: Notify,
    /// Whether it has ever answered: until then its silence is a start, not a failure.
    has_answered: AtomicBool,
}

impl Balancer {
    /// Balances over these replicas, all of which are taken to answer.
    pub fn new(members: impl IntoIterator<Item = Member>) -> Balancer {
        let replica = |member| Replica {
            member,
            is_up: AtomicBool::new(true),
            wanted: Notify::new(),
            has_answered: AtomicBool::new(false),
        };
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
        candidates().nth(turn.checked_rem(count)?).inspect(|(_, replica)| replica.wanted.notify_one())
    }

    /// The replica that leads, if it is known, answers and is not among those `tried` already; else the next in turn.
    pub fn leader_or_next(&self, tried: &[usize]) -> Option<(usize, &Replica)> {
        let leader = self.leader.load(Ordering::Relaxed);
        match self.replicas.get(leader) {
            Some(replica) if replica.is_up() && !tried.contains(&leader) => {
                replica.wanted.notify_one();
                Some((leader, replica))
            }
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

    /// Probes each replica, for ever: every `interval` while there is a reason to.
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
                    if replica.is_up() {
                        // Whether it is wanted or the time is over: the next probe is due.
                        let _ = tokio::time::timeout(interval * (IDLE_INTERVALS - 1), replica.wanted.notified()).await;
                    }
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
    use crate::http::body::Incoming;
    use hyper::StatusCode;
    use tokio::time::Instant;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::http::reply::{self, Response};
    use crate::http::server::{self, Handler, Limits};
    use crate::platform::Platform;

    const SECOND: Duration = Duration::from_secs(1);

    const LIMITS: Limits = Limits {
        max_connections: 8,
        max_body_bytes: 1 << 20,
        header_timeout: SECOND,
        request_timeout: SECOND,
        idle_timeout: Duration::from_secs(10),
        drain_timeout: SECOND,
    };

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

    /// Counts the probes that it answers.
    #[derive(Default)]
    struct Probed(AtomicUsize);

    impl Handler for Probed {
        async fn handle(&self, _request: hyper::Request<Incoming>) -> Response {
            self.0.fetch_add(1, Ordering::SeqCst);
            reply::json(StatusCode::OK, &"alive")
        }
    }

    #[tokio::test]
    async fn a_replica_is_probed_seldom_until_it_is_wanted() {
        const INTERVAL: Duration = Duration::from_millis(400);
        let (platform, probed) = (Platform::system(), Arc::new(Probed::default()));
        let listener = platform.network.listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_address().unwrap().to_string();
        tokio::spawn(server::serve(listener, probed.clone(), LIMITS, CancellationToken::new()));
        let balancer = Balancer::new([Member { id: "catalog-1".to_owned(), address }]);
        tokio::spawn(balancer.clone().probe(Client::new(&platform), INTERVAL, INTERVAL));

        let probes = async |count| {
            while probed.0.load(Ordering::SeqCst) < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        probes(1).await;
        let started = Instant::now();
        tokio::time::sleep(INTERVAL * 5 / 4).await;
        assert_eq!(probed.0.load(Ordering::SeqCst), 1);
        balancer.next(&[]);
        probes(2).await;
        assert!(started.elapsed() < INTERVAL * IDLE_INTERVALS);
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
