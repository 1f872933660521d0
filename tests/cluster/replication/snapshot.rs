//! A replica that was down for longer than the log goes back.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::thread;

use serde_json::json;

use crate::common::client::Client;
use crate::common::cluster::Cluster;
use crate::common::until;

/// More entries than a log keeps behind its snapshot, and so more than a replica may miss without needing one.
const MISSED: u64 = 1_300;

/// Has the leader take snapshots until its log is purged beyond what a replica has that is down.
fn write_more_than_a_log_keeps(cluster: &Cluster, leader: &str) {
    let covered = || cluster.status(leader).map_or(0, |status| status["snapshot_index"].as_u64().unwrap());

    // Straight at the leader, one by one on each connection: entries are wanted, not commands.
    let is_enough = AtomicBool::new(false);
    let restock = |book: u64| {
        let mut client = Client::new(cluster.address(leader));
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
}

#[test]
fn a_replica_that_missed_more_than_the_log_holds_catches_up_by_a_snapshot() {
    let cluster = Cluster::new(1, 3, 1).set("replication.segment_bytes", 4096);
    let mut cluster = cluster.set("replication.snapshot_log_bytes", 8192).with_copies(0).open();
    let down = cluster.follower("catalog");
    cluster.kill9(&down);
    let leader = cluster.leader("catalog");
    write_more_than_a_log_keeps(&cluster, &leader);

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

#[test]
fn a_replica_whose_disk_does_not_take_a_snapshot_stops_and_says_so() {
    let cluster = Cluster::new(1, 3, 1).set("replication.segment_bytes", 4096);
    let mut cluster = cluster.set("replication.snapshot_log_bytes", 8192).with_copies(0).open();
    let follower = cluster.follower("catalog");
    // It goes on with its log, which is open, but makes no file any more where snapshots are kept.
    cluster.stop(&follower);
    let folder = cluster.data(&follower).join("snapshot");
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, "in the way").unwrap();
    let leader = cluster.leader("catalog");
    write_more_than_a_log_keeps(&cluster, &leader);
    cluster.cont(&follower);
    assert_eq!(cluster.wait_exit(&follower).code(), Some(1));
    let told = cluster.log(&follower);
    // Whether it was to receive one or to take one itself.
    assert!(told.contains("stopped, so as not to lose anything: ") && told.contains("snapshot"), "{told}");
    cluster.client("frontend-1").put("/update/1/stock", &json!({ "quantity_change": 1 })).expect(200);
}
