//! A node that is asked to stop finishes what it has begun, and its group does not notice.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::common::cluster::Cluster;
use crate::common::storm::Storm;
use crate::common::until;

const COPIES: u64 = 1_000_000;

/// How long a frontend may answer from its cache on its own.
const LEASE: Duration = Duration::from_secs(1);

/// A bound that no election meets: the shortest is longer.
const WITHOUT_ELECTION: Duration = Duration::from_millis(400);

#[test]
fn a_node_that_is_asked_to_stop_finishes_the_request_under_way() {
    let mut cluster = Cluster::new(1, 1, 1).open();
    for id in ["frontend-1", "catalog-1"] {
        let mut customer = cluster.client(id);
        let body = json!({ "quantity_change": 1 }).to_string();
        let head = format!(
            "PUT /update/1/stock HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        customer.write_raw(head.as_bytes()).unwrap();
        // Said when the handler begins to read the body: the request is under way.
        assert_eq!(customer.read_raw("PUT /update/1/stock").unwrap().status, 100);

        cluster.signal(id, "TERM");
        until(&format!("{id} takes no more connections"), || TcpStream::connect(cluster.address(id)).is_err());
        customer.write_raw(body.as_bytes()).unwrap();
        let stock = if id == "frontend-1" { 1001 } else { 1002 };
        assert_eq!(customer.read_raw("PUT /update/1/stock").unwrap().expect(200).json()["quantity"], stock);
        assert_eq!(cluster.wait_exit(id).code(), Some(0), "{id}");
    }
    cluster.signal("order-1", "TERM");
    assert_eq!(cluster.wait_exit("order-1").code(), Some(0));
}

#[test]
fn a_leader_that_is_asked_to_stop_hands_over_before_it_waits_for_slow_clients() {
    let mut cluster = Cluster::alone(1, 3, 3).with_copies(COPIES).open();
    let storm = Storm::start(&[cluster.address("frontend-1")], COPIES, 4, 2);
    for role in ["catalog", "order"] {
        let leader = cluster.leader(role);
        let mut slow = cluster.client(&leader);
        slow.write_raw(b"PUT /update/1/stock HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n")
            .unwrap();
        assert_eq!(slow.read_raw("PUT /update/1/stock").unwrap().status, 100);

        storm.wait_for_purchases(50);
        storm.reset_silence();
        cluster.signal(&leader, "TERM");
        storm.wait_for_purchases(50);
        let silence = storm.longest_silence();
        assert!(silence < WITHOUT_ELECTION, "purchases paused for {silence:?} when {leader} was stopped");
        // The one that is named may have to stand again on a slow disk; no other stands.
        let stood = |id: &&str| cluster.log(id).contains("a majority would vote for this replica");
        assert_eq!(cluster.group(role).find(stood), None, "nobody stood but the successor that was named");
        drop(slow);
        assert_eq!(cluster.wait_exit(&leader).code(), Some(0));
        cluster.start(&leader);
        cluster.wait_ready();
    }
    let memory = storm.end();
    memory.assert_no_failures();
    memory.assert_agrees_with(&cluster.audit());
}

#[test]
fn no_customer_notices_a_rolling_restart_of_all_nodes() {
    let mut cluster = Cluster::alone(2, 3, 3).with_copies(COPIES).open();
    let nodes: Vec<String> =
        ["frontend", "order", "catalog"].iter().flat_map(|role| cluster.group(role)).map(str::to_owned).collect();
    let frontends: Vec<SocketAddr> = cluster.group("frontend").map(|id| cluster.address(id)).collect();
    let storm = Storm::start(&frontends, COPIES, 8, 4);
    for node in &nodes {
        storm.wait_for_purchases(50);
        storm.reset_silence();
        cluster.signal(node, "TERM");
        assert_eq!(cluster.wait_exit(node).code(), Some(0), "{node}");
        cluster.start(node);
        cluster.wait_ready();
        storm.wait_for_purchases(50);
        let silence = storm.longest_silence();
        // Whether a frontend that says nothing still answers from its cache, only its lease can tell.
        let limit = if node.starts_with("frontend") { LEASE + WITHOUT_ELECTION } else { WITHOUT_ELECTION };
        assert!(silence < limit, "purchases paused for {silence:?} when {node} was restarted");
    }
    let memory = storm.end();
    memory.assert_no_failures();
    memory.assert_agrees_with(&cluster.audit());
}

#[test]
fn a_follower_that_is_asked_to_stop_leaves_its_leader_in_peace_however_long_it_takes() {
    let mut cluster = Cluster::new(1, 3, 1).open();
    let (leader, follower) = (cluster.leader("catalog"), cluster.follower("catalog"));
    let term = cluster.status(&leader).unwrap()["term"].clone();
    let mut slow = cluster.client(&follower);
    slow.write_raw(b"PUT /update/1/stock HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n")
        .unwrap();
    assert_eq!(slow.read_raw("PUT /update/1/stock").unwrap().status, 100);
    cluster.signal(&follower, "TERM");
    // It is not heard, and hears nobody, until it gives up on the request: longer than several elections take.
    assert_eq!(cluster.wait_exit(&follower).code(), Some(0));
    assert!(cluster.log(&follower).contains("requests that did not finish in time are dropped"));
    cluster.start(&follower);
    cluster.wait_ready();
    assert_eq!(cluster.status(&leader).unwrap()["term"], term);
}

#[test]
fn a_pair_needs_no_election_for_a_leader_that_is_restarted_quickly() {
    let mut cluster = Cluster::alone(1, 2, 2).open();
    let mut customer = cluster.client("frontend-1");
    for role in ["catalog", "order"] {
        let (leader, follower) = (cluster.leader(role), cluster.follower(role));
        cluster.signal(&leader, "TERM");
        assert_eq!(cluster.wait_exit(&leader).code(), Some(0));
        let term = cluster.status(&follower).unwrap()["term"].clone();
        cluster.start(&leader);
        cluster.wait_ready();
        assert_eq!(cluster.leader(role), follower);
        assert_eq!(cluster.status(&follower).unwrap()["term"], term);
        customer.post("/purchase/1").expect(201);
    }
}
