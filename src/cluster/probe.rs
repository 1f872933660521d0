//! Finds out how each replica of a group stands, for as long as somebody wants something of it.
//!
//! A replica is not asked whether it runs, but whether it serves. One that is left out is taken back only after it made a
//! read current. Each is probed at a fixed interval while it is asked for something or left out, seldom or not at all
//! while nobody wants anything of it, and at once when a request to the group takes long.

use std::time::Duration;

use tokio::time::Instant;

use super::balancer::{Balancer, Condition};
use crate::http::client::{Client, Request};
use crate::replica::{STANDING, Standing, TRIED};

/// A replica that has never answered is probed this many times as often: the cluster is just starting.
const STARTING_PACE: u32 = 10;

/// For so many intervals at most.
const STARTING_INTERVALS: u32 = 60;

/// A replica that serves, and of which nobody has wanted anything since, is probed after this many intervals, if at all.
const IDLE_INTERVALS: u32 = 4;

/// How long a probe may take once somebody waits for what it finds.
const DOUBT_TIMEOUT: Duration = Duration::from_millis(250);

/// The shortest time between the beginnings of two probes of one replica.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// How a group is probed.
#[derive(Clone, Copy, Debug)]
pub struct Probes {
    /// Between two probes of one replica.
    pub interval: Duration,
    /// How long one may take.
    pub timeout: Duration,
    /// Whether replicas that serve are probed while nobody wants anything of them.
    pub when_idle: bool,
}

impl Balancer {
    /// Probes each replica, for ever.
    pub(super) async fn probe(self, client: Client, probes: Probes) {
        futures_util::future::join_all(
            (0..self.replicas().len()).map(|position| self.probe_one(position, &client, probes)),
        )
        .await;
    }

    async fn probe_one(&self, position: usize, client: &Client, probes: Probes) {
        let replica = &self.replicas()[position];
        let mut timeout = probes.timeout;
        let starts_until = Instant::now() + probes.interval * STARTING_INTERVALS;
        loop {
            let began = Instant::now();
            self.look_at(position, client, timeout).await;
            let pause = async {
                let is_starting = replica.is_new() && Instant::now() < starts_until;
                let interval = if is_starting { probes.interval / STARTING_PACE } else { probes.interval };
                tokio::time::sleep(interval).await;
                match (replica.condition(), probes.when_idle) {
                    (Condition::Serves, true) => {
                        // Whether it is wanted or the time is over: the next probe is due.
                        let idle = probes.interval * (IDLE_INTERVALS - 1);
                        let _ = tokio::time::timeout(idle, replica.wanted.notified()).await;
                    }
                    (Condition::Serves, false) => replica.wanted.notified().await,
                    _ => {}
                }
            };
            tokio::select! {
                () = pause => timeout = probes.timeout,
                () = replica.in_doubt.notified() => {
                    timeout = probes.timeout.min(DOUBT_TIMEOUT);
                    tokio::time::sleep_until(began + SHORTEST_INTERVAL).await;
                }
            }
        }
    }

    /// Finds out how a replica stands. One that was not known to serve has to make a read current.
    pub(super) async fn look_at(&self, position: usize, client: &Client, timeout: Duration) {
        match self.replicas()[position].condition() {
            Condition::Serves => self.find_out(position, STANDING.to_owned(), client, timeout).await,
            _ => self.try_out(position, client, timeout).await,
        }
    }

    /// Finds out whether a replica makes a read current.
    pub(super) async fn try_out(&self, position: usize, client: &Client, timeout: Duration) {
        self.find_out(position, format!("{STANDING}?{TRIED}"), client, timeout).await;
    }

    async fn find_out(&self, position: usize, path: String, client: &Client, timeout: Duration) {
        let replica = &self.replicas()[position];
        let given_up = async {
            let began = Instant::now();
            let _ = tokio::time::timeout(timeout, async {
                replica.in_doubt.notified().await;
                tokio::time::sleep(DOUBT_TIMEOUT).await;
            })
            .await;
            format!("nothing within {} ms", began.elapsed().as_millis())
        };
        let standing = match client.send_unless(&replica.member.address, Request::get(path), given_up).await {
            Ok(reply) if reply.status.is_success() => serde_json::from_slice::<Standing>(&reply.body)
                .map_err(|error| format!("it does not say how it stands: {error}")),
            Ok(reply) => Err(format!("it does not say how it stands: {}", reply.status)),
            Err(error) => Err(error.reason().to_owned()),
        };
        self.note_standing(position, standing);
    }
}
