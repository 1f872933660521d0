//! A replica that was down for longer than the log goes back.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use serde_json::json;

use crate::common::client::Client;
use crate::common::cluster::Cluster;
use crate::common::until;

/// More entries than a log keeps behind its snapshot, and so more than a replica may miss without needing one.
const MISSED: u64 = 1_300;

#[test]
fn a_replica_that_missed_more_than_the_log_holds_catches_up_by_a_snapshot() {
    let cluster = Cluster::new(1, 3, 1).set("replication.segment_bytes", 4096);
    let mut cluster = cluster.set("replication.snapshot_log_bytes", 8192).with_copies(0).open();
    let down = cluster.follower("catalog");
    cluster.kill9(&down);
    let leader = cluster.leader("catalog");
    let covered = || cluster.status(&leader).map_or(0, |status| status["snapshot_index"].as_u64().unwrap());

    // Straight at the leader, one by one on each connection: entries are wanted, not commands.
    let is_enough = AtomicBool::new(false);
    let restock = |book: u64| {
        let mut client = Client::new(cluster.address(&leader));
        let (line, change) = (format!("/update/{book}/stock"), json!({ "quantity_change": 1 }));
        while !is_enough.load(SeqCst) {
            client.put(&line, &change).expect(200);
        }
    };
    thread::scope(|scope| {
        (1..=3).for_each(|book| drop(scope.spawn(move || restock(book))));
        until("the snapshot covers enough", || covered() > MISSED);
        is_enough.store(true, SeqCst);
    });

    let log = cluster.data(&leader).join("log");
    cluster.start(&down);
    cluster.wait_ready();
    let tables = cluster.agreed_tables("catalog");
    assert!(cluster.log(&down).contains("receiving a snapshot"), "{}", cluster.log(&down));
    assert!(cluster.status(&down).unwrap()["snapshot_index"].as_u64().unwrap() > MISSED - 1_000);
    assert!(std::fs::read_dir(log).unwrap().count() < 100, "the log's files are given back");

    // It stands on its own feet: the tables come from its disk alone.
    cluster.kill9(&down);
    cluster.start(&down);
    cluster.wait_ready();
    assert_eq!(cluster.agreed_tables("catalog"), tables);
}
