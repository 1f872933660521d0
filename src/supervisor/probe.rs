//! Waits for what nodes need and for what they become: free addresses, and readiness.

use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::SupervisorError;
use super::report::{join, say};
use crate::config::Config;
use crate::http::client::{Client, Request};
use crate::http::reply::problem_detail;

/// How long to wait for taken addresses: as long as the nodes of a supervisor that was killed may need
/// to finish, in the common case.
const ADDRESSES_PATIENCE: Duration = Duration::from_secs(5);

/// Between two looks at the addresses.
const ADDRESSES_INTERVAL: Duration = Duration::from_millis(100);

/// Between two questions whether a node is ready.
const READY_INTERVAL: Duration = Duration::from_millis(50);

/// How long the answer may take.
const READY_TIMEOUT: Duration = Duration::from_secs(1);

/// Returns when all nodes' addresses are free to be listened at.
///
/// If another shop runs at them, its nodes would answer in the place of those that failed to start.
pub(super) async fn addresses_free(config: &Config) -> Result<(), SupervisorError> {
    let start = Instant::now();
    let mut told = false;
    loop {
        let mut taken = Vec::new();
        for node in config.nodes() {
            // What else may be wrong with an address the node itself tells best.
            if matches!(TcpListener::bind(&node.listen).await, Err(error) if error.kind() == io::ErrorKind::AddrInUse) {
                taken.push(format!("{} ({})", node.listen, node.id));
            }
        }
        let taken = join(&taken);
        if taken.is_empty() {
            return Ok(());
        }
        if start.elapsed() >= ADDRESSES_PATIENCE {
            return Err(SupervisorError::AddressesTaken(taken));
        }
        if !told {
            told = true;
            say(format!("waiting up to {} s for addresses that are taken: {taken}", ADDRESSES_PATIENCE.as_secs()));
        }
        sleep(ADDRESSES_INTERVAL).await;
    }
}

/// Returns when the node at `address` says that it is able to serve. Until then `hindrance` is what it says instead.
pub(super) async fn ready(client: Client, address: String, hindrance: watch::Sender<Option<String>>) {
    loop {
        match client.send(&address, Request::get("/ready"), READY_TIMEOUT).await {
            Ok(reply) if reply.status.is_success() => return,
            Ok(reply) => drop(hindrance.send_replace(Some(problem_detail(&reply.body)))),
            Err(_) => {}
        }
        sleep(READY_INTERVAL).await;
    }
}
